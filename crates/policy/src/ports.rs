//! Port ranges as prefixes, the form in which the kernel can look them up.

/// The fewest (port, prefix length) pairs that cover `first..=last` and nothing else, ascending.
/// At most 30 (for 1..=65534). Port 0 to 65535 is the pair of length 0.
pub fn port_prefixes(first: u16, last: u16) -> Vec<(u16, u8)> {
    let mut prefixes = Vec::new();
    let (mut start, end) = (u32::from(first), u32::from(last) + 1);
    while start < end {
        let aligned = if start == 0 { 16 } else { start.trailing_zeros().min(16) };
        let fitting = (end - start).ilog2();
        let bits = aligned.min(fitting);
        prefixes.push((start as u16, (16 - bits) as u8));
        start += 1 << bits;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_ranges_become_known_prefixes() {
        assert_eq!(port_prefixes(80, 80), [(80, 16)]);
        assert_eq!(port_prefixes(8080, 8083), [(8080, 14)]);
        assert_eq!(port_prefixes(1, 3), [(1, 16), (2, 15)]);
        assert_eq!(port_prefixes(0, 65535), [(0, 0)]);
        assert_eq!(port_prefixes(1, 65535).len(), 16);
        assert_eq!(port_prefixes(1, 65534).len(), 30);
        assert_eq!(port_prefixes(9, 8), []);
    }

    proptest! {
        #[test]
        fn a_port_is_covered_once_inside_the_range_and_never_outside(first: u16, last: u16, port: u16) {
            let covering = port_prefixes(first, last).into_iter().filter(|(start, plen)| {
                *plen == 0 || (port ^ start) >> (16 - plen) == 0
            });
            prop_assert_eq!(covering.count(), usize::from((first..=last).contains(&port)));
        }
    }
}
