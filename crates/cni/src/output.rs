//! CNI results: written on ADD, read back as `prevResult` on CHECK.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::{Mac, Wiring};

/// The result of ADD in the shape of the configuration's version.
///
/// 0.4 adds the family to each address; 1.1 adds the MTU to each interface.
pub fn result(version: &str, wiring: &Wiring, netns: &Path) -> String {
    let interface = |name: &str, mac: Mac, sandbox: Option<&Path>| {
        let mut value = json!({ "name": name, "mac": mac.to_string() });
        if let Some(sandbox) = sandbox {
            value["sandbox"] = json!(sandbox);
        }
        if version == "1.1.0" {
            value["mtu"] = json!(wiring.mtu);
        }
        value
    };
    let address = |net: &IpNet| {
        let mut value = json!({ "address": net.to_string(), "interface": 1 });
        if let Some(gateway) = wiring.gateway_for(net.addr()) {
            value["gateway"] = json!(gateway);
        }
        if version == "0.4.0" {
            value["version"] = json!(if net.addr().is_ipv4() { "4" } else { "6" });
        }
        value
    };
    let route = |gateway: &IpAddr| json!({ "dst": default_route(*gateway), "gw": gateway });
    json!({
        "cniVersion": version,
        "interfaces": [
            interface(&wiring.host_interface, wiring.host_mac, None),
            interface(&wiring.pod_interface, wiring.pod_mac, Some(netns)),
        ],
        "ips": wiring.addresses.iter().map(address).collect::<Vec<Value>>(),
        "routes": wiring.gateways.iter().map(route).collect::<Vec<Value>>(),
        "dns": {},
    })
    .to_string()
}

fn default_route(gateway: IpAddr) -> &'static str {
    if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" }
}

/// The parts of a previous result that CHECK compares with the machine.
#[derive(Debug, Default, Deserialize)]
pub struct PreviousResult {
    #[serde(default)]
    pub interfaces: Vec<PreviousInterface>,
    #[serde(default)]
    pub ips: Vec<PreviousAddress>,
    #[serde(default)]
    pub routes: Vec<PreviousRoute>,
}

#[derive(Debug, Deserialize)]
pub struct PreviousInterface {
    pub name: String,
    #[serde(default)]
    pub mac: String,
    /// Empty on the host's side.
    #[serde(default)]
    pub sandbox: String,
}

#[derive(Debug, Deserialize)]
pub struct PreviousAddress {
    pub address: IpNet,
    /// Index into `interfaces`; absent when unknown.
    pub interface: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub struct PreviousRoute {
    pub dst: IpNet,
    pub gw: Option<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wiring() -> Wiring {
        Wiring {
            host_interface: "fx1".into(),
            pod_interface: "eth0".into(),
            host_mac: Mac([14, 1, 2, 3, 4, 5]),
            pod_mac: Mac([10, 1, 2, 3, 4, 5]),
            addresses: vec!["10.244.1.7/32".parse().unwrap(), "fd00::7/128".parse().unwrap()],
            gateways: vec!["169.254.1.1".parse().unwrap(), "fe80::1".parse().unwrap()],
            mtu: 1450,
        }
    }

    #[test]
    fn each_version_gets_its_own_shape() {
        let parse = |version| -> Value {
            serde_json::from_str(&result(version, &wiring(), Path::new("/run/netns/a"))).unwrap()
        };
        let (old, one, new) = (parse("0.4.0"), parse("1.0.0"), parse("1.1.0"));
        assert_eq!(old["ips"][1]["version"], "6");
        assert_eq!(one["ips"][1].get("version"), None);
        assert_eq!(one["interfaces"][0].get("mtu"), None);
        assert_eq!(new["interfaces"][0]["mtu"], 1450);
        for value in [old, one, new] {
            assert_eq!(value["interfaces"][0].get("sandbox"), None);
            assert_eq!(value["interfaces"][1]["sandbox"], "/run/netns/a");
            assert_eq!(value["interfaces"][1]["mac"], "0a:01:02:03:04:05");
            assert_eq!(value["ips"][0]["gateway"], "169.254.1.1");
            assert_eq!(value["ips"][0]["interface"], 1);
            assert_eq!(value["routes"][1], json!({ "dst": "::/0", "gw": "fe80::1" }));
        }
    }

    #[test]
    fn a_result_can_be_read_back() {
        let text = result("1.1.0", &wiring(), Path::new("/run/netns/a"));
        let previous: PreviousResult = serde_json::from_str(&text).unwrap();
        assert_eq!(previous.ips[0].interface, Some(1));
        assert_eq!(previous.routes.len(), 2);
        assert_eq!(previous.interfaces[1].sandbox, "/run/netns/a");
    }
}
