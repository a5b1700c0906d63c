//! Objects from the API server.
//!
//! One task per kind lists in pages and then watches; what it cannot reach it tries again with growing waits,
//! and until then what is known stays. An expired watch lists anew; nothing is deleted but by an event or by a
//! listing that was complete. Objects are reduced to the agent's own form as they arrive, a page at a time.
//!
//! Kinds of other projects' definitions may not exist in a cluster: see [`absent`].

mod absent;
mod follow;
mod problems;

use std::sync::Arc;

use fathom_kubernetes::connect::Connection;
use fathom_kubernetes::registry::ClusterRegistry;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use self::problems::Problems;
use super::model::Kind;
use super::source::{Feed, Source, SourceTask};

/// The API server as a source.
pub struct ApiServer {
    pub connection: Connection,
    /// Nothing is handed on before it is synced: identities must not be computed from half of them.
    pub registry: ClusterRegistry,
}

impl Source for ApiServer {
    fn describe(&self) -> String {
        format!("objects of {}", self.connection.address)
    }

    fn run(self: Box<Self>, feed: Feed, stop: CancellationToken) -> SourceTask {
        Box::pin(async move {
            let problems = Arc::new(Problems::new(self.connection.address.clone(), feed.status.clone()));
            let follow = async {
                self.registry.synced().await;
                let kinds = Kind::ALL.into_iter().map(|kind| {
                    follow::follow(kind, self.connection.client.clone(), feed.clone(), problems.clone())
                });
                let mut kinds: FuturesUnordered<_> = kinds.collect();
                while kinds.next().await.is_some() {}
            };
            stop.run_until_cancelled(follow).await;
            Ok(())
        })
    }
}
