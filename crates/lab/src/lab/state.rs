//! What a lab remembers of itself: `state.json` in its directory.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::pods::Pod;
use crate::layout::Layout;
use crate::machine::process::{Process, ProcessId};
use crate::spec::{ServiceSpec, Spec};

/// Everything that can't be derived from the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// As it is now: pods and policies come and go.
    pub spec: Spec,
    /// As it was asked for: what `up` compares with.
    pub wanted: Spec,
    /// False while it is being made: such a lab is a leftover.
    pub complete: bool,
    /// The process an ephemeral lab belongs to.
    pub owner: Option<ProcessId>,
    pub pods: BTreeMap<String, Pod>,
    pub processes: BTreeMap<String, Process>,
}

impl State {
    pub fn new(spec: Spec, owner: Option<ProcessId>) -> Self {
        Self {
            wanted: spec.clone(),
            spec,
            complete: false,
            owner,
            pods: BTreeMap::new(),
            processes: BTreeMap::new(),
        }
    }

    /// The state of a lab; `None` when there is no such lab.
    pub fn read(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.state_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_str(&text).map(Some).with_context(|| format!("understand {}", path.display()))
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        let path = layout.state_file();
        let draft = path.with_extension("draft");
        let text = serde_json::to_string_pretty(self).context("write the state as JSON")?;
        std::fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        std::fs::rename(&draft, &path).with_context(|| format!("put {} in place", path.display()))
    }

    /// A service's addresses: its own, or those of its place in the spec.
    pub fn cluster_ips(&self, service: &ServiceSpec) -> Vec<IpAddr> {
        if !service.cluster_ips.is_empty() {
            return service.cluster_ips.clone();
        }
        let place = self.spec.services.iter().position(|s| s == service).unwrap_or(0);
        crate::layout::cluster_ips(place).to_vec()
    }

    /// The address of the cluster's DNS server: the service called `dns` or `kube-dns`.
    pub fn dns(&self) -> Option<IpAddr> {
        let service = self.spec.services.iter().find(|s| s.name == "dns" || s.name == "kube-dns")?;
        self.cluster_ips(service).first().copied()
    }
}
