//! gRPC: grpcio in Python and tonic, each as server and as client of the other and of itself.

mod ends;
mod plan;
mod told;

use std::net::SocketAddr;

pub use ends::{Kind, Talk};
pub use plan::Plan;
use told::{Told, grpc};

use crate::books::Books;
use crate::site::{FAR, NEAR, NODES, PLACEMENTS, Server, site};
use crate::support::eventually;

/// Every kind of client in every place, in one go.
const CLIENTS: [(Kind, &str); 4] =
    [(Kind::Grpcio, NEAR), (Kind::Grpcio, FAR), (Kind::Tonic, NEAR), (Kind::Tonic, FAR)];
/// Calls under way on each connection.
const TOGETHER: usize = 4;

#[test]
fn calls_to_grpcio_agree_with_the_flows() {
    all_calls_agree(Kind::Grpcio);
}

#[test]
fn calls_to_tonic_agree_with_the_flows() {
    all_calls_agree(Kind::Tonic);
}

#[track_caller]
fn all_calls_agree(kind: Kind) {
    let site = site();
    let talk = Talk::new(&site);
    let server = talk.serve(kind);
    let to = SocketAddr::new(site.server(), kind.port());
    let books = NODES.map(|node| Books::open(site.lab, node));
    let made = ask_all(&talk, to, |from, client| plan::every_kind(from, kind, client));
    for book in books {
        agree(book, (kind, to), &made, &server);
    }
}

/// How often a stream's messages come: it takes twice the five seconds between samples, and four more
/// for a machine that has other things to do.
const PACE_US: u32 = 1400;
const LONG: u32 = 10_000;
const BETWEEN_SAMPLES_NS: u64 = 5_000_000_000;

#[test]
fn a_stream_of_ten_thousand_messages_tells_its_running_count() {
    let site = site();
    let talk = Talk::new(&site);
    let kinds = [Kind::Grpcio, Kind::Tonic];
    let servers = kinds.map(|kind| talk.serve(kind));
    let books = NODES.map(|node| Books::open(site.lab, node));
    let long = |client| {
        let mut plan = Plan::new("Spread", client, 1);
        (plan.answers, plan.pace_us) = (LONG, PACE_US);
        vec![plan]
    };
    let tos = kinds.map(|kind| SocketAddr::new(site.server(), kind.port()));
    let made: [Vec<Made>; 2] = std::thread::scope(|scope| {
        let (talk, long) = (&talk, &long);
        let asking = [0, 1].map(|n| {
            let to = tos[n];
            scope.spawn(move || ask_all(talk, to, |_, client| long(client + 16 * n as u32)))
        });
        asking.map(|thread| thread.join().unwrap())
    });
    drop(servers);
    for book in books {
        let here = |made: &&Made| is_told(made.place, book.node());
        let due = made.iter().flatten().filter(here).count() as u64;
        let page = book.close("long streams", |counts| counts.get("responses") >= due);
        page.is_complete();
        let mut calls = told::by_trace(&page);
        for (to, made) in kinds.into_iter().zip(tos).zip(&made) {
            for made in made.iter().filter(|made| is_told(made.place, &page.node)) {
                let (plan, told) = (&made.plans[0], &made.told[0]);
                let call = calls.remove(&plan.trace).expect("every call is told");
                told::same(&page.node, to, plan, told, &call);
                assert_eq!(grpc(call.answered()).server_messages, LONG);
                let counts: Vec<(u64, u32)> = call
                    .samples
                    .iter()
                    .map(|sample| (sample.facts.duration_ns, grpc(sample).server_messages))
                    .collect();
                assert!(counts.len() >= 2, "{}: {counts:?}", page.node);
                let mut before = (0, 0);
                for (at, count) in counts {
                    assert!(at >= before.0 + BETWEEN_SAMPLES_NS && count > before.1, "{at}: {count}");
                    // None can have come before its time, and few come much later.
                    let due = at / 1000 / u64::from(PACE_US);
                    assert!(u64::from(count) <= due && u64::from(count) > due / 2, "{at}: {count} of {due}");
                    before = (at, count);
                }
                assert!(before.1 <= LONG);
            }
        }
        assert!(calls.is_empty(), "{}: {calls:?}", page.node);
    }
}

/// What a client did.
struct Made {
    place: &'static str,
    plans: Vec<Plan>,
    told: Vec<Told>,
}

/// Every client makes the calls planned for its number.
fn ask_all(talk: &Talk<'_>, to: SocketAddr, plans: impl Fn(Kind, u32) -> Vec<Plan> + Sync) -> Vec<Made> {
    let (plans, to) = (&plans, &to.to_string());
    std::thread::scope(|scope| {
        let ask = |(client, (kind, place)): (u32, (Kind, &'static str))| {
            scope.spawn(move || {
                let plans = plans(kind, client);
                let told = talk.ask(kind, place, to, &plans, TOGETHER);
                Made { place, plans, told }
            })
        };
        let threads: Vec<_> = (1..).zip(CLIENTS).map(ask).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn is_told(place: &str, node: &str) -> bool {
    PLACEMENTS.iter().any(|(client, nodes)| *client == place && nodes.contains(&node))
}

/// Client, server and flows tell of the same calls, and of no others.
#[track_caller]
fn agree(book: Books<'_>, to: (Kind, SocketAddr), made: &[Made], server: &Server<'_>) {
    let node = book.node().to_owned();
    let here = || made.iter().filter(|made| is_told(made.place, &node));
    let due = here().map(|made| made.plans.len()).sum::<usize>() as u64;
    let page = book.close("calls", |counts| counts.get("responses") >= due);
    page.is_complete();
    let mut calls = told::by_trace(&page);
    for made in here() {
        assert_eq!(made.told.len(), made.plans.len());
        // Both are in the order of their traces.
        for (plan, told) in made.plans.iter().zip(&made.told) {
            assert_eq!((&plan.trace, &plan.path), (&told.trace, &told.path));
            let call = calls.remove(&plan.trace).unwrap_or_else(|| panic!("{node}: not told: {told:?}"));
            told::same(&node, to, plan, told, &call);
        }
    }
    assert!(calls.is_empty(), "{node}: told and not called: {calls:?}");
    let served = served(made);
    let heard = || -> Vec<Told> {
        let deadline = |told: &Told| {
            made.iter()
                .flat_map(|made| &made.plans)
                .any(|plan| plan.trace == told.trace && plan.deadline_ms > 0)
        };
        let all = Told::all(&server.process.output()).into_iter();
        all.map(|told| if deadline(&told) { given_up(told) } else { told }).collect()
    };
    eventually("the server to tell of its calls", || heard().len() >= served.len());
    assert_eq!(heard(), served, "what the server tells, and the clients");
}

/// What a server should tell by what its clients told, in the order of their traces.
fn served(made: &[Made]) -> Vec<Told> {
    let calls = made.iter().flat_map(|made| made.plans.iter().zip(&made.told));
    let served = calls
        .filter(|(plan, _)| !plan.is_unserved())
        .map(|(plan, told)| if plan.deadline_ms > 0 { given_up(told.clone()) } else { told.clone() });
    let mut served: Vec<Told> = served.collect();
    served.sort();
    served
}

/// Of a call that a deadline ended, the server knows no reason and the client not all that was sent.
fn given_up(told: Told) -> Told {
    let (messages, bytes) = ([told.messages[0], 0], [told.bytes[0], 0]);
    Told { status: 0, messages, bytes, ..told }
}
