//! What each program costs the verifier of this kernel: how near it is to the limit.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};

use super::{LoadConfig, Sizes, size_and_reuse, tunables};
use crate::error::{Error, Result};
use crate::log;
use crate::probe::Features;
use crate::skel::FathomSkelBuilder;

/// The verifier's account of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    pub name: String,
    /// Instructions looked at, over all paths.
    pub processed: u64,
    /// Where the kernel gives up; 0 when it didn't say.
    pub limit: u64,
    /// Instructions of the program itself.
    pub instructions: usize,
    /// Opening, relocating and loading.
    pub time: Duration,
}

impl ProgramCost {
    /// How many times over the program would fit the limit.
    pub fn headroom(&self) -> f64 {
        self.limit as f64 / self.processed.max(1) as f64
    }
}

/// `BPF_LOG_STATS` of the kernel: totals only.
const LOG_STATS: u32 = 4;

/// Loads every program by itself and returns the verifier's account, in the object's order.
///
/// # Errors
/// [`Error::Load`] for the first program that this kernel refuses.
pub fn verifier_costs() -> Result<Vec<ProgramCost>> {
    log::install();
    let config = LoadConfig { sizes: Sizes::small(), ..LoadConfig::default() };
    let features = Features::probe();
    let mut storage = MaybeUninit::uninit();
    let open = FathomSkelBuilder::default().open(&mut storage).map_err(Error::Open)?;
    let programs: Vec<(String, usize)> = open
        .open_object()
        .progs()
        .map(|program| (program.name().to_string_lossy().into_owned(), program.insn_cnt()))
        .collect();
    drop(open);
    programs.into_iter().map(|program| cost(program, &config, &features)).collect()
}

fn cost(
    (name, instructions): (String, usize),
    config: &LoadConfig,
    features: &Features,
) -> Result<ProgramCost> {
    let start = Instant::now();
    let mut storage = MaybeUninit::uninit();
    let mut open = FathomSkelBuilder::default().open(&mut storage).map_err(Error::Open)?;
    tunables::set(&mut open, config, features)?;
    size_and_reuse(&mut open, config, None)?;
    for mut program in open.open_object_mut().progs_mut() {
        let this = program.name() == name.as_str();
        program.set_autoload(this);
        if this {
            program.set_log_level(LOG_STATS);
        }
    }
    let (loaded, log) = log::capture(|| open.load().map(drop));
    loaded.map_err(|source| Error::Load { source, log: log.clone() })?;
    let (processed, limit) = processed(&log).unwrap_or_default();
    Ok(ProgramCost { name, processed, limit, instructions, time: start.elapsed() })
}

/// "processed 754 insns (limit 1000000) max_states_per_insn 1 …"
fn processed(log: &str) -> Option<(u64, u64)> {
    let numbers = log.rsplit_once("processed ")?.1;
    let (processed, rest) = numbers.split_once(" insns")?;
    let limit = rest.split_once("(limit ")?.1.split_once(')')?.0;
    Some((processed.parse().ok()?, limit.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_s_last_line_is_understood() {
        let log = "stack depth 40+8\nprocessed 754 insns (limit 1000000) max_states_per_insn 1";
        assert_eq!(processed(log), Some((754, 1_000_000)));
        assert_eq!(processed("nothing of the kind"), None);
    }
}
