//! The tests: each protocol with its corpus, its generator and its reference.

use fathom_bpf::abi::{l7_flag, l7_protocol, l7_type};
use fathom_bpf::testing;

use crate::campaign::{Campaign, Protocol, seed, time};
use crate::dialogue::{Side, Transport};
use crate::message::Message;
use crate::packet::random::Random;
use crate::{corpus, generate, reference};

const HTTP1: Protocol = Protocol {
    name: "http1",
    corpus: corpus::http1::dialogues,
    generator: generate::http1::dialogue,
    reference: |dialogue| reference::http1::read(dialogue).messages(),
    anywhere: true,
};

const DNS: Protocol = Protocol {
    name: "dns",
    corpus: corpus::dns::dialogues,
    generator: generate::dns::dialogue,
    reference: |dialogue| reference::dns::read(dialogue).messages(),
    anywhere: false,
};

const HTTP2: Protocol = Protocol {
    name: "http2",
    corpus: corpus::http2::dialogues,
    generator: generate::http2::dialogue,
    reference: |dialogue| reference::http2::read(dialogue).messages(),
    anywhere: false,
};

const KAFKA: Protocol = Protocol {
    name: "kafka",
    corpus: corpus::kafka::dialogues,
    generator: generate::kafka::dialogue,
    reference: |dialogue| reference::kafka::read(dialogue).messages(),
    anywhere: false,
};

const WEBSOCKET: Protocol = Protocol {
    name: "websocket",
    corpus: corpus::websocket::dialogues,
    generator: generate::websocket::dialogue,
    reference: |dialogue| reference::websocket::read(dialogue).messages(),
    anywhere: true,
};

const TLS: Protocol = Protocol {
    name: "tls",
    corpus: corpus::tls::dialogues,
    generator: generate::tls::dialogue,
    reference: |dialogue| reference::tls::read(dialogue).messages(),
    anywhere: true,
};

/// Bytes of a dialogue's side that are cut at: in a long run each, but for bodies that go on and on.
fn most_cuts() -> usize {
    if time().as_secs() > 2 { 6000 } else { 15 }
}

/// The reference and the generator agree on what is there.
fn the_reference_reads_what_was_meant(protocol: Protocol) {
    let mut random = Random::new(seed());
    for _ in 0..50 * time().as_secs().clamp(1, 10) {
        let dialogue = (protocol.generator)(&mut random);
        let messages = (protocol.reference)(&dialogue);
        let of = |kind| {
            messages.iter().filter(|message| message.kind == kind && !message.has(l7_flag::ENDED)).count()
        };
        let meant = dialogue.meant.expect("a count");
        assert_eq!([of(l7_type::REQUEST), of(l7_type::RESPONSE)], meant, "{dialogue:?}\n{messages:#?}");
    }
}

fn corpus_arrives_whole_and_cut_anywhere(protocol: Protocol) {
    let mut campaign = Campaign::new(protocol);
    campaign.corpus(most_cuts());
    println!("seed none, {}, corpus: {}", protocol.name, campaign.tally());
}

fn any_dialogue_arrives_on_any_way(protocol: Protocol) {
    let mut campaign = Campaign::new(protocol);
    campaign.random_ways(&mut Random::new(seed()), time());
    println!("seed {}, {}: {}", seed(), protocol.name, campaign.tally());
}

fn long_segments_are_read_like_short_ones(protocol: Protocol) {
    testing::in_new_netns(|| {
        let mut campaign = Campaign::on_cable(protocol);
        campaign.long_ways(&mut Random::new(seed()), time() / 4);
        println!("seed {}, {}, long segments: {}", seed(), protocol.name, campaign.tally());
    });
}

fn a_missed_handshake_is_all_that_is_missed(protocol: Protocol) {
    let mut campaign = Campaign::new(protocol);
    campaign.joined_ways(&mut Random::new(seed()), time() / 4, false);
    println!("seed {}, {}, joined: {}", seed(), protocol.name, campaign.tally());
}

fn whoever_speaks_first_the_client_is_known(protocol: Protocol) {
    // Nothing comes before a hello: whoever sees it has seen its connection's beginning.
    if protocol.name == TLS.name {
        return;
    }
    let mut campaign = Campaign::new(protocol);
    campaign.joined_ways(&mut Random::new(seed()), time() / 4, true);
    println!("seed {}, {}, joined by the server: {}", seed(), protocol.name, campaign.tally());
}

fn nothing_is_told_that_was_not_said(protocol: Protocol) {
    let mut campaign = Campaign::new(protocol);
    campaign.broken_ways(&mut Random::new(seed()), time() / 4);
    println!("seed {}, {}, with losses: {}", seed(), protocol.name, campaign.tally());
}

fn no_bytes_break_the_programs(protocol: Protocol) {
    let mut campaign = Campaign::new(protocol);
    campaign.mutants(&mut Random::new(seed()), time() / 4);
    println!("seed {}, {}, mutants: {}", seed(), protocol.name, campaign.tally());
}

macro_rules! tests {
    ($name:ident, $protocol:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn the_reference_reads_what_was_meant() {
                super::the_reference_reads_what_was_meant($protocol);
            }

            #[test]
            fn the_corpus_arrives_whole_and_cut_anywhere() {
                corpus_arrives_whole_and_cut_anywhere($protocol);
            }

            #[test]
            fn any_dialogue_arrives_on_any_way() {
                super::any_dialogue_arrives_on_any_way($protocol);
            }

            #[test]
            fn long_segments_are_read_like_short_ones() {
                super::long_segments_are_read_like_short_ones($protocol);
            }

            #[test]
            fn a_missed_handshake_is_all_that_is_missed() {
                super::a_missed_handshake_is_all_that_is_missed($protocol);
            }

            #[test]
            fn whoever_speaks_first_the_client_is_known() {
                super::whoever_speaks_first_the_client_is_known($protocol);
            }

            #[test]
            fn nothing_is_told_that_was_not_said() {
                super::nothing_is_told_that_was_not_said($protocol);
            }

            #[test]
            fn no_bytes_break_the_programs() {
                super::no_bytes_break_the_programs($protocol);
            }
        }
    };
}

tests!(http1, HTTP1);
tests!(dns, DNS);
tests!(kafka, KAFKA);
tests!(http2, HTTP2);
tests!(websocket, WEBSOCKET);
tests!(tls, TLS);

#[test]
fn hundreds_of_messages_in_a_segment_are_all_told() {
    testing::in_new_netns(|| {
        let mut campaign = Campaign::on_cable(HTTP1);
        for count in [10, 100, 700] {
            campaign
                .one_long(&corpus::http1::crowd(count))
                .unwrap_or_else(|difference| panic!("{difference}"));
        }
    });
}

#[test]
fn questions_that_are_none_are_told_by_their_fault() {
    let mut campaign = Campaign::new(DNS);
    for (dialogue, fault, questions) in corpus::dns::refused() {
        let bytes = dialogue.stream(Side::Client);
        let header = if dialogue.transport == Transport::Tcp { &bytes[2..] } else { &bytes[..] };
        let id = u16::from_be_bytes([header[0], header[1]]);
        let mut expected = Message::request(l7_protocol::DNS, id.into()).with(l7_flag::MALFORMED);
        (expected.version, expected.detail, expected.code) = (0x0100, fault, questions);
        campaign.one(&dialogue, &[expected]).unwrap_or_else(|difference| panic!("{difference}"));
    }
}
