//! Pods with their node's network: their flows have their names, and the node's identity. Root only.

#![forbid(unsafe_code)]

mod support;

use std::time::Duration;

use fathom_api::flow::{Flow, Verdict};
use fathom_lab::Lab;
use fathom_lab::spec::{PodSpec, Protocol, ServiceSpec, Spec};
use support::want::Want;
use support::{Stream, answered, eventually, tools, unique};

const HOST: u32 = 1;
const SOON: Duration = Duration::from_secs(20);

fn lab() -> Lab {
    let spec = Spec::new(&unique("hostnet"), 1)
        .pod(PodSpec::new("exporter", "node-a").host_network().run(&["tcp-echo", "--listen", "[::]:9100"]))
        .pod(PodSpec::new("web", "node-a").label("app", "web").run(&["tcp-echo", "--listen", "[::]:7"]))
        .service(ServiceSpec::new("web", &[("app", "web")]).port("tcp", 80, 7, Protocol::Tcp));
    Lab::ephemeral(spec, tools()).unwrap()
}

fn source(flow: &Flow) -> (u32, String) {
    let source = flow.source.clone().unwrap_or_default();
    (source.identity, source.pod_name)
}

#[test]
fn what_a_host_network_pod_sends_has_its_name_and_what_its_node_sends_has_none() {
    let lab = lab();
    let stream = Stream::of_node(&lab, "node-a");
    let web = lab.pod("web").unwrap();
    let service = format!("{}:80", lab.service("default/web").unwrap()[0]);
    for (target, v6) in [(format!("{}:7", web.v4()), false), (format!("[{}]:7", web.v6()), true)] {
        eventually("a packet of the pod to have its name", || {
            let mark = stream.mark();
            answered(&lab, "exporter", &["tcp", &target]);
            stream.soon(mark, &Want::forwarded("exporter", "web").ingress().family(v6))
        });
        let mark = stream.mark();
        answered(&lab, "exporter", &["tcp", &target]);
        let flow = stream.see(mark, &Want::forwarded("exporter", "web").ingress().family(v6));
        assert_eq!(source(&flow), (HOST, "exporter".to_owned()));
        // Not the node itself.
        let mark = stream.mark();
        answered(&lab, "node-a", &["tcp", &target]);
        let of_the_node = |flow: &Flow| source(flow) == (HOST, String::new()) && flow.is_reply == Some(false);
        stream.follow().wait_for("a packet of the node itself", mark, SOON, of_the_node).unwrap();
    }

    // At the socket: which backend a service's client got.
    let mark = stream.mark();
    answered(&lab, "exporter", &["tcp", &service]);
    let translated = |flow: &Flow| flow.verdict() == Verdict::Translated && source(flow).1 == "exporter";
    let what = "the service's choice for the pod";
    stream.follow().wait_for(what, mark, SOON, translated).unwrap();

    // Its answers have its name too; what is sent to it goes to the node.
    let mark = stream.mark();
    answered(&lab, "web", &["tcp", &format!("{}:9100", lab.pod("exporter").unwrap().v4())]);
    stream.see(mark, &Want::forwarded("web", "reserved:host").egress());
    let answer = |flow: &Flow| flow.is_reply == Some(true) && source(flow).1 == "exporter";
    stream.follow().wait_for("an answer", mark, SOON, answer).unwrap();
}
