//! bpf(2) on one map, in bytes. The sizes are the kernel's own, so that no call can overrun.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_sys as ffi;

use super::{check, owned, possible_cpus};

/// What the kernel says about a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapInfo {
    pub kind: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
}

/// A map's descriptor and its sizes.
#[derive(Debug)]
pub(crate) struct RawMap {
    fd: OwnedFd,
    info: MapInfo,
    /// Bytes of one value as system calls carry it: all CPUs of a per-CPU map.
    value_len: usize,
}

impl RawMap {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let info = info(fd.as_fd())?;
        let value_len = if is_per_cpu(info.kind) {
            (info.value_size as usize).next_multiple_of(8) * possible_cpus()?
        } else {
            info.value_size as usize
        };
        Ok(Self { fd, info, value_len })
    }

    /// Creates an anonymous map of the same kind, sizes and flags as `template`.
    pub(crate) fn create_like(template: &MapInfo, name: &CStr, entries: u32) -> io::Result<Self> {
        Self::create(template, name, entries, 0)
    }

    /// Creates an anonymous map of maps like `inner`.
    pub(crate) fn create_of_maps(template: &MapInfo, name: &CStr, inner: &Self) -> io::Result<Self> {
        Self::create(template, name, template.max_entries, inner.fd.as_raw_fd())
    }

    fn create(template: &MapInfo, name: &CStr, entries: u32, inner_map: i32) -> io::Result<Self> {
        let opts = ffi::bpf_map_create_opts {
            sz: size_of::<ffi::bpf_map_create_opts>() as ffi::size_t,
            map_flags: template.flags,
            inner_map_fd: inner_map as u32,
            ..Default::default()
        };
        // SAFETY: name and options live through the call.
        let fd = owned(unsafe {
            ffi::bpf_map_create(
                template.kind,
                name.as_ptr(),
                template.key_size,
                template.value_size,
                entries,
                &raw const opts,
            )
        })?;
        Self::new(fd)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn info(&self) -> &MapInfo {
        &self.info
    }

    pub(crate) fn value_len(&self) -> usize {
        self.value_len
    }

    pub(crate) fn key_len(&self) -> usize {
        self.info.key_size as usize
    }

    /// Reads the value under `key`; says whether there is one.
    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        assert_eq!((key.len(), value.len()), (self.key_len(), self.value_len));
        // SAFETY: key and value have the lengths the kernel reads and writes.
        let ret = check(unsafe {
            ffi::bpf_map_lookup_elem(self.fd.as_raw_fd(), key.as_ptr().cast(), value.as_mut_ptr().cast())
        });
        found(ret)
    }

    pub(crate) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!((key.len(), value.len()), (self.key_len(), self.value_len));
        // SAFETY: as in `lookup`.
        check(unsafe {
            ffi::bpf_map_update_elem(
                self.fd.as_raw_fd(),
                key.as_ptr().cast(),
                value.as_ptr().cast(),
                u64::from(ffi::BPF_ANY),
            )
        })
        .map(drop)
    }

    /// Removes `key`; says whether it was there.
    pub(crate) fn delete(&self, key: &[u8]) -> io::Result<bool> {
        assert_eq!(key.len(), self.key_len());
        // SAFETY: as in `lookup`.
        let ret = unsafe { ffi::bpf_map_delete_elem(self.fd.as_raw_fd(), key.as_ptr().cast()) };
        found(check(ret))
    }

    /// The key after `key`, or the first; `None` at the end.
    pub(crate) fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.key_len()];
        let start = key.map_or(std::ptr::null(), |key| {
            assert_eq!(key.len(), self.key_len());
            key.as_ptr()
        });
        // SAFETY: `next` has the length of a key; `start` is null or a key.
        let ret = check(unsafe {
            ffi::bpf_map_get_next_key(self.fd.as_raw_fd(), start.cast(), next.as_mut_ptr().cast())
        });
        found(ret).map(|found| found.then_some(next))
    }

    /// Writes as many elements as `keys` holds, in one system call.
    pub(crate) fn update_batch(&self, keys: &[u8], values: &[u8]) -> io::Result<()> {
        let mut count = (keys.len() / self.key_len()) as u32;
        assert_eq!(keys.len(), count as usize * self.key_len());
        assert_eq!(values.len(), count as usize * self.value_len);
        let opts = batch_opts();
        // SAFETY: both slices hold `count` elements.
        check(unsafe {
            ffi::bpf_map_update_batch(
                self.fd.as_raw_fd(),
                keys.as_ptr().cast(),
                values.as_ptr().cast(),
                &raw mut count,
                &raw const opts,
            )
        })
        .map(drop)
    }

    /// Reads as many elements as fit from `cursor` on. Returns how many, and whether that was the
    /// last of them. `cursor` is empty before the first call and the kernel's afterwards.
    pub(crate) fn lookup_batch(
        &self,
        cursor: &mut Vec<u8>,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        let mut count = (keys.len() / self.key_len()) as u32;
        assert_eq!(values.len(), count as usize * self.value_len);
        // The kernel's cursor is a u32 in hashes and a key elsewhere.
        let mut next = vec![0u8; self.key_len().max(4)];
        let start = if cursor.is_empty() { std::ptr::null_mut() } else { cursor.as_mut_ptr() };
        let opts = batch_opts();
        // SAFETY: `keys` and `values` hold `count` elements; both cursors are as long as above.
        let ret = check(unsafe {
            ffi::bpf_map_lookup_batch(
                self.fd.as_raw_fd(),
                start.cast(),
                next.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &raw mut count,
                &raw const opts,
            )
        });
        let more = found(ret)?;
        *cursor = next;
        Ok((count as usize, !more))
    }
}

/// What kind of map a descriptor is.
pub(crate) fn info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = ffi::bpf_map_info::default();
    let mut len = size_of::<ffi::bpf_map_info>() as u32;
    // SAFETY: `info` is writable for `len` bytes.
    check(unsafe { ffi::bpf_map_get_info_by_fd(fd.as_raw_fd(), &raw mut info, &raw mut len) })?;
    Ok(MapInfo {
        kind: info.type_,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
    })
}

/// The kernel-wide id of a map; no other map had it or will have it.
pub(crate) fn id(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = ffi::bpf_map_info::default();
    let mut len = size_of::<ffi::bpf_map_info>() as u32;
    // SAFETY: `info` is writable for `len` bytes.
    check(unsafe { ffi::bpf_map_get_info_by_fd(fd.as_raw_fd(), &raw mut info, &raw mut len) })?;
    Ok(info.id)
}

/// Descriptor of the map with this kernel-wide id.
pub(crate) fn by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes a number.
    owned(unsafe { ffi::bpf_map_get_fd_by_id(id) })
}

/// The operation isn't there for this map type on this kernel.
pub(crate) fn batch_unsupported(error: &io::Error) -> bool {
    /// The kernel's own "not supported", which libc doesn't know.
    const ENOTSUPP: i32 = 524;
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
}

fn is_per_cpu(kind: u32) -> bool {
    matches!(
        kind,
        ffi::BPF_MAP_TYPE_PERCPU_HASH | ffi::BPF_MAP_TYPE_PERCPU_ARRAY | ffi::BPF_MAP_TYPE_LRU_PERCPU_HASH
    )
}

fn batch_opts() -> ffi::bpf_map_batch_opts {
    ffi::bpf_map_batch_opts { sz: size_of::<ffi::bpf_map_batch_opts>() as ffi::size_t, ..Default::default() }
}

fn found(ret: io::Result<i32>) -> io::Result<bool> {
    match ret {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
