//! `fathom.v1.Policies`: which policies are in force, and why. Read-only.
//!
//! [`list`] is about policies as they are installed; [`explain`] about two who may or may not talk, whom
//! [`parties`] finds; [`trace`] about the look-ups for two numbers; [`selectors`] about whom selectors select.

mod explain;
mod list;
mod parties;
mod selectors;
mod trace;

use std::sync::Arc;

use arc_swap::ArcSwap;
use fathom_api::fathom_v1::policies_server::Policies;
use fathom_api::fathom_v1::{
    ExplainRequest, ExplainResponse, ExplainedSide, ListPoliciesRequest, ListPoliciesResponse,
    ListSelectorsRequest, ListSelectorsResponse, TraceRequest, TraceResponse,
};
use tonic::{Request, Response, Status};

use self::explain::Explainer;
use crate::cluster::snapshot::Snapshot;
use crate::cluster::source::SourceStatus;
use crate::control::state::{Asker, PolicyState};
use crate::datapath::Running;

/// Longest text of a question that is looked at, in bytes: names and selectors are shorter.
const LONGEST: usize = 1024;

/// The service, for this node.
#[derive(Clone)]
pub struct PoliciesService {
    pub asker: Asker,
    /// What is in the kernel.
    pub running: Arc<dyn Running>,
    /// Names of rules.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What is wrong with objects.
    pub source: Arc<SourceStatus>,
    /// This node's name, as in flows.
    pub node_name: Arc<str>,
}

impl PoliciesService {
    /// One look at policies and tables; reading those is work for a thread that may block.
    async fn explained(&self, request: ExplainRequest) -> Result<ExplainResponse, Status> {
        let (state, service) = (self.state().await?, self.clone());
        let look = move || {
            let explainer = Explainer {
                state: &state,
                snapshot: &service.snapshot.load(),
                running: &*service.running,
                node_name: &service.node_name,
            };
            explainer.explain(&request)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked
            .unwrap_or_else(|error| Err(Status::internal(format!("the look at the tables failed: {error}"))))
    }

    async fn state(&self) -> Result<Arc<PolicyState>, Status> {
        self.asker.state().await.map_err(|why| Status::unavailable(why.to_string()))
    }
}

/// Refuses texts that are no names and no selectors.
fn check_length<'a>(texts: impl IntoIterator<Item = (&'static str, &'a str)>) -> Result<(), Status> {
    for (field, text) in texts {
        if text.len() > LONGEST {
            let bytes = text.len();
            return Err(Status::invalid_argument(format!(
                "{field} has {bytes} bytes: at most {LONGEST} are read"
            )));
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl Policies for PoliciesService {
    async fn list_policies(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        let request = request.into_inner();
        check_length([("namespace", &*request.namespace), ("name", &*request.name)])?;
        let state = self.state().await?;
        let problems = self.source.problems.load();
        let policies = list::policies(&state, &problems, &self.node_name, &request);
        Ok(Response::new(ListPoliciesResponse { policies }))
    }

    async fn list_selectors(
        &self,
        request: Request<ListSelectorsRequest>,
    ) -> Result<Response<ListSelectorsResponse>, Status> {
        let request = request.into_inner();
        check_length([("namespace", &*request.namespace), ("name", &*request.name)])?;
        let state = self.state().await?;
        let snapshot = self.snapshot.load();
        Ok(Response::new(selectors::selectors(&state, &snapshot, &self.node_name, &request)))
    }

    async fn trace(&self, request: Request<TraceRequest>) -> Result<Response<TraceResponse>, Status> {
        let (request, service) = (request.into_inner(), self.clone());
        let look = move || {
            let snapshot = service.snapshot.load();
            trace::trace(&request, &*service.running, &snapshot, &service.node_name)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        let looked = looked
            .unwrap_or_else(|error| Err(Status::internal(format!("the look at the tables failed: {error}"))));
        Ok(Response::new(TraceResponse { tables: looked? }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let request = request.into_inner();
        let ExplainRequest { from, to, namespace, port } = &request;
        check_length([("from", &**from), ("to", &**to), ("namespace", &**namespace), ("port", &**port)])?;
        let explained = self.explained(request.clone()).await?;
        let is_odd = |side: &Option<ExplainedSide>| side.as_ref().is_some_and(|s| !s.differs.is_empty());
        if explained.paths.iter().any(|path| is_odd(&path.egress) || is_odd(&path.ingress)) {
            // Perhaps tables were being swapped just then: what differs twice differs.
            return self.explained(request).await.map(Response::new);
        }
        Ok(Response::new(explained))
    }
}
