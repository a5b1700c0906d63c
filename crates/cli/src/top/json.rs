//! The numbers as one JSON object.

use std::time::Duration;

use fathom_api::flow::LostEventSource;
use serde::Serialize;

use super::numbers::Windowed;
use super::report::Report;
use super::routes::Route;

/// Field names are a promise: scripts read them.
#[derive(Serialize)]
struct Object<'a> {
    time: String,
    /// Seconds that numbers have been counted.
    elapsed_s: f64,
    /// Seconds that rates are of.
    interval_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_s: Option<f64>,
    #[serde(flatten)]
    all: Row<'a>,
    routes: Vec<Row<'a>>,
    /// How many there are, shown or not.
    routes_total: usize,
    /// Exchanges beyond --max-routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<Row<'a>>,
    /// Without a latency.
    unmeasured: u64,
    /// Latencies out of range, counted as its end.
    clamped: u64,
    /// Left out because the server's node reported them, too.
    reported_twice: u64,
    lost: Vec<Lost<'a>>,
    missing_nodes: Vec<&'a str>,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    route: Option<Name<'a>>,
    count: u64,
    rate: Option<f64>,
    client_errors: u64,
    errors: u64,
    unanswered: u64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    p999_us: Option<u64>,
}

#[derive(Serialize)]
struct Name<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    service: &'a str,
    protocol: &'static str,
    method: &'a str,
    path: &'a str,
}

#[derive(Serialize)]
struct Lost<'a> {
    node: &'a str,
    source: String,
    events: u64,
}

fn row<'a>(report: &Report<'_>, route: Option<&'a Route>, numbers: &Windowed) -> Row<'a> {
    let figures = report.figures(numbers);
    let [p50_us, p99_us, p999_us] = figures.latencies;
    let name = |route: &'a Route| Name {
        service: &route.service,
        protocol: route.protocol.name(),
        method: &route.method,
        path: &route.path,
    };
    Row {
        route: route.map(name),
        count: figures.numbers.count,
        rate: figures.rate.map(|rate| (rate * 1_000.0).round() / 1_000.0),
        client_errors: figures.numbers.client_errors,
        errors: figures.numbers.errors,
        unanswered: figures.numbers.unanswered,
        p50_us,
        p99_us,
        p999_us,
    }
}

/// One line, without its end.
pub fn line(report: &Report<'_>) -> serde_json::Result<String> {
    let routes = report.routes.sorted(report.sort);
    let shown = report.limit.unwrap_or(usize::MAX).min(routes.len());
    let (all, other) = (report.routes.all(), report.routes.other());
    let source = |number: i32| match LostEventSource::try_from(number) {
        Ok(source) => source.as_str_name().to_owned(),
        Err(_) => number.to_string(),
    };
    let lost = report.tally.losses();
    let object = Object {
        time: report.at.to_string(),
        elapsed_s: seconds(report.elapsed),
        interval_s: report.span.map(seconds),
        window_s: report.window.map(seconds),
        all: row(report, None, all),
        routes: routes[..shown].iter().map(|(route, numbers)| row(report, Some(route), numbers)).collect(),
        routes_total: routes.len(),
        other: (other.total(|numbers| numbers.count) > 0).then(|| row(report, None, other)),
        unmeasured: all.total(|numbers| numbers.unmeasured),
        clamped: all.total(|numbers| numbers.clamped),
        reported_twice: report.routes.twice,
        lost: lost.map(|(node, number, events)| Lost { node, source: source(number), events }).collect(),
        missing_nodes: report.tally.missing.iter().map(String::as_str).collect(),
    };
    serde_json::to_string(&object)
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1_000.0
}
