//! GC: what the runtime no longer knows of goes.

use crate::attachment::Attachment;
use crate::del;
use crate::error::Error;
use crate::invocation::Config;
use crate::wire::{self, host};

/// Removes every device of this network whose attachment the runtime did not list.
///
/// # Errors
/// The first failure; the remaining devices are tried all the same.
pub async fn gc(config: &Config) -> Result<(), Error> {
    let handle = wire::connect()?;
    let mut outcome = Ok(());
    for (link, alias) in host::labelled(&handle).await? {
        let Some(attachment) = Attachment::from_alias(&config.network, &alias) else { continue };
        if !config.valid_attachments.contains(&attachment) {
            let removed = del::remove(config, &handle, link.header.index, &attachment).await;
            outcome = outcome.and(removed);
        }
    }
    outcome
}
