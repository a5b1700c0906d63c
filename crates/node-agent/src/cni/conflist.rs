//! The file that tells the container runtime to wire pods with Fathom's plugin.
//!
//! Runtimes take the first file of the directory, in the order of names. Ours is written once the agent is ready,
//! since from then on pods come here; other networks' files are renamed aside, so that none of them takes over
//! when ours is missing for a moment, and get their names back when Fathom leaves the node.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::http::Readiness;

const NAME: &str = "00-fathom.conflist";
/// What the names of other networks' files end with meanwhile.
const ASIDE: &str = ".fathom-aside";
/// Endings of the files that runtimes read.
const READ: [&str; 3] = ["conf", "conflist", "json"];
/// Time between looks at readiness, and later at the directory.
const LOOK: Duration = Duration::from_secs(1);

/// The directory, and what is written there.
#[derive(Clone, Debug)]
pub struct Conflist {
    pub directory: PathBuf,
    /// Where the plugin finds the agent, as the node sees it.
    pub run_dir: PathBuf,
}

impl Conflist {
    fn content(&self) -> String {
        // Runtimes that know `cniVersions` take the newest both know, older ones the first.
        let list = json!({
            "cniVersion": "1.0.0",
            "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
            "name": "fathom",
            "plugins": [{ "type": "fathom-cni", "runDir": self.run_dir }],
        });
        format!("{list:#}\n")
    }

    /// Waits until the agent is ready, then keeps the file as it should be, until told to stop. It stays then: pods
    /// of the meantime wait for the next agent.
    pub async fn keep(self, readiness: Readiness, stop: CancellationToken) {
        let mut said = String::new();
        let mut ready = false;
        loop {
            ready |= readiness.missing().is_empty();
            if ready {
                let list = self.clone();
                let written = tokio::task::spawn_blocking(move || list.install()).await;
                match written {
                    Ok(Ok(false)) => said.clear(),
                    Ok(Ok(true)) => {
                        said.clear();
                        tracing::info!(file = %self.directory.join(NAME).display(), "pods are wired here from now on");
                    }
                    Ok(Err(error)) => say(&mut said, format!("{error:#}")),
                    Err(error) => say(&mut said, error.to_string()),
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    /// Puts the file there and others aside; false: it was so.
    ///
    /// # Errors
    /// What could not be written or renamed.
    pub fn install(&self) -> anyhow::Result<bool> {
        let (target, content) = (self.directory.join(NAME), self.content());
        let there = fs::read_to_string(&target).is_ok_and(|text| text == content);
        if !there {
            fs::create_dir_all(&self.directory)
                .with_context(|| format!("make {}", self.directory.display()))?;
            replace(&target, &content).with_context(|| format!("write {}", target.display()))?;
        }
        // Ours is first by then: there is no moment without a network.
        let mut renamed = false;
        for other in self.others()? {
            let mut aside = other.clone().into_os_string();
            aside.push(ASIDE);
            fs::rename(&other, &aside).with_context(|| format!("rename {} aside", other.display()))?;
            tracing::info!(file = %other.display(), "another network's configuration is put aside");
            renamed = true;
        }
        Ok(!there || renamed)
    }

    /// Takes the file away and gives others their names back.
    ///
    /// # Errors
    /// What could not be removed or renamed.
    pub fn remove(&self) -> anyhow::Result<()> {
        for aside in self.files()? {
            let Some(name) = aside.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(original) = name.strip_suffix(ASIDE) else { continue };
            let original = self.directory.join(original);
            if original.exists() {
                // Written anew by whom it belongs to: that one counts.
                fs::remove_file(&aside).with_context(|| format!("remove {}", aside.display()))?;
            } else {
                fs::rename(&aside, &original).with_context(|| format!("rename {} back", aside.display()))?;
            }
        }
        let target = self.directory.join(NAME);
        match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", target.display()))
            }
            _ => Ok(()),
        }
    }

    fn others(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = self.files()?;
        files.retain(|path| {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            READ.contains(&ending) && path.file_name().is_some_and(|name| name != NAME)
        });
        Ok(files)
    }

    /// Files of the directory; none when there is no directory.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let context = || format!("list {}", self.directory.display());
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(context)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.with_context(context)?.path();
            if !path.is_dir() {
                files.push(path);
            }
        }
        Ok(files)
    }
}

/// Once, not every look.
fn say(said: &mut String, text: String) {
    if *said != text {
        tracing::warn!("the container runtime is not told of the plugin: {text}; trying again");
        *said = text;
    }
}

/// A reader finds the old content or the new one, never a part, also after a crash.
fn replace(target: &Path, content: &str) -> io::Result<()> {
    let directory = target.parent().unwrap_or(Path::new("."));
    // No runtime reads a name like that.
    let mut file = tempfile::Builder::new().prefix(".fathom-").suffix(".new").tempfile_in(directory)?;
    file.write_all(content.as_bytes())?;
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn list(directory: &Path) -> Conflist {
        Conflist { directory: directory.to_owned(), run_dir: "/run/fathom".into() }
    }

    #[test]
    fn other_networks_are_put_aside_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("00-aaa.conf"), "a").unwrap();
        fs::write(dir.path().join("10-flannel.conflist"), "b").unwrap();
        fs::write(dir.path().join("README"), "c").unwrap();
        let list = list(dir.path());
        assert!(list.install().unwrap());
        let aside =
            ["00-aaa.conf.fathom-aside", "00-fathom.conflist", "10-flannel.conflist.fathom-aside", "README"];
        assert_eq!(names(dir.path()), aside);
        assert!(!list.install().unwrap(), "nothing is left to do");

        // Its owner writes one again: aside with it; and at the end the newest content counts.
        fs::write(dir.path().join("10-flannel.conflist"), "newer").unwrap();
        assert!(list.install().unwrap());
        assert_eq!(names(dir.path()), aside);
        list.remove().unwrap();
        assert_eq!(names(dir.path()), ["00-aaa.conf", "10-flannel.conflist", "README"]);
        assert_eq!(fs::read_to_string(dir.path().join("10-flannel.conflist")).unwrap(), "newer");
        list.remove().unwrap();
        Conflist { directory: dir.path().join("none"), ..list }.remove().unwrap();
    }

    #[test]
    fn what_is_written_is_a_configuration_that_the_plugin_takes() {
        let dir = tempfile::tempdir().unwrap();
        Conflist { run_dir: "/nonexistent/run".into(), ..list(dir.path()) }.install().unwrap();
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        let mut whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        // What a runtime makes of it for the plugin: the plugin's part with name and version of the whole.
        let mut config = whole["plugins"][0].take();
        config["name"] = whole["name"].take();
        for version in whole["cniVersions"].as_array().unwrap() {
            config["cniVersion"] = version.clone();
            let environment = |name: &str| (name == "CNI_COMMAND").then(|| "STATUS".to_owned());
            // It understands all of it, and finds nobody where the configuration says.
            let outcome = fathom_cni::run(environment, config.to_string().as_bytes());
            assert!(!outcome.success && outcome.stdout.contains("/nonexistent/run/cni.sock"), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn it_is_written_when_the_agent_is_ready_and_again_when_somebody_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        readiness.wait_for("objects", "not listed yet");
        let keeping = tokio::spawn(list(dir.path()).keep(readiness.clone(), stop.clone()));
        tokio::time::sleep(LOOK + LOOK / 2).await;
        assert_eq!(names(dir.path()), Vec::<String>::new());
        readiness.reached("objects");
        let appears = async || {
            while names(dir.path()) != [NAME] {
                tokio::time::sleep(LOOK / 20).await;
            }
        };
        appears().await;
        fs::remove_file(dir.path().join(NAME)).unwrap();
        appears().await;
        stop.cancel();
        keeping.await.unwrap();
        assert_eq!(names(dir.path()), [NAME], "the next agent finds it");
    }
}
