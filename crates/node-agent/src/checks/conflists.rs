//! Which network configuration a container runtime takes: the first of its directory, by name.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::finding::Finding;

/// Name of our plugin.
const PLUGIN: &str = "fathom-cni";

/// A file of the directory.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Ours,
    /// Of these plugins.
    Of(Vec<String>),
    Unreadable(String),
}

/// Looks at the directory. `served`: whether pods come from a cluster, whose runtimes look there.
pub fn examine(directory: &Path, served: bool) -> Finding {
    let shown = directory.display();
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = files
        .map(|file| file.path())
        .filter(|path| {
            path.extension().is_some_and(|end| ["conf", "conflist", "json"].iter().any(|known| end == *known))
        })
        .collect();
    files.sort();
    let entries: Vec<(String, Entry)> = files
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (
                name,
                fs::read_to_string(path)
                    .map_or_else(|error| Entry::Unreadable(error.to_string()), |text| read(&text)),
            )
        })
        .collect();
    judge(&entries, &shown.to_string(), served)
}

fn read(text: &str) -> Entry {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return Entry::Unreadable(error.to_string()),
    };
    let name = |plugin: &Value| plugin.get("type").and_then(Value::as_str).unwrap_or("?").to_owned();
    let plugins: Vec<String> = match value.get("plugins").and_then(Value::as_array) {
        Some(plugins) => plugins.iter().map(name).collect(),
        None => vec![name(&value)],
    };
    if plugins.iter().any(|plugin| plugin == PLUGIN) { Entry::Ours } else { Entry::Of(plugins) }
}

fn judge(entries: &[(String, Entry)], directory: &str, served: bool) -> Finding {
    let ours = entries.iter().position(|(_, entry)| *entry == Entry::Ours);
    let first = entries.iter().enumerate().find(|(_, (_, entry))| !matches!(entry, Entry::Unreadable(_)));
    match (first, ours) {
        (Some((at, (name, _))), Some(ours)) if at == ours => {
            Finding::ok("cni", format!("{directory}/{name} is what runtimes take"))
        }
        (Some((_, (name, Entry::Of(plugins)))), ours) => {
            let place = match ours {
                Some(at) => format!("before {}", entries[at].0),
                None => "and there is none of Fathom's".to_owned(),
            };
            let what = format!("{directory}/{name} ({}) comes first, {place}", plugins.join(", "));
            Finding::missing("cni", what)
                .so("new pods are wired by the other plugin: without an endpoint they are neither observed nor enforced")
                .then(format!("move {directory}/{name} away, or start the agent with --mode attach"))
        }
        _ if served => {
            Finding::missing("cni", format!("no network configuration of Fathom's in {directory}"))
                .so("the runtime wires no pods: they stay in ContainerCreating")
                .then("apply the manifests, which put it there")
        }
        _ => Finding::info("cni", format!("no network configuration in {directory}")).so(
            "container runtimes wire no pods with Fathom; who calls the plugin by itself does not need it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Severity;

    #[test]
    fn the_first_file_that_is_understood_counts() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        let now = |served| examine(directory.path(), served);
        assert_eq!(now(false).severity, Severity::Info);
        assert_eq!(now(true).severity, Severity::Missing);
        write(
            "10-fathom.conflist",
            r#"{"name": "pods", "plugins": [{"type": "fathom-cni"}, {"type": "portmap"}]}"#,
        );
        write("05-notes.txt", "no configuration");
        write("01-broken.conf", "{");
        assert_eq!(now(true).severity, Severity::Ok);
        write("05-bridge.conf", r#"{"type": "bridge"}"#);
        let finding = now(false);
        assert_eq!(finding.severity, Severity::Missing);
        assert!(
            finding.what.ends_with("05-bridge.conf (bridge) comes first, before 10-fathom.conflist"),
            "{finding:?}"
        );
    }
}
