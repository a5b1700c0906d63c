//! A connection without an end of its own is told to its last packet.

use std::net::UdpSocket;

use fathom_api::facts;
use fathom_api::flow::{Flow, FlowFilter};
use fathom_api::observer::GetFlowsRequest;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_api::observer::observer_client::ObserverClient;
use fathom_bpf::testing::in_new_netns;
use tonic::transport::Channel;

use super::node::{Node, get, until};

const DATAGRAMS: u64 = 20;

/// UDP flows towards the port, with their facts.
fn flows(port: u16) -> Vec<Flow> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_static("http://127.0.0.1:4244").connect().await.unwrap();
        let filter = FlowFilter { destination_port: vec![port.to_string()], ..FlowFilter::default() };
        let mut request =
            GetFlowsRequest { number: 1000, whitelist: vec![filter], ..GetFlowsRequest::default() };
        facts::ask(&mut request);
        let mut stream = ObserverClient::new(channel).get_flows(request).await.unwrap().into_inner();
        let mut flows = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            if let Some(ResponseTypes::Flow(flow)) = response.response_types {
                flows.push(flow);
            }
        }
        flows
    })
}

#[test]
fn every_datagram_is_in_some_flow_once_the_connection_is_over() {
    in_new_netns(|| {
        let mut node = Node::new();
        node.start();
        let web = node.add("web", "web");
        let client = node.add("client", "client");
        let server = web.inside(|| UdpSocket::bind("0.0.0.0:5300").unwrap());
        let asker = client.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        asker.connect((web.addresses[0], 5300)).unwrap();
        for _ in 0..DATAGRAMS {
            asker.send(b"data").unwrap();
        }
        drop(server);
        // Seen twice: where they leave one pod and where they enter the other.
        until("every datagram to be told", || {
            let told: u64 = flows(5300).iter().filter_map(facts::of).map(|facts| facts.packets).sum();
            if told == 2 * DATAGRAMS { Ok(()) } else { Err(format!("{told} of {}", 2 * DATAGRAMS)) }
        });
        assert!(get("/metrics").unwrap().contains("fathom_conntrack_entries"));
    });
}
