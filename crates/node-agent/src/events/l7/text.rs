//! Bytes off the wire as text that is safe to keep, compare and print.

use std::fmt::Write;

use fathom_bpf::decode::Text;

/// Longest DNS name, and longest label of one (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Part of a URL: what is not printable ASCII is percent-encoded (RFC 3986 section 2.1).
pub fn push_url(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            0x21..=0x7e => out.push(char::from(*byte)),
            // Writing to a String can't fail.
            other => _ = write!(out, "%{other:02X}"),
        }
    }
}

/// Text of a person or a program: UTF-8, what is none or would steer a terminal replaced.
pub fn printable(bytes: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(bytes);
    match text.contains(char::is_control) {
        true => text.replace(char::is_control, "\u{fffd}").into(),
        false => text.into(),
    }
}

/// A name in a DNS message, with its final dot: other bytes than those of printable ASCII as "\DDD"
/// (RFC 1035 section 5.1).
pub fn dns_name(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 1);
    for byte in bytes {
        match byte {
            0x21..=0x7e => out.push(char::from(*byte)),
            other => _ = write!(out, "\\{other:03}"),
        }
    }
    if !out.ends_with('.') {
        out.push('.');
    }
    out
}

/// A host's name that may stand for an address, in lower case and without a final dot; `None` for anything
/// that is no such name, or not all of it.
pub fn host_name(text: &Text<'_>) -> Option<String> {
    if text.flags & fathom_bpf::abi::l7_text_flag::TRUNCATED != 0 {
        return None;
    }
    let name = std::str::from_utf8(text.bytes).ok()?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (name.len() <= NAME_MAX && name.split('.').all(good)).then(|| name.to_ascii_lowercase())
}

/// The trace id of a W3C traceparent (<https://www.w3.org/TR/trace-context/#traceparent-header>); `None`
/// when the field is not one.
pub fn trace_id(traceparent: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(traceparent).ok()?;
    let (version, rest) = text.split_once('-')?;
    let (trace, rest) = rest.split_once('-')?;
    let (parent, flags) = rest.split_once('-')?;
    let hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let not_zero = |text: &str| text.bytes().any(|b| b != b'0');
    // Later versions may append fields.
    let flags = if version == "00" { flags } else { flags.split('-').next().unwrap_or_default() };
    let valid = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && not_zero(trace)
        && hex(parent, 16)
        && not_zero(parent)
        && hex(flags, 2);
    valid.then_some(trace)
}

/// A topic's id as Kafka's tools print it (base64url, no padding), marked as an id: a topic's name holds no
/// colon.
pub fn topic_id(bytes: &[u8]) -> Box<str> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::from("id:");
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for n in 0..=group.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]));
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Text<'_> {
        Text { kind: 7, flags: 0, number: 0, bytes }
    }

    #[test]
    fn bytes_become_text_that_steers_nothing() {
        let mut url = String::new();
        push_url(&mut url, b"/a b\x1b\xff%20");
        assert_eq!(url, "/a%20b%1B%FF%20");
        assert_eq!(&*printable(b"gr\xc3\xbc\xc3\x9fe\x1b[2J\xff"), "grüße\u{fffd}[2J\u{fffd}");
        assert_eq!([dns_name(b"db.shop"), dns_name(b"."), dns_name(b"a\0b")], ["db.shop.", ".", "a\\000b."]);
    }

    #[test]
    fn only_whole_host_names_stand_for_addresses() {
        assert_eq!(host_name(&text(b"Www.Example.com.")).as_deref(), Some("www.example.com"));
        assert_eq!(host_name(&text(b"_http._tcp.shop")).as_deref(), Some("_http._tcp.shop"));
        for bad in [&b""[..], b".", b"a..b", b"a b", b"a\xff", b"\x1b[2J", b"*.example.com", &[b'a'; 64]] {
            assert_eq!(host_name(&text(bad)), None, "{bad:?}");
        }
        assert_eq!(host_name(&text("a.".repeat(128).as_bytes())), None, "too long");
        assert_eq!(host_name(&Text { flags: 1, ..text(b"www.exam") }), None, "cut off");
    }

    #[test]
    fn a_trace_id_is_the_second_field_of_a_valid_traceparent() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let read = |text: &str| trace_id(text.as_bytes()).map(str::to_owned);
        assert_eq!(read(&format!("00-{ID}-00f067aa0ba902b7-01")).as_deref(), Some(ID));
        assert_eq!(read(&format!("cc-{ID}-00f067aa0ba902b7-01-what-comes")).as_deref(), Some(ID));
        for bad in [
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            format!("00-{ID}"),
            String::new(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_topic_s_id_looks_as_in_kafka_s_tools() {
        assert_eq!(&*topic_id(&[0; 16]), "id:AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(&*topic_id(&[0xff, 0xef, 0xfe, 1]), "id:_-_-AQ");
    }
}
