//! Objects as YAML files, one each, in a directory that agents watch.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Head;

/// The directory.
#[derive(Debug, Clone)]
pub struct Directory {
    dir: PathBuf,
}

impl Directory {
    /// Makes the directory.
    pub fn create(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, kind: &str, namespace: &str, name: &str) -> PathBuf {
        self.dir.join(file_name(kind, namespace, name))
    }

    /// Writes an object, whole or not at all; the same again is not written.
    pub fn put(&self, object: &Value) -> Result<PathBuf> {
        let field = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let text = serde_saphyr::to_string(object).context("write an object as YAML")?;
        let path = self.path(field("/kind"), field("/metadata/namespace"), field("/metadata/name"));
        write_whole(&path, &text)?;
        Ok(path)
    }

    /// Writes an object's text as it is, comments included.
    pub fn put_text(&self, text: &str) -> Result<PathBuf> {
        let head = Head::read(text)?;
        let path = self.path(&head.kind, &head.metadata.namespace, &head.metadata.name);
        write_whole(&path, text)?;
        Ok(path)
    }

    /// Removes an object; absent is fine.
    pub fn remove(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let path = self.path(kind, namespace, name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the objects of `kind` exactly these.
    pub fn replace_all(&self, kind: &str, objects: &[Value]) -> Result<()> {
        let kept = objects.iter().map(|o| self.put(o)).collect::<Result<Vec<_>>>()?;
        let prefix = format!("{}-", kind.to_ascii_lowercase());
        for entry in
            std::fs::read_dir(&self.dir).with_context(|| format!("list {}", self.dir.display()))?.flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(&prefix) && !kept.contains(&entry.path()) {
                std::fs::remove_file(entry.path())
                    .with_context(|| format!("remove {}", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

/// Under which name an object is kept.
pub fn file_name(kind: &str, namespace: &str, name: &str) -> String {
    let namespace = if namespace.is_empty() { String::new() } else { format!("{namespace}-") };
    format!("{}-{namespace}{name}.yaml", kind.to_ascii_lowercase())
}

fn write_whole(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let name = path.file_name().context("an object's file has a name")?.to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.draft"));
    std::fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
    std::fs::rename(&draft, path).with_context(|| format!("put {} in place", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_kept_under_its_name_and_leftovers_of_its_kind_go() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Directory::create(dir.path()).unwrap();
        let object =
            |name: &str| json!({ "kind": "EndpointSlice", "metadata": { "name": name, "namespace": "x" } });
        let kept = objects.put(&object("a")).unwrap();
        let gone = objects.put(&object("b")).unwrap();
        let other = objects.put(&json!({ "kind": "Node", "metadata": { "name": "n" } })).unwrap();
        objects.replace_all("EndpointSlice", &[object("a")]).unwrap();
        assert!(kept.exists() && other.exists() && !gone.exists());
        assert_eq!(kept.file_name().unwrap(), "endpointslice-x-a.yaml");
    }

    #[test]
    fn a_text_keeps_its_comments() {
        let dir = tempfile::tempdir().unwrap();
        let text = "# mine\nkind: NetworkPolicy\nmetadata: {name: p}\n";
        let path = Directory::create(dir.path()).unwrap().put_text(text).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(path.file_name().unwrap(), "networkpolicy-default-p.yaml");
    }
}
