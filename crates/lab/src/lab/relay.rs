//! The relay, in its own place beside the nodes.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::api_server::NAMESPACE;
use super::{Account, Lab};
use crate::layout::{Place, control_addresses, node_addresses};
use crate::machine::enter::Entry;
use crate::machine::wait;
use crate::spec::ObjectSource;

const NAME: &str = "relay";

impl Lab {
    /// Starts the relay over all nodes and waits until it answers.
    ///
    /// # Errors
    /// With the log's end when it dies.
    pub fn start_relay(&self) -> Result<()> {
        let entry = Entry {
            netns: Some(self.layout.netns(&Place::Control)),
            cgroup: Some(self.cgroup.join(self.layout.cgroup_of(&Place::Control, None))),
            ..Entry::default()
        };
        let [v4, _] = control_addresses();
        let mut arguments = vec![
            "--listen".to_owned(),
            format!("{v4}:4245"),
            "--tls".into(),
            "off".into(),
            "--socket".into(),
            self.layout.relay_socket().display().to_string(),
            // A node that comes back should be seen while somebody watches.
            "--retry-max".into(),
            "1s".into(),
        ];
        for (i, node) in self.spec().nodes.iter().enumerate() {
            let [address, _] = node_addresses(i);
            arguments.extend(["--peer".to_owned(), format!("{}={address}:4244", node.name)]);
        }
        if self.spec().source == ObjectSource::Kubernetes {
            let kubeconfig = self.kubeconfig(Account::Relay).display().to_string();
            let names = ["--namespace", NAMESPACE, "--pod-name", "relay"].map(str::to_owned);
            arguments.extend(["--kubeconfig".to_owned(), kubeconfig]);
            arguments.extend(names);
        }
        arguments.extend(self.spec().relay_args);
        self.launch(NAME, &entry, &self.tools.relay, &arguments)?;
        let socket = self.layout.relay_socket();
        wait::until("the relay to answer", Duration::from_secs(20), || {
            self.must_live(NAME)?;
            Ok(std::os::unix::net::UnixStream::connect(&socket).map(|_| ()).map_err(|e| e.to_string()))
        })
    }

    /// Asks the relay to end, and waits until it has.
    ///
    /// # Errors
    /// When there is none.
    pub fn stop_relay(&self) -> Result<()> {
        self.stop(NAME, Signal::SIGTERM)
    }
}
