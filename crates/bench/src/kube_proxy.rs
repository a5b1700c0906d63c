//! Rules in the manner of kube-proxy's iptables mode, as `iptables-restore` reads them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::stage::PORT;

/// Frontend number `n`, port 80.
pub fn frontend(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + 10 + n as u32)
}

/// `count` services over the same backends: one rule per service in KUBE-SERVICES, which a new
/// connection walks from the top; one chain per service, which throws the dice; one chain per
/// endpoint, which translates.
pub fn rules(count: usize, backends: &[IpAddr], pods: &str) -> String {
    let mut text = String::from("*nat\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n");
    text.push_str(":KUBE-SERVICES -\n:KUBE-POSTROUTING -\n:KUBE-MARK-MASQ -\n");
    for n in 0..count {
        let _ = writeln!(text, ":KUBE-SVC-{n:06} -");
        for e in 0..backends.len() {
            let _ = writeln!(text, ":KUBE-SEP-{n:06}{e} -");
        }
    }
    text.push_str("-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n");
    text.push_str("-A POSTROUTING -j KUBE-POSTROUTING\n");
    text.push_str("-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n");
    text.push_str("-A KUBE-POSTROUTING -j MASQUERADE --random-fully\n");
    text.push_str("-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n");
    for n in 0..count {
        let to = frontend(n);
        let _ = writeln!(text, "-A KUBE-SERVICES -d {to}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-{n:06}");
        let _ = writeln!(
            text,
            "-A KUBE-SVC-{n:06} ! -s {pods} -d {to}/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ"
        );
        for (e, backend) in backends.iter().enumerate() {
            let left = backends.len() - e;
            let dice = if left > 1 {
                format!("-m statistic --mode random --probability {:.11} ", 1.0 / left as f64)
            } else {
                String::new()
            };
            let _ = writeln!(text, "-A KUBE-SVC-{n:06} {dice}-j KUBE-SEP-{n:06}{e}");
            let _ = writeln!(text, "-A KUBE-SEP-{n:06}{e} -s {backend}/32 -j KUBE-MARK-MASQ");
            let _ = writeln!(
                text,
                "-A KUBE-SEP-{n:06}{e} -p tcp -m tcp -j DNAT --to-destination {backend}:{PORT}"
            );
        }
    }
    text.push_str("COMMIT\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_share_of_the_dice() {
        let backends: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| ip.parse().unwrap()).into();
        let text = rules(2, &backends, "10.0.0.0/24");
        let dice: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("-A KUBE-SVC-000001") && !line.contains("MASQ"))
            .collect();
        assert_eq!(dice.len(), 3, "{text}");
        assert!(dice[0].contains("0.33333333333") && dice[1].contains("0.50000000000"), "{dice:?}");
        assert!(!dice[2].contains("statistic"), "{dice:?}");
        assert_eq!(text.matches("DNAT").count(), 6);
    }
}
