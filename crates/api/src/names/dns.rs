//! DNS record types and response codes by name.
//! (IANA: <https://www.iana.org/assignments/dns-parameters>)

use std::fmt;

const TYPES: [(u16, &str); 38] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (24, "SIG"),
    (25, "KEY"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (257, "CAA"),
];

/// Prints a record type: "AAAA", or "TYPE4711" (RFC 3597 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type(pub u16);

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TYPES.binary_search_by_key(&self.0, |(number, _)| *number) {
            Ok(at) => f.write_str(TYPES[at].1),
            Err(_) => write!(f, "TYPE{}", self.0),
        }
    }
}

/// Prints a response code: "Non-Existent Domain".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcode(pub u32);

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "No Error",
            1 => "Format Error",
            2 => "Server Failure",
            3 => "Non-Existent Domain",
            4 => "Not Implemented",
            5 => "Query Refused",
            6 => "Name Exists when it should not",
            7 => "RR Set Exists when it should not",
            8 => "RR Set that should exist does not",
            9 => "Server Not Authoritative for zone",
            10 => "Name not contained in zone",
            16 => "Bad OPT Version",
            other => return write!(f, "Code {other}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes_have_their_names() {
        assert!(TYPES.is_sorted_by_key(|(number, _)| *number));
        let names = [1, 28, 65, 255, 4711].map(|number| Type(number).to_string());
        assert_eq!(names, ["A", "AAAA", "HTTPS", "ANY", "TYPE4711"]);
        assert_eq!(
            (Rcode(3).to_string(), Rcode(77).to_string()),
            ("Non-Existent Domain".into(), "Code 77".into())
        );
    }
}
