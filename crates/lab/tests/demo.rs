//! The demo keeps its promises, twice, and leaves no trace. Root only.

#![forbid(unsafe_code)]

mod support;

use std::process::{Command, Output};

use support::{tools, traces, unique};

fn demo(what: &str, name: &str) -> Output {
    Command::new(tools().lab).args(["demo", what, "--name", name]).output().unwrap()
}

#[test]
fn the_story_comes_true_every_time_it_is_told_and_leaves_no_trace() {
    let name = unique("demo");
    for _ in 0..2 {
        let told = demo("up", &name);
        let text =
            format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
        let shown = [
            "HTTP/1.1 404",
            "gRPC so far",
            "DNS Answer",
            "topic chat.messages",
            "/rooms/{id}/messages",
            "/live.v1.MatchFeed/Score",
            "KAFKA produce",
            "DROPPED BY chat-relay-ingress",
            "FORWARDED again",
            "complete",
            "make demo-down",
        ];
        let missing: Vec<_> = shown.iter().filter(|word| !text.contains(**word)).collect();
        if !told.status.success() || !missing.is_empty() {
            demo("down", &name);
            panic!("missing: {missing:?} in\n{text}");
        }
    }
    assert!(!traces(&name).is_empty(), "the demo leaves its lab up");
    assert!(demo("down", &name).status.success());
    assert_eq!(traces(&name), Vec::<String>::new());
}
