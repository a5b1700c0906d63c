//! What is taken out of messages before a flow is kept: `--l7-redact`.

use std::str::FromStr;

/// What stands in the place of what was taken out.
pub const REDACTED: &str = "REDACTED";

/// Longest header name that can be captured or redacted, bytes.
pub const HEADER_NAME_MAX: usize = 32;

/// What is taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    /// Queries of URLs.
    pub url_query: bool,
    /// User names and passwords in URLs.
    pub user_info: bool,
    /// Values of captured headers; names in lower case.
    pub headers: Vec<Box<str>>,
}

impl Redaction {
    /// Whether a captured header's value is taken out.
    pub fn hides(&self, header: &str) -> bool {
        self.headers.iter().any(|name| name.eq_ignore_ascii_case(header))
    }
}

/// A header's name in lower case (RFC 9110 section 5.1).
///
/// # Errors
/// When it is none, or longer than can be captured.
pub fn header_name(text: &str) -> Result<Box<str>, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(format!("{text:?} is no header name: write for example x-request-id"));
    }
    if text.len() > HEADER_NAME_MAX {
        return Err(format!("{text:?} is longer than {HEADER_NAME_MAX} bytes"));
    }
    Ok(text.to_ascii_lowercase().into())
}

impl FromStr for Redaction {
    type Err = String;

    /// "url-query,user-info,headers:a,b,c", or some of it; what follows "headers:" are names.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut redaction = Self::default();
        let (flags, headers) = match text.split_once("headers:") {
            Some((flags, headers)) => (flags.strip_suffix(',').unwrap_or(flags), Some(headers)),
            None => (text, None),
        };
        for item in flags.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item {
                "url-query" => redaction.url_query = true,
                "user-info" => redaction.user_info = true,
                other => {
                    return Err(format!("{other:?} is not url-query, user-info or headers:NAME,NAME"));
                }
            }
        }
        for item in headers.into_iter().flat_map(|headers| headers.split(',')).map(str::trim) {
            if matches!(item, "url-query" | "user-info") {
                return Err(format!("{item} after headers: would be a header's name: write it first"));
            }
            redaction.headers.push(header_name(item)?);
        }
        Ok(redaction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_in_any_part() {
        let read = |text: &str| text.parse::<Redaction>();
        assert_eq!(read(""), Ok(Redaction::default()));
        let headers = vec!["cookie".into(), "x-token".into()];
        let all = Redaction { url_query: true, user_info: true, headers };
        assert_eq!(read("url-query,user-info,headers:Cookie,x-token"), Ok(all.clone()));
        assert!(all.hides("COOKIE") && !all.hides("x-team"));
        assert_eq!(read("user-info").map(|r| (r.url_query, r.user_info)), Ok((false, true)));
    }

    #[test]
    fn slips_are_named() {
        let refused = |text: &str| text.parse::<Redaction>().unwrap_err();
        assert!(refused("query").contains("\"query\"") && refused("query").contains("url-query"));
        assert!(refused("headers:").contains("\"\""));
        assert!(refused("headers:a b").contains("\"a b\""));
        assert!(refused("headers:cookie,url-query").contains("write it first"));
        assert!(refused(&format!("headers:{}", "x".repeat(33))).contains("32 bytes"));
    }
}
