//! The client.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{Answer, Ask, ENCODING, NOTE, Tally};

#[derive(Debug, Args)]
pub struct ClientArgs {
    /// host:port
    #[arg(long)]
    to: String,
    /// a file with a call in JSON on each line
    #[arg(long)]
    plan: PathBuf,
    /// calls at once
    #[arg(long)]
    together: usize,
}

/// A call as it is to be made; see [`Ask`] for what the server is asked.
#[derive(Debug, Deserialize)]
struct Plan {
    path: String,
    trace: String,
    asks: u32,
    ask_size: u32,
    answers: u32,
    size: u32,
    pace_us: u32,
    code: u32,
    wait: bool,
    /// After the last answer.
    cancel: bool,
    /// 0 = none.
    deadline_ms: u64,
    gzip: bool,
    /// Bytes of binary metadata.
    note: usize,
}

/// One connection, all calls of the plan.
pub fn ask(args: ClientArgs) -> Result<()> {
    let text = std::fs::read_to_string(&args.plan)
        .with_context(|| format!("read the calls in {}", args.plan.display()))?;
    let plans: Vec<Plan> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .with_context(|| format!("understand the calls in {}", args.plan.display()))?;
    super::runtime()?.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{}", args.to))
            .context("name the server")?
            .connect()
            .await
            .with_context(|| format!("connect to {}", args.to))?;
        let (room, mut calls) = (Arc::new(Semaphore::new(args.together)), JoinSet::new());
        for plan in plans {
            let turn = Arc::clone(&room).acquire_owned().await.context("wait for a turn")?;
            let channel = channel.clone();
            calls.spawn(async move {
                let made = call(channel, &plan).await;
                drop(turn);
                made.with_context(|| format!("call {plan:?}"))
            });
        }
        while let Some(made) = calls.join_next().await {
            made.context("make a call")??;
        }
        Ok(())
    })
}

async fn call(channel: Channel, plan: &Plan) -> Result<()> {
    let mut tally = Tally::new(&plan.path, &plan.trace);
    let mut client = tonic::client::Grpc::new(channel).accept_compressed(Gzip);
    if plan.gzip {
        client = client.send_compressed(Gzip);
    }
    client.ready().await.context("wait for the connection")?;
    let note: Vec<u8> = (0..plan.note).map(|n| n as u8).collect();
    // Room for all: what is there at once may go into one packet.
    let (asking, asks) = mpsc::channel(plan.asks as usize);
    for number in 1..=plan.asks {
        let ask = ask_of(plan, number == plan.asks);
        tally.count(0, &ask);
        asking.send(ask).await.context("ask")?;
    }
    // A call that waits keeps its side open.
    let open = plan.wait.then_some(asking);
    let mut request = Request::new(ReceiverStream::new(asks));
    put_metadata(request.metadata_mut(), plan, &note)?;
    if plan.deadline_ms > 0 {
        request.set_timeout(Duration::from_millis(plan.deadline_ms));
    }
    let codec = ProstCodec::<Ask, Answer>::default();
    let path: PathAndQuery = plan.path.parse().context("understand a path")?;
    let mut echoed = None;
    let talk = async {
        let response = client.streaming(request, path, codec).await?;
        echoed = response.metadata().get_bin(NOTE).cloned();
        hear(plan, response.into_inner(), &mut tally).await
    };
    let ended = if plan.deadline_ms > 0 {
        // The library's own timer, which says Cancelled, is for the beginning of an answer only.
        let ended = tokio::time::timeout(Duration::from_millis(plan.deadline_ms), talk).await;
        ended.ok().filter(|ended| !matches!(ended, Err(status) if status.code() == Code::Cancelled))
    } else {
        Some(talk.await)
    };
    let ended = ended.unwrap_or_else(|| Err(Status::deadline_exceeded("as planned")));
    drop(open);
    tally.status = ended.as_ref().err().map_or(Code::Ok, Status::code);
    let echoed = echoed.or_else(|| ended.as_ref().err()?.metadata().get_bin(NOTE).cloned());
    let served = tally.status != Code::Unimplemented || plan.code == Code::Unimplemented as u32;
    if served && plan.note > 0 {
        let echoed = echoed.and_then(|value| value.to_bytes().ok());
        ensure!(echoed.as_deref() == Some(&note[..]), "the note came back as {echoed:?}");
    }
    Ok(())
}

/// Takes the answers in, until the call ends or is to be cancelled: by dropping it.
async fn hear(plan: &Plan, mut answers: Streaming<Answer>, tally: &mut Tally) -> Result<(), Status> {
    let each = if plan.path.ends_with("/Converse") { plan.asks } else { 1 };
    let wanted = u64::from(plan.answers * each);
    while let Some(answer) = answers.message().await? {
        tally.count(1, &answer);
        if plan.cancel && tally.messages[1] == wanted {
            return Err(Status::cancelled("as planned"));
        }
    }
    Ok(())
}

fn ask_of(plan: &Plan, last: bool) -> Ask {
    Ask {
        answers: plan.answers,
        size: plan.size,
        pace_us: plan.pace_us,
        code: if last { plan.code } else { 0 },
        wait: plan.wait && last,
        payload: vec![0; plan.ask_size as usize],
    }
}

fn put_metadata(metadata: &mut MetadataMap, plan: &Plan, note: &[u8]) -> Result<()> {
    let parent = format!("00-{}-00f067aa0ba902b7-01", plan.trace);
    metadata.insert("traceparent", parent.parse().context("make a traceparent")?);
    if !note.is_empty() {
        metadata.insert_bin(NOTE, BinaryMetadataValue::from_bytes(note));
    }
    if plan.gzip {
        metadata.insert(ENCODING, "gzip".parse().context("name an encoding")?);
    }
    Ok(())
}
