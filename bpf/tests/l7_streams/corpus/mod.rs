//! Dialogues somebody thought of: the usual and the nasty ones.

pub mod http1;
