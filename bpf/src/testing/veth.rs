//! A pair of devices joined by a cable, in the network namespace of the calling thread.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use crate::error::{IoContext as _, Result};
use crate::sys::netns;

/// Two devices: what is sent on one arrives at the other. They go with their namespace.
#[derive(Debug)]
pub struct Veth {
    host: String,
    host_index: u32,
    on_host: OwnedFd,
    on_pod: OwnedFd,
}

impl Veth {
    /// Makes `<name>h`, where programs go, and `<name>p`, where a pod would be; both up. Names are
    /// short: the kernel allows 15 bytes.
    ///
    /// # Errors
    /// Without root or iproute2.
    pub fn new(name: &str) -> Result<Self> {
        let (host, pod) = (format!("{name}h"), format!("{name}p"));
        ip(&["link", "add", &host, "type", "veth", "peer", "name", &pod])?;
        for device in [&host, &pod] {
            // Silence: no router solicitations among the frames that are counted.
            let quiet = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
            fs::write(&quiet, "1").context(|| format!("write {quiet}"))?;
            ip(&["link", "set", device, "up"])?;
        }
        let socket = |device: &str| {
            netns::ifindex(device).and_then(netns::packet_socket).context(|| format!("open {device}"))
        };
        Ok(Self {
            host_index: netns::ifindex(&host).context(|| format!("find {host}"))?,
            on_host: socket(&host)?,
            on_pod: socket(&pod)?,
            host,
        })
    }

    /// Index of the host side.
    pub fn ifindex(&self) -> u32 {
        self.host_index
    }

    /// Sends a frame as the pod would: it meets `from_pod`.
    ///
    /// # Errors
    /// When the device is gone or its queue is full.
    pub fn send_from_pod(&self, frame: &[u8]) -> Result<()> {
        netns::send_frame(&self.on_pod, frame).context(|| "send from the pod".into())
    }

    /// Sends a frame towards the pod: it meets `to_pod`.
    ///
    /// # Errors
    /// As for [`Veth::send_from_pod`]; `ENOBUFS` when a program drops it.
    pub fn send_to_pod(&self, frame: &[u8]) -> Result<()> {
        match netns::send_frame(&self.on_host, frame) {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            result => result.context(|| "send to the pod".into()),
        }
    }

    /// Deletes both devices.
    ///
    /// # Errors
    /// When they are gone already.
    pub fn delete(self) -> Result<()> {
        ip(&["link", "delete", &self.host])
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let run = || -> io::Result<()> {
        let output = Command::new("ip").args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    };
    run().context(|| format!("ip {}", arguments.join(" ")))
}
