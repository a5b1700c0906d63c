//! The configuration file: one flat YAML mapping from setting to value.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::key;
use crate::failure::usage;

/// A value as the file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    List(Vec<String>),
}

/// The file's contents and where it is, or would be.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    pub path: PathBuf,
    values: BTreeMap<String, Value>,
}

/// Where the file is looked for: `$XDG_CONFIG_HOME/fathom`, `~/.config/fathom`, then `~/.fathom`.
/// The first that exists counts; a new one is written to the first.
pub fn candidates(environment: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let set = |name| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("HOME");
    let base = set("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let first = base.map(|base| base.join("fathom/config.yaml"));
    let second = home.map(|home| home.join(".fathom/config.yaml"));
    first.into_iter().chain(second).collect()
}

impl ConfigFile {
    /// Reads the file that was named, which must exist, or the first candidate that does.
    pub fn find(named: Option<&Path>, candidates: &[PathBuf]) -> Result<Self> {
        if let Some(path) = named {
            return Self::read(path);
        }
        match candidates.iter().find(|path| path.exists()) {
            Some(path) => Self::read(path),
            None => {
                Ok(Self { path: candidates.first().cloned().unwrap_or_default(), values: BTreeMap::new() })
            }
        }
    }

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the configuration file {}", path.display()))?;
        let values = parse(&text).map_err(|why| usage(format!("{}: {why}", path.display())))?;
        Ok(Self { path: path.to_owned(), values })
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    pub fn set(&mut self, key: &str, value: Value) {
        self.values.insert(key.to_owned(), value);
    }

    pub fn remove(&mut self, key: &str) {
        self.values.remove(key);
    }

    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Writes the file, readable by its owner only: it may hold a password.
    pub fn save(&self) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let place = || format!("write the configuration file {}", self.path.display());
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent).with_context(place)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .with_context(place)?;
        for (key, value) in &self.values {
            file.write_all(entry(key, value).as_bytes()).with_context(place)?;
        }
        Ok(())
    }
}

/// One setting as YAML, texts in single quotes where plain YAML would read them as something else.
pub fn entry(key: &str, value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{key}: {}\n", scalar(text)),
        Value::List(list) if list.is_empty() => format!("{key}: []\n"),
        Value::List(list) => {
            let items: String = list.iter().map(|item| format!("    - {}\n", scalar(item))).collect();
            format!("{key}:\n{items}")
        }
    }
}

fn scalar(text: &str) -> String {
    let plain = !text.is_empty()
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._:@+-".contains(c))
        && !text.ends_with(':');
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn parse(text: &str) -> Result<BTreeMap<String, Value>, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(BTreeMap::new());
    }
    let read: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(text)
        .map_err(|error| format!("not a mapping from settings to values: {error}"))?;
    let mut values = BTreeMap::new();
    for (name, value) in read {
        if key::find(&name).is_none() {
            let known = key::ALL.map(|key| key.name).join(", ");
            return Err(format!("unknown setting {name:?}; one of {known}"));
        }
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Array(items) => {
                let items: Option<Vec<String>> = items.iter().map(plain).collect();
                Value::List(items.ok_or_else(|| format!("{name}: a list of texts"))?)
            }
            other => Value::Text(plain(&other).ok_or_else(|| format!("{name}: one value or a list"))?),
        };
        values.insert(name, value);
    }
    Ok(values)
}

fn plain(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Bool(on) => Some(on.to_string()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut values = BTreeMap::new();
        for (key, text) in [
            ("server", "unix:///run/fathom/hubble.sock"),
            ("basic-auth-password", "it's: #1 {x}"),
            ("tls", "true"),
            ("timeout", "5s"),
            ("tls-server-name", ""),
        ] {
            values.insert(key.to_owned(), Value::Text(text.to_owned()));
        }
        values.insert("allowlist".into(), Value::List(vec![r#"{"source_pod":["a'b"]}"#.into(), "{}".into()]));
        values.insert("denylist".into(), Value::List(Vec::new()));
        let text: String = values.iter().map(|(key, value)| entry(key, value)).collect();
        assert_eq!(parse(&text), Ok(values), "{text}");
    }

    #[test]
    fn empty_files_and_comments_are_no_settings() {
        assert_eq!(parse(""), Ok(BTreeMap::new()));
        assert_eq!(parse("# nothing yet\n\n"), Ok(BTreeMap::new()));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("sever: x").unwrap_err().starts_with("unknown setting \"sever\"; one of server, "));
        assert!(parse("server: {a: b}").unwrap_err().starts_with("server: one value or a list"));
        assert!(parse("- a").unwrap_err().starts_with("not a mapping"));
    }
}
