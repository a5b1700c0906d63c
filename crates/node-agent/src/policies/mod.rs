//! `fathom.v1.Policies`: which policies are in force, and why. Read-only.
//!
//! [`list`] is about policies as they are installed.

mod list;

use std::sync::Arc;

use fathom_api::fathom_v1::policies_server::Policies;
use fathom_api::fathom_v1::{ListPoliciesRequest, ListPoliciesResponse};
use tonic::{Request, Response, Status};

use crate::cluster::source::SourceStatus;
use crate::control::state::{Asker, PolicyState};

/// Longest text of a question that is looked at, in bytes: names and selectors are shorter.
const LONGEST: usize = 1024;

/// The service, for this node.
#[derive(Clone)]
pub struct PoliciesService {
    pub asker: Asker,
    /// What is wrong with objects.
    pub source: Arc<SourceStatus>,
    /// This node's name, as in flows.
    pub node_name: Arc<str>,
}

impl PoliciesService {
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
}
