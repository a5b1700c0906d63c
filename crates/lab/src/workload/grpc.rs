//! gRPC: a feed of what happens in a match, watched as a long stream and asked in single calls.
//!
//! ```proto
//! package live.v1;
//! service MatchFeed {
//!   rpc Watch(MatchRequest) returns (stream MatchEvent);
//!   rpc Score(MatchRequest) returns (MatchEvent);
//! }
//! ```
//! Two methods and two messages are written here by hand: generated code would be longer than all of this.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse, Uri, uri::PathAndQuery};
use tonic::codegen::{BoxFuture, Service, tokio_stream::Stream};
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use super::Asking;

const WATCH: &str = "/live.v1.MatchFeed/Watch";
const SCORE: &str = "/live.v1.MatchFeed/Score";

#[derive(Debug, Args)]
pub struct ServerArgs {
    #[arg(long, default_value = "[::]:50051")]
    listen: SocketAddr,
    /// milliseconds between two messages of a stream
    #[arg(long, default_value_t = 100)]
    pace: u64,
    /// messages of a stream
    #[arg(long, default_value_t = 600)]
    messages: u32,
}

#[derive(Debug, Args)]
pub struct ClientArgs {
    /// host:port
    #[arg(long)]
    to: String,
    /// of so many calls, one asks for a match that is not there; 0 = none
    #[arg(long, default_value_t = 0)]
    unknown_every: u64,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MatchRequest {
    #[prost(uint64, tag = "1")]
    number: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MatchEvent {
    #[prost(uint32, tag = "1")]
    minute: u32,
    #[prost(string, tag = "2")]
    text: String,
}

fn event(number: u32) -> MatchEvent {
    MatchEvent { minute: number / 60, text: format!("pass {number}") }
}

pub fn serve(args: ServerArgs) -> Result<()> {
    runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("listen on {}", args.listen))?;
        println!("ready");
        let feed = MatchFeed { pace: Duration::from_millis(args.pace), messages: args.messages };
        let clients = TcpListenerStream::new(listener);
        Server::builder()
            .tcp_nodelay(true)
            .add_service(feed)
            .serve_with_incoming(clients)
            .await
            .context("serve")
    })
}

#[derive(Clone, Copy)]
struct MatchFeed {
    pace: Duration,
    messages: u32,
}

impl MatchFeed {
    fn watch(self) -> impl Stream<Item = Result<MatchEvent, Status>> {
        let begun = tokio_stream::iter(1..=self.messages);
        begun.throttle(self.pace).map(|number| Ok(event(number)))
    }

    async fn score(request: Request<MatchRequest>) -> Result<Response<MatchEvent>, Status> {
        match request.into_inner().number {
            0 => Err(Status::not_found("no such match")),
            number => Ok(Response::new(event(number as u32))),
        }
    }
}

impl NamedService for MatchFeed {
    const NAME: &'static str = "live.v1.MatchFeed";
}

impl Service<HttpRequest<Body>> for MatchFeed {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let feed = *self;
        Box::pin(async move {
            let mut server = tonic::server::Grpc::new(ProstCodec::<MatchEvent, MatchRequest>::default());
            Ok(match request.uri().path() {
                WATCH => {
                    let watch =
                        move |_: Request<MatchRequest>| async move { Ok(Response::new(feed.watch())) };
                    server.server_streaming(tower::service_fn(watch), request).await
                }
                SCORE => server.unary(tower::service_fn(MatchFeed::score), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// One connection: a stream on it that is asked for again when it ends, and call after call.
pub fn ask(args: ClientArgs) -> Result<()> {
    println!("ready");
    runtime()?.block_on(async {
        loop {
            if let Err(error) = converse(&args).await {
                println!("failed {error:#}");
            }
            tokio::time::sleep(args.asking.every()).await;
        }
    })
}

/// Until the connection breaks.
async fn converse(args: &ClientArgs) -> Result<()> {
    let address = args.asking.resolver().resolve(&args.to)?;
    let origin: Uri =
        format!("http://{}", args.to).parse().with_context(|| format!("understand {}", args.to))?;
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .context("name the server")?
        .origin(origin)
        .connect_timeout(args.asking.timeout())
        .local_address(args.asking.bind)
        .connect()
        .await
        .with_context(|| format!("connect to {address}"))?;
    tokio::try_join!(watch(channel.clone()), score(channel, args)).map(drop)
}

async fn watch(channel: Channel) -> Result<()> {
    let mut client = tonic::client::Grpc::new(channel);
    loop {
        client.ready().await.context("wait for the connection")?;
        let request = Request::new(MatchRequest { number: 1 });
        let codec = ProstCodec::<MatchRequest, MatchEvent>::default();
        let answer = client.server_streaming(request, PathAndQuery::from_static(WATCH), codec).await;
        let mut stream = answer.context("watch")?.into_inner();
        let mut count = 0;
        while stream.message().await.context("watch")?.is_some() {
            count += 1;
        }
        println!("ok a stream of {count} messages");
    }
}

async fn score(channel: Channel, args: &ClientArgs) -> Result<()> {
    let mut client = tonic::client::Grpc::new(channel);
    for number in 1.. {
        tokio::time::sleep(args.asking.every()).await;
        client.ready().await.context("wait for the connection")?;
        let unknown = args.unknown_every > 0 && number % args.unknown_every == 0;
        let request = Request::new(MatchRequest { number: if unknown { 0 } else { number } });
        let codec = ProstCodec::<MatchRequest, MatchEvent>::default();
        let call = client.unary(request, PathAndQuery::from_static(SCORE), codec);
        let answer = tokio::time::timeout(args.asking.timeout(), call).await.context("wait for an answer")?;
        match answer {
            Ok(answer) => println!("{number} ok {}", answer.into_inner().text),
            Err(status) if status.code() == Code::NotFound => println!("{number} failed {status}"),
            Err(status) => return Err(status).context("call"),
        }
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start an async runtime")
}
