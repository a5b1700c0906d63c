//! Verdict names.

use super::{NameError, choices};
use crate::flow::Verdict;

const ALL: [Verdict; 8] = [
    Verdict::Unknown,
    Verdict::Forwarded,
    Verdict::Dropped,
    Verdict::Error,
    Verdict::Audit,
    Verdict::Redirected,
    Verdict::Traced,
    Verdict::Translated,
];

/// Every verdict name, for completions and help.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|verdict| verdict.as_str_name())
}

/// A verdict from its name, in any case.
///
/// # Errors
/// When there is no such verdict; the text lists them.
pub fn parse(text: &str) -> Result<Verdict, NameError> {
    Verdict::from_str_name(&text.to_ascii_uppercase())
        .ok_or_else(|| NameError::new("verdict", text, choices(names())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_in_any_case_and_errors_list_them() {
        assert_eq!(parse("dropped"), Ok(Verdict::Dropped));
        let error = parse("denied").unwrap_err().to_string();
        assert!(error.contains("\"denied\"") && error.contains("TRACED or TRANSLATED"), "{error}");
    }

    #[test]
    fn the_list_holds_every_verdict_there_is() {
        for number in 0..=100 {
            if let Ok(verdict) = Verdict::try_from(number) {
                assert!(ALL.contains(&verdict));
            }
        }
    }
}
