//! Whether the kernel told what the reference reads.

use std::fmt::Write as _;

use fathom_bpf::abi::{l7_flag as flag, l7_protocol, l7_text, l7_type};

use crate::message::Message;

/// Those of one kind, in their order, by what is compared.
fn of_kind(messages: &[Message], kind: u8) -> Vec<Message> {
    messages.iter().filter(|message| message.kind == kind).map(Message::normal).collect()
}

/// The same requests, responses and others in the same order; counts in between where any are expected.
///
/// # Errors
/// Where they part.
pub fn same(expected: &[Message], told: &[Message]) -> Result<(), String> {
    let kinds = [
        ("request", l7_type::REQUEST),
        ("response", l7_type::RESPONSE),
        ("sample", l7_type::SAMPLE),
        ("record", l7_type::UNKNOWN),
    ];
    for (what, kind) in kinds {
        let (expected, told) = (of_kind(expected, kind), of_kind(told, kind));
        if kind == l7_type::SAMPLE && expected.is_empty() {
            continue;
        }
        let differs = (0..expected.len().max(told.len())).find(|n| expected.get(*n) != told.get(*n));
        if let Some(number) = differs {
            return Err(format!(
                "{what} {number} of {}\n  expected {:?}\n  told     {:?}",
                expected.len(),
                expected.get(number),
                told.get(number)
            ));
        }
    }
    Ok(())
}

/// Some of the requests and some of the responses, and nothing that wasn't said: what is asked for when
/// bytes are missing. They keep their order where nothing but it pairs them.
///
/// # Errors
/// What was told and never said.
pub fn part(expected: &[Message], told: &[Message]) -> Result<(), String> {
    for kind in [l7_type::REQUEST, l7_type::RESPONSE] {
        let mut expected = of_kind(expected, kind);
        for told in of_kind(told, kind) {
            // A response that was missed, or none.
            if told.has(flag::ENDED) {
                continue;
            }
            // The change to HTTP/2 is told with the response on its stream, but not when its request was missed.
            if told.status == 101 && told.has(flag::UPGRADED) && told.has(flag::UNMATCHED) {
                continue;
            }
            let Some(at) = expected.iter().position(|expected| said(expected, &told)) else {
                return Err(format!("never said, or not in this order\n  told     {told:?}"));
            };
            // A call is told when it ends, or when it begins to be answered if its request was missed.
            if told.proto != l7_protocol::HTTP2 {
                expected.drain(..=at);
            } else if !told.has(flag::UNKNOWN) && !told.has(flag::UNMATCHED) {
                // What nobody could tell from an interim response may be told before the response; a call whose
                // request comes late, when it begins to be answered and again when it ends.
                expected.remove(at);
            }
        }
    }
    Ok(())
}

/// Whether what was told of a message is true, as far as it is told. Numbers that count from the beginning
/// can't be the same.
fn said(expected: &Message, told: &Message) -> bool {
    // So does that of the request that changed to HTTP/2, whose response comes on stream 1 (RFC 7540 section 3.2).
    let counted = told.proto == l7_protocol::HTTP1
        || (expected.has(flag::UPGRADED) && (told.has(flag::UPGRADED) || told.exchange == 1));
    let same_number = counted || expected.exchange == told.exchange;
    // The status before a reset is no longer told once that has come.
    let reset = expected.has(flag::RESET) && !told.has(flag::RESET);
    same_number
        && expected.proto == told.proto
        && (told.status == 0 || reset || expected.status == told.status)
        && (told.code == 0 || expected.code == told.code)
        && end_of(expected.method_name(), told.method_name())
        && told.texts.iter().all(|text| text.kind == l7_text::METHOD || expected.texts.contains(text))
}

/// The end of a method is a method too, for who comes in its middle.
fn end_of(whole: Option<&[u8]>, end: Option<&[u8]>) -> bool {
    end.is_none_or(|end| whole.is_some_and(|whole| whole.ends_with(end)))
}

/// Both tellings, for people.
pub fn side_by_side(expected: &[Message], told: &[Message]) -> String {
    let mut text = String::new();
    for (what, messages) in [("expected", expected), ("told", told)] {
        let _ = writeln!(text, "{what}:");
        for message in messages {
            let _ = writeln!(text, "  {message:?}");
        }
    }
    text
}
