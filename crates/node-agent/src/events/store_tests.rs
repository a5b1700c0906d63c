use std::sync::atomic::AtomicBool;

use super::*;
use crate::events::cursor::Cursor;
use crate::events::testing::{denial, event, flow_at};

fn store(flows: usize, denials: usize) -> (Arc<Store>, Writer) {
    Store::new(StoreSize { flows, denials }).expect("a valid size")
}

fn push(writer: &mut Writer, times: impl IntoIterator<Item = i64>) {
    for time in times {
        writer.push(flow_at(event(), time));
    }
}

fn read_all(store: &Arc<Store>, from: u64) -> (Vec<u64>, u64) {
    let mut cursor = Cursor::new(Arc::clone(store), from, from);
    let (mut seqs, mut lost, mut chunk) = (Vec::new(), 0, Vec::new());
    loop {
        lost += cursor.next_chunk(store.head(), &mut chunk).map_or(0, |gap| gap.count);
        if chunk.is_empty() {
            return (seqs, lost);
        }
        seqs.extend(chunk.drain(..).map(|flow| flow.seq));
    }
}

#[test]
fn the_newest_flow_is_readable_at_once_and_one_flow_is_no_loss() {
    for capacity in [1, 2, 4, 64, 128] {
        let (store, mut writer) = store(capacity, 0);
        push(&mut writer, [1]);
        writer.publish();
        assert_eq!(read_all(&store, 0), (vec![0], 0), "capacity {capacity}");
    }
}

#[test]
fn a_ring_keeps_its_newest_flows_and_counts_the_others_exactly() {
    for capacity in [1_usize, 2, 32, 64, 256] {
        let (store, mut writer) = store(capacity, 0);
        let mut written = 0;
        for batch in [1, 3, 64, 100, 513] {
            push(&mut writer, written..written + batch);
            writer.publish();
            written += batch;
            let kept = (capacity as i64).min(written);
            let (seqs, lost) = read_all(&store, 0);
            assert_eq!(
                seqs,
                ((written - kept) as u64..written as u64).collect::<Vec<_>>(),
                "capacity {capacity}"
            );
            assert_eq!(lost, (written - kept) as u64, "capacity {capacity}");
            assert_eq!((store.len(), store.oldest()), (kept as u64, (written - kept) as u64));
        }
    }
}

#[test]
fn what_is_not_published_is_not_seen_and_a_batch_is_sorted_by_time() {
    let (store, mut writer) = store(8, 8);
    push(&mut writer, [30, 10, 20]);
    assert!(store.is_empty());
    writer.publish();
    let mut flows = Vec::new();
    Cursor::new(Arc::clone(&store), 0, 0).next_chunk(3, &mut flows);
    assert_eq!(
        flows.iter().map(|flow| (flow.seq, flow.time_ns)).collect::<Vec<_>>(),
        [(0, 10), (1, 20), (2, 30)]
    );
}

#[test]
fn nothing_is_allocated_once_the_ring_is_full() {
    let (_store, mut writer) = store(256, 64);
    let mut cycle = || {
        for denials in [7, 0, 7, 90, 3] {
            push(&mut writer, 0..100);
            for time in 0..denials {
                writer.push(flow_at(denial(), time));
            }
            writer.publish();
        }
        writer.allocated()
    };
    for _ in 0..10 {
        cycle();
    }
    let full = cycle();
    assert!(full <= 256 + 64 + 190, "{full} flows for the ring, the denials and one batch");
    for _ in 0..10 {
        assert_eq!(cycle(), full);
    }
}

#[test]
fn a_slow_reader_keeps_its_flows_whole_while_they_are_overwritten() {
    let (store, mut writer) = store(4, 0);
    push(&mut writer, 0..4);
    writer.publish();
    let mut held = Vec::new();
    Cursor::new(Arc::clone(&store), 0, 0).next_chunk(4, &mut held);
    push(&mut writer, 100..140);
    writer.publish();
    assert_eq!(held.iter().map(|flow| flow.time_ns).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn followers_are_woken_once_per_batch() {
    let (store, mut writer) = store(64, 0);
    let mut watch = store.watch();
    assert!(!watch.has_changed().expect("the store lives"));
    push(&mut writer, 0..10);
    writer.publish();
    assert!(watch.has_changed().expect("the store lives"));
    assert_eq!(*watch.borrow_and_update(), 10);
    writer.publish();
    assert!(!watch.has_changed().expect("the store lives"), "an empty batch wakes nobody");
}

#[test]
fn sizes_that_are_no_power_of_two_are_refused() {
    for flows in [0, 3, 4095, 1 << 31] {
        assert_eq!(Store::new(StoreSize { flows, denials: 0 }).err(), Some(StoreSizeError(flows)));
    }
}

/// One writer at full speed, readers of every temper: whatever the interleaving, a reader has seen or
/// been told of every flow, each once and in order, and of every denial that the denials kept.
#[test]
fn every_reader_accounts_for_every_flow_under_a_writer_at_full_speed() {
    const FLOWS: u64 = 200_000;
    for (capacity, denials) in [(1, 16), (64, 64), (1024, 1024)] {
        let (store, mut writer) = store(capacity, denials);
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..3)
            .map(|lazy| {
                let (store, done) = (Arc::clone(&store), Arc::clone(&done));
                std::thread::spawn(move || read_beside(&store, &done, lazy))
            })
            .collect();
        for seq in 0..FLOWS {
            let record = if seq % 100 == 7 { denial() } else { event() };
            // The time is the number: a reader can tell a torn flow from a whole one.
            writer.push(flow_at(record, seq as i64));
            if seq % 37 == 0 {
                writer.publish();
            }
        }
        writer.publish();
        done.store(true, Ordering::Release);
        for reader in readers {
            let (seen, lost) = reader.join().expect("the reader found no fault");
            assert_eq!(seen + lost, FLOWS, "capacity {capacity}");
        }
    }
}

fn read_beside(store: &Arc<Store>, done: &AtomicBool, lazy: u32) -> (u64, u64) {
    let mut cursor = Cursor::new(Arc::clone(store), 0, 0);
    let (mut seen, mut lost, mut next, mut chunk) = (0, 0, 0, Vec::new());
    loop {
        let last = done.load(Ordering::Acquire);
        if let Some(gap) = cursor.next_chunk(u64::MAX, &mut chunk) {
            assert!(gap.first_ns <= gap.last_ns);
            lost += gap.count;
        }
        if chunk.is_empty() && last {
            return (seen, lost);
        }
        for flow in chunk.drain(..) {
            assert!(flow.seq >= next, "{} came after {next}", flow.seq);
            assert_eq!(flow.time_ns, flow.seq as i64);
            assert_eq!(flow.is_drop(), flow.seq % 100 == 7);
            next = flow.seq + 1;
            seen += 1;
        }
        for _ in 0..lazy * 200 {
            std::hint::spin_loop();
        }
    }
}
