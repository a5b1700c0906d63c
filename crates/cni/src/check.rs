//! CHECK and STATUS: is the pod still wired as ADD left it, and could another be wired.

use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use crate::agent::Agent;
use crate::attachment::Attachment;
use crate::error::{Code, Error};
use crate::invocation::{Config, Target};
use crate::netns::Netns;
use crate::output::{PreviousInterface, PreviousResult};
use crate::wire::{self, host, pod};

/// Compares device, addresses and routes with `prevResult`, and asks the agent.
///
/// # Errors
/// [`Code::Differs`] with every difference in the details.
pub async fn check(config: &Config, target: &Target) -> Result<(), Error> {
    let previous = config
        .previous
        .as_ref()
        .ok_or_else(|| Error::new(Code::InvalidConfig, "CHECK needs a prevResult"))?;
    let netns = Netns::open(&target.netns)?;
    let mut findings = inside(&netns, target, previous).await?;
    findings.extend(outside(config, target, previous).await?);

    let addresses = previous.ips.iter().map(|ip| ip.address.to_string()).collect();
    let mut agent = Agent::connect(&config.socket, config.patience).await?;
    findings.extend(agent.check(&target.attachment, addresses).await?);
    if findings.is_empty() {
        return Ok(());
    }
    let error = Error::new(Code::Differs, "the pod is not wired as it was");
    Err(findings.into_iter().fold(error, Error::because))
}

/// Whether an ADD could succeed now.
///
/// # Errors
/// [`Code::NotAvailable`] when the agent does not answer.
pub async fn status(config: &Config) -> Result<(), Error> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    let mut agent = Agent::connect(&config.socket, Duration::ZERO).await.map_err(unavailable)?;
    // Any answer will do, "never heard of it" included; only silence counts.
    let nobody = Attachment { container_id: "status".into(), interface: "none".into() };
    match agent.check(&nobody, Vec::new()).await {
        Err(error) if error.code == Code::TryAgainLater => Err(unavailable(error)),
        _ => Ok(()),
    }
}

async fn outside(config: &Config, target: &Target, previous: &PreviousResult) -> Result<Vec<String>, Error> {
    let handle = wire::connect()?;
    let label = target.attachment.alias(&config.network);
    let links = host::labelled(&handle).await?;
    let Some((link, _)) = links.iter().find(|(_, alias)| *alias == label) else {
        return Ok(vec![format!("no host-side device is labelled {label}")]);
    };
    let mut findings = Vec::new();
    for ip in &previous.ips {
        if !wire::has_route(&handle, link.header.index, ip.address, None).await? {
            findings.push(format!("the node has no route to {} on the pod's device", ip.address));
        }
    }
    Ok(findings)
}

async fn inside(netns: &Netns, target: &Target, previous: &PreviousResult) -> Result<Vec<String>, Error> {
    let name = target.attachment.interface.clone();
    let mac = own_interface(previous, target).map(|i| i.mac.clone()).unwrap_or_default();
    let addresses: Vec<IpNet> = own_addresses(previous, target);
    let routes: Vec<_> = previous.routes.iter().map(|r| (r.dst, r.gw)).collect();
    let work = move || async move {
        let handle = wire::connect()?;
        let Some(link) = wire::find(&handle, &name).await? else {
            return Ok(vec![format!("{name} is gone")]);
        };
        let mut findings = Vec::new();
        let found_mac = wire::mac_of(&link).map(|m| m.to_string()).unwrap_or_default();
        if !mac.is_empty() && !mac.eq_ignore_ascii_case(&found_mac) {
            findings.push(format!("{name} has MAC {found_mac}, not {mac}"));
        }
        if !link.header.flags.contains(rtnetlink::packet_route::link::LinkFlags::Up) {
            findings.push(format!("{name} is down"));
        }
        let present = pod::addresses(&handle, link.header.index).await?;
        for net in addresses {
            if !present.contains(&(net.addr(), net.prefix_len())) {
                findings.push(format!("{name} has lost address {net}"));
            }
        }
        for (destination, gateway) in routes {
            if !wire::has_route(&handle, link.header.index, destination, gateway).await? {
                findings.push(format!("the route to {destination} is gone"));
            }
        }
        Ok(findings)
    };
    netns.inside(work).await
}

fn own_interface<'a>(previous: &'a PreviousResult, target: &Target) -> Option<&'a PreviousInterface> {
    previous
        .interfaces
        .iter()
        .find(|i| i.name == target.attachment.interface && Path::new(&i.sandbox) == target.netns)
}

/// Addresses of the target's interface; those without an index count as its own.
fn own_addresses(previous: &PreviousResult, target: &Target) -> Vec<IpNet> {
    let own = |index: Option<usize>| match index.and_then(|i| previous.interfaces.get(i)) {
        Some(interface) => interface.name == target.attachment.interface && !interface.sandbox.is_empty(),
        None => true,
    };
    previous.ips.iter().filter(|ip| own(ip.interface)).map(|ip| ip.address).collect()
}
