//! TLS as its clients begin.

use crate::dialogue::Dialogue;
use crate::generate::tls::{alpn, extension, hello, record, server_name};

fn tcp(name: &str) -> Dialogue {
    Dialogue::tcp(format!("TLS: {name}"), 443)
}

pub fn dialogues() -> Vec<Dialogue> {
    let names = [server_name(b"Web.Example.com"), alpn(&[b"h2", b"http/1.1"])].concat();
    let whole = hello(&[9; 32], 17, Some(&names));
    let shares = [extension(51, &[1; 1300]), names.clone(), extension(21, &[0; 400])].concat();
    let answer = record(22, &[2; 80]);
    let (first, rest) = whole.split_at(100);
    vec![
        tcp("a name and two protocols")
            .client(record(22, &whole))
            .server(&answer)
            .client(record(23, &[5; 50])),
        tcp("neither")
            .client(record(22, &hello(&[], 1, Some(&extension(10, &[0, 2, 0, 29])))))
            .server(&answer),
        tcp("no extensions").client(record(22, &hello(&[], 1, None))).server(&answer),
        tcp("no extension").client(record(22, &hello(&[], 1, Some(&[])))).server(&answer),
        tcp("large key shares before the name")
            .client(record(22, &hello(&[9; 32], 17, Some(&shares))))
            .server(&answer),
        tcp("a hello in two records").client([record(22, first), record(22, rest)].concat()).server(&answer),
        tcp("one protocol").client(record(22, &hello(&[], 3, Some(&alpn(&[b"postgresql"]))))).server(&answer),
        tcp("a name as long as it may be")
            .client(record(22, &hello(&[], 3, Some(&server_name(&[b'n'; 255])))))
            .server(&answer),
    ]
}
