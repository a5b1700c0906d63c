//! What a URL's route is: its path without the query, and on request without what only names one
//! thing among many.

/// Longest path that is told apart, bytes.
const LONGEST: usize = 256;

/// Appends the route of a request target: an absolute URL, an origin form, `*`, or `host:port` of CONNECT.
pub fn append(target: &str, fold_ids: bool, out: &mut String) {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    let end = (0..=LONGEST.min(path.len())).rev().find(|at| path.is_char_boundary(*at)).unwrap_or(0);
    let (path, cut) = (&path[..end], end < path.len());
    match path {
        "" => out.push_str("(unknown)"),
        path if fold_ids => {
            for (at, segment) in path.split('/').enumerate() {
                if at > 0 {
                    out.push('/');
                }
                fold(segment, out);
            }
        }
        path => out.push_str(path),
    }
    if cut {
        out.push('…');
    }
}

/// A segment, or `{id}` for one that looks like an identifier; an ending such as `.jpg` stays.
fn fold(segment: &str, out: &mut String) {
    let (stem, ending) = match segment.rsplit_once('.') {
        Some((stem, ending))
            if (1..=5).contains(&ending.len()) && !ending.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (stem, &segment[stem.len()..])
        }
        _ => (segment, ""),
    };
    if is_id(stem) {
        out.push_str("{id}");
        out.push_str(ending);
    } else {
        out.push_str(segment);
    }
}

/// Numbers, UUIDs, hexadecimal from 12 digits on, and tokens from 20 characters on that nobody would
/// choose as a name.
fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return false;
    }
    if digits == bytes.len() || bytes[0] == b'-' && digits == bytes.len() - 1 {
        return true;
    }
    if bytes.len() >= 12 && bytes.iter().all(u8::is_ascii_hexdigit) || is_uuid(bytes) {
        return true;
    }
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=~".contains(byte);
    if bytes.len() < 20 || !bytes.iter().all(token) {
        return false;
    }
    let upper = bytes.iter().any(u8::is_ascii_uppercase);
    let lower = bytes.iter().any(u8::is_ascii_lowercase);
    // base64 mixes all three; ULIDs and base32 have one case and no separators. A slug such as
    // "10-reasons-to-read-2024" has one case and separators, a name in camel case hardly a digit.
    match upper && lower {
        true => digits >= 2,
        false => digits >= 4 && bytes.iter().all(u8::is_ascii_alphanumeric),
    }
}

/// RFC 9562 section 4.
fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    fn route(target: &str, fold_ids: bool) -> String {
        let mut out = String::new();
        super::append(target, fold_ids, &mut out);
        out
    }

    #[test]
    fn queries_and_hosts_are_never_part_of_a_route() {
        for (target, expected) in [
            ("/a/b?c=d", "/a/b"),
            ("http://user:pw@api:8080/x?y=/z", "/x"),
            ("http://api:8080", "/"),
            ("http://api?x", "/"),
            ("/go?to=http://x/y", "/go"),
            ("/a/http://b/c", "/a/http://b/c"),
            ("*", "*"),
            ("api:443", "api:443"),
            ("/a#b", "/a"),
            ("", "(unknown)"),
        ] {
            assert_eq!(route(target, false), expected, "{target}");
        }
        let long = format!("/{}é/x", "a".repeat(254));
        assert_eq!(route(&long, false), format!("/{}…", "a".repeat(254)));
    }

    #[test]
    fn what_looks_like_an_identifier_is_folded() {
        for id in [
            "1",
            "-7",
            "20260304",
            "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
            "4BF92F3577B34DA6A3CE929D0E0E4736",
            "507f1f77bcf8",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "dGhpcyBpcyBh_dG9rZW4x",
            "eyJhbGciOiJIUzI1NiJ9",
            "k3j2h4k3j2h4k3j2h4k3",
        ] {
            assert_eq!(route(&format!("/users/{id}/cart"), true), "/users/{id}/cart", "{id}");
            assert_eq!(route(&format!("/{id}.jpg"), true), "/{id}.jpg", "{id}");
            assert_eq!(route(&format!("/{id}"), false), format!("/{id}"));
        }
    }

    #[test]
    fn names_stay() {
        for name in [
            "users",
            "v1",
            "deadbeef",
            "facade",
            "oauth2",
            "10-reasons-to-read-2024",
            "getUserByEmailAddressV2",
            "a-very-long-name-of-a-page-1234567",
            "sha256",
            "1.2.3",
            "app.v2.js",
            "日本語のとても長いパスの部分12345",
            "",
        ] {
            let path = format!("/x/{name}/");
            assert_eq!(route(&path, true), path);
        }
    }
}
