//! kube-proxy: running, or what it left. Found without its tools, which an image of ours does not have.

use std::fs;
use std::path::Path;

use super::finding::Finding;
use super::netlink;

const CHAIN: &str = "KUBE-SERVICES";
/// Table of kube-proxy --proxy-mode nftables.
const NFT_TABLE: &str = "kube-proxy";
/// Inode of the first PID namespace (include/linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
const REMEDY: &str = "Fathom does not need it: kubectl -n kube-system delete daemonset kube-proxy, then kube-proxy --cleanup on each node";

/// Looks for its process below `proc`, and for its rules.
pub fn examine(proc: &Path) -> Finding {
    let namespace = fs::read_link("/proc/self/ns/pid");
    let all_seen =
        proc != Path::new("/proc") || namespace.is_ok_and(|link| link == Path::new(FIRST_PID_NAMESPACE));
    judge(process(proc), &rules(), all_seen)
}

fn judge(process: Option<u32>, rules: &[String], all_seen: bool) -> Finding {
    let listed = rules.join(", ");
    match (process, rules.is_empty()) {
        (Some(pid), _) => Finding::info("kube-proxy", format!("runs here (process {pid}){}{listed}", if rules.is_empty() { "" } else { ": " }))
            .so("what Fathom does not translate is translated by its rules, and told without its service")
            .then(REMEDY),
        (None, true) => Finding::ok("kube-proxy", "not here, and none of its rules"),
        (None, false) if !all_seen => Finding::info("kube-proxy", format!("its rules are here: {listed}; whether it runs is not seen in this PID namespace"))
            .so("what Fathom does not translate is translated by its rules; without kube-proxy they lead to backends that are gone")
            .then(REMEDY),
        (None, false) => Finding::degraded("kube-proxy", format!("its rules are left, and it does not run: {listed}"))
            .so("nobody keeps them up: what they still translate (node ports, sockets of the node itself) goes to backends that may be gone")
            .then("remove them: kube-proxy --cleanup, or restart the node"),
    }
}

fn process(proc: &Path) -> Option<u32> {
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        fs::read_to_string(proc.join(pid.to_string()).join("comm"))
            .is_ok_and(|name| name.trim() == "kube-proxy")
    })
}

/// Where its rules are, in words.
fn rules() -> Vec<String> {
    let mut found = Vec::new();
    for (v6, names, tool) in
        [(false, "/proc/net/ip_tables_names", "iptables"), (true, "/proc/net/ip6_tables_names", "ip6tables")]
    {
        let tables = fs::read_to_string(names).unwrap_or_default();
        // Asking for a table that is not there would make it.
        if !tables.lines().any(|table| table == "nat") {
            continue;
        }
        if fathom_bpf::neighbours::legacy_iptables("nat", v6).is_ok_and(|rules| names_chain(&rules)) {
            found.push(format!("{tool} (legacy) chain {CHAIN}"));
        }
    }
    // A kernel without nftables has none of its chains.
    let chains = netlink::nft_chains().unwrap_or_default();
    if chains.iter().any(|(_, chain)| chain == CHAIN) {
        found.push(format!("iptables (nft) chain {CHAIN}"));
    }
    if chains.iter().any(|(table, _)| table == NFT_TABLE) {
        found.push(format!("nftables table {NFT_TABLE}"));
    }
    // Three lines of heading, then what it serves.
    if fs::read_to_string("/proc/net/ip_vs").is_ok_and(|text| text.lines().count() > 3) {
        found.push("IPVS services".to_owned());
    }
    found
}

/// Names stand in the rules with their zero.
fn names_chain(rules: &[u8]) -> bool {
    rules.windows(CHAIN.len() + 1).any(|bytes| bytes.strip_prefix(CHAIN.as_bytes()) == Some(&[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Severity;

    #[test]
    fn it_running_is_worth_knowing_and_its_leftovers_are_worse() {
        let rules = ["nftables table kube-proxy".to_owned()];
        assert_eq!(judge(None, &[], true).severity, Severity::Ok);
        assert_eq!(judge(Some(7), &rules, true).severity, Severity::Info);
        assert_eq!(judge(None, &rules, true).severity, Severity::Degraded);
        assert_eq!(judge(None, &rules, false).severity, Severity::Info);
        assert_eq!(judge(Some(7), &[], true).what, "runs here (process 7)");
    }

    #[test]
    fn a_process_is_known_by_its_name() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, name) in [("1", "init\n"), ("77", "kube-proxy\n"), ("self", "kube-proxy\n")] {
            fs::create_dir(proc.path().join(pid)).unwrap();
            fs::write(proc.path().join(pid).join("comm"), name).unwrap();
        }
        assert_eq!(process(proc.path()), Some(77));
    }

    #[test]
    fn a_chain_is_found_by_its_whole_name() {
        assert!(names_chain(b"\x01\0ERROR\0KUBE-SERVICES\0\0\0"));
        assert!(!names_chain(b"KUBE-SERVICES-X\0"));
    }
}
