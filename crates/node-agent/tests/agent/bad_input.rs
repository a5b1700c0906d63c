//! What nobody should save, send or run out of: it is named, and nothing else is affected.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fathom_api::flow::FlowFilter;
use fathom_api::observer::observer_client::ObserverClient;
use fathom_api::observer::{GetFlowsRequest, GetFlowsResponse};
use fathom_bpf::testing::{in_new_netns, unmount};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use tonic::Code;
use tonic::transport::Channel;

use super::node::{Node, echoed, get, until};
use super::{DENY, endpoint, is};

/// A file system with room for very few files.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("size=1m,nr_inodes=128")).unwrap();
        SmallDisk(at.to_owned())
    }

    fn filler(&self, n: usize) -> PathBuf {
        self.0.join(format!("filler-{n}"))
    }

    fn fill(&self) {
        let full = (0..).find_map(|n| File::create(self.filler(n)).err()).unwrap();
        assert_eq!(full.raw_os_error(), Some(nix::libc::ENOSPC), "{full}");
    }

    fn empty(&self) {
        for entry in fs::read_dir(&self.0).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("filler-") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

#[test]
fn a_full_disk_is_named_and_pods_do_not_feel_it() {
    in_new_netns(|| {
        let mut node = Node::new();
        let disk = SmallDisk::new(&node.run_dir());
        node.start();
        let web = node.add("web", "web");
        let client = node.add("client", "client");
        web.echo(8080);
        let live = client.connect(web.addresses[0], 8080, Duration::from_secs(1)).unwrap();

        // Under a start: the path is named, and the kernel goes on.
        node.end(Signal::SIGTERM);
        disk.fill();
        let said = node.refused();
        assert!(said.contains("hubble.sock") && said.contains("No space left on device"), "{said}");
        assert!(echoed(&live) && client.reaches(web.addresses[1], 8080));
        disk.empty();
        node.start();

        // Under a running agent: policy needs no disk; what does need it is refused by name or waits.
        disk.fill();
        node.save("policy.yaml", DENY);
        until("the policy to bite", || is(false, "reachable", client.reaches(web.addresses[0], 8080)));
        let mut late = node.unwired("late", "late");
        let refused = node.wire(&mut late).unwrap_err();
        assert!(refused.contains("No space left on device"), "{refused}");
        assert!(refused.contains(&node.run_dir().display().to_string()), "{refused}");
        let before = endpoint("client").unwrap().identity;
        node.save_pod("client", "friend");
        until("the log to name the registry", || {
            is(true, "named", node.log().contains("identities") && node.log().contains("No space left"))
        });
        assert_eq!(endpoint("client").unwrap().identity, before);
        assert!(!client.reaches(web.addresses[0], 8080));

        disk.empty();
        until("the label to count", || is(true, "reachable", client.reaches(web.addresses[0], 8080)));
        node.wire(&mut late).unwrap();
        assert_eq!(late.addresses.len(), 2);
    });
}

#[test]
fn a_file_that_is_no_manifest_is_named_by_line_and_its_neighbours_count() {
    in_new_netns(|| {
        let mut node = Node::new();
        node.save("a-broken.yaml", "kind: Pod\n  apiVersion: {v1\n");
        node.save("b-binary.yaml", "\u{0}\u{1}\u{feff}");
        node.save(
            "c-mixed.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n---\n\
             apiVersion: v1\nkind: Pod\nmetadata: {name: besides, labels: {app: web}}\nspec: {nodeName: n1}\n---\n\
             apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: nobody}\n\
             spec: {podSelector: {matchLabels: {app: no-such-app}}}\n",
        );
        node.start();
        let web = node.add("web", "web");
        let client = node.add("client", "client");
        web.echo(8080);
        assert!(client.reaches(web.addresses[0], 8080), "a policy that selects nothing denies nothing");
        for name in ["a-broken.yaml", "b-binary.yaml", "c-mixed.yaml"] {
            assert!(node.log().contains(name), "{name} is not named: {}", node.log());
        }
        let metrics = get("/metrics").unwrap();
        assert!(metrics.contains("fathom_objects_in_trouble 3"), "{metrics}");

        // A policy that can't be understood closes the pods it is about, and says so; others are not touched.
        let other = node.add("other", "other");
        other.echo(8080);
        node.save(
            "policy.yaml",
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: odd}\n\
             spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: 7}]}\n",
        );
        until("the odd policy to close", || is(false, "reachable", client.reaches(web.addresses[0], 8080)));
        assert!(client.reaches(other.addresses[0], 8080));
        assert!(node.log().contains("odd") && node.log().contains("policy.yaml"), "{}", node.log());
        fs::remove_file(node.objects().join("policy.yaml")).unwrap();
        until("its removal to open", || is(true, "reachable", client.reaches(web.addresses[0], 8080)));
    });
}

async fn flows(filter: FlowFilter) -> Result<Option<GetFlowsResponse>, tonic::Status> {
    let channel = Channel::from_static("http://127.0.0.1:4244").connect().await.unwrap();
    let request = GetFlowsRequest { number: 1, whitelist: vec![filter], ..GetFlowsRequest::default() };
    ObserverClient::new(channel).get_flows(request).await?.into_inner().message().await
}

#[test]
fn a_client_that_sends_nonsense_is_told_and_others_are_served() {
    in_new_netns(|| {
        let mut node = Node::new();
        node.start();
        let nonsense: [(&str, FlowFilter); 4] = [
            ("http_path", FlowFilter { http_path: vec!["(".into()], ..FlowFilter::default() }),
            ("source_ip", FlowFilter { source_ip: vec!["10.0.0.0/33".into()], ..FlowFilter::default() }),
            ("source_label", FlowFilter { source_label: vec!["in (,".into()], ..FlowFilter::default() }),
            ("dns_query", FlowFilter { dns_query: vec!["a{9999999}".into()], ..FlowFilter::default() }),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (field, filter) in nonsense {
                let refused = flows(filter).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
                assert!(refused.message().contains(field), "{field}: {refused}");
            }
        });
        // No HTTP/2 at all, cut off, and much of it: on the port of flows and on that of metrics.
        for port in [4244, 9965] {
            for garbage in [
                &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\xff\xff\xff\xff"[..],
                &[0xff; 1 << 16],
            ] {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let _ = stream.write_all(garbage);
                let _ = stream.shutdown(Shutdown::Write);
                let closed = stream.read_to_end(&mut Vec::new());
                assert!(
                    !matches!(&closed, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock),
                    "{port}: kept open"
                );
            }
        }
        runtime.block_on(async { flows(FlowFilter::default()).await }).expect("others are served");
        assert!(get("/healthz").unwrap().contains("200 OK"));
    });
}
