//! What the runtime asked: environment and configuration, parsed into types that cannot be wrong.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::attachment::{Attachment, is_identifier, is_interface_name};
use crate::error::{Code, Error};
use crate::output::PreviousResult;
use crate::version::SUPPORTED;

/// One run of the plugin.
#[derive(Debug)]
pub struct Invocation {
    pub command: Command,
    pub config: Config,
}

#[derive(Debug)]
pub enum Command {
    Add(Target),
    Del(Target),
    Check(Target),
    Gc,
    Status,
    Version,
}

/// The container interface an operation is about.
#[derive(Debug)]
pub struct Target {
    pub attachment: Attachment,
    /// CNI_NETNS. Empty is allowed for DEL only.
    pub netns: PathBuf,
    /// From CNI_ARGS; empty when the caller is not a kubelet.
    pub pod_namespace: String,
    pub pod_name: String,
    /// From CNI_ARGS `IP` (comma-separated): addresses a runtime wants back.
    pub requested_addresses: Vec<String>,
}

/// The network configuration, defaults filled in.
#[derive(Debug)]
pub struct Config {
    /// One of [`SUPPORTED`].
    pub version: String,
    pub network: String,
    /// The agent's run directory.
    pub run_dir: PathBuf,
    /// The agent's CNI socket.
    pub socket: PathBuf,
    /// How long ADD and CHECK wait for an agent that is just starting.
    pub patience: Duration,
    pub previous: Option<PreviousResult>,
    /// GC: what must stay. `None`: the runtime did not say, which is not the same as nothing.
    pub valid_attachments: Option<Vec<Attachment>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireConfig {
    cni_version: Option<String>,
    name: Option<String>,
    run_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    agent_timeout_ms: Option<u64>,
    prev_result: Option<PreviousResult>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<WireAttachment>>,
}

#[derive(Deserialize)]
struct WireAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

/// The configuration's version as typed, for error messages about anything else in it.
pub fn version_of(stdin: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(stdin)
        .ok()
        .and_then(|value| value.get("cniVersion")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| SUPPORTED[SUPPORTED.len() - 1].to_owned())
}

impl Invocation {
    /// Reads CNI_* through `variable` and the configuration from `stdin`.
    ///
    /// # Errors
    /// Names the variable or field that is missing or malformed.
    pub fn parse(variable: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Result<Self, Error> {
        let name = variable("CNI_COMMAND").ok_or_else(|| missing("CNI_COMMAND"))?;
        if name == "VERSION" {
            return Ok(Self { command: Command::Version, config: Config::empty() });
        }
        let config = Config::parse(stdin)?;
        let command = match name.as_str() {
            "ADD" => Command::Add(Target::parse(&variable, true)?),
            "DEL" => Command::Del(Target::parse(&variable, false)?),
            "CHECK" => Command::Check(Target::parse(&variable, true)?),
            "GC" => Command::Gc,
            "STATUS" => Command::Status,
            other => return Err(invalid("CNI_COMMAND", other)),
        };
        Ok(Self { command, config })
    }
}

impl Target {
    fn parse(variable: &impl Fn(&str) -> Option<String>, netns_required: bool) -> Result<Self, Error> {
        let required = |name: &str| variable(name).filter(|v| !v.is_empty()).ok_or_else(|| missing(name));
        let container_id = required("CNI_CONTAINERID")?;
        if !is_identifier(&container_id) {
            return Err(invalid("CNI_CONTAINERID", &container_id));
        }
        let interface = required("CNI_IFNAME")?;
        if !is_interface_name(&interface) {
            return Err(invalid("CNI_IFNAME", &interface));
        }
        let netns =
            if netns_required { required("CNI_NETNS")? } else { variable("CNI_NETNS").unwrap_or_default() };
        let mut target = Self {
            attachment: Attachment { container_id, interface },
            netns: netns.into(),
            pod_namespace: String::new(),
            pod_name: String::new(),
            requested_addresses: Vec::new(),
        };
        // Unknown keys are other plugins' business.
        for pair in variable("CNI_ARGS").unwrap_or_default().split(';').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| invalid("CNI_ARGS", pair))?;
            match key {
                "K8S_POD_NAMESPACE" => target.pod_namespace = value.to_owned(),
                "K8S_POD_NAME" => target.pod_name = value.to_owned(),
                "IP" => target.requested_addresses = value.split(',').map(str::to_owned).collect(),
                _ => {}
            }
        }
        Ok(target)
    }
}

impl Config {
    fn empty() -> Self {
        Self {
            version: SUPPORTED[SUPPORTED.len() - 1].to_owned(),
            network: String::new(),
            run_dir: PathBuf::new(),
            socket: PathBuf::new(),
            patience: Duration::ZERO,
            previous: None,
            valid_attachments: None,
        }
    }

    fn parse(stdin: &[u8]) -> Result<Self, Error> {
        let wire: WireConfig = serde_json::from_slice(stdin)
            .map_err(|e| Error::new(Code::Decoding, "cannot decode the network configuration").because(e))?;
        let version = wire.cni_version.unwrap_or_default();
        if !SUPPORTED.contains(&version.as_str()) {
            return Err(Error::new(
                Code::IncompatibleVersion,
                format!("cniVersion {version:?} is not supported; supported: {}", SUPPORTED.join(", ")),
            ));
        }
        let network = wire.name.unwrap_or_default();
        if !is_identifier(&network) {
            return Err(Error::new(
                Code::InvalidConfig,
                format!("name {network:?} must be letters, digits, '_', '.', '-'"),
            ));
        }
        let run_dir = wire.run_dir.unwrap_or_else(|| PathBuf::from("/run/fathom"));
        Ok(Self {
            version,
            network,
            socket: wire.socket.unwrap_or_else(|| run_dir.join("cni.sock")),
            run_dir,
            patience: Duration::from_millis(wire.agent_timeout_ms.unwrap_or(10_000)),
            previous: wire.prev_result,
            valid_attachments: wire.valid_attachments.map(|valid| {
                let valid = valid.into_iter();
                valid.map(|a| Attachment { container_id: a.container_id, interface: a.ifname }).collect()
            }),
        })
    }
}

fn missing(variable: &str) -> Error {
    Error::new(Code::InvalidEnvironment, format!("{variable} is not set"))
}

fn invalid(variable: &str, value: &str) -> Error {
    Error::new(Code::InvalidEnvironment, format!("{variable} has an invalid value: {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = br#"{"cniVersion":"1.1.0","name":"pods","type":"fathom-cni","runDir":"/run/x"}"#;

    fn parse(env: &[(&str, &str)], stdin: &[u8]) -> Result<Invocation, Error> {
        Invocation::parse(|name| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()), stdin)
    }

    const ADD: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=stream;K8S_POD_NAME=chat-relay-0"),
    ];

    #[test]
    fn an_add_is_read_with_its_pod() {
        let invocation = parse(&ADD, CONFIG).unwrap();
        let Command::Add(target) = invocation.command else { panic!("not an ADD") };
        assert_eq!(target.attachment.interface, "eth0");
        assert_eq!((target.pod_namespace.as_str(), target.pod_name.as_str()), ("stream", "chat-relay-0"));
        assert_eq!(invocation.config.socket, PathBuf::from("/run/x/cni.sock"));
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        for (drop, code) in [("CNI_COMMAND", 4), ("CNI_CONTAINERID", 4), ("CNI_NETNS", 4), ("CNI_IFNAME", 4)]
        {
            let env: Vec<_> = ADD.into_iter().filter(|(n, _)| *n != drop).collect();
            let error = parse(&env, CONFIG).unwrap_err();
            assert_eq!(error.code.number(), code);
            assert!(error.message.contains(drop), "expected {drop} in {:?}", error.message);
        }
        let cases: [(&[u8], u32, &str); 4] = [
            (b"{", 6, "decode"),
            (br#"{"cniVersion":"0.2.0","name":"pods"}"#, 1, "0.2.0"),
            (br#"{"cniVersion":"1.0.0"}"#, 7, "name"),
            (br#"{"cniVersion":"1.0.0","name":"-x"}"#, 7, "-x"),
        ];
        for (stdin, code, word) in cases {
            let error = parse(&ADD, stdin).unwrap_err();
            assert_eq!(error.code.number(), code, "{error}");
            assert!(error.message.contains(word), "expected {word} in {:?}", error.message);
        }
    }

    #[test]
    fn a_delete_needs_no_namespace() {
        let env = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0")];
        assert!(matches!(parse(&env, CONFIG).unwrap().command, Command::Del(_)));
    }
}
