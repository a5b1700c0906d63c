//! Dumps over netlink for which the crates have no messages: filters of tc, chains of nftables.

use std::io;

use rtnetlink::sys::{Socket, SocketAddr, protocols};

/// `nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLM_F_REQUEST | NLM_F_DUMP.
const REQUEST_DUMP: u16 = 0x1 | 0x300;

/// Everything of one kind, message by message without its header.
///
/// # Errors
/// The kernel's errno, or that of the socket.
fn dump(protocol: isize, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    socket.send(&request, 0)?;
    let mut messages = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = &bytes[..];
        while let Some((kind, message, more)) = split(rest) {
            match kind {
                NLMSG_DONE => return Ok(messages),
                NLMSG_ERROR => {
                    let errno = message.first_chunk().map_or(0, |errno| i32::from_ne_bytes(*errno));
                    return if errno == 0 { Ok(messages) } else { Err(io::Error::from_raw_os_error(-errno)) };
                }
                _ => messages.push(message.to_vec()),
            }
            rest = more;
        }
    }
}

/// The first message: its type, its body, and what follows.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Attributes of a message behind its fixed part: number and value.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let next = |bytes: &[u8]| {
        let length = u16::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let number = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        (length >= 4 && length <= bytes.len()).then_some((length, number))
    };
    while let Some((length, number)) = next(bytes) {
        // The two upper bits are flags: nested, in network byte order.
        found.push((number & 0x3fff, &bytes[4..length]));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A BPF filter of tc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub handle: u32,
    /// As whoever attached it named it.
    pub name: String,
}

/// BPF filters on one side of a device's clsact qdisc; none where there is no such qdisc.
///
/// # Errors
/// When the kernel can't be asked.
pub fn bpf_filters(ifindex: u32, ingress: bool) -> io::Result<Vec<Filter>> {
    const RTM_GETTFILTER: u16 = 46;
    // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS or TC_H_MIN_EGRESS), linux/pkt_sched.h.
    let parent: u32 = if ingress { 0xffff_fff2 } else { 0xffff_fff3 };
    // struct tcmsg: family and padding, device, handle, parent, info.
    let mut body = vec![0; 4];
    body.extend(ifindex.to_ne_bytes());
    body.extend([0; 4]);
    body.extend(parent.to_ne_bytes());
    body.extend([0; 4]);
    match dump(protocols::NETLINK_ROUTE, RTM_GETTFILTER, &body) {
        Ok(messages) => Ok(messages.iter().filter_map(|message| filter(message)).collect()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn filter(message: &[u8]) -> Option<Filter> {
    const TCMSG: usize = 20;
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    const TCA_BPF_NAME: u16 = 7;
    let handle = u32::from_ne_bytes(*message.get(8..)?.first_chunk()?);
    let attributes_here = attributes(message.get(TCMSG..)?);
    let of = |wanted| attributes_here.iter().find(|(number, _)| *number == wanted).map(|(_, value)| *value);
    if text(of(TCA_KIND)?) != "bpf" {
        return None;
    }
    // Each priority is told once more without any filter.
    let options = attributes(of(TCA_OPTIONS)?);
    let name = options.iter().find(|(number, _)| *number == TCA_BPF_NAME).map(|(_, value)| text(value));
    Some(Filter { handle, name: name.unwrap_or_else(|| "?".to_owned()) })
}

/// Chains of nftables, of all families: table and chain.
///
/// # Errors
/// When the kernel can't be asked, or has no nftables.
pub fn nft_chains() -> io::Result<Vec<(String, String)>> {
    const NFNL_SUBSYS_NFTABLES: u16 = 10;
    const NFT_MSG_GETCHAIN: u16 = 4;
    const NFTA_CHAIN_TABLE: u16 = 1;
    const NFTA_CHAIN_NAME: u16 = 3;
    // struct nfgenmsg: family (0 = all), version, resource.
    let body = [0; 4];
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN;
    let chain = |message: &Vec<u8>| {
        let attributes = attributes(message.get(body.len()..)?);
        let of =
            |wanted| attributes.iter().find(|(number, _)| *number == wanted).map(|(_, value)| text(value));
        Some((of(NFTA_CHAIN_TABLE)?, of(NFTA_CHAIN_NAME)?))
    };
    Ok(dump(protocols::NETLINK_NETFILTER, kind, &body)?.iter().filter_map(chain).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_or_nonsense_ends_the_reading() {
        assert_eq!(attributes(&[8, 0, 7, 0x80, b'c', b'l', 0, 0, 9, 0, 1, 0]), [(7, &b"cl\0\0"[..])]);
        assert_eq!(attributes(&[0, 0, 1, 0]), []);
        assert_eq!(attributes(&[3, 0]), []);
        assert!(split(&[200, 0, 0, 0, 1, 0]).is_none());
        assert_eq!(text(b"chain\0x"), "chain");
        assert_eq!(filter(&[0; 12]), None);
    }

    #[test]
    fn the_kernel_answers() {
        // Loopback has no clsact here, or somebody's: either is an answer.
        bpf_filters(1, true).unwrap();
    }
}
