use fathom_api::fathom_v1::{FlowFacts, KafkaFacts};
use fathom_api::flow::{Dns, Service};

use super::*;
use crate::testing::flows;
use crate::testing::messages::{self, Request, Response, Sample};

/// `GET /x Good 5`
fn of(flow: &Flow) -> Option<String> {
    let Exchange { method, target, outcome, latency_ns, .. } = Exchange::of(flow)?;
    Some(format!("{method} {target} {outcome:?} {}", latency_ns.map_or("-".into(), |n| n.to_string())))
}

#[test]
fn http_fails_by_its_status_and_by_silence() {
    let http = |code| of(&messages::flow(0, Response, 5, messages::http(code, "GET", "/x"))).unwrap();
    assert_eq!(http(204), "GET /x Good 5");
    assert_eq!(http(404), "GET /x ClientError 5");
    assert_eq!(http(503), "GET /x Error 5");
    assert_eq!(http(0), "GET /x Good 5");
    assert_eq!(http(101), "GET /x Good 5");
    let interim = messages::flow(0, Response, 5, messages::http(103, "GET", "/x"));
    assert_eq!(of(&interim), None);
    let silent = messages::flow(0, Response, 0, messages::http(0, "GET", "/x"));
    let ended = messages::with(silent.clone(), L7Facts { ended: true, ..Default::default() });
    assert_eq!(of(&ended).unwrap(), "GET /x Unanswered -");
    let reset = messages::with(silent, L7Facts { reset_code: Some(8), ..Default::default() });
    assert_eq!(of(&reset).unwrap(), "GET /x Unanswered -");
}

#[test]
fn requests_and_samples_end_nothing_unless_nobody_will_answer() {
    assert_eq!(of(&messages::flow(0, Request, 0, messages::http(0, "GET", "/x"))), None);
    assert_eq!(of(&messages::grpc(Sample, "Watch", None, 0, 0)), None);
    assert_eq!(of(&flows::forwarded()), None);
    let request = messages::flow(0, Request, 0, messages::kafka("produce", "orders", 0));
    let kafka = KafkaFacts { no_response: true, ..Default::default() };
    let silent = messages::with(request.clone(), L7Facts { kafka: Some(kafka), ..Default::default() });
    assert_eq!((of(&request), of(&silent).unwrap().as_str()), (None, "produce orders Good -"));
}

#[test]
fn grpc_fails_by_its_own_status() {
    let call = |status| of(&messages::grpc(Response, "Add", status, 0, 7)).unwrap();
    assert_eq!(call(Some(0)), "GRPC /shop.Cart/Add Good 7");
    assert_eq!(call(Some(14)), "GRPC /shop.Cart/Add Error 7");
    assert_eq!(call(None), "GRPC /shop.Cart/Add Good 7");
}

#[test]
fn dns_and_kafka_fail_by_their_codes() {
    let dns = |rcode, query| {
        let dns = Dns { rcode, ..messages::dns(query, "A") };
        of(&messages::flow(0, Response, 9, Record::Dns(dns))).unwrap()
    };
    assert_eq!(dns(0, "API.shop.svc."), "A api.shop.svc Good 9");
    assert_eq!(dns(3, "."), "A . Error 9");
    let kafka =
        |error| of(&messages::flow(0, Response, 9, messages::kafka("fetch", "orders", error))).unwrap();
    assert_eq!(kafka(0), "fetch orders Good 9");
    assert_eq!(kafka(-1), "fetch orders Error 9");
    let several = KafkaFacts { topics: vec!["a".into(), "b".into()], topic_count: 5, ..Default::default() };
    let flow = messages::flow(0, Response, 9, messages::kafka("fetch", "a", 0));
    let flow = messages::with(flow, L7Facts { kafka: Some(several), ..Default::default() });
    assert_eq!(of(&flow).unwrap(), "fetch a and 4 more Good 9");
}

#[test]
fn the_asked_is_a_workload_or_what_else_is_known() {
    let server = |change: &dyn Fn(&mut Flow)| {
        let mut flow = messages::flow(0, Response, 5, messages::http(200, "GET", "/x"));
        change(&mut flow);
        let mut out = String::new();
        append_server(&flow, &mut out);
        out
    };
    let bare = |flow: &mut Flow| flow.source.as_mut().unwrap().workloads.clear();
    assert_eq!(server(&|_| {}), "shop/api");
    assert_eq!(server(&bare), "shop/api-1");
    let service = |flow: &mut Flow| {
        bare(flow);
        flow.source_service = Some(Service { name: "front".into(), namespace: "shop".into() });
    };
    assert_eq!(server(&service), "shop/front");
    assert_eq!(server(&|flow| flow.source = None), "10.244.2.9");
    let named = |flow: &mut Flow| (flow.source, flow.source_names) = (None, vec!["api.example".into()]);
    assert_eq!(server(&named), "api.example");
    assert_eq!(server(&|flow| *flow = Flow::default()), "");
}

#[test]
fn egress_is_the_clients_side() {
    let mut flow = messages::flow(0, Response, 5, messages::http(200, "GET", "/x"));
    assert_eq!(Exchange::of(&flow).unwrap().seen, Seen::AtServer);
    flow.traffic_direction = TrafficDirection::Egress.into();
    assert_eq!(Exchange::of(&flow).unwrap().seen, Seen::AtClient);
    let damaged = messages::with_facts(flow, FlowFacts::default());
    assert!(Exchange::of(&damaged).is_some());
}
