//! The networks: a bridge between the nodes, the internet behind it, a place for the relay.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;

use super::Lab;
use crate::layout::{
    CLUSTER_CIDRS, Place, control_addresses, full, internet_addresses, node_addresses, pod_cidrs,
};
use crate::machine::{ip, netns};
use crate::spec::{Datapath, Spec, Wiring};

/// Of devices that others make: what they send in the second for which an address is being tried is lost.
const NO_DAD: (&str, &str) = ("ipv6/conf/default/accept_dad", "0");

impl Lab {
    /// Makes the namespaces and connects them. Nothing is made in the machine's own namespace.
    pub(super) fn lay_network(&self, spec: &Spec) -> Result<()> {
        let mut places = vec![(Place::Control, control_addresses()), (Place::Internet, internet_addresses())];
        places.extend(
            spec.nodes.iter().enumerate().map(|(i, n)| (Place::Node(n.name.clone()), node_addresses(i))),
        );

        let underlay = self.layout.netns(&Place::Underlay);
        netns::create(&underlay)?;
        let mut cables = vec!["link add br0 type bridge".to_owned(), "link set br0 up".to_owned()];
        for (number, (place, _)) in places.iter().enumerate() {
            let path = self.layout.netns(place);
            netns::create(&path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            cables.push(format!("link add port{number} type veth peer name eth0 netns {name}"));
            cables.push(format!("link set port{number} master br0 up"));
        }
        ip::batch(&underlay, &cables)?;

        for (place, addresses) in &places {
            let path = self.layout.netns(place);
            ip::sysctl(&path, &[("ipv6/conf/eth0/accept_ra", "0"), ("ipv6/conf/eth0/accept_dad", "0")])?;
            if matches!(place, Place::Node(_)) && spec.wiring != Wiring::Fathom {
                ip::sysctl(&path, &[NO_DAD])?;
            }
            ip::batch(&path, &self.inside(spec, place, addresses))?;
        }
        for (place, _) in &places {
            ip::awake(&self.layout.netns(place))?;
        }
        ip::awake(&underlay)?;
        Ok(())
    }

    /// What a container runtime does to a pod's namespace before it calls plugins that leave it to others.
    pub(super) fn prepare_pod(&self, path: &Path) -> Result<()> {
        if self.spec().wiring == Wiring::Fathom {
            return Ok(());
        }
        ip::sysctl(path, &[NO_DAD])?;
        ip::batch(path, &["link set lo up".to_owned()])
    }

    fn inside(&self, spec: &Spec, place: &Place, [v4, v6]: &[IpAddr; 2]) -> Vec<String> {
        let mut lines = vec![
            "link set lo up".to_owned(),
            "link set eth0 up".to_owned(),
            format!("addr add {v4}/24 dev eth0"),
            format!("addr add {v6}/64 dev eth0 nodad"),
        ];
        match place {
            Place::Internet => {
                if !spec.isolated {
                    lines.extend(to_pods(spec, None));
                }
                for address in spec.internet.iter().flat_map(|host| &host.addresses) {
                    let nodad = if address.is_ipv6() { " nodad" } else { "" };
                    lines.push(format!("addr add {} dev lo{nodad}", full(*address)));
                }
            }
            Place::Node(name) => {
                lines.extend(internet_addresses().map(|gateway| format!("route add default via {gateway}")));
                // With its own wiring the agent keeps these routes.
                if spec.datapath == Datapath::None || spec.wiring != Wiring::Fathom {
                    lines.extend(to_pods(spec, Some(name)));
                    // What belongs to no pod of this node is nobody's: no loop over the default route.
                    lines.extend(CLUSTER_CIDRS.map(|cidr| format!("route add unreachable {cidr}")));
                }
            }
            _ => {}
        }
        lines
    }
}

/// Routes to the pods of every node but `own`.
fn to_pods(spec: &Spec, own: Option<&str>) -> Vec<String> {
    let others = spec.nodes.iter().enumerate().filter(|(_, node)| Some(node.name.as_str()) != own);
    let lines = others.flat_map(|(i, _)| {
        let pairs = pod_cidrs(i).into_iter().zip(node_addresses(i));
        pairs.map(|(cidr, node)| format!("route add {cidr} via {node}"))
    });
    lines.collect()
}
