use super::super::store::{StoreSize, Writer};
use super::*;
use crate::events::testing::{denial, event, flow_at};

const NS: i64 = 1_000;

/// Every tenth flow is a denial.
fn flood(writer: &mut Writer, from: u64, flows: u64) {
    for seq in from..from + flows {
        let record = if seq % 10 == 0 { denial() } else { event() };
        writer.push(flow_at(record, seq as i64 * NS));
    }
    writer.publish();
}

fn read(cursor: &mut Cursor, end: u64) -> (Vec<u64>, u64, Option<Gap>) {
    let (mut seqs, mut lost, mut first, mut chunk) = (Vec::new(), 0, None, Vec::new());
    loop {
        if let Some(gap) = cursor.next_chunk(end, &mut chunk) {
            lost += gap.count;
            first.get_or_insert(gap);
        }
        if chunk.is_empty() {
            return (seqs, lost, first);
        }
        seqs.extend(chunk.drain(..).map(|flow| flow.seq));
    }
}

#[test]
fn an_overtaken_reader_gets_the_denials_it_missed_and_the_exact_rest_as_a_loss() {
    let (store, mut writer) = Store::new(StoreSize { flows: 64, denials: 1024 }).expect("valid");
    let mut cursor = Cursor::new(Arc::clone(&store), 0, 0);
    flood(&mut writer, 0, 50);
    assert_eq!(read(&mut cursor, 20).0.len(), 20);
    flood(&mut writer, 50, 950);
    let (seqs, lost, gap) = read(&mut cursor, 1000);
    let denials = (20..936).filter(|seq| seq % 10 == 0).count() as u64;
    let expected: Vec<u64> = (20..1000).filter(|seq| seq % 10 == 0 || *seq >= 936).collect();
    assert_eq!(seqs, expected);
    assert_eq!(lost, 936 - 20 - denials);
    let gap = gap.expect("there was one");
    assert_eq!(gap.first_ns, 19 * NS, "the flow read before the gap");
    assert!(gap.last_ns >= 20 * NS);
}

#[test]
fn a_flood_of_rescued_denials_comes_in_pieces_and_none_twice() {
    let (store, mut writer) = Store::new(StoreSize { flows: 64, denials: 1024 }).expect("valid");
    let mut cursor = Cursor::new(Arc::clone(&store), 0, 0);
    flood(&mut writer, 0, 9_000);
    let (seqs, lost, _) = read(&mut cursor, 9_000);
    assert!(seqs.is_sorted_by(|a, b| a < b));
    assert_eq!(seqs.iter().filter(|seq| **seq % 10 == 0).count(), 900);
    assert_eq!(seqs.len() as u64 + lost, 9_000);
}

#[test]
fn a_reader_that_begins_in_the_history_of_denials_has_lost_nothing() {
    let (store, mut writer) = Store::new(StoreSize { flows: 64, denials: 1024 }).expect("valid");
    flood(&mut writer, 0, 1_000);
    let mut cursor = Cursor::new(Arc::clone(&store), 100, store.oldest());
    let (seqs, lost, _) = read(&mut cursor, 1_000);
    assert_eq!(seqs[..3], [100, 110, 120]);
    assert_eq!(lost, 0);
}

#[test]
fn a_denial_that_leaves_the_history_before_its_reader_comes_is_a_loss() {
    let (store, mut writer) = Store::new(StoreSize { flows: 64, denials: 90 }).expect("valid");
    flood(&mut writer, 0, 1_000);
    let oldest = store.oldest();
    let mut cursor = Cursor::new(Arc::clone(&store), 100, oldest);
    flood(&mut writer, 1_000, 300);
    let (seqs, lost, _) = read(&mut cursor, 1_300);
    let expected_to_see = 84 + (1_300 - oldest);
    assert_eq!(seqs.len() as u64 + lost, expected_to_see);
    assert_eq!(seqs[0], 400, "denials from 400 on are left");
}

#[test]
fn a_cursor_does_not_read_past_its_end() {
    let (store, mut writer) = Store::new(StoreSize { flows: 64, denials: 0 }).expect("valid");
    flood(&mut writer, 0, 40);
    let mut cursor = Cursor::new(Arc::clone(&store), 0, 0);
    assert_eq!(read(&mut cursor, 10).0.len(), 10);
    flood(&mut writer, 40, 1_000);
    assert_eq!(
        read(&mut cursor, 30),
        (vec![], 20, Some(Gap { count: 20, first_ns: 9 * NS, last_ns: 9 * NS }))
    );
    assert_eq!(cursor.position(), 30);
}
