use super::*;

const REST: Duration = Duration::from_secs(30);

fn key(container: &str) -> AttachmentKey {
    AttachmentKey { container_id: container.into(), interface: "eth0".into() }
}

fn open(dir: &Path) -> Attachments {
    let attachments = Attachments::open(dir, REST).unwrap();
    let prefixes: Vec<IpNet> = vec!["10.244.1.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
    attachments.set_prefixes(&prefixes, BTreeSet::new());
    attachments
}

fn allocate(attachments: &Attachments, container: &str) -> Attachment {
    attachments.allocate(&key(container), "default", container, "/run/netns/x", &[], "n").unwrap()
}

fn device(ifindex: u32) -> DeviceRecord {
    DeviceRecord { ifindex, pod_mac: String::new(), host_mac: String::new(), netns_cookie: 7 }
}

#[test]
fn asked_again_the_answer_is_the_same_and_another_pod_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let attachments = open(dir.path());
    let first = allocate(&attachments, "a");
    assert_eq!(allocate(&attachments, "a"), first);
    assert_ne!(allocate(&attachments, "b").addresses, first.addresses);
    let refused = attachments.allocate(&key("a"), "default", "other", "", &[], "n").unwrap_err();
    assert_eq!(refused.to_string(), "a/eth0 belongs to pod default/a");
}

#[test]
fn a_restart_brings_back_everything_and_a_release_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let before = open(dir.path());
    let a = allocate(&before, "a");
    allocate(&before, "b");
    before.wire(&key("a"), &a.host_interface, device(12)).unwrap();
    let known = LastKnownRecord {
        labels: vec!["k8s:app=web".into()],
        named_ports: vec![("web".into(), 6, 80)],
        l7_off: true,
    };
    before.remember(&key("a"), known.clone());
    before.release(&key("b")).unwrap();
    let after = open(dir.path());
    let listed = after.list();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].device, Some(device(12)));
    assert_eq!(listed[0].last_known, Some(known));
    let c = allocate(&after, "c");
    assert_eq!(c.addresses[0].to_string(), "10.244.1.4", "b's address rests over the restart");
    assert_ne!(c.id, a.id);
}

#[test]
fn a_disk_that_cannot_be_written_gives_no_address_away() {
    let dir = tempfile::tempdir().unwrap();
    let attachments = open(dir.path());
    fs::remove_dir_all(dir.path().join("endpoints")).unwrap();
    let failed = attachments.allocate(&key("a"), "default", "a", "", &[], "n").unwrap_err();
    assert!(failed.to_string().starts_with("cannot write "), "{failed}");
    assert!(attachments.list().is_empty());
}

#[test]
fn a_record_that_cannot_be_read_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("endpoints")).unwrap();
    let stray = dir.path().join("endpoints/stray.json");
    fs::write(&stray, "{").unwrap();
    assert!(open(dir.path()).list().is_empty());
    assert!(stray.exists());
}

#[test]
fn device_names_fit_and_differ() {
    let dir = tempfile::tempdir().unwrap();
    let attachments = open(dir.path());
    let (a, b) = (allocate(&attachments, "a").host_interface, allocate(&attachments, "b").host_interface);
    assert!(a.len() <= 15 && a != b, "{a} {b}");
}

#[test]
fn wiring_what_was_never_allocated_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(dir.path()).wire(&key("a"), "x", device(1)), Err(AttachError::Unknown(_))));
    assert!(open(dir.path()).release(&key("a")).unwrap().is_none());
}

fn adoption(uid: &str, address: &str, ifindex: u32) -> Adoption {
    Adoption {
        namespace: "default".into(),
        pod_name: "web".into(),
        uid: uid.into(),
        interface: "eth0".into(),
        netns: "/proc/7/ns/net".into(),
        addresses: vec![address.parse().unwrap()],
        host_interface: "veth7".into(),
        device: device(ifindex),
    }
}

#[test]
fn what_another_plugin_wired_is_taken_on_once_and_its_addresses_stay_the_other_plugins() {
    let dir = tempfile::tempdir().unwrap();
    let before = open(dir.path());
    let found = adoption("u1", "10.244.1.2", 7);
    assert!(before.adopt(&found).unwrap());
    assert!(
        !before.adopt(&Adoption { netns: "/proc/8/ns/net".into(), ..found.clone() }).unwrap(),
        "the same"
    );
    let id = before.get(&found.key()).unwrap().id;
    let known = LastKnownRecord { labels: vec![], named_ports: vec![], l7_off: true };
    before.remember(&found.key(), known.clone());

    let after = open(dir.path());
    assert!(after.adopt(&adoption("u1", "10.244.1.2", 9)).unwrap(), "behind another device");
    let adopted = after.get(&found.key()).unwrap();
    assert_eq!((adopted.id, adopted.last_known, adopted.device), (id, Some(known), Some(device(9))));
    assert_eq!(
        allocate(&after, "b").addresses[0].to_string(),
        "10.244.1.2",
        "the other plugin's addresses are none of ours"
    );
    after.release(&found.key()).unwrap();
    assert!(open(dir.path()).get(&found.key()).is_none());
}
