//! The 24-bit number of a segment: one isolated Ethernet broadcast domain, like a VXLAN VNI.

use std::fmt;

/// A segment's number, 1..=0xff_ffff. Zero is kept for messages that belong to no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(u32);

impl SegmentId {
    /// The largest number that 24 bits hold.
    pub const MAX: u32 = 0xff_ffff;

    /// The lowest number.
    pub const LOWEST: SegmentId = SegmentId(1);

    /// A segment number, or `None` when it is 0 or needs more than 24 bits.
    pub const fn new(id: u32) -> Option<Self> {
        if id == 0 || id > Self::MAX {
            None
        } else {
            Some(SegmentId(id))
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The three bytes on the wire, little endian.
    pub const fn to_bytes(self) -> [u8; 3] {
        let [a, b, c, _] = self.0.to_le_bytes();
        [a, b, c]
    }

    /// Reads the three bytes; `None` for segment 0.
    pub const fn from_bytes([a, b, c]: [u8; 3]) -> Option<Self> {
        SegmentId::new(u32::from_le_bytes([a, b, c, 0]))
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
