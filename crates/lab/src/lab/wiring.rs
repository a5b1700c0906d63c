//! Calling the CNI plugin as a container runtime does.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Lab;
use crate::layout::Place;
use crate::machine::enter::Entry;

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
        let mut config = json!({
            "cniVersion": "1.1.0",
            "name": "lab",
            "type": "fathom-cni",
            "runDir": self.layout.run_dir(attachment.node),
        });
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        let (namespace, name) = attachment.key.split_once('/').context("a pod's key is namespace/name")?;
        let entry = Entry {
            netns: Some(self.layout.netns(&Place::Node(attachment.node.to_owned()))),
            ..Entry::default()
        };
        let mut child = entry
            .command(&self.tools.lab, &self.tools.cni)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", attachment.container_id)
            .env("CNI_NETNS", attachment.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}"))
            .env("CNI_PATH", self.tools.cni.parent().unwrap_or(Path::new("/")))
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
            bail!("fathom-cni {command} for {}: {said}", attachment.key);
        }
        if stdout.trim().is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_str(&stdout).context("read the CNI result")
        }
    }
}
