//! DNS as resolvers and servers have it.

use fathom_bpf::abi::l7_dns_fault;

use crate::dialogue::{Dialogue, Transport};
use crate::generate::dns::{A, AAAA, CNAME, OPT, Writer, name};

const TXT: u16 = 16;

fn query(id: u16, host: &str, kind: u16) -> Writer {
    let mut writer = Writer::new(id, 0x0100, true);
    writer.question(&name(host), kind, 1);
    writer
}

fn response(id: u16, rcode: u16, host: &str, kind: u16) -> Writer {
    let mut writer = Writer::new(id, 0x8180 | rcode, true);
    writer.question(&name(host), kind, 1);
    writer
}

/// Over UDP and over TCP.
fn both(what: &str, parts: &[(bool, Vec<u8>)]) -> [Dialogue; 2] {
    let mut udp = Dialogue::udp(format!("DNS: {what}"), 53);
    let mut tcp = Dialogue { transport: Transport::Tcp, ..udp.clone() };
    for (client, bytes) in parts {
        let framed = [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        udp = if *client { udp.client(bytes) } else { udp.server(bytes) };
        tcp = if *client { tcp.client(framed) } else { tcp.server(framed) };
    }
    [udp, tcp]
}

/// Queries that are refused, each with the fault that is told of it and how many questions it asked.
pub fn refused() -> Vec<(Dialogue, u32, u16)> {
    let mut two = query(20, "a.example.com", A);
    two.question(&name("b.example.com"), A, 1);
    let header = [0, 21, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let itself = [&header[..], &[0xc0, 12, 0, 1, 0, 1]].concat();
    let ahead = [&header[..], &[0xc0, 30, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let reserved = [&header[..], &[0x41, b'a', 0, 0, 1, 0, 1]].concat();
    let mut long = header.to_vec();
    (0..5).for_each(|_| long.extend([&[63][..], &[b'x'; 63]].concat()));
    long.extend([0, 0, 1, 0, 1]);
    let whole = query(22, "broken.example.com", A).bytes;
    let faults = [
        ("two questions", two.bytes, l7_dns_fault::QUESTIONS, 2),
        ("a name that points to itself", itself, l7_dns_fault::NAME, 0),
        ("a name that points ahead", ahead, l7_dns_fault::NAME, 0),
        ("a label of a type that is reserved", reserved, l7_dns_fault::NAME, 0),
        ("a name of 320 octets", long, l7_dns_fault::NAME, 0),
        ("a name that breaks off", whole[..20].to_vec(), l7_dns_fault::SHORT, 0),
        ("no type", whole[..whole.len() - 4].to_vec(), l7_dns_fault::SHORT, 0),
    ];
    let each = faults.into_iter().flat_map(|(what, bytes, fault, questions)| {
        both(what, &[(true, bytes)]).map(|dialogue| (dialogue, fault, questions))
    });
    each.collect()
}

pub fn dialogues() -> Vec<Dialogue> {
    let web = "Web.Default.svc.Cluster.local";
    let mut all = Vec::new();

    let mut one = response(7, 0, web, A);
    one.record(1, &name(web), A, 30, |w| w.bytes.extend([10, 96, 0, 7]));
    all.extend(both("an address", &[(true, query(7, web, A).bytes), (false, one.bytes.clone())]));

    let mut six = response(8, 0, web, AAAA);
    six.record(1, &name(web), AAAA, 60, |w| w.bytes.extend([0xfd; 16]));
    let pair = [
        (true, query(7, web, A).bytes),
        (true, query(8, web, AAAA).bytes),
        (false, six.bytes),
        (false, one.bytes),
    ];
    all.extend(both("A and AAAA at once, answered the other way round", &pair));

    let mut chain = response(9, 0, "www.example.com", A);
    chain.record(1, &name("www.example.com"), CNAME, 300, |w| w.name(&name("cdn.example.net")));
    chain.record(1, &name("cdn.example.net"), CNAME, 60, |w| w.name(&name("edge.Example.net")));
    chain.record(1, &name("edge.Example.net"), A, 5, |w| w.bytes.extend([192, 0, 2, 1]));
    chain.record(1, &name("edge.Example.net"), A, 5, |w| w.bytes.extend([192, 0, 2, 2]));
    all.extend(both(
        "a chain of names",
        &[(true, query(9, "www.example.com", A).bytes), (false, chain.bytes)],
    ));

    let mut missing = response(10, 3, "nope.example.com", A);
    missing.record(2, &name("example.com"), 6, 900, |w| {
        w.name(&name("ns.example.com"));
        w.name(&name("admin.example.com"));
        w.bytes.extend([0; 20]);
    });
    all.extend(both(
        "a name that isn't there",
        &[(true, query(10, "nope.example.com", A).bytes), (false, missing.bytes)],
    ));

    for count in [0u8, 7, 8, 9, 30] {
        let mut many = response(11, 0, "many.example.com", A);
        for n in 0..count {
            many.record(1, &name("many.example.com"), A, n.into(), |w| w.bytes.extend([192, 0, 2, n]));
        }
        let what = format!("{count} answers");
        all.extend(both(&what, &[(true, query(11, "many.example.com", A).bytes), (false, many.bytes)]));
    }

    let mut asked = query(12, "edns.example.com", TXT);
    asked.record(3, &name(""), OPT, 0x8000, |_| ());
    let mut told = response(12, 0, "edns.example.com", TXT);
    told.record(1, &name("edns.example.com"), TXT, 1, |w| w.bytes.extend(b"\x05hello"));
    told.record(3, &name(""), OPT, 0x8000, |w| w.bytes.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]));
    all.extend(both("EDNS", &[(true, asked.bytes), (false, told.bytes)]));

    all.extend(both("the root", &[(true, query(13, "", 2).bytes), (false, response(13, 0, "", 2).bytes)]));
    all.extend(both("no answer", &[(true, query(14, web, A).bytes)]));
    let again = query(15, web, A).bytes;
    let answer = response(15, 0, web, A).bytes;
    all.extend(both(
        "asked twice",
        &[(true, again.clone()), (true, again), (false, answer.clone()), (false, answer)],
    ));
    all.extend(both(
        "an answer to nothing",
        &[(true, query(16, web, A).bytes), (false, response(17, 2, web, A).bytes)],
    ));

    let long = ["l".repeat(63), "o".repeat(63), "n".repeat(63), "g".repeat(61)].join(".");
    let mut names = response(18, 0, &long, CNAME);
    for n in 0..6 {
        // No end of these was written before: each takes its whole length in the record.
        let other = [format!("{n}").repeat(63), "x".repeat(63), "y".repeat(63), "z".repeat(60)].join(".");
        names.record(1, &name(&long), CNAME, n, |w| w.name(&name(&other)));
    }
    all.extend(both(
        "names as long as they may be",
        &[(true, query(18, &long, CNAME).bytes), (false, names.bytes)],
    ));
    let short = ["s"; 127].join(".");
    all.extend(both(
        "labels as many as there may be",
        &[(true, query(19, &short, A).bytes), (false, response(19, 0, &short, A).bytes)],
    ));
    all
}
