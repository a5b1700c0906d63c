//! The story: everything flows, a policy is edited, something stops, the edit is undone.

use anyhow::{Context, Result, bail};
use fathom_api::flow::DropReason;

use super::expect::{Watcher, between, denied_by, dropped, forwarded};
use super::teller::Teller;
use crate::lab::Lab;

const FANOUT: &str = "stream/commentary-fanout";
const RELAY: &str = "stream/chat-relay";
const POLICY: &str = "stream/chat-relay-ingress";
/// What the edit does to the policy: another app than the one that asks.
const EDIT: (&str, &str) = ("app: commentary-fanout", "app: moderation");

pub fn tell(lab: &Lab, teller: &Teller, watcher: &Watcher) -> Result<()> {
    let original = policy(lab)?;
    lab.apply_policy(&original)?;

    teller.step(1, "Nothing is in the way: every connection is seen, with names on both ends");
    teller.look("pods, not addresses; one line per decision of the kernel, from both nodes");
    watcher.expect("commentary-fanout reaches chat-relay", |f| between(f, FANOUT, RELAY) && forwarded(f))?;
    teller.kept("commentary-fanout → chat-relay is FORWARDED");
    for (what, from, to) in [
        ("ingest-gateway reaches segment-store", "ingest/ingest-gateway", "ingest/segment-store"),
        ("commentary-fanout asks dns for names", FANOUT, "kube-system/dns"),
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
    teller.cli(lab, &["observe", "--to-pod", RELAY, "--last", "6"])?;

    teller.step(
        3,
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
    if let Some(flow) =
        watcher.since(mark).iter().find(|f| between(f, FANOUT, RELAY) && f.is_reply == Some(true))
    {
        bail!("a reply came through after the denial: {:?}", flow.l4);
    }

    teller.step(4, "The edit is undone");
    teller.by_hand(&format!("sed -i 's/{}/{}/' {}", EDIT.1, EDIT.0, path.display()));
    lab.apply_policy(&original)?;
    watcher.expect("commentary-fanout → chat-relay is forwarded again", |f| {
        between(f, FANOUT, RELAY) && forwarded(f)
    })?;
    teller.kept("commentary-fanout → chat-relay is FORWARDED again, with no restart of anything");
    teller.cli(lab, &["observe", "--from-pod", FANOUT, "--to-pod", RELAY, "--last", "4"])?;

    teller.step(5, "Is that everything that happened?");
    teller.look("the balance sheet: what was seen is what was delivered, aggregated or lost; nothing is missing in silence");
    teller.cli(lab, &["status"])?;
    lab.must_be_healthy()
}

/// The policy as the spec has it, whatever an earlier visitor made of the file.
fn policy(lab: &Lab) -> Result<String> {
    let policies = crate::spec::Spec::from_yaml(super::SPEC)?.policies;
    let text = policies.into_iter().find(|text| text.contains("chat-relay-ingress"));
    text.with_context(|| format!("lab {} has no policy {POLICY}", lab.layout().name))
}
