//! Consumer groups as the classic protocol has them: who wants to be in one joins, all get the same generation,
//! the leader says who reads what, and a heartbeat tells each of them when it is time to join again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;

/// How long an empty group waits for more than its first member.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Groups, and members and committed offsets of one.
const GROUPS: usize = 100;
const MEMBERS: usize = 100;
const OFFSETS: usize = 10_000;

/// How a member joins.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    pub session: Duration,
    /// How long it takes to join again.
    pub patience: Duration,
    pub kind: String,
    /// Ways to share partitions out, best first, each with what the member says for it.
    pub protocols: Vec<(String, Bytes)>,
}

/// What a member is told when all have joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub kind: String,
    pub protocol: String,
    pub leader: String,
    pub member: String,
    /// For the leader: every member, and what it said.
    pub members: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub epoch: i32,
    pub metadata: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Empty,
    /// Ends at `until`, or when all have joined again if that is `enough`.
    Joining {
        until: Instant,
        enough: bool,
    },
    /// The leader is about to say who reads what.
    Syncing,
    Stable,
}

#[derive(Debug, Default)]
struct Group {
    phase: Phase,
    generation: i32,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids given to who has yet to join with them.
    promised: BTreeSet<String>,
    numbered: u64,
    offsets: BTreeMap<(String, i32), Committed>,
}

#[derive(Debug)]
struct Member {
    wish: Wish,
    /// Waits in this round of joining.
    joined: bool,
    seen: Instant,
    assignment: Bytes,
}

/// All groups, and who waits for a change.
#[derive(Debug, Default)]
pub struct Groups {
    named: Mutex<BTreeMap<String, Group>>,
    changed: Condvar,
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the others. A member without an id gets one: at once if `ask_again`, to join with, and
    /// then as the error's other half.
    pub fn join(
        &self,
        name: &str,
        member: &str,
        client: &str,
        ask_again: bool,
        wish: Wish,
    ) -> Result<Joined, (ResponseError, String)> {
        let mut named = self.lock();
        if !named.contains_key(name) && named.len() >= GROUPS {
            return Err((ResponseError::CoordinatorNotAvailable, member.to_owned()));
        }
        let group = named.entry(name.to_owned()).or_default();
        let member = group.enter(member, client, ask_again, wish)?;
        self.changed.notify_all();
        loop {
            let group = named.entry(name.to_owned()).or_default();
            group.finish_joining(Instant::now());
            let Some(known) = group.members.get(&member) else {
                return Err((ResponseError::UnknownMemberId, member));
            };
            if !known.joined {
                self.changed.notify_all();
                return Ok(group.joined(member));
            }
            let Phase::Joining { until, .. } = group.phase else {
                return Err((ResponseError::RebalanceInProgress, member));
            };
            named = self.wait(named, until);
        }
    }

    /// A member's part, once the leader has brought everybody's.
    pub fn sync(
        &self,
        name: &str,
        member: &str,
        generation: i32,
        assignments: BTreeMap<String, Bytes>,
    ) -> Result<(String, String, Bytes), ResponseError> {
        let mut named = self.lock();
        let until = Instant::now() + named.get(name).map_or(Duration::ZERO, Group::patience);
        let mut brought = Some(assignments);
        loop {
            let group = named.get_mut(name).ok_or(ResponseError::UnknownMemberId)?;
            group.check(member, generation)?;
            if let Phase::Joining { .. } = group.phase {
                return Err(ResponseError::RebalanceInProgress);
            }
            if group.leader == member
                && let Some(mut assignments) = brought.take()
            {
                for (id, known) in &mut group.members {
                    known.assignment = assignments.remove(id).unwrap_or_default();
                }
                group.phase = Phase::Stable;
                self.changed.notify_all();
            }
            if group.phase == Phase::Stable {
                let known = group.members.get_mut(member).ok_or(ResponseError::UnknownMemberId)?;
                known.seen = Instant::now();
                return Ok((known.wish.kind.clone(), group.protocol.clone(), known.assignment.clone()));
            }
            if Instant::now() >= until {
                return Err(ResponseError::RebalanceInProgress);
            }
            named = self.wait(named, until);
        }
    }

    /// Tells that a member lives; an error tells it to join again.
    pub fn heartbeat(&self, name: &str, member: &str, generation: i32) -> Result<(), ResponseError> {
        let mut named = self.lock();
        let group = named.get_mut(name).ok_or(ResponseError::UnknownMemberId)?;
        if group.forget(Instant::now()) {
            self.changed.notify_all();
        }
        group.check(member, generation)?;
        match group.phase {
            Phase::Joining { .. } => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub fn leave(&self, name: &str, member: &str) -> Result<(), ResponseError> {
        let mut named = self.lock();
        let group = named.get_mut(name).ok_or(ResponseError::UnknownMemberId)?;
        group.members.remove(member).ok_or(ResponseError::UnknownMemberId)?;
        group.begin_joining(Instant::now());
        self.changed.notify_all();
        Ok(())
    }

    /// Whether offsets may be committed: by a member, or by anybody while there is none.
    pub fn may_commit(&self, name: &str, member: &str, generation: i32) -> Result<(), ResponseError> {
        let mut named = self.lock();
        match named.get_mut(name) {
            Some(group) if !group.members.is_empty() || generation >= 0 => group.check(member, generation),
            None if generation >= 0 => Err(ResponseError::UnknownMemberId),
            _ => Ok(()),
        }
    }

    pub fn commit(&self, name: &str, topic: &str, index: i32, to: Committed) -> Result<(), ResponseError> {
        let mut named = self.lock();
        if !named.contains_key(name) && named.len() >= GROUPS {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        let offsets = &mut named.entry(name.to_owned()).or_default().offsets;
        let place = (topic.to_owned(), index);
        if !offsets.contains_key(&place) && offsets.len() >= OFFSETS {
            return Err(ResponseError::PolicyViolation);
        }
        offsets.insert(place, to);
        Ok(())
    }

    pub fn committed(&self, name: &str) -> BTreeMap<(String, i32), Committed> {
        self.lock().get(name).map(|group| group.offsets.clone()).unwrap_or_default()
    }

    fn wait<'a>(
        &self,
        named: MutexGuard<'a, BTreeMap<String, Group>>,
        until: Instant,
    ) -> MutexGuard<'a, BTreeMap<String, Group>> {
        let left = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(named, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Group {
    fn enter(
        &mut self,
        member: &str,
        client: &str,
        ask_again: bool,
        wish: Wish,
    ) -> Result<String, (ResponseError, String)> {
        let now = Instant::now();
        self.forget(now);
        let no = |error| Err((error, member.to_owned()));
        let same = |known: &Member| {
            let ours = known.wish.protocols.iter().map(|(name, _)| name);
            known.wish.kind == wish.kind && ours.clone().any(|name| wish.speaks(name))
        };
        let others = self.members.iter().filter(|(id, _)| *id != member).map(|(_, known)| known);
        if wish.protocols.is_empty() || !others.clone().all(same) {
            return no(ResponseError::InconsistentGroupProtocol);
        }
        if others.count() >= MEMBERS {
            return no(ResponseError::GroupMaxSizeReached);
        }
        let id = if member.is_empty() {
            self.numbered += 1;
            format!("{client}-{}", self.numbered)
        } else {
            member.to_owned()
        };
        if member.is_empty() && ask_again {
            // Whoever does not come back leaves its place to another.
            if self.promised.len() >= MEMBERS {
                self.promised.pop_first();
            }
            self.promised.insert(id.clone());
            return Err((ResponseError::MemberIdRequired, id));
        }
        let promised = self.promised.remove(&id);
        if !member.is_empty() && !promised && !self.members.contains_key(&id) {
            return no(ResponseError::UnknownMemberId);
        }
        if !matches!(self.phase, Phase::Joining { .. }) {
            self.begin_joining(now);
        }
        let known = Member { wish, joined: true, seen: now, assignment: Bytes::new() };
        self.members.insert(id.clone(), known);
        Ok(id)
    }

    /// A member of this generation. It is seen.
    fn check(&mut self, member: &str, generation: i32) -> Result<(), ResponseError> {
        let known = self.members.get_mut(member).ok_or(ResponseError::UnknownMemberId)?;
        known.seen = Instant::now();
        if generation == self.generation { Ok(()) } else { Err(ResponseError::IllegalGeneration) }
    }

    /// The longest that a member takes to join again.
    fn patience(&self) -> Duration {
        self.members.values().map(|known| known.wish.patience).max().unwrap_or(FIRST_WAIT)
    }

    /// Everybody has to join, again. Those who wait go on waiting.
    fn begin_joining(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Joining { .. }) {
            return;
        }
        let enough = !self.members.is_empty();
        let wait = if enough { self.patience() } else { FIRST_WAIT };
        self.phase = Phase::Joining { until: now + wait, enough };
    }

    fn finish_joining(&mut self, now: Instant) {
        self.forget(now);
        let Phase::Joining { until, enough } = self.phase else { return };
        let all = self.members.values().all(|known| known.joined);
        if now < until && !(all && enough) {
            return;
        }
        self.members.retain(|_, known| known.joined);
        self.generation += 1;
        self.phase = if self.members.is_empty() { Phase::Empty } else { Phase::Syncing };
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        for known in self.members.values_mut() {
            known.joined = false;
            known.seen = now;
        }
        let leader = self.members.get(&self.leader);
        let common = leader
            .into_iter()
            .flat_map(|leader| &leader.wish.protocols)
            .find(|(name, _)| self.members.values().all(|known| known.wish.speaks(name)));
        self.protocol = common.map(|(name, _)| name.clone()).unwrap_or_default();
    }

    /// Members of whom nothing was heard for too long go; whether there were any.
    fn forget(&mut self, now: Instant) -> bool {
        let before = self.members.len();
        self.members.retain(|_, known| known.joined || now < known.seen + known.wish.session);
        let gone = self.members.len() < before;
        if gone {
            self.begin_joining(now);
        }
        gone
    }

    fn joined(&self, member: String) -> Joined {
        let said = |known: &Member| {
            let said = known.wish.protocols.iter().find(|(name, _)| *name == self.protocol);
            said.map(|(_, said)| said.clone()).unwrap_or_default()
        };
        let all = self.members.iter().map(|(id, known)| (id.clone(), said(known)));
        Joined {
            generation: self.generation,
            kind: self.members.get(&member).map(|known| known.wish.kind.clone()).unwrap_or_default(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: if self.leader == member { all.collect() } else { Vec::new() },
            member,
        }
    }
}

impl Wish {
    fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
