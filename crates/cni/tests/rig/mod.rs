//! A node and pods as network namespaces, and an agent that does as it is told.

mod fake_agent;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub use fake_agent::{FakeAgent, Refuse};
use serde_json::{Value, json};

/// A node's network namespace with a run directory; both go when it is dropped.
pub struct Node {
    pub netns: String,
    pub run_dir: tempfile::TempDir,
    pods: Vec<String>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

fn unique(kind: &str) -> String {
    format!("cni-{kind}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Node {
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
        let netns = unique("node");
        ip(&["netns", "add", &netns]);
        ip(&["-n", &netns, "link", "set", "lo", "up"]);
        Self { netns, run_dir: tempfile::tempdir().unwrap(), pods: Vec::new() }
    }

    /// An empty pod; returns its namespace's name.
    pub fn pod(&mut self) -> String {
        let pod = unique("pod");
        ip(&["netns", "add", &pod]);
        self.pods.push(pod.clone());
        pod
    }

    pub fn socket(&self) -> PathBuf {
        self.run_dir.path().join("cni.sock")
    }

    /// Runs one operation on `eth0` of container `id`.
    pub fn cni(&self, command: &str, id: &str, pod: &str) -> Run {
        self.cni_with(command, id, pod, json!({}))
    }

    /// The same with more in the configuration.
    pub fn cni_with(&self, command: &str, id: &str, pod: &str, more: Value) -> Run {
        let mut config = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "fathom-cni",
            "runDir": self.run_dir.path(), "agentTimeoutMs": 200,
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let netns = if pod.is_empty() { String::new() } else { format!("/run/netns/{pod}") };
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.netns, env!("CARGO_BIN_EXE_fathom-cni")])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", netns)
            .env("CNI_ARGS", format!("K8S_POD_NAMESPACE=stream;K8S_POD_NAME=pod-{id}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty(), "stderr: {}", String::from_utf8_lossy(&output.stderr));
        Run {
            success: output.status.success(),
            json: serde_json::from_str(&stdout).unwrap_or(Value::Null),
            stdout,
        }
    }

    pub fn remove_device(&self, name: &str) {
        ip(&["-n", &self.netns, "link", "del", name]);
    }

    /// Names of the node's pod devices.
    pub fn devices(&self) -> Vec<String> {
        let text = ip(&["-n", &self.netns, "-o", "link", "show", "type", "veth"]);
        text.lines()
            .filter_map(|line| line.split(": ").nth(1)?.split('@').next().map(str::to_owned))
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for name in self.pods.iter().chain([&self.netns]) {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

/// What an operation left.
#[derive(Debug)]
pub struct Run {
    pub success: bool,
    /// Null when the output is no JSON, or empty.
    pub json: Value,
    pub stdout: String,
}

impl Run {
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.success, "the plugin failed: {}", self.stdout);
        self.json
    }

    /// Asserts failure with `code`; returns message and details.
    #[track_caller]
    pub fn fails(self, code: u32) -> String {
        assert!(!self.success, "the plugin succeeded: {}", self.stdout);
        assert_eq!(self.json["code"], code, "{}", self.stdout);
        assert_eq!(self.json["cniVersion"], "1.1.0");
        format!("{} | {}", self.json["msg"].as_str().unwrap(), self.json["details"].as_str().unwrap())
    }
}

/// Runs `ip`, which must succeed; returns what it prints.
#[track_caller]
pub fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("ip is installed (package iproute2)");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {stderr}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}
