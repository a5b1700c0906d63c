//! Whether there is still somebody at the other end of a connection.
//!
//! A broken connection says so, by ending the health watch. A frozen process or a vanished machine
//! says nothing, and TCP notices after minutes, so the agent is asked for its health now and then as
//! well. Rejected: HTTP/2 pings, for which Go servers close the connection when they come more often
//! than every five minutes; calls are welcome at any rate.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::pool::Pace;

/// Asks one agent how it is.
pub struct Health {
    client: HealthClient<Channel>,
}

impl Health {
    pub fn new(channel: Channel) -> Self {
        Health { client: HealthClient::new(channel) }
    }

    /// Returns when the agent can't be used any more, with the reason.
    pub async fn until_lost(&mut self, pace: Pace) -> String {
        let mut watching = Health { client: self.client.clone() };
        tokio::select! {
            why = watching.watch() => why,
            why = self.ask(pace) => why,
        }
    }

    /// Why the agent can't be used, if it can't.
    pub async fn ill(&mut self, within: Duration) -> Option<String> {
        match tokio::time::timeout(within, self.client.check(request())).await {
            Err(_) => Some(format!("no answer to a health check within {within:?}")),
            Ok(Ok(health)) if health.get_ref().status() == ServingStatus::NotServing => {
                Some(NOT_SERVING.into())
            }
            Ok(Err(status)) if is_transport(&status) => Some(status.message().to_owned()),
            // Servers without this service, or with another name for it, are there all the same.
            Ok(_) => None,
        }
    }

    async fn ask(&mut self, pace: Pace) -> String {
        loop {
            tokio::time::sleep(pace.check_every).await;
            if let Some(why) = self.ill(pace.check_within).await {
                return why;
            }
        }
    }

    /// The cheapest stream a server keeps open: its end comes at once where the next question would
    /// take seconds.
    async fn watch(&mut self) -> String {
        let mut stream = match self.client.watch(request()).await {
            Ok(response) => response.into_inner(),
            Err(status) if is_transport(&status) => return status.message().to_owned(),
            Err(_) => return std::future::pending().await,
        };
        loop {
            match stream.message().await {
                Ok(Some(health)) if health.status() == ServingStatus::NotServing => {
                    return NOT_SERVING.into();
                }
                Ok(Some(_)) => {}
                Ok(None) => return "the agent closed the connection".into(),
                Err(status) if is_transport(&status) => return status.message().to_owned(),
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

const NOT_SERVING: &str = "the agent does not serve: it starts or shuts down";

fn request() -> HealthCheckRequest {
    HealthCheckRequest { service: "hubble.server.Observer".into() }
}

/// Whether a call failed on the way, and not at the agent.
fn is_transport(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}
