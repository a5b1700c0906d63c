//! Every selector of a policy, with the identities it stands for.

use fathom_identity::NumericIdentity;

use crate::policy::{Peers, Policy, Rule};
use crate::table::Direction;
use crate::text;
use crate::world::World;

/// A selector at its place in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// `spec.podSelector`, `spec.ingress[0].from[1]`.
    pub place: String,
    /// What it says, in words.
    pub text: String,
    /// Whom it stands for now, ascending.
    pub identities: Vec<NumericIdentity>,
}

/// The selectors of a policy, in its order: whom it restricts, then who is named by its rules. Rules for
/// everybody have none.
pub fn selections(policy: &Policy, world: &World) -> Vec<Selection> {
    let subjects = world.members.iter().filter(|member| world.is_subject(policy, member));
    let mut all = vec![Selection {
        place: "spec.podSelector".to_owned(),
        text: format!("pods {} in {}", policy.subject, policy.meta.namespace)
            .replace("pods  in", "all pods in"),
        identities: subjects.map(|member| member.number).collect(),
    }];
    for direction in Direction::BOTH {
        let list = match direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        for (index, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
            let Rule::Allow { peers: Peers::Of(peers), .. } = rule else { continue };
            all.extend(peers.iter().enumerate().map(|(at, peer)| Selection {
                place: format!("spec.{}[{index}].{list}[{at}]", direction.name()),
                text: text::peer(policy, peer),
                identities: world.select(policy, peer),
            }));
        }
    }
    all
}
