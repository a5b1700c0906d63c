use std::thread;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn wish(protocols: &[&str]) -> Wish {
    let protocols = protocols.iter().map(|name| ((*name).to_owned(), Bytes::from(format!("by {name}"))));
    Wish { session: LONG, patience: LONG, kind: "consumer".to_owned(), protocols: protocols.collect() }
}

fn parts(parts: &[(&str, &'static str)]) -> BTreeMap<String, Bytes> {
    parts.iter().map(|(id, part)| ((*id).to_owned(), Bytes::from(*part))).collect()
}

/// One member, who leads a first generation.
fn with_one(groups: &Groups) -> Joined {
    let joined = groups.join("g", "", "one", false, wish(&["range", "roundrobin"])).unwrap();
    assert_eq!((joined.generation, &*joined.leader, &*joined.member), (1, "one-1", "one-1"));
    groups.sync("g", "one-1", 1, parts(&[("one-1", "all")])).unwrap();
    joined
}

#[test]
fn a_member_alone_leads_and_gets_what_it_gives_itself() {
    let groups = Groups::default();
    let joined = with_one(&groups);
    assert_eq!(joined.protocol, "range");
    assert_eq!(joined.members, [("one-1".to_owned(), Bytes::from("by range"))]);
    assert_eq!(groups.heartbeat("g", "one-1", 1), Ok(()));
    assert_eq!(groups.heartbeat("g", "one-1", 0), Err(ResponseError::IllegalGeneration));
    assert_eq!(groups.heartbeat("g", "other", 1), Err(ResponseError::UnknownMemberId));
    assert_eq!(groups.heartbeat("no such group", "one-1", 1), Err(ResponseError::UnknownMemberId));
    assert_eq!(groups.leave("g", "one-1"), Ok(()));
    assert_eq!(groups.leave("g", "one-1"), Err(ResponseError::UnknownMemberId));
}

#[test]
fn who_has_no_id_is_given_one_to_join_with() {
    let groups = Groups::default();
    let (error, id) = groups.join("g", "", "app", true, wish(&["range"])).unwrap_err();
    assert_eq!((error, &*id), (ResponseError::MemberIdRequired, "app-1"));
    let (error, _) = groups.join("g", "made-up", "app", true, wish(&["range"])).unwrap_err();
    assert_eq!(error, ResponseError::UnknownMemberId);
    assert_eq!(groups.join("g", "app-1", "app", true, wish(&["range"])).unwrap().member, "app-1");
}

#[test]
fn a_second_member_makes_the_first_join_again_and_both_get_their_part() {
    let groups = Groups::default();
    with_one(&groups);
    thread::scope(|scope| {
        let other = scope.spawn(|| groups.join("g", "", "two", false, wish(&["roundrobin"])).unwrap());
        while groups.heartbeat("g", "one-1", 1).is_ok() {
            thread::yield_now();
        }
        assert_eq!(groups.heartbeat("g", "one-1", 1), Err(ResponseError::RebalanceInProgress));
        let one = groups.join("g", "one-1", "one", false, wish(&["range", "roundrobin"])).unwrap();
        let two = other.join().unwrap();
        assert_eq!((one.generation, two.generation, &*one.leader, &*two.leader), (2, 2, "one-1", "one-1"));
        assert_eq!((&*one.protocol, one.members.len(), two.members.len()), ("roundrobin", 2, 0));
        let waiting = scope.spawn(|| groups.sync("g", "two-2", 2, BTreeMap::new()).unwrap());
        groups.sync("g", "one-1", 2, parts(&[("one-1", "a"), ("two-2", "b")])).unwrap();
        assert_eq!(waiting.join().unwrap(), ("consumer".into(), "roundrobin".into(), Bytes::from("b")));
    });
    // And when one leaves, the other has to join again.
    groups.leave("g", "one-1").unwrap();
    assert_eq!(groups.heartbeat("g", "two-2", 2), Err(ResponseError::RebalanceInProgress));
    let two = groups.join("g", "two-2", "two", false, wish(&["roundrobin"])).unwrap();
    assert_eq!((two.generation, &*two.leader), (3, "two-2"));
}

#[test]
fn who_is_not_heard_of_or_does_not_join_again_is_gone() {
    let groups = Groups::default();
    let short = Wish { session: Duration::from_millis(1), ..wish(&["range"]) };
    groups.join("g", "", "one", false, short).unwrap();
    groups.sync("g", "one-1", 1, BTreeMap::new()).unwrap();
    thread::sleep(Duration::from_millis(2));
    let two = groups.join("g", "", "two", false, wish(&["range"])).unwrap();
    assert_eq!((&*two.leader, two.members.len()), ("two-2", 1));
    assert_eq!(groups.heartbeat("g", "one-1", 1), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_member_that_shares_no_protocol_is_refused() {
    let groups = Groups::default();
    with_one(&groups);
    for other in [wish(&["sticky"]), wish(&[]), Wish { kind: "connect".into(), ..wish(&["range"]) }] {
        let (error, _) = groups.join("g", "", "two", false, other).unwrap_err();
        assert_eq!(error, ResponseError::InconsistentGroupProtocol);
    }
    assert_eq!(groups.heartbeat("g", "one-1", 1), Ok(()), "nobody was troubled");
}

#[test]
fn offsets_are_committed_by_members_or_while_there_are_none() {
    let groups = Groups::default();
    let to = |offset| Committed { offset, ..Default::default() };
    assert_eq!(groups.may_commit("g", "", -1), Ok(()));
    groups.commit("g", "orders", 0, to(5)).unwrap();
    with_one(&groups);
    assert_eq!(groups.may_commit("g", "", -1), Err(ResponseError::UnknownMemberId));
    assert_eq!(groups.may_commit("g", "one-1", 0), Err(ResponseError::IllegalGeneration));
    assert_eq!(groups.may_commit("g", "one-1", 1), Ok(()));
    groups.commit("g", "orders", 0, to(7)).unwrap();
    assert_eq!(groups.committed("g"), BTreeMap::from([(("orders".to_owned(), 0), to(7))]));
    assert!(groups.committed("none").is_empty());
}

#[test]
fn groups_members_and_offsets_are_bounded() {
    let groups = Groups::default();
    for n in 0..GROUPS {
        groups.commit(&format!("g{n}"), "t", 0, Committed::default()).unwrap();
    }
    assert_eq!(
        groups.commit("more", "t", 0, Committed::default()),
        Err(ResponseError::CoordinatorNotAvailable)
    );
    (1..OFFSETS as i32).for_each(|n| groups.commit("g1", "t", n, Committed::default()).unwrap());
    assert_eq!(groups.commit("g1", "u", 0, Committed::default()), Err(ResponseError::PolicyViolation));
    for _ in 0..2 * MEMBERS {
        groups.join("g2", "", "x", true, wish(&["range"])).unwrap_err();
    }
    assert_eq!(groups.lock()["g2"].promised.len(), MEMBERS);
}
