//! Nodes that an answer is without: a relay names them in metadata where its answers have no room.

use std::collections::BTreeSet;

use tonic::metadata::MetadataMap;

use crate::terminal::escape::Escaped;
use crate::terminal::note;

const KEY: &str = "fathom-nodes-missing";

/// Each as `name: why`.
pub fn nodes(metadata: &MetadataMap) -> BTreeSet<String> {
    metadata.get_all(KEY).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
}

/// Says on standard error who is missing.
pub fn tell(nodes: &BTreeSet<String>) {
    for node in nodes {
        note(format_args!("no answer from {}", Escaped(node)));
    }
}
