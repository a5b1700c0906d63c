//! What the cache answers, without a server; with one: `tests/registry.rs`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fathom_identity::{Claim, Label, LabelSet, candidates};

use super::state::State;
use super::stored::Stored;

const REFRESH: Duration = Duration::from_secs(600);

fn labels(app: &str) -> LabelSet {
    LabelSet::new([Label::k8s("app", app)])
}

fn stored(number: u16, app: &str, version: u64) -> Stored {
    Stored {
        number,
        labels: Some(labels(app)),
        uid: number.to_string(),
        version: version.to_string(),
        created: Some(jiff::Timestamp::from_second(1).unwrap()),
        last_used: Some(jiff::Timestamp::now()),
    }
}

fn state() -> State {
    State::new(REFRESH)
}

#[test]
fn what_the_cache_knows_is_answered_and_what_it_does_not_is_asked_once() {
    let (mut state, now) = (state(), Instant::now());
    assert_eq!(state.find(&labels("a"), now), None);
    assert_eq!(state.claim(300, &labels("a"), now, 0.5), Ok(Claim::Pending));
    assert_eq!(state.claim(300, &labels("a"), now, 0.5), Ok(Claim::Pending));
    assert_eq!(state.asked(), 1);
    assert!(state.take_due(now, 9).is_empty(), "another node's pod: its agent comes first");
    assert!(state.hurry(&labels("a"), now));
    let due = state.take_due(now, 9);
    assert_eq!(due.len(), 1);
    assert!(state.take_due(now, 9).is_empty(), "it is under way");
    state.answered(&labels("a"), stored(300, "a", 7), now, 0.5);
    assert_eq!((state.find(&labels("a"), now), state.asked()), (Some(300), 0));
    assert_eq!(state.claim(300, &labels("a"), now, 0.5), Ok(Claim::Same));
    assert_eq!(state.claim(300, &labels("b"), now, 0.5), Ok(Claim::Taken));
}

#[test]
fn a_watch_answers_too_and_an_older_answer_does_not_undo_it() {
    let (mut state, now) = (state(), Instant::now());
    state.claim(300, &labels("a"), now, 0.5).unwrap();
    assert!(state.apply(stored(300, "a", 7), now, 0.5), "somebody waited");
    assert!(!state.apply(stored(300, "a", 8), now, 0.5), "nobody did");
    state.answered(&labels("a"), stored(300, "a", 7), now, 0.5);
    state.set_in_use(&[300].into());
    assert_eq!(state.due_refreshes(now + REFRESH * 2)[0].version, "8");
}

#[test]
fn a_failure_is_said_and_tried_again_later_and_given_up_when_nobody_asks() {
    let (mut state, now) = (state(), Instant::now());
    state.claim(300, &labels("a"), now, 0.0).unwrap();
    let later = now + Duration::from_secs(2);
    assert_eq!(state.take_due(later, 9).len(), 1);
    state.failed(&labels("a"), "no route".into(), later, 0.5);
    assert_eq!(state.claim(300, &labels("a"), later, 0.5), Err("no route".into()));
    assert!(!state.hurry(&labels("a"), later), "patience is for servers that do not answer");
    assert!(state.take_due(later, 9).is_empty());
    assert_eq!(state.take_due(later + Duration::from_secs(1), 9).len(), 1);
    state.failed(&labels("a"), "no route".into(), later, 0.5);
    assert!(state.take_due(later + Duration::from_secs(61), 9).is_empty());
    assert_eq!(state.asked(), 0);
}

#[test]
fn a_number_about_to_be_collected_is_refreshed_before_it_is_used() {
    let (mut state, now) = (state(), Instant::now());
    let old = Stored { last_used: Some(jiff::Timestamp::from_second(1).unwrap()), ..stored(300, "a", 7) };
    state.apply(old, now, 0.5);
    assert_eq!(state.find(&labels("a"), now), None);
    assert_eq!(state.claim(300, &labels("a"), now, 0.5), Ok(Claim::Pending));
    state.hurry(&labels("a"), now);
    assert_eq!(state.take_due(now, 9)[0].1.prefer, Some(300));
    state.answered(&labels("a"), stored(300, "a", 8), now, 0.5);
    assert_eq!(state.find(&labels("a"), now), Some(300));
    assert_eq!(state.find(&labels("a"), now + REFRESH * 2 + Duration::from_secs(1)), None);
}

#[test]
fn numbers_in_use_are_refreshed_in_time_and_by_one_agent() {
    let (mut state, now) = (state(), Instant::now());
    state.apply(stored(300, "a", 7), now, 0.0);
    assert!(state.due_refreshes(now + REFRESH).is_empty(), "no pod here has it");
    state.set_in_use(&[300].into());
    assert_eq!(state.due_refreshes(now + REFRESH).len(), 1);
    state.apply(stored(300, "a", 8), now + REFRESH, 0.0);
    assert!(state.due_refreshes(now + REFRESH).is_empty(), "another agent did it");
}

#[test]
fn a_number_that_is_removed_while_a_pod_here_has_it_is_made_again() {
    let (mut state, now) = (state(), Instant::now());
    state.begin_listing();
    state.apply(stored(300, "a", 7), now, 0.5);
    state.apply(stored(301, "b", 8), now, 0.5);
    state.end_listing(now);
    state.set_in_use(&[300].into());
    state.begin_listing();
    assert!(state.end_listing(now), "a listing without it is as good as an event");
    let due = state.take_due(now, 9);
    assert_eq!(due.len(), 1);
    assert_eq!((&due[0].0, due[0].1.prefer), (&labels("a"), Some(300)));
    assert_eq!(state.labels(301), Some(&labels("b")), "what it stood for is still known");
    assert!(state.take_disowned().is_empty());
}

#[test]
fn a_number_that_comes_to_stand_for_others_is_disowned() {
    let (mut state, now) = (state(), Instant::now());
    state.apply(stored(300, "a", 7), now, 0.5);
    state.delete(300, now);
    assert!(state.apply(stored(300, "b", 9), now, 0.5));
    assert_eq!(state.take_disowned(), [300]);
    assert!(state.take_disowned().is_empty());
}

#[test]
fn of_two_numbers_the_one_made_first_counts_and_the_other_is_disowned_when_it_goes() {
    let (mut state, now) = (state(), Instant::now());
    state.apply(stored(300, "a", 9), now, 0.5);
    assert_eq!(state.find(&labels("a"), now), Some(300));
    state.apply(stored(301, "a", 8), now, 0.5);
    assert_eq!(state.find(&labels("a"), now), Some(301));
    assert!(state.delete(300, now));
    assert_eq!(state.take_disowned(), [300]);
}

#[test]
fn a_number_with_unreadable_labels_is_taken() {
    let (mut state, now) = (state(), Instant::now());
    state.apply(Stored { labels: None, ..stored(300, "a", 7) }, now, 0.5);
    assert_eq!(state.claim(300, &labels("a"), now, 0.5), Ok(Claim::Taken));
    assert!(state.is_taken(300, &labels("a")));
    let all: BTreeSet<u16> = candidates(&labels("a")).collect();
    assert!(all.contains(&300));
}
