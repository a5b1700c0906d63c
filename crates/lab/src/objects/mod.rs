//! The cluster's objects: the lab plays administrator, kubelets and endpoint controller, and with a directory of
//! files the API server as well.

mod directory;
mod endpoints;
mod manifest;
mod server;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

pub use directory::{Directory, file_name};
pub use endpoints::slices;
pub use manifest::{namespace, node, pod, service};
pub use server::{Server, is_namespaced};

/// Where objects are kept, and agents find them.
#[derive(Debug, Clone)]
pub enum Objects {
    Directory(Directory),
    Server(Server),
}

impl Objects {
    /// The API server, where there is one.
    pub fn server(&self) -> Option<&Server> {
        match self {
            Objects::Directory(_) => None,
            Objects::Server(server) => Some(server),
        }
    }

    /// Makes an object or writes over it.
    pub fn put(&self, object: &Value) -> Result<()> {
        match self {
            Objects::Directory(directory) => directory.put(object).map(drop),
            Objects::Server(server) => server.put(object),
        }
    }

    /// As [`Objects::put`] with an object's text; a file has it as it is, comments included.
    pub fn put_text(&self, text: &str) -> Result<()> {
        match self {
            Objects::Directory(directory) => directory.put_text(text).map(drop),
            Objects::Server(server) => {
                let head = Head::read(text)?;
                let mut object: Value = serde_saphyr::from_str(text).context("read an object")?;
                if is_namespaced(&head.kind)? {
                    object["metadata"]["namespace"] = head.metadata.namespace.into();
                }
                server.put(&object)
            }
        }
    }

    /// Removes an object; absent is fine.
    pub fn remove(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        match self {
            Objects::Directory(directory) => directory.remove(kind, namespace, name),
            Objects::Server(server) => server.remove(kind, namespace, name),
        }
    }

    /// Makes the objects of `kind` exactly these.
    pub fn replace_all(&self, kind: &str, objects: &[Value]) -> Result<()> {
        match self {
            Objects::Directory(directory) => directory.replace_all(kind, objects),
            Objects::Server(server) => server.replace_all(kind, objects),
        }
    }
}

/// What says which object a text is.
#[derive(Debug, Deserialize)]
pub struct Head {
    pub kind: String,
    pub metadata: HeadMetadata,
}

#[derive(Debug, Deserialize)]
pub struct HeadMetadata {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

fn default_namespace() -> String {
    "default".to_owned()
}

impl Head {
    /// Reads kind, namespace and name.
    pub fn read(text: &str) -> Result<Self> {
        let head: Self = serde_saphyr::from_str(text).context("read an object's kind and name")?;
        if head.kind.is_empty() || head.metadata.name.is_empty() {
            bail!("an object without kind or name");
        }
        Ok(head)
    }
}
