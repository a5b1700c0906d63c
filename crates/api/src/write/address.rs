//! Addresses as text.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

use crate::wire::put_byte;

/// "10.0.0.1", "fd00::1" (RFC 5952).
#[inline]
pub(super) fn put_ip(out: &mut BytesMut, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            put_decimal(out, octets[0]);
            for octet in &octets[1..] {
                put_byte(out, b'.');
                put_decimal(out, *octet);
            }
        }
        // Writing to a buffer that grows can't fail.
        IpAddr::V6(v6) => _ = write!(out, "{v6}"),
    }
}

/// "10.0.0.1:80", "[fd00::1]:80".
pub(super) fn put_socket(out: &mut BytesMut, address: SocketAddr) {
    _ = write!(out, "{address}");
}

/// "0a:58:0a:f4:01:07".
#[inline]
pub(super) fn put_mac(out: &mut BytesMut, mac: [u8; 6]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b':'; 17];
    for (i, byte) in mac.into_iter().enumerate() {
        text[3 * i] = HEX[usize::from(byte >> 4)];
        text[3 * i + 1] = HEX[usize::from(byte & 15)];
    }
    out.extend_from_slice(&text);
}

fn put_decimal(out: &mut BytesMut, value: u8) {
    if value >= 100 {
        put_byte(out, b'0' + value / 100);
    }
    if value >= 10 {
        put_byte(out, b'0' + value / 10 % 10);
    }
    put_byte(out, b'0' + value % 10);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn addresses_are_written_as_the_standard_library_writes_them(ip: IpAddr) {
            let mut out = BytesMut::new();
            put_ip(&mut out, ip);
            prop_assert_eq!(String::from_utf8_lossy(&out), ip.to_string());
        }
    }

    #[test]
    fn macs_are_lower_case_with_colons() {
        let mut out = BytesMut::new();
        put_mac(&mut out, [0x0a, 0x58, 0, 0xf4, 1, 0xff]);
        assert_eq!(out, &b"0a:58:00:f4:01:ff"[..]);
    }
}
