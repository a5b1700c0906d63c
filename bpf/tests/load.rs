//! Loading, pinning, attaching: what one agent process leaves for the next.

use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fathom_bpf::Error;
use fathom_bpf::abi::{self, LedgerStage, PolicyEntry, PolicyKey, direction, policy_verdict};
use fathom_bpf::attach::Mechanism;
use fathom_bpf::load::{Datapath, L7Mode, LoadConfig, Program, Sizes, remove_pins};
use fathom_bpf::maps::{Scope, ServiceSpec};
use fathom_bpf::probe::Features;
use fathom_bpf::ring::{EVENT_SPAN, Gauge, Lane};
use fathom_bpf::testing::{TempBpffs, TempCgroup, Veth, datapath, drain, in_new_netns, run, unmount};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

/// An Ethernet frame of nothing in particular: every program counts it.
const FRAME: [u8; 60] = {
    let mut frame = [0; 60];
    frame[12] = 0x08; // IPv4, of version 0: dropped by any program of ours
    frame
};

fn pinned(dir: &Path) -> LoadConfig {
    let pin_dir = Some(dir.to_owned());
    LoadConfig { pin_dir, l7: L7Mode::Off, sizes: Sizes::small(), ..LoadConfig::default() }
}

fn load(config: &LoadConfig) -> Datapath {
    Datapath::load(config).expect("load (needs root)")
}

fn instance(bpffs: &TempBpffs) -> PathBuf {
    bpffs.path().join("fathom/node")
}

fn seen(datapath: &Datapath) -> u64 {
    datapath.maps().ledger.read().expect("ledger")[LedgerStage::PacketsSeen]
}

fn rule(identity: u32, rule_id: u32) -> (PolicyKey, PolicyEntry) {
    (
        PolicyKey { identity, direction: direction::INGRESS, ..PolicyKey::default() },
        PolicyEntry { rule_id, verdict: policy_verdict::ALLOW, ..PolicyEntry::default() },
    )
}

#[test]
fn a_second_load_finds_what_the_first_wrote() {
    let bpffs = TempBpffs::new().expect("bpffs");
    let config = pinned(&instance(&bpffs));
    let address: IpAddr = "10.0.0.5".parse().expect("address");
    let endpoint = abi::Endpoint { identity: 300, id: 5, ..abi::Endpoint::default() };
    let service = ServiceSpec {
        id: 3,
        address: "fd00::1".parse().expect("address"),
        port: 443,
        proto: 6,
        scope: Scope::Inside,
        local: false,
        backends: vec![("fd00::2".parse().expect("address"), 8443)],
        affinity: Some(Duration::from_secs(60)),
    };
    let revision;
    {
        let first = load(&config);
        let maps = first.maps();
        maps.endpoints.upsert(&42, &endpoint).expect("endpoint");
        maps.ipcache.upsert(address, 300).expect("address");
        maps.ipcache.upsert_prefix("10.0.0.0/8".parse().expect("prefix"), 0x0100_0001).expect("prefix");
        maps.policy.swap(300, &[rule(301, 7), rule(302, 8)]).expect("policy");
        maps.services.replace(&service).expect("service");
        revision = maps.runtime.bump_revision().expect("revision");
        // An event nobody reads before the process ends.
        run(&first, Program::FromPod, &FRAME, 0).expect("run");
    }
    let second = load(&config);
    let maps = second.maps();
    assert_eq!(maps.endpoints.list().expect("list"), [(42, endpoint)]);
    assert_eq!(maps.ipcache.list().expect("list"), [(address, 300)]);
    let prefixes = maps.ipcache.list_prefixes().expect("list");
    assert_eq!(prefixes, [("10.0.0.0/8".parse().expect("prefix"), 0x0100_0001)]);
    let mut table = maps.policy.get(300).expect("get").expect("a table");
    table.sort_by_key(|(key, _)| key.identity);
    assert_eq!(table, [rule(301, 7), rule(302, 8)]);
    assert_eq!(maps.services.list(), [service]);
    assert_eq!(maps.runtime.revision().expect("revision"), revision);
    let left: Vec<Lane> =
        drain(&mut second.reader().expect("reader")).into_iter().map(|(lane, _)| lane).collect();
    assert_eq!(left, [Lane::Drops], "the event outlived the process");
}

#[test]
fn a_map_of_another_size_is_refused_by_name_and_replaced_on_request() {
    let bpffs = TempBpffs::new().expect("bpffs");
    let mut config = pinned(&instance(&bpffs));
    let first = load(&config);
    first.maps().ipcache.upsert([10, 0, 0, 1].into(), 1).expect("ipcache");
    first.maps().netns_endpoints.upsert(&1, &2).expect("netns");
    drop(first);

    config.sizes.ipcache *= 2;
    let error = Datapath::load(&config).expect_err("refused");
    assert!(
        matches!(&error, Error::IncompatiblePin { map, what: "size", .. } if map.starts_with("ipcache")),
        "{error}"
    );
    assert!(error.to_string().contains("4096, wanted 8192"), "{error}");

    config.replace_incompatible = true;
    let second = load(&config);
    assert_eq!(second.maps().ipcache.list().expect("list"), [], "replaced");
    assert_eq!(second.maps().netns_endpoints.list().expect("list"), [(1, 2)], "kept");
    drop(second);
    config.replace_incompatible = false;
    load(&config);
}

/// Emitted, taken, held and lost records of the lane for drops, over all rings it had.
fn drop_books(datapath: &Datapath, gauge: &Gauge) -> [u64; 4] {
    let ledger = datapath.maps().ledger.read().expect("ledger");
    let pending = gauge.pending(Lane::Drops);
    [
        ledger[LedgerStage::DropsEmitted],
        (pending.taken_bytes + pending.former_taken_bytes) / EVENT_SPAN,
        pending.bytes / EVENT_SPAN,
        ledger[LedgerStage::DropsLost] + pending.abandoned_bytes / EVENT_SPAN,
    ]
}

#[test]
fn the_books_balance_over_rings_that_are_replaced_and_what_nobody_took_is_lost() {
    let bpffs = TempBpffs::new().expect("bpffs");
    let dir = instance(&bpffs);
    let mut config = pinned(&dir);
    let old = load(&config);
    let drop_a_packet = |datapath: &Datapath| _ = run(datapath, Program::FromPod, &FRAME, 0).expect("run");
    (0..3).for_each(|_| drop_a_packet(&old));
    assert_eq!(drain(&mut old.reader().expect("reader")).len(), 3);
    (0..2).for_each(|_| drop_a_packet(&old));

    config.sizes.drops_bytes *= 2;
    config.replace_incompatible = true;
    let new = load(&config);
    let mut reader = new.reader().expect("reader");
    assert_eq!(drop_books(&new, &reader.gauge()), [5, 3, 0, 2], "two were still in the old ring");
    // Programs that were not replaced yet go on with the ring they know.
    drop_a_packet(&old);
    drop_a_packet(&new);
    assert_eq!(drop_books(&new, &reader.gauge()), [7, 3, 1, 3]);
    assert_eq!(drain(&mut reader).len(), 1);
    assert_eq!(drop_books(&new, &reader.gauge()), [7, 4, 0, 3]);
    drop((old, new, reader));

    config.replace_incompatible = false;
    for _ in 0..2 {
        let next = load(&config);
        assert_eq!(drop_books(&next, &next.reader().expect("reader").gauge()), [7, 4, 0, 3]);
        assert!(!dir.join("maps/drops_retired").exists(), "its memory is given back");
    }
    config.sizes.drops_bytes *= 2;
    config.replace_incompatible = true;
    let last = load(&config);
    drop_a_packet(&last);
    assert_eq!(drop_books(&last, &last.reader().expect("reader").gauge()), [8, 4, 1, 3]);
}

#[test]
fn a_replacement_that_was_cut_short_begins_again() {
    let bpffs = TempBpffs::new().expect("bpffs");
    let dir = instance(&bpffs);
    let first = load(&pinned(&dir));
    run(&first, Program::FromPod, &FRAME, 0).expect("run");
    std::fs::rename(dir.join("maps/drops"), dir.join("maps/drops_retired")).expect("rename");
    let second = load(&pinned(&dir));
    assert_eq!(drop_books(&second, &second.reader().expect("reader").gauge()), [1, 0, 1, 0]);
}

#[test]
fn maps_of_another_abi_are_refused_and_replaced_on_request() {
    let bpffs = TempBpffs::new().expect("bpffs");
    let dir = instance(&bpffs);
    let mut config = pinned(&dir);
    load(&config).maps().netns_endpoints.upsert(&1, &2).expect("netns");
    std::fs::remove_file(dir.join("abi")).expect("marker");
    symlink("0", dir.join("abi")).expect("an older marker");

    let error = Datapath::load(&config).expect_err("refused");
    assert!(error.to_string().contains("version is 0, wanted 2"), "{error}");
    config.replace_incompatible = true;
    assert_eq!(load(&config).maps().netns_endpoints.list().expect("list"), []);
}

#[test]
fn a_pin_directory_without_a_bpf_file_system_gets_one_or_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("file"), "in the way").expect("write");
    let error = Datapath::load(&pinned(&dir.path().join("pins"))).expect_err("refused");
    let hint = format!("mount -t bpf bpf {}", dir.path().display());
    assert!(error.to_string().contains(&hint), "{error}");

    let empty = tempfile::tempdir().expect("a directory");
    let pins = empty.path().join("pins");
    load(&pinned(&pins));
    assert!(fathom_bpf::is_bpffs(&pins), "mounted");
    unmount(empty.path());
}

#[test]
fn a_policy_table_is_swapped_whole_and_bounded() {
    let datapath = datapath().expect("load (needs root)");
    let policy = &datapath.maps().policy;
    policy.swap(300, &[rule(1, 1), rule(2, 2)]).expect("swap");
    policy.swap(300, &[rule(3, 3)]).expect("swap");
    assert_eq!(policy.get(300).expect("get"), Some(vec![rule(3, 3)]), "nothing of the old one");
    let large: Vec<_> = (0..3000).map(|n| rule(n + 1, n)).collect();
    policy.swap(301, &large).expect("larger than a small inner map");
    assert_eq!(policy.get(301).expect("get").map(|table| table.len()), Some(3000));
    let too_large: Vec<_> = (0..4097).map(|n| rule(n + 1, n)).collect();
    let error = policy.swap(301, &too_large).expect_err("too large").to_string();
    assert!(error.contains("4097 entries don't fit map policy: the limit is 4096"), "{error}");
    assert_eq!(policy.get(301).expect("get").map(|table| table.len()), Some(3000), "unharmed");
    let (one, two) = ([rule(4, 4)], [rule(5, 5), rule(6, 6)]);
    policy.swap_all([(302, one.as_slice()), (303, two.as_slice())]).expect("swap");
    assert_eq!(policy.get(302).expect("get"), Some(one.to_vec()));
    assert_eq!(policy.get(303).expect("get").map(|table| table.len()), Some(2));
    policy.swap_all([(302, one.as_slice()), (303, too_large.as_slice())]).expect_err("too large");
    assert_eq!(policy.get(303).expect("get").map(|table| table.len()), Some(2), "unharmed");
    assert!(policy.remove(302).expect("remove") && policy.remove(303).expect("remove"));
    let mut identities = policy.identities().expect("identities");
    identities.sort_unstable();
    assert_eq!(identities, [300, 301]);
    assert!(policy.remove(300).expect("remove"));
    assert!(!policy.remove(300).expect("remove"), "only once");
    assert_eq!(policy.get(300).expect("get"), None);
}

#[test]
fn more_identities_than_there_is_room_for_are_refused_by_number() {
    let limit = 16;
    let sizes = Sizes { policies: limit, ..Sizes::small() };
    let datapath = load(&LoadConfig { sizes, ..LoadConfig::default() });
    let policy = &datapath.maps().policy;
    let table = [rule(1, 1)];
    policy.swap_all((300..300 + limit).map(|identity| (identity, table.as_slice()))).expect("swap");
    let error = policy.swap(299, &[rule(1, 1)]).expect_err("full").to_string();
    assert!(error.contains("17 entries don't fit map policy (identities): the limit is 16"), "{error}");
    policy.swap(301, &[rule(2, 2)]).expect("one that is there can still be replaced");
}

/// Sends at least `count` frames each way, and until `meanwhile` ran `rounds` times; returns how many
/// frames it were each way. On a busy machine a replacement waits longer than the frames take.
fn under_traffic(veth: &Veth, count: usize, rounds: usize, mut meanwhile: impl FnMut()) -> u64 {
    let (ran, deadline) = (AtomicUsize::new(0), Instant::now() + Duration::from_secs(30));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while sent < count || ran.load(Ordering::Acquire) < rounds {
                assert!(
                    Instant::now() < deadline,
                    "{} of {rounds} replacements",
                    ran.load(Ordering::Acquire)
                );
                veth.send_from_pod(&FRAME).expect("send");
                veth.send_to_pod(&FRAME).expect("send");
                sent += 1;
            }
            sent as u64
        });
        while !sender.is_finished() {
            meanwhile();
            ran.fetch_add(1, Ordering::Release);
        }
        sender.join().expect("the sender")
    })
}

/// Waits until the backlog of the loopback cable is worked off: the count stands still.
fn settled(datapath: &Datapath, expected: u64) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(5);
    while seen(datapath) < expected && Instant::now() < deadline {
        std::thread::yield_now();
    }
    seen(datapath)
}

#[test]
fn programs_are_replaced_under_traffic_without_missing_or_doubling_a_packet() {
    in_new_netns(|| {
        let bpffs = TempBpffs::new().expect("bpffs");
        let config = pinned(&instance(&bpffs));
        let veth = Veth::new("fv").expect("veth");
        let (old, new) = (load(&config), load(&config));
        old.attach_endpoint(veth.ifindex()).expect("attach");
        if old.mechanism() == Mechanism::Tcx {
            assert_eq!(new.attached_endpoints().expect("list"), [veth.ifindex()]);
        }

        let mut turn = false;
        let sent = under_traffic(&veth, 10_000, 20, || {
            turn = !turn;
            let next = if turn { &new } else { &old };
            next.attach_endpoint(veth.ifindex()).expect("replace");
        });
        assert_eq!(settled(&new, 2 * sent), 2 * sent);
    });
}

#[test]
fn programs_go_on_without_the_process_that_attached_them() {
    in_new_netns(|| {
        let bpffs = TempBpffs::new().expect("bpffs");
        let dir = instance(&bpffs);
        let veth = Veth::new("fv").expect("veth");
        let first = load(&pinned(&dir));
        first.attach_endpoint(veth.ifindex()).expect("attach");
        drop(first);
        veth.send_from_pod(&FRAME).expect("send");
        let second = load(&pinned(&dir));
        assert_eq!(settled(&second, 1), 1, "counted while nobody was there");
        assert!(second.detach_endpoint(veth.ifindex()).expect("detach"));
        assert!(!second.detach_endpoint(veth.ifindex()).expect("detach"), "only once");
        veth.send_to_pod(&FRAME).expect("send");
        assert_eq!(seen(&second), 1, "detached");
    });
}

#[test]
fn pins_of_a_device_that_is_gone_are_swept() {
    in_new_netns(|| {
        let bpffs = TempBpffs::new().expect("bpffs");
        let dir = instance(&bpffs);
        let veth = Veth::new("fv").expect("veth");
        let first = load(&pinned(&dir));
        first.attach_endpoint(veth.ifindex()).expect("attach");
        let pin = dir.join(format!("links/from_pod-{}", veth.ifindex()));
        // Filters on clsact have no pins, and go with the device by themselves.
        assert_eq!(pin.exists(), first.mechanism() == Mechanism::Tcx);
        veth.delete().expect("delete");
        assert_eq!(first.attached_endpoints().expect("list"), []);
        load(&pinned(&dir));
        assert!(!pin.exists(), "swept by the next load");
    });
}

#[test]
fn what_has_nothing_to_read_is_not_loaded() {
    let bpffs = TempBpffs::new().expect("bpffs");
    let dir = instance(&bpffs);
    let placed = |l7| {
        let _datapath = load(&LoadConfig { l7, ..pinned(&dir) });
        let table = MapHandle::from_pinned_path(dir.join("maps/l7_programs")).expect("pinned");
        let has = |slot: &u32| table.lookup(&slot.to_ne_bytes(), MapFlags::ANY).expect("look up").is_some();
        (0..table.max_entries()).filter(has).count()
    };
    // Also what the one before had placed goes; all of them are more than DNS needs.
    assert_eq!([L7Mode::All, L7Mode::Dns, L7Mode::Off, L7Mode::All].map(placed), [8, 3, 0, 8]);
}

#[test]
fn a_device_that_does_not_exist_is_refused_and_leaves_nothing() {
    let bpffs = TempBpffs::new().expect("bpffs");
    let dir = instance(&bpffs);
    let datapath = load(&pinned(&dir));
    let error = datapath.attach_endpoint(i32::MAX as u32).expect_err("refused");
    assert_eq!(error.raw_os_error(), Some(19), "ENODEV: {error}");
    assert_eq!(std::fs::read_dir(dir.join("links")).expect("links").count(), 0);
}

#[test]
fn without_tcx_filters_on_clsact_do_the_same() {
    in_new_netns(|| {
        let features = Features { tcx: false, ..Features::probe() };
        let config = LoadConfig { l7: L7Mode::Off, sizes: Sizes::small(), ..LoadConfig::default() };
        let datapath = Datapath::load_with(&config, features).expect("load");
        assert_eq!(datapath.mechanism(), Mechanism::Clsact);
        let veth = Veth::new("fv").expect("veth");
        datapath.attach_endpoint(veth.ifindex()).expect("attach");
        let sent = under_traffic(&veth, 2000, 6, || {
            datapath.attach_endpoint(veth.ifindex()).expect("replace");
        });
        assert_eq!(settled(&datapath, 2 * sent), 2 * sent);
        assert!(datapath.detach_endpoint(veth.ifindex()).expect("detach"));
        assert!(!datapath.detach_endpoint(veth.ifindex()).expect("detach"), "only once");
        veth.send_to_pod(&FRAME).expect("send");
        assert_eq!(seen(&datapath), 2 * sent, "detached");
    });
}

#[test]
fn detaching_everything_and_removing_pins_leaves_nothing() {
    in_new_netns(|| {
        let bpffs = TempBpffs::new().expect("bpffs");
        let dir = instance(&bpffs);
        let (veth, cgroup) = (Veth::new("fv").expect("veth"), TempCgroup::new().expect("cgroup"));
        let datapath = load(&pinned(&dir));
        let endpoint = abi::Endpoint { identity: 300, ..abi::Endpoint::default() };
        datapath.maps().endpoints.upsert(&veth.ifindex(), &endpoint).expect("endpoint");
        datapath.attach_endpoint(veth.ifindex()).expect("attach");
        datapath.attach_cgroup(cgroup.path()).expect("attach");
        let on_device = if datapath.mechanism() == Mechanism::Tcx { 2 } else { 0 };
        assert_eq!(std::fs::read_dir(dir.join("links")).expect("links").count(), 8 + on_device);
        datapath.detach_all().expect("detach");
        assert_eq!(std::fs::read_dir(dir.join("links")).expect("links").count(), 0);
        veth.send_to_pod(&FRAME).expect("send");
        assert_eq!(seen(&datapath), 0, "detached");
        if datapath.mechanism() == Mechanism::Tcx {
            // With everything in place: removing the pins detaches as well.
            datapath.attach_endpoint(veth.ifindex()).expect("attach");
        }
        remove_pins(&dir).expect("remove");
        assert!(!dir.exists());
        veth.send_to_pod(&FRAME).expect("send");
        assert_eq!(seen(&datapath), 0, "detached");
        remove_pins(&dir).expect("nothing there is fine");
    });
}

#[test]
fn an_ordinary_directory_is_no_cgroup() {
    let dir = tempfile::tempdir().expect("a directory");
    let datapath = datapath().expect("load (needs root)");
    let error = datapath.attach_cgroup(dir.path()).expect_err("refused");
    assert!(error.to_string().starts_with("cannot attach sock_"), "{error}");
}
