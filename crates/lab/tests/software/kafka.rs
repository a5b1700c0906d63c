//! Kafka: the lab's broker and its log; kcat, confluent-kafka and aiokafka, and theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fathom_api::flow::L7FlowType;

use crate::books::{Books, Page};
use crate::broker::{self, Account, Answer, Broker, LARGEST, Logged, PORT, TOPICS};
use crate::log::{self, Log, same_lines};
use crate::message::{Exchange, exchanges};
use crate::program::{python, times, word};
use crate::site::{NODES, PLACEMENTS, Site, site};

/// What an older broker speaks: as Kafka 1.0, from before versions were negotiated in the flexible way.
const OLD: [&str; 11] = [
    "ApiVersions=1",
    "Produce=3",
    "Fetch=6",
    "ListOffsets=1",
    "Metadata=4",
    "OffsetCommit=3",
    "OffsetFetch=3",
    "JoinGroup=2",
    "SyncGroup=1",
    "Heartbeat=1",
    "LeaveGroup=1",
];

#[test]
fn a_broker_and_kcat_agree_with_the_flows() {
    kcat(&[]);
}

#[test]
fn an_older_broker_and_kcat_agree_with_the_flows() {
    kcat(&OLD);
}

#[test]
fn a_broker_and_confluents_client_agree_with_the_flows() {
    confluent(&[]);
}

#[test]
fn an_older_broker_and_confluents_client_agree_with_the_flows() {
    confluent(&OLD);
}

#[test]
fn a_broker_and_aiokafka_agree_with_the_flows() {
    aiokafka(&[]);
}

#[test]
fn an_older_broker_and_aiokafka_agree_with_the_flows() {
    aiokafka(&OLD);
}

fn kcat(limits: &[&str]) {
    let site = site();
    let broker = broker::start(&site, limits);
    let home = site.directory("kcat");
    let count = times(200);
    let file = |name: &str, lines: &mut dyn Iterator<Item = String>| {
        let file = home.join(name);
        std::fs::write(&file, lines.map(|line| line + "\n").collect::<String>()).unwrap();
        file.display().to_string()
    };
    let messages = file("messages", &mut (0..count).map(|n| format!("message {n}")));
    let too_large = file("too-large", &mut [("x".repeat(2 * LARGEST))].into_iter());
    let kcat = word("kcat");
    against_broker(&site, &broker, |place, account| {
        // Of each client pod there are as many messages again.
        let at = format!("{}:{PORT}", site.server());
        let mut run = |name: &str, line: &[&str]| {
            let head = [kcat.as_str(), "-b", &at, "-d", "protocol", "-X", "fetch.wait.max.ms=100", "-X"];
            let name = format!("client.id={name}");
            let output = site.try_run(place, &[&head[..], &[&name], line].concat());
            account.librdkafka(&output.stderr);
            (output.success, output.stdout, output.stderr)
        };
        let mut good = |name: &str, line: &[&str]| {
            let (success, stdout, stderr) = run(name, line);
            assert!(success, "kcat {}: {stderr}", line.join(" "));
            stdout
        };
        let mine = format!("{place}-topic");
        let known = good("lister", &["-L"]);
        assert!(
            TOPICS.iter().all(|topic| known.contains(&format!("\"{topic}\" with 3 partitions"))),
            "{known}"
        );
        good("lister", &["-L", "-t", "users"]);
        for (acks, codec) in [("0", "none"), ("1", "gzip"), ("all", "lz4"), ("all", "zstd"), ("1", "snappy")]
        {
            let acks = format!("acks={acks}");
            // Batches of at most 20.
            let line =
                ["-P", "-t", &mine, "-X", &acks, "-z", codec, "-X", "batch.num.messages=20", "-l", &messages];
            good("kcat-producer", &line);
        }
        let total = 5 * count;
        let lines = |text: String| text.lines().count();
        assert_eq!(lines(good("kcat-consumer", &["-C", "-q", "-e", "-t", &mine])), total);
        assert_eq!(lines(good("", &["-C", "-q", "-e", "-t", &mine, "-o", "-1", "-p", "0"])), 1);
        let offsets = good("asker", &["-Q", "-t", &format!("{mine}:0:-1"), "-t", &format!("{mine}:1:-2")]);
        assert_eq!(lines(offsets), 2);
        let group = format!("{place}-group");
        let earliest = "auto.offset.reset=earliest";
        let line =
            ["-q", "-e", "-X", earliest, "-G", &group, &mine, "orders", "payments", "shipments", "users"];
        let (found, again) = (good("kcat-member", &line), good("kcat-member", &line));
        assert_eq!((lines(found), lines(again)), (total, 0), "what is committed does not come again");
        // What is refused.
        let mut bad = |name: &str, line: &[&str]| {
            let (success, stdout, stderr) = run(name, line);
            assert!(!success, "kcat {}: {stdout}{stderr}", line.join(" "));
        };
        let large = [
            "-P",
            "-t",
            &mine,
            "-X",
            "message.max.bytes=1000000",
            "-X",
            "compression.codec=none",
            &too_large,
        ];
        bad("large", &large);
        let unknown = ["-C", "-e", "-X", "allow.auto.create.topics=false", "-t", "no-such-topic"];
        bad("unknown", &unknown);
    });
}

fn confluent(limits: &[&str]) {
    in_python(limits, "confluent", CONFLUENT, Account::librdkafka);
}

fn aiokafka(limits: &[&str]) {
    in_python(limits, "aiokafka", AIOKAFKA, Account::aiokafka);
}

const CONFLUENT: &str = include_str!("kafka_confluent.py");
const AIOKAFKA: &str = include_str!("kafka_aiokafka.py");

/// A script that produces to all topics and consumes all of it by a group of two, and tells its counts.
fn in_python(limits: &[&str], name: &str, script: &str, read: fn(&mut Account, &str)) {
    let site = site();
    let broker = broker::start(&site, limits);
    let file = site.directory(name).join("client.py");
    std::fs::write(&file, script).unwrap();
    let (python, file) = (python().display().to_string(), file.display().to_string());
    let count = times(60);
    let mut already = 0;
    against_broker(&site, &broker, |place, account| {
        let at = format!("{}:{PORT}", site.server());
        let name = format!("{place}-{name}");
        let line = [&python, &file, &at, &name, &count.to_string(), &already.to_string()];
        already += 3 * count;
        let output = site.try_run(place, &[&line.map(String::as_str)[..], &TOPICS].concat());
        assert!(output.success, "{place}: {}\n{}", output.stdout, output.stderr);
        read(account, &output.stderr);
    });
}

/// Runs clients in a pod beside the server and in one on another node, and has what every node told compared
/// with the broker's log, and with what the clients logged.
#[track_caller]
fn against_broker(site: &Site, broker: &Broker<'_>, mut clients: impl FnMut(&str, &mut Account)) {
    for (place, nodes) in PLACEMENTS {
        let books: Vec<Books> = NODES.map(|node| Books::open(site.lab, node)).into();
        let mut account = Account::default();
        clients(place, &mut account);
        let address = site.address(place);
        for book in books {
            let told_here = nodes.contains(&book.node());
            // The broker writes its log after it has answered.
            let page = book.close(place, |counts| {
                let logged = broker.logged(address);
                let answers = logged.iter().filter(|logged| logged.answer != Answer::Unwanted).count() as u64;
                let all = counts.get("requests") == logged.len() as u64 && counts.get("responses") >= answers;
                !told_here || (answers > 0 && all)
            });
            page.is_complete();
            if !told_here {
                assert!(page.messages.is_empty(), "{}: {:?}", page.node, page.messages);
                continue;
            }
            log::same(&page.node, &by_connection(&broker.logged(address)), &told(&page), 0);
            same_account(&format!("{place} at {}", page.node), &page, &account);
        }
    }
}

fn by_connection(logged: &[Logged]) -> Log {
    let mut log = Log::new();
    logged.iter().for_each(|logged| log.entry(logged.client).or_default().push(logged.words()));
    log
}

/// What a node told, per connection.
#[track_caller]
fn told(page: &Page) -> Log {
    let mut log = Log::new();
    for exchange in exchanges(&page.messages).values() {
        let asked = exchange.asked();
        assert_eq!(asked.server.port(), PORT, "{asked:?}");
        log.entry(asked.client).or_default().push(words(exchange));
    }
    log
}

/// An exchange as [`Logged::words`] has it.
#[track_caller]
#[allow(deprecated)] // by Hubble, which stopped reading Kafka; the message stayed
fn words(exchange: &Exchange) -> String {
    let asked = exchange.asked();
    let (kafka, facts) = (asked.kafka(), asked.facts.kafka.clone().expect("facts of Kafka"));
    assert_eq!(kafka.correlation_id as u32, asked.facts.exchange, "{asked:?}");
    assert_eq!(kafka.topic, facts.topics.first().cloned().unwrap_or_default(), "{asked:?}");
    assert_eq!((kafka.error_code, asked.latency_ns), (0, 0), "{asked:?}");
    assert_eq!(asked.facts.truncated, facts.topic_count as usize > facts.topics.len(), "{asked:?}");
    assert!(asked.facts.client_bytes > 0 && asked.facts.server_bytes == 0, "{asked:?}");
    let answer = match &exchange.response {
        None => "none".to_owned(),
        Some(answer) if answer.facts.ended => {
            assert!(!facts.no_response && answer.facts.duration_ns > 0, "{answer:?}");
            assert_eq!((answer.latency_ns, answer.facts.server_bytes), (0, 0), "{answer:?}");
            "ended".to_owned()
        }
        Some(answer) => {
            assert!(!facts.no_response, "{answer:?}");
            assert!(answer.latency_ns > 0 && answer.facts.duration_ns >= answer.latency_ns, "{answer:?}");
            assert!(answer.facts.server_bytes > 0, "{answer:?}");
            // It repeats its request.
            let mut repeated = answer.kafka().clone();
            let error = std::mem::take(&mut repeated.error_code);
            assert_eq!((&repeated, answer.facts.kafka.as_ref()), (kafka, Some(&facts)), "{answer:?}");
            format!("error {error}")
        }
    };
    format!(
        "{} v{} {} by {} of {} topics {}: {answer}",
        kafka.api_key,
        kafka.api_version,
        kafka.correlation_id,
        facts.client_id,
        facts.topic_count,
        facts.topics.join(",")
    )
}

/// Bytes of a request that is sent at once.
const SHORT: usize = 10_000;

/// A client looks at its clock after it has sent a request, and may be put off before it does.
const PUT_OFF: Duration = Duration::from_millis(50);

/// The clients sent what was told as requests, and received only what was told as responses, after at least
/// the latency.
#[track_caller]
#[allow(deprecated)]
fn same_account(what: &str, page: &Page, account: &Account) {
    let key = |message: &&crate::message::Message| {
        let kafka = message.kafka();
        format!("{} v{} {}", kafka.api_key, kafka.api_version, kafka.correlation_id)
    };
    let of = |kind| page.messages.iter().filter(move |message| message.kind == kind);
    same_lines(
        &format!("{what}: requests by the clients' logs"),
        of(L7FlowType::Request).map(|message| key(&message)),
        account.sent.iter().map(|sent| sent.key.clone()),
    );
    let mut latencies = BTreeMap::<String, Vec<u64>>::new();
    for message in of(L7FlowType::Response).filter(|message| !message.facts.ended) {
        latencies.entry(key(&message)).or_default().push(message.latency_ns);
    }
    // Latency begins with the first bytes of a request, the client's time with its last.
    let large: BTreeSet<&str> =
        account.sent.iter().filter(|sent| sent.size > SHORT).map(|sent| &*sent.key).collect();
    let mut rest = Vec::new();
    let mut took = BTreeMap::<&str, Vec<Duration>>::new();
    for received in account.received.iter().filter(|received| !large.contains(&*received.key)) {
        took.entry(&received.key).or_default().extend(received.took.or(Some(Duration::MAX)));
    }
    for (key, mut took) in took {
        let told =
            latencies.get_mut(key).unwrap_or_else(|| panic!("{what}: {key} was answered, and not told"));
        assert!(took.len() <= told.len(), "{what}: {key} was answered {} times: {told:?}", took.len());
        // Several connections may have the same numbers: the fastest is no slower than the client's fastest.
        told.sort();
        took.sort();
        for (told, took) in told.iter().zip(took).filter(|(_, took)| *took < Duration::MAX) {
            // To a hundredth of a millisecond.
            let took = took + Duration::from_micros(10);
            assert!(
                Duration::from_nanos(*told) <= took + PUT_OFF,
                "{what}: {key}: told {told} ns, client {took:?}"
            );
            rest.push(took.as_nanos() as i64 - *told as i64);
        }
    }
    rest.sort();
    let middle = rest.get(rest.len() / 2).copied().unwrap_or(0);
    assert!(middle >= 0, "{what}: latency is {} ns longer than the client's time", -middle);
}
