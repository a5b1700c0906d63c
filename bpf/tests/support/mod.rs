//! A stage for the socket hooks: this process in a cgroup of its own, a thread in a network
//! namespace of its own, a datapath that acts on both.
#![allow(dead_code)] // each test file uses its part

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fathom_bpf::abi::Event;
use fathom_bpf::load::{Datapath, L7Mode, LoadConfig, Sizes};
use fathom_bpf::maps::{Scope, ServiceSpec};
use fathom_bpf::probe::Features;
use fathom_bpf::ring::{Lane, Reader};
use fathom_bpf::testing::{TempCgroup, drain, in_new_netns};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// A process is in one cgroup: one stage at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct Stage {
    pub datapath: Datapath,
    pub reader: Reader,
    cgroup: TempCgroup,
}

/// Runs a test with the hooks attached.
pub fn on_stage(test: impl FnOnce(&mut Stage) + Send) {
    with(|_, _| {}, test);
}

/// The same with other settings or a lesser kernel.
pub fn with(
    change: impl FnOnce(&mut LoadConfig, &mut Features) + Send,
    test: impl FnOnce(&mut Stage) + Send,
) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    in_new_netns(|| {
        let sizes = Sizes::small();
        let mut config = LoadConfig { l7: L7Mode::Off, sizes, ..LoadConfig::default() };
        let mut features = Features::probe();
        change(&mut config, &mut features);
        let datapath = Datapath::load_with(&config, features).expect("load (needs root)");
        let cgroup = TempCgroup::new().expect("a cgroup");
        datapath.attach_cgroup(cgroup.path()).expect("attach");
        cgroup.add(std::process::id()).expect("enter the cgroup");
        let reader = datapath.reader().expect("reader");
        let mut stage = Stage { datapath, reader, cgroup };
        test(&mut stage);
    });
}

impl Stage {
    pub fn cgroup_id(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        self.cgroup.path().metadata().expect("the cgroup").ino()
    }

    pub fn cgroup_path(&self) -> PathBuf {
        self.cgroup.path().to_owned()
    }

    pub fn service(&self, id: u32, frontend: SocketAddr, proto: u8, backends: &[SocketAddr]) {
        self.install(&spec(id, frontend, proto, backends));
    }

    pub fn install(&self, spec: &ServiceSpec) {
        self.datapath.maps().services.replace(spec).expect("replace the service");
    }

    /// How connect(2) fails without a backend: what this kernel lets a hook say.
    pub fn refusal(&self) -> io::ErrorKind {
        if self.datapath.features().set_retval {
            io::ErrorKind::ConnectionRefused
        } else {
            io::ErrorKind::PermissionDenied
        }
    }

    /// What arrived since the last call, drops first.
    pub fn events(&mut self) -> Vec<(Lane, Event)> {
        drain(&mut self.reader)
    }
}

pub fn spec(id: u32, frontend: SocketAddr, proto: u8, backends: &[SocketAddr]) -> ServiceSpec {
    ServiceSpec {
        id,
        address: frontend.ip(),
        port: frontend.port(),
        proto,
        scope: Scope::Inside,
        local: false,
        backends: backends.iter().map(|b| (b.ip(), b.port())).collect(),
        affinity: None,
    }
}

pub fn with_affinity(spec: ServiceSpec) -> ServiceSpec {
    ServiceSpec { affinity: Some(Duration::from_secs(3600)), ..spec }
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

/// `[::ffff:a.b.c.d]:port`: an IPv6 socket will be used to reach it.
pub fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), address.port()).into(),
        IpAddr::V6(_) => address,
    }
}
