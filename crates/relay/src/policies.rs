//! `fathom.v1.Policies` for the whole cluster.

use std::collections::BTreeMap;

use fathom_api::fathom_v1::policies_client::PoliciesClient;
use fathom_api::fathom_v1::policies_server::Policies;
use fathom_api::fathom_v1::{InstalledPolicy, ListPoliciesRequest, ListPoliciesResponse};
use tonic::{Request, Response, Status};

use crate::pool::Pool;
use crate::service::{answered, ask_all, without};

/// The relay's fathom.v1.Policies.
#[derive(Clone)]
pub struct RelayPolicies {
    pub pool: Pool,
}

#[tonic::async_trait]
impl Policies for RelayPolicies {
    async fn list_policies(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        let request = request.into_inner();
        let answers = ask_all(&self.pool, |channel| {
            let request = request.clone();
            async move { PoliciesClient::new(channel).list_policies(request).await }
        })
        .await;
        let (answers, missing) = answered(answers)?;
        let all = answers.into_iter().flat_map(|answer| answer.policies);
        Ok(without(&missing, ListPoliciesResponse { policies: merged(all) }))
    }
}

/// Each policy once, with what it does on every node. Nodes that see it differently are a moment, or a disk,
/// apart: the newest edit counts, and what is wrong with it anywhere is told.
fn merged(answers: impl Iterator<Item = InstalledPolicy>) -> Vec<InstalledPolicy> {
    let mut policies: BTreeMap<(String, String, String), InstalledPolicy> = BTreeMap::new();
    for mut policy in answers {
        let key = (policy.kind.clone(), policy.namespace.clone(), policy.name.clone());
        let Some(known) = policies.get_mut(&key) else {
            policies.insert(key, policy);
            continue;
        };
        let time = |policy: &InstalledPolicy| {
            let time = policy.edited.as_ref().and_then(|edited| edited.time.as_ref());
            time.map(fathom_api::time::unix_ns)
        };
        if time(&policy) > time(known) {
            std::mem::swap(known, &mut policy);
        }
        known.nodes.append(&mut policy.nodes);
        let new = policy.problems.into_iter().filter(|problem| !known.problems.contains(problem));
        let new: Vec<String> = new.collect();
        known.problems.extend(new);
    }
    let mut policies: Vec<InstalledPolicy> = policies.into_values().collect();
    for policy in &mut policies {
        policy.nodes.sort_by(|one, other| one.node_name.cmp(&other.node_name));
    }
    policies
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_api::fathom_v1::{Edited, PolicyOnNode};

    #[test]
    fn a_policy_of_several_nodes_is_one_with_its_newest_form() {
        let policy = |node: &str, seconds: i64, selector: &str, problem: &str| InstalledPolicy {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: "web".into(),
            selector: selector.into(),
            problems: vec![problem.into()],
            edited: Some(Edited {
                by: "kubectl-edit".into(),
                time: Some(fathom_api::time::timestamp(seconds * 1_000_000_000)),
            }),
            nodes: vec![PolicyOnNode { node_name: node.into(), endpoints: 1, ..PolicyOnNode::default() }],
            ..InstalledPolicy::default()
        };
        let other = InstalledPolicy { name: "db".into(), ..policy("b", 1, "", "x") };
        let answers =
            [policy("b", 5, "app=old", "x"), other, policy("a", 7, "app=new", "y"), policy("c", 5, "", "x")];
        let policies = merged(answers.into_iter());
        assert_eq!(policies.len(), 2);
        assert_eq!((&*policies[0].name, &*policies[1].selector), ("db", "app=new"));
        assert_eq!(policies[1].problems, ["y", "x"]);
        let nodes: Vec<_> = policies[1].nodes.iter().map(|node| &*node.node_name).collect();
        assert_eq!(nodes, ["a", "b", "c"]);
    }
}
