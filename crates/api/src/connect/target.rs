//! A server address as people write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::ConnectError;

/// `host:port`, `tls://host:port` or `unix:///path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

impl Target {
    /// Host for TLS server names; `None` on a unix socket.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix(_) => None,
        }
    }

    /// Whether the target itself asks for TLS.
    pub fn asks_for_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }

    /// As the transport wants it.
    pub(super) fn uri(&self, tls: bool) -> String {
        match self {
            Self::Tcp { host, port, .. } => {
                format!("{}://{}", if tls { "https" } else { "http" }, Authority(host, *port))
            }
            Self::Unix(path) => format!("unix://{}", path.display()),
        }
    }
}

/// `host:port`, IPv6 addresses in brackets.
struct Authority<'a>(&'a str, u16);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Target {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let fail = |problem| ConnectError::Target { target: text.to_owned(), problem };
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(fail("the path must be absolute"))
            };
        }
        let (tls, address) = match text.split_once("://") {
            None => (false, text),
            Some(("tls" | "https", rest)) => (true, rest),
            Some(("http" | "tcp" | "dns", rest)) => (false, rest.trim_start_matches('/')),
            Some(_) => return Err(fail("unknown scheme")),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(|| fail("the port is missing"))?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| fail("the port is not a number from 1 to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '%');
        match (bare.unwrap_or(host), bare.is_some()) {
            ("", _) => return Err(fail("the host is missing")),
            (host, false) if host.contains(':') => return Err(fail("an IPv6 address needs brackets")),
            (host, _) if !host.chars().all(name) => return Err(fail("that is not a host name or address")),
            _ => {}
        }
        let host = bare.unwrap_or(host);
        Ok(Self::Tcp { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, tls } => {
                write!(f, "{}{}", if *tls { "tls://" } else { "" }, Authority(host, *port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_read_and_printed_back() {
        for text in
            ["localhost:4245", "tls://relay.example:443", "unix:///run/fathom/hubble.sock", "[fd00::1]:4244"]
        {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("https://a:1"), parse("tls://a:1"));
        assert_eq!(parse("dns:///a:1"), parse("a:1"));
        assert_eq!(parse("unix:/run/x"), parse("unix:///run/x"));
        assert_eq!(parse("[fd00::1]:4244").host(), Some("fd00::1"));
        assert_eq!(parse("[fd00::1]:4244").uri(true), "https://[fd00::1]:4244");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "port is missing"),
            ("localhost", "port is missing"),
            ("localhost:", "port is not a number"),
            ("localhost:0", "port is not a number"),
            ("localhost:99999", "port is not a number"),
            (":4245", "host is missing"),
            ("unix://relative", "must be absolute"),
            ("ftp://a:1", "unknown scheme"),
            ("fd00::1:4245", "brackets"),
            ("a b:1", "not a host name"),
            ("host/path:1", "not a host name"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
