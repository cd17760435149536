//! Beacons: how members on one LAN find each other without knowing an address.
//!
//! `kind 14 · version 1 · port 2 · nonce 16 · tags 8 each`, sent to a group of the link. A tag is for one peer and can be
//! made and checked by the two of them only; to all others it is noise. Nothing else is said: no name, no key, no MAC.

use super::datagram::VERSION;
use crate::drops::DropReason;

/// First byte of a beacon.
pub const KIND_BEACON: u8 = 14;
/// Bytes of a tag.
pub const TAG_LEN: usize = 8;
/// The most tags in one beacon: it crosses every link in one piece.
pub const MAX_TAGS: usize = 128;
/// Bytes before the tags.
const HEADER_LEN: usize = 20;

/// What makes a tag another one each time.
pub type Nonce = [u8; 16];

/// A beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon<'a> {
    /// The port that the sender takes handshakes at; the address is that which the beacon came from.
    pub port: u16,
    /// What the tags were made with.
    pub nonce: Nonce,
    /// One for each peer that is looked for.
    pub tags: &'a [[u8; TAG_LEN]],
}

impl<'a> Beacon<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`DropReason::Truncated`], [`DropReason::UnknownKind`], [`DropReason::BadVersion`] or [`DropReason::ReservedBits`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(DropReason::Truncated)?;
        let [kind, version, low, high, nonce @ ..] = header;
        if *kind != KIND_BEACON {
            return Err(DropReason::UnknownKind);
        }
        if *version != VERSION {
            return Err(DropReason::BadVersion);
        }
        let (tags, odd) = rest.as_chunks::<TAG_LEN>();
        let port = u16::from_le_bytes([*low, *high]);
        if !odd.is_empty() || tags.is_empty() || tags.len() > MAX_TAGS || port == 0 {
            return Err(DropReason::ReservedBits);
        }
        Ok(Beacon {
            port,
            nonce: *nonce,
            tags,
        })
    }

    /// Writes it.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = vec![KIND_BEACON, VERSION];
        out.extend_from_slice(&self.port.to_le_bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(self.tags.as_flattened());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let tags = [[1; 8], [2; 8]];
        let beacon = Beacon {
            port: 7656,
            nonce: [9; 16],
            tags: &tags,
        };
        let bytes = beacon.to_bytes();
        assert_eq!(Beacon::parse(&bytes), Ok(beacon));
        for len in 0..bytes.len() {
            let is_one = len == HEADER_LEN + TAG_LEN;
            assert_eq!(Beacon::parse(&bytes[..len]).is_ok(), is_one, "{len}");
        }
        for (at, value) in [(0, 13), (1, 2)] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert!(Beacon::parse(&wrong).is_err());
        }
        let many = [[0; 8]; MAX_TAGS + 1];
        let long = Beacon {
            tags: &many,
            ..beacon
        };
        assert!(Beacon::parse(&long.to_bytes()).is_err());
    }
}
