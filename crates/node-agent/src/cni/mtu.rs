//! The MTU of pods' interfaces when nobody names one: what the node's way to others lets through.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};

use crate::control::routes;

/// What IPv6 asks of every link (RFC 8200, section 5): less is no MTU for a pod.
pub const LEAST: u32 = 1280;

/// Where no default route tells.
pub const DEFAULT: u32 = 1500;

/// The smallest MTU of the devices that default routes lead to; [`DEFAULT`] without such a route.
///
/// # Errors
/// The kernel can't be asked.
pub async fn of_default_routes() -> anyhow::Result<u32> {
    let handle = routes::connect()?;
    let messages: Vec<_> =
        handle.link().get().execute().try_collect().await.context("list the node's links")?;
    let mtu = |attributes: &[LinkAttribute]| {
        attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        })
    };
    let links =
        messages.iter().filter_map(|link| Some((link.header.index, mtu(&link.attributes)?))).collect();
    Ok(smallest(&routes::listed(&handle).await?, &links))
}

fn smallest(routes: &[RouteMessage], mtus: &BTreeMap<u32, u32>) -> u32 {
    let default = |route: &&RouteMessage| {
        route.header.destination_prefix_length == 0
            && route.header.table == RouteHeader::RT_TABLE_MAIN
            && route.header.kind == RouteType::Unicast
    };
    let device = |route: &RouteMessage| {
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
    };
    let devices = routes.iter().filter(default).filter_map(device);
    devices.filter_map(|index| mtus.get(&index).copied()).min().unwrap_or(DEFAULT).max(LEAST)
}

#[cfg(test)]
mod tests {
    use rtnetlink::RouteMessageBuilder;

    use super::*;

    #[test]
    fn it_is_the_smallest_on_the_way_out_and_never_too_small_for_ipv6() {
        let default =
            |device| RouteMessageBuilder::<std::net::Ipv4Addr>::new().output_interface(device).build();
        let other = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix([10, 0, 0, 0].into(), 8)
            .output_interface(9)
            .build();
        let mtus = BTreeMap::from([(2, 9000), (3, 1450), (4, 576), (9, 1300)]);
        assert_eq!(smallest(&[default(2), other.clone()], &mtus), 9000);
        assert_eq!(smallest(&[default(2), default(3), other.clone()], &mtus), 1450);
        assert_eq!(smallest(&[default(4)], &mtus), LEAST);
        assert_eq!(smallest(&[other], &mtus), DEFAULT);
        assert_eq!(smallest(&[default(77)], &mtus), DEFAULT);
    }

    #[tokio::test]
    async fn the_kernel_answers() {
        assert!(of_default_routes().await.unwrap() >= LEAST);
    }
}
