//! `make demo`: a small streaming platform on two nodes, what its pods say to each other, and a policy that
//! denies and stops denying.
//!
//! Every step says what to look at and how to see it by hand, and fails the demo when what it
//! promises does not happen.

mod expect;
mod said;
mod story;
mod teller;

use anyhow::Result;

use crate::lab::{Lab, Tools};
use crate::spec::Spec;
use expect::Watcher;
use teller::Teller;

/// The demo's lab; `fathom-lab up -f` takes the same text.
pub const SPEC: &str = include_str!("../../demo/cluster.yaml");

/// Brings the demo up and plays the story; leaves the lab up either way.
///
/// # Errors
/// The first promise that did not come true.
pub fn up(name: Option<String>) -> Result<()> {
    let tools = Tools::own()?;
    let teller = Teller::new(&tools.cli);
    let mut spec = Spec::from_yaml(SPEC)?;
    spec.name = name.unwrap_or(spec.name);
    teller.title("Fathom: two nodes, a streaming platform, every decision of the kernel in one stream");
    teller.say("Bringing up two nodes, nine pods and an internet, all of them network namespaces …");
    let begun = std::time::Instant::now();
    let lab = Lab::up(spec, tools)?;
    teller.say(&format!("… up in {:.1} s.\n\n{}", begun.elapsed().as_secs_f64(), lab.status()));
    teller.before_anything_by_hand(&lab);
    let told = Watcher::over(&lab).and_then(|watcher| story::tell(&lab, &teller, &watcher));
    if let Err(error) = &told {
        teller.say(&format!(
            "\nThe lab is left up for a look: logs in {}\n{}",
            lab.layout().logs().display(),
            lab.status()
        ));
        return Err(anyhow::anyhow!("the demo did not keep its promise: {error:#}"));
    }
    teller.farewell(&lab);
    Ok(())
}

/// Removes every trace of the demo.
///
/// # Errors
/// What would not go.
pub fn down(name: Option<String>) -> Result<()> {
    crate::lab::down(&name.map_or_else(|| Spec::from_yaml(SPEC).map(|spec| spec.name), Ok)?)?;
    println!("The demo's namespaces, cgroups, pins, processes and directories are gone.");
    Ok(())
}
