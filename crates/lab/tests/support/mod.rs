//! What every scenario needs.

#![allow(dead_code)] // each test binary uses its own part of it

pub mod matrix;
pub mod want;

use std::path::Path;
use std::time::Duration;

use fathom_api::flow::Flow;
use fathom_api::observer::GetFlowsRequest;
use fathom_lab::{Follow, Lab, Source, Tools, Where, layout, machine};
use want::Want;

/// How long an event may take from the kernel to a client. Generous: the machine may be busy.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// The binaries of this build.
pub fn tools() -> Tools {
    Tools::beside(Path::new(env!("CARGO_BIN_EXE_fathom-lab")))
}

/// A lab name no other test process uses.
pub fn unique(kind: &str) -> String {
    format!("t-{kind}-{}", std::process::id())
}

/// Asserts that a probe is answered; returns what it printed.
#[track_caller]
pub fn answered(lab: &Lab, place: &str, line: &[&str]) -> String {
    answered_from(lab, place, Where::Inside, line)
}

#[track_caller]
pub fn answered_from(lab: &Lab, place: &str, whence: Where, line: &[&str]) -> String {
    let output = lab.probe(place, whence, line).unwrap();
    assert!(output.success, "{place}: probe {}: {}{}", line.join(" "), output.stdout, output.stderr);
    output.stdout
}

/// Asserts that a probe fails and says `word`.
#[track_caller]
pub fn fails(lab: &Lab, place: &str, line: &[&str], word: &str) {
    let output = lab.probe(place, Where::Inside, line).unwrap();
    assert!(!output.success, "{place}: probe {} was answered: {}", line.join(" "), output.stdout);
    assert!(output.stderr.contains(word), "expected {word:?} in {:?}", output.stderr);
}

/// Asserts that a TCP connection is stopped in silence: three times, for of one attempt the only packet
/// may have been lost on the way.
#[track_caller]
pub fn denied(lab: &Lab, place: &str, target: &str) {
    for _ in 0..3 {
        fails(lab, place, &["connect", target, "--timeout", "400"], "timed out");
    }
}

/// A node's stream, or the relay's.
pub struct Stream {
    follow: Follow,
}

impl Stream {
    pub fn of(lab: &Lab, source: &Source) -> Self {
        Self { follow: lab.follow(source, GetFlowsRequest::default()).unwrap() }
    }

    pub fn of_node(lab: &Lab, node: &str) -> Self {
        Self::of(lab, &Source::Node(node.to_owned()))
    }

    /// A place in the stream to look from later.
    pub fn mark(&self) -> usize {
        self.follow.mark()
    }

    /// The first flow after `mark` that is wanted.
    #[track_caller]
    pub fn see(&self, mark: usize, want: &Want) -> Flow {
        match self.follow.wait_for(&format!("{want:?}"), mark, SEEN_WITHIN, |flow| want.matches(flow)) {
            Ok(flow) => flow,
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Whether such a flow comes within a moment.
    pub fn soon(&self, mark: usize, want: &Want) -> bool {
        let moment = Duration::from_millis(300);
        self.follow.wait_for("", mark, moment, |flow| want.matches(flow)).is_ok()
    }

    /// How many flows after `mark` are wanted.
    pub fn count(&self, mark: usize, want: &Want) -> usize {
        let responses = self.follow.responses();
        responses.into_iter().skip(mark).filter_map(fathom_lab::flow_of).filter(|f| want.matches(f)).count()
    }

    pub fn follow(&self) -> &Follow {
        &self.follow
    }
}

/// Names of the policies in a list, `namespace/name`, sorted.
pub fn names(policies: &[fathom_api::flow::Policy]) -> Vec<String> {
    let mut names: Vec<String> = policies.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
    names.sort();
    names
}

/// Asks until the answer is yes.
#[track_caller]
pub fn eventually(what: &str, mut yes: impl FnMut() -> bool) {
    eventually_or_say(what, || yes().then_some(()).ok_or_else(|| "not yet".to_owned()));
}

/// Asks until there is an answer; says what was there instead otherwise.
#[track_caller]
pub fn eventually_or_say<T>(what: &str, mut answer: impl FnMut() -> Result<T, String>) -> T {
    match machine::wait::until(what, SEEN_WITHIN, || Ok(answer())) {
        Ok(answer) => answer,
        Err(error) => panic!("{error:#}"),
    }
}

/// Counts until there are enough; says how many there were otherwise.
#[track_caller]
pub fn eventually_at_least(enough: usize, what: &str, mut count: impl FnMut() -> usize) {
    let counted = machine::wait::until(what, SEEN_WITHIN, || {
        let found = count();
        Ok(if found >= enough { Ok(()) } else { Err(format!("{found} of {enough}")) })
    });
    if let Err(error) = counted {
        panic!("{error:#}");
    }
}

/// Everything of that lab on this machine.
pub fn traces(name: &str) -> Vec<String> {
    let mut found: Vec<String> = machine::netns::list(Path::new(layout::NETNS), &format!("fathom-{name}."))
        .into_iter()
        .map(|p| p.display().to_string())
        .collect();
    let cgroup = machine::cgroup::mount_point().unwrap().join(format!("fathom-lab-{name}"));
    for path in [Path::new(layout::LABS).join(name), cgroup] {
        if path.exists() {
            found.push(path.display().to_string());
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains(&format!("/{name}/"))).map(str::to_owned));
    found
}
