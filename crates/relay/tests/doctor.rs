//! `fathom.v1.Doctor` of a relay over agents that are well, wrong by the clock, older, silent and not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use fathom_api::fathom_v1::doctor_server::{Doctor, DoctorServer};
use fathom_api::fathom_v1::{ExamineRequest, ExamineResponse, Finding, PingRequest, PingResponse, Severity};
use fathom_relay::dial::Dialer;
use fathom_relay::doctor::RelayDoctor;
use fathom_relay::peers::Peer;
use fathom_relay::pool::{Pace, Pool};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// An agent whose clock is so many seconds ahead.
#[derive(Clone, Copy)]
struct Agent {
    ahead: i64,
    version: &'static str,
    examines: bool,
}

const WELL: Agent = Agent { ahead: 0, version: env!("CARGO_PKG_VERSION"), examines: true };

#[tonic::async_trait]
impl Doctor for Agent {
    async fn examine(&self, _: Request<ExamineRequest>) -> Result<Response<ExamineResponse>, Status> {
        if !self.examines {
            return Err(Status::internal("not today"));
        }
        let finding = Finding {
            check: "kernel".into(),
            node_name: "lab/as-the-agent-says".into(),
            severity: Severity::Ok.into(),
            what: "6.18.1".into(),
            ..Finding::default()
        };
        Ok(Response::new(ExamineResponse { findings: vec![finding] }))
    }

    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        let time = fathom_api::time::now() + self.ahead * 1_000_000_000;
        Ok(Response::new(PingResponse {
            node_name: String::new(),
            version: self.version.into(),
            time: Some(fathom_api::time::timestamp(time)),
        }))
    }
}

async fn serve(directory: &Path, name: &str, routes: Routes) -> PathBuf {
    let socket = directory.join(name);
    let listeners = fathom_api::serve::Listeners::bind(&[], std::slice::from_ref(&socket), None, false)
        .await
        .expect("bind");
    tokio::spawn(async move {
        let (_keep, stop) = watch::channel(false);
        listeners.serve(routes, stop, Duration::ZERO).await.expect("serve");
    });
    socket
}

#[tokio::test]
async fn each_way_to_an_agent_is_told_with_what_is_wrong_on_it() {
    let directory = tempfile::tempdir().expect("tempdir");
    let mut peers = BTreeMap::new();
    let mut add = |name: &str, socket: &Path| {
        let target = format!("unix://{}", socket.display());
        let peer = Peer { name: name.into(), target: target.into(), tls_server_name: None };
        peers.insert(Arc::from(name), peer);
    };
    for (name, agent) in [
        ("ahead", Agent { ahead: 3, ..WELL }),
        ("other", Agent { version: "0.0.1", ..WELL }),
        ("silent", Agent { examines: false, ..WELL }),
        ("well", WELL),
    ] {
        add(name, &serve(directory.path(), name, Routes::new(DoctorServer::new(agent))).await);
    }
    add("gone", &directory.path().join("nobody"));
    add("older", &serve(directory.path(), "older", Routes::default()).await);

    let tls = fathom_relay::config::Config::parse_from(["fathom-relay"]).tls;
    let (_list, known) = watch::channel(Arc::new(peers));
    let pace = Pace::retrying(Duration::from_millis(10), Duration::from_millis(50));
    let pool = Pool::start(known, Arc::new(Dialer::new(&tls).expect("dialer")), pace);
    pool.settled(Duration::from_secs(5)).await;
    let relay = RelayDoctor { pool, relay_name: "relay".into() };
    let answer = relay.examine(Request::new(ExamineRequest {})).await.expect("an answer").into_inner();
    let of = |node: &str, check: &str| -> Vec<(Severity, String)> {
        let is = |finding: &&Finding| finding.node_name == node && finding.check == check;
        answer.findings.iter().filter(is).map(|finding| (finding.severity(), finding.what.clone())).collect()
    };
    let only = |node: &str, check: &str| match &of(node, check)[..] {
        [finding] => finding.clone(),
        _ => panic!("{node} {check}: {:#?}", answer.findings),
    };

    assert_eq!(answer.findings[0].check, "agents");
    assert!(answer.findings[0].what.starts_with("5 of 6 agents are connected"), "{:?}", answer.findings[0]);
    // Two clocks on one machine: as exact as the round trip.
    let (severity, what) = only("well", "clock");
    assert_eq!(severity, Severity::Ok, "{what}");
    let (severity, what) = only("ahead", "clock");
    assert!(what.starts_with("3.0s ahead of the relay's"), "{what}");
    assert_eq!(severity, Severity::Degraded);
    assert_eq!(only("well", "kernel").1, "6.18.1", "named as the relay names it");
    assert_eq!(only("well", "version").0, Severity::Ok);
    assert_eq!(only("other", "version").0, Severity::Degraded);
    assert_eq!(only("older", "version").0, Severity::Degraded);
    let (severity, what) = only("gone", "agent");
    assert_eq!(severity, Severity::Missing);
    assert!(what.contains("is not reached"), "{what}");
    let silent = of("silent", "agent");
    assert!(
        silent.iter().any(|(severity, what)| *severity == Severity::Degraded && what.contains("not today")),
        "{silent:?}"
    );
    let pong = relay.ping(Request::new(PingRequest {})).await.expect("a pong").into_inner();
    assert_eq!((&*pong.node_name, &*pong.version), ("relay", env!("CARGO_PKG_VERSION")));
}
