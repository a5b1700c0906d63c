//! One identity as it is stored in the API server.

use fathom_identity::LabelSet;
use jiff::Timestamp;
use kube::core::ApiResource;
use kube::{Api, Client, Resource as _};
use serde_json::Value;

use crate::identity::{FathomIdentity, USED_ANNOTATION, number, parse_labels};
use crate::raw::RawObject;

/// What agents need to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub number: u16,
    /// `None` when they cannot be read: the number is taken, nobody knows for whom.
    pub labels: Option<LabelSet>,
    pub uid: String,
    pub version: String,
    pub created: Option<Timestamp>,
    pub last_used: Option<Timestamp>,
}

impl Stored {
    /// `None` for an object whose name is no number: it stands for nothing.
    pub fn read(object: &RawObject) -> Option<Stored> {
        let metadata = object.value.get("metadata");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let meta = |field: &str| text(metadata.and_then(|m| m.get(field)));
        let used = metadata.and_then(|m| m.get("annotations")).and_then(|a| a.get(USED_ANNOTATION));
        let labels = object.value.get("spec").and_then(|spec| spec.get("labels")).and_then(Value::as_array);
        let labels = labels.and_then(|labels| labels.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        Some(Stored {
            number: number(object.name())?,
            labels: labels.and_then(|labels| parse_labels(&labels).ok()),
            uid: meta("uid").unwrap_or_default(),
            version: meta("resourceVersion").unwrap_or_default(),
            created: meta("creationTimestamp").and_then(|text| text.parse().ok()),
            last_used: text(used).and_then(|text| text.parse().ok()),
        })
    }

    /// Of several numbers for the same labels the one made first counts. Among those of one second the
    /// resource version decides: neither has been changed yet.
    pub fn age_key(&self) -> (Option<Timestamp>, u64, u16) {
        (self.created, self.version.parse().unwrap_or(u64::MAX), self.number)
    }
}

/// The resource.
pub fn resource() -> ApiResource {
    ApiResource {
        group: FathomIdentity::group(&()).into_owned(),
        version: FathomIdentity::version(&()).into_owned(),
        api_version: FathomIdentity::api_version(&()).into_owned(),
        kind: FathomIdentity::kind(&()).into_owned(),
        plural: FathomIdentity::plural(&()).into_owned(),
    }
}

/// Its endpoint.
pub fn api(client: Client) -> Api<RawObject> {
    Api::all_with(client, &resource())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stored(name: &str, labels: Value) -> Option<Stored> {
        let metadata = json!({"name": name, "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-02T03:04:05Z", "annotations": {USED_ANNOTATION: "?"}});
        Stored::read(&RawObject::new(json!({"metadata": metadata, "spec": {"labels": labels}})))
    }

    #[test]
    fn a_number_is_taken_even_when_its_labels_cannot_be_read() {
        let good = stored("300", json!(["k8s:app=web"])).unwrap();
        assert_eq!((good.number, good.labels.unwrap().len(), good.last_used), (300, 1, None));
        for nonsense in [json!([1]), json!(["k8s:"]), json!("x"), Value::Null] {
            assert_eq!(stored("300", nonsense).unwrap().labels, None);
        }
        assert_eq!(stored("web", json!(["k8s:app=web"])), None);
    }

    #[test]
    fn the_first_made_counts_by_time_and_then_by_version() {
        let at = |second: i64, version: &str, number: u16| {
            let created = Some(Timestamp::from_second(second).unwrap());
            let none = Stored::read(&RawObject::new(json!({"metadata": {"name": "300"}}))).unwrap();
            Stored { created, version: version.into(), number, ..none }.age_key()
        };
        assert!(at(1, "100", 300) < at(2, "9", 256));
        assert!(at(1, "9", 300) < at(1, "10", 256), "versions are numbers, not texts");
    }
}
