//! Notes the plugin leaves when a pod goes while the agent is away: `<run-dir>/released/<id>.<interface>`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::attachments::{AttachmentKey, Attachments};

/// How often notes are looked for: one is written only when the agent did not answer.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    container_id: String,
    interface: String,
}

/// Fulfils notes now and every few seconds until told to stop.
pub async fn follow(run_dir: PathBuf, attachments: Arc<Attachments>, stop: CancellationToken) {
    let directory = run_dir.join("released");
    loop {
        fulfil(&directory, &attachments);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Releases what the notes name, and removes them. A note that can't be understood is removed as well:
/// it will not become clearer.
fn fulfil(directory: &Path, attachments: &Attachments) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        // A name with a dot in front is still being written.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let Ok(text) = std::fs::read(&path) else { continue };
        match serde_json::from_slice::<Note>(&text) {
            Ok(note) => {
                let key = AttachmentKey { container_id: note.container_id, interface: note.interface };
                match attachments.release(&key) {
                    Ok(Some(attachment)) => {
                        let pod = format!("{}/{}", attachment.namespace, attachment.pod_name);
                        tracing::info!(pod, addresses = ?attachment.addresses, "addresses given back by a note");
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, "a released pod's record stays; trying again");
                        continue;
                    }
                }
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "no note of a released pod"),
        }
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a note that was fulfilled can't be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_fulfilled_and_removed_and_drafts_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let attachments = Attachments::open(dir.path(), Duration::ZERO).unwrap();
        attachments.set_prefixes(&["10.244.1.0/24".parse().unwrap()], Default::default());
        let key = AttachmentKey { container_id: "a".into(), interface: "eth0".into() };
        attachments.allocate(&key, "stream", "chat-relay-0", "/run/netns/a", &[], "node-a").unwrap();

        let notes = dir.path().join("released");
        std::fs::create_dir(&notes).unwrap();
        std::fs::write(notes.join("a.eth0"), r#"{"containerId":"a","interface":"eth0"}"#).unwrap();
        std::fs::write(notes.join("nonsense"), "{").unwrap();
        std::fs::write(notes.join(".draft"), "{").unwrap();
        fulfil(&notes, &attachments);
        assert!(attachments.get(&key).is_none());
        let left: Vec<_> = std::fs::read_dir(&notes).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [".draft"]);
        // Nothing there is nothing to do.
        fulfil(&dir.path().join("absent"), &attachments);
    }
}
