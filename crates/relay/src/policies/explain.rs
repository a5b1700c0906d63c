//! Explanations of several nodes in one: each side of a path is decided by the node that has its endpoint.
//!
//! Any node knows who is meant; which node has an endpoint is in its answer. So one is asked first, then the
//! source's, whose view of services counts, then those that are left: never more than decide.

use std::collections::BTreeSet;

use fathom_api::fathom_v1::policies_client::PoliciesClient;
use fathom_api::fathom_v1::{Decision, ExplainRequest, ExplainResponse, ExplainedPath, ExplainedSide};
use tonic::{Code, Status};

use crate::missing::Missing;
use crate::pool::{Node, Pool, State};
use crate::service::ASK;

/// Asks the nodes that know.
///
/// # Errors
/// The question means nothing, or nobody answers it.
pub async fn explain(pool: &Pool, request: ExplainRequest) -> Result<ExplainResponse, Status> {
    pool.settled(std::time::Duration::from_secs(1)).await;
    let nodes = pool.nodes();
    let mut missing = Missing::default();
    let mut first: Option<(String, ExplainResponse)> = None;
    for node in nodes.values() {
        match ask(Some(node), &request).await {
            Ok(answer) => {
                first = Some((node.peer.name.to_string(), answer));
                break;
            }
            // What one does not understand, or know, no other will.
            Err(status) if is_final(&status) => return Err(status),
            Err(status) => missing.add(&node.peer.name, status),
        }
    }
    let (mut asked, mut answer) = first.ok_or_else(|| missing.status())?;
    if let Some(source) = source(&answer).filter(|source| *source != asked)
        && let Ok(better) = ask(nodes.get(&*source), &request).await
    {
        (asked, answer) = (source, better);
    }
    let others: BTreeSet<String> = left_open(&mut answer).map(|side| side.node_name.clone()).collect();
    let others: Vec<String> = others.into_iter().filter(|node| *node != asked).collect();
    let asking = others.iter().map(|name| ask(nodes.get(name.as_str()), &request));
    let answers = futures::future::join_all(asking).await;
    for (name, told) in others.iter().zip(answers) {
        fill(&mut answer, name, &told);
    }
    Ok(answer)
}

fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition)
}

async fn ask(node: Option<&Node>, request: &ExplainRequest) -> Result<ExplainResponse, Status> {
    let channel = match node.map(|node| &node.state) {
        Some(State::Connected(channel)) => channel.clone(),
        Some(State::Connecting) => return Err(Status::unavailable("not connected yet")),
        Some(State::Unavailable(why)) => return Err(Status::unavailable(&**why)),
        None => return Err(Status::unavailable("the relay does not know this node")),
    };
    let mut client = PoliciesClient::new(channel);
    match tokio::time::timeout(ASK, client.explain(request.clone())).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} s", ASK.as_secs()))),
    }
}

/// The one node that all sources run on.
fn source(answer: &ExplainResponse) -> Option<String> {
    let nodes: BTreeSet<&str> =
        answer.paths.iter().filter_map(|path| Some(&*path.from.as_ref()?.node_name)).collect();
    let mut nodes = nodes.into_iter();
    let only = nodes.next().filter(|node| !node.is_empty())?;
    nodes.next().is_none().then(|| only.to_owned())
}

/// Sides that another node decides.
fn left_open(answer: &mut ExplainResponse) -> impl Iterator<Item = &mut ExplainedSide> {
    let sides = answer.paths.iter_mut().flat_map(|path| path.egress.iter_mut().chain(&mut path.ingress));
    sides.filter(|side| side.decision == Decision::Unspecified as i32 && !side.node_name.is_empty())
}

/// Takes over what a node says of its own sides, or says why it does not.
fn fill(answer: &mut ExplainResponse, node: &str, told: &Result<ExplainResponse, Status>) {
    for path in &mut answer.paths {
        let same = told.as_ref().ok().and_then(|told| told.paths.iter().find(|other| is_same(path, other)));
        let theirs = same.cloned().unwrap_or_default();
        for (side, theirs) in [(&mut path.egress, theirs.egress), (&mut path.ingress, theirs.ingress)] {
            let Some(side) = side
                .as_mut()
                .filter(|side| side.decision == Decision::Unspecified as i32 && side.node_name == node)
            else {
                continue;
            };
            match (theirs, told) {
                (Some(theirs), _) if theirs.decision != Decision::Unspecified as i32 => *side = theirs,
                (_, Err(status)) => side.reason = format!("no answer: {}", status.message()),
                (_, Ok(_)) => side.reason = "that node does not know this path".to_owned(),
            }
        }
    }
}

fn is_same(one: &ExplainedPath, other: &ExplainedPath) -> bool {
    let ends = |path: &ExplainedPath| {
        let end = |end: &Option<fathom_api::fathom_v1::ExplainedEndpoint>| {
            end.as_ref().map(|end| (end.name.clone(), end.address.clone()))
        };
        (end(&path.from), end(&path.to), path.protocol, path.port)
    };
    ends(one) == ends(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_api::fathom_v1::ExplainedEndpoint;

    fn end(name: &str, node: &str) -> Option<ExplainedEndpoint> {
        Some(ExplainedEndpoint { name: name.into(), node_name: node.into(), ..Default::default() })
    }

    fn side(node: &str, decision: Decision) -> Option<ExplainedSide> {
        Some(ExplainedSide { node_name: node.into(), decision: decision.into(), ..Default::default() })
    }

    /// From a pod of node a to one of node b, as node a sees it or node b.
    fn seen_at(node: &str) -> ExplainResponse {
        let here = |of: &str| if of == node { Decision::Denied } else { Decision::Unspecified };
        let path = ExplainedPath {
            from: end("shop/web", "a"),
            to: end("shop/db", "b"),
            port: Some(80),
            egress: side("a", here("a")),
            ingress: side("b", here("b")),
            ..Default::default()
        };
        ExplainResponse { paths: vec![path], more: 0 }
    }

    #[test]
    fn each_side_is_told_by_the_node_that_decides_it() {
        let mut answer = seen_at("a");
        assert_eq!(source(&answer).as_deref(), Some("a"));
        let open: Vec<_> = left_open(&mut answer).map(|side| side.node_name.clone()).collect();
        assert_eq!(open, ["b"]);
        fill(&mut answer, "b", &Ok(seen_at("b")));
        assert_eq!(left_open(&mut answer).count(), 0);
        assert_eq!(answer.paths[0].egress, side("a", Decision::Denied));
        assert_eq!(answer.paths[0].ingress, side("b", Decision::Denied));
    }

    #[test]
    fn a_side_that_nobody_tells_says_why() {
        let mut answer = seen_at("a");
        fill(&mut answer, "b", &Err(Status::unavailable("connection refused")));
        let ingress = answer.paths[0].ingress.clone().unwrap();
        assert_eq!((ingress.decision, &*ingress.reason), (0, "no answer: connection refused"));
        fill(&mut answer, "b", &Ok(ExplainResponse::default()));
        assert_eq!(answer.paths[0].ingress.clone().unwrap().reason, "that node does not know this path");
    }
}
