use std::sync::mpsc;

use arc_swap::ArcSwap;
use fathom_api::flow::LostEventSource;
use fathom_bpf::abi::Event;
use fathom_bpf::decode::Record;

use super::*;
use crate::events::l7::Redaction;
use crate::events::ledger::Ledger;
use crate::events::source::{Drained, KernelCounts, KernelLedger, Lane, Traffic};
use crate::events::store::{Store, StoreSize};
use crate::events::testing::{event, snapshot};
use crate::metrics::Metrics;

/// Hands over what a test sends; each send is one drain.
struct Sent(mpsc::Receiver<anyhow::Result<(Vec<Event>, u64)>>);

impl RecordSource for Sent {
    fn drain(&mut self, wait: Duration, each: &mut dyn FnMut(Record<'_>)) -> anyhow::Result<Drained> {
        let Ok(sent) = self.0.recv_timeout(wait) else { return Ok(Drained::default()) };
        let (events, undecodable) = sent?;
        events.iter().for_each(|event| each(Record { event, message: None }));
        Ok(Drained { records: events.len() as u64, undecodable })
    }
}

#[derive(Default)]
struct LosingKernel(std::sync::atomic::AtomicU64);

impl KernelLedger for LosingKernel {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        let lost = self.0.load(Ordering::Relaxed);
        Ok(KernelCounts { events: Lane { emitted: lost, lost, ..Default::default() }, ..Default::default() })
    }

    fn traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        Ok(Vec::new())
    }
}

fn shared(kernel: Arc<LosingKernel>) -> (Arc<Shared>, Intake) {
    let (store, writer) = Store::new(StoreSize { flows: 64, denials: 4 }).expect("valid");
    let ledger = Ledger::new(kernel, Arc::clone(&store), "node-a".into());
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot()));
    let shared = Arc::new(Shared::new(store, ledger, Arc::new(Metrics::default()), snapshot));
    (Arc::clone(&shared), Intake::new(shared, writer, Redaction::default()))
}

fn wait_for(shared: &Shared, head: u64) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while shared.store.head() < head || shared.ledger.reader().stored < head {
        assert!(Instant::now() < deadline, "head {} of {head}", shared.store.head());
        std::thread::yield_now();
    }
}

#[test]
fn records_become_flows_and_an_unreadable_ring_is_tried_again() {
    let (shared, intake) = shared(Arc::default());
    let (send, receive) = mpsc::channel();
    let reader = Reader::spawn(Sent(receive), intake, Arc::clone(&shared)).expect("a thread");
    send.send(Ok((vec![event(); 3], 0))).expect("running");
    wait_for(&shared, 3);
    send.send(Err(anyhow::anyhow!("epoll is tired"))).expect("running");
    send.send(Ok((vec![event(); 2], 1))).expect("running");
    wait_for(&shared, 5);
    assert!(reader.is_alive());
    reader.stop();
    let counts = shared.ledger.reader();
    assert_eq!((counts.taken, counts.stored, counts.undecodable), (6, 5, 1));
    assert_eq!(shared.losses.total(LostEventSource::ObserverEventsQueue), 1);
    assert_eq!(shared.namespaces.list().len(), 1);
}

#[test]
fn losses_in_the_kernel_are_passed_on_once_and_those_of_earlier_agents_never() {
    let kernel = Arc::new(LosingKernel::default());
    kernel.0.store(1_000, Ordering::Relaxed);
    let (shared, _intake) = shared(Arc::clone(&kernel));
    shared.collect_kernel_losses();
    assert_eq!(shared.losses.total(LostEventSource::PerfEventRingBuffer), 0);
    kernel.0.store(1_041, Ordering::Relaxed);
    shared.collect_kernel_losses();
    shared.collect_kernel_losses();
    assert_eq!(shared.losses.total(LostEventSource::PerfEventRingBuffer), 41);
}
