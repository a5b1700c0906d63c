//! Objects in the lab's API server: what `kubectl`, kubelets and controllers would write.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::machine::netns;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Attempts while others write the same object.
const ATTEMPTS: usize = 5;
/// Requests over one connection are not worth it here: each has its own.
const TAIL: &str = "Connection: close\r\n";

/// Kind, its group and version, its name in paths, whether it is in a namespace and has a status of its own.
const KINDS: [(&str, &str, &str, bool, bool); 16] = [
    ("Namespace", "v1", "namespaces", false, false),
    ("Node", "v1", "nodes", false, true),
    ("Pod", "v1", "pods", true, true),
    ("Service", "v1", "services", true, false),
    ("ServiceAccount", "v1", "serviceaccounts", true, false),
    ("Secret", "v1", "secrets", true, false),
    ("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", true, false),
    ("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", true, false),
    ("CiliumNetworkPolicy", "cilium.io/v2", "ciliumnetworkpolicies", true, false),
    ("CiliumClusterwideNetworkPolicy", "cilium.io/v2", "ciliumclusterwidenetworkpolicies", false, false),
    ("FathomIdentity", "fathom.dev/v1alpha1", "fathomidentities", false, false),
    ("ClusterRole", "rbac.authorization.k8s.io/v1", "clusterroles", false, false),
    ("ClusterRoleBinding", "rbac.authorization.k8s.io/v1", "clusterrolebindings", false, false),
    ("Role", "rbac.authorization.k8s.io/v1", "roles", true, false),
    ("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings", true, false),
    ("CustomResourceDefinition", "apiextensions.k8s.io/v1", "customresourcedefinitions", false, false),
];

/// An API server in a network namespace of the lab, and the administrator's token.
#[derive(Debug, Clone)]
pub struct Server {
    pub netns: PathBuf,
    pub address: SocketAddr,
    pub token: String,
}

impl Server {
    /// Makes an object or writes over it, status included.
    pub fn put(&self, object: &Value) -> Result<()> {
        let (kind, namespace, name) = head(object);
        let (collection, has_status) = collection(kind, namespace)?;
        let path = format!("{collection}/{name}");
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let (code, there) = self.ask("GET", &path, None)?;
            let written = match code {
                404 => self.ask("POST", &collection, Some(object))?,
                200 => self.ask("PUT", &path, Some(&over(object, &there)))?,
                _ => bail!("{kind} {name}: {}", told(&there)),
            };
            let written = match (written, object.get("status").filter(|_| has_status)) {
                ((200 | 201, there), Some(status)) => {
                    let mut whole = there;
                    whole["status"] = status.clone();
                    self.ask("PUT", &format!("{path}/status"), Some(&whole))?
                }
                (written, _) => written,
            };
            match written {
                (200 | 201, _) => return Ok(()),
                (409, answer) => last = told(&answer),
                (_, answer) => bail!("{kind} {name}: {}", told(&answer)),
            }
        }
        bail!("{kind} {name}: {last}")
    }

    /// Deletes an object; absent is fine.
    pub fn remove(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let path = format!("{}/{name}?gracePeriodSeconds=0", collection(kind, namespace)?.0);
        match self.ask("DELETE", &path, None)? {
            (200 | 202 | 404, _) => Ok(()),
            (_, answer) => bail!("delete {kind} {name}: {}", told(&answer)),
        }
    }

    /// Makes the objects of `kind` exactly these.
    pub fn replace_all(&self, kind: &str, objects: &[Value]) -> Result<()> {
        for there in self.list(kind)? {
            let (_, namespace, name) = head(&there);
            if !objects.iter().any(|object| head(object) == (kind, namespace, name)) {
                self.remove(kind, namespace, name)?;
            }
        }
        objects.iter().try_for_each(|object| self.put(object))
    }

    /// Every object of a kind.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let (code, mut answer) = self.ask("GET", &collection(kind, "")?.0, None)?;
        let Some(items) = answer["items"].as_array_mut().filter(|_| code == 200) else {
            bail!("list {kind}: {}", told(&answer));
        };
        let mut items = std::mem::take(items);
        items.iter_mut().for_each(|item| item["kind"] = json!(kind));
        Ok(items)
    }

    /// A token for a service account, good for a day.
    pub fn token(&self, namespace: &str, name: &str) -> Result<String> {
        let path = format!("{}/{name}/token", collection("ServiceAccount", namespace)?.0);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86_400}});
        let (_, answer) = self.ask("POST", &path, Some(&request))?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        token.map(str::to_owned).with_context(|| format!("a token for {namespace}/{name}: {}", told(&answer)))
    }

    /// Asks anything: code and answer.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let asked = || format!("{method} {path} at the lab's API server");
        netns::inside(&self.netns, || self.exchange(method, path, body)).with_context(asked)
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let mut stream = TcpStream::connect_timeout(&self.address, LIMIT).context("connect")?;
        stream.set_read_timeout(Some(LIMIT)).context("set a timeout")?;
        let body = body.map(ToString::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: lab\r\nUser-Agent: fathom-lab/1\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{TAIL}\r\n{body}",
            self.token,
            body.len()
        )
        .context("ask")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("read the answer")?;
        let end =
            answer.windows(4).position(|four| four == b"\r\n\r\n").context("an answer without an end")?;
        let code = std::str::from_utf8(&answer[..end]).ok().and_then(|head| head.split(' ').nth(1));
        let code = code.and_then(|code| code.parse().ok()).context("an answer without a status")?;
        Ok((code, serde_json::from_slice(&answer[end + 4..]).unwrap_or(Value::Null)))
    }
}

/// A new form of an object, in the place of the one that is there.
fn over(object: &Value, there: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
    object
}

/// Path of a collection, and whether its objects have a status of their own.
fn collection(kind: &str, namespace: &str) -> Result<(String, bool)> {
    let (_, version, plural, namespaced, status) =
        KINDS.iter().find(|row| row.0 == kind).with_context(|| format!("{kind}: no kind of a lab"))?;
    let root = if version.contains('/') { "apis" } else { "api" };
    let scope =
        if *namespaced && !namespace.is_empty() { format!("namespaces/{namespace}/") } else { String::new() };
    Ok((format!("/{root}/{version}/{scope}{plural}"), *status))
}

/// # Errors
/// No kind of a lab.
pub fn is_namespaced(kind: &str) -> Result<bool> {
    let row = KINDS.iter().find(|row| row.0 == kind);
    row.map(|row| row.3).with_context(|| format!("{kind}: no kind of a lab"))
}

fn head(object: &Value) -> (&str, &str, &str) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    (text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

fn told(answer: &Value) -> String {
    answer["message"].as_str().map_or_else(|| answer.to_string(), str::to_owned)
}
