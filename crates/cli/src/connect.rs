//! The way to a server, and what to say when it fails.

use std::time::Duration;

use anyhow::{Result, anyhow};
use base64::Engine;
use fathom_api::connect::{self, ConnectError};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::failure::usage;
use crate::settings::{BasicAuth, Settings};
use crate::terminal::escape::Escaped;

/// A channel that says who is asking, where the server wants to know.
pub type Authenticated = InterceptedService<Channel, Credentials>;

/// An open way to one server.
#[derive(Clone)]
pub struct Connection {
    pub channel: Authenticated,
    /// The server as it was named.
    pub server: String,
    request_timeout: Duration,
}

/// Adds the `authorization` header to each call.
#[derive(Clone)]
pub struct Credentials(Option<MetadataValue<Ascii>>);

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Credentials {
    fn new(basic: Option<&BasicAuth>) -> Result<Self> {
        let Some(BasicAuth { username, password }) = basic else { return Ok(Self(None)) };
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        let mut value: MetadataValue<Ascii> = format!("Basic {token}").parse()?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

/// Connects to the server of the settings.
pub async fn connect(settings: &Settings) -> Result<Connection> {
    let server = settings.server.to_string();
    let credentials = Credentials::new(settings.basic_auth.as_ref())?;
    let channel = connect::connect(&settings.server, &settings.tls, settings.timeout);
    // The limit of the transport covers the handshakes it knows of; this one covers everything.
    let channel = match tokio::time::timeout(settings.timeout + Duration::from_secs(1), channel).await {
        Ok(channel) => channel.map_err(|error| unreachable(&server, error))?,
        Err(_) => {
            return Err(anyhow!(
                "cannot connect to {server}: no answer within {:?}\n{}",
                settings.timeout,
                advice("timed out")
            ));
        }
    };
    Ok(Connection {
        channel: InterceptedService::new(channel, credentials),
        server,
        request_timeout: settings.request_timeout,
    })
}

fn unreachable(server: &str, error: ConnectError) -> anyhow::Error {
    match error {
        ConnectError::Target { .. } => usage(error),
        _ => {
            let text = error.to_string().replace("transport error: ", "");
            let problem =
                if text.contains(server) { text } else { format!("cannot connect to {server}: {text}") };
            anyhow!("{problem}\n{}", advice(&problem))
        }
    }
}

/// What to do about a transport problem, judged by its text: transports have no better signal.
fn advice(problem: &str) -> &'static str {
    let problem = problem.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| problem.contains(word));
    if any(&["invalidcontenttype", "corrupt message"]) {
        "The server does not speak TLS there: leave out --tls (or tls://)."
    } else if any(&["unknownissuer", "certificate", "notvalidforname"]) {
        "The server's certificate was not accepted: name its authority with --tls-ca-cert-files and its name with --tls-server-name."
    } else if any(&["h2", "http2", "frame", "connection closed", "broken pipe", "connection reset", "goaway"])
    {
        "The connection broke while it was set up: if the server speaks TLS, add --tls."
    } else if any(&["no such file", "permission denied"]) {
        "Is the agent running on this node, and are you root? Another address: --server, or FATHOM_SERVER."
    } else {
        "Is a relay or agent listening there? Another address: --server HOST:PORT or unix:///path, or FATHOM_SERVER."
    }
}

impl Connection {
    /// A request that must be answered within the time limit for single questions.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.request_timeout);
        request
    }

    /// Turns a failed call into words: which server, what it said, what to do. `method` is the
    /// question as people know it ("flows", "the list of nodes").
    pub fn failed(&self, method: &str, status: &Status) -> anyhow::Error {
        let server = &self.server;
        let message = causes(status);
        let said = Escaped(&message);
        match status.code() {
            Code::InvalidArgument => usage(format!("{server} refused the request: {said}")),
            Code::Unimplemented => anyhow!("{server} has no answer to a question for {method}: {said}"),
            Code::Unauthenticated | Code::PermissionDenied => anyhow!(
                "{server} does not let you ask for {method}: {said}\n\
                 Show who you are with --basic-auth-username and -password, or --tls-client-cert-file and -key-file."
            ),
            Code::DeadlineExceeded => anyhow!(
                "{server} did not answer a question for {method} within {:?} (--request-timeout): {said}",
                self.request_timeout
            ),
            // Its own words: it is there, others are not.
            Code::Unavailable if std::error::Error::source(status).is_none() => {
                anyhow!("{server} cannot answer a question for {method}: {said}")
            }
            Code::Unavailable | Code::Cancelled => {
                anyhow!("{server} went away while asked for {method}: {said}\n{}", advice(&message))
            }
            // A status of the transport, which the server had no part in.
            Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => {
                anyhow!("{server} went away while asked for {method}: {said}\n{}", advice(&message))
            }
            code => anyhow!("{server} failed to answer a question for {method}: {code:?}: {said}"),
        }
    }
}

/// The status' message with the transport's reasons, which hide in its sources.
fn causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = if text.is_empty() { cause_text } else { format!("{text}: {cause_text}") };
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_problem() {
        for (problem, word) in [
            ("received corrupt message of type InvalidContentType", "leave out --tls"),
            ("invalid peer certificate: UnknownIssuer", "--tls-ca-cert-files"),
            ("http2 error: connection error detected: frame with invalid size", "add --tls"),
            ("No such file or directory (os error 2)", "are you root"),
            ("tcp connect error: Connection refused (os error 111)", "--server HOST:PORT"),
        ] {
            assert!(advice(problem).contains(word), "{problem}: {}", advice(problem));
        }
    }
}
