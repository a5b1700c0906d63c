//! Values of the filter flags about application messages.

use fathom_api::flow::{FlowFilter, HttpHeader};
use fathom_api::{Filter, names};

use super::value::Refusal;

/// Protocols that only servers with application records of them know, besides those of Hubble.
const OURS: [&str; 2] = ["grpc", "kafka"];

/// Every name `--protocol` takes.
pub fn protocols() -> impl Iterator<Item = &'static str> {
    let ours = OURS.into_iter().filter(|ours| names::protocol::names().all(|known| known != *ours));
    names::protocol::names().chain(ours)
}

/// A protocol's name in any case; the wire has it in lower case.
pub fn protocol(text: &str) -> Result<String, Refusal> {
    let lower = text.to_ascii_lowercase();
    match protocols().any(|known| known == lower) {
        true => Ok(lower),
        false => {
            let known: Vec<_> = protocols().collect();
            Err(format!("not a protocol; one of {}", known.join(", ")))
        }
    }
}

/// `404`, or the beginning of a status: `40+`, `4+` on the wire, which people also write `40x`, `4xx`.
pub fn http_status(text: &str) -> Result<String, Refusal> {
    let refused = || "not a status; a code (\"404\"), or its beginning (\"4xx\", \"40x\", \"4+\")".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits);
    if !matches!(digits.as_bytes().first(), Some(b'1'..=b'5')) {
        return Err(refused());
    }
    match (digits.len(), rest.to_ascii_lowercase().as_str()) {
        (3, "") => Ok(digits.to_owned()),
        (1, "+" | "xx") | (2, "+" | "x") => Ok(format!("{digits}+")),
        _ => Err(refused()),
    }
}

/// A method (RFC 9110 section 9); servers compare it in any case.
pub fn http_method(text: &str) -> Result<String, Refusal> {
    match is_token(text) {
        true => Ok(text.to_owned()),
        false => Err("not a method; one word such as GET (repeat the flag to list alternatives)".to_owned()),
    }
}

/// `name:value`, with or without blanks around the value, which no header has (RFC 9110 section 5.5).
pub fn http_header(text: &str) -> Result<HttpHeader, Refusal> {
    match text.split_once(':') {
        Some((key, value)) if is_token(key) => {
            Ok(HttpHeader { key: key.to_owned(), value: value.trim_matches([' ', '\t']).to_owned() })
        }
        Some(_) => Err("no header has such a name; write name:value".to_owned()),
        None => Err(format!("invalid http-header value {text:?}, expected name:value")),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
}

/// The server compiles it too, but can't name the flag.
pub fn regex(text: &str) -> Result<String, Refusal> {
    let filter = FlowFilter { http_url: vec![text.to_owned()], ..Default::default() };
    match Filter::compile(&[filter], &[]) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let why = error.problem.rsplit_once("regular expression: ").map_or("", |(_, why)| why);
            Err(format!("not a regular expression: {why}; put a backslash before signs meant as they stand"))
        }
    }
}

/// A W3C trace id, alone or in the `traceparent` it came in (Trace Context section 3.2.2).
pub fn trace_id(text: &str) -> Result<String, Refusal> {
    let parts: Vec<&str> = text.split('-').collect();
    let id = match parts.as_slice() {
        [id] => id,
        [version, id, parent, flags, ..] if version.len() == 2 && parent.len() == 16 && flags.len() == 2 => {
            id
        }
        _ => "",
    };
    match id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(id.to_ascii_lowercase()),
        false => {
            Err("not a trace id; 32 hexadecimal digits, or the traceparent header they are in".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_go_by_name_in_any_case() {
        for (text, name) in
            [("http", "http"), ("gRPC", "grpc"), ("DNS", "dns"), ("kafka", "kafka"), ("tcp", "tcp")]
        {
            assert_eq!(protocol(text).as_deref(), Ok(name));
        }
        let refusal = protocol("amqp").unwrap_err();
        assert!(
            refusal.starts_with("not a protocol; one of icmp, ") && refusal.contains("grpc"),
            "{refusal}"
        );
    }

    #[test]
    fn statuses_are_codes_or_beginnings() {
        for (text, wire) in
            [("200", "200"), ("5xx", "5+"), ("5XX", "5+"), ("5+", "5+"), ("40x", "40+"), ("40+", "40+")]
        {
            assert_eq!(http_status(text).as_deref(), Ok(wire), "{text}");
        }
        for text in ["", "+", "xx", "5", "5x", "50", "50xx", "200+", "600", "6xx", "0xx", "ok", "5++", "-5+"]
        {
            assert!(http_status(text).unwrap_err().contains("4xx"), "{text}");
        }
    }

    #[test]
    fn methods_and_header_names_are_tokens() {
        assert_eq!(http_method("m-search").as_deref(), Ok("m-search"));
        assert!(http_method("GET POST").is_err() && http_method("").is_err());
        let header = |key: &str, value: &str| Ok(HttpHeader { key: key.into(), value: value.into() });
        assert_eq!(http_header("x-id:a:b"), header("x-id", "a:b"));
        assert_eq!(http_header("X-Id: 7 "), header("X-Id", "7"));
        assert!(http_header("x id:7").is_err() && http_header(":path").is_err() && http_header("x").is_err());
    }

    #[test]
    fn expressions_are_tried_before_they_are_sent() {
        assert_eq!(regex("^/api/v[0-9]+").as_deref(), Ok("^/api/v[0-9]+"));
        assert_eq!(
            regex("/a(").unwrap_err(),
            "not a regular expression: unclosed group; put a backslash before signs meant as they stand"
        );
    }

    #[test]
    fn trace_ids_come_alone_or_in_their_header() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for text in [id, &id.to_uppercase(), &format!("00-{id}-00f067aa0ba902b7-01")] {
            assert_eq!(trace_id(text).as_deref(), Ok(id), "{text}");
        }
        for text in ["", "t", &id[1..], &format!("00-{id}"), &format!("zz{}", &id[2..])] {
            assert!(trace_id(text).is_err(), "{text}");
        }
    }
}
