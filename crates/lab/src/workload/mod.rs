//! What runs in a lab's pods: small servers and clients that speak real protocols.
//!
//! Each prints `ready` once it serves, or has begun to ask, and a line for everything worth seeing
//! afterwards. Clients go on after errors, as real ones do.

mod dns_server;
mod grpc;
mod http;
mod kafka;
mod relay;
mod talk;
mod tcp;
mod udp;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::names::Resolver;

/// A workload and its arguments.
#[derive(Debug, Subcommand)]
pub enum Workload {
    /// HTTP/1.1 server that answers with its name
    HttpServer(http::ServerArgs),
    /// asks an HTTP server again and again
    HttpClient(http::ClientArgs),
    /// sends TCP bytes back
    TcpEcho(tcp::EchoArgs),
    /// keeps one TCP connection busy, line by line
    TcpClient(tcp::ClientArgs),
    /// sends UDP datagrams back
    UdpEcho(udp::EchoArgs),
    /// sends UDP datagrams and waits for each to come back
    UdpClient(udp::ClientArgs),
    /// takes in segments over TCP and acknowledges each
    SegmentStore(relay::StoreArgs),
    /// passes TCP connections on to another server
    Forward(relay::ForwardArgs),
    /// pushes segments to a store again and again
    Uploader(relay::UploaderArgs),
    /// answers for the names in a hosts file
    DnsServer(dns_server::ServerArgs),
    /// gRPC server of a match's events
    GrpcServer(grpc::ServerArgs),
    /// watches a match and asks for its score again and again, over one connection
    GrpcClient(grpc::ClientArgs),
    /// gRPC server for calls of every kind
    TalkServer(talk::ServerArgs),
    /// makes the gRPC calls that a file tells, and ends
    TalkClient(talk::ClientArgs),
    /// a Kafka broker of one node, with topics in memory
    KafkaBroker(kafka::BrokerArgs),
    /// sends messages to a Kafka topic
    KafkaProducer(kafka::ProducerArgs),
    /// fetches the messages of a Kafka topic
    KafkaConsumer(kafka::ConsumerArgs),
    /// the other end of `fathom-lab measure`
    MeasureServer(crate::measure::Listen),
}

/// What clients have in common.
#[derive(Debug, Args)]
pub struct Asking {
    /// milliseconds between two attempts
    #[arg(long, default_value_t = 500)]
    every: u64,
    /// milliseconds to wait for an answer
    #[arg(long, default_value_t = 1000)]
    timeout: u64,
    /// DNS server to ask for names
    #[arg(long)]
    dns: Option<IpAddr>,
    /// source address
    #[arg(long)]
    bind: Option<IpAddr>,
}

impl Asking {
    fn every(&self) -> Duration {
        Duration::from_millis(self.every)
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }

    fn resolver(&self) -> Resolver {
        Resolver { server: self.dns, timeout: self.timeout() }
    }
}

/// Runs until it is killed, or cannot begin.
pub fn run(workload: Workload) -> Result<()> {
    match workload {
        Workload::HttpServer(args) => http::serve(args),
        Workload::HttpClient(args) => http::ask(args),
        Workload::TcpEcho(args) => tcp::echo(args),
        Workload::TcpClient(args) => tcp::ask(args),
        Workload::UdpEcho(args) => udp::echo(args),
        Workload::UdpClient(args) => udp::ask(args),
        Workload::SegmentStore(args) => relay::store(args),
        Workload::Forward(args) => relay::forward(args),
        Workload::Uploader(args) => relay::upload(args),
        Workload::DnsServer(args) => dns_server::serve(args),
        Workload::GrpcServer(args) => grpc::serve(args),
        Workload::GrpcClient(args) => grpc::ask(args),
        Workload::TalkServer(args) => talk::serve(args),
        Workload::TalkClient(args) => talk::ask(args),
        Workload::KafkaBroker(args) => kafka::serve(args),
        Workload::KafkaProducer(args) => kafka::produce(args),
        Workload::KafkaConsumer(args) => kafka::consume(args),
        Workload::MeasureServer(args) => crate::measure::serve(&args),
    }
}

/// Repeats `attempt` for ever, telling each success and each change of mind.
fn repeat(every: Duration, mut attempt: impl FnMut(u64) -> Result<String>) -> Result<()> {
    println!("ready");
    for number in 1.. {
        match attempt(number) {
            Ok(text) => println!("{number} ok {text}"),
            Err(error) => println!("{number} failed {error:#}"),
        }
        std::thread::sleep(every);
    }
    Ok(())
}
