//! One kernel map with the types of its keys and values.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::error::{Error, Result};
use crate::sys::map::{RawMap, batch_unsupported};

/// What a key or value must be: plain bytes of a known size.
pub trait Plain: FromBytes + IntoBytes + Immutable + Copy {}
impl<T: FromBytes + IntoBytes + Immutable + Copy> Plain for T {}

/// A typed handle to a map. Clones share the descriptor; any thread may use one.
#[derive(Debug)]
pub struct Table<K, V> {
    map: Arc<RawMap>,
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { map: Arc::clone(&self.map), name: self.name, types: PhantomData }
    }
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Takes a map whose sizes must be those of `K` and `V` (each CPU's `V` in a per-CPU map).
    pub(crate) fn new(name: &'static str, fd: OwnedFd) -> Result<Self> {
        let map = RawMap::new(fd).map_err(|source| Error::Map { map: name, operation: "inspect", source })?;
        Self::from_raw(name, map)
    }

    pub(crate) fn from_raw(name: &'static str, map: RawMap) -> Result<Self> {
        let found = (map.info().key_size as usize, map.info().value_size as usize);
        let wanted = (size_of::<K>(), size_of::<V>());
        if found != wanted {
            let text = format!("its key and value are {found:?} bytes, not {wanted:?}");
            let source = io::Error::new(io::ErrorKind::InvalidData, text);
            return Err(Error::Map { map: name, operation: "use", source });
        }
        Ok(Self { map: Arc::new(map), name, types: PhantomData })
    }

    /// Name of the map, as in the C.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Most entries it can hold.
    pub fn capacity(&self) -> u32 {
        self.map.info().max_entries
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd()
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        let map = self.name;
        move |source| Error::Map { map, operation, source }
    }

    /// The value under `key`; in an array, a key out of range is absent.
    ///
    /// # Errors
    /// Whatever bpf(2) returns, except for a missing key.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let mut value = V::new_zeroed();
        let found = self.map.lookup(key.as_bytes(), value.as_mut_bytes());
        Ok(found.map_err(self.failed("read"))?.then_some(value))
    }

    /// Creates or replaces one entry.
    ///
    /// # Errors
    /// `E2BIG` when the map is full.
    pub fn upsert(&self, key: &K, value: &V) -> Result<()> {
        self.map.update(key.as_bytes(), value.as_bytes()).map_err(self.failed("write to"))
    }

    /// Creates or replaces many entries, in one system call where the kernel can (hashes, 5.6).
    ///
    /// Not atomic: others may see some of the entries before the rest.
    ///
    /// # Errors
    /// `E2BIG` when the map is full; entries before the failing one are in place.
    pub fn upsert_all(&self, entries: &[(K, V)]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut keys = Vec::with_capacity(entries.len() * size_of::<K>());
        let mut values = Vec::with_capacity(entries.len() * size_of::<V>());
        for (key, value) in entries {
            keys.extend_from_slice(key.as_bytes());
            values.extend_from_slice(value.as_bytes());
        }
        match self.map.update_batch(&keys, &values) {
            Err(error) if batch_unsupported(&error) => {
                entries.iter().try_for_each(|(key, value)| self.upsert(key, value))
            }
            result => result.map_err(self.failed("write to")),
        }
    }

    /// Removes one entry; says whether it was there.
    ///
    /// # Errors
    /// Whatever bpf(2) returns, except for a missing key.
    pub fn remove(&self, key: &K) -> Result<bool> {
        self.map.delete(key.as_bytes()).map_err(self.failed("remove from"))
    }

    /// All entries. Of a map that changes meanwhile, an entry may be missing or doubled.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn list(&self) -> Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((*key, *value)))?;
        Ok(entries)
    }

    /// Like [`Table::list`], without collecting.
    ///
    /// # Errors
    /// Whatever bpf(2) returns.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) -> Result<()> {
        self.for_each_per_cpu(|key, values| {
            if let Some(value) = values.next() {
                visit(key, &value);
            }
        })
    }

    /// One entry of a per-CPU map: the value of each possible CPU.
    ///
    /// # Errors
    /// Whatever bpf(2) returns, except for a missing key.
    pub(crate) fn get_per_cpu(&self, key: &K) -> Result<Option<Vec<V>>> {
        let mut values = vec![0; self.map.value_len()];
        let found = self.map.lookup(key.as_bytes(), &mut values).map_err(self.failed("read"))?;
        Ok(found.then(|| cpus(&values).collect()))
    }

    /// Every entry with the values of each possible CPU; one value in a map that isn't per-CPU.
    pub(crate) fn for_each_per_cpu(
        &self,
        mut visit: impl FnMut(&K, &mut dyn Iterator<Item = V>),
    ) -> Result<()> {
        self.walk(|key, values| {
            if let Ok(key) = K::read_from_bytes(key) {
                visit(&key, &mut cpus(values));
            }
        })
        .map_err(self.failed("list"))
    }

    /// Visits raw entries, in batches where the kernel can, else key by key.
    fn walk(&self, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let (key_len, value_len) = (self.map.key_len(), self.map.value_len());
        // A batch must hold a whole hash bucket, else the kernel says ENOSPC and we double it.
        let mut batch = (self.capacity() as usize).clamp(1, 4096);
        let mut cursor = Vec::new();
        let mut keys = vec![0u8; batch * key_len];
        let mut values = vec![0u8; batch * value_len];
        loop {
            match self.map.lookup_batch(&mut cursor, &mut keys, &mut values) {
                Ok((count, done)) => {
                    let keys = keys.chunks_exact(key_len);
                    let values = values.chunks_exact(value_len);
                    keys.zip(values).take(count).for_each(|(key, value)| visit(key, value));
                    if done {
                        return Ok(());
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && batch < 1 << 20 => {
                    batch *= 2;
                    keys.resize(batch * key_len, 0);
                    values.resize(batch * value_len, 0);
                }
                Err(error) if cursor.is_empty() && batch_unsupported(&error) => {
                    return self.walk_by_key(visit);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn walk_by_key(&self, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut value = vec![0; self.map.value_len()];
        let mut key = self.map.next_key(None)?;
        while let Some(current) = key {
            if self.map.lookup(&current, &mut value)? {
                visit(&current, &value);
            }
            key = self.map.next_key(Some(&current))?;
        }
        Ok(())
    }
}

/// The values of each CPU, as a system call returns them: every one at a multiple of 8 bytes.
fn cpus<V: Plain>(values: &[u8]) -> impl Iterator<Item = V> {
    let stride = size_of::<V>().next_multiple_of(8).min(values.len().max(1));
    values.chunks_exact(stride).filter_map(|value| V::read_from_bytes(value.get(..size_of::<V>())?).ok())
}
