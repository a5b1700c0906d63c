//! Kinds whose definition may not be installed: there are no such objects then, until it is.
//!
//! "Not found" alone does not prove that: a server that has just started says it too. The definition itself
//! is asked for, which every server knows.

use fathom_kubernetes::raw::RawObject;
use fathom_kubernetes::retry::Retry;
use fathom_kubernetes::watch::watch;
use futures::StreamExt as _;
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};

use super::follow::{FIRST_WAIT, LONGEST_WAIT};

fn definitions(client: Client) -> Api<RawObject> {
    let resource = ApiResource {
        group: "apiextensions.k8s.io".into(),
        version: "v1".into(),
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        plural: "customresourcedefinitions".into(),
    };
    Api::all_with(client, &resource)
}

/// Whether there is no such definition.
pub async fn is_absent(client: Client, definition: &str) -> kube::Result<bool> {
    Ok(definitions(client).get_opt(definition).await?.is_none())
}

/// Waits until there is one.
pub async fn appears(client: Client, definition: &str) {
    let only = watcher::Config::default().fields(&format!("metadata.name={definition}"));
    let retry = Retry::new(FIRST_WAIT, LONGEST_WAIT);
    let mut events = std::pin::pin!(watch(definitions(client), only).backoff(retry));
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(_) | Event::InitApply(_)) = event {
            return;
        }
    }
}
