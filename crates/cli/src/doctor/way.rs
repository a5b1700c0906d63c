//! The way from this command to its server: there at all, how far, which version, which time.

use std::time::{Duration, Instant};

use fathom_api::fathom_v1::doctor_client::DoctorClient;
use fathom_api::fathom_v1::{Finding, PingRequest, PingResponse, Severity};
use fathom_api::time::{now, unix_ns};
use tonic::{Code, Status};

use crate::connect::{Authenticated, Connection};
use crate::terminal::quantity::latency;

/// Whom such findings are about.
const THIS: &str = "this command";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Pings; the fastest tells most.
const PINGS: usize = 3;
/// A clock that is off by more is told: people type times.
const CLOCK: Duration = Duration::from_secs(1);

fn finding(check: &str, severity: Severity, what: String) -> Finding {
    Finding {
        check: check.to_owned(),
        node_name: THIS.to_owned(),
        severity: severity.into(),
        what,
        ..Finding::default()
    }
}

/// No connection.
pub fn unreachable(error: &anyhow::Error) -> Finding {
    let text = format!("{error:#}");
    let (what, advice) = text.split_once('\n').unwrap_or((&text, ""));
    Finding {
        consequence: "nothing is known of any node".to_owned(),
        remedy: format!("{advice} On a node itself, fathom-agent check tells what the machine lacks.")
            .trim_start()
            .to_owned(),
        ..finding("server", Severity::Missing, what.to_owned())
    }
}

/// The server is there, and does not say how its nodes are.
pub fn unanswered(connection: &Connection, status: &Status) -> Finding {
    let text = format!("{:#}", connection.failed("how its nodes are", status));
    Finding {
        consequence: "nothing is known of its nodes".to_owned(),
        remedy: match status.code() {
            Code::Unimplemented => "ask an agent or a relay of Fathom's, of this version or newer".to_owned(),
            _ => "look into its log; --request-timeout gives it more time".to_owned(),
        },
        ..finding("server", Severity::Missing, text)
    }
}

/// Asks the server for its version and its time.
///
/// # Errors
/// It does not answer.
pub async fn look(
    client: &mut DoctorClient<Authenticated>,
    connection: &Connection,
) -> Result<Vec<Finding>, Box<Finding>> {
    let mut best: Option<(Duration, i64, PingResponse)> = None;
    for _ in 0..PINGS {
        let (asked, before) = (now(), Instant::now());
        let answer = client.ping(connection.request(PingRequest {})).await;
        let (trip, answer) = (before.elapsed(), answer.map_err(|status| unanswered(connection, &status))?);
        if best.as_ref().is_none_or(|(fastest, ..)| trip < *fastest) {
            best = Some((trip, asked, answer.into_inner()));
        }
    }
    let Some((trip, asked, answer)) = best else { return Ok(Vec::new()) };
    let mut found = vec![finding(
        "server",
        Severity::Ok,
        format!(
            "{} ({}) answers in {}",
            connection.server,
            answer.node_name,
            latency(trip.as_nanos() as u64)
        ),
    )];
    found.push(version(&answer));
    if let Some(time) = &answer.time {
        let middle = asked + trip.as_nanos() as i64 / 2;
        found.push(clock(unix_ns(time) - middle, trip / 2, &answer.node_name));
    }
    Ok(found)
}

fn version(answer: &PingResponse) -> Finding {
    if answer.version == VERSION {
        return finding("version", Severity::Ok, format!("{VERSION}, like {}", answer.node_name));
    }
    Finding {
        consequence: "a question or a field that only one of both knows is refused or left out".to_owned(),
        remedy: "use the command of the version that is installed in the cluster".to_owned(),
        ..finding(
            "version",
            Severity::Degraded,
            format!("{VERSION}, and {} is {}", answer.node_name, answer.version),
        )
    }
}

fn clock(ahead_ns: i64, exact: Duration, server: &str) -> Finding {
    let off = Duration::from_nanos(ahead_ns.unsigned_abs());
    let (off_text, exact_text) = (latency(off.as_nanos() as u64), latency(exact.as_nanos() as u64));
    let side = if ahead_ns < 0 { "behind" } else { "ahead of" };
    if off <= CLOCK + exact {
        let what = format!("{server} is {off_text} {side} this machine (± {exact_text})");
        return finding("clock", Severity::Ok, what);
    }
    Finding {
        consequence: "--since and --until are by this machine's clock, flows' times by the nodes'".to_owned(),
        remedy: "set the clock of whichever is wrong (chronyc tracking, timedatectl)".to_owned(),
        ..finding(
            "clock",
            Severity::Info,
            format!("{server} is {off_text} {side} this machine (± {exact_text})"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_told_apart_only_as_far_as_the_round_trip_lets() {
        let of = |ms: i64, exact| clock(ms * 1_000_000, Duration::from_millis(exact), "relay");
        assert_eq!(of(900, 1).severity(), Severity::Ok);
        assert_eq!(of(-3_000, 2_500).severity(), Severity::Ok, "it may be the way");
        let finding = of(-3_000, 1);
        assert_eq!(finding.severity(), Severity::Info);
        assert_eq!(finding.what, "relay is 3s behind this machine (± 1ms)");
    }

    #[test]
    fn versions_that_differ_are_named() {
        let answer = |version: &str| PingResponse { version: version.into(), ..Default::default() };
        assert_eq!(version(&answer(VERSION)).severity(), Severity::Ok);
        assert_eq!(version(&answer("99.0.0")).severity(), Severity::Degraded);
    }

    #[test]
    fn no_connection_says_where_else_to_look() {
        let finding = unreachable(&anyhow::anyhow!("cannot connect to x: refused\nIs it running?"));
        assert_eq!(finding.what, "cannot connect to x: refused");
        assert_eq!(
            finding.remedy,
            "Is it running? On a node itself, fathom-agent check tells what the machine lacks."
        );
    }
}
