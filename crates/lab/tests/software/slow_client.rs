//! A client of the stream that doesn't keep up: what the store no longer holds when it comes back is
//! counted and said, and what arrives is right.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fathom_api::fathom_v1::LedgerStage;
use fathom_api::flow::LostEventSource;
use fathom_api::json;
use fathom_api::observer::get_flows_response::ResponseTypes;
use fathom_lab::{Lab, Source};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::http1::{PATHS, wrk};
use crate::message::{Message, exchanges};
use crate::nginx::{self, HTTP1};
use crate::program::word;
use crate::ring::{Known, rest_is_right};
use crate::site::{NEAR, Site, small_store};
use crate::stopped::Stopped;
use crate::support::eventually_or_say;

const NODE: &str = "node-a";

#[test]
fn what_the_store_no_longer_holds_is_said_to_a_slow_client_and_the_rest_is_right() {
    let site = small_store();
    let nginx = nginx::start(site.lab, "nginx", HTTP1);
    let client = Client::start(&site);
    let first = format!("http://{}:{HTTP1}/small.txt", site.server());
    site.run(NEAR, &[&word("curl"), "--silent", "--output", "/dev/null", &first]);
    eventually_or_say("the client to follow", || {
        let said = client.said();
        (said.messages.len() == 2).then_some(()).ok_or_else(|| format!("{said:?}"))
    });
    let stopped = Stopped::of(client.process.id().try_into().unwrap());
    wrk(&site, NEAR, 8, 1, PATHS);
    // What happened meanwhile is in the store, or was.
    eventually_or_say("the agent to have stored all", || {
        let (messages, reader) = (stage(site.lab, "kernel.l7"), stage(site.lab, "reader"));
        let all = messages.r#in >= 2 * nginx.count() as u64 && reader.held == 0;
        all.then_some(()).ok_or_else(|| format!("{messages:?} {reader:?}"))
    });
    drop(stopped);
    let said = eventually_or_say("the client to have read all", || {
        let (said, store) = (client.said(), stage(site.lab, "store"));
        let all = said.flows + said.lost == store.r#in;
        all.then_some(said.clone())
            .ok_or_else(|| format!("{} flows, {} lost; {store:?}", said.flows, said.lost))
    });
    assert!(said.lost > 1000, "the pause was none: {}", said.lost);
    assert!(said.messages.len() > 1000, "{}", said.messages.len());

    // The agent's books say the same of this client, and that nothing was lost before the store.
    let clients = stage(site.lab, "clients");
    assert_eq!((clients.r#in, clients.lost), (clients.out + said.lost, said.lost));
    let (events, messages) = (stage(site.lab, "kernel.events"), stage(site.lab, "kernel.l7"));
    assert_eq!((events.lost, messages.lost), (0, 0));
    // A request under way when its client hung up has an end, too.
    let told = exchanges(&said.messages);
    rest_is_right(NODE, &told, &nginx.logged(), 1, |number| number as usize, Known::Always);

    let last_words = client.end();
    let digits: String = last_words.chars().filter(|c| c.is_ascii_digit() || *c == ' ').collect();
    assert!(digits.split(' ').any(|number| number == said.lost.to_string()), "{last_words}");
    assert!(last_words.contains("in the agent's store"), "{last_words}");
}

#[track_caller]
fn stage(lab: &Lab, name: &str) -> LedgerStage {
    let sheet = lab.ledgers(&Source::Node(NODE.into())).unwrap().remove(0);
    sheet.stages.into_iter().find(|stage| stage.name == name).unwrap_or_else(|| panic!("no stage {name}"))
}

/// `fathom observe --follow`, from the first flow on.
struct Client {
    process: Child,
    out: PathBuf,
    err: PathBuf,
}

/// What it printed so far.
#[derive(Debug, Default, Clone)]
struct Said {
    /// Of all kinds.
    flows: u64,
    lost: u64,
    messages: Vec<Message>,
}

impl Client {
    fn start(site: &Site) -> Self {
        let home = site.directory("slow");
        let (out, err) = (home.join("out"), home.join("err"));
        let process = Command::new(&site.lab.tools().cli)
            .args(["observe", "--all", "--follow", "--output", "jsonpb", "--facts", "--server"])
            .arg(site.lab.server(&Source::Node(NODE.into())))
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        Self { process, out, err }
    }

    fn said(&self) -> Said {
        let mut said = Said::default();
        for line in std::fs::read_to_string(&self.out).unwrap().split_inclusive('\n') {
            // A line still being written has no end yet.
            let Some(line) = line.strip_suffix('\n') else { continue };
            match json::parse_response(line).unwrap_or_else(|e| panic!("{line}: {e}")).response.response_types
            {
                Some(ResponseTypes::Flow(flow)) => {
                    said.flows += 1;
                    said.messages.extend(Message::of(&flow));
                }
                Some(ResponseTypes::LostEvents(lost)) => {
                    assert_eq!(lost.source(), LostEventSource::HubbleRingBuffer, "{line}");
                    said.lost += lost.num_events_lost;
                }
                _ => {}
            }
        }
        said
    }

    /// Interrupts it; says what it had to say about the whole.
    fn end(mut self) -> String {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let status = self.process.wait().unwrap();
        let last_words = std::fs::read_to_string(&self.err).unwrap();
        assert!(status.success(), "{status}: {last_words}");
        last_words
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
