//! Which APIs are spoken, and in which versions.

use std::str::FromStr;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::*;

/// Oldest and newest version.
const SPOKEN: [(ApiKey, i16, i16); 14] = [
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 16),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::InitProducerId, 0, 4),
];

/// "Fetch=4": that version is the newest.
#[derive(Debug, Clone, Copy)]
pub struct Limit(ApiKey, i16);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = text.split_once('=').ok_or("no API=VERSION")?;
        let spoken = SPOKEN.into_iter().find(|(api, ..)| format!("{api:?}") == name);
        let (api, oldest, newest) = spoken.ok_or_else(|| format!("{name} is not spoken here"))?;
        match version.parse() {
            Ok(version) if (oldest..=newest).contains(&version) => Ok(Self(api, version)),
            _ => Err(format!("{name} is spoken in versions {oldest} to {newest}")),
        }
    }
}

/// What a broker speaks.
pub struct Spoken([(ApiKey, i16, i16); 14]);

impl Spoken {
    pub fn new(limits: &[Limit]) -> Self {
        Self(SPOKEN.map(|(api, oldest, newest)| {
            let limits = limits.iter().filter(|limit| limit.0 == api);
            (api, oldest, limits.map(|limit| limit.1).fold(newest, i16::min))
        }))
    }

    /// Of an API by its number: oldest and newest version.
    pub fn of(&self, key: i16) -> Option<(ApiKey, i16, i16)> {
        self.0.into_iter().find(|(api, ..)| *api as i16 == key)
    }

    /// The answer to ApiVersions.
    pub fn response(&self, error: i16) -> ResponseKind {
        let spoken = |(api, oldest, newest): (ApiKey, i16, i16)| {
            ApiVersion::default().with_api_key(api as i16).with_min_version(oldest).with_max_version(newest)
        };
        let response = ApiVersionsResponse::default()
            .with_error_code(error)
            .with_api_keys(self.0.into_iter().map(spoken).collect());
        ResponseKind::ApiVersions(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_makes_a_broker_older() {
        let limits = ["Fetch=4".parse::<Limit>().unwrap(), "ApiVersions=2".parse().unwrap()];
        let spoken = Spoken::new(&limits);
        assert_eq!(spoken.of(1), Some((ApiKey::Fetch, 4, 4)));
        assert_eq!(spoken.of(18), Some((ApiKey::ApiVersions, 0, 2)));
        assert_eq!(spoken.of(3), Some((ApiKey::Metadata, 0, 12)));
        assert_eq!(spoken.of(17), None);
        for wrong in ["Fetch", "Fetch=3", "Fetch=17", "Fetch=x", "Vote=0"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }
}
