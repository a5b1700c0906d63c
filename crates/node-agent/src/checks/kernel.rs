//! The kernel's version and features, and what the agent's process may do with them.

use fathom_bpf::probe::{Feature, Features};

use super::finding::Finding;
use crate::config::{Config, L7, Wiring};

/// Oldest kernel the programs are written for.
pub const OLDEST: (u32, u32) = (5, 10);

/// On arm64, tail calls beside subprograms, which reading messages needs, are newer.
const OLDEST_L7_ON_ARM64: (u32, u32) = (6, 0);

/// From here on the memory of maps is charged to the memory cgroup, and no limit of its own applies.
const MEMLOCK_UNTIL: (u32, u32) = (5, 11);

/// Major and minor number of a release, "6.1.0-18-amd64".
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

/// The version, then one finding for each feature that is not there.
pub fn examine(config: &Config, features: &Features) -> Vec<Finding> {
    let mut found = vec![release(&features.kernel, config.l7 != L7::Off && cfg!(target_arch = "aarch64"))];
    let table = features.table();
    let available = table.iter().filter(|feature| feature.available).count();
    found.extend(table.iter().filter(|feature| !feature.available).map(feature));
    found.push(Finding::ok("feature", format!("{available} of {} features are available", table.len())));
    found
}

fn release(release: &str, l7_on_arm64: bool) -> Finding {
    let Some(found) = version(release) else {
        return Finding::info("kernel", format!("{release}: not a version that is understood"))
            .so("whether programs load will be seen when they do");
    };
    let text = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    if found < OLDEST {
        return Finding::missing("kernel", format!("{release} is older than {}", text(OLDEST)))
            .so("the programs are not written for it: the agent does not start")
            .then(format!("install a kernel {} or newer", text(OLDEST)));
    }
    if l7_on_arm64 && found < OLDEST_L7_ON_ARM64 {
        let oldest = text(OLDEST_L7_ON_ARM64);
        return Finding::missing("kernel", format!("{release} is older than {oldest}, on arm64"))
            .so("the programs that read messages do not load")
            .then(format!("install a kernel {oldest} or newer, or start the agent with --l7 off"));
    }
    Finding::ok("kernel", release)
}

fn feature(feature: &Feature) -> Finding {
    let what = format!("no {}: kernel {} has it", feature.name, feature.since);
    let finding = match feature.name {
        "ringbuf" => Finding::missing("feature", what),
        "tcx" | "map batch operations" | "kernel BTF" => Finding::info("feature", what),
        _ => Finding::degraded("feature", what),
    };
    let remedy = match feature.name {
        "cgroup2" => "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified".to_owned(),
        "kernel BTF" => "nothing for now; kernels with CONFIG_DEBUG_INFO_BTF have it".to_owned(),
        _ => format!("install a kernel {} or newer", feature.since),
    };
    finding.so(feature.consequence).then(remedy)
}

/// Capabilities by number (linux/capability.h).
const CAP_NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const CAP_SYS_PTRACE: (u32, &str) = (19, "CAP_SYS_PTRACE");
const CAP_SYS_ADMIN: (u32, &str) = (21, "CAP_SYS_ADMIN");
const CAP_SYS_RESOURCE: (u32, &str) = (24, "CAP_SYS_RESOURCE");
const CAP_PERFMON: (u32, &str) = (38, "CAP_PERFMON");
const CAP_BPF: (u32, &str) = (39, "CAP_BPF");

/// What this process may do, by /proc/self/status and /proc/self/limits.
pub fn privileges(config: &Config, features: &Features) -> Vec<Finding> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some(held) = effective(&status) else {
        return vec![Finding::unknown("privileges", "/proc/self/status names no capabilities")];
    };
    let charged = version(&features.kernel).is_none_or(|found| found >= MEMLOCK_UNTIL);
    vec![capabilities(held, config.wiring), memlock(&limits, charged, has(held, CAP_SYS_RESOURCE))]
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn has(held: u64, capability: (u32, &str)) -> bool {
    held >> capability.0 & 1 == 1
}

fn capabilities(held: u64, wiring: Wiring) -> Finding {
    // CAP_SYS_ADMIN stands for the two that were split off it, and opens programs and maps by their ids.
    let mut needed = vec![CAP_NET_ADMIN];
    if !has(held, CAP_SYS_ADMIN) {
        needed.extend([CAP_BPF, CAP_PERFMON]);
    }
    if wiring == Wiring::Attach {
        needed.extend([CAP_SYS_ADMIN, CAP_SYS_PTRACE]);
    }
    let lacking: Vec<&str> =
        needed.into_iter().filter(|capability| !has(held, *capability)).map(|(_, name)| name).collect();
    if !lacking.is_empty() {
        return Finding::missing("privileges", format!("the agent has no {}", lacking.join(", ")))
            .so("programs are not loaded or not attached, or pods' network namespaces are not entered")
            .then("start it as root; in a pod, with the capabilities that the manifests list");
    }
    if !has(held, CAP_SYS_ADMIN) {
        return Finding::info("privileges", "no CAP_SYS_ADMIN")
            .so("programs of others are told without their names, and nothing can be mounted");
    }
    Finding::ok("privileges", "all capabilities that are needed")
}

fn memlock(limits: &str, charged: bool, may_raise: bool) -> Finding {
    if charged {
        return Finding::ok(
            "memlock",
            "the memory of maps is charged to the memory cgroup: no limit of its own",
        );
    }
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("unknown");
    if soft == "unlimited" || may_raise {
        return Finding::ok("memlock", format!("{soft}, and it can be raised as maps need it"));
    }
    Finding::missing("memlock", format!("at most {soft} bytes of locked memory"))
        .so("on kernels before 5.11 maps are locked memory: they are not made")
        .then("give the agent CAP_SYS_RESOURCE, or start it with LimitMEMLOCK=infinity")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Severity;

    #[test]
    fn kernels_are_told_apart_by_their_release() {
        for old in ["5.4.0-1-amd64", "4.19.0", "5.9"] {
            let finding = release(old, false);
            assert_eq!(finding.severity, Severity::Missing, "{old}");
            assert!(finding.remedy.contains("5.10"), "{finding:?}");
        }
        for fine in ["5.10.0-28-cloud", "6.18.1", "7.2-rc3"] {
            assert_eq!(release(fine, false).severity, Severity::Ok, "{fine}");
        }
        assert_eq!(release("unknown", false).severity, Severity::Info);
        assert_eq!(release("5.15.0", true).severity, Severity::Missing);
        assert_eq!(release("6.0.1", true).severity, Severity::Ok);
    }

    #[test]
    fn every_feature_that_is_not_there_is_named_with_what_follows() {
        let mut none = Features::probe();
        (none.tcx, none.ringbuf, none.set_retval) = (false, false, false);
        for row in none.table().iter().filter(|row| !row.available) {
            let finding = feature(row);
            assert!(finding.what.contains(row.name) && finding.consequence == row.consequence, "{finding:?}");
            assert!(!finding.remedy.is_empty());
        }
    }

    #[test]
    fn capabilities_that_are_not_held_are_named() {
        let all = u64::MAX;
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(capabilities(all, Wiring::Attach).severity, Severity::Ok);
        let without = |capability: (u32, &str)| all & !(1 << capability.0);
        let finding = capabilities(without(CAP_NET_ADMIN), Wiring::Cni);
        assert_eq!((finding.severity, &*finding.what), (Severity::Missing, "the agent has no CAP_NET_ADMIN"));
        assert_eq!(
            capabilities(without(CAP_BPF), Wiring::Cni).severity,
            Severity::Ok,
            "CAP_SYS_ADMIN is more"
        );
        let neither = without(CAP_BPF) & without(CAP_SYS_ADMIN);
        assert!(capabilities(neither, Wiring::Cni).what.ends_with("CAP_BPF"));
        assert_eq!(capabilities(without(CAP_SYS_ADMIN), Wiring::Cni).severity, Severity::Info);
        assert_eq!(capabilities(without(CAP_SYS_PTRACE), Wiring::Attach).severity, Severity::Missing);
    }

    #[test]
    fn locked_memory_counts_on_old_kernels_only() {
        let limits = "Max locked memory         65536                65536                bytes\n";
        assert_eq!(memlock(limits, true, false).severity, Severity::Ok);
        assert_eq!(memlock(limits, false, true).severity, Severity::Ok);
        let finding = memlock(limits, false, false);
        assert_eq!(finding.severity, Severity::Missing);
        assert!(finding.what.contains("65536"), "{finding:?}");
        let unlimited = "Max locked memory         unlimited            unlimited            bytes\n";
        assert_eq!(memlock(unlimited, false, false).severity, Severity::Ok);
    }
}
