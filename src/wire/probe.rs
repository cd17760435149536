//! The loop guard's frame: what a member sends by its bridged ports to see whether it comes back.

use super::cursor::Cursor;
use super::ethernet::{Mac, Parts};

/// The group that it goes to: locally administered, and no group of anybody else's.
pub const PROBE_GROUP: Mac = Mac([0x03, 0x6c, 0x32, 0x76, 0x70, 0x6e]);
/// The EtherType: local experimental (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const MAGIC: &[u8; 4] = b"l2lg";
/// Bytes of a frame without tags: as short as Ethernet allows.
const LEN: usize = 60;

/// Who sent one, from where, and the proof of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The first eight bytes of the member's public key: who loops with whom is decided by it.
    pub member: [u8; 8],
    /// The port that it left by.
    pub port: u16,
    /// What only the sender can make.
    pub proof: [u8; 16],
}

impl Probe {
    /// The frame, without tags.
    pub fn write(&self, source: Mac) -> Vec<u8> {
        let mut out = PROBE_GROUP.0.to_vec();
        out.extend_from_slice(&source.0);
        out.extend_from_slice(&ETHERTYPE);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.member);
        out.extend_from_slice(&self.port.to_le_bytes());
        out.extend_from_slice(&self.proof);
        out.resize(LEN, 0);
        out
    }

    /// Reads a frame that goes to [`PROBE_GROUP`]; `None` when it is something else.
    pub fn read(frame: &Parts<'_>) -> Option<Probe> {
        let mut cursor = Cursor(frame.after_tag());
        let is_ours = cursor.array()? == ETHERTYPE && cursor.array()? == *MAGIC;
        is_ours.then_some(Probe {
            member: cursor.array()?,
            port: cursor.u16()?,
            proof: cursor.array()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::Frame;

    #[test]
    fn it_is_read_as_it_was_written_and_whole_only() {
        let probe = Probe {
            member: [1; 8],
            port: 300,
            proof: [2; 16],
        };
        let bytes = probe.write(Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(bytes.len(), LEN);
        let read = |bytes: &[u8]| Probe::read(&Frame::parse(bytes).ok()?.parts);
        assert_eq!(read(&bytes), Some(probe));
        (0..44).for_each(|len| assert_eq!(read(&bytes[..len]), None));
        assert_eq!(PROBE_GROUP.0[0] & 3, 3, "a group, locally administered");
    }
}
