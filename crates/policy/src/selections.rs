//! Every selector of a policy, with the identities it stands for.

use fathom_identity::NumericIdentity;

use crate::policy::{Peers, Policy, Subject};
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
        place: match policy.subject {
            Subject::Pods(_) => "spec.podSelector".to_owned(),
            Subject::Endpoints(_) => "endpointSelector".to_owned(),
            Subject::Nobody => "nodeSelector".to_owned(),
        },
        text: text::subject(policy),
        identities: subjects.map(|member| member.number).collect(),
    }];
    for direction in Direction::BOTH {
        let list = match direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        for (index, rule) in policy.rules(direction).unwrap_or_default().iter().enumerate() {
            let Some((_, Peers::Of(peers), _)) = rule.parts() else { continue };
            let first = *policy.first_rule.of(direction) as usize;
            all.extend(peers.iter().enumerate().map(|(at, peer)| Selection {
                // Of Cilium's lists there are many: rules are counted through all of them.
                place: match policy.subject {
                    Subject::Pods(_) => format!("spec.{}[{index}].{list}[{at}]", direction.name()),
                    _ => format!("{} rule {}, {list}[{at}]", direction.name(), first + index),
                },
                text: text::peer(policy, peer),
                identities: world.select(policy, peer),
            }));
        }
    }
    all
}
