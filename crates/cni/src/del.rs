//! DEL: the cable goes, then the addresses; done twice, or with nothing there, it is done as well.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rtnetlink::Handle;

use crate::agent::Agent;
use crate::attachment::Attachment;
use crate::error::{Code, Error};
use crate::invocation::{Config, Target};
use crate::wire::{self, host};

/// A pod must not wait for an agent that is away: the note does.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Removes the attachment's device and gives its addresses back.
pub async fn del(config: &Config, target: &Target) -> Result<(), Error> {
    let handle = wire::connect()?;
    let label = target.attachment.alias(&config.network);
    for (link, alias) in host::labelled(&handle).await? {
        if alias == label {
            host::delete(&handle, link.header.index).await?;
        }
    }
    release(config, &target.attachment).await
}

/// Removes one labelled device and gives its addresses back.
pub async fn remove(
    config: &Config,
    handle: &Handle,
    index: u32,
    attachment: &Attachment,
) -> Result<(), Error> {
    host::delete(handle, index).await?;
    release(config, attachment).await
}

/// Tells the agent, or leaves it a note.
///
/// Only after the device is gone: an address must not be given to another pod while packets to it
/// still reach this one.
async fn release(config: &Config, attachment: &Attachment) -> Result<(), Error> {
    let told = match Agent::connect(&config.socket, PATIENCE).await {
        Ok(mut agent) => agent.release(attachment).await,
        Err(error) => Err(error),
    };
    let Err(error) = told else { return Ok(()) };
    leave_note(&config.run_dir, attachment).map_err(|(path, cause)| {
        let message = format!("the agent is away and {} cannot be written", path.display());
        Error::new(Code::Io, message).because(cause).because(error)
    })
}

/// `<run-dir>/released/<container id>.<interface>`: a JSON object naming the attachment, which the
/// agent reads and removes when it is back.
fn leave_note(run_dir: &Path, attachment: &Attachment) -> Result<(), (PathBuf, std::io::Error)> {
    let directory = run_dir.join("released");
    let name = format!("{}.{}", attachment.container_id, attachment.interface);
    let (draft, path) = (directory.join(format!(".{name}")), directory.join(name));
    let note = serde_json::json!({
        "containerId": attachment.container_id,
        "interface": attachment.interface,
    });
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&draft, note.to_string()))
        .and_then(|()| std::fs::rename(&draft, &path))
        .map_err(|cause| (path, cause))
}
