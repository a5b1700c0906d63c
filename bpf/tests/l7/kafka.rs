//! Kafka: requests by API and version, topics behind partitions, responses with their error.

use fathom_bpf::abi::{LedgerStage, l7_flag, l7_protocol, l7_text, l7_text_flag, l7_type};

use crate::packet::Rig;
use crate::talk::{Side, Talk, Told};

const PRODUCE: u16 = 0;
const FETCH: u16 = 1;
const METADATA: u16 = 3;
const HEARTBEAT: u16 = 12;
const SASL_HANDSHAKE: u16 = 17;
const API_VERSIONS: u16 = 18;

/// The fields of a message, in the encoding of its version.
struct Fields {
    bytes: Vec<u8>,
    flexible: bool,
}

impl Fields {
    fn new(flexible: bool) -> Self {
        Self { bytes: Vec::new(), flexible }
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    fn i16(self, value: i16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn i32(self, value: i32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn i64(self, value: i64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn varint(mut self, mut value: u32) -> Self {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8)
    }

    /// A length or count: compact if the version is flexible, else of `width` bytes; negative = null.
    fn length(self, value: i32, width: usize) -> Self {
        match (self.flexible, width) {
            (true, _) => self.varint((value + 1) as u32),
            (false, 2) => self.i16(value as i16),
            _ => self.i32(value),
        }
    }

    fn string(self, text: &str) -> Self {
        self.length(text.len() as i32, 2).raw(text.as_bytes())
    }

    fn null_string(self) -> Self {
        self.length(-1, 2)
    }

    fn array(self, count: i32) -> Self {
        self.length(count, 4)
    }

    fn blob(self, len: usize) -> Self {
        self.length(len as i32, 4).raw(&vec![0xaa; len])
    }

    /// Tagged fields: none.
    fn tags(self) -> Self {
        if self.flexible { self.u8(0) } else { self }
    }

    /// Tagged fields: two of them.
    fn two_tags(self) -> Self {
        if self.flexible { self.raw(&[2, 0, 3, 1, 2, 3, 0x85, 1, 0]) } else { self }
    }
}

fn flexible(api: u16, version: u16) -> bool {
    version
        >= match api {
            PRODUCE | METADATA => 9,
            FETCH => 12,
            HEARTBEAT => 4,
            API_VERSIONS => 3,
            _ => u16::MAX,
        }
}

fn fields(api: u16, version: u16) -> Fields {
    Fields::new(flexible(api, version))
}

fn request(api: u16, version: u16, id: i32, client: Option<&str>, body: Fields) -> Vec<u8> {
    let mut head = Fields::new(false).i16(api as i16).i16(version as i16).i32(id);
    head = match client {
        Some(client) => head.string(client),
        None => head.null_string(),
    };
    head.flexible = flexible(api, version);
    let head = head.two_tags().raw(&body.bytes);
    Fields::new(false).blob_of(&head.bytes)
}

impl Fields {
    fn blob_of(self, bytes: &[u8]) -> Vec<u8> {
        self.i32(bytes.len() as i32).raw(bytes).bytes
    }
}

fn response(api: u16, version: u16, id: i32, body: Fields) -> Vec<u8> {
    let mut head = Fields::new(flexible(api, version) && api != API_VERSIONS).i32(id);
    head = head.tags().raw(&body.bytes);
    Fields::new(false).blob_of(&head.bytes)
}

fn produce(version: u16, id: i32, acks: i16, topics: &[(&str, &[usize])]) -> Vec<u8> {
    let mut body = fields(PRODUCE, version);
    if version >= 3 {
        body = body.string("transaction");
    }
    body = body.i16(acks).i32(30_000).array(topics.len() as i32);
    for (topic, partitions) in topics {
        body = if version >= 13 { body.raw(&uuid(topic)) } else { body.string(topic) };
        body = body.array(partitions.len() as i32);
        for (index, records) in partitions.iter().enumerate() {
            body = body.i32(index as i32).blob(*records).two_tags();
        }
        body = body.tags();
    }
    request(PRODUCE, version, id, Some("shop"), body.tags())
}

fn produced(version: u16, id: i32, topic: &str, error: i16) -> Vec<u8> {
    let body = fields(PRODUCE, version).array(1);
    let body = if version >= 13 { body.raw(&uuid(topic)) } else { body.string(topic) };
    let body = body.array(1).i32(7).i16(error).i64(0).i64(-1).i64(0);
    response(PRODUCE, version, id, body)
}

fn fetch(version: u16, id: i32, topics: &[(&str, usize)]) -> Vec<u8> {
    let mut body = fields(FETCH, version);
    if version <= 14 {
        body = body.i32(-1);
    }
    body = body.i32(500).i32(1);
    if version >= 3 {
        body = body.i32(1 << 20);
    }
    if version >= 4 {
        body = body.u8(0);
    }
    if version >= 7 {
        body = body.i32(11).i32(12);
    }
    body = body.array(topics.len() as i32);
    for (topic, partitions) in topics {
        body = if version >= 13 { body.raw(&uuid(topic)) } else { body.string(topic) };
        body = body.array(*partitions as i32);
        for index in 0..*partitions {
            body = body.i32(index as i32);
            if version >= 9 {
                body = body.i32(3);
            }
            body = body.i64(99);
            if version >= 12 {
                body = body.i32(4);
            }
            if version >= 5 {
                body = body.i64(0);
            }
            body = body.i32(1 << 16).tags();
        }
        body = body.tags();
    }
    request(FETCH, version, id, Some("reader"), body.tags())
}

/// A topic's id, made of its name.
fn uuid(topic: &str) -> [u8; 16] {
    let mut id = [0x11; 16];
    id[..topic.len()].copy_from_slice(topic.as_bytes());
    id
}

fn metadata(version: u16, id: i32, topics: Option<&[&str]>) -> Vec<u8> {
    let mut body = fields(METADATA, version).array(topics.map_or(-1, |topics| topics.len() as i32));
    for topic in topics.unwrap_or_default() {
        if version >= 10 {
            body = body.raw(&uuid(topic.trim_start_matches('#')));
        }
        body = if topic.starts_with('#') { body.null_string() } else { body.string(topic) };
        body = body.tags();
    }
    request(METADATA, version, id, None, body.u8(1).u8(0).tags())
}

fn metadata_answer(version: u16, id: i32, error: Option<i16>) -> Vec<u8> {
    let mut body = fields(METADATA, version);
    if version >= 3 {
        body = body.i32(0);
    }
    body = body.array(2);
    for node in 0..2 {
        body = body.i32(node).string("broker.example").i32(9092);
        if version >= 1 {
            body = body.null_string();
        }
        body = body.tags();
    }
    if version >= 2 {
        body = body.string("cluster");
    }
    if version >= 1 {
        body = body.i32(0);
    }
    body = match error {
        Some(error) => body.array(1).i16(error).string("orders").raw(&[0; 40]),
        None if version >= 13 => body.array(0).i16(0).tags(),
        None => body.array(0).i32(77),
    };
    response(METADATA, version, id, body)
}

fn api_versions(version: u16, id: i32) -> Vec<u8> {
    let body = fields(API_VERSIONS, version);
    let body = if version >= 3 { body.string("lib").string("1.0").tags() } else { body };
    request(API_VERSIONS, version, id, Some("shop"), body)
}

fn heartbeat(version: u16, id: i32) -> Vec<u8> {
    let body = fields(HEARTBEAT, version).string("group").i32(5).string("member");
    let body = if version >= 3 { body.null_string() } else { body };
    request(HEARTBEAT, version, id, Some("reader"), body.tags())
}

fn beaten(version: u16, id: i32, error: i16) -> Vec<u8> {
    let body = fields(HEARTBEAT, version);
    let body = if version >= 1 { body.i32(1234) } else { body };
    response(HEARTBEAT, version, id, body.i16(error).tags())
}

fn topics(told: &Told) -> Vec<String> {
    let of = |t: &(u8, u8, u32, Vec<u8>)| {
        let id = t.1 & l7_text_flag::ID != 0;
        let bytes: Vec<u8> = t.3.iter().copied().filter(|byte| *byte != 0x11).collect();
        format!("{}{}", if id { "#" } else { "" }, String::from_utf8_lossy(&bytes))
    };
    told.texts.iter().filter(|text| text.0 == l7_text::KAFKA_TOPIC).map(of).collect()
}

/// "7 0v9 shop orders,carts 2" of a request, "7 0v9 = Some(3)" of a response.
fn lines(told: &[Told]) -> Vec<String> {
    let line = |t: &Told| {
        assert_eq!(t.head.proto, l7_protocol::KAFKA);
        let api = if t.has(l7_flag::CODE) {
            format!("{}v{}", t.head.code, t.head.version)
        } else {
            "unmatched".into()
        };
        if t.head.kind == l7_type::RESPONSE {
            return format!("{} {api} = {:?}", t.head.exchange, t.status().map(|s| s as i16));
        }
        let client = t.text(l7_text::KAFKA_CLIENT).unwrap_or_else(|| "-".into());
        let cut = if t.has(l7_flag::TRUNCATED) { "+" } else { "" };
        format!("{} {api} {client} {} {}{cut}", t.head.exchange, topics(t).join(","), t.head.detail)
    };
    told.iter().map(line).collect()
}

#[test]
fn a_request_and_its_response() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(produce(9, 70_000, -1, &[("orders", &[50])])).server(produced(9, 70_000, "orders", 0));
    let told = talk.take();
    assert_eq!(lines(&told), ["70000 0v9 shop orders 1", "70000 0v9 = Some(0)"]);
    let [request, response] = &told[..] else { panic!("{told:#?}") };
    assert_eq!(request.head.conn, response.head.conn);
    assert!(response.head.latency_ns > 0 && response.head.duration_ns >= response.head.latency_ns);
    assert!(response.has(l7_flag::FIRST) && response.event.handshake_us > 0);
    assert!(!request.has(l7_flag::UNKNOWN) && !request.has(l7_flag::TRUNCATED));
    talk.client(heartbeat(3, 70_001)).server(beaten(3, 70_001, 27));
    let told = talk.take();
    assert_eq!(lines(&told), ["70001 12v3 reader  0", "70001 12v3 = Some(27)"]);
    assert!(!told[1].has(l7_flag::FIRST));
    assert_eq!(talk.counted(LedgerStage::L7Unmatched) + talk.counted(LedgerStage::L7Malformed), 0);
}

#[test]
fn every_version_of_produce() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    for version in 0..=13 {
        let topics: &[(&str, &[usize])] = &[("orders", &[10, 300]), ("carts", &[]), ("mail", &[1])];
        let name = |topic: &str| if version >= 13 { format!("#{topic}") } else { topic.to_string() };
        talk.client(produce(version, 5, 1, topics)).server(produced(version, 5, "orders", -1));
        let [a, b, c] = ["orders", "carts", "mail"].map(name);
        let request = format!("5 0v{version} shop {a},{b},{c} 3");
        assert_eq!(lines(&talk.take()), [request, format!("5 0v{version} = Some(-1)")]);
    }
}

#[test]
fn every_version_of_fetch() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    for version in 0..=18 {
        talk.client(fetch(version, 6, &[("orders", 3), ("carts", 1), ("mail", 2), ("rest", 1)]));
        let body = fields(FETCH, version);
        let body = if version >= 1 { body.i32(0) } else { body };
        let body = if version >= 7 {
            body.i16(70).i32(1)
        } else {
            body.array(1).string("orders").array(1).i32(0).i16(70)
        };
        talk.server(response(FETCH, version, 6, body));
        let name = |topic: &str| if version >= 13 { format!("#{topic}") } else { topic.to_string() };
        let [a, b, c] = ["orders", "carts", "mail"].map(name);
        let request = format!("6 1v{version} reader {a},{b},{c} 4+");
        assert_eq!(lines(&talk.take()), [request, format!("6 1v{version} = Some(70)")]);
    }
    talk.client(fetch(12, 7, &[]));
    assert_eq!(lines(&talk.take()), ["7 1v12 reader  0"]);
}

#[test]
fn every_version_of_metadata() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    for version in 0..=13 {
        talk.client(metadata(version, 1, Some(&["orders", "carts"])));
        talk.client(metadata(version, 2, None)).server(metadata_answer(version, 1, Some(3)));
        talk.server(metadata_answer(version, 2, None));
        let none = if version >= 13 { "Some(0)" } else { "None" };
        assert_eq!(
            lines(&talk.take()),
            [
                format!("1 3v{version} - orders,carts 2"),
                format!("2 3v{version} -  0"),
                format!("1 3v{version} = Some(3)"),
                format!("2 3v{version} = {none}"),
            ]
        );
    }
    talk.client(metadata(12, 3, Some(&["#orders", "carts"])));
    assert_eq!(lines(&talk.take()), ["3 3v12 - #orders,carts 2"]);
}

#[test]
fn api_versions_answers_have_no_tagged_fields_in_their_header() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    for version in 0..=4 {
        talk.client(api_versions(version, 1));
        talk.server(response(API_VERSIONS, version, 1, fields(API_VERSIONS, version).i16(35).array(0)));
        let all = [format!("1 18v{version} shop  0"), format!("1 18v{version} = Some(35)")];
        assert_eq!(lines(&talk.take()), all);
    }
}

#[test]
fn errors_are_found_where_their_api_has_them() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let rigid = || Fields::new(false);
    let compact = || Fields::new(true);
    let groups = |version: u16| if version >= 8 { 4 } else { 0 };
    let cases: Vec<(u16, u16, Fields, Option<i16>)> = vec![
        // OffsetFetch
        (9, 1, rigid().array(1).string("t").array(1).i32(0).i64(5).string("m").i16(3), Some(3)),
        (9, 5, rigid().i32(0).array(1).string("t").array(1).i32(0).i64(5).i32(1).string("m").i16(3), Some(3)),
        (9, 3, rigid().i32(0).array(0).i16(16), Some(16)),
        (9, 8, compact().tags().i32(groups(8)).array(1).string("g").array(0).i16(16), Some(16)),
        (9, 8, compact().tags().i32(0).array(1).string("g").array(1).string("t").array(0), None),
        // FindCoordinator
        (10, 0, rigid().i16(15), Some(15)),
        (10, 3, compact().tags().i32(0).i16(15), Some(15)),
        (10, 4, compact().tags().i32(0).array(1).string("g").i32(-1).string("").i32(-1).i16(15), Some(15)),
        // CreateTopics, DeleteTopics
        (19, 4, rigid().i32(0).array(1).string("t").i16(36), Some(36)),
        (19, 7, compact().tags().i32(0).array(1).string("t").raw(&[0; 16]).i16(36), Some(36)),
        (20, 6, compact().tags().i32(0).array(1).null_string().raw(&[0; 16]).i16(3), Some(3)),
        // OffsetForLeaderEpoch, OffsetCommit, DeleteRecords
        (23, 3, rigid().i32(0).array(1).string("t").array(1).i16(74), Some(74)),
        (8, 10, compact().tags().i32(0).array(1).raw(&[0; 16]).array(1).i32(0).i16(25), Some(25)),
        (21, 0, rigid().i32(0).array(1).string("t").array(1).i32(0).i64(9).i16(1), Some(1)),
        // WriteTxnMarkers, AlterPartitionReassignments, Envelope
        (27, 1, compact().tags().array(1).i64(1).array(1).string("t").array(1).i32(0).i16(47), Some(47)),
        (45, 0, compact().tags().i32(0).i16(41), Some(41)),
        (45, 1, compact().tags().i32(0).u8(1).i16(41), Some(41)),
        (58, 0, compact().tags().blob(700).i16(31), Some(31)),
        // InitProducerId, DescribeGroups, SaslAuthenticate
        (22, 4, compact().tags().i32(0).i16(53), Some(53)),
        (15, 0, rigid().array(1).i16(24), Some(24)),
        (36, 0, rigid().i16(58), Some(58)),
        // Behind other fields; newer than is known; broken off.
        (90, 0, compact().tags().i32(0).array(0), None),
        (22, 8, compact().tags().i32(0).i16(53), None),
        (10, 4, compact().tags().i32(0).array(1).string("group"), None),
    ];
    let count = cases.len();
    for (api, version, body, error) in cases {
        // Their bodies are of no interest: whatever follows the client id.
        let mut all = rigid().i16(api as i16).i16(version as i16).i32(9).null_string();
        all = all.raw(&[0; 8]);
        talk.client(rigid().blob_of(&all.bytes));
        let all = rigid().i32(9).raw(&body.bytes);
        talk.server(rigid().blob_of(&all.bytes));
        let told = talk.take();
        assert_eq!(lines(&told)[1..], [format!("9 {api}v{version} = {error:?}")]);
    }
    assert!(count > 20);
    assert_eq!(talk.counted(LedgerStage::L7Malformed), 0);
}

/// A dialogue that has a bit of all.
fn dialogue() -> (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<&'static str>) {
    let client = vec![
        api_versions(3, 0),
        metadata(12, 1, Some(&["orders", "carts"])),
        produce(9, 2, -1, &[("orders", &[40, 3]), ("carts", &[7])]),
        fetch(11, 3, &[("orders", 2), ("mail", 1)]),
        fetch(12, 4, &[("orders", 2), ("mail", 1)]),
        heartbeat(2, 5),
    ];
    let server = vec![
        response(API_VERSIONS, 3, 0, fields(API_VERSIONS, 3).i16(0).array(0).i32(0).tags()),
        metadata_answer(12, 1, Some(5)),
        produced(9, 2, "orders", 6),
        response(FETCH, 11, 3, fields(FETCH, 11).i32(0).i16(7).i32(0).array(0)),
        response(FETCH, 12, 4, fields(FETCH, 12).i32(0).i16(8).i32(0).array(0).tags()),
        beaten(2, 5, 9),
    ];
    let told = vec![
        "0 18v3 shop  0",
        "1 3v12 - orders,carts 2",
        "2 0v9 shop orders,carts 2",
        "3 1v11 reader orders,mail 2",
        "4 1v12 reader orders,mail 2",
        "5 12v2 reader  0",
        "0 18v3 = Some(0)",
        "1 3v12 = Some(5)",
        "2 0v9 = Some(6)",
        "3 1v11 = Some(7)",
        "4 1v12 = Some(8)",
        "5 12v2 = Some(9)",
    ];
    (client, server, told)
}

#[test]
fn several_in_one_segment_are_all_told() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let (client, server, told) = dialogue();
    talk.client(client.concat()).server(server.concat());
    assert_eq!(lines(&talk.take()), told);
    let many: Vec<u8> = (0..150).flat_map(|id| heartbeat(4, id)).collect();
    talk.client(&many);
    let told = talk.take();
    assert_eq!((told.len(), told[149].head.exchange), (150, 149));
    let many: Vec<u8> = (0..150).rev().flat_map(|id| beaten(4, id, 0)).collect();
    talk.server(&many);
    let told = talk.take();
    assert_eq!((told.len(), told[149].head.exchange), (150, 0));
    assert!(told.iter().all(|t| t.head.latency_ns > 0 && t.status() == Some(0)));
}

#[test]
fn cut_at_every_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    let (client, server, told) = dialogue();
    let (client, server) = (client.concat(), server.concat());
    for cut in 1..client.len() {
        let mut talk = Talk::open(&mut rig);
        talk.client(&client[..cut]).client(&client[cut..]).server(&server);
        assert_eq!(lines(&talk.take()), told, "cut at {cut}");
        talk.close();
    }
    for cut in 1..server.len() {
        let mut talk = Talk::open(&mut rig);
        talk.client(&client).server(&server[..cut]).server(&server[cut..]);
        assert_eq!(lines(&talk.take()), told, "cut at {cut}");
        talk.close();
    }
}

#[test]
fn byte_by_byte_it_is_the_same() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let (client, server, told) = dialogue();
    for byte in client.concat() {
        talk.client([byte]);
    }
    for byte in server.concat() {
        talk.server([byte]);
    }
    assert_eq!(lines(&talk.take()), told);
}

#[test]
fn topics_behind_large_records_are_reached() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let big = produce(8, 1, 1, &[("orders", &[20_000, 9_000]), ("carts", &[5_000]), ("mail", &[7])]);
    talk.client(&big[..3000]);
    assert!(talk.take().is_empty(), "the topics aren't all there");
    talk.client(&big[3000..]).client(heartbeat(0, 2));
    let all = ["1 0v8 shop orders,carts,mail 3", "2 12v0 reader  0"];
    assert_eq!(lines(&talk.take()), all);
    // One topic: told with its first segment.
    let big = produce(8, 3, 1, &[("orders", &[20_000])]);
    talk.client(&big[..100]);
    assert_eq!(lines(&talk.take()), ["3 0v8 shop orders 1"]);
    talk.client(&big[100..]).client(heartbeat(0, 4));
    assert_eq!(lines(&talk.take()), ["4 12v0 reader  0"]);
    // A segment of records that comes early, and one that is never seen, cost nothing.
    let big = produce(8, 5, 1, &[("orders", &[9_000]), ("carts", &[5])]);
    talk.client(&big[..1000]).out_of_turn(Side::Client, 1000, &big[2000..3000]);
    talk.moved(Side::Client, 2000).client(&big[3000..]).client(heartbeat(0, 6));
    assert_eq!(lines(&talk.take()), ["5 0v8 shop orders,carts 2", "6 12v0 reader  0"]);
    assert_eq!(talk.counted(LedgerStage::L7Gaps), 0);
}

#[test]
fn more_partitions_than_are_walked_are_said() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(produce(9, 1, 1, &[("orders", &[1; 65]), ("carts", &[1])]));
    talk.client(fetch(12, 2, &[("orders", 64), ("carts", 1)]));
    talk.client(fetch(11, 3, &[("orders", 200), ("carts", 100), ("mail", 1)]));
    assert_eq!(
        lines(&talk.take()),
        ["1 0v9 shop orders 2+", "2 1v12 reader orders,carts 2", "3 1v11 reader orders,carts,mail 3"]
    );
}

#[test]
fn no_answer_comes_where_none_is_asked_for() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(produce(7, 1, 0, &[("orders", &[10])])).client(produce(7, 2, 1, &[("orders", &[10])]));
    talk.server(produced(7, 2, "orders", 0));
    let told = talk.take();
    assert_eq!(lines(&told), ["1 0v7 shop orders 1", "2 0v7 shop orders 1", "2 0v7 = Some(0)"]);
    assert!(told[0].has(l7_flag::NO_REPLY) && !told[1].has(l7_flag::NO_REPLY));
}

#[test]
fn header_version_0_has_no_client_id() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(heartbeat(0, 1));
    let body = Fields::new(false).i16(7).i16(0).i32(2).i32(0x0001_4141);
    talk.client(Fields::new(false).blob_of(&body.bytes)).client(heartbeat(0, 3));
    let all = ["1 12v0 reader  0", "2 7v0 -  0", "3 12v0 reader  0"];
    assert_eq!(lines(&talk.take()), all);
}

#[test]
fn a_version_that_is_not_known_yet_says_so() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(fetch(20, 1, &[("orders", 1)])).client(heartbeat(4, 2));
    let told = talk.take();
    assert_eq!(lines(&told), ["1 1v20 reader  0", "2 12v4 reader  0"]);
    assert!(told[0].has(l7_flag::UNKNOWN) && !told[1].has(l7_flag::UNKNOWN));
}

#[test]
fn what_goes_beyond_its_message_is_unknown_and_the_next_is_found() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let bad = [
        fields(METADATA, 8).array(3).string("orders"),
        fields(METADATA, 8).array(1).i16(200).raw(b"short"),
        fields(METADATA, 8).array(1_000_000),
        fields(METADATA, 8).i32(-2),
    ];
    for body in bad {
        talk.client(request(METADATA, 8, 1, Some("shop"), body)).client(heartbeat(4, 2));
        let told = talk.take();
        assert_eq!(told.len(), 2, "{:?}", lines(&told));
        assert!(told[0].has(l7_flag::UNKNOWN) && told[1].head.exchange == 2);
    }
    assert_eq!(talk.counted(LedgerStage::L7Malformed), 0);
}

#[test]
fn what_is_no_kafka_is_left_alone_at_once() {
    let mut rig = Rig::reading();
    let request = heartbeat(0, 1);
    for (at, byte) in [(0, 0x7f), (3, 9), (4, 1), (5, 100), (6, 1), (7, 99), (12, 0xfe)] {
        let mut bytes = request.clone();
        bytes[at] = byte;
        let mut talk = Talk::open(&mut rig);
        talk.client(&bytes).client(&request).client(&request);
        assert!(talk.take().is_empty(), "{at}");
        let given_up = talk.counted(LedgerStage::L7NotOurs) + talk.counted(LedgerStage::L7Malformed);
        assert_eq!(given_up, 1, "{at}");
    }
}

#[test]
fn a_broken_header_ends_the_reading() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    let mut broken = heartbeat(0, 2);
    broken[5] = 120;
    talk.client(heartbeat(0, 1)).client(&broken).client(heartbeat(0, 3));
    assert_eq!(lines(&talk.take()), ["1 12v0 reader  0"]);
    assert_eq!(talk.counted(LedgerStage::L7Malformed), 1);
}

#[test]
fn answers_to_what_was_not_seen_say_so() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(heartbeat(4, 1)).server(beaten(4, 8, 0)).server(beaten(4, 1, 0));
    let told = talk.take();
    assert_eq!(lines(&told), ["1 12v4 reader  0", "8 unmatched = None", "1 12v4 = Some(0)"]);
    assert!(told[1].has(l7_flag::UNMATCHED) && told[1].head.latency_ns == 0);
    assert_eq!(talk.counted(LedgerStage::L7Unmatched), 1);
}

#[test]
fn requests_whose_connection_ends_are_told() {
    let mut rig = Rig::reading();
    for reset in [false, true] {
        let mut talk = Talk::open(&mut rig);
        // Other brokers' requests are counted with them.
        talk.client(heartbeat(4, 1)).client(heartbeat(4, 2)).client(heartbeat(0, 40)).server(beaten(4, 2, 0));
        assert_eq!(talk.take().len(), 4);
        if reset {
            talk.reset()
        } else {
            talk.close()
        };
        let told = talk.take();
        assert_eq!(lines(&told), ["1 12v4 = None", "40 12v0 = None"]);
        assert!(
            told.iter().all(|t| t.has(l7_flag::ENDED) && t.head.latency_ns == 0 && t.head.duration_ns > 0)
        );
    }
}

#[test]
fn a_response_whose_connection_ends_in_its_middle_is_told() {
    let mut rig = Rig::reading();
    let mut talk = Talk::open(&mut rig);
    talk.client(heartbeat(4, 1)).client(heartbeat(4, 2)).server(&beaten(4, 1, 7)[..12]).reset();
    let told = talk.take();
    assert_eq!(lines(&told[2..]), ["1 12v4 = None", "2 12v4 = None"]);
    assert!(told[2..].iter().all(|t| t.has(l7_flag::ENDED) && t.head.duration_ns > 0));
    // Once its error is there, it was told.
    let mut talk = Talk::open(&mut rig);
    let cut = beaten(4, 1, 7).len() - 1;
    talk.client(heartbeat(4, 1)).server(&beaten(4, 1, 7)[..cut]).reset();
    assert_eq!(lines(&talk.take()), ["1 12v4 reader  0", "1 12v4 = Some(7)"]);
}

#[test]
fn joined_in_its_middle_it_is_found_at_the_next_message() {
    let mut rig = Rig::reading();
    let mut talk = Talk::joined(&mut rig);
    talk.client([0xaa; 700]).server([0xbb; 900]).client(heartbeat(4, 1)).server(beaten(4, 1, 0));
    let told = talk.take();
    assert_eq!(lines(&told), ["1 12v4 reader  0", "1 12v4 = Some(0)"]);
    assert!(told.iter().all(|t| t.has(l7_flag::JOINED)));
}

#[test]
fn joined_in_its_middle_a_response_is_what_somebody_waits_for() {
    let mut rig = Rig::reading();
    let mut talk = Talk::joined(&mut rig);
    // The tail of a longer one, which has the look of one itself.
    talk.client(heartbeat(4, 1)).server(beaten(4, 9, 0)).server(beaten(4, 1, 0));
    assert_eq!(lines(&talk.take()), ["1 12v4 reader  0", "1 12v4 = Some(0)"]);
    // Found once, it is read on, whoever waits.
    talk.server(beaten(4, 9, 0));
    assert_eq!(lines(&talk.take()), ["9 unmatched = None"]);
}

/// Of HTTP/2 a frame of one byte and the beginning of a long one, but for flags that no frame has.
#[test]
fn joined_in_its_middle_a_request_that_looks_like_frames_is_none() {
    let mut rig = Rig::reading();
    let mut talk = Talk::joined(&mut rig);
    let mut request = b"\0\0\x01\x01\0\x0c\0\x04\xcd\x85\x06\xdc\0\x01e\0\0\0\x01".to_vec();
    request.resize(4 + 257, 0);
    talk.server(b"").client(request).server(beaten(4, 0xcd85_06dc_u32 as i32, 0));
    assert_eq!(lines(&talk.take()), ["3448047324 12v4 e  0", "3448047324 12v4 = Some(0)"]);

    // A CONTINUATION, and then what may be DATA.
    let mut talk = Talk::joined(&mut rig);
    let mut request = b"\0\0\x09\x09\0\x0c\0\x03\x83\0\0\x05\0\x02am\0\0\0\x75\x30\0\0\0\0\0\x01".to_vec();
    request.resize(4 + 0x0909, 0);
    talk.server(b"").client(request);
    assert_eq!(lines(&talk.take()), ["2197815301 12v3 am  0"]);
}

#[test]
fn tokens_after_the_first_sasl_handshake_are_not_read() {
    let mut rig = Rig::reading();
    for version in 0..2 {
        let mut talk = Talk::open(&mut rig);
        let body = || fields(SASL_HANDSHAKE, version);
        talk.client(request(SASL_HANDSHAKE, version, 1, Some("shop"), body().string("PLAIN")));
        talk.server(response(SASL_HANDSHAKE, version, 1, body().i16(0).array(1).string("PLAIN")));
        let all = [format!("1 17v{version} shop  0"), format!("1 17v{version} = Some(0)")];
        assert_eq!(lines(&talk.take()), all);
        talk.client(heartbeat(0, 2));
        assert_eq!(talk.take().len(), usize::from(version));
    }
}
