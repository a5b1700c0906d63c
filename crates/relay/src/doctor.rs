//! `fathom.v1.Doctor` for the whole cluster: what each agent finds on its node, and what the relay finds on the
//! way to it: there or not, since when, how far, which version, which time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_api::fathom_v1::doctor_client::DoctorClient;
use fathom_api::fathom_v1::doctor_server::Doctor;
use fathom_api::fathom_v1::{ExamineRequest, ExamineResponse, Finding, PingRequest, PingResponse, Severity};
use fathom_api::time::{now, timestamp, unix_ns};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::pool::{Node, Pool, State};
use crate::service::{VERSION, ask_all};

/// Pings of each agent; the fastest tells most.
const PINGS: usize = 5;
/// A clock that is off by more is told: flows of several nodes are put in order by time.
const CLOCK: Duration = Duration::from_millis(100);
/// An error of a connection that stands again is worth knowing for so long.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// The relay's fathom.v1.Doctor.
#[derive(Clone)]
pub struct RelayDoctor {
    pub pool: Pool,
    pub relay_name: Arc<str>,
}

/// The fastest of several pings.
struct Trip {
    took: Duration,
    /// How far the agent's clock is ahead of ours.
    ahead_ns: i64,
    version: String,
}

#[tonic::async_trait]
impl Doctor for RelayDoctor {
    async fn examine(&self, _: Request<ExamineRequest>) -> Result<Response<ExamineResponse>, Status> {
        let trips = ask_all(&self.pool, |channel| async move { trip(channel).await.map(Response::new) });
        let trips = trips.await;
        let answers = ask_all(&self.pool, |channel| async move {
            DoctorClient::new(channel).examine(ExamineRequest {}).await
        });
        let mut answers = answers.await;
        let mut findings = vec![agents(&self.relay_name, &trips)];
        for (node, trip) in &trips {
            findings.extend(hop(node, trip));
            let at = answers.iter().position(|(other, _)| other.peer.name == node.peer.name);
            match (at.map(|at| answers.swap_remove(at).1), trip) {
                // Named as the relay names it: agents add their cluster.
                (Some(Ok(answer)), _) => findings.extend(
                    answer
                        .findings
                        .into_iter()
                        .map(|finding| Finding { node_name: node.peer.name.to_string(), ..finding }),
                ),
                (Some(Err(status)), Ok(_)) => findings.push(silent(node, &status)),
                // The hop says why.
                (Some(Err(_)) | None, _) => {}
            }
        }
        Ok(Response::new(ExamineResponse { findings }))
    }

    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        Ok(Response::new(PingResponse {
            node_name: self.relay_name.to_string(),
            version: VERSION.to_owned(),
            time: Some(timestamp(now())),
        }))
    }
}

async fn trip(channel: Channel) -> Result<Trip, Status> {
    let mut client = DoctorClient::new(channel);
    let mut best: Option<Trip> = None;
    for _ in 0..PINGS {
        let (asked, before) = (now(), Instant::now());
        let answer = client.ping(PingRequest {}).await?.into_inner();
        let took = before.elapsed();
        // The answer was given somewhere in between: that is how exact it is.
        let middle = asked + took.as_nanos() as i64 / 2;
        let ahead_ns = answer.time.as_ref().map_or(0, |time| unix_ns(time) - middle);
        if best.as_ref().is_none_or(|best| took < best.took) {
            best = Some(Trip { took, ahead_ns, version: answer.version });
        }
    }
    best.ok_or_else(|| Status::internal("no ping was sent"))
}

fn finding(node: &str, check: &str, severity: Severity, what: String) -> Finding {
    Finding {
        check: check.to_owned(),
        node_name: node.to_owned(),
        severity: severity.into(),
        what,
        ..Finding::default()
    }
}

/// The relay's own: whether there is anybody to ask.
fn agents(relay: &str, trips: &[(Node, Result<Trip, Status>)]) -> Finding {
    let connected = trips.iter().filter(|(node, _)| matches!(node.state, State::Connected(_))).count();
    if trips.is_empty() {
        return Finding {
            consequence: "there are no flows of any node".to_owned(),
            remedy: "name agents with --peer, or the service that lists them with --peer-service".to_owned(),
            ..finding(relay, "agents", Severity::Missing, "no agents are known".to_owned())
        };
    }
    let what = format!("{connected} of {} agents are connected; version {VERSION}", trips.len());
    finding(relay, "agents", Severity::Ok, what)
}

/// The way from the relay to one agent.
fn hop(node: &Node, trip: &Result<Trip, Status>) -> Vec<Finding> {
    let name = &*node.peer.name;
    let target = &node.peer.target;
    let since = ago(now() - node.since);
    let lost = |what: String| Finding {
        consequence: "its flows are missing from every answer until it is back".to_owned(),
        remedy: format!(
            "see whether the agent runs on {name}, what its log says, and whether {target} is open from the relay"
        ),
        ..finding(name, "agent", Severity::Missing, what)
    };
    match (&node.state, trip) {
        (State::Unavailable(why), _) => vec![lost(format!("{target} is not reached, for {since}: {why}"))],
        (State::Connecting, _) => vec![lost(format!("{target} is not connected yet, for {since}"))],
        (State::Connected(_), Err(status)) if status.code() == Code::Unimplemented => vec![Finding {
            consequence: "it does not tell how its node is, nor its time".to_owned(),
            remedy: "bring agents and relay to one version".to_owned(),
            ..finding(
                name,
                "version",
                Severity::Degraded,
                format!("the agent at {target} is older than the relay, {VERSION}"),
            )
        }],
        (State::Connected(_), Err(status)) => {
            vec![lost(format!("{target} is connected and does not answer: {}", status.message()))]
        }
        (State::Connected(_), Ok(trip)) => {
            let what = format!("connected for {since} ({target}), answers in {}", short(trip.took));
            let mut found = vec![finding(name, "agent", Severity::Ok, what)];
            found.extend(last_error(node, now()));
            found.push(version(name, &trip.version));
            found.push(clock(name, trip.ahead_ns, trip.took / 2));
            found
        }
    }
}

fn last_error(node: &Node, now: i64) -> Option<Finding> {
    let (time, why) = node.last_error.as_ref()?;
    let age = now - time;
    (age < RECENT.as_nanos() as i64).then(|| Finding {
        consequence: "flows of that time may be missing from answers that followed; the agent still has them"
            .to_owned(),
        ..finding(
            &node.peer.name,
            "agent",
            Severity::Info,
            format!("was not reached {} ago: {why}", ago(age)),
        )
    })
}

fn version(name: &str, agents: &str) -> Finding {
    if agents == VERSION {
        return finding(name, "version", Severity::Ok, format!("{VERSION}, like the relay"));
    }
    Finding {
        consequence: "what only one of both knows is left out of its answers".to_owned(),
        remedy: "bring agents and relay to one version; in the middle of a rollout, wait for its end"
            .to_owned(),
        ..finding(name, "version", Severity::Degraded, format!("the agent is {agents}, the relay {VERSION}"))
    }
}

fn clock(name: &str, ahead_ns: i64, exact: Duration) -> Finding {
    let off = Duration::from_nanos(ahead_ns.unsigned_abs());
    let side = if ahead_ns < 0 { "behind" } else { "ahead of" };
    let what = format!("{} {side} the relay's, give or take {}", short(off), short(exact));
    if off <= CLOCK + exact {
        return finding(name, "clock", Severity::Ok, what);
    }
    Finding {
        consequence: "its flows stand in the wrong place among those of other nodes, and --since takes too many of them or too few".to_owned(),
        remedy: "let both follow the same time servers (chronyc tracking, timedatectl)".to_owned(),
        ..finding(name, "clock", Severity::Degraded, what)
    }
}

/// The agent is there, and its examination is not.
fn silent(node: &Node, status: &Status) -> Finding {
    Finding {
        consequence: "what is wrong on this node is not known".to_owned(),
        remedy: format!("run fathom-agent check on {}", node.peer.name),
        ..finding(
            &node.peer.name,
            "agent",
            Severity::Degraded,
            format!("did not say how its node is: {}", status.message()),
        )
    }
}

/// `3h`, `5m`, `12s`.
fn ago(ns: i64) -> String {
    let seconds = ns.max(0) / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `0.4ms`, `2.5s`.
fn short(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 1000.0 { format!("{ms:.1}ms") } else { format!("{:.1}s", ms / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peer;

    fn node(state: State) -> Node {
        let peer = Peer { name: "node-a".into(), target: "10.0.0.1:4244".into(), tls_server_name: None };
        Node { peer, state, generation: 0, since: now() - 90_000_000_000, last_error: None }
    }

    #[test]
    fn an_agent_that_is_not_reached_is_told_with_since_when_and_why() {
        let found = hop(&node(State::Unavailable("refused".into())), &Err(Status::unavailable("refused")));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].severity(), &*found[0].check), (Severity::Missing, "agent"));
        assert_eq!(found[0].what, "10.0.0.1:4244 is not reached, for 1m: refused");
        let none = agents("relay", &[]);
        assert_eq!(none.severity(), Severity::Missing);
    }

    #[test]
    fn a_clock_is_off_when_the_round_trip_cannot_explain_it() {
        let of = |ms: i64, exact: u64| clock("a", ms * 1_000_000, Duration::from_millis(exact));
        assert_eq!(of(-90, 0).severity(), Severity::Ok);
        assert_eq!(of(400, 350).severity(), Severity::Ok);
        let finding = of(-3_000, 1);
        assert_eq!(finding.severity(), Severity::Degraded);
        assert_eq!(finding.what, "3.0s behind the relay's, give or take 1.0ms");
    }

    #[test]
    fn a_connection_that_broke_not_long_ago_is_worth_knowing() {
        let mut node = node(State::Connecting);
        assert_eq!(last_error(&node, now()), None);
        let time = now();
        node.last_error = Some((time, "broken pipe".into()));
        let finding = last_error(&node, time + 130_000_000_000).unwrap();
        assert_eq!(finding.what, "was not reached 2m ago: broken pipe");
        assert_eq!(last_error(&node, time + 3_600_000_000_000), None);
    }

    #[test]
    fn versions_are_compared_with_the_relays() {
        assert_eq!(version("a", VERSION).severity(), Severity::Ok);
        assert!(version("a", "99.1.0").what.contains("99.1.0"));
    }
}
