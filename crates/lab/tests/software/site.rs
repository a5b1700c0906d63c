//! The lab of these tests: a server's pod, a client's beside it and one on another node.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use fathom_lab::spec::{PodSpec, Spec};
use fathom_lab::{Lab, Output, Where};

use crate::support::{eventually, tools, unique};

/// Where the servers run.
pub const SERVER: &str = "server";
/// A client on the server's node: exchanges are told once, at the server's pod.
pub const NEAR: &str = "near";
/// A client on the other node: exchanges are told once on each.
pub const FAR: &str = "far";

pub const NODES: [&str; 2] = ["node-a", "node-b"];
/// Each client, and the nodes that tell of it.
pub const PLACEMENTS: [(&str, &[&str]); 2] = [(NEAR, &["node-a"]), (FAR, &["node-a", "node-b"])];

/// The lab, for one test at a time: books are kept per node.
pub struct Site {
    pub lab: &'static Lab,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for its turn.
pub fn site() -> Site {
    static LAB: OnceLock<Lab> = OnceLock::new();
    // Room for the fastest of these clients while a busy machine's follower waits for its turn.
    of(&LAB, "soft", &["--store-size=131072", "--ring-events=33554432"])
}

/// The smallest ring there is: one page, room for some ten messages.
pub fn small_ring() -> Site {
    static LAB: OnceLock<Lab> = OnceLock::new();
    of(&LAB, "ring", &["--store-size=131072", "--ring-events=4096"])
}

/// A store that a client's pause outlasts.
pub fn small_store() -> Site {
    static LAB: OnceLock<Lab> = OnceLock::new();
    of(&LAB, "store", &["--store-size=2048", "--ring-events=33554432"])
}

fn of(lab: &'static OnceLock<Lab>, kind: &str, arguments: &[&str]) -> Site {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = lab.get_or_init(|| {
        let pods = [(SERVER, "node-a"), (NEAR, "node-a"), (FAR, "node-b")];
        let spec = Spec::new(&unique(kind), 2);
        let spec = pods.iter().fold(spec, |spec, (pod, node)| spec.pod(PodSpec::new(pod, node)));
        let spec = arguments.iter().fold(spec, |spec, argument| spec.agent_arg(argument));
        Lab::ephemeral(spec, tools()).unwrap()
    });
    Site { lab, _turn: turn }
}

impl Site {
    /// The server's address.
    pub fn server(&self) -> IpAddr {
        self.lab.pod(SERVER).unwrap().v4()
    }

    /// A pod's address.
    pub fn address(&self, pod: &str) -> IpAddr {
        self.lab.pod(pod).unwrap().v4()
    }

    /// A directory that goes with the lab.
    pub fn directory(&self, name: &str) -> PathBuf {
        directory(self.lab, name)
    }

    /// Starts a server and waits until it accepts connections.
    #[track_caller]
    pub fn serve(&self, name: &str, program: &Path, line: &[&str], port: u16) -> Server<'_> {
        serve(self.lab, name, program, line, port)
    }

    /// What a command in a pod printed; it must succeed.
    #[track_caller]
    pub fn run(&self, place: &str, line: &[&str]) -> String {
        self.try_run(place, line).ok().unwrap_or_else(|e| panic!("{place}: {}: {e:#}", line.join(" ")))
    }

    #[track_caller]
    pub fn try_run(&self, place: &str, line: &[&str]) -> Output {
        self.lab.exec(place, Where::Inside, line).unwrap()
    }
}

/// A directory that goes with the lab.
pub fn directory(lab: &Lab, name: &str) -> PathBuf {
    let directory = lab.layout().dir.join("software").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A server that runs until it is dropped.
pub struct Server<'a> {
    lab: &'a Lab,
    name: String,
    pub process: fathom_lab::machine::process::Process,
}

#[track_caller]
pub fn serve<'a>(lab: &'a Lab, name: &str, program: &Path, line: &[&str], port: u16) -> Server<'a> {
    let process = lab.start_program(SERVER, name, program, line).unwrap();
    let server = Server { lab, name: name.to_owned(), process };
    // Over the pod's loopback device, where no program of ours looks.
    let local = format!("127.0.0.1:{port}");
    eventually(&format!("{name} to listen on {port}"), || {
        assert!(server.process.id.alive(), "{name} died: {}", server.process.tail(10));
        lab.probe(SERVER, Where::Inside, &["connect", &local]).unwrap().success
    });
    server
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.lab.stop_workload(&self.name) {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}
