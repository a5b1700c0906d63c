//! Tables of the legacy iptables, read through socket options (linux/netfilter_ipv4/ip_tables.h).

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
const GET_INFO: i32 = 64;
/// IPT_SO_GET_ENTRIES and IP6T_SO_GET_ENTRIES.
const GET_ENTRIES: i32 = 65;
/// Length of a table's name, its zero included.
const NAME: usize = 32;
/// `struct ipt_getinfo`: name, hooks, five entries, five underflows, number of entries, size.
const INFO: usize = NAME + 4 + 20 + 20 + 4 + 4;
/// `struct ipt_get_entries` before its entries, which are aligned to 8.
const HEAD: usize = NAME + 8;
/// More than any table has; the size comes from the kernel, but nothing is allocated blindly.
const LARGEST: usize = 256 << 20;

/// The rules of a table.
pub(crate) fn entries(table: &str, v6: bool) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (family, level) = if v6 { (libc::AF_INET6, libc::SOL_IPV6) } else { (libc::AF_INET, libc::SOL_IP) };
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let get = |option: i32, buffer: &mut [u8]| {
        let mut length = buffer.len() as libc::socklen_t;
        // SAFETY: `buffer` is writable for `length` bytes.
        let ret = unsafe {
            libc::getsockopt(socket.as_raw_fd(), level, option, buffer.as_mut_ptr().cast(), &raw mut length)
        };
        if ret != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    if table.len() >= NAME {
        return Err(invalid());
    }
    let mut info = [0; INFO];
    info[..table.len()].copy_from_slice(table.as_bytes());
    get(GET_INFO, &mut info)?;
    let size: [u8; 4] = info[INFO - 4..].try_into().map_err(|_| invalid())?;
    let length = u32::from_ne_bytes(size) as usize;
    if length > LARGEST {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // The kernel refuses a buffer that is not exactly this long: the table changed meanwhile.
    let mut rules = vec![0; HEAD + length];
    rules[..table.len()].copy_from_slice(table.as_bytes());
    rules[NAME..NAME + 4].copy_from_slice(&size);
    get(GET_ENTRIES, &mut rules)?;
    rules.drain(..HEAD);
    Ok(rules)
}
