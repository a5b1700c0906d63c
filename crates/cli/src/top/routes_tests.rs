use fathom_api::flow::TrafficDirection;
use fathom_api::flow::layer7::Record;

use super::*;
use crate::testing::flows;
use crate::testing::messages::{Response, dns, flow, grpc, http};

fn grouping() -> GroupingArgs {
    GroupingArgs { by_service: false, fold_ids: false, dns_by_name: false, max_routes: 1_000 }
}

fn routes(grouping: GroupingArgs) -> Routes {
    Routes::new(grouping, Protocol::ALL.to_vec())
}

fn get(url: &str) -> Flow {
    flow(0, Response, 1_000_000, http(200, "GET", url))
}

/// `GET /x 3`, in this order.
fn rows(routes: &Routes, sort: Sort) -> Vec<String> {
    let show = |(route, numbers): (&Route, &Windowed)| {
        let service = if route.service.is_empty() { String::new() } else { format!("{} ", route.service) };
        format!("{service}{} {} {}", route.method, route.path, numbers.total(|part| part.count))
    };
    routes.sorted(sort).into_iter().map(show).collect()
}

#[test]
fn queries_are_stripped_and_identifiers_folded_on_request() {
    let urls = ["/users/1?a=b", "http://api/users/1", "/users/2"];
    let mut plain = routes(grouping());
    urls.iter().for_each(|url| assert!(plain.count(&get(url))));
    assert_eq!(rows(&plain, Sort::Count), ["GET /users/1 2", "GET /users/2 1"]);
    let mut folded = routes(GroupingArgs { fold_ids: true, ..grouping() });
    urls.iter().for_each(|url| assert!(folded.count(&get(url))));
    assert_eq!(rows(&folded, Sort::Count), ["GET /users/{id} 3"]);
}

#[test]
fn protocols_and_services_have_rows_of_their_own() {
    let mut routes = routes(GroupingArgs { by_service: true, dns_by_name: true, ..grouping() });
    let call = grpc(Response, "Add", Some(0), 0, 1);
    let same_path = flow(0, Response, 1, http(200, "GRPC", "/shop.Cart/Add"));
    let name = |qtype| flow(0, Response, 1, Record::Dns(dns("a.b.", qtype)));
    for flow in [call, same_path, name("A"), name("AAAA")] {
        assert!(routes.count(&flow));
    }
    let got = rows(&routes, Sort::Count);
    let expected = ["shop/api  a.b 2", "shop/api GRPC /shop.Cart/Add 1", "shop/api GRPC /shop.Cart/Add 1"];
    assert_eq!(got, expected);
}

#[test]
fn only_the_protocols_asked_for_are_counted() {
    let mut routes = Routes::new(grouping(), vec![Protocol::Grpc]);
    assert!(!routes.count(&get("/x")) && routes.count(&grpc(Response, "Add", Some(0), 0, 1)));
    assert_eq!(routes.all().lately, 1);
}

#[test]
fn routes_beyond_the_limit_are_one() {
    let mut routes = routes(GroupingArgs { max_routes: 2, ..grouping() });
    ["/a", "/b", "/c", "/d", "/a"].iter().for_each(|path| assert!(routes.count(&get(path))));
    assert_eq!(rows(&routes, Sort::Count), ["GET /a 2", "GET /b 1"]);
    assert_eq!((routes.len(), routes.other().sum().count, routes.all().sum().count), (2, 2, 5));
}

#[test]
fn an_exchange_that_both_nodes_report_counts_once() {
    let at_client = Flow { traffic_direction: TrafficDirection::Egress.into(), ..get("/x") };
    let mut routes = routes(grouping());
    // The server's node is not among those asked, or not yet.
    assert!(routes.count(&at_client));
    assert!(routes.count(&get("/x")));
    assert!(!routes.count(&at_client));
    assert_eq!((rows(&routes, Sort::Count), routes.twice), (vec!["GET /x 2".to_owned()], 1));
    // Who is no pod does not report.
    let outside = Flow { source: flows::reserved(2), ..at_client.clone() };
    assert!(routes.count(&outside) && routes.count(&outside));
    routes.forget_servers();
    assert!(routes.count(&at_client));
}

#[test]
fn every_order_puts_the_largest_first() {
    let mut routes = routes(grouping());
    let slow = flow(0, Response, 9_000_000, http(200, "GET", "/slow"));
    let failing = flow(0, Response, 1_000, http(500, "GET", "/failing"));
    let busy = flow(0, Response, 2_000, http(200, "GET", "/busy"));
    for flow in [&busy, &busy, &busy, &slow, &slow, &failing] {
        assert!(routes.count(flow));
    }
    routes.begin_interval();
    routes.count(&slow);
    let first = |sort| rows(&routes, sort)[0].clone();
    assert_eq!(first(Sort::Count), "GET /busy 3");
    assert_eq!(first(Sort::Rate), "GET /slow 3");
    assert_eq!(first(Sort::Errors), "GET /failing 1");
    assert_eq!([first(Sort::P50), first(Sort::P99)], ["GET /slow 3", "GET /slow 3"]);
}

#[test]
fn a_window_forgets_routes_and_makes_room() {
    let mut routes = routes(GroupingArgs { max_routes: 1, ..grouping() });
    routes.count(&get("/old"));
    routes.enter(3);
    routes.count(&get("/new"));
    assert_eq!((rows(&routes, Sort::Count), routes.other().sum().count), (vec!["GET /old 1".to_owned()], 1));
    routes.enter(4);
    routes.count(&get("/new"));
    assert_eq!(rows(&routes, Sort::Count), ["GET /new 1"]);
    routes.enter(8);
    assert_eq!((routes.len(), routes.other().sum().count, routes.all().sum().count), (0, 0, 0));
}
