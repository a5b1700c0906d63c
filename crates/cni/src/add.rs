//! ADD: addresses from the agent, the cable, policy on the device, and only then packets.

use std::net::IpAddr;

use fathom_api::fathom_v1 as api;
use ipnet::IpNet;
use rtnetlink::Handle;

use crate::agent::Agent;
use crate::error::{Code, Error};
use crate::invocation::{Config, Target};
use crate::netns::{self, Netns};
use crate::output;
use crate::wire::{self, Wiring, host, pod};

/// Wires the container's interface and returns the CNI result.
///
/// The host's end stays down until the agent has put programs and policy on it, so that no packet
/// passes unjudged.
///
/// # Errors
/// Whatever failed; all that this run made is taken back first, and nothing else.
pub async fn add(config: &Config, target: &Target) -> Result<String, Error> {
    let netns = Netns::open(&target.netns)?;
    let handle = wire::connect()?;
    refuse_if_taken(config, &netns, target, &handle).await?;
    let mut agent = Agent::connect(&config.socket, config.patience).await?;
    let mut made = Made::default();
    match build(config, target, &netns, &handle, &mut agent, &mut made).await {
        Ok(wiring) => Ok(output::result(&config.version, &wiring, &target.netns)),
        Err(error) => Err(made.unwind(error, target, &handle, &mut agent).await),
    }
}

async fn build(
    config: &Config,
    target: &Target,
    netns: &Netns,
    handle: &Handle,
    agent: &mut Agent,
    made: &mut Made,
) -> Result<Wiring, Error> {
    made.allocation = true;
    let answer = agent.allocate(allocation(target)).await?;
    let wiring = plan(target, &answer)?;
    let alias = target.attachment.alias(&config.network);
    let index = host::create(handle, &wiring, netns, &alias).await?;
    made.device = Some(index);

    let inside = wiring.clone();
    let cookie = netns
        .inside(move || async move {
            pod::configure(&wire::connect()?, &inside).await?;
            Ok(netns::cookie())
        })
        .await?;
    let activation = api::ActivateRequest {
        attachment: Some((&target.attachment).into()),
        host_interface: wiring.host_interface.clone(),
        ifindex: index,
        pod_mac: wiring.pod_mac.to_string(),
        host_mac: wiring.host_mac.to_string(),
        netns_cookie: cookie,
    };
    agent.activate(activation).await?;
    host::bring_up(handle, &wiring, index).await?;
    wire::awake(handle, &wiring.host_interface).await?;
    let name = wiring.pod_interface.clone();
    netns.inside(move || async move { wire::awake(&wire::connect()?, &name).await }).await?;
    Ok(wiring)
}

/// The specification wants an error when the name is taken, or when this attachment was added
/// before; asked first, so that the error path has nothing to do with whoever was there.
async fn refuse_if_taken(
    config: &Config,
    netns: &Netns,
    target: &Target,
    handle: &Handle,
) -> Result<(), Error> {
    let label = target.attachment.alias(&config.network);
    if host::labelled(handle).await?.iter().any(|(_, alias)| *alias == label) {
        return Err(Error::new(Code::InterfaceExists, format!("{label} is wired already")));
    }
    let name = target.attachment.interface.clone();
    let taken = netns.inside(move || async move { wire::find(&wire::connect()?, &name).await }).await?;
    if taken.is_none() {
        return Ok(());
    }
    let message = format!("{} exists already in {}", target.attachment.interface, target.netns.display());
    Err(Error::new(Code::InterfaceExists, message))
}

fn allocation(target: &Target) -> api::AllocateRequest {
    api::AllocateRequest {
        attachment: Some((&target.attachment).into()),
        namespace: target.pod_namespace.clone(),
        pod_name: target.pod_name.clone(),
        netns: target.netns.to_string_lossy().into_owned(),
        requested_addresses: target.requested_addresses.clone(),
    }
}

/// The agent's answer as a wiring plan.
fn plan(target: &Target, answer: &api::AllocateResponse) -> Result<Wiring, Error> {
    let bad = |what: String| Error::new(Code::Agent, format!("the agent's answer has {what}"));
    let addresses = answer
        .addresses
        .iter()
        .map(|text| text.parse::<IpNet>().map_err(|_| bad(format!("no address in {text:?}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let gateways = answer
        .gateways
        .iter()
        .map(|text| text.parse::<IpAddr>().map_err(|_| bad(format!("no gateway in {text:?}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let first = addresses.first().ok_or_else(|| bad("no address at all".into()))?.addr();
    if let Some(lonely) =
        addresses.iter().find(|a| !gateways.iter().any(|g| g.is_ipv4() == a.addr().is_ipv4()))
    {
        return Err(bad(format!("no gateway for {lonely}")));
    }
    if !crate::attachment::is_interface_name(&answer.host_interface) {
        return Err(bad(format!("an impossible device name {:?}", answer.host_interface)));
    }
    if answer.mtu < 1280 {
        return Err(bad(format!("an MTU of {}; at least 1280 is needed for IPv6", answer.mtu)));
    }
    let (host_mac, pod_mac) = wire::macs(first);
    Ok(Wiring {
        host_interface: answer.host_interface.clone(),
        pod_interface: target.attachment.interface.clone(),
        host_mac,
        pod_mac,
        addresses,
        gateways,
        mtu: answer.mtu,
    })
}

/// What this run has made so far.
#[derive(Default)]
struct Made {
    /// Set before the question: an answer lost on the way may have been given all the same.
    allocation: bool,
    device: Option<u32>,
}

impl Made {
    /// Takes everything back, newest first; what cannot be taken back joins the error's details.
    async fn unwind(self, mut error: Error, target: &Target, handle: &Handle, agent: &mut Agent) -> Error {
        if let Some(index) = self.device
            && let Err(e) = host::delete(handle, index).await
        {
            error = error.because(format!("and not unwound: {e}"));
        }
        if self.allocation
            && let Err(e) = agent.release(&target.attachment).await
        {
            error = error.because(format!("and not unwound: {e}"));
        }
        error
    }
}
