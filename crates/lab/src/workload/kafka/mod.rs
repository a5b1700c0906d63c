//! Kafka: a broker of one node, a producer and a consumer, on the `kafka-protocol` crate's messages.

mod broker;
mod client;
mod coordinator;
mod groups;
mod metadata;
mod records;
mod told;
mod topics;
mod versions;

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

pub use broker::{BrokerArgs, serve};
pub use client::{ConsumerArgs, ProducerArgs, consume, produce};

/// What a frame may have: more is no Kafka.
const LONGEST_FRAME: usize = 16 << 20;

/// A request or a response without its length. `None` at the end of the connection.
fn read_frame(stream: &mut impl Read) -> Result<Option<Bytes>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error).context("read a length"),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST_FRAME {
        bail!("a frame of {length} bytes; the most is {LONGEST_FRAME}");
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).context("read a frame")?;
    Ok(Some(frame.into()))
}

fn write_frame(stream: &mut impl Write, frame: &[u8]) -> Result<()> {
    let length = u32::try_from(frame.len()).context("count a frame's bytes")?;
    stream.write_all(&[&length.to_be_bytes(), frame].concat()).context("write a frame")
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}
