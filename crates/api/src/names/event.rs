//! Event types: `Flow.event_type`.

pub const UNSPECIFIED: i32 = 0;
pub const DROP: i32 = 1;
pub const DEBUG: i32 = 2;
pub const CAPTURE: i32 = 3;
pub const TRACE: i32 = 4;
pub const POLICY_VERDICT: i32 = 5;
pub const TRACE_SOCK: i32 = 7;
pub const L7: i32 = 129;
pub const AGENT: i32 = 130;
