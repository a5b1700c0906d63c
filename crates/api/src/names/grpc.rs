//! gRPC status codes by name. (<https://grpc.io/docs/guides/status-codes/>)

const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// "NOT_FOUND"; `None` for a number that is none.
pub fn status(code: u32) -> Option<&'static str> {
    STATUSES.get(usize::try_from(code).ok()?).copied()
}

/// "package.Service" and "Method" of a request's path; what is none has an empty service.
pub fn split_path(path: &str) -> (&str, &str) {
    let path = path.split('?').next().unwrap_or_default();
    path.strip_prefix('/').unwrap_or(path).rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_paths_are_read() {
        assert_eq!((status(0), status(16), status(17)), (Some("OK"), Some("UNAUTHENTICATED"), None));
        assert_eq!(split_path("/chat.v1.Rooms/Join"), ("chat.v1.Rooms", "Join"));
        assert_eq!(split_path("/mounted/chat.Rooms/Join"), ("mounted/chat.Rooms", "Join"));
        assert_eq!(split_path("nonsense"), ("", "nonsense"));
    }
}
