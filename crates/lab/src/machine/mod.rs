//! What a lab is made of on the machine: namespaces, cgroups, mounts, processes.

pub mod bpffs;
pub mod cgroup;
pub mod enter;
pub mod ip;
pub mod netns;
pub mod process;
pub mod wait;
