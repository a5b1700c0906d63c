//! The story: everything flows and is understood, a policy is edited, something stops, the edit is undone.

use anyhow::{Context, Result, bail};
use fathom_api::flow::{DropReason, Flow, L7FlowType};

use super::expect::{Watcher, between, denied_by, dropped, forwarded};
use super::said::{dns_answer, grpc, http_answer, kafka_answer};
use super::teller::Teller;
use crate::lab::Lab;

const FANOUT: &str = "stream/commentary-fanout";
const RELAY: &str = "stream/chat-relay";
const FEED: &str = "stream/match-feed";
const KAFKA: &str = "stream/kafka";
const ARCHIVE: &str = "stream/chat-archive";
const DNS: &str = "kube-system/dns";
const POLICY: &str = "stream/chat-relay-ingress";
/// What the edit does to the policy: another app than the one that asks.
const EDIT: (&str, &str) = ("app: commentary-fanout", "app: moderation");

pub fn tell(lab: &Lab, teller: &Teller, watcher: &Watcher) -> Result<()> {
    let original = policy(lab)?;
    lab.apply_policy(&original)?;

    teller.step(1, "Nothing is in the way: every connection is seen, with names on both ends");
    teller.look("pods, not addresses; what the kernel decided and what was said, from both nodes");
    watcher.expect("commentary-fanout reaches chat-relay", |f| between(f, FANOUT, RELAY) && forwarded(f))?;
    teller.kept("commentary-fanout → chat-relay is FORWARDED");
    for (what, from, to) in [
        ("ingest-gateway reaches segment-store", "ingest/ingest-gateway", "ingest/segment-store"),
        ("commentary-fanout asks dns for names", FANOUT, DNS),
    ] {
        watcher.expect(what, |f| between(f, from, to) && forwarded(f))?;
    }
    watcher.expect("the encoder outside reaches ingest-gateway", |f| {
        let outside =
            f.source.as_ref().is_some_and(|e| e.labels.iter().any(|l| l.starts_with("reserved:world")));
        let inside = f.destination.as_ref().is_some_and(|e| e.pod_name.starts_with("ingest-gateway-"));
        outside && inside && forwarded(f)
    })?;
    teller.kept("the ingest path, DNS, and the encoder outside the cluster are FORWARDED");
    teller.cli(lab, &["observe", "--last", "12"])?;

    teller.step(2, "Narrower: who talks to chat-relay?");
    teller
        .look("the Service's address is gone: the socket was connected to a backend before the first packet");
    teller.cli(lab, &["observe", "--to-pod", RELAY, "--to-port", "8080", "--last", "6"])?;

    messages(lab, teller, watcher)?;

    teller.step(
        4,
        "Somebody edits the policy: chat-relay now expects \"moderation\", not \"commentary-fanout\"",
    );
    let path = lab.policy_path("stream", "chat-relay-ingress");
    teller.say(&format!("   - {}\n   + {}", EDIT.0, EDIT.1));
    teller.by_hand(&format!("sed -i 's/{}/{}/' {}", EDIT.0, EDIT.1, path.display()));
    lab.apply_policy(&original.replace(EDIT.0, EDIT.1))?;
    let denial = watcher
        .expect("commentary-fanout → chat-relay is dropped", |f| between(f, FANOUT, RELAY) && dropped(f))?;
    teller.look("DROPPED, the reason, and the policy that selected the pod and did not allow it");
    let denied = denied_by(&denial);
    if denial.drop_reason_desc() != DropReason::PolicyDenied {
        bail!("the drop's reason is {}, not POLICY_DENIED", denial.drop_reason_desc().as_str_name());
    }
    if !denied.iter().any(|name| name == POLICY) {
        bail!("the drop should name {POLICY}; it names {denied:?}");
    }
    teller
        .kept(&format!("commentary-fanout → chat-relay is DROPPED, POLICY_DENIED, by {}", denied.join(", ")));
    let mark = watcher.mark();
    watcher.expect("ingest goes on", |f| {
        between(f, "ingest/ingest-gateway", "ingest/segment-store") && forwarded(f)
    })?;
    teller.kept("everything else goes on");
    teller.cli(
        lab,
        &["observe", "--verdict", "DROPPED", "--to-pod", RELAY, "--last", "3", "--print-policy-names"],
    )?;
    // Only of packets: that a request had no answer is told as a message of the server's.
    let reply = |f: &&Flow| between(f, RELAY, FANOUT) && f.is_reply == Some(true) && f.l7.is_none();
    if let Some(flow) = watcher.since(mark).iter().find(reply) {
        bail!("a reply came through after the denial: {:?}", flow.l4);
    }

    teller.step(5, "The edit is undone");
    teller.by_hand(&format!("sed -i 's/{}/{}/' {}", EDIT.1, EDIT.0, path.display()));
    lab.apply_policy(&original)?;
    watcher.expect("commentary-fanout → chat-relay is forwarded again", |f| {
        between(f, FANOUT, RELAY) && forwarded(f)
    })?;
    teller.kept("commentary-fanout → chat-relay is FORWARDED again, with no restart of anything");
    teller.cli(lab, &["observe", "--from-pod", FANOUT, "--to-pod", RELAY, "--last", "4"])?;

    teller.step(6, "Is that everything that happened?");
    teller.look("the balance sheet: what was seen is what was delivered, aggregated or lost; nothing is missing in silence");
    teller.cli(lab, &["status"])?;
    lab.must_be_healthy()
}

/// What pods say to each other: each protocol as a promise and as a line, then what is asked for most.
fn messages(lab: &Lab, teller: &Teller, watcher: &Watcher) -> Result<()> {
    teller.step(3, "What do they say? The kernel reads HTTP, gRPC, DNS and Kafka, with no proxy in between");
    teller.look("method, path, status, topic; the time from a request's head to its answer's first byte");
    for (code, part) in [(200, "/users/"), (404, "/rooms/"), (503, "/publish")] {
        watcher.expect_by_now(&format!("chat-relay answers {code} about {part}"), |f| {
            between(f, RELAY, FANOUT) && http_answer(f, code, part)
        })?;
    }
    teller.kept("HTTP: chat-relay answers 200, 404 and 503");
    for status in [0, 5] {
        watcher.expect_by_now(&format!("match-feed ends a call with status {status}"), |f| {
            let call = grpc(f, L7FlowType::Response, "live.v1.MatchFeed/Score");
            between(f, FEED, FANOUT) && call.is_some_and(|call| call.status == Some(status))
        })?;
    }
    teller.kept("gRPC: calls end with OK and with NOT_FOUND, which HTTP's status does not tell");
    let going_on = |f: &Flow| {
        let stream = grpc(f, L7FlowType::Sample, "live.v1.MatchFeed/Watch");
        stream.filter(|stream| between(f, FEED, FANOUT) && stream.server_messages > 1)
    };
    let sample = watcher.expect_by_now("match-feed's stream goes on", |f| going_on(f).is_some())?;
    let count = going_on(&sample).map_or(0, |stream| stream.server_messages);
    teller.kept(&format!("gRPC: a stream that goes on is told while it does, {count} messages so far"));
    watcher.expect_by_now("dns knows chat-relay", |f| {
        between(f, DNS, FANOUT) && dns_answer(f, "chat-relay.stream.svc.cluster.local")
    })?;
    teller.kept("DNS: chat-relay's name is answered with an address");
    for (api, client, error) in [("produce", RELAY, 0), ("produce", RELAY, 10), ("fetch", ARCHIVE, 0)] {
        watcher.expect_by_now(&format!("kafka answers a {api} with error {error}"), |f| {
            between(f, KAFKA, client) && kafka_answer(f, api, "chat.messages", error)
        })?;
    }
    teller.kept("Kafka: chat.messages is produced to and fetched from; one message was too large");
    for filter in [
        ["--protocol", "http", "--http-status", "4xx"],
        ["--protocol", "grpc", "--http-path", "Watch"],
        ["--protocol", "dns", "--from-pod", DNS],
        ["--protocol", "kafka", "--from-pod", KAFKA],
    ] {
        teller.cli(lab, &[&["observe"], &filter[..], &["--last", "1"]].concat())?;
    }
    teller.say("");
    teller.look("what is asked for most, what fails, what is slow");
    teller.cli(lab, &["top", "routes", "--once", "--fold-ids"]).map(drop)
}

/// The policy as the spec has it, whatever an earlier visitor made of the file.
fn policy(lab: &Lab) -> Result<String> {
    let policies = crate::spec::Spec::from_yaml(super::SPEC)?.policies;
    let text = policies.into_iter().find(|text| text.contains("chat-relay-ingress"));
    text.with_context(|| format!("lab {} has no policy {POLICY}", lab.layout().name))
}
