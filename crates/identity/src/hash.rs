//! The one hash whose results are remembered outside a process: identity numbers and rule ids.
//!
//! FNV-1a over bytes with 64 bits (offset basis 0xcbf29ce484222325, prime 0x100000001b3), then
//! the 64-bit finalizer of MurmurHash3 so that high and low bits are equally good. Plain integer
//! arithmetic on bytes: the same on every architecture and with every compiler. Changing it
//! renumbers clusters; the golden values below hold it in place. It is not meant to resist
//! somebody who looks for collisions: every user probes and compares the real content.

/// Stable 64-bit hash of a byte string.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    finalize(fnv)
}

/// Mixes a number so that each input bit reaches each output bit.
pub fn finalize(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_running_clusters_remember() {
        assert_eq!(stable_hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(stable_hash(b"k8s:app=web\n"), 0x8cc1_2832_8f0d_73da);
    }
}
