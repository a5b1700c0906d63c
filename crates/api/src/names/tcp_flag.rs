//! TCP flags: bits 0–7 as in byte 13 of the TCP header (RFC 9293 section 3.1), bit 8 the old nonce sum.

use std::fmt;

use super::NameError;
use crate::flow::TcpFlags;

pub const FIN: u16 = 1 << 0;
pub const SYN: u16 = 1 << 1;
pub const RST: u16 = 1 << 2;
pub const PSH: u16 = 1 << 3;
pub const ACK: u16 = 1 << 4;
pub const URG: u16 = 1 << 5;
pub const ECE: u16 = 1 << 6;
pub const CWR: u16 = 1 << 7;
pub const NS: u16 = 1 << 8;

/// In the order in which they are printed.
const PRINTED: [(u16, &str); 9] = [
    (SYN, "SYN"),
    (ACK, "ACK"),
    (RST, "RST"),
    (FIN, "FIN"),
    (PSH, "PSH"),
    (URG, "URG"),
    (ECE, "ECE"),
    (CWR, "CWR"),
    (NS, "NS"),
];

/// Every name, in printing order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRINTED.iter().map(|(_, name)| *name)
}

/// Prints flags as "SYN, ACK".
#[derive(Clone, Copy, Debug)]
pub struct Text(pub u16);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (bit, name) in PRINTED {
            if self.0 & bit != 0 {
                f.write_str(separator)?;
                f.write_str(name)?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// Flags from names separated by commas, in any case: "syn,ack".
///
/// # Errors
/// The first name that is not a flag.
pub fn parse(text: &str) -> Result<u16, NameError> {
    text.split(',').map(str::trim).try_fold(0, |bits, name| {
        let known = PRINTED.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        let (bit, _) = known.ok_or_else(|| NameError::new("TCP flag", name, super::choices(names())))?;
        Ok(bits | bit)
    })
}

/// Bits of the message form.
pub fn bits(flags: &TcpFlags) -> u16 {
    let each =
        [flags.fin, flags.syn, flags.rst, flags.psh, flags.ack, flags.urg, flags.ece, flags.cwr, flags.ns];
    each.into_iter().zip(0..).fold(0, |bits, (set, at)| bits | u16::from(set) << at)
}

/// Message form of bits.
pub fn message(bits: u16) -> TcpFlags {
    let set = |bit| bits & bit != 0;
    TcpFlags {
        fin: set(FIN),
        syn: set(SYN),
        rst: set(RST),
        psh: set(PSH),
        ack: set(ACK),
        urg: set(URG),
        ece: set(ECE),
        cwr: set(CWR),
        ns: set(NS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syn_comes_first_whatever_its_bit() {
        assert_eq!(Text(SYN | ACK).to_string(), "SYN, ACK");
        assert_eq!(Text(FIN | ACK | PSH).to_string(), "ACK, FIN, PSH");
        assert_eq!(Text(0).to_string(), "");
    }

    #[test]
    fn every_form_leads_back_to_the_same_bits() {
        for all in 0..512 {
            assert_eq!(bits(&message(all)), all);
            if all != 0 {
                assert_eq!(parse(&Text(all).to_string()), Ok(all));
            }
        }
        assert!(parse("syn,akc").unwrap_err().to_string().contains("\"akc\""));
    }
}
