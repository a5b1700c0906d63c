use fathom_bpf::abi::{drop_reason, flag, obs_point, verdict};

use super::*;
use crate::cluster::snapshot::{EndpointInfo, Snapshot};
use crate::events::flow::proto;
use crate::events::testing::*;

fn enrich(event: Event) -> Flow {
    enricher(snapshot()).enrich(&event)
}

fn reply() -> Event {
    Event {
        saddr: address(REMOTE),
        daddr: address(LOCAL),
        sport_be: 5432_u16.to_be_bytes(),
        src_identity: 2000,
        dst_identity: 1000,
        direction: direction::INGRESS,
        obs_point: obs_point::TO_ENDPOINT,
        flags: flag::REPLY | flag::REPLY_KNOWN,
        ..event()
    }
}

fn sock() -> Event {
    Event {
        kind: kind::SOCK,
        saddr: address("0.0.0.0"),
        obs_point: obs_point::SOCK_POST_FWD,
        verdict: verdict::TRANSLATED,
        src_identity: 0,
        dst_identity: 0,
        flags: 0,
        service_id: 5,
        frontend_port_be: 5432_u16.to_be_bytes(),
        ..event()
    }
}

#[test]
fn both_ends_are_named_as_the_snapshot_knows_them() {
    let flow = enrich(event());
    assert_eq!((&*flow.source.pod_name, &*flow.destination.pod_name), ("web", "db"));
    assert_eq!(flow.device.map(|device| device.name.to_string()).as_deref(), Some("fathom7"));
}

#[test]
fn a_pod_that_forges_its_source_is_shown_as_itself() {
    let forged = Event {
        saddr: address(REMOTE),
        src_identity: 1000,
        verdict: verdict::DROPPED,
        reason: drop_reason::INVALID_SOURCE_IP,
        ..event()
    };
    let flow = enrich(forged);
    assert_eq!(&*flow.source.pod_name, "web");
    assert_eq!(flow.source_ip(), Some(REMOTE.parse().expect("an address")));
}

#[test]
fn an_address_outside_is_the_world() {
    let flow = enrich(Event { daddr: address(OUTSIDE), dst_identity: 0, ..event() });
    assert_eq!(flow.destination.identity, 2);
}

#[test]
fn an_identity_nobody_knows_is_kept_and_made_once() {
    let mut enricher = enricher(Snapshot::default());
    let stranger = Event { daddr: address(OUTSIDE), dst_identity: 0x0100_0007, ifindex: 0, ..event() };
    let (first, second) = (enricher.enrich(&stranger), enricher.enrich(&stranger));
    assert_eq!(first.destination.identity, 0x0100_0007);
    assert!(Arc::ptr_eq(&first.destination, &second.destination));
    let health = enricher.enrich(&Event { dst_identity: 4, ..stranger });
    assert_eq!(health.destination.labels, ["reserved:health".into()]);
    assert!(!health.destination.encoded.is_empty());
}

#[test]
fn the_identity_a_packet_was_judged_with_stands_while_labels_change() {
    let mut snapshot = snapshot();
    let old = EndpointInfo { identity: 1999, labels: vec!["k8s:app=old".into()], ..Default::default() };
    snapshot.by_identity.insert(1999, endpoint(old));
    let mut enricher = enricher(snapshot);
    let before = Event { dst_identity: 1999, ..event() };
    let (first, second) = (enricher.enrich(&before), enricher.enrich(&before));
    assert_eq!((first.destination.identity, &*first.destination.pod_name), (1999, "db"));
    assert_eq!(first.destination.labels, ["k8s:app=old".into()]);
    assert!(Arc::ptr_eq(&first.destination, &second.destination));
    assert_eq!(enricher.enrich(&event()).destination.identity, 2000);
}

#[test]
fn a_new_snapshot_counts_from_the_next_batch_on() {
    let shared = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let mut enricher = Enricher::new(Arc::clone(&shared));
    shared.store(Arc::new(snapshot()));
    assert_eq!(&*enricher.enrich(&event()).destination.pod_name, "");
    enricher.begin_batch();
    assert_eq!(&*enricher.enrich(&event()).destination.pod_name, "db");
}

#[test]
fn requests_go_to_a_service_and_replies_come_from_it() {
    let request = enrich(Event { service_id: 5, frontend_port_be: 5432_u16.to_be_bytes(), ..event() });
    assert_eq!(request.service_end, ServiceEnd::Destination);
    assert_eq!(request.frontend().map(|a| a.to_string()).as_deref(), Some("10.96.0.10:5432"));
    let answer = enrich(Event { service_id: 5, ..reply() });
    assert_eq!(
        (answer.service_end, answer.service.map(|s| s.name.to_string()).as_deref()),
        (ServiceEnd::Source, Some("database"))
    );
}

#[test]
fn a_frontend_that_was_not_translated_is_found_by_its_address() {
    let direct =
        Event { daddr: address(FRONTEND), dport_be: 5432_u16.to_be_bytes(), dst_identity: 0, ..event() };
    let flow = enrich(direct);
    assert_eq!(flow.service.map(|service| service.name.to_string()).as_deref(), Some("database"));
    assert_eq!(flow.destination.identity, 0, "a service has no identity, and is not the world");
    assert!(enrich(Event { proto: proto::UDP, ..direct }).service.is_none(), "another protocol");
    let from_frontend = Event { saddr: address(FRONTEND), ..reply() };
    assert_eq!(enrich(from_frontend).service_end, ServiceEnd::Source);
}

#[test]
fn a_socket_call_is_made_by_the_pod_behind_the_device_from_its_own_address() {
    let flow = enrich(sock());
    assert_eq!((&*flow.source.pod_name, &*flow.destination.pod_name), ("web", "db"));
    assert_eq!(flow.source_ip(), Some(LOCAL.parse().expect("an address")));
    assert_eq!(flow.service.map(|service| service.name.to_string()).as_deref(), Some("database"));
    let six = enrich(Event { saddr: [0; 16], daddr: address("fd00:10:244:2::9"), family: 6, ..sock() });
    assert_eq!(six.source_ip(), Some(LOCAL6.parse().expect("an address")));
    let host = enrich(Event { ifindex: 0, ..sock() });
    assert_eq!((host.source_ip(), host.source.identity), (None, 0));
}

#[test]
fn a_packet_that_broke_off_has_no_addresses_and_no_names() {
    let broken = Event {
        saddr: [0; 16],
        daddr: [0; 16],
        src_identity: 1000,
        dst_identity: 0,
        flags: flag::NO_IP,
        ..event()
    };
    let flow = enrich(broken);
    assert_eq!((flow.source_ip(), flow.destination_ip()), (None, None));
    assert_eq!((&*flow.source.pod_name, flow.destination.identity), ("web", 0));
}

#[test]
fn the_direction_is_that_of_the_connection() {
    assert_eq!(enrich(event()).connection_direction(), direction::EGRESS);
    assert_eq!(enrich(reply()).connection_direction(), direction::EGRESS, "an answer to what the pod asked");
    let unknown = Event { flags: flag::REPLY, ..reply() };
    assert_eq!(enrich(unknown).connection_direction(), direction::INGRESS, "nobody knows better");
}

#[test]
fn the_deciding_rule_is_joined() {
    assert_eq!(enrich(Event { rule_id: 9, ..event() }).rule.map(|rule| rule.id), Some(9));
    assert!(enrich(Event { rule_id: 10, ..event() }).rule.is_none());
}

#[test]
fn a_pod_in_the_nodes_network_is_told_by_its_cgroup() {
    let info = EndpointInfo { identity: 1, pod_name: "exporter".into(), ..Default::default() };
    let pods: HostPods = [(77, endpoint(info))].into_iter().collect();
    let mut enricher = enricher(snapshot()).with_host_pods(Arc::new(ArcSwap::from_pointee(pods)));
    let mut source = |event: Event| enricher.enrich(&event).source.pod_name.to_string();
    let sent = Event {
        direction: direction::INGRESS,
        saddr: address("192.168.0.1"),
        src_identity: 1,
        flags: flag::SENDER,
        cookie: 77,
        ..event()
    };
    assert_eq!(source(sent), "exporter");
    assert_eq!(source(Event { cookie: 78, ..sent }), "", "another process of the node");
    assert_eq!(source(Event { flags: 0, ..sent }), "", "a socket's cookie is no cgroup");
    let called = Event { ifindex: 0, saddr: [0; 16], bytes: 77, ..sock() };
    assert_eq!(source(called), "exporter");
    assert_eq!(
        source(Event { ifindex: IFINDEX, ..called }),
        "web",
        "who has a device is who the device says"
    );
}
