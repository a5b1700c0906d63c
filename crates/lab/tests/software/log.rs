//! What a server's log names, and how it is compared with what was told.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::books::Page;
use crate::message::{Exchange, exchanges};

/// Exchanges in words ("GET http://host/path HTTP/1.1 200"), per connection, in its order.
pub type Log = BTreeMap<SocketAddr, Vec<String>>;

/// An HTTP exchange in words.
#[track_caller]
pub fn http_words(exchange: &Exchange) -> String {
    let asked = exchange.asked();
    let http = asked.http();
    let status = match &exchange.response {
        Some(response) if response.facts.reset_code.is_some() => "reset".to_owned(),
        response => response.as_ref().map_or(0, |response| response.http().code).to_string(),
    };
    format!("{} {} {} {status}", http.method, http.url, http.protocol)
}

/// What a node told of HTTP, per connection.
#[track_caller]
pub fn told(page: &Page, server_port: u16) -> Log {
    let mut log = Log::new();
    for exchange in exchanges(&page.messages).values() {
        let asked = exchange.asked();
        assert_eq!(asked.server.port(), server_port, "{asked:?}");
        log.entry(asked.client).or_default().push(http_words(exchange));
    }
    log
}

/// Every line of the server's log was told, in its connection's order, and nothing else.
///
/// A client that hangs up with requests under way leaves up to `under_way` of them per connection that
/// the server never read or could not answer.
#[track_caller]
pub fn same(node: &str, logged: &Log, told: &Log, under_way: usize) {
    let clients = |log: &Log| log.keys().copied().collect::<Vec<_>>();
    if under_way == 0 {
        assert_eq!(clients(told), clients(logged), "connections on {node}");
    }
    for (client, logged) in logged {
        let told = told.get(client).unwrap_or_else(|| panic!("{node}: nothing of {client}: {logged:?}"));
        let sure = logged.len().saturating_sub(under_way);
        for (n, line) in logged.iter().take(sure).enumerate() {
            assert_eq!(told.get(n), Some(line), "{node}: {client}: exchange {n} of {}", logged.len());
        }
        for (line, told) in logged.iter().zip(told).skip(sure) {
            let words = |line: &str| line.rsplit_once(' ').map(|(asked, _)| asked.to_owned());
            assert_eq!(words(told), words(line), "{node}: {client}: under way at the end");
        }
        let more = told.len().checked_sub(logged.len());
        assert!(
            more.is_some_and(|more| more <= under_way),
            "{node}: {client}: {} were logged, {} told; the last: {:?}",
            logged.len(),
            told.len(),
            told.last()
        );
    }
    for (client, told) in told.iter().filter(|(client, _)| !logged.contains_key(client)) {
        assert!(told.len() <= under_way, "{node}: {client}: told and not logged: {told:?}");
    }
}

/// How many exchanges a log has.
pub fn count(log: &Log) -> usize {
    log.values().map(Vec::len).sum()
}

/// The same lines, each as often, in any order; says which are missing and which are too many.
#[track_caller]
pub fn same_lines(
    what: &str,
    told: impl IntoIterator<Item = String>,
    said: impl IntoIterator<Item = String>,
) {
    let mut count = BTreeMap::<String, (i64, i64)>::new();
    told.into_iter().for_each(|line| count.entry(line).or_default().0 += 1);
    said.into_iter().for_each(|line| count.entry(line).or_default().1 += 1);
    count.retain(|_, (told, said)| told != said);
    assert!(count.is_empty(), "{what}: line: (times told, times it should be): {count:#?}");
}
