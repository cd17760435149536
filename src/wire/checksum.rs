//! The Internet checksum of IPv4, TCP and UDP (RFC 1071, RFC 768, RFC 9293, RFC 8200 section 8.1).
//!
//! Sums are kept unfolded in 64 bits, so that parts can be added in any order; [`fold`] ends them.

/// Adds bytes to a sum, as 16-bit words in network order; an odd last byte counts as the high half of a word.
///
/// Only the last part of a sum may have an odd length.
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    // Eight bytes at a time: one's complement addition does not mind the width of its words (RFC 1071 section 2 B).
    let (words, rest) = bytes.as_chunks::<8>();
    let mut total = u128::from(sum);
    for word in words {
        total += u128::from(u64::from_be_bytes(*word));
    }
    let mut last = [0u8; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    total += u128::from(u64::from_be_bytes(last));
    let folded = (total & u128::from(u64::MAX)) + (total >> 64);
    // At most one carry is left.
    let low = folded as u64;
    low.wrapping_add((folded >> 64) as u64)
}

/// Ends a sum: 16 bits, not complemented.
pub fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What stands in the header of a packet whose other parts have this sum.
pub fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// What stands in a UDP header: 0 means "no checksum" there, so a sum of 0 is written as its other form.
pub fn finish_udp(sum: u64) -> u16 {
    match finish(sum) {
        0 => 0xffff,
        sum => sum,
    }
}

/// The sum of a pseudo header: both addresses (4 or 16 bytes each), protocol and length of the segment in bytes.
pub fn pseudo(addresses: &[u8], protocol: u8, len: usize) -> u64 {
    add(u64::from(protocol) + len as u64, addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One word at a time, as the RFC writes it.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_are_one_word_at_a_time(
            head in prop::collection::vec(any::<u8>(), 0..40),
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
        ) {
            let head = &head[..head.len() & !1];
            let whole = [head, &bytes].concat();
            prop_assert_eq!(fold(add(add(0, head), &bytes)), naive(&whole));
        }
    }

    #[test]
    fn full_words_carry_round() {
        let ones = [0xff; 64];
        assert_eq!(fold(add(u64::MAX, &ones)), 0xffff);
        assert_eq!(fold(add(0, &[])), 0);
        assert_eq!(finish_udp(0xffff), 0xffff);
    }

    /// The example of RFC 1071 section 3.
    #[test]
    fn the_sum_is_the_internet_checksum() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(add(0, &bytes)), 0xddf2);
    }
}
