//! Words for numbers with which HTTP/2 and Kafka say how something ended.

/// HTTP/2 error codes (RFC 9113 section 7).
pub fn http2(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    name.map_or_else(|| format!("error {code}"), |name| (*name).to_owned())
}

/// Kafka error codes that clients meet, after the number: ` NOT_LEADER_OR_FOLLOWER`; empty for others.
pub fn kafka(error: i32) -> &'static str {
    match error {
        -1 => " UNKNOWN_SERVER_ERROR",
        1 => " OFFSET_OUT_OF_RANGE",
        2 => " CORRUPT_MESSAGE",
        3 => " UNKNOWN_TOPIC_OR_PARTITION",
        5 => " LEADER_NOT_AVAILABLE",
        6 => " NOT_LEADER_OR_FOLLOWER",
        7 => " REQUEST_TIMED_OUT",
        10 => " MESSAGE_TOO_LARGE",
        14 => " COORDINATOR_LOAD_IN_PROGRESS",
        15 => " COORDINATOR_NOT_AVAILABLE",
        16 => " NOT_COORDINATOR",
        17 => " INVALID_TOPIC_EXCEPTION",
        19 => " NOT_ENOUGH_REPLICAS",
        22 => " ILLEGAL_GENERATION",
        25 => " UNKNOWN_MEMBER_ID",
        27 => " REBALANCE_IN_PROGRESS",
        29 => " TOPIC_AUTHORIZATION_FAILED",
        30 => " GROUP_AUTHORIZATION_FAILED",
        35 => " UNSUPPORTED_VERSION",
        36 => " TOPIC_ALREADY_EXISTS",
        _ => "",
    }
}
