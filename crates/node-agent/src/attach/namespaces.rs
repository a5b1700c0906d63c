//! Which network namespaces there are on the node, and whose.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fathom_netns::{Id, Netns};

use super::Places;
use super::devices::{Host, HostLink, Inside};

/// What was learned of a namespace.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: Id,
    /// A path it was found by.
    pub path: PathBuf,
    /// Pods whose processes are in it, as the kubelet names their cgroups.
    pub uids: BTreeSet<Arc<str>>,
    pub inside: Inside,
}

/// Looks for namespaces, and remembers which can't be read.
pub struct Namespaces {
    places: Places,
}

/// A namespace before anybody looked into it.
#[derive(Debug, Default)]
struct Found {
    path: PathBuf,
    uids: BTreeSet<Arc<str>>,
}

impl Namespaces {
    pub fn new(places: Places) -> Self {
        Namespaces { places }
    }

    /// Every namespace but the agent's own, and what was in the way.
    pub async fn look(&self, host: &Host, links: &BTreeMap<u32, HostLink>) -> (Vec<Seen>, BTreeSet<String>) {
        let mut problems = BTreeSet::new();
        let places = self.places.clone();
        let found = tokio::task::spawn_blocking(move || find(&places)).await;
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(problem)) => return (Vec::new(), BTreeSet::from([problem])),
            Err(error) => return (Vec::new(), BTreeSet::from([format!("looking for namespaces: {error}")])),
        };
        let mut seen = Vec::new();
        for (id, found) in found {
            match look_into(&found, id, host, links).await {
                Ok(Some(inside)) => seen.push(Seen { id, path: found.path, uids: found.uids, inside }),
                // Gone meanwhile, or another one by now.
                Ok(None) => {}
                Err(error) => {
                    problems.insert(format!("namespace {} can't be read: {error:#}", found.path.display()));
                }
            }
        }
        (seen, problems)
    }
}

async fn look_into(
    found: &Found,
    id: Id,
    host: &Host,
    links: &BTreeMap<u32, HostLink>,
) -> anyhow::Result<Option<Inside>> {
    let netns = match Netns::open(&found.path) {
        Ok(netns) if netns.id() == id => netns,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    host.look_into(&netns, links).await.map(Some)
}

/// Namespaces of processes, then those that only have a name. An error is about the whole of it.
fn find(places: &Places) -> Result<BTreeMap<Id, Found>, String> {
    let own = Id::own().map_err(|error| format!("the agent's own network namespace: {error}"))?;
    let mut found: BTreeMap<Id, Found> = BTreeMap::new();
    let processes = fs::read_dir(&places.proc)
        .map_err(|error| format!("--proc {} can't be listed: {error}", places.proc.display()))?;
    for process in processes.flatten() {
        let path = process.path();
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // Processes end while they are looked at.
        let Ok(id) = Id::of(&path.join("ns/net")) else { continue };
        if id == own {
            continue;
        }
        let namespace = found.entry(id).or_default();
        if namespace.path.as_os_str().is_empty() {
            namespace.path = path.join("ns/net");
        }
        namespace.uids.extend(pod_of_process(&path));
    }
    for name in fs::read_dir(&places.netns_dir).into_iter().flatten().flatten() {
        let Ok(id) = Id::of(&name.path()) else { continue };
        if id != own {
            // A name outlives processes.
            found.entry(id).or_default().path = name.path();
        }
    }
    Ok(found)
}

/// The pod a process belongs to, by its cgroup.
fn pod_of_process(process: &Path) -> Option<Arc<str>> {
    let text = fs::read_to_string(process.join("cgroup")).ok()?;
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(pod_of_cgroup)
}

/// The UID in the name the kubelet gives a pod's cgroup: `…/pod<uid>/…` under cgroupfs,
/// `…-pod<uid, with _ for ->.slice/…` under systemd. Static pods have 32 hexadecimal digits without dashes there.
pub fn pod_of_cgroup(path: &str) -> Option<Arc<str>> {
    path.split('/').find_map(|segment| {
        let segment = segment.strip_suffix(".slice").unwrap_or(segment);
        let uid = match segment.strip_prefix("pod") {
            Some(uid) => uid,
            None => segment.strip_prefix("kubepods")?.rsplit_once("-pod")?.1,
        };
        let uid = uid.replace('_', "-");
        let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
        let dashes = uid.bytes().filter(|b| *b == b'-').count();
        let is_uid = digits == 32 && digits + dashes == uid.len() && (dashes == 0 || dashes == 4);
        is_uid.then(|| uid.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_uid_is_in_its_cgroups_name_whoever_drives_them() {
        const UID: &str = "6c1cb9d2-5b2f-4d53-8d0a-0f1e2d3c4b5a";
        for (path, uid) in [
            (format!("/kubepods/burstable/pod{UID}/0123456789abcdef"), Some(UID)),
            (format!("/kubepods/pod{UID}"), Some(UID)),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice/cri-containerd-1.scope",
                    UID.replace('-', "_")
                ),
                Some(UID),
            ),
            (format!("/kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_")), Some(UID)),
            (
                format!(
                    "/kubelet.slice/kubelet-kubepods.slice/kubepods-pod{}.slice/x",
                    UID.replace('-', "_")
                ),
                Some(UID),
            ),
            (
                "/kubepods/pod0123456789abcdef0123456789abcdef/x".into(),
                Some("0123456789abcdef0123456789abcdef"),
            ),
            ("/system.slice/podman.service".into(), None),
            ("/kubepods/pod".into(), None),
            (format!("/pod{UID}0"), None),
            (format!("/user.slice/evil-pod{UID}.slice"), None),
            ("/".into(), None),
        ] {
            assert_eq!(pod_of_cgroup(&path).as_deref(), uid, "{path}");
        }
    }

    #[test]
    fn processes_of_this_namespace_are_nobodys() {
        let places = Places { proc: "/proc".into(), netns_dir: "/nowhere".into() };
        let found = find(&places).unwrap();
        assert!(!found.contains_key(&Id::own().unwrap()));
        let missing = find(&Places { proc: "/nowhere".into(), ..places }).unwrap_err();
        assert!(missing.contains("--proc /nowhere"), "{missing}");
    }
}
