//! Settings and facts into the programs' constants, before the verifier sees them: a branch that
//! a constant rules out isn't even checked, so a helper this kernel lacks may stand behind one.

use std::time::Duration;

use super::headers;
use super::{EventPolicy, L7Mode, LoadConfig, PeerAddress, Timeouts};
use crate::ended::Lifetimes;
use crate::error::{Error, IoContext as _, Result};
use crate::probe::Features;
use crate::skel::OpenFathomSkel;
use crate::sys;

/// Jiffies in a tick of `clock.h`, as a shift.
const TICK_SHIFT: u32 = 4;

/// How long the ports of a first fragment are remembered; RFC 791 asks for 15 s.
const FRAGMENT_MEMORY: Duration = Duration::from_secs(30);
/// Nobody reads a segment as long: whose turn it was is gone.
const L7_TURN: Duration = Duration::from_millis(256);
/// Nor keeps an early one as long.
const L7_EARLY: Duration = Duration::from_secs(4);

pub(super) fn set(open: &mut OpenFathomSkel<'_>, config: &LoadConfig, features: &Features) -> Result<()> {
    let jiffy_ns = sys::tick_ns().context(|| "ask for the length of a jiffy".into())?;
    let ticks = |time| ticks(time, jiffy_ns);
    let rodata = open.maps.rodata_data.as_mut().ok_or_else(|| Error::Io {
        what: "find the programs' constants".into(),
        source: std::io::ErrorKind::NotFound.into(),
    })?;

    rodata.cfg_event_policy = match config.event_policy {
        EventPolicy::Connection => 0,
        EventPolicy::Packet => 1,
    };
    rodata.cfg_report_ticks = ticks(config.report_interval);
    let lifetimes = lifetimes(&config.timeouts)?;
    rodata.cfg_ct_tcp_ticks = lifetimes.tcp;
    rodata.cfg_ct_tcp_opening_ticks = lifetimes.tcp_opening;
    rodata.cfg_ct_tcp_closing_ticks = lifetimes.tcp_closing;
    rodata.cfg_ct_any_ticks = lifetimes.any;
    rodata.cfg_ct_icmp_ticks = lifetimes.icmp;
    rodata.cfg_fragment_ticks = ticks(FRAGMENT_MEMORY);
    rodata.cfg_events_wake_bytes = config.sizes.events_bytes / 4;
    rodata.cfg_sock_set_retval = u8::from(features.set_retval);
    rodata.cfg_sock_netns_cookie = u8::from(features.netns_cookie);
    rodata.cfg_peer_address_service = u8::from(config.peer_address == PeerAddress::Service);
    rodata.cfg_shared_links = u8::from(config.shared_links);
    headers::set(rodata, &config.l7_headers);
    rodata.cfg_l7_turn_ticks = ticks(L7_TURN);
    rodata.cfg_l7_early_ticks = ticks(L7_EARLY);
    rodata.cfg_l7_early_mask = config.sizes.l7_early() - 1;
    rodata.cfg_l7_exchange_mask = config.sizes.l7_exchanges / 4 - 1;
    rodata.cfg_l7 = match config.l7 {
        L7Mode::Off => 0,
        L7Mode::Dns => 1,
        L7Mode::All => 2,
    };
    Ok(())
}

/// The timeouts in ticks, as the programs have them.
pub(super) fn lifetimes(timeouts: &Timeouts) -> Result<Lifetimes> {
    let jiffy_ns = sys::tick_ns().context(|| "ask for the length of a jiffy".into())?;
    let ticks = |time| ticks(time, jiffy_ns);
    Ok(Lifetimes {
        tcp: ticks(timeouts.tcp),
        tcp_opening: ticks(timeouts.tcp_opening),
        tcp_closing: ticks(timeouts.tcp_closing),
        any: ticks(timeouts.any),
        icmp: ticks(timeouts.icmp),
    })
}

/// A time in ticks of 16 jiffies, at least one.
fn ticks(time: Duration, jiffy_ns: u64) -> u32 {
    let tick_ns = u128::from(jiffy_ns.max(1)) << TICK_SHIFT;
    u32::try_from(time.as_nanos() / tick_ns).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_follow_the_kernel_s_hz() {
        let five = Duration::from_secs(5);
        assert_eq!(ticks(five, 4_000_000), 5 * 250 / 16, "HZ=250");
        assert_eq!(ticks(five, 1_000_000), 5 * 1000 / 16, "HZ=1000");
        assert_eq!(ticks(Duration::from_millis(1), 10_000_000), 1, "never zero");
    }
}
