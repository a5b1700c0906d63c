//! Pods that have their node's network (`hostNetwork`): known by the cgroup of whoever calls or sends.
//!
//! Such a pod has no device and no address of its own, and its identity is the node's. What it can be told by
//! is the cgroup the kubelet made for it: socket events carry the caller's, packets from this node to a pod
//! that of the process that sent them. Containers come and go without a word to the API, so the pods' cgroups
//! are looked at once a second; what a container does before it was seen shows the node alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attach::namespaces::pod_of_cgroup;
use crate::cluster::index::Index;
use crate::cluster::snapshot::EndpointInfo;
use crate::control::describe;
use crate::control::plan::ThisNode;

/// Time between looks at the cgroups.
const EVERY: Duration = Duration::from_secs(1);

/// Deepest directory below the root that is looked into: kubelets nest pods three or four deep.
const MAX_DEPTH: usize = 8;

/// A pod of this node that has the node's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPod {
    /// As the kubelet names its cgroup.
    pub uid: Arc<str>,
    pub endpoint: Arc<EndpointInfo>,
}

/// Who runs in a cgroup, by its id.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HostPods {
    by_cgroup: HashMap<u64, Arc<EndpointInfo>, foldhash::fast::RandomState>,
}

impl HostPods {
    pub fn of_cgroup(&self, id: u64) -> Option<&Arc<EndpointInfo>> {
        self.by_cgroup.get(&id)
    }
}

impl FromIterator<(u64, Arc<EndpointInfo>)> for HostPods {
    fn from_iter<I: IntoIterator<Item = (u64, Arc<EndpointInfo>)>>(cgroups: I) -> Self {
        HostPods { by_cgroup: cgroups.into_iter().collect() }
    }
}

/// The pods of this node that have its network.
pub fn wanted(index: &Index, node: &ThisNode) -> Vec<HostPod> {
    let here = index.pods.iter().filter(|pod| pod.host_network && !pod.finished);
    let here = here.filter(|pod| pod.node_name == node.name && !pod.uid.is_empty());
    here.map(|pod| HostPod { uid: pod.uid.clone(), endpoint: Arc::new(describe::host_pod(node, pod)) })
        .collect()
}

/// Keeps `found` up to date until told to stop. `root` is a cgroup v2 directory above those of pods.
pub async fn keep(
    root: PathBuf,
    mut wanted: watch::Receiver<Vec<HostPod>>,
    found: Arc<ArcSwap<HostPods>>,
    stop: CancellationToken,
) {
    let mut cgroups = Cgroups { root, of_pods: BTreeMap::new() };
    loop {
        let pods = wanted.borrow_and_update().clone();
        let idle = pods.is_empty();
        let looked = tokio::task::spawn_blocking(move || (cgroups.look(&pods), cgroups)).await;
        let Ok((now, returned)) = looked else { return };
        cgroups = returned;
        if **found.load() != now {
            found.store(Arc::new(now));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(EVERY), if !idle => {}
        }
    }
}

/// Directories of pods, once they were found.
struct Cgroups {
    root: PathBuf,
    of_pods: BTreeMap<Arc<str>, PathBuf>,
}

impl Cgroups {
    /// Who is in which cgroup now.
    fn look(&mut self, pods: &[HostPod]) -> HostPods {
        let wanted: BTreeSet<&str> = pods.iter().map(|pod| &*pod.uid).collect();
        self.of_pods.retain(|uid, path| wanted.contains(&**uid) && path.is_dir());
        if pods.iter().any(|pod| !self.of_pods.contains_key(&pod.uid)) {
            self.search(&wanted);
        }
        let in_cgroups = pods.iter().filter_map(|pod| Some((pod, self.of_pods.get(&pod.uid)?)));
        let ids =
            in_cgroups.flat_map(|(pod, path)| ids(path).into_iter().map(|id| (id, pod.endpoint.clone())));
        ids.collect()
    }

    fn search(&mut self, wanted: &BTreeSet<&str>) {
        let mut pending = vec![(self.root.clone(), 0)];
        while let Some((directory, depth)) = pending.pop() {
            for (path, name) in directories(&directory) {
                match pod_of_cgroup(&name) {
                    Some(uid) if wanted.contains(&*uid) => _ = self.of_pods.insert(uid, path),
                    // Of another pod: what is in it is its own.
                    Some(_) => {}
                    None if depth < MAX_DEPTH => pending.push((path, depth + 1)),
                    None => {}
                }
            }
        }
    }
}

/// A cgroup's own id and those of all in it: the numbers of their directories.
fn ids(path: &Path) -> Vec<u64> {
    let mut found: Vec<u64> = fs::metadata(path).map(|directory| directory.ino()).into_iter().collect();
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in entries(&directory) {
            found.push(entry.ino());
            pending.push(entry.path());
        }
    }
    found
}

fn directories(path: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    entries(path).map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
}

/// Directories in one; cgroups end while they are looked at.
fn entries(path: &Path) -> impl Iterator<Item = fs::DirEntry> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const OTHER: &str = "11111111-89ab-cdef-0123-456789abcdef";

    fn pod(uid: &str) -> HostPod {
        HostPod {
            uid: uid.into(),
            endpoint: Arc::new(EndpointInfo { pod_name: uid.into(), ..Default::default() }),
        }
    }

    fn make(root: &Path, path: &str) -> u64 {
        let path = root.join(path);
        fs::create_dir_all(&path).unwrap();
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn containers_are_found_under_both_drivers_and_those_that_come_later_too() {
        for parent in [
            format!("kubepods/burstable/pod{UID}"),
            format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
                UID.replace('-', "_")
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            let root = root.path();
            let elsewhere = make(root, &format!("kubepods/pod{OTHER}/main"));
            let own = make(root, &parent);
            let first = make(root, &format!("{parent}/first"));
            let mut cgroups = Cgroups { root: root.to_owned(), of_pods: BTreeMap::new() };
            let at = |found: &HostPods, id| found.of_cgroup(id).map(|info| info.pod_name.to_string());
            let found = cgroups.look(&[pod(UID)]);
            assert_eq!((at(&found, own), at(&found, first)), (Some(UID.into()), Some(UID.into())));
            assert_eq!(at(&found, elsewhere), None, "a pod that was not asked for");
            let later = make(root, &format!("{parent}/later/inside"));
            assert_eq!(at(&cgroups.look(&[pod(UID)]), later), Some(UID.into()));
            fs::remove_dir_all(root.join(&parent)).unwrap();
            assert_eq!(cgroups.look(&[pod(UID)]), HostPods::default(), "a pod that ended");
            make(root, &parent);
            assert_eq!(cgroups.look(&[pod(UID)]).by_cgroup.len(), 1, "and came again");
        }
    }
}
