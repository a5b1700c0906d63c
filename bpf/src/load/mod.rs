//! The object into the kernel: configured, checked by the verifier, its maps found again or made.

mod config;
mod headers;
mod pins;
mod program;
mod retired;
mod tunables;
mod verifier;

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use libbpf_rs::MapCore as _;
use libbpf_rs::skel::{OpenSkel as _, Skel as _, SkelBuilder as _};
use zerocopy::IntoBytes as _;

pub use config::{EventPolicy, HEADER_NAME_MAX, L7Mode, LoadConfig, PeerAddress, Sizes, Timeouts};
use pins::Pins;
pub use pins::remove_pins;
pub use program::Program;
pub use verifier::{ProgramCost, verifier_costs};

use crate::attach::Links;
use crate::ended::Lifetimes;
use crate::error::{Error, IoContext as _, Result};
use crate::log;
use crate::maps::Maps;
use crate::probe::Features;
use crate::ring::{FormerRings, Reader};
use crate::skel::{FathomSkelBuilder, OpenFathomSkel};
use crate::sys::map::RawMap;

/// Programs and maps in the kernel.
///
/// Dropping it closes descriptors and no more: what is pinned stays and goes on working.
#[derive(Debug)]
pub struct Datapath {
    programs: HashMap<Program, OwnedFd>,
    maps: Maps,
    events: OwnedFd,
    drops: OwnedFd,
    /// Open for as long as it isn't pinned: the kernel empties a table of programs that no process has.
    l7_programs: RawMap,
    l7_headers: RawMap,
    former: (FormerRings, FormerRings),
    links: Links,
    features: Features,
    lifetimes: Lifetimes,
}

impl Datapath {
    /// Loads the programs, with the pinned maps of an earlier process where there are any.
    ///
    /// Nothing is attached, and what an earlier process attached goes on with its own programs on
    /// the same maps until [`Datapath::attach_endpoint`] and [`Datapath::attach_cgroup`] replace
    /// them. Links whose device or cgroup is gone are removed.
    ///
    /// # Errors
    /// - [`Error::Setting`] for a value out of range,
    /// - [`Error::NoBpffs`] and [`Error::IncompatiblePin`] about the pin directory,
    /// - [`Error::Load`] with the kernel's words when it refuses a program.
    pub fn load(config: &LoadConfig) -> Result<Self> {
        Self::load_with(config, Features::probe())
    }

    /// [`Datapath::load`] as if the kernel could do just this: for tests of the fallbacks.
    ///
    /// # Errors
    /// As for [`Datapath::load`].
    pub fn load_with(config: &LoadConfig, features: Features) -> Result<Self> {
        log::install();
        config.check()?;
        let pins = match &config.pin_dir {
            Some(dir) => Some(Pins::open(dir, config.replace_incompatible)?),
            None => None,
        };

        let mut storage = MaybeUninit::uninit();
        let mut open = FathomSkelBuilder::default().open(&mut storage).map_err(Error::Open)?;
        tunables::set(&mut open, config, &features)?;
        size_and_reuse(&mut open, config, pins.as_ref())?;
        for mut program in open.open_object_mut().progs_mut() {
            let known = Program::ALL.into_iter().find(|known| program.name() == known.name());
            program.set_autoload(known.is_none_or(|known| !known.is_idle(config.l7)));
        }
        let (loaded, log) = log::capture(|| open.load());
        let skel = loaded.map_err(|source| Error::Load { source, log })?;

        // From here on descriptors are all that is needed; the object goes at the end of this scope.
        let mut programs = HashMap::new();
        for program in skel.object().progs() {
            let known = Program::ALL.into_iter().find(|known| program.name() == known.name());
            if let Some(known) = known.filter(|known| !known.is_idle(config.l7)) {
                programs.insert(known, duplicate(program.as_fd(), known.name())?);
            }
        }
        let is_missing = |known: &&Program| !known.is_idle(config.l7) && !programs.contains_key(known);
        if let Some(missing) = Program::ALL.iter().find(is_missing) {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(Error::Io { what: format!("find program {}", missing.name()), source });
        }
        let mut fds = HashMap::new();
        for map in skel.object().maps() {
            let name = map.name().to_string_lossy().into_owned();
            if is_internal(&name) {
                continue;
            }
            let fd = duplicate(map.as_fd(), &name)?;
            if let Some(pins) = &pins {
                pins.keep(&name, &fd)?;
            }
            fds.insert(name, fd);
        }
        let mut ring = |name: &str| {
            let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
            fds.remove(name).ok_or_else(missing).context(|| format!("find ring {name}"))
        };
        let (events, drops) = (ring("events")?, ring("drops")?);
        let l7_programs = RawMap::new(ring("l7_programs")?).context(|| "open l7_programs".into())?;
        let l7_headers = RawMap::new(ring("l7_headers")?).context(|| "open l7_headers".into())?;
        let former =
            |ring| pins.as_ref().map_or_else(|| Ok(FormerRings::default()), |pins| pins.former(ring));
        let datapath = Self {
            former: (former("events")?, former("drops")?),
            programs,
            maps: Maps::new(fds, config.sizes.policy_entries)?,
            events,
            drops,
            l7_programs,
            l7_headers,
            links: Links::new(pins.as_ref().map(Pins::links_dir)),
            features,
            lifetimes: tunables::lifetimes(&config.timeouts)?,
        };
        datapath.sweep_links()?;
        datapath.place_l7(config.l7)?;
        datapath.place_headers(&config.l7_headers)?;
        Ok(datapath)
    }

    /// Puts the programs that read payloads where `from_pod` and `to_pod` find them, those of an
    /// earlier process, which hang on the devices still, as well: they share map and scratch memory.
    fn place_l7(&self, mode: L7Mode) -> Result<()> {
        let table = &self.l7_programs;
        for (slot, program) in Program::L7 {
            let key = slot.to_ne_bytes();
            let placed = if program.is_idle(mode) {
                table.delete(&key).map(drop)
            } else {
                table.update(&key, &self.program(program).as_raw_fd().to_ne_bytes())
            };
            placed.context(|| format!("place {}", program.name()))?;
        }
        Ok(())
    }

    fn place_headers(&self, names: &[String]) -> Result<()> {
        for (index, header) in headers::entries(names).enumerate() {
            let key = (index as u32).to_ne_bytes();
            self.l7_headers
                .update(&key, header.as_bytes())
                .context(|| "tell which headers to capture".into())?;
        }
        Ok(())
    }

    /// The tables.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// What the kernel can do, as the loader found it.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// A reader of both lanes. Have one at a time: readers share the kernel's position.
    ///
    /// # Errors
    /// When the rings can't be mapped.
    pub fn reader(&self) -> Result<Reader> {
        let ring = |fd: &OwnedFd| duplicate(fd.as_fd(), "ring");
        Reader::new(ring(&self.events)?, ring(&self.drops)?, self.former.clone())
    }

    pub(crate) fn program(&self, program: Program) -> BorrowedFd<'_> {
        // `load` made sure that all are there but those that read messages, which nobody else asks for.
        self.programs[&program].as_fd()
    }

    pub(crate) fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }
}

fn duplicate(fd: BorrowedFd<'_>, what: &str) -> Result<OwnedFd> {
    fd.try_clone_to_owned().context(|| format!("duplicate the descriptor of {what}"))
}

/// Sizes each map as configured, then points it at its pin.
fn size_and_reuse(open: &mut OpenFathomSkel<'_>, config: &LoadConfig, pins: Option<&Pins>) -> Result<()> {
    for mut map in open.open_object_mut().maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if is_internal(&name) {
            continue;
        }
        if let Some(size) = config.sizes.of(&name) {
            map.set_max_entries(size).map_err(Error::Open)?;
        }
        if let Some(pins) = pins {
            pins.reuse(&mut map)?;
        }
    }
    Ok(())
}

/// Constants and variables of the programs themselves (`.rodata`, `.bss`) and their working memory
/// (`packet.h`): new with each load, of a shape that the next version may change.
fn is_internal(map: &str) -> bool {
    map.contains('.') || map == "scratch" || map == "nat_scratch"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_may_go_to_any_thread() {
        fn any_thread<T: Send + Sync + 'static>() {}
        fn one_thread<T: Send + 'static>() {}
        any_thread::<Datapath>();
        any_thread::<Maps>();
        any_thread::<crate::ring::Gauge>();
        one_thread::<Reader>();
    }
}
