use super::super::store::{StoreSize, Writer};
use super::*;
use crate::events::source::{L7Counts, Traffic};
use crate::events::testing::{event, flow_at};

/// A kernel whose counts a test sets.
struct FakeKernel(Mutex<Result<KernelCounts, ()>>);

impl KernelLedger for FakeKernel {
    fn counts(&self) -> anyhow::Result<KernelCounts> {
        lock(&self.0).map_err(|()| anyhow::anyhow!("no such map"))
    }

    fn traffic(&self) -> anyhow::Result<Vec<Traffic>> {
        Ok(Vec::new())
    }
}

impl FakeKernel {
    fn set(&self, change: impl FnOnce(&mut KernelCounts)) {
        change(lock(&self.0).as_mut().expect("readable"));
    }
}

fn books() -> (Ledger, Arc<FakeKernel>, Writer) {
    let kernel = Arc::new(FakeKernel(Mutex::new(Ok(KernelCounts {
        // An earlier agent took 100 and 10 were lost.
        events: Lane { emitted: 110, lost: 10, taken: 100, held: 0 },
        other_records: 110,
        ..Default::default()
    }))));
    let (store, writer) = Store::new(StoreSize { flows: 4, denials: 4 }).expect("valid");
    (Ledger::new(Arc::clone(&kernel) as _, store, "node-a".into()), kernel, writer)
}

fn stage<'a>(sheet: &'a NodeLedger, name: &str) -> &'a LedgerStage {
    sheet.stages.iter().find(|stage| stage.name == name).expect("the stage")
}

fn store_flows(writer: &mut Writer, flows: u64) {
    for time in 0..flows {
        writer.push(flow_at(event(), time as i64));
    }
    writer.publish();
}

#[test]
fn a_quiet_node_balances_stage_by_stage() {
    let (ledger, kernel, mut writer) = books();
    kernel.set(|counts| {
        counts.events = Lane { emitted: 130, lost: 15, taken: 110, held: 5 };
        counts.drops = Lane { emitted: 2, lost: 0, taken: 2, held: 0 };
        counts.packets_seen = 900;
        counts.packets_aggregated = 700;
        counts.packets_untracked = 100;
        counts.packets_reported = 100;
        counts.other_records = 32;
        counts.l7 = L7Counts { emitted: 9, lost: 2, ..Default::default() };
    });
    store_flows(&mut writer, 11);
    ledger.set_reader(ReaderCounts { taken: 12, stored: 11, undecodable: 1, holes: [5, 0] });
    ledger.add_client(ClientCounts { passed: 11, sent: 6, filtered: 4, lost: 1 });
    let sheet = ledger.sheet();
    assert_eq!((sheet.balanced, sheet.problem.as_str()), (true, ""));
    for stage in &sheet.stages {
        assert_eq!(stage.r#in, stage.out + stage.aggregated + stage.lost + stage.held, "{}", stage.name);
    }
    let lost = |name| stage(&sheet, name).lost;
    assert_eq!((lost("kernel.events"), lost("reader"), lost("clients")), (15, 1, 1));
    assert_eq!((stage(&sheet, "kernel.l7").out, lost("kernel.l7")), (7, 2));
    assert_eq!(stage(&sheet, "kernel.packets").aggregated, 800);
    assert_eq!((stage(&sheet, "store").out, stage(&sheet, "store").held), (7, 4));
}

#[test]
fn a_record_that_is_in_nobodys_books_is_named() {
    let (ledger, kernel, _writer) = books();
    kernel.set(|counts| counts.packets_seen += 3);
    assert_eq!(ledger.sheet().problem, "kernel.packets: 3 seen, 0 reported and 0 accounted without a record");
    kernel.set(|counts| counts.packets_reported += 3);
    assert_eq!(ledger.sheet().problem, "kernel.packets: 113 records due, 110 emitted");
    kernel.set(|counts| counts.events.emitted += 3);
    let sheet = ledger.sheet();
    assert!(!sheet.balanced);
    assert_eq!(sheet.problem, "kernel.events: 113 emitted, 100 taken, 0 held and 10 lost");
    kernel.set(|counts| counts.events.taken += 3);
    assert!(
        ledger.sheet().problem.contains("reader: 3 records left the rings"),
        "{}",
        ledger.sheet().problem
    );
    ledger.set_reader(ReaderCounts { taken: 3, stored: 3, ..Default::default() });
    assert!(ledger.sheet().balanced);
}

#[test]
fn the_numbering_is_a_check_on_the_kernels_own_count() {
    let (ledger, kernel, _writer) = books();
    ledger.set_reader(ReaderCounts { holes: [0, 2], ..Default::default() });
    assert!(ledger.sheet().problem.contains("kernel.drops: the numbering lacks 2 records"));
    kernel.set(|counts| {
        counts.drops = Lane { emitted: 2, lost: 2, taken: 0, held: 0 };
        counts.other_records += 2;
    });
    assert!(ledger.sheet().balanced);
}

#[test]
fn a_loss_before_this_process_explains_no_hole_in_it_unless_its_records_were_still_there() {
    let (ledger, ..) = books();
    ledger.set_reader(ReaderCounts { holes: [1, 0], ..Default::default() });
    let problem = ledger.sheet().problem;
    assert!(problem.contains("lacks 1 records, the kernel counted 0 as lost"), "{problem}");

    let held = Lane { emitted: 110, lost: 10, taken: 95, held: 5 };
    let kernel =
        FakeKernel(Mutex::new(Ok(KernelCounts { events: held, other_records: 110, ..Default::default() })));
    let (store, _writer) = Store::new(StoreSize { flows: 4, denials: 4 }).expect("valid");
    let ledger = Ledger::new(Arc::new(kernel), store, "node-a".into());
    ledger.set_reader(ReaderCounts { holes: [10, 0], ..Default::default() });
    assert_eq!(ledger.sheet().problem, "", "the ten may lie between the five");
    ledger.set_reader(ReaderCounts { holes: [11, 0], ..Default::default() });
    assert!(ledger.sheet().problem.contains("lacks 11 records"));
}

#[test]
fn a_ledger_that_cannot_be_read_says_so_and_shows_its_own_stages() {
    let (ledger, kernel, _writer) = books();
    *lock(&kernel.0) = Err(());
    let sheet = ledger.sheet();
    assert!(!sheet.balanced);
    assert!(sheet.problem.contains("no such map"), "{}", sheet.problem);
    assert_eq!(sheet.stages.len(), 2);
}

#[tokio::test]
async fn a_balance_waits_for_a_record_under_way() {
    let (ledger, kernel, _writer) = books();
    kernel.set(|counts| {
        counts.other_records += 1;
        counts.events.emitted += 1;
    });
    let ledger = Arc::new(ledger);
    let asked = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move { ledger.balance().await }
    });
    tokio::task::yield_now().await;
    kernel.set(|counts| counts.events.held += 1);
    assert!(asked.await.expect("no panic").balanced);
}
