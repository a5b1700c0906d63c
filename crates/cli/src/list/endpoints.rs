//! Pods under observation.

use fathom_api::fathom_v1::{ListEndpointsResponse, LocalEndpoint};

use crate::terminal::columns::Columns;
use crate::terminal::escape::{Escaped, join};

pub(super) fn table(response: &ListEndpointsResponse, wide: bool) -> Columns {
    let mut columns = Columns::default();
    let more: &[&str] = if wide { &["ID", "INTERFACE", "LABELS"] } else { &[] };
    let head = ["NODE", "POD", "IDENTITY", "INGRESS", "EGRESS", "ADDRESSES", "STATE"];
    columns.row(head.iter().chain(more).copied());
    for endpoint in &response.endpoints {
        let mut cells = vec![
            Escaped(&endpoint.node_name).to_string(),
            pod(endpoint),
            endpoint.identity.to_string(),
            enforcement(endpoint.ingress_enforced).to_owned(),
            enforcement(endpoint.egress_enforced).to_owned(),
            join(&endpoint.addresses, ","),
            Escaped(&endpoint.state).to_string(),
        ];
        if wide {
            cells.extend([
                endpoint.id.to_string(),
                format!("{} ({})", Escaped(&endpoint.interface), endpoint.ifindex),
                join(&endpoint.labels, ","),
            ]);
        }
        columns.row(cells);
    }
    columns
}

fn pod(endpoint: &LocalEndpoint) -> String {
    format!("{}/{}", Escaped(&endpoint.namespace), Escaped(&endpoint.pod_name))
}

fn enforcement(enforced: bool) -> &'static str {
    if enforced { "enforced" } else { "open" }
}
