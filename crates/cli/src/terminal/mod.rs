//! What has to do with the screen and not with flows.

pub mod colour;
pub mod columns;
pub mod escape;
pub mod quantity;
pub mod time_format;
