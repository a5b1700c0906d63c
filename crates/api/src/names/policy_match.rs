//! How the deciding policy entry matched: `Flow.policy_match_type`.

/// Names by number.
const MATCHES: [&str; 7] = ["none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only"];

/// Name of a match type; "unknown" past the last.
pub fn name(match_type: u32) -> &'static str {
    usize::try_from(match_type).ok().and_then(|at| MATCHES.get(at).copied()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_name() {
        assert_eq!([name(0), name(2), name(6), name(7)], ["none", "L3-L4", "Proto-Only", "unknown"]);
    }
}
