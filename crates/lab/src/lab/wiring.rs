//! Calling the CNI plugin as a container runtime does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Lab;
use crate::layout::{Place, pod_cidrs};
use crate::machine::enter::Entry;
use crate::spec::Wiring;

/// One interface of one pod.
pub struct Attachment<'a> {
    pub node: &'a str,
    /// `namespace/name`.
    pub key: &'a str,
    pub container_id: &'a str,
    pub netns: &'a Path,
}

impl Lab {
    /// Runs ADD, DEL or CHECK in the node's namespace; returns the plugin's result.
    pub(super) fn cni(
        &self,
        command: &str,
        attachment: &Attachment<'_>,
        previous: Option<&Value>,
    ) -> Result<Value> {
        let (program, mut config) = self.plugin(attachment.node)?;
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        let (namespace, name) = attachment.key.split_once('/').context("a pod's key is namespace/name")?;
        let entry = Entry {
            netns: Some(self.layout.netns(&Place::Node(attachment.node.to_owned()))),
            ..Entry::default()
        };
        let mut child = entry
            .command(&self.tools.lab, &program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", attachment.container_id)
            .env("CNI_NETNS", attachment.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}"))
            .env("CNI_PATH", program.parent().unwrap_or(Path::new("/")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the CNI plugin")?;
        let mut stdin = child.stdin.take().context("the CNI plugin has a stdin")?;
        stdin.write_all(config.to_string().as_bytes()).context("write to the CNI plugin")?;
        drop(stdin);
        let output = child.wait_with_output().context("wait for the CNI plugin")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let said = format!("{} {}", stdout.trim(), String::from_utf8_lossy(&output.stderr).trim());
            bail!("{} {command} for {}: {said}", program.display(), attachment.key);
        }
        if stdout.trim().is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_str(&stdout).context("read the CNI result")
        }
    }

    /// The plugin that wires a node's pods, and its part of the network configuration.
    fn plugin(&self, node: &str) -> Result<(PathBuf, Value)> {
        let (spec, run_dir) = (self.spec(), self.layout.run_dir(node));
        let kind = match spec.wiring {
            Wiring::Fathom => {
                let config =
                    json!({ "cniVersion": "1.1.0", "name": "lab", "type": "fathom-cni", "runDir": run_dir });
                return Ok((self.tools.cni.clone(), config));
            }
            Wiring::Bridge => "bridge",
            Wiring::Ptp => "ptp",
        };
        let index =
            spec.nodes.iter().position(|n| n.name == node).with_context(|| format!("no node {node}"))?;
        let ranges = pod_cidrs(index).map(|cidr| json!([{ "subnet": cidr }]));
        let mut config = json!({
            "cniVersion": "1.0.0",
            "name": "lab",
            "type": kind,
            "ipam": {
                "type": "host-local",
                "dataDir": run_dir.join("addresses"),
                "ranges": ranges,
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            },
        });
        if spec.wiring == Wiring::Bridge {
            config["bridge"] = json!("cni0");
            config["isGateway"] = json!(true);
            config["hairpinMode"] = json!(true);
        }
        Ok((self.tools.plugin(kind)?, config))
    }
}
