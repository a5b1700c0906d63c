//! The relay over two nodes, one of which goes and comes back. Root only.

#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeSet;

use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::relay::NodeState;
use fathom_lab::spec::{PodSpec, Spec};
use fathom_lab::{Lab, Source};
use support::want::Want;
use support::{Stream, answered, eventually, tools, traces, unique};

#[test]
fn the_relay_shows_all_nodes_names_the_one_that_is_away_and_takes_it_back() {
    let echo = |name: &str, node: &str| PodSpec::new(name, node).run(&["tcp-echo", "--listen", "[::]:7"]);
    let spec = Spec::new(&unique("relay"), 2).pod(echo("a", "node-a")).pod(echo("b", "node-b")).with_relay();
    let lab = Lab::ephemeral(spec, tools()).unwrap();
    let to = |pod: &str| format!("{}:7", lab.pod(pod).unwrap().v4());
    let stream = Stream::of(&lab, &Source::Relay);

    let mark = stream.mark();
    answered(&lab, "a", &["tcp", &to("b")]);
    stream.see(mark, &Want::forwarded("a", "b").egress().at("node-a"));
    stream.see(mark, &Want::forwarded("a", "b").ingress().at("node-b"));
    eventually("the relay to see both nodes", || {
        lab.server_status(&Source::Relay).unwrap().num_connected_nodes == Some(2)
    });

    lab.stop_agent("node-b").unwrap();
    let missed = || {
        stream.follow().responses().into_iter().any(|response| match response.response_types {
            Some(ResponseTypes::NodeStatus(status)) => {
                status.state_change() != NodeState::NodeConnected
                    && status.node_names.iter().any(|n| n.ends_with("node-b"))
            }
            _ => false,
        })
    };
    eventually("the relay to name the node that is away", missed);
    // The node that is there is not held up, and the one that is not still forwards.
    let mark = stream.mark();
    answered(&lab, "a", &["tcp", &to("b")]);
    stream.see(mark, &Want::forwarded("a", "b").egress().at("node-a"));
    eventually("the relay's status to name it too", || {
        let status = lab.server_status(&Source::Relay).unwrap();
        status.num_unavailable_nodes == Some(1)
            && status.unavailable_nodes.iter().any(|n| n.ends_with("node-b"))
    });

    lab.start_agent("node-b").unwrap();
    eventually("the node to be seen again", || {
        let mark = stream.mark();
        answered(&lab, "a", &["tcp", &to("b")]);
        stream.soon(mark, &Want::forwarded("a", "b").ingress().at("node-b"))
    });

    // Asked without following: both nodes, in the order of time, as many as were asked for.
    let request = GetFlowsRequest { number: 20, ..Default::default() };
    let responses = lab.flows(&Source::Relay, request).unwrap();
    let flows: Vec<_> = responses.into_iter().filter_map(fathom_lab::flow_of).collect();
    let nodes: BTreeSet<_> = flows.iter().map(|f| f.node_name.clone()).collect();
    assert_eq!((flows.len(), nodes.len()), (20, 2), "{nodes:?}");
    let times: Vec<_> = flows.iter().map(|f| f.time.as_ref().map(|t| (t.seconds, t.nanos))).collect();
    assert!(times.is_sorted(), "{times:?}");

    // Programs are pinned, and yet nothing of it stays.
    let name = lab.layout().name.clone();
    drop(stream);
    assert!(!traces(&name).is_empty());
    drop(lab);
    assert_eq!(traces(&name), Vec::<String>::new());
}
