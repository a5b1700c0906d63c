//! A BPF ring buffer as memory: the positions and the data, read where the kernel wrote them.
//!
//! libbpf's reader calls back through C per record and can't say how much is left; this one hands
//! out slices and stops where the caller wants. Layout: one page with the consumer's position, one
//! with the producer's, then the data, mapped twice in a row so that no record is ever torn.
//! (kernel: Documentation/bpf/ringbuf.rst)

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::sys::map;

/// Bytes the kernel puts before each record.
pub(crate) const HEADER: u64 = 8;
/// Being written: the reader waits for it.
const BUSY: u32 = 1 << 31;
/// Given up by the program that reserved it.
const DISCARDED: u32 = 1 << 30;

/// One ring, mapped.
#[derive(Debug)]
pub(crate) struct MappedRing {
    fd: OwnedFd,
    /// Our page, writable.
    consumer: Mapping,
    /// The kernel's page and both images of the data, read only.
    producer: Mapping,
    mask: u64,
    page: usize,
}

/// Memory that is unmapped on drop.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is shared with the kernel anyway and only touched through atomics and, for
// committed records, plain reads; no thread owns it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, len: usize, protection: i32, offset: usize) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping chosen by the kernel; nothing else is at that address.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast())
            .map(|start| Self { start, len })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// How one call of [`MappedRing::consume`] ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub records: usize,
    /// Bytes of ring given back, headers included.
    pub bytes: u64,
}

impl MappedRing {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        let info = map::info(fd.as_fd())?;
        if info.kind != libbpf_sys::BPF_MAP_TYPE_RINGBUF {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a ring buffer"));
        }
        let size = info.max_entries as usize;
        // SAFETY: takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let consumer = Mapping::new(fd.as_fd(), page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let producer = Mapping::new(fd.as_fd(), page + 2 * size, libc::PROT_READ, page)?;
        Ok(Self { fd, consumer, producer, mask: size as u64 - 1, page })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.fd.as_fd()
    }

    /// Bytes of data the ring holds at most.
    pub(crate) fn size(&self) -> u64 {
        self.mask + 1
    }

    fn consumer_position(&self) -> &AtomicU64 {
        // SAFETY: the page begins with the position, aligned, and lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.consumer.start.as_ptr().cast()) }
    }

    fn producer_position(&self) -> u64 {
        // SAFETY: as above; the kernel writes it with release semantics, we only load.
        unsafe { AtomicU64::from_ptr(self.producer.start.as_ptr().cast()) }.load(Ordering::Acquire)
    }

    /// The length word of the record at `position`, flags included.
    fn header(&self, position: u64) -> u32 {
        let offset = (position & self.mask) as usize;
        // SAFETY: within the first image of the data; records are aligned to 8 bytes. The kernel
        // commits by an atomic exchange of this word.
        let word =
            unsafe { AtomicU32::from_ptr(self.producer.start.as_ptr().add(self.page + offset).cast()) };
        word.load(Ordering::Acquire)
    }

    /// The bytes after the header at `position`; `len` is at most the ring's size.
    fn payload(&self, position: u64, len: u32) -> &[u8] {
        let offset = (position & self.mask) as usize + HEADER as usize;
        let len = (len as usize).min(self.mask as usize + 1 - HEADER as usize);
        // SAFETY: offset < size + HEADER and len <= size - HEADER: inside the two images. The
        // record is committed and stays untouched until the consumer's position passes it.
        unsafe { std::slice::from_raw_parts(self.producer.start.as_ptr().add(self.page + offset), len) }
    }

    /// Bytes given back and bytes reserved since the ring exists, read in this order: what lies
    /// between them is waiting, unfinished records included.
    pub(crate) fn positions(&self) -> (u64, u64) {
        let consumed = self.consumer_position().load(Ordering::Acquire);
        (consumed, self.producer_position().max(consumed))
    }

    /// Counts the committed records that are waiting, without taking them. Meant for a moment when
    /// nobody consumes; otherwise a snapshot that may be late.
    pub(crate) fn pending_records(&self) -> u64 {
        let mut position = self.consumer_position().load(Ordering::Acquire);
        let end = self.producer_position();
        let mut count = 0;
        while position < end {
            let header = self.header(position);
            if header & BUSY != 0 {
                break;
            }
            count += u64::from(header & DISCARDED == 0);
            position += record_span(header);
        }
        count
    }

    /// Hands up to `limit` records to `take`, oldest first, and gives their space back.
    ///
    /// Space goes back in steps of [`RELEASE_EVERY`] records and at the end, also when `take`
    /// panics: a record is delivered again only if the process dies between the two.
    pub(crate) fn consume(&self, limit: usize, mut take: impl FnMut(&[u8])) -> Consumed {
        /// Writers look at our position when they reserve: don't move it under them each time.
        const RELEASE_EVERY: usize = 32;
        let start = self.consumer_position().load(Ordering::Relaxed);
        let mut release = Release { ring: self, position: start };
        let mut consumed = Consumed::default();
        let mut end = self.producer_position();
        while consumed.records < limit {
            if release.position >= end {
                // The kernel wakes a sleeping reader only if it finds our position at the record it
                // commits: tell it first, then look again, in this order for everybody.
                release.store();
                fence(Ordering::SeqCst);
                end = self.producer_position();
                if release.position >= end {
                    break;
                }
            }
            let header = self.header(release.position);
            if header & BUSY != 0 {
                break;
            }
            if header & DISCARDED == 0 {
                take(self.payload(release.position, header));
                consumed.records += 1;
            }
            release.position += record_span(header);
            if consumed.records.is_multiple_of(RELEASE_EVERY) {
                release.store();
            }
        }
        consumed.bytes = release.position - start;
        consumed
    }
}

/// Publishes the reader's position on drop.
struct Release<'a> {
    ring: &'a MappedRing,
    position: u64,
}

impl Release<'_> {
    fn store(&self) {
        self.ring.consumer_position().store(self.position, Ordering::Release);
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.store();
    }
}

/// Ring bytes a record takes: header and payload, rounded up to 8.
fn record_span(header: u32) -> u64 {
    (u64::from(header & !(BUSY | DISCARDED)) + HEADER).next_multiple_of(8)
}
