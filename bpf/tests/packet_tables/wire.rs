//! What test_run can't carry: frames on a real device, through attached programs.

use fathom_bpf::abi::{Event, LedgerStage, drop_reason as reason, flag};
use fathom_bpf::ring::Lane;
use fathom_bpf::testing::{self, Veth, in_new_netns};

use crate::packet::rig::assert_balanced;
use crate::packet::{Frame, PEER4, PEER6, POD4, POD6, Rig, SYN, at};

/// Sends frames both ways through attached programs; what the drop lane said of them, in order.
fn over_the_wire(frames: &[Vec<u8>]) -> Vec<Event> {
    in_new_netns(|| {
        let mut rig = Rig::new();
        let veth = Veth::new("wire").expect("a veth pair");
        rig.endpoint(veth.ifindex(), fathom_bpf::abi::ENDPOINT_READY);
        rig.datapath.attach_endpoint(veth.ifindex()).expect("attach");
        let before = rig.datapath.maps().ledger.read().expect("ledger");
        for frame in frames {
            veth.send_from_pod(frame).expect("send");
        }
        for frame in frames {
            veth.send_to_pod(frame).expect("send");
        }
        let step = rig.datapath.maps().ledger.read().expect("ledger").since(&before);
        let records = testing::drain(&mut rig.reader);
        assert_balanced(&step, &records);
        assert_eq!(step[LedgerStage::PacketsSeen], 2 * frames.len() as u64);
        records.into_iter().filter(|(lane, _)| *lane == Lane::Drops).map(|(_, event)| event).collect()
    })
}

#[test]
fn a_packet_that_breaks_off_in_its_ip_header_is_truncated() {
    let tcp4 = Frame::tcp(at(POD4, 1), at(PEER4, 2), SYN).build();
    let tcp6 = Frame::tcp(at(POD6, 1), at(PEER6, 2), SYN).build();
    let drops = over_the_wire(&[tcp4[..24].to_vec(), tcp4[..33].to_vec(), tcp6[..40].to_vec()]);
    assert_eq!(drops.len(), 6);
    for event in drops {
        assert_eq!(event.reason, reason::CT_TRUNCATED, "{event:?}");
        assert_eq!(event.flags, flag::NO_IP | flag::NO_L4);
        assert_eq!(event.verdict, fathom_bpf::abi::verdict::DROPPED);
    }
}

#[test]
fn a_tag_that_the_device_has_taken_off_is_still_a_tag() {
    let mut tagged = Frame::tcp(at(POD4, 1), at(PEER4, 2), SYN).build();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let drops = over_the_wire(&[tagged]);
    assert_eq!(drops.len(), 2);
    for event in drops {
        assert_eq!(event.reason, reason::VLAN_FILTERED, "{event:?}");
        assert_eq!(event.l3_proto_be, [0x81, 0]);
    }
}
