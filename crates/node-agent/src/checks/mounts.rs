//! The two file systems the kernel is spoken with through: cgroup v2 and bpffs.

use std::fs;
use std::path::{Path, PathBuf};

use fathom_bpf::is_bpffs;

use super::finding::Finding;
use crate::config::Config;

/// Inode of the first cgroup namespace (include/linux/proc_ns.h).
const FIRST_CGROUP_NAMESPACE: &str = "cgroup:[4026531835]";

/// One line of mountinfo (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// Which part of the file system is to be seen: "/" = all of it, or of what the namespace shows.
    root: String,
    point: PathBuf,
    options: String,
    kind: String,
    super_options: String,
}

fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        Some(Mount {
            root: left.next()?.to_owned(),
            point: left.next()?.replace("\\040", " ").into(),
            options: left.next()?.to_owned(),
            kind: right.next()?.to_owned(),
            super_options: right.nth(1).unwrap_or_default().to_owned(),
        })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// Both of them.
pub fn examine(config: &Config, cgroup: Option<&Path>) -> Vec<Finding> {
    let text = match fs::read_to_string("/proc/self/mountinfo") {
        Ok(text) => text,
        Err(error) => return vec![Finding::unknown("cgroup", format!("read /proc/self/mountinfo: {error}"))],
    };
    let mounts = mounts(&text);
    let namespace = fs::read_link("/proc/self/ns/cgroup");
    let first = namespace.is_ok_and(|link| link == Path::new(FIRST_CGROUP_NAMESPACE));
    let mut found = vec![socket_hooks(&mounts, config.cgroup().is_some(), cgroup, first)];
    found.extend(net_classes(&mounts, cgroup));
    found.push(bpffs(&mounts, &config.place.bpffs));
    found
}

/// The part of the tree whose sockets are translated.
fn socket_hooks(mounts: &[Mount], wanted: bool, cgroup: Option<&Path>, first_namespace: bool) -> Finding {
    let packets =
        "services are translated packet by packet, and what a socket's events would tell is not told";
    let Some(cgroup) = cgroup else {
        return match wanted {
            false => Finding::info("cgroup", "--cgroup none: no socket hooks").so(packets),
            true => Finding::degraded("cgroup", "cgroup v2 is not mounted")
                .so(packets)
                .then("mount it: mount -t cgroup2 none /sys/fs/cgroup/unified"),
        };
    };
    let mount = mounts.iter().rfind(|m| m.kind == "cgroup2" && cgroup.starts_with(&m.point));
    let Some(mount) = mount else {
        return Finding::missing("cgroup", format!("{} lies on no cgroup v2 mount", cgroup.display()))
            .so("the socket hooks have no place to hang: the agent does not start with it")
            .then("give --cgroup a directory of the mounted tree, or leave it out");
    };
    let point = mount.point.display();
    let v1 = mounts.iter().any(|m| m.kind == "cgroup");
    let layout = if v1 { "beside v1 (hybrid)" } else { "alone (unified)" };
    let here = format!("v2 is mounted on {point}, {layout}; socket hooks on {}", cgroup.display());
    // A namespace shows its own part as "/", what lies above as "/..".
    let whole = if mount.root == "/" { first_namespace } else { mount.root.starts_with("/..") };
    if !whole {
        return Finding::degraded("cgroup", format!("{here}: only a part of the tree"))
            .so("sockets of pods outside of this part are translated packet by packet, and are not told apart")
            .then("run the agent in the node's cgroup namespace, or mount the whole tree for it and give it with --cgroup");
    }
    Finding::ok("cgroup", here)
}

/// Before 5.15, a socket had either a v1 class or priority, or a v2 cgroup.
fn net_classes(mounts: &[Mount], cgroup: Option<&Path>) -> Option<Finding> {
    cgroup?;
    let has = |name: &str| {
        let is = |m: &Mount| m.kind == "cgroup" && m.super_options.split(',').any(|option| option == name);
        mounts.iter().any(is)
    };
    let used: Vec<&str> = ["net_cls", "net_prio"].into_iter().filter(|name| has(name)).collect();
    if used.is_empty() {
        return None;
    }
    let what = format!("cgroup v1 {} is mounted", used.join(" and "));
    Some(
        Finding::info("cgroup", what)
            .so("on kernels before 5.15, sockets made after somebody used it meet no socket hooks: their services are translated packet by packet")
            .then("unmount it if nothing uses it"),
    )
}

/// Where pins live.
fn bpffs(mounts: &[Mount], wanted: &Path) -> Finding {
    let shown = wanted.display();
    if !is_bpffs(wanted) {
        let over = mounts.iter().filter(|m| m.point == wanted).collect::<Vec<_>>();
        return match over.last() {
            Some(top) if over.iter().any(|m| m.kind == "bpf") => {
                Finding::missing("bpffs", format!("{} is mounted over the BPF file system on {shown}", top.kind))
                    .so("pins are out of sight: an agent that starts now loads everything anew, and connections are forgotten")
                    .then(format!("umount {shown}"))
            }
            _ => Finding::info("bpffs", format!("{shown} is no BPF file system"))
                .so("the agent mounts one when it starts; one mounted in a container's own namespace goes with the container, and the pins with it")
                .then(format!("mount it on the node: mount -t bpf bpf {shown}")),
        };
    }
    let mount = mounts.iter().rfind(|m| m.kind == "bpf" && wanted.starts_with(&m.point));
    if mount.is_some_and(|m| m.options.split(',').any(|option| option == "ro")) {
        return Finding::missing("bpffs", format!("{shown} is mounted read-only"))
            .so("nothing can be pinned: the agent does not start")
            .then(format!("mount -o remount,rw {shown}"));
    }
    Finding::ok("bpffs", format!("mounted on {}", mount.map_or(shown, |m| m.point.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Severity;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 23 0:39 / /sys/fs/bpf ro,relatime shared:3 - bpf bpf rw";

    #[test]
    fn where_socket_hooks_hang_is_told_with_the_layout() {
        let mounts = mounts(HYBRID);
        let at = |path: &str, first| socket_hooks(&mounts, true, Some(Path::new(path)), first);
        let finding = at("/sys/fs/cgroup/unified/kubepods", true);
        assert_eq!(finding.severity, Severity::Ok);
        assert!(finding.what.contains("hybrid"), "{finding:?}");
        assert_eq!(at("/sys/fs/cgroup/unified", false).severity, Severity::Degraded, "in a namespace");
        assert_eq!(at("/sys/fs/cgroup/cpu", true).severity, Severity::Missing, "that is v1");
        assert_eq!(socket_hooks(&mounts, true, None, true).severity, Severity::Degraded);
        assert_eq!(socket_hooks(&mounts, false, None, true).severity, Severity::Info);
    }

    #[test]
    fn a_part_of_the_tree_is_told() {
        let line = |root: &str| format!("41 31 0:38 {root} /cg rw - cgroup2 cgroup2 rw");
        let of =
            |root, first| socket_hooks(&mounts(&line(root)), true, Some(Path::new("/cg")), first).severity;
        assert_eq!(of("/", true), Severity::Ok);
        assert_eq!(of("/kubepods/pod7", true), Severity::Degraded, "a bind mount");
        assert_eq!(of("/../..", false), Severity::Ok, "the whole tree, seen from below");
    }

    #[test]
    fn v1_classes_are_told_where_there_are_any() {
        let classes = mounts("33 31 0:30 / /sys/fs/cgroup/net rw - cgroup cgroup rw,net_cls,net_prio");
        let finding = net_classes(&classes, Some(Path::new("/x"))).unwrap();
        assert!(finding.what.contains("net_cls and net_prio"), "{finding:?}");
        assert_eq!(net_classes(&mounts(HYBRID), Some(Path::new("/x"))), None);
        assert_eq!(net_classes(&classes, None), None);
    }

    #[test]
    fn a_directory_that_is_no_bpffs_and_one_that_is_hidden_are_different_things() {
        let directory = tempfile::tempdir().unwrap();
        let finding = bpffs(&mounts(HYBRID), directory.path());
        assert_eq!(finding.severity, Severity::Info);
        let path = directory.path().display();
        let text = format!("1 2 0:1 / {path} rw - bpf bpf rw\n2 1 0:2 / {path} rw - tmpfs tmpfs rw");
        let finding = bpffs(&mounts(&text), directory.path());
        assert_eq!(finding.severity, Severity::Missing);
        assert!(finding.what.starts_with("tmpfs is mounted over"), "{finding:?}");
    }
}
