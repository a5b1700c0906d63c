//! One node as a network namespace, its agent as a process, its pods as network namespaces.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fathom_bpf::testing::{TempBpffs, TempCgroup};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A node: everything it makes goes when it is dropped, also after a panic.
pub struct Node {
    pub dir: tempfile::TempDir,
    pub bpffs: TempBpffs,
    cgroup: TempCgroup,
    agent: Option<Child>,
}

/// A pod's network namespace.
pub struct Pod {
    pub name: String,
    netns: String,
    pub addresses: Vec<IpAddr>,
}

pub fn ip(arguments: &str) {
    let out = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(out.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Asks again and again; the last reason is in the panic.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match ask() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < deadline, "waited for {what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Node {
    /// Inside a network namespace of its own (`in_new_netns`).
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test loads programs: run it as root");
        ip("link add uplink type veth peer name far");
        ip("link set far up");
        ip("addr add 192.168.77.1/24 dev uplink");
        ip("addr add fd77::1/64 dev uplink nodad");
        ip("link set uplink up");
        let node = Node {
            dir: tempfile::tempdir().unwrap(),
            bpffs: TempBpffs::new().unwrap(),
            cgroup: TempCgroup::new().unwrap(),
            agent: None,
        };
        fs::create_dir(node.objects()).unwrap();
        node.save(
            "nodes.yaml",
            "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.99.1.0/24, 'fd99:1::/64']}\n\
             status: {addresses: [{type: InternalIP, address: 192.168.77.1}, {type: InternalIP, address: 'fd77::1'}]}\n\
             ---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\nspec: {podCIDRs: [10.99.2.0/24]}\n\
             status: {addresses: [{type: InternalIP, address: 192.168.77.2}]}\n",
        );
        node
    }

    pub fn objects(&self) -> PathBuf {
        self.dir.path().join("objects")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn save(&self, name: &str, text: &str) {
        fs::write(self.objects().join(name), text).unwrap();
    }

    fn command(&self) -> Command {
        Command::new(env!("CARGO_BIN_EXE_fathom-agent"))
    }

    /// Flags that say where this node's agent lives.
    fn place(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        vec![
            "--run-dir".into(),
            text(&self.run_dir()),
            "--bpffs".into(),
            text(self.bpffs.path()),
            "--instance".into(),
            "n1".into(),
        ]
    }

    pub fn start(&mut self) {
        self.launch();
        until("the agent to be ready", || {
            if let Some(status) = self.agent.as_mut().unwrap().try_wait().unwrap() {
                panic!("the agent ended with {status}: {}", self.log());
            }
            let body = get("/readyz")?;
            if body.contains("200 OK") { Ok(()) } else { Err(body + &self.log()) }
        });
    }

    /// Starts an agent that must give up; what it says then.
    pub fn refused(&mut self) -> String {
        let before = self.log().len();
        self.launch();
        let agent = self.agent.as_mut().unwrap();
        let status = until("the agent to give up", || {
            agent.try_wait().unwrap().ok_or_else(|| format!("it runs; ready: {:?}", get("/readyz")))
        });
        self.agent = None;
        let said = self.log().split_off(before);
        assert!(!status.success(), "{said}");
        said
    }

    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("agent.log")).unwrap();
        let small = "--ring-events 1048576 --map-conntrack 8192 --map-ipcache 4096 --map-services 1024 --map-backends 1024 \
                     --ct-timeout-any 1s --ended-interval 1s";
        let child = self
            .command()
            .args(self.place())
            .args(["--node-name", "n1", "--objects"])
            .arg(self.objects())
            .arg("--cgroup")
            .arg(self.cgroup.path())
            .args(small.split(' '))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default()
    }

    /// Ends the agent; its exit status.
    pub fn end(&mut self, signal: Signal) -> std::process::ExitStatus {
        let mut child = self.agent.take().expect("it runs");
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        child.wait().unwrap()
    }

    pub fn cleanup(&self) {
        let out = self.command().arg("cleanup").args(self.place()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Wires a pod as a container runtime does, with its object saved first.
    pub fn add(&self, name: &str, app: &str) -> Pod {
        let mut pod = self.unwired(name, app);
        self.wire(&mut pod).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        pod
    }

    /// A pod's object and network namespace, with nothing in it yet.
    pub fn unwired(&self, name: &str, app: &str) -> Pod {
        self.save_pod(name, app);
        let pod = Pod { name: name.into(), netns: unique_netns(name), addresses: Vec::new() };
        ip(&format!("netns add {}", pod.netns));
        pod
    }

    /// The plugin's ADD; its error's JSON.
    pub fn wire(&self, pod: &mut Pod) -> Result<(), String> {
        let result: serde_json::Value = serde_json::from_str(&self.cni("ADD", pod)?).unwrap();
        for entry in result["ips"].as_array().unwrap() {
            let address = entry["address"].as_str().unwrap().split('/').next().unwrap();
            pod.addresses.push(address.parse().unwrap());
        }
        Ok(())
    }

    pub fn save_pod(&self, name: &str, app: &str) {
        self.save(
            &format!("pod-{name}.yaml"),
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\n\
                 spec: {{nodeName: n1, containers: []}}\n"
            ),
        );
    }

    /// Asks the plugin; its answer on standard output, as an error when it failed.
    pub fn cni(&self, command: &str, pod: &Pod) -> Result<String, String> {
        let config =
            json!({ "cniVersion": "1.1.0", "name": "test", "type": "fathom-cni", "runDir": self.run_dir() });
        let netns = pod.path().display().to_string();
        let arguments = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={}", pod.name);
        let variable = |name: &str| {
            let value = match name {
                "CNI_COMMAND" => command,
                "CNI_CONTAINERID" => &pod.name,
                "CNI_NETNS" => &netns,
                "CNI_IFNAME" => "eth0",
                "CNI_ARGS" => &arguments,
                "CNI_PATH" => "/opt/cni/bin",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let outcome = fathom_cni::run(variable, config.to_string().as_bytes());
        if outcome.success { Ok(outcome.stdout) } else { Err(outcome.stdout) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.agent.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn unique_netns(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("fathom-agent-test-{}-{}-{name}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Pod {
    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns)
    }

    /// Runs on a thread inside the pod.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let netns = File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A listener that echoes the first bytes of every connection, for as long as the test runs.
    pub fn echo(&self, port: u16) {
        let listener = self.inside(|| TcpListener::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let mut buffer = [0; 64];
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..n]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }

    /// A connection from this pod, if there is one within a moment.
    pub fn connect(&self, to: IpAddr, port: u16, within: Duration) -> Option<TcpStream> {
        self.inside(|| TcpStream::connect_timeout(&SocketAddr::new(to, port), within).ok())
    }

    /// Whether one new connection from this pod is echoed.
    pub fn reaches(&self, to: IpAddr, port: u16) -> bool {
        self.connect(to, port, Duration::from_millis(700)).is_some_and(|stream| echoed(&stream))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.netns]).output();
    }
}

/// Whether bytes come back on a connection.
pub fn echoed(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut buffer = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut buffer).is_ok() && &buffer == b"ping"
}

/// The agent's HTTP answer, head and body.
pub fn get(path: &str) -> Result<String, String> {
    let connect = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9965")?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    connect().map_err(|error| error.to_string())
}
