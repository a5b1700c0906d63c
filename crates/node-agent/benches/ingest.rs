//! Record → store: CPU time and bytes allocated per event, bytes held per stored flow.
//!
//! `cargo bench -p fathom-node-agent --bench ingest`. One `name value unit` line per figure.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use fathom_bpf::decode::decode;
use fathom_node_agent::events::flow::BYTES_PER_FLOW;
use nix::time::ClockId;
use support::{cpu_ns, figure, messages, packet, pipeline, records};
use zerocopy::IntoBytes as _;

mod support;

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        ALLOCATED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: `place` came from `alloc` above with the same layout.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RECORDS: u32 = 16_384;
const ROUNDS: usize = 40;
const LARGE: usize = 1 << 16;

fn main() {
    let records = records(RECORDS);
    let pipeline = pipeline(4096);
    let mut intake = pipeline.intake().expect("the first");
    let mut round = || {
        for drain in records.chunks(1024) {
            intake.begin_batch();
            drain.iter().for_each(|event| intake.take(packet(event)));
            intake.publish();
        }
    };
    // The store and its denials fill, every series and stand-in is met.
    (0..8).for_each(|_| round());

    let (allocations, allocated) = (ALLOCATIONS.load(Ordering::Relaxed), ALLOCATED.load(Ordering::Relaxed));
    let mut costs: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let before = cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID);
            round();
            cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID) - before
        })
        .collect();
    let events = f64::from(RECORDS) * ROUNDS as f64;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    let allocated = ALLOCATED.load(Ordering::Relaxed) - allocated;
    costs.sort_unstable();
    figure("ingest.ns_per_event.best", costs[0] as f64 / f64::from(RECORDS), "ns");
    figure("ingest.ns_per_event.median", costs[ROUNDS / 2] as f64 / f64::from(RECORDS), "ns");
    println!("ingest.bytes_allocated_per_event {:.4} bytes", allocated as f64 / events);
    println!("ingest.allocations_per_event {:.6} allocations", allocations as f64 / events);

    of_messages();
    with_names(&records);
    follow_beside(&records);
    bytes_per_flow(&records);
}

/// Messages: decoded, joined with the request they answer, stored.
fn of_messages() {
    let messages = messages(RECORDS);
    let pipeline = pipeline(4096);
    let mut intake = pipeline.intake().expect("the first");
    let mut costs = Vec::new();
    let mut allocations = 0;
    for _ in 0..ROUNDS {
        let counted = ALLOCATIONS.load(Ordering::Relaxed);
        let before = cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID);
        for drain in messages.chunks(1024) {
            intake.begin_batch();
            for bytes in drain {
                intake.take(decode(bytes.as_bytes()).expect("a record"));
            }
            intake.publish();
        }
        costs.push(cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID) - before);
        allocations = ALLOCATIONS.load(Ordering::Relaxed) - counted;
    }
    costs.sort_unstable();
    figure("ingest.ns_per_message.median", costs[ROUNDS / 2] as f64 / f64::from(RECORDS), "ns");
    let per_message = allocations as f64 / f64::from(RECORDS);
    println!("ingest.allocations_per_message {per_message:.3} allocations");
}

/// The same where half of the addresses have names learned from DNS.
fn with_names(records: &[fathom_bpf::abi::Event]) {
    let pipeline = pipeline(4096);
    let mut intake = pipeline.intake().expect("the first");
    let name = ["name.example.org".into()];
    for record in records.iter().step_by(2) {
        intake.names().learn(record.saddr, record.daddr, &name, Duration::from_secs(3600), record.time_ns);
    }
    let mut best = u64::MAX;
    let mut allocations = 0;
    for _ in 0..ROUNDS {
        let counted = ALLOCATIONS.load(Ordering::Relaxed);
        let before = cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID);
        for drain in records.chunks(1024) {
            intake.begin_batch();
            drain.iter().for_each(|event| intake.take(packet(event)));
            intake.publish();
        }
        best = best.min(cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID) - before);
        allocations = ALLOCATIONS.load(Ordering::Relaxed) - counted;
    }
    figure("ingest.ns_per_event.with_names", best as f64 / f64::from(RECORDS), "ns");
    let per_event = allocations as f64 / f64::from(RECORDS);
    println!("ingest.allocations_per_event.with_names {per_event:.6} allocations");
}

/// The same while somebody reads every flow as it comes.
fn follow_beside(records: &[fathom_bpf::abi::Event]) {
    use fathom_node_agent::events::cursor::Cursor;
    let pipeline = pipeline(4096);
    let mut intake = pipeline.intake().expect("the first");
    let store = std::sync::Arc::clone(&pipeline.shared().store);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut cursor, mut chunk) = (Cursor::new(store, 0, 0), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                cursor.next_chunk(u64::MAX, &mut chunk);
                if chunk.is_empty() {
                    std::thread::sleep(Duration::from_micros(50));
                }
                chunk.clear();
            }
        });
        let mut best = u64::MAX;
        for _ in 0..ROUNDS {
            let before = cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID);
            for drain in records.chunks(1024) {
                intake.begin_batch();
                drain.iter().for_each(|event| intake.take(packet(event)));
                intake.publish();
            }
            best = best.min(cpu_ns(ClockId::CLOCK_THREAD_CPUTIME_ID) - before);
        }
        stop.store(true, Ordering::Relaxed);
        figure("ingest.ns_per_event.with_follower", best as f64 / f64::from(RECORDS), "ns");
    });
}

/// What a large store holds, beside the snapshot it refers to.
fn bytes_per_flow(records: &[fathom_bpf::abi::Event]) {
    let pipeline = pipeline(LARGE);
    let mut intake = pipeline.intake().expect("the first");
    let before = LIVE.load(Ordering::Relaxed);
    for record in records.iter().cycle().take(LARGE) {
        intake.take(packet(record));
    }
    intake.publish();
    let held = LIVE.load(Ordering::Relaxed) - before;
    // The slots were made with the store.
    let slots = (LARGE * size_of::<usize>()) as i64;
    figure("store.bytes_per_flow.measured", (held + slots) as f64 / LARGE as f64, "bytes");
    figure("store.bytes_per_flow.with_allocator", BYTES_PER_FLOW as f64, "bytes");
}
