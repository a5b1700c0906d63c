//! The lab's API server: a process in the control place, with Fathom's definitions and roles applied.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Lab;
use crate::layout::{Layout, Place, control_addresses};
use crate::machine::enter::Entry;
use crate::machine::wait;
use crate::objects::{self, Server};

const NAME: &str = "api-server";
const PORT: u16 = 6443;
/// The administrator's token: the network between the nodes is the lab's own.
const ADMIN: &str = "lab-admin";
/// What a cluster gets when Fathom is installed: definitions, roles and accounts.
const MANIFESTS: [&str; 4] = [
    include_str!("../../../../manifests/crds/fathom.dev_fathomidentities.yaml"),
    include_str!("../../../../manifests/base/accounts.yaml"),
    include_str!("../../../../manifests/base/rbac.yaml"),
    include_str!("../../../../manifests/base/certificates.yaml"),
];
/// Namespace of Fathom's own objects.
pub(super) const NAMESPACE: &str = "kube-system";

/// Who speaks with the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    Agent,
    Relay,
}

impl Account {
    pub fn name(self) -> &'static str {
        match self {
            Account::Agent => "fathom-agent",
            Account::Relay => "fathom-relay",
        }
    }
}

/// What was asked of the API server and what of it was denied, by user: "list pods", "get leases ...".
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub allowed: Vec<(String, String)>,
    pub denied: Vec<(String, String)>,
}

/// How to reach the API server of a lab.
pub(super) fn server(layout: &Layout) -> Server {
    let [v4, _] = control_addresses();
    Server {
        netns: layout.netns(&Place::Control),
        address: SocketAddr::new(v4, PORT),
        token: ADMIN.to_owned(),
    }
}

impl Lab {
    /// Starts the API server: again with the objects it had, but without memory of what changed.
    ///
    /// # Errors
    /// With the log's end when it dies.
    pub fn start_api_server(&self) -> Result<()> {
        let server = self.api_server()?;
        let entry = Entry {
            netns: Some(server.netns.clone()),
            cgroup: Some(self.cgroup.join(self.layout.cgroup_of(&Place::Control, None))),
            ..Entry::default()
        };
        let arguments = [
            "--listen".to_owned(),
            server.address.to_string(),
            "--admin-token".into(),
            server.token.clone(),
            "--journal".into(),
            self.layout.dir.join("api-server.journal").display().to_string(),
        ];
        self.launch(NAME, &entry, &self.tools.api_server, &arguments)?;
        wait::until("the API server to answer", Duration::from_secs(20), || {
            self.must_live(NAME)?;
            Ok(match server.ask("GET", "/readyz", None) {
                Ok((200, _)) => Ok(()),
                Ok((code, _)) => Err(code.to_string()),
                Err(error) => Err(format!("{error:#}")),
            })
        })
    }

    /// `kill -9` of the API server.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_api_server(&self) -> Result<()> {
        self.stop(NAME, Signal::SIGKILL)
    }

    /// Every watch ends with 410, and nobody can watch on from an older version.
    ///
    /// # Errors
    /// It does not answer.
    pub fn expire_watches(&self) -> Result<()> {
        self.control("POST", "expire").map(drop)
    }

    /// What was asked since the start of the server.
    ///
    /// # Errors
    /// It does not answer.
    pub fn asked(&self) -> Result<Asked> {
        let log = self.control("GET", "log")?;
        let lines = |field: &str| -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let lines = log[field].as_array().into_iter().flatten();
            lines
                .map(|line| {
                    let action = &line["action"];
                    let words = ["verb", "resource", "group", "namespace", "name"].map(|f| text(&action[f]));
                    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
                    (text(&line["user"]), words.join(" "))
                })
                .collect()
        };
        Ok(Asked { allowed: lines("allowed"), denied: lines("denied") })
    }

    /// What an account's roles grant that it never used since the start of the server.
    ///
    /// # Errors
    /// It does not answer.
    pub fn unused_grants(&self, account: Account) -> Result<Vec<String>> {
        let command = format!("unused?namespace={NAMESPACE}&name={}", account.name());
        let grants = self.control("GET", &command)?;
        let text = |grant: &Value| {
            let words = ["role", "verb", "resource", "group", "name"].map(|field| grant[field].as_str());
            words.into_iter().flatten().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        };
        Ok(grants.as_array().into_iter().flatten().map(text).collect())
    }

    fn control(&self, method: &str, command: &str) -> Result<Value> {
        let (code, answer) = self.api_server()?.ask(method, &format!("/control/{command}"), None)?;
        ensure!(code < 300, "{method} {command} at the API server: {code} {answer}");
        Ok(answer)
    }

    /// The API server, to ask it anything as its administrator.
    ///
    /// # Errors
    /// The lab has none.
    pub fn api_server(&self) -> Result<&Server> {
        self.objects.server().with_context(|| format!("lab {} has no API server", self.layout.name))
    }

    /// Installs Fathom in the API server: definitions, roles, accounts, and a kubeconfig for each.
    pub(super) fn install(&self) -> Result<()> {
        let server = self.api_server()?;
        for text in MANIFESTS {
            for mut object in documents(text)? {
                let kind = object["kind"].as_str().unwrap_or_default().to_owned();
                if objects::is_namespaced(&kind)? && object["metadata"]["namespace"].is_null() {
                    object["metadata"]["namespace"] = NAMESPACE.into();
                }
                server.put(&object)?;
            }
        }
        for account in [Account::Agent, Account::Relay] {
            let token = server.token(NAMESPACE, account.name())?;
            let path = self.kubeconfig(account);
            let text = kubeconfig(&format!("http://{}", server.address), &token);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    pub(super) fn kubeconfig(&self, account: Account) -> PathBuf {
        self.layout.dir.join(format!("{}.kubeconfig", account.name()))
    }
}

fn documents(text: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).context("read Fathom's manifests")
}

fn kubeconfig(url: &str, token: &str) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{ "name": "lab", "cluster": { "server": url } }],
        "users": [{ "name": "lab", "user": { "token": token } }],
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
    });
    format!("{config:#}\n")
}
