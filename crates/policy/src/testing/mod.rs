//! For tests, here and of the kernel's tables: generated clusters, and what an agent makes of one.
//!
//! Behind the feature `testing`, which only tests ask for.

mod built;
mod clusters;

use std::net::IpAddr;

pub use built::Built;
pub use clusters::{OUTSIDE, cluster, uniform};

use crate::oracle::{Cluster, Remote};
use crate::table::Direction;

/// The node's own address, which no pod has.
pub const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 254));

/// Ports that rules name, and their neighbours just outside.
pub const PACKETS: [(u8, Option<u16>); 15] = [
    (6, Some(80)),
    (6, Some(78)),
    (6, Some(81)),
    (6, Some(443)),
    (6, Some(8080)),
    (6, Some(8082)),
    (6, Some(100)),
    (6, Some(9000)),
    (6, Some(0)),
    (6, None),
    (17, Some(53)),
    (17, Some(8080)),
    (132, Some(80)),
    (132, None),
    (1, None),
];

/// Everybody a pod may talk to: pods under each of their addresses, strangers, its node.
pub fn remotes(cluster: &Cluster) -> Vec<Remote> {
    let pods = cluster.pods.iter().enumerate();
    let pods =
        pods.flat_map(|(place, pod)| pod.addresses.iter().map(move |address| Remote::Pod(place, *address)));
    let outside = OUTSIDE.iter().map(|text| Remote::Address(text.parse::<IpAddr>().unwrap()));
    pods.chain(outside).chain([Remote::LocalHost(HOST)]).collect()
}

/// Every packet worth a question: (pod, direction, remote, protocol, destination port).
pub fn cases(cluster: &Cluster) -> impl Iterator<Item = (usize, Direction, Remote, u8, Option<u16>)> {
    let remotes = remotes(cluster);
    (0..cluster.pods.len()).flat_map(move |local| {
        let remotes = remotes.clone();
        Direction::BOTH.into_iter().flat_map(move |direction| {
            let remotes = remotes.clone();
            remotes.into_iter().flat_map(move |remote| {
                PACKETS.into_iter().map(move |(proto, port)| (local, direction, remote, proto, port))
            })
        })
    })
}
