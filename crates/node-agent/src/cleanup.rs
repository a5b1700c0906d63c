//! Taking an instance off the node: programs, maps, routes, records, sockets.

use std::fs;
use std::io;

use anyhow::Context;
use fathom_bpf::load::{Datapath, L7Mode, LoadConfig, Sizes, remove_pins};
use fathom_bpf::probe::Features;

use crate::config::Place;
use crate::control::routes::{self, Routes};
use crate::run::lock;

/// Removes everything; what is not there is fine. Pods go on unenforced.
///
/// # Errors
/// The instance is running, or something cannot be removed.
pub fn cleanup(place: &Place) -> anyhow::Result<()> {
    let held = if place.run_dir.exists() { Some(lock(&place.run_dir)?) } else { None };
    let pins = place.pin_dir();
    if pins.exists() {
        detach_filters(place)?;
        remove_pins(&pins).with_context(|| format!("remove {}", pins.display()))?;
        // Of the last instance; another one keeps it.
        let _ = fs::remove_dir(place.bpffs.join("fathom"));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(routes::apply(&Routes::new())).context("remove routes")?;
    for name in ["hubble.sock", "cni.sock", "agent.lock"] {
        absent_is_fine(fs::remove_file(place.run_dir.join(name)))
            .with_context(|| format!("remove {name}"))?;
    }
    for name in ["endpoints", "objects", "identities", "released"] {
        absent_is_fine(fs::remove_dir_all(place.run_dir.join(name)))
            .with_context(|| format!("remove {name}"))?;
    }
    drop(held);
    // Only when nobody else keeps anything there.
    let _ = fs::remove_dir(&place.run_dir);
    println!("removed instance {}: its pods are no longer enforced", place.instance);
    Ok(())
}

/// Without tcx the programs hang on the devices themselves, not on pins.
fn detach_filters(place: &Place) -> anyhow::Result<()> {
    if Features::probe().tcx {
        return Ok(());
    }
    let config = LoadConfig {
        pin_dir: Some(place.pin_dir()),
        replace_incompatible: true,
        l7: L7Mode::Off,
        sizes: Sizes::small(),
        ..LoadConfig::default()
    };
    let loaded = Datapath::load(&config).context("open the pinned maps")?;
    loaded.detach_all().context("detach the programs")
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
