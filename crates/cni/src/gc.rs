//! GC: what the runtime no longer knows of goes.

use crate::agent::Agent;
use crate::attachment::Attachment;
use crate::del;
use crate::error::{Code, Error};
use crate::invocation::Config;
use crate::wire::{self, host};

/// Removes every device of this network whose attachment the runtime did not list, and frees the addresses
/// of attachments that neither are listed nor have a device.
///
/// # Errors
/// No list at all, which would read as "remove everything"; or the first failure: the remaining devices are tried all the same.
pub async fn gc(config: &Config) -> Result<(), Error> {
    let valid = config.valid_attachments.as_ref().ok_or_else(|| {
        Error::new(Code::InvalidConfig, "GC needs cni.dev/valid-attachments, the attachments that stay")
    })?;
    let handle = wire::connect()?;
    let mut outcome = Ok(());
    for (link, alias) in host::labelled(&handle).await? {
        let Some(attachment) = Attachment::from_alias(&config.network, &alias) else { continue };
        if !valid.contains(&attachment) {
            let removed = del::remove(config, &handle, link.header.index, &attachment).await;
            outcome = outcome.and(removed);
        }
    }
    outcome.and(addresses_without_devices(config, &handle, valid).await)
}

/// Gives back what an ADD that was broken off reserved, and what devices that went otherwise held.
///
/// An attachment whose device is there was dealt with above, or is another network's. An agent that is away
/// is no failure: the next GC finds the same.
async fn addresses_without_devices(
    config: &Config,
    handle: &rtnetlink::Handle,
    valid: &[Attachment],
) -> Result<(), Error> {
    let Ok(mut agent) = Agent::connect(&config.socket, del::PATIENCE).await else { return Ok(()) };
    let mut outcome = Ok(());
    for (attachment, device) in agent.list().await? {
        if !valid.contains(&attachment) && !host::exists(handle, &device).await? {
            let released = agent.release(&attachment).await;
            outcome = outcome.and(released);
        }
    }
    outcome
}
