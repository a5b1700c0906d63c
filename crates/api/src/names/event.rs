//! Event types: `Flow.event_type`, and how people write them ("trace:to-endpoint").

use super::{NameError, choices, drop_reason, trace_point};
use crate::flow::{DebugCapturePoint, EventTypeFilter};

/// In a filter: any type.
pub const UNSPECIFIED: i32 = 0;
pub const DROP: i32 = 1;
pub const DEBUG: i32 = 2;
pub const CAPTURE: i32 = 3;
pub const TRACE: i32 = 4;
pub const POLICY_VERDICT: i32 = 5;
pub const TRACE_SOCK: i32 = 7;
pub const L7: i32 = 129;
pub const AGENT: i32 = 130;

const TYPES: [(i32, &str); 8] = [
    (DROP, "drop"),
    (DEBUG, "debug"),
    (CAPTURE, "capture"),
    (TRACE, "trace"),
    (POLICY_VERDICT, "policy-verdict"),
    (TRACE_SOCK, "trace-sock"),
    (L7, "l7"),
    (AGENT, "agent"),
];

/// Socket translation points, by `event_type.sub_type`.
const SOCK_POINTS: [&str; 5] =
    ["unknown", "pre-xlate-fwd", "post-xlate-fwd", "pre-xlate-rev", "post-xlate-rev"];

/// Name of an event type.
pub fn name(event_type: i32) -> Option<&'static str> {
    TYPES.iter().find(|(number, _)| *number == event_type).map(|(_, name)| *name)
}

/// Every event type's name.
pub fn names() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(_, name)| *name)
}

/// Name of a socket translation point.
pub fn sock_point(sub_type: i32) -> Option<&'static str> {
    SOCK_POINTS.get(usize::try_from(sub_type).ok()?).copied()
}

/// Reads "type" or "type:sub", each a name or a number: "drop", "4:3", "trace:to-endpoint",
/// "trace-sock:pre-xlate-fwd", "drop:policy_denied".
///
/// # Errors
/// When either half is unknown; the text lists the choices.
pub fn parse(text: &str) -> Result<EventTypeFilter, NameError> {
    let (type_text, sub_text) = match text.split_once(':') {
        Some((kind, sub)) => (kind, Some(sub)),
        None => (text, None),
    };
    let known =
        TYPES.iter().find(|(_, name)| name.eq_ignore_ascii_case(type_text)).map(|(number, _)| *number);
    let event_type = known.or_else(|| type_text.parse::<u8>().ok().map(i32::from)).ok_or_else(|| {
        NameError::new("event type", type_text, format!("a number from 0 to 255, {}", choices(names())))
    })?;
    let sub_type = sub_text.map(|sub| parse_sub_type(event_type, sub)).transpose()?;
    Ok(EventTypeFilter {
        r#type: event_type,
        match_sub_type: sub_type.is_some(),
        sub_type: sub_type.unwrap_or_default(),
    })
}

fn parse_sub_type(event_type: i32, text: &str) -> Result<i32, NameError> {
    if let Ok(number) = text.parse::<u8>() {
        return Ok(i32::from(number));
    }
    let lower = text.to_ascii_lowercase();
    let (found, expected) = match event_type {
        TRACE => (trace_point::sub_type(&lower), choices(trace_point::names())),
        TRACE_SOCK => (index(&SOCK_POINTS, &lower), choices(SOCK_POINTS)),
        DROP => {
            (drop_reason::parse(text).ok().map(i32::from), "a drop reason such as POLICY_DENIED".to_owned())
        }
        CAPTURE => {
            let point = DebugCapturePoint::from_str_name(&text.to_ascii_uppercase());
            (point.map(i32::from), "a capture point such as DBG_CAPTURE_DELIVERY".to_owned())
        }
        _ => (None, "a number from 0 to 255".to_owned()),
    };
    found.ok_or_else(|| NameError::new("event sub type", text, format!("a number from 0 to 255, {expected}")))
}

fn index(names: &[&str], wanted: &str) -> Option<i32> {
    names.iter().zip(0..).find(|(name, _)| **name == wanted).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (i32, Option<i32>) {
        let filter = parse(text).unwrap();
        (filter.r#type, filter.match_sub_type.then_some(filter.sub_type))
    }

    #[test]
    fn types_and_sub_types_are_read_by_name_and_number() {
        assert_eq!(read("drop"), (DROP, None));
        assert_eq!(read("L7"), (L7, None));
        assert_eq!(read("trace:to-endpoint"), (TRACE, Some(0)));
        assert_eq!(read("trace:3"), (TRACE, Some(3)));
        assert_eq!(read("trace-sock:post-xlate-fwd"), (TRACE_SOCK, Some(2)));
        assert_eq!(read("drop:policy_denied"), (DROP, Some(133)));
        assert_eq!(read("1:133"), (DROP, Some(133)));
        assert_eq!(read("capture:dbg_capture_delivery"), (CAPTURE, Some(4)));
    }

    #[test]
    fn what_is_unknown_is_named_with_the_choices() {
        let error = |text| parse(text).unwrap_err().to_string();
        assert!(error("drap").contains("\"drap\"") && error("drap").contains("policy-verdict"));
        assert!(
            error("trace:to-mars").contains("\"to-mars\"") && error("trace:to-mars").contains("to-stack")
        );
        assert!(error("256").contains("\"256\""));
        assert!(error("l7:x").contains("event sub type"));
    }
}
