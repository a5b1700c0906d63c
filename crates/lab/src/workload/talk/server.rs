//! The server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{Answer, Ask, ENCODING, NOTE, SERVICE, Tally};

#[derive(Debug, Args)]
pub struct ServerArgs {
    #[arg(long)]
    listen: SocketAddr,
}

pub fn serve(args: ServerArgs) -> Result<()> {
    super::runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("listen on {}", args.listen))?;
        println!("ready");
        let clients = TcpListenerStream::new(listener);
        Server::builder()
            .tcp_nodelay(true)
            .add_service(Talk)
            .serve_with_incoming(clients)
            .await
            .context("serve")
    })
}

#[derive(Clone, Copy)]
struct Talk;

type Answers = ReceiverStream<Result<Answer, Status>>;
type Answering = mpsc::Sender<Result<Answer, Status>>;

/// A call under way.
struct Call {
    tally: Tally,
    note: Option<BinaryMetadataValue>,
    asks: Streaming<Ask>,
}

impl Call {
    async fn next(&mut self) -> Result<Option<Ask>, Status> {
        let ask = self.asks.message().await?;
        if let Some(ask) = &ask {
            self.tally.count(0, ask);
        }
        Ok(ask)
    }

    fn metadata(&self) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        if let Some(note) = &self.note {
            metadata.insert_bin(NOTE, note.clone());
        }
        metadata
    }

    fn begin(&self, answers: Answers) -> Response<Answers> {
        Response::from_parts(self.metadata(), answers, Default::default())
    }

    /// As the last message wants it.
    fn end(&mut self, ask: &Ask) -> Result<(), Status> {
        self.tally.status = Code::from(ask.code as i32);
        if self.tally.status == Code::Ok {
            return Ok(());
        }
        let text = format!("as it was asked: {}", ask.code);
        Err(Status::with_metadata(self.tally.status, text, self.metadata()))
    }

    /// One answer to all messages.
    async fn answer(mut self) -> Result<Response<Answers>, Status> {
        let mut last = None;
        while let Some(ask) = self.next().await? {
            last = Some(ask);
        }
        let ask = last.ok_or_else(|| Status::invalid_argument("nothing was asked"))?;
        if ask.wait {
            std::future::pending::<()>().await;
        }
        if ask.pace_us > 0 {
            sleep(pace(&ask)).await;
        }
        self.end(&ask)?;
        let answer = answer(1, &ask);
        self.tally.count(1, &answer);
        let (answering, answers) = mpsc::channel(1);
        // There is room for one.
        let _ = answering.try_send(Ok(answer));
        Ok(self.begin(ReceiverStream::new(answers)))
    }

    /// Several answers to each message.
    async fn answers(mut self) -> Result<Response<Answers>, Status> {
        let ask = self.next().await?.ok_or_else(|| Status::invalid_argument("nothing was asked"))?;
        if ask.answers == 0 {
            // Nothing comes before the status.
            self.end(&ask)?;
        }
        let (answering, answers) = mpsc::channel(64);
        let begun = self.begin(ReceiverStream::new(answers));
        tokio::spawn(self.converse(ask, answering));
        Ok(begun)
    }

    async fn converse(mut self, first: Ask, answering: Answering) {
        let mut ask = first;
        loop {
            if self.spread(&ask, &answering).await.is_none() {
                return;
            }
            if ask.wait {
                answering.closed().await;
                return;
            }
            match self.next().await {
                Ok(Some(next)) => ask = next,
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if let Err(status) = self.end(&ask) {
            let _ = answering.send(Err(status)).await;
        }
    }

    /// `None` = nobody listens any more.
    async fn spread(&mut self, ask: &Ask, answering: &Answering) -> Option<()> {
        let mut at = Instant::now();
        for number in 1..=ask.answers {
            at += pace(ask);
            if ask.pace_us > 0 {
                sleep_until(at).await;
            }
            let answer = answer(number, ask);
            self.tally.count(1, &answer);
            answering.send(Ok(answer)).await.ok()?;
        }
        Some(())
    }
}

fn pace(ask: &Ask) -> Duration {
    Duration::from_micros(ask.pace_us.into())
}

fn answer(number: u32, ask: &Ask) -> Answer {
    Answer { number, payload: vec![0; ask.size as usize] }
}

impl NamedService for Talk {
    const NAME: &'static str = SERVICE;
}

impl Service<HttpRequest<Body>> for Talk {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let one = match path.rsplit('/').next() {
                Some("One" | "Collect") => true,
                Some("Spread" | "Converse") => false,
                _ => return Ok(Status::unimplemented("no such method").into_http()),
            };
            let mut server = tonic::server::Grpc::new(ProstCodec::<Answer, Ask>::default());
            server = server.accept_compressed(Gzip);
            if request.headers().get(ENCODING).is_some_and(|encoding| encoding == "gzip") {
                server = server.send_compressed(Gzip);
            }
            let talk = |request: Request<Streaming<Ask>>| {
                let tally = Tally::new(&path, super::trace_of(request.metadata()));
                let note = request.metadata().get_bin(NOTE).cloned();
                let call = Call { tally, note, asks: request.into_inner() };
                async move { if one { call.answer().await } else { call.answers().await } }
            };
            Ok(server.streaming(tower::service_fn(talk), request).await)
        })
    }
}
