//! A Kafka broker of one node: topics and groups in memory, one thread per connection, and a line per
//! request (`told.rs`). No transactions or authentication; a request for those ends its connection.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use clap::Args;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::groups::Groups;
use super::told::Told;
use super::topics::Topics;
use super::versions::{Limit, Spoken};
use super::{read_frame, write_frame};

pub const NODE: BrokerId = BrokerId(0);
/// Connections at a time; more are closed at once.
const CONNECTIONS: usize = 1000;

#[derive(Debug, Args)]
pub struct BrokerArgs {
    #[arg(long, default_value = "[::]:9092")]
    listen: SocketAddr,
    /// host:port that clients are sent to; the address they came to when not given
    #[arg(long)]
    advertise: Option<String>,
    /// a topic that is there from the beginning
    #[arg(long)]
    topic: Vec<String>,
    /// partitions of a topic
    #[arg(long, default_value_t = 1)]
    pub partitions: u16,
    /// have no other topics than those
    #[arg(long)]
    pub no_new_topics: bool,
    /// bytes a batch may have
    #[arg(long, default_value_t = 1_048_576)]
    pub largest: usize,
    /// speak an API up to this version only, as an older broker does ("Fetch=4")
    #[arg(long, value_name = "API=VERSION")]
    newest: Vec<Limit>,
}

pub fn serve(args: BrokerArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("listen on {}", args.listen))?;
    let topics = Topics::default();
    for name in &args.topic {
        topics.lock().create(name, args.partitions).with_context(|| format!("create topic {name}"))?;
    }
    let spoken = Spoken::new(&args.newest);
    let broker = Arc::new(Broker { args, spoken, topics, groups: Groups::default() });
    println!("ready");
    for stream in listener.incoming().flatten() {
        // The listener's own one is none of a connection's.
        if Arc::strong_count(&broker) > CONNECTIONS {
            println!("refused a connection: there are {CONNECTIONS}");
            continue;
        }
        let broker = broker.clone();
        std::thread::spawn(move || {
            if let Err(error) = broker.talk(stream) {
                println!("failed {error:#}");
            }
        });
    }
    Ok(())
}

pub struct Broker {
    pub args: BrokerArgs,
    pub spoken: Spoken,
    pub topics: Topics,
    pub groups: Groups,
}

/// Where clients are sent to.
pub struct Here {
    pub host: String,
    pub port: i32,
}

/// A response, and what the log tells of it. None where none is wanted.
pub type Answer = (Option<ResponseKind>, Told);

impl Broker {
    fn talk(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let client = canonical(stream.peer_addr().context("learn the client's address")?);
        let here = self.here(canonical(stream.local_addr().context("learn the local address")?))?;
        let mut writer = stream.try_clone().context("duplicate the connection")?;
        let mut reader = BufReader::new(stream);
        while let Some(frame) = read_frame(&mut reader)? {
            let (answer, line) = self.answer(frame, &here)?;
            // A client that has gone may have asked for more before: all of it is answered, and told.
            let sent = match answer {
                None => " unanswered",
                Some(answer) => write_frame(&mut writer, &answer).map_or(" unsent", |()| ""),
            };
            println!("{client} {line}{sent}");
        }
        Ok(())
    }

    fn here(&self, local: SocketAddr) -> Result<Here> {
        let advertised = self.args.advertise.clone().unwrap_or_else(|| local.to_string());
        let (host, port) = advertised.rsplit_once(':').with_context(|| format!("{advertised}: no port"))?;
        let port = port.parse().with_context(|| format!("{port}: not a port"))?;
        Ok(Here { host: host.trim_matches(['[', ']']).to_owned(), port })
    }

    /// A whole response, or none where none is wanted; and the request's line in the log.
    fn answer(&self, mut frame: Bytes, here: &Here) -> Result<(Option<BytesMut>, String)> {
        let (Some(key), Some(version)) = (short(&frame, 0), short(&frame, 2)) else {
            bail!("a request of {} bytes", frame.len())
        };
        let Some((api, oldest, newest)) = self.spoken.of(key) else {
            bail!("request {key} is not spoken here")
        };
        let fits = (oldest..=newest).contains(&version);
        if !fits && api != ApiKey::ApiVersions {
            bail!("{api:?} version {version} is not spoken here, {oldest} to {newest} are");
        }
        // Who asks for the versions in a version that is not known gets them in the oldest.
        let answered = if fits { version } else { 0 };
        let header = if fits {
            RequestHeader::decode(&mut frame, api.request_header_version(version))
        } else {
            RequestHeader::decode(&mut frame, 1)
        }
        .with_context(|| format!("read the header of {api:?} version {version}"))?;
        let client = header.client_id.as_deref().unwrap_or("");
        let (response, told) = if fits {
            let request = RequestKind::decode(api, &mut frame, version)
                .with_context(|| format!("read {api:?} version {version}"))?;
            self.handle(request, version, client, here)?
        } else {
            let error = ResponseError::UnsupportedVersion.code();
            (Some(self.spoken.response(error)), Told::error(error))
        };
        let line = format!(
            "{api:?} v{version} client={client} correlation={} topics={} errors={}",
            header.correlation_id,
            told.topics.join(","),
            told.errors()
        );
        let Some(response) = response else { return Ok((None, line)) };
        let mut bytes = BytesMut::new();
        ResponseHeader::default()
            .with_correlation_id(header.correlation_id)
            .encode(&mut bytes, api.response_header_version(answered))
            .and_then(|()| response.encode(&mut bytes, answered))
            .with_context(|| format!("write the answer to {api:?} version {version}"))?;
        Ok((Some(bytes), line))
    }

    fn handle(&self, request: RequestKind, version: i16, client: &str, here: &Here) -> Result<Answer> {
        Ok(match request {
            RequestKind::ApiVersions(_) => (Some(self.spoken.response(0)), Told::error(0)),
            RequestKind::Metadata(request) => self.metadata(&request, version, here),
            RequestKind::CreateTopics(request) => self.create_topics(&request),
            RequestKind::Produce(request) => self.produce(&request),
            RequestKind::Fetch(request) => self.fetch(&request, version),
            RequestKind::ListOffsets(request) => self.list_offsets(&request, version),
            RequestKind::InitProducerId(_) => self.init_producer_id(),
            RequestKind::FindCoordinator(request) => self.find_coordinator(&request, version, here),
            RequestKind::JoinGroup(request) => self.join_group(&request, version, client),
            RequestKind::SyncGroup(request) => self.sync_group(&request),
            RequestKind::Heartbeat(request) => self.heartbeat(&request),
            RequestKind::LeaveGroup(request) => self.leave_group(&request, version),
            RequestKind::OffsetCommit(request) => self.offset_commit(&request),
            RequestKind::OffsetFetch(request) => self.offset_fetch(&request, version),
            other => bail!("{other:?} is not spoken here"),
        })
    }
}

/// The number of an error, 0 for none.
pub fn code<T>(outcome: &Result<T, ResponseError>) -> i16 {
    outcome.as_ref().err().map_or(0, ResponseError::code)
}

/// IPv4 as such, also where the socket is IPv6's.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn short(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
#[path = "broker_tests.rs"]
mod tests;
