//! A running lab: brought up, changed, looked at, taken down.

mod agents;
mod api_server;
mod down;
mod events;
mod exec;
mod guard;
mod network;
mod pods;
mod policies;
mod processes;
mod relay;
mod state;
mod status;
mod tools;
mod up;
mod wiring;

use std::path::PathBuf;
use std::process::{Child, ChildStdin};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::layout::{LabName, Layout, Place};
use crate::objects::{Directory, Objects};
use crate::spec::{ObjectSource, Spec};

pub use api_server::{Account, Asked};
pub use down::{down, is_ephemeral, leftovers};
pub use events::{Follow, Source, flow_of};
pub use exec::{Output, Where};
pub use guard::guard;
pub use pods::Pod;
pub use status::{Status, names};
pub use tools::Tools;

use state::State;

/// A lab on this machine.
///
/// A lab made by [`Lab::ephemeral`] goes away when it is dropped, and also when its process ends in
/// any other way: tests may panic or be killed.
pub struct Lab {
    layout: Layout,
    tools: Tools,
    /// The lab's own cgroup.
    cgroup: PathBuf,
    objects: Objects,
    state: Mutex<State>,
    /// Processes this very process started: waited for, so that they do not stay as zombies.
    children: Mutex<Vec<Child>>,
    /// While it is open the guardian waits. `None` for labs that outlive their maker.
    guardian: Option<(Child, ChildStdin)>,
    runtime: tokio::runtime::Runtime,
}

impl Lab {
    /// Brings up a lab that stays after this process; up already with the same spec is done.
    ///
    /// # Errors
    /// What failed, with the log's end when it was a process; nothing is left behind then.
    pub fn up(spec: Spec, tools: Tools) -> Result<Self> {
        up::up(spec, tools, false)
    }

    /// Brings up a lab for the life of the returned value.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn ephemeral(spec: Spec, tools: Tools) -> Result<Self> {
        up::up(spec, tools, true)
    }

    /// A lab that is up already.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn attach(name: &str, tools: Tools) -> Result<Self> {
        let layout = Layout::new(&LabName::new(name)?);
        let state = State::read(&layout)?.with_context(|| format!("no lab named {name} is up"))?;
        Self::over(layout, tools, state)
    }

    fn over(layout: Layout, tools: Tools, state: State) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start an async runtime")?;
        let cgroup = crate::machine::cgroup::mount_point()?.join(layout.cgroup_name());
        let objects = match state.spec.source {
            ObjectSource::Directory => Objects::Directory(Directory::create(&layout.objects())?),
            ObjectSource::Kubernetes => Objects::Server(api_server::server(&layout)),
        };
        Ok(Self {
            layout,
            tools,
            cgroup,
            objects,
            state: Mutex::new(state),
            children: Mutex::new(Vec::new()),
            guardian: None,
            runtime,
        })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// A copy of the lab's spec as it is now.
    pub fn spec(&self) -> Spec {
        self.state().spec.clone()
    }

    /// Finds a place by what people call it: `node-a`, `internet`, `stream/chat-relay-0`, or a pod's
    /// name alone when only one pod has it.
    ///
    /// # Errors
    /// Lists what there is.
    pub fn place(&self, name: &str) -> Result<Place> {
        let state = self.state();
        let pods = || state.pods.keys();
        let place = match name {
            "underlay" => Some(Place::Underlay),
            "internet" => Some(Place::Internet),
            "control" => Some(Place::Control),
            node if state.spec.node(node).is_some() => Some(Place::Node(node.to_owned())),
            key if state.pods.contains_key(key) => Some(Place::Pod(key.to_owned())),
            short => {
                let mut matching = pods().filter(|key| key.split('/').nth(1) == Some(short));
                match (matching.next(), matching.next()) {
                    (Some(key), None) => Some(Place::Pod(key.clone())),
                    (Some(a), Some(b)) => bail!("{short} is ambiguous: {a}, {b}"),
                    _ => None,
                }
            }
        };
        let known = || {
            let nodes = state.spec.nodes.iter().map(|n| n.name.clone());
            nodes.chain(pods().cloned()).collect::<Vec<_>>().join(", ")
        };
        place.with_context(|| {
            format!("{name} is no place of lab {}: internet, control, {}", self.layout.name, known())
        })
    }

    /// The objects' directory, as agents see it, where objects are files.
    pub fn objects_dir(&self) -> PathBuf {
        self.layout.objects()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and writes it down.
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.state();
        let value = change(&mut state);
        state.write(&self.layout)?;
        Ok(value)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some((mut guardian, open)) = self.guardian.take() else { return };
        if let Err(error) = self.take_down() {
            eprintln!("fathom-lab: taking down {}: {error:#}", self.layout.name);
        }
        drop(open);
        let _ = guardian.wait();
    }
}
