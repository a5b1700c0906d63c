//! `http_status_code` and the path part of `http_path`.

/// A status: "404" exactly, "40+" or "4+" as prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    digits: u32,
    /// What to divide a three-digit code by to compare it.
    divisor: u32,
}

impl Status {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_suffix('+').unwrap_or(text);
        let divisor = match (digits.len(), digits.len() == text.len()) {
            (3, true) => 1,
            (2, false) => 10,
            (1, false) => 100,
            _ => 0,
        };
        let in_range = matches!(digits.as_bytes().first(), Some(b'1'..=b'5'));
        match digits.parse() {
            Ok(digits) if divisor != 0 && in_range => Ok(Self { digits, divisor }),
            _ => Err(format!("{text:?} is neither a status such as 404 nor a prefix such as 40+ or 4+")),
        }
    }

    pub(super) fn matches(&self, code: u32) -> bool {
        code / self.divisor == self.digits
    }
}

/// Longest path that is decoded before it is matched, bytes; a longer one is matched as it was sent.
const DECODED_MAX: usize = 2048;

/// Runs `matches` on the path of a request target, percent-decoded; false when there is no path
/// (`CONNECT host:port`) or its escapes are malformed.
pub(super) fn path_matches(url: &str, matches: impl FnOnce(&[u8]) -> bool) -> bool {
    let Some(path) = path(url) else { return false };
    if !path.contains('%') || path.len() > DECODED_MAX {
        return matches(path.as_bytes());
    }
    let mut decoded = [0; DECODED_MAX];
    let mut len = 0;
    let mut rest = path.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        decoded[len] = if byte == b'%' {
            let mut digit = || rest.next().and_then(|c| char::from(*c).to_digit(16));
            match (digit(), digit()) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return false,
            }
        } else {
            byte
        };
        len += 1;
    }
    matches(&decoded[..len])
}

/// Path of "scheme://host/path?query" or "/path?query" (RFC 9112 section 3.2); "*" is its own path.
fn path(url: &str) -> Option<&str> {
    let url = url.split('?').next().unwrap_or_default();
    if url.starts_with('/') || url == "*" {
        return Some(url);
    }
    let (_, after_scheme) = url.split_once("://")?;
    Some(after_scheme.find('/').map_or("", |at| &after_scheme[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_match_exactly_or_by_prefix() {
        let matches = |text, code| Status::parse(text).unwrap().matches(code);
        assert!(matches("404", 404) && !matches("404", 400));
        assert!(matches("40+", 404) && matches("4+", 499) && !matches("4+", 503) && !matches("5+", 0));
        for text in ["", "+", "40", "4", "404+", "4++", "900", "0+", "abc", "-40", "+40", "４04"] {
            assert!(Status::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_found_in_both_forms_and_decoded() {
        let path = |url| {
            let mut seen = None;
            path_matches(url, |path| {
                seen = Some(String::from_utf8_lossy(path).into_owned());
                true
            });
            seen
        };
        assert_eq!(path("/a/b?c=/d").as_deref(), Some("/a/b"));
        assert_eq!(path("http://host:80/a%20b?q").as_deref(), Some("/a b"));
        assert_eq!(path("http://host").as_deref(), Some(""));
        assert_eq!(path("*").as_deref(), Some("*"));
        assert_eq!([path("host:443"), path("/bad%2"), path("/bad%zz")], [None, None, None]);
        let long = format!("/%41{}", "x".repeat(DECODED_MAX));
        assert_eq!(path(&long), Some(long.clone()));
    }
}
