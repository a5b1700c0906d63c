//! Every selector of the policies in force, with whom it stands for.

use std::collections::BTreeSet;

use fathom_api::fathom_v1::{ListSelectorsRequest, ListSelectorsResponse, PolicySelector, SelectedIdentity};
use fathom_policy::selections;

use crate::cluster::snapshot::Snapshot;
use crate::control::state::PolicyState;

/// Identities of one selector that are told by their numbers.
const TOLD: usize = 256;

/// The selectors that were asked for, in order of their policies.
pub fn selectors(
    state: &PolicyState,
    snapshot: &Snapshot,
    node_name: &str,
    request: &ListSelectorsRequest,
) -> ListSelectorsResponse {
    let is = |wanted: &str, text: &str| wanted.is_empty() || wanted == text;
    let wanted = state.meanings().filter(|policy| {
        is(&request.namespace, &policy.meta.namespace) && is(&request.name, &policy.meta.name)
    });
    let mut selectors = Vec::new();
    let mut told: BTreeSet<u32> = BTreeSet::new();
    for policy in wanted {
        for selection in selections(policy, &state.world) {
            let identities: Vec<u32> = selection.identities.iter().copied().take(TOLD).collect();
            told.extend(&identities);
            selectors.push(PolicySelector {
                kind: policy.meta.kind.to_string(),
                namespace: policy.meta.namespace.to_string(),
                name: policy.meta.name.to_string(),
                place: selection.place,
                text: selection.text,
                identities,
                count: selection.identities.len() as u32,
            });
        }
    }
    let identity = |number: u32| {
        let labels = snapshot.by_identity.get(&number).map(|info| info.labels.as_slice()).unwrap_or_default();
        SelectedIdentity { number, labels: labels.iter().map(ToString::to_string).collect() }
    };
    ListSelectorsResponse {
        selectors,
        identities: told.into_iter().map(identity).collect(),
        node_name: node_name.to_owned(),
    }
}
