//! Requests of a producer and a consumer, and their answers, in flexible versions.

use std::iter::once;

/// Where the correlation id is in a request, and in a response.
pub const NUMBER_AT: [u16; 2] = [8, 4];

const TOPIC: &[u8] = b"orders";
/// Bytes of a batch of records.
const RECORDS: usize = 200;

/// Produce v9.
pub fn produce() -> Vec<u8> {
    let acks_and_timeout = [0xff, 0xff, 0, 0, 0x75, 0x30];
    let body =
        [vec![0], acks_and_timeout.to_vec(), one_of(named()), one_of(vec![0; 4]), records(), vec![0, 0, 0]];
    request(0, 9, &body.concat())
}

pub fn produced() -> Vec<u8> {
    let partition = [[0; 4 + 2].to_vec(), [0xff; 3 * 8].to_vec(), vec![1, 0, 0]].concat();
    let body = [one_of(named()), one_of(partition), vec![0], vec![0; 4], vec![0]];
    response(&body.concat())
}

/// Fetch v12.
pub fn fetch() -> Vec<u8> {
    let waits = [[0xff; 4], [0, 0, 1, 0xf4], [0, 0, 0, 1], [0, 0x10, 0, 0]].concat();
    let session = [0; 1 + 4 + 4];
    let partition = [0; 4 + 4 + 8 + 4 + 8 + 4 + 1];
    let nothing_to_forget = [1, 1, 0];
    let body = [
        waits,
        session.to_vec(),
        one_of(named()),
        one_of(partition.to_vec()),
        vec![0],
        nothing_to_forget.to_vec(),
    ];
    request(1, 12, &body.concat())
}

pub fn fetched() -> Vec<u8> {
    let partition = [[0; 4 + 2 + 3 * 8].to_vec(), vec![0], [0xff; 4].to_vec(), records(), vec![0]].concat();
    let body = [vec![0; 4 + 2 + 4], one_of(named()), one_of(partition), vec![0, 0]];
    response(&body.concat())
}

/// An array with this for its only element.
fn one_of(element: Vec<u8>) -> Vec<u8> {
    once(2).chain(element).collect()
}

fn named() -> Vec<u8> {
    once(TOPIC.len() as u8 + 1).chain(TOPIC.iter().copied()).collect()
}

/// Length and bytes, the length plus one in two bytes of seven bits.
fn records() -> Vec<u8> {
    let length = RECORDS + 1;
    [&[length as u8 | 0x80, (length >> 7) as u8][..], &[0xaa; RECORDS]].concat()
}

fn request(api: u8, version: u8, body: &[u8]) -> Vec<u8> {
    sized(&[&[0, api, 0, version, 0, 0, 0, 0, 0, 4][..], b"shop", &[0], body].concat())
}

fn response(body: &[u8]) -> Vec<u8> {
    sized(&[&[0; 5][..], body].concat())
}

fn sized(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], message].concat()
}
