//! `abi.rs` says what `abi.h` says: every structure by the object's BTF, every list of numbers by
//! the header's text.

use std::any::type_name;
use std::collections::BTreeMap;
use std::mem::offset_of;

use fathom_bpf::abi;
use fathom_bpf::named;
use libbpf_rs::btf::types::MemberAttr;
use libbpf_rs::btf::types::Struct;
use libbpf_rs::btf::{Btf, BtfType};

const OBJECT: &str = env!("FATHOM_OBJECT");
const HEADER: &str = include_str!("../include/abi.h");

/// One field: name, offset, size.
type Field = (String, usize, usize);

fn size_of_field<S, F>(_: impl Fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Ports and addresses say their byte order in Rust; `match` is a keyword.
fn c_name(field: &str) -> String {
    match field {
        "match_type" => "match".into(),
        other => other.strip_suffix("_be").unwrap_or(other).into(),
    }
}

macro_rules! mirror {
    ($rust:ident = $c:literal { $($field:ident),* $(,)? }) => {
        ($c, size_of::<abi::$rust>(), type_name::<abi::$rust>(), vec![$((
            c_name(stringify!($field)),
            offset_of!(abi::$rust, $field),
            size_of_field(|value: &abi::$rust| &value.$field),
        )),*])
    };
}

fn mirrors() -> Vec<(&'static str, usize, &'static str, Vec<Field>)> {
    vec![
        mirror!(Event = "event" {
            version, kind, len, seq, time_ns, saddr, daddr, sport_be, dport_be, src_identity,
            dst_identity, ifindex, rule_id, handshake_us, cpu, proto, family, direction, obs_point,
            verdict, reason, ct_state, tcp_flags, icmp_type, icmp_code, flags, match_type, trigger,
            cookie, packets, service_id, bytes, smac, dmac, l3_proto_be, frontend_port_be,
        }),
        mirror!(L7Head = "l7_head" {
            conn, latency_ns, duration_ns, bytes, messages, exchange, detail, flags, status, code, version,
            proto, kind, method, texts, pad,
        }),
        mirror!(L7Text = "l7_text" { kind, flags, len, number }),
        mirror!(L7Header = "l7_header" { name, mask, label, len, pad }),
        mirror!(Endpoint = "endpoint" { identity, id, flags, ipv4_be, ipv6 }),
        mirror!(IpcacheLpmKey = "ipcache_lpm_key" { prefixlen, addr }),
        mirror!(IpcacheEntry = "ipcache_entry" { identity, flags }),
        mirror!(PolicyKey = "policy_key" { identity, direction, proto, port_plen, pad, port_be, pad2 }),
        mirror!(PolicyEntry = "policy_entry" { rule_id, plen_mask, verdict, flags, pad }),
        mirror!(ServiceKey = "service_key" { addr, port_be, proto, scope }),
        mirror!(Service = "service" { id, backend_set, backend_count, flags, affinity_s }),
        mirror!(BackendSlotKey = "backend_slot_key" { set, slot }),
        mirror!(Backend = "backend" { addr, port_be, proto, pad, service_id }),
        mirror!(Frontend = "frontend" { addr, port_be, proto, pad }),
        mirror!(AffinityKey = "affinity_key" { client, service_id, by_netns }),
        mirror!(Affinity = "affinity" { last_used_ns, backend_id, pad }),
        mirror!(SockRevKey = "sock_rev_key" { cookie, addr, port_be, pad }),
        mirror!(SockRev = "sock_rev" { addr, port_be, pad, backend_id }),
        mirror!(Ct4Key = "ct4_key" { local, remote, lport_be, rport_be, proto, kind, pad }),
        mirror!(Ct6Key = "ct6_key" { local, remote, lport_be, rport_be, proto, kind, pad }),
        mirror!(CtEntry = "ct_entry" {
            bytes, packets, last_report, last_seen, revision, remote_identity, rule_id, ifindex,
            service_id, syn_us, tcp_flags, flags, match_type,
        }),
        mirror!(NatKey = "nat_key" { src, dst, sport_be, dport_be, proto, kind, pad }),
        mirror!(NatEntry = "nat_entry" {
            addr, port_be, tcp_flags, pad, last_seen, service_id, backend_id,
        }),
        mirror!(Uplink = "uplink" { ipv4, ipv6 }),
        mirror!(EndedRequest = "ended_request" { family, pad, key }),
        mirror!(FragKey = "frag_key" { saddr, daddr, id, proto, family, ifindex_lo }),
        mirror!(FragPorts = "frag_ports" { sport_be, dport_be, tick }),
        mirror!(TrafficCounter = "traffic_counter" { packets, bytes }),
        mirror!(Runtime = "runtime" { revision, pad }),
    ]
}

fn size(ty: BtfType<'_>) -> usize {
    use libbpf_rs::HasSize as _;
    use libbpf_rs::btf::types::{Array, Int};
    let ty = ty.skip_mods_and_typedefs();
    if let Ok(array) = Array::try_from(ty) {
        return array.capacity() * size(array.contained_type());
    }
    Int::try_from(ty).map_or_else(|_| panic!("{ty:?} is no integer"), |int| int.size())
}

fn fields(structure: &Struct<'_>, btf: &Btf<'_>) -> Vec<Field> {
    structure
        .iter()
        .map(|member| {
            let MemberAttr::Normal { offset } = member.attr else { panic!("bit field {member:?}") };
            let ty = btf.type_by_id::<BtfType<'_>>(member.ty).expect("member type");
            let name = member.name.expect("a name").to_string_lossy().into_owned();
            (name, offset as usize / 8, size(ty))
        })
        .collect()
}

#[test]
fn every_structure_has_the_layout_of_the_c() {
    use libbpf_rs::HasSize as _;
    let btf = Btf::from_path(OBJECT).expect("the object's BTF");
    for (c, rust_size, rust, rust_fields) in mirrors() {
        let found: Option<Struct<'_>> = btf.type_by_name(c);
        let structure = found.unwrap_or_else(|| panic!("struct {c} is not in the BTF"));
        assert_eq!(structure.size(), rust_size, "size of struct {c} and {rust}");
        assert_eq!(fields(&structure, &btf), rust_fields, "struct {c} and {rust}");
    }
}

#[test]
fn every_structure_of_the_header_is_mirrored() {
    let mirrored: Vec<&str> = mirrors().iter().map(|mirror| mirror.0).collect();
    for line in HEADER.lines().filter(|line| line.starts_with("FATHOM_ASSERT_SIZE(struct ")) {
        let name = line.trim_start_matches("FATHOM_ASSERT_SIZE(struct ");
        let name = name.split(',').next().expect("a name");
        assert!(mirrored.contains(&name), "struct {name} has no mirror in abi.rs");
    }
}

/// The `X(NAME, number)` entries of one list of the header.
fn list(name: &str) -> BTreeMap<String, u32> {
    let start = HEADER.find(&format!("#define {name}(X)")).unwrap_or_else(|| panic!("no {name}"));
    let mut entries = BTreeMap::new();
    for line in HEADER[start..].lines().skip(1) {
        let entry = line.trim().strip_prefix("X(").and_then(|rest| rest.split_once(')'));
        let Some((entry, _)) = entry else { break };
        let (key, number) = entry.split_once(',').expect("name and number");
        entries.insert(key.trim().to_owned(), number.trim().parse().expect("a number"));
    }
    assert!(!entries.is_empty(), "{name} is empty");
    entries
}

macro_rules! constants {
    ($module:ident { $($name:ident),* $(,)? }) => {
        BTreeMap::from([$((stringify!($name).to_owned(), u32::from(abi::$module::$name))),*])
    };
}

#[test]
fn every_list_of_numbers_is_the_same() {
    assert_eq!(list("FATHOM_EVENT_KINDS"), constants!(kind { FLOW, SOCK, ENDED, L7 }));
    assert_eq!(list("FATHOM_DIRECTIONS"), constants!(direction { UNKNOWN, INGRESS, EGRESS }));
    assert_eq!(list("FATHOM_VERDICTS"), constants!(verdict { UNKNOWN, FORWARDED, DROPPED, TRANSLATED }));
    assert_eq!(
        list("FATHOM_OBS_POINTS"),
        constants!(obs_point { TO_ENDPOINT, TO_STACK, FROM_ENDPOINT, FROM_NETWORK, TO_NETWORK })
    );
    assert_eq!(
        list("FATHOM_L7_PROTOCOLS"),
        constants!(l7_protocol { NONE, HTTP1, HTTP2, DNS, KAFKA, TLS, QUIC, WEBSOCKET })
    );
    assert_eq!(list("FATHOM_L7_TYPES"), constants!(l7_type { UNKNOWN, REQUEST, RESPONSE, SAMPLE }));
    assert_eq!(
        list("FATHOM_L7_METHODS"),
        constants!(l7_method { OTHER, GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH })
    );
    assert_eq!(
        list("FATHOM_L7_TEXTS"),
        constants!(l7_text {
            PATH,
            HOST,
            METHOD,
            HEADER,
            TRACEPARENT,
            UPGRADE,
            DNS_NAME,
            DNS_A,
            DNS_AAAA,
            DNS_CNAME,
            DNS_OTHER,
            KAFKA_CLIENT,
            KAFKA_TOPIC,
            SNI,
            ALPN,
        })
    );
    assert_eq!(
        list("FATHOM_CT_STATES"),
        constants!(ct_state { UNKNOWN, NEW, ESTABLISHED, REPLY, RELATED, REOPENED })
    );
    assert_eq!(
        list("FATHOM_TRIGGERS"),
        constants!(trigger { NONE, NEW, FLAGS, CLOSE, TIMEOUT, INTERVAL, PACKET, DROP, REJUDGED })
    );
    assert_eq!(
        list("FATHOM_DROP_REASONS"),
        constants!(drop_reason {
            INVALID_SOURCE_IP,
            POLICY_DENIED,
            INVALID_PACKET,
            CT_TRUNCATED,
            CT_UNKNOWN_L4,
            UNSUPPORTED_L3,
            WRITE_ERROR,
            UNKNOWN_ICMP4_CODE,
            UNKNOWN_ICMP4_TYPE,
            UNKNOWN_ICMP6_CODE,
            UNKNOWN_ICMP6_TYPE,
            CSUM_L3,
            CSUM_L4,
            CT_INSERT_FAILED,
            INVALID_EXT_HEADER,
            FRAG_UNSUPPORTED,
            NO_BACKEND,
            NO_POLICY_CONFIG,
            UNSUPPORTED_L2,
            NAT_NO_MAPPING,
            NAT_UNSUPPORTED_PROTO,
            FRAG_NOT_FOUND,
            FORBIDDEN_ICMP6,
            POLICY_DENY,
            VLAN_FILTERED,
            EP_NOT_READY,
        })
    );
}

#[test]
fn every_number_has_a_name() {
    let unnamed = |text: String| text.starts_with("unknown ") && text != "unknown";
    for (name, number) in list("FATHOM_DROP_REASONS") {
        let number = u8::try_from(number).expect("a byte");
        let text = named::DropReason::from(number);
        assert!(!matches!(text, named::DropReason::Other(_)), "{name} has no name");
    }
    for (name, number) in list("FATHOM_TRIGGERS") {
        let text = named::Trigger::from(u8::try_from(number).expect("a byte")).to_string();
        assert!(!unnamed(text), "{name} has no name");
    }
    for (name, number) in list("FATHOM_CT_STATES") {
        let text = named::CtState::from(u8::try_from(number).expect("a byte")).to_string();
        assert!(!unnamed(text), "{name} has no name");
    }
}

#[test]
fn every_ledger_stage_is_the_same() {
    use abi::LedgerStage as S;
    // SCREAMING_CASE of the variant's name, as Debug prints it.
    let screaming = |stage: S| {
        let mut out = String::new();
        for c in format!("{stage:?}").chars() {
            if c.is_ascii_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_uppercase());
        }
        out
    };
    let stages = [
        S::PacketsSeen,
        S::PacketsAggregated,
        S::PacketsPassedUntracked,
        S::EventsEmitted,
        S::EventsLost,
        S::DropsEmitted,
        S::DropsLost,
        S::CtCreated,
        S::CtInsertFailed,
        S::CtExpired,
        S::CtRejudged,
        S::SockTranslated,
        S::SockNoBackend,
        S::TcTranslated,
        S::TcReversed,
        S::SockRevFailed,
        S::PacketsReported,
        S::EventsTimeout,
        S::SockEmitted,
        S::CtReplaced,
        S::L7Emitted,
        S::L7Lost,
        S::L7Requests,
        S::L7Responses,
        S::L7Opened,
        S::L7Evicted,
        S::L7Untracked,
        S::L7NotOurs,
        S::L7Gaps,
        S::L7Held,
        S::L7Repeated,
        S::L7Malformed,
        S::L7Unknown,
        S::L7Unmatched,
        S::UplinkEmitted,
        S::UplinkTranslated,
    ];
    let rust: BTreeMap<String, u32> =
        stages.into_iter().map(|stage| (screaming(stage), stage as u32)).collect();
    assert_eq!(list("FATHOM_LEDGER_STAGES"), rust);
}

/// The numbers of `#define NAME number` and `#define NAME (1 << bit)`.
fn defines() -> BTreeMap<&'static str, u32> {
    let mut found = BTreeMap::new();
    for line in HEADER.lines() {
        let Some((name, rest)) = line.strip_prefix("#define ").and_then(|rest| rest.split_once([' ', '\t']))
        else {
            continue;
        };
        let value = rest.split("/*").next().unwrap_or(rest).trim().trim_end_matches('U');
        let number = if let Some(bit) = value.strip_prefix("(1 << ").and_then(|rest| rest.strip_suffix(')')) {
            bit.parse().map(|bit: u32| 1 << bit)
        } else if let Some(hex) = value.strip_prefix("0x") {
            u32::from_str_radix(hex, 16)
        } else {
            value.parse()
        };
        if let Ok(number) = number {
            assert!(found.insert(name, number).is_none(), "{name} is defined twice");
        }
    }
    found
}

/// Numbers that only programs use, and those of the public policy match types.
const OF_THE_KERNEL_ALONE: [&str; 6] =
    ["CT_F_", "CT_KIND_", "CT_L7_", "LANE_", "MATCH_", "POLICY_VERDICT_NONE"];

#[test]
fn every_flag_and_single_number_is_the_same() {
    use abi::{flag, l7_dns_fault, l7_flag, l7_text_flag, policy_verdict};
    let rust = BTreeMap::from([
        ("FATHOM_ABI_VERSION", u32::from(abi::ABI_VERSION)),
        ("FATHOM_LEDGER_SLOTS", abi::LEDGER_SLOTS as u32),
        ("FATHOM_COUNTER_SLOTS", abi::COUNTER_SLOTS as u32),
        ("EVENT_F_REPLY", flag::REPLY.into()),
        ("EVENT_F_REPLY_KNOWN", flag::REPLY_KNOWN.into()),
        ("EVENT_F_FRAGMENT", flag::FRAGMENT.into()),
        ("EVENT_F_TRANSLATED", flag::TRANSLATED.into()),
        ("EVENT_F_POLICY", flag::POLICY.into()),
        ("EVENT_F_NO_L4", flag::NO_L4.into()),
        ("EVENT_F_LOCAL_HOST", flag::LOCAL_HOST.into()),
        ("EVENT_F_NO_IP", flag::NO_IP.into()),
        ("EVENT_F_SENDER", flag::SENDER.into()),
        ("EVENT_TRIGGER_LANE_DROPS", abi::TRIGGER_LANE_DROPS.into()),
        ("ENDPOINT_F_READY", abi::ENDPOINT_READY),
        ("ENDPOINT_F_L7_OFF", abi::ENDPOINT_L7_OFF),
        ("IPCACHE_F_L7_HERE", abi::IPCACHE_L7_HERE),
        ("L7_RECORD_MAX", abi::L7_RECORD_MAX as u32),
        ("L7_TEXT_MAX", abi::L7_TEXT_MAX as u32),
        ("L7_ANSWERS", abi::L7_ANSWERS as u32),
        ("L7_HEADERS", abi::L7_HEADERS as u32),
        ("L7_DNS_QUESTIONS", l7_dns_fault::QUESTIONS),
        ("L7_DNS_NAME", l7_dns_fault::NAME),
        ("L7_DNS_SHORT", l7_dns_fault::SHORT),
        ("TEXT_F_TRUNCATED", l7_text_flag::TRUNCATED.into()),
        ("TEXT_F_ID", l7_text_flag::ID.into()),
        ("L7_F_GRPC", l7_flag::GRPC.into()),
        ("L7_F_STREAMED", l7_flag::STREAMED.into()),
        ("L7_F_UNKNOWN", l7_flag::UNKNOWN.into()),
        ("L7_F_UNMATCHED", l7_flag::UNMATCHED.into()),
        ("L7_F_FIRST", l7_flag::FIRST.into()),
        ("L7_F_UPGRADED", l7_flag::UPGRADED.into()),
        ("L7_F_RESET", l7_flag::RESET.into()),
        ("L7_F_STATUS", l7_flag::STATUS.into()),
        ("L7_F_CODE", l7_flag::CODE.into()),
        ("L7_F_TRUNCATED", l7_flag::TRUNCATED.into()),
        ("L7_F_NO_REPLY", l7_flag::NO_REPLY.into()),
        ("L7_F_JOINED", l7_flag::JOINED.into()),
        ("L7_F_ENDED", l7_flag::ENDED.into()),
        ("L7_F_MALFORMED", l7_flag::MALFORMED.into()),
        ("L7_F_EDNS", l7_flag::EDNS.into()),
        ("POLICY_ANY_IDENTITY", abi::POLICY_ANY_IDENTITY),
        ("POLICY_META_IDENTITY", abi::POLICY_META_IDENTITY),
        ("POLICY_VERDICT_ALLOW", policy_verdict::ALLOW.into()),
        ("POLICY_VERDICT_DENY", policy_verdict::DENY.into()),
        ("POLICY_VERDICT_ENFORCED", policy_verdict::ENFORCED.into()),
        ("POLICY_F_HAS_DENY", abi::POLICY_F_HAS_DENY.into()),
        ("SERVICE_F_AFFINITY", abi::SERVICE_F_AFFINITY),
        ("SERVICE_F_LOCAL", abi::SERVICE_F_LOCAL),
        ("SERVICE_INSIDE", abi::service_scope::INSIDE.into()),
        ("SERVICE_OUTSIDE", abi::service_scope::OUTSIDE.into()),
        ("NAT_IN", abi::nat_kind::IN.into()),
        ("NAT_OUT", abi::nat_kind::OUT.into()),
        ("NAT_PORT_MIN", abi::NAT_PORTS.start.into()),
        ("NAT_PORT_COUNT", abi::NAT_PORTS.len() as u32),
        ("NET_F_INSIDE", abi::NET_INSIDE),
        ("NET_F_MASQUERADE", abi::NET_MASQUERADE),
    ]);
    let mut c = defines();
    c.retain(|name, _| !OF_THE_KERNEL_ALONE.iter().any(|prefix| name.starts_with(prefix)));
    assert_eq!(c, rust);
}
