//! Single fields to types that cannot be wrong.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;

use super::ConvertError;
use crate::cluster::model::Protocol;

/// An address; v4-mapped IPv6 becomes IPv4, so that one address has one spelling.
pub fn address(field: impl Into<String>, value: &str) -> Result<IpAddr, ConvertError> {
    match value.parse() {
        Ok(ip) => Ok(fathom_identity::canonical_address(ip)),
        Err(_) => Err(ConvertError::Address { field: field.into(), value: value.into() }),
    }
}

/// A prefix, host bits cleared.
pub fn prefix(field: impl Into<String>, value: &str) -> Result<IpNet, ConvertError> {
    match value.parse() {
        Ok(net) => Ok(fathom_identity::canonical_prefix(net)),
        Err(_) => Err(ConvertError::Prefix { field: field.into(), value: value.into() }),
    }
}

/// A port number, 1 to 65535.
pub fn port(field: impl Into<String>, value: i32) -> Result<NonZeroU16, ConvertError> {
    u16::try_from(value)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| ConvertError::Port { field: field.into(), value: value.into() })
}

/// A transport protocol; absent means TCP, as the API server fills in.
pub fn protocol(field: impl Into<String>, value: Option<&str>) -> Result<Protocol, ConvertError> {
    match value.unwrap_or("TCP") {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(ConvertError::Protocol { field: field.into(), value: other.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_outside_the_range_are_refused_by_name() {
        assert_eq!(port("p", 80).unwrap().get(), 80);
        for bad in [0, -1, 65_536, i32::MAX] {
            assert_eq!(
                port("spec.ports[0].port", bad).unwrap_err().to_string(),
                format!("spec.ports[0].port: {bad} is no port: write a number from 1 to 65535")
            );
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_holds() {
        assert_eq!(address("ip", "::ffff:10.0.0.1").unwrap(), address("ip", "10.0.0.1").unwrap());
        assert!(address("ip", "10.0.0.256").is_err() && address("ip", "").is_err());
    }

    #[test]
    fn a_prefix_loses_its_host_bits() {
        assert_eq!(prefix("c", "10.244.1.7/24").unwrap().to_string(), "10.244.1.0/24");
        assert!(prefix("c", "10.244.1.0").is_err());
    }
}
