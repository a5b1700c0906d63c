//! Kafka's requests by name. (<https://kafka.apache.org/protocol#protocol_api_keys>)

use std::fmt;

/// By API key, in lower case.
const NAMES: [&str; 93] = [
    "produce",
    "fetch",
    "listoffsets",
    "metadata",
    "leaderandisr",
    "stopreplica",
    "updatemetadata",
    "controlledshutdown",
    "offsetcommit",
    "offsetfetch",
    "findcoordinator",
    "joingroup",
    "heartbeat",
    "leavegroup",
    "syncgroup",
    "describegroups",
    "listgroups",
    "saslhandshake",
    "apiversions",
    "createtopics",
    "deletetopics",
    "deleterecords",
    "initproducerid",
    "offsetforleaderepoch",
    "addpartitionstotxn",
    "addoffsetstotxn",
    "endtxn",
    "writetxnmarkers",
    "txnoffsetcommit",
    "describeacls",
    "createacls",
    "deleteacls",
    "describeconfigs",
    "alterconfigs",
    "alterreplicalogdirs",
    "describelogdirs",
    "saslauthenticate",
    "createpartitions",
    "createdelegationtoken",
    "renewdelegationtoken",
    "expiredelegationtoken",
    "describedelegationtoken",
    "deletegroups",
    "electleaders",
    "incrementalalterconfigs",
    "alterpartitionreassignments",
    "listpartitionreassignments",
    "offsetdelete",
    "describeclientquotas",
    "alterclientquotas",
    "describeuserscramcredentials",
    "alteruserscramcredentials",
    "vote",
    "beginquorumepoch",
    "endquorumepoch",
    "describequorum",
    "alterpartition",
    "updatefeatures",
    "envelope",
    "fetchsnapshot",
    "describecluster",
    "describeproducers",
    "brokerregistration",
    "brokerheartbeat",
    "unregisterbroker",
    "describetransactions",
    "listtransactions",
    "allocateproducerids",
    "consumergroupheartbeat",
    "consumergroupdescribe",
    "controllerregistration",
    "gettelemetrysubscriptions",
    "pushtelemetry",
    "assignreplicastodirs",
    "listconfigresources",
    "describetopicpartitions",
    "sharegroupheartbeat",
    "sharegroupdescribe",
    "sharefetch",
    "shareacknowledge",
    "addraftvoter",
    "removeraftvoter",
    "updateraftvoter",
    "initializesharegroupstate",
    "readsharegroupstate",
    "writesharegroupstate",
    "deletesharegroupstate",
    "readsharegroupstatesummary",
    "streamsgroupheartbeat",
    "streamsgroupdescribe",
    "describesharegroupoffsets",
    "altersharegroupoffsets",
    "deletesharegroupoffsets",
];

/// Prints an API key: "produce", or "api-4711".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiKey(pub u16);

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "api-{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_names_of_the_protocol() {
        let names = [0, 1, 3, 18, 36, 56, 68, 75, 92, 4711].map(|key| ApiKey(key).to_string());
        assert_eq!(
            names,
            [
                "produce",
                "fetch",
                "metadata",
                "apiversions",
                "saslauthenticate",
                "alterpartition",
                "consumergroupheartbeat",
                "describetopicpartitions",
                "deletesharegroupoffsets",
                "api-4711"
            ]
        );
    }
}
