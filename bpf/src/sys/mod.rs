//! The system calls that libbpf-rs doesn't wrap, each behind a safe function.
//!
//! Together with its neighbours here, `ring/` and the generated skeleton this is all the `unsafe` there is.

use std::ffi::{CString, c_void};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use libbpf_sys as ffi;

pub(crate) mod insn;
pub(crate) mod map;
pub(crate) mod netns;
pub(crate) mod tc;

/// Where a program is attached: the numbers of the kernel's `enum bpf_attach_type`.
pub(crate) type AttachType = ffi::bpf_attach_type;

/// What a link is attached to right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkTarget {
    /// A device, by index; 0 when the device is gone.
    Tcx(u32),
    /// A cgroup, by id; 0 when the cgroup is gone.
    Cgroup(u64),
    /// Something this crate doesn't make.
    Other,
}

/// Negative return values of libbpf carry the errno.
fn check(ret: i32) -> io::Result<i32> {
    if ret < 0 { Err(io::Error::from_raw_os_error(-ret)) } else { Ok(ret) }
}

fn owned(ret: i32) -> io::Result<OwnedFd> {
    // SAFETY: libbpf returned a new descriptor that nothing else owns.
    check(ret).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn path_to_c(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Attaches `program` to `target`: an ifindex for tcx, a cgroup's descriptor for socket hooks.
pub(crate) fn link_create(program: BorrowedFd<'_>, target: i32, at: AttachType) -> io::Result<OwnedFd> {
    let opts = ffi::bpf_link_create_opts {
        sz: size_of::<ffi::bpf_link_create_opts>() as ffi::size_t,
        ..Default::default()
    };
    // SAFETY: `opts` is valid for the call and its size field is right.
    owned(unsafe { ffi::bpf_link_create(program.as_raw_fd(), target, at, &raw const opts) })
}

/// Puts another program into a link: packets see the old one or the new one, never none.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open; no options are passed.
    check(unsafe { ffi::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), ptr::null()) }).map(drop)
}

/// Takes the program off its place now. Closing or unpinning a link does so too, but some time later.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { ffi::bpf_link_detach(link.as_raw_fd()) }).map(drop)
}

/// What the link hangs on.
pub(crate) fn link_target(link: BorrowedFd<'_>) -> io::Result<LinkTarget> {
    // SAFETY: all-zero is a valid `bpf_link_info`.
    let mut info: ffi::bpf_link_info = unsafe { zeroed() };
    let mut size = size_of::<ffi::bpf_link_info>() as u32;
    // SAFETY: `info` is writable for `size` bytes.
    check(unsafe { ffi::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut size) })?;
    Ok(match info.type_ {
        // SAFETY: the kernel says which member of the union it wrote.
        ffi::BPF_LINK_TYPE_TCX => LinkTarget::Tcx(unsafe { info.__bindgen_anon_1.tcx.ifindex }),
        ffi::BPF_LINK_TYPE_CGROUP => {
            // SAFETY: as above.
            LinkTarget::Cgroup(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id })
        }
        _ => LinkTarget::Other,
    })
}

/// Gives a kernel object a name in a BPF file system; it then outlives the process.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = path_to_c(path)?;
    // SAFETY: the path is NUL-terminated and lives through the call.
    check(unsafe { ffi::bpf_obj_pin(object.as_raw_fd(), path.as_ptr()) }).map(drop)
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = path_to_c(path)?;
    // SAFETY: as in `pin`.
    owned(unsafe { ffi::bpf_obj_get(path.as_ptr()) })
}

/// One run of a program on a packet, by the kernel's own test harness.
pub(crate) struct TestRun<'a> {
    pub packet: &'a [u8],
    /// Room for the packet as the program left it.
    pub out: &'a mut [u8],
    /// Device the packet is on; 0 or 1 = the loopback device of this network namespace.
    pub ifindex: u32,
    pub repeat: u32,
}

/// Result of [`test_run`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestRunResult {
    pub retval: i32,
    pub out_len: usize,
    /// Mean of all repeats.
    pub duration_ns: u32,
}

pub(crate) fn test_run(program: BorrowedFd<'_>, run: TestRun<'_>) -> io::Result<TestRunResult> {
    // The head of `struct __sk_buff` up to `ifindex`, all else zero.
    let mut context = [0u32; 11];
    context[10] = run.ifindex;
    let mut opts = ffi::bpf_test_run_opts {
        sz: size_of::<ffi::bpf_test_run_opts>() as ffi::size_t,
        data_in: run.packet.as_ptr().cast(),
        data_size_in: run.packet.len() as u32,
        data_out: run.out.as_mut_ptr().cast(),
        data_size_out: run.out.len() as u32,
        ctx_in: context.as_ptr().cast(),
        ctx_size_in: size_of_val(&context) as u32,
        repeat: run.repeat as i32,
        ..Default::default()
    };
    // SAFETY: every pointer in `opts` is valid for the size beside it during the call.
    check(unsafe { ffi::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut opts) })?;
    Ok(TestRunResult {
        retval: opts.retval as i32,
        out_len: opts.data_size_out as usize,
        duration_ns: opts.duration,
    })
}

/// Whether programs of this type may call the helper; `None` when the kernel gave no clear answer.
pub(crate) fn helper_available(program_type: ffi::bpf_prog_type, helper: ffi::bpf_func_id) -> Option<bool> {
    // SAFETY: no options are passed; libbpf loads and drops a two-instruction program.
    match unsafe { ffi::libbpf_probe_bpf_helper(program_type, helper, ptr::null()) } {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Whether the kernel has maps of this type.
pub(crate) fn map_type_available(map_type: ffi::bpf_map_type) -> bool {
    // SAFETY: no options are passed.
    unsafe { ffi::libbpf_probe_bpf_map_type(map_type, ptr::null()) == 1 }
}

/// Whether hashes can be read in batches.
pub(crate) fn batch_available() -> bool {
    let like =
        map::MapInfo { kind: ffi::BPF_MAP_TYPE_HASH, key_size: 4, value_size: 4, max_entries: 1, flags: 0 };
    map::RawMap::create_like(&like, c"fathom_probe", 1)
        .is_ok_and(|map| map.lookup_batch(&mut Vec::new(), &mut [0; 4], &mut [0; 4]).is_ok())
}

/// Loads `return 0` as a tc program.
pub(crate) fn load_empty_classifier() -> io::Result<OwnedFd> {
    load_classifier(&[insn::mov_imm(0, 0), insn::exit()])
}

/// Loads a tc program from its instructions.
pub(crate) fn load_classifier(insns: &[ffi::bpf_insn]) -> io::Result<OwnedFd> {
    let license = c"Dual BSD/GPL";
    // SAFETY: instructions and strings live through the call; no options are passed.
    owned(unsafe {
        ffi::bpf_prog_load(
            ffi::BPF_PROG_TYPE_SCHED_CLS,
            ptr::null(),
            license.as_ptr(),
            insns.as_ptr(),
            insns.len() as ffi::size_t,
            ptr::null_mut(),
        )
    })
}

/// CPUs the kernel may ever bring up: the number of values behind a per-CPU key.
pub(crate) fn possible_cpus() -> io::Result<usize> {
    // SAFETY: takes no arguments.
    check(unsafe { ffi::libbpf_num_possible_cpus() }).map(|n| n as usize)
}

/// Magic number of the file system `path` is on.
pub(crate) fn filesystem_magic(path: &Path) -> io::Result<i64> {
    let path = path_to_c(path)?;
    // SAFETY: all-zero is a valid `statfs`.
    let mut info: libc::statfs = unsafe { zeroed() };
    // SAFETY: the path is NUL-terminated, `info` is writable.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut info) } != 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(clippy::unnecessary_cast)] // the width differs by architecture
    Ok(info.f_type as i64)
}

/// Mounts a BPF file system on `path`.
pub(crate) fn mount_bpffs(path: &Path) -> io::Result<()> {
    let path = path_to_c(path)?;
    let kind = c"bpf";
    // SAFETY: all strings are NUL-terminated, no data is passed.
    let ret = unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, ptr::null::<c_void>()) };
    if ret != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Unmounts lazily: what is open stays usable until closed.
pub(crate) fn unmount(path: &std::ffi::CStr) {
    // SAFETY: the path is NUL-terminated.
    unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
}

/// Resolution of the coarse clock: the length of one timer tick.
pub(crate) fn tick_ns() -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    if unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Waits until every program that was running when this was called has returned.
///
/// By writing to a map of maps, after which bpf(2) waits for a grace period itself (4.20). Rejected:
/// membarrier(2), which waits for nothing where there is one processor; programs are preempted there too.
pub(crate) fn wait_for_running_programs() -> io::Result<()> {
    let like = |kind| map::MapInfo { kind, key_size: 4, value_size: 4, max_entries: 1, flags: 0 };
    let inner = map::RawMap::create_like(&like(ffi::BPF_MAP_TYPE_ARRAY), c"fathom_inner", 1)?;
    let outer = map::RawMap::create_of_maps(&like(ffi::BPF_MAP_TYPE_ARRAY_OF_MAPS), c"fathom_outer", &inner)?;
    outer.update(&[0; 4], &inner.fd().as_raw_fd().to_ne_bytes())
}

/// The cookie of the network namespace the calling thread is in (SO_NETNS_COOKIE, Linux 5.14).
///
/// # Errors
/// `ENOPROTOOPT` on older kernels.
pub fn netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` is writable for `len` bytes.
    let ret = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if ret != 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
