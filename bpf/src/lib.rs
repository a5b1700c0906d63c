//! The Rust half of the kernel room: load, attach, maps, rings, decode, probe.
//! The only crate with `unsafe`, the only one that knows libbpf.
//!
//! ```no_run
//! use std::time::Duration;
//! use fathom_bpf::load::{Datapath, LoadConfig};
//!
//! # fn main() -> fathom_bpf::Result<()> {
//! let config = LoadConfig {
//!     pin_dir: Some("/sys/fs/bpf/fathom/node".into()),
//!     ..LoadConfig::default()
//! };
//! let datapath = Datapath::load(&config)?;       // pinned maps come back with their entries
//! let maps = datapath.maps().clone();             // hand it to whoever writes tables
//! // … fill ipcache, policy, services, endpoints, then:
//! datapath.attach_endpoint(42)?;                  // in place of an older program, with no gap
//! datapath.attach_cgroup("/sys/fs/cgroup".as_ref())?;
//! maps.runtime.bump_revision()?;                  // last step of every change
//!
//! let mut reader = datapath.reader()?;            // one per datapath, one thread
//! loop {
//!     reader.poll(Duration::from_millis(100), |record, lane| {
//!         println!("{lane:?} {} → {}", record.event.source(), record.event.destination());
//!     })?;
//! }
//! # }
//! ```

pub mod abi;
pub mod attach;
mod bpffs;
pub mod decode;
pub mod ended;
mod error;
pub mod load;
mod log;
pub mod maps;
pub mod named;
pub mod probe;
pub mod ring;
mod skel;
mod sys;
pub mod testing;

pub use bpffs::is_bpffs;
pub use error::{Error, Result};
pub use sys::netns_cookie;
