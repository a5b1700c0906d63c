//! The number of a set of labels, asked of the API server; see the parent for why this agrees.

use std::time::Duration;

use fathom_identity::{LabelSet, candidates};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use thiserror::Error;

use super::stored::Stored;
use super::{refresh, state};
use crate::connect::explain;
use crate::identity::{HASH_LABEL, hash_label, identity};
use crate::raw::RawObject;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("{}", told(.0))]
    Api(#[from] kube::Error),
    #[error(
        "all identity numbers are taken: leave labels that differ from pod to pod out of identities (--labels)"
    )]
    Exhausted,
    #[error(
        "the answer about identity {0} makes no sense: is another program writing FathomIdentity objects?"
    )]
    Nonsense(u16),
}

fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            "it does not know the resource fathomidentities.fathom.dev: apply Fathom's manifests".to_owned()
        }
        error => explain(error),
    }
}

/// Finds the number or makes one. `taken` says which numbers are known to stand for others; it may be behind.
pub async fn claim(
    api: &Api<RawObject>,
    labels: &LabelSet,
    prefer: Option<u16>,
    refresh: Duration,
    taken: impl Fn(u16) -> bool,
) -> Result<Stored, Failure> {
    if let Some(first) = numbers_of(api, labels).await?.into_iter().next() {
        // A new one is left as it is: nobody is about to collect it, two hundred agents need not write to it, and
        // of two that were made at once the order stays.
        if prefer.is_none() && state::age(&first).is_some_and(|age| age < refresh) {
            return Ok(first);
        }
        return in_use(api, first, labels, &taken).await;
    }
    let (there, made) = make(api, labels, prefer, &taken).await?;
    let Some(first) = numbers_of(api, labels).await?.into_iter().next() else {
        // Removed in between by somebody: the next attempt makes it again.
        return Err(Failure::Nonsense(there.number));
    };
    if made && first.uid != there.uid {
        give_back(api, &there).await?;
    }
    Ok(first)
}

/// All numbers of these labels, the first made first.
async fn numbers_of(api: &Api<RawObject>, labels: &LabelSet) -> Result<Vec<Stored>, Failure> {
    let hash = format!("{HASH_LABEL}={}", hash_label(labels));
    let list = api.list(&ListParams::default().labels(&hash)).await?;
    let found = list.items.iter().filter_map(Stored::read);
    let mut found: Vec<Stored> = found.filter(|stored| stored.labels.as_ref() == Some(labels)).collect();
    found.sort_by_key(Stored::age_key);
    Ok(found)
}

/// Takes a number that exists: it is refreshed first, so that nobody collects it meanwhile.
async fn in_use(
    api: &Api<RawObject>,
    found: Stored,
    labels: &LabelSet,
    taken: &impl Fn(u16) -> bool,
) -> Result<Stored, Failure> {
    match refresh(api, &found).await {
        Ok(object) => Stored::read(&object).ok_or(Failure::Nonsense(found.number)),
        // Somebody else refreshed or collected it at the same time.
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
            match numbers_of(api, labels).await?.into_iter().next() {
                Some(first) => Ok(first),
                None => make(api, labels, Some(found.number), taken).await.map(|(made, _)| made),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes one under the first free number; false beside it if somebody else just did.
async fn make(
    api: &Api<RawObject>,
    labels: &LabelSet,
    prefer: Option<u16>,
    taken: &impl Fn(u16) -> bool,
) -> Result<(Stored, bool), Failure> {
    let numbers = prefer.into_iter().chain(candidates(labels));
    for number in numbers.filter(|number| !taken(*number)) {
        let object = serde_json::to_value(identity(number, labels)).map_err(kube::Error::SerdeError)?;
        match api.create(&PostParams::default(), &RawObject::new(object)).await {
            Ok(made) => return Ok((Stored::read(&made).ok_or(Failure::Nonsense(number))?, true)),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                if let Some(there) = api.get_opt(&number.to_string()).await?
                    && let Some(stored) = Stored::read(&there)
                    && stored.labels.as_ref() == Some(labels)
                {
                    return Ok((stored, false));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Exhausted)
}

/// Removes a number nobody can have used: everybody takes the one made first.
async fn give_back(api: &Api<RawObject>, made: &Stored) -> Result<(), Failure> {
    let preconditions = Preconditions { uid: Some(made.uid.clone()), ..Preconditions::default() };
    let params = DeleteParams::default().preconditions(preconditions);
    match api.delete(&made.number.to_string(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}
