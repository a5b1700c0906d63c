//! The skeleton that build.rs wrote: generated code, taken as it is.
#![allow(clippy::all, dead_code, missing_docs)]

include!(concat!(env!("OUT_DIR"), "/fathom.skel.rs"));
