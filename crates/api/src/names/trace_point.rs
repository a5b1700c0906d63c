//! Trace observation points: where a packet was seen.
//!
//! `event_type.sub_type` carries the datapath's number, where 0 is `to-endpoint`;
//! `trace_observation_point` carries the public one, where 0 means unknown and `to-endpoint` is 101.

use crate::flow::TraceObservationPoint;

/// Names by `event_type.sub_type`.
const POINTS: [&str; 14] = [
    "to-endpoint",
    "to-proxy",
    "to-host",
    "to-stack",
    "to-overlay",
    "from-endpoint",
    "from-proxy",
    "from-host",
    "from-stack",
    "from-overlay",
    "from-network",
    "to-network",
    "from-crypto",
    "to-crypto",
];

/// Name of the point with this `event_type.sub_type`.
pub fn name(sub_type: i32) -> Option<&'static str> {
    POINTS.get(usize::try_from(sub_type).ok()?).copied()
}

/// `event_type.sub_type` of a point.
pub fn sub_type(name: &str) -> Option<i32> {
    POINTS.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, number)| number)
}

/// Every name.
pub fn names() -> impl Iterator<Item = &'static str> {
    POINTS.into_iter()
}

/// The public number of a point, from `event_type.sub_type`.
pub fn public(sub_type: i32) -> TraceObservationPoint {
    match sub_type {
        0 => TraceObservationPoint::ToEndpoint,
        other => TraceObservationPoint::try_from(other).unwrap_or(TraceObservationPoint::UnknownPoint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree_with_the_public_enum() {
        for (name, number) in POINTS.iter().zip(0..) {
            let public_name = public(number).as_str_name().to_ascii_lowercase().replace('_', "-");
            assert_eq!(*name, public_name);
            assert_eq!(sub_type(name), Some(number));
        }
        assert_eq!(public(200), TraceObservationPoint::UnknownPoint);
    }
}
