//! The pods wired to this node: what the CNI plugin said, on disk, and how far each has come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use super::ipam::{Ipam, IpamError, Memory};
use crate::attach::matching::Adoption;

/// Container and interface, as the runtime names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    pub container_id: String,
    pub interface: String,
}

impl std::fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.container_id, self.interface)
    }
}

/// One attachment, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub key: AttachmentKey,
    /// 1..=65535, unique on the node for as long as the attachment exists.
    pub id: u16,
    pub namespace: String,
    pub pod_name: String,
    pub netns: String,
    pub addresses: Vec<IpAddr>,
    pub host_interface: String,
    /// Known once the pod is wired.
    pub device: Option<DeviceRecord>,
    /// What the pod was when its object was last seen.
    pub last_known: Option<LastKnownRecord>,
    /// Another plugin wired it and gave it its addresses.
    #[serde(default)]
    pub adopted: bool,
}

impl Attachment {
    /// Addresses that were given out here.
    fn ours(&self) -> &[IpAddr] {
        if self.adopted { &[] } else { &self.addresses }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    pub ifindex: u32,
    pub pod_mac: String,
    pub host_mac: String,
    /// 0 = unknown.
    pub netns_cookie: u64,
}

/// Identity labels, named ports (name, IANA protocol, number), and whether its messages are let alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastKnownRecord {
    pub labels: Vec<String>,
    pub named_ports: Vec<(String, u8, u16)>,
    #[serde(default)]
    pub l7_off: bool,
}

/// How far an endpoint has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointState {
    Ready {
        identity: u32,
    },
    /// It drops everything until what it waits for is there.
    Waiting(String),
}

/// Why an attachment could not be made or changed.
#[derive(Debug, Error)]
pub enum AttachError {
    #[error(transparent)]
    Ipam(#[from] IpamError),
    #[error("{key} belongs to pod {namespace}/{name}")]
    OtherPod { key: AttachmentKey, namespace: String, name: String },
    #[error("{0} has no addresses: allocate first")]
    Unknown(AttachmentKey),
    #[error("all 65535 endpoint numbers of this node are in use")]
    TooMany,
    #[error("cannot write {}: {source}", path.display())]
    Persist { path: PathBuf, source: io::Error },
}

/// All attachments. Writers are the CNI server and the reconciler; each change is on disk before it counts.
pub struct Attachments {
    directory: PathBuf,
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

struct Inner {
    attachments: BTreeMap<AttachmentKey, Attachment>,
    states: BTreeMap<u16, EndpointState>,
    ipam: Ipam,
    elsewhere: BTreeSet<IpAddr>,
    last_id: u16,
}

impl Attachments {
    /// Reads what was written down. Files that cannot be understood are reported and left alone.
    ///
    /// # Errors
    /// The directory cannot be made or listed.
    pub fn open(run_dir: &Path, rest: Duration) -> io::Result<Self> {
        let directory = run_dir.join("endpoints");
        fs::create_dir_all(&directory)?;
        let mut ipam = Ipam::new(rest, read_memory(&directory));
        let mut attachments = BTreeMap::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let is_record = path.extension().is_some_and(|e| e == "json") && !path.ends_with("ipam.json");
            if !is_record {
                continue;
            }
            let read = fs::read_to_string(&path).map_err(|e| e.to_string());
            match read.and_then(|text| serde_json::from_str::<Attachment>(&text).map_err(|e| e.to_string())) {
                Ok(attachment) => {
                    for address in attachment.ours() {
                        ipam.occupy(
                            *address,
                            &owner(&attachment.key, &attachment.namespace, &attachment.pod_name),
                        );
                    }
                    attachments.insert(attachment.key.clone(), attachment);
                }
                Err(error) => tracing::warn!(path = %path.display(), error, "not an endpoint's record"),
            }
        }
        let last_id = attachments.values().map(|a| a.id).max().unwrap_or(0);
        let inner = Inner { attachments, states: BTreeMap::new(), ipam, elsewhere: BTreeSet::new(), last_id };
        Ok(Attachments { directory, inner: Mutex::new(inner), changed: watch::Sender::new(0) })
    }

    /// Turns with every change of attachments or states.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// All attachments, by key.
    pub fn list(&self) -> Vec<Attachment> {
        self.lock().attachments.values().cloned().collect()
    }

    pub fn get(&self, key: &AttachmentKey) -> Option<Attachment> {
        self.lock().attachments.get(key).cloned()
    }

    pub fn state(&self, id: u16) -> Option<EndpointState> {
        self.lock().states.get(&id).cloned()
    }

    /// The pod prefixes addresses come from.
    pub fn prefixes(&self) -> Vec<IpNet> {
        self.lock().ipam.prefixes().to_vec()
    }

    /// What the objects say: where addresses come from, and which of them others use.
    pub fn set_prefixes(&self, prefixes: &[IpNet], elsewhere: BTreeSet<IpAddr>) {
        let mut inner = self.lock();
        let turn = inner.ipam.prefixes() != prefixes;
        inner.ipam.set_prefixes(prefixes);
        inner.elsewhere = elsewhere;
        drop(inner);
        if turn {
            self.turn();
        }
    }

    /// Reserves addresses; the same ones when asked again.
    ///
    /// # Errors
    /// No address, another pod's attachment, or a disk that cannot be written: then nothing is reserved.
    pub fn allocate(
        &self,
        key: &AttachmentKey,
        namespace: &str,
        pod_name: &str,
        netns: &str,
        requested: &[IpAddr],
        node: &str,
    ) -> Result<Attachment, AttachError> {
        let mut inner = self.lock();
        if let Some(known) = inner.attachments.get(key) {
            if known.namespace != namespace || known.pod_name != pod_name {
                let (namespace, name) = (known.namespace.clone(), known.pod_name.clone());
                return Err(AttachError::OtherPod { key: key.clone(), namespace, name });
            }
            return Ok(known.clone());
        }
        let id = inner.next_id().ok_or(AttachError::TooMany)?;
        let now = SystemTime::now();
        let owner = owner(key, namespace, pod_name);
        let Inner { ipam, elsewhere, .. } = &mut *inner;
        let addresses = ipam.allocate(&owner, node, requested, elsewhere, now)?;
        let attachment = Attachment {
            key: key.clone(),
            id,
            namespace: namespace.to_owned(),
            pod_name: pod_name.to_owned(),
            netns: netns.to_owned(),
            host_interface: inner.host_interface(key),
            addresses,
            device: None,
            last_known: None,
            adopted: false,
        };
        if let Err(error) = self.write(&attachment, inner.ipam.memory()) {
            for address in &attachment.addresses {
                inner.ipam.release(*address, now);
            }
            return Err(error);
        }
        inner.last_id = id;
        inner.attachments.insert(key.clone(), attachment.clone());
        Ok(attachment)
    }

    /// Says which device the pod is behind; the reconciler takes it from there.
    ///
    /// # Errors
    /// The attachment has no addresses, or the disk cannot be written.
    pub fn wire(
        &self,
        key: &AttachmentKey,
        host_interface: &str,
        device: DeviceRecord,
    ) -> Result<Attachment, AttachError> {
        let mut inner = self.lock();
        let known = inner.attachments.get(key).ok_or_else(|| AttachError::Unknown(key.clone()))?;
        let wired =
            Attachment { host_interface: host_interface.to_owned(), device: Some(device), ..known.clone() };
        self.write(&wired, inner.ipam.memory())?;
        inner.states.remove(&wired.id);
        inner.attachments.insert(key.clone(), wired.clone());
        drop(inner);
        self.turn();
        Ok(wired)
    }

    /// Takes a pod on that another plugin wired; whether that is news.
    ///
    /// # Errors
    /// No number is left, or the disk cannot be written.
    pub fn adopt(&self, adoption: &Adoption) -> Result<bool, AttachError> {
        let mut inner = self.lock();
        let key = adoption.key();
        let known = inner.attachments.get(&key).cloned();
        let id = match &known {
            Some(known) => known.id,
            None => inner.next_id().ok_or(AttachError::TooMany)?,
        };
        let attachment = Attachment {
            key: key.clone(),
            id,
            namespace: adoption.namespace.to_string(),
            pod_name: adoption.pod_name.to_string(),
            // A path through a process changes from look to look, and is the same namespace.
            netns: known.as_ref().map_or(adoption.netns.display().to_string(), |known| known.netns.clone()),
            addresses: adoption.addresses.clone(),
            host_interface: adoption.host_interface.clone(),
            device: Some(adoption.device.clone()),
            last_known: known.as_ref().and_then(|known| known.last_known.clone()),
            adopted: true,
        };
        if known.as_ref() == Some(&attachment) {
            return Ok(false);
        }
        self.write(&attachment, inner.ipam.memory())?;
        inner.last_id = inner.last_id.max(id);
        inner.states.remove(&id);
        inner.attachments.insert(key, attachment);
        drop(inner);
        self.turn();
        Ok(true)
    }

    /// Gives an attachment up; what it was, when it was known.
    ///
    /// # Errors
    /// Its record cannot be removed: then it stays.
    pub fn release(&self, key: &AttachmentKey) -> Result<Option<Attachment>, AttachError> {
        let mut inner = self.lock();
        let Some(attachment) = inner.attachments.get(key).cloned() else { return Ok(None) };
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(AttachError::Persist { path, source });
            }
            _ => {}
        }
        inner.attachments.remove(key);
        inner.states.remove(&attachment.id);
        for address in attachment.ours() {
            inner.ipam.release(*address, SystemTime::now());
        }
        if let Err(error) = self.write_memory(inner.ipam.memory()) {
            tracing::warn!(%error, "resting addresses are not written down");
        }
        drop(inner);
        self.turn();
        Ok(Some(attachment))
    }

    /// Writes down what a pod was last known as; only when that changed.
    pub fn remember(&self, key: &AttachmentKey, known: LastKnownRecord) {
        let mut inner = self.lock();
        let Some(attachment) = inner.attachments.get(key) else { return };
        if attachment.last_known.as_ref() == Some(&known) {
            return;
        }
        let attachment = Attachment { last_known: Some(known), ..attachment.clone() };
        if let Err(error) = self.write(&attachment, inner.ipam.memory()) {
            tracing::warn!(%error, "an endpoint's last identity is not written down");
        }
        inner.attachments.insert(key.clone(), attachment);
    }

    /// Says how far endpoints have come, by number.
    pub fn set_states(&self, states: BTreeMap<u16, EndpointState>) {
        let mut inner = self.lock();
        if inner.states != states {
            inner.states = states;
            drop(inner);
            self.turn();
        }
    }

    fn turn(&self) {
        self.changed.send_modify(|turn| *turn += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &AttachmentKey) -> PathBuf {
        let text = format!("{}\n{}", key.container_id, key.interface);
        self.directory.join(format!("{:016x}.json", fathom_identity::hash::stable_hash(text.as_bytes())))
    }

    fn write(&self, attachment: &Attachment, memory: &Memory) -> Result<(), AttachError> {
        write_json(&self.path(&attachment.key), attachment)?;
        self.write_memory(memory)
    }

    fn write_memory(&self, memory: &Memory) -> Result<(), AttachError> {
        write_json(&self.directory.join("ipam.json"), memory)
    }
}

impl Inner {
    /// The next free number behind the last one given out.
    fn next_id(&self) -> Option<u16> {
        let taken: BTreeSet<u16> = self.attachments.values().map(|a| a.id).collect();
        let after = (1..=u16::MAX).map(|step| self.last_id.wrapping_add(step));
        after.chain(std::iter::once(self.last_id)).find(|id| *id != 0 && !taken.contains(id))
    }

    /// A name for the host-side device that no other attachment has: "pod" and the hash of the key.
    fn host_interface(&self, key: &AttachmentKey) -> String {
        let taken = |name: &str| self.attachments.values().any(|a| a.host_interface == name);
        let name = |turn: u32| {
            let text = format!("{key}/{turn}");
            let hash = fathom_identity::hash::stable_hash(text.as_bytes());
            format!("pod{:010x}", hash & 0xff_ffff_ffff)
        };
        (0..).map(name).find(|name| !taken(name)).unwrap_or_default()
    }
}

/// Who has an address. The container belongs to it: a pod's new sandbox is not its old one.
fn owner(key: &AttachmentKey, namespace: &str, pod_name: &str) -> String {
    format!("pod {namespace}/{pod_name} ({key})")
}

fn read_memory(directory: &Path) -> Memory {
    let path = directory.join("ipam.json");
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "resting addresses are forgotten");
            Memory::default()
        }),
        Err(_) => Memory::default(),
    }
}

/// Whole or not at all: written aside, then moved into place.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), AttachError> {
    let aside = path.with_extension("new");
    let text = serde_json::to_vec_pretty(value).map_err(io::Error::from);
    let written = text.and_then(|text| fs::write(&aside, text)).and_then(|()| fs::rename(&aside, path));
    written.map_err(|source| AttachError::Persist { path: path.to_owned(), source })
}

#[cfg(test)]
#[path = "attachments_tests.rs"]
mod tests;
