//! The URL of a request, in the one form clients expect: "http://host/path".

use std::fmt::Write;
use std::net::SocketAddr;

use super::redact::{REDACTED, Redaction};
use super::text::push_url;

/// The parts of a request that make its URL.
pub struct Target<'a> {
    /// The request target; `None` when it can't be known.
    pub target: Option<&'a [u8]>,
    /// There was more of it.
    pub truncated: bool,
    /// Host or :authority.
    pub host: Option<&'a [u8]>,
    pub host_truncated: bool,
    /// The host was there and can't be known.
    pub host_unknown: bool,
    /// CONNECT: the target is an authority.
    pub connect: bool,
    /// Who was asked: what stands where no host was named.
    pub server: SocketAddr,
}

/// The URL, and where its path begins.
pub fn url(parts: &Target<'_>, redaction: &Redaction) -> (Box<str>, usize) {
    let mut out = String::new();
    let target = parts.target.unwrap_or_default();
    let path = match absolute(target) {
        _ if parts.connect => {
            out.push_str("http://");
            push_authority(&mut out, target, parts.truncated, redaction);
            &[]
        }
        Some((scheme, rest)) => {
            push_url(&mut out, scheme);
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
            // Cut off within what may be a password.
            let cut = parts.truncated && end == rest.len();
            push_authority(&mut out, &rest[..end], cut, redaction);
            &rest[end..]
        }
        None => {
            out.push_str("http://");
            match parts.host {
                Some(host) => push_authority(&mut out, host, parts.host_truncated, redaction),
                None if parts.host_unknown => {}
                None => push_server(&mut out, parts.server),
            }
            // "*" asks about the whole server (RFC 9112 section 3.2.4).
            if !target.is_empty() && !target.starts_with(b"/") {
                out.push('/');
            }
            target
        }
    };
    // The separator above belongs to the path.
    let path_at = out.strip_suffix('/').filter(|_| !path.starts_with(b"/")).map_or(out.len(), str::len);
    match path.iter().position(|byte| matches!(byte, b'?' | b'#')).filter(|_| redaction.url_query) {
        Some(at) => {
            push_url(&mut out, &path[..=at]);
            out.push_str(REDACTED);
        }
        None => push_url(&mut out, path),
    }
    (out.into(), path_at)
}

/// Scheme with "://", and the rest, of a target in absolute form.
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = target.windows(3).position(|window| window == b"://")?;
    let scheme = target[..at].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (scheme && at > 0).then(|| target.split_at(at + 3))
}

fn push_authority(out: &mut String, authority: &[u8], cut: bool, redaction: &Redaction) {
    let host = authority.iter().rposition(|byte| *byte == b'@').map(|at| &authority[at + 1..]);
    match host {
        Some(host) if redaction.user_info => push_url(out, host),
        None if redaction.user_info && cut => out.push_str(REDACTED),
        _ => push_url(out, authority),
    }
}

fn push_server(out: &mut String, server: SocketAddr) {
    // Writing to a String can't fail.
    _ = match (server.port(), server) {
        (80, SocketAddr::V4(v4)) => write!(out, "{}", v4.ip()),
        (80, SocketAddr::V6(v6)) => write!(out, "[{}]", v6.ip()),
        _ => write!(out, "{server}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(target: &'a str, host: &'a str) -> Target<'a> {
        Target {
            target: Some(target.as_bytes()),
            truncated: false,
            host: (!host.is_empty()).then_some(host.as_bytes()),
            host_truncated: false,
            host_unknown: false,
            connect: false,
            server: "10.0.0.9:8080".parse().unwrap(),
        }
    }

    fn plain(parts: &Target<'_>) -> String {
        let (url, path_at) = url(parts, &Redaction::default());
        assert!(url.is_char_boundary(path_at));
        assert!(
            matches!(&url[path_at..], "" | "*") || url[path_at..].starts_with(['/', '?']),
            "{url} {path_at}"
        );
        url.into()
    }

    #[test]
    fn every_form_of_target_gives_an_absolute_url() {
        assert_eq!(plain(&parts("/rooms?a=b", "chat:80")), "http://chat:80/rooms?a=b");
        assert_eq!(plain(&parts("http://proxied.org/x", "proxy")), "http://proxied.org/x");
        assert_eq!(plain(&parts("http://proxied.org", "proxy")), "http://proxied.org");
        assert_eq!(plain(&parts("/login?next=http://a/b", "chat")), "http://chat/login?next=http://a/b");
        assert_eq!(plain(&parts("*", "chat")), "http://chat/*");
        assert_eq!(plain(&Target { connect: true, ..parts("db.org:443", "") }), "http://db.org:443");
        assert_eq!(plain(&parts("/a\r\n", "c h")), "http://c%20h/a%0D%0A");
    }

    #[test]
    fn who_was_asked_stands_where_nobody_was_named_and_nothing_where_it_is_not_known() {
        assert_eq!(plain(&parts("/old", "")), "http://10.0.0.9:8080/old");
        let six = Target { server: "[fd00::9]:80".parse().unwrap(), ..parts("/old", "") };
        assert_eq!(plain(&six), "http://[fd00::9]/old");
        assert_eq!(plain(&Target { host_unknown: true, ..parts("/x", "") }), "http:///x");
        assert_eq!(plain(&Target { target: None, ..parts("", "chat") }), "http://chat");
    }

    #[test]
    fn queries_and_passwords_are_taken_out() {
        let redaction = Redaction { url_query: true, user_info: true, headers: Vec::new() };
        let redacted = |parts: &Target<'_>| url(parts, &redaction).0.to_string();
        assert_eq!(redacted(&parts("/a?token=x#y", "chat")), "http://chat/a?REDACTED");
        assert_eq!(redacted(&parts("/a#token?x", "chat")), "http://chat/a#REDACTED");
        assert_eq!(redacted(&parts("/a", "chat")), "http://chat/a");
        assert_eq!(redacted(&parts("http://me:secret@proxied.org/x", "")), "http://proxied.org/x");
        assert_eq!(redacted(&parts("http://me:se@cret@proxied.org?x", "")), "http://proxied.org?REDACTED");
        assert_eq!(redacted(&parts("/", "me:secret@chat")), "http://chat/");
        let cut = Target { truncated: true, ..parts("http://me:secre", "") };
        assert_eq!(redacted(&cut), "http://REDACTED", "the rest may have been @host");
        let cut = Target { host_truncated: true, ..parts("/x", "me:secre") };
        assert_eq!(redacted(&cut), "http://REDACTED/x");
        let connect = Target { connect: true, ..parts("me:secret@db.org:443", "") };
        assert_eq!(redacted(&connect), "http://db.org:443");
    }
}
