//! Which fields of a flow to ask for.

use prost_types::FieldMask;

use super::typed::{FlowFormatArgs, Output};
use crate::failure::usage;

/// What compact, dict and table output show. Hubble's default mask lacks the names an address
/// resolved to, so that FQDNs never appear in its output; they are here.
const SHOWN: [&str; 32] = [
    "time",
    "verdict",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "Type",
    "node_name",
    "source_names",
    "destination_names",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "is_reply",
    "Summary",
    "ip_trace_id",
    "traffic_direction",
    "policy_match_type",
    "auth_type",
    "sock_xlate_point",
    "debug_capture_point",
    "egress_allowed_by",
    "ingress_allowed_by",
    "egress_denied_by",
    "ingress_denied_by",
    // Facts: how a gRPC call ended, whom a TLS client asked for.
    "extensions",
];

/// The mask of a request; `None` asks for everything.
pub fn field_mask(args: &FlowFormatArgs, output: Output) -> anyhow::Result<Option<FieldMask>> {
    let json = matches!(output, Output::Json | Output::Jsonpb);
    let paths: Vec<String> = if !args.field_mask.is_empty() {
        if !json {
            let name = format!("{output:?}").to_lowercase();
            return Err(usage(format!(
                "{name} output format is not compatible with custom field mask; add -o json"
            )));
        }
        args.field_mask.clone()
    } else if json || !args.use_default_field_masks {
        return Ok(None);
    } else {
        SHOWN.into_iter().map(str::to_owned).collect()
    };
    Ok(Some(FieldMask { paths }))
}
