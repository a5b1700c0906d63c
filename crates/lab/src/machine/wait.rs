//! Waiting for conditions instead of sleeping for luck.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// Asks until `condition` gives a value.
///
/// # Errors
/// The condition's own error at once; after `limit`, what was waited for and what it said last.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match condition()? {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => {
                bail!("waited {limit:?} for {what}; last seen: {last}")
            }
            Err(_) => std::thread::sleep(EVERY),
        }
    }
}
