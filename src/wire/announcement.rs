//! Announcements: how members of a network that have never heard of each other meet on one LAN.
//!
//! `kind 15 · version 1 · port 2 · nonce 24 · sealed text and tag`, sent to a group of the link as [`super::beacon`] is. The text is the
//! sender's public key and its record as handshakes show it; who knows its network can open it.

use super::datagram::VERSION;
use super::record::{KEY_LEN, MAX_RECORD_LEN};
use crate::drops::DropReason;

/// First byte of an announcement.
pub const KIND_ANNOUNCEMENT: u8 = 15;
/// Bytes of the nonce: as many as XChaCha20-Poly1305 takes, so that it may be drawn by dice.
pub const NONCE_LEN: usize = 24;
/// Bytes before the nonce, which are authenticated.
pub const HEADER_LEN: usize = 4;
/// Bytes of the tag behind the text.
pub const TAG_LEN: usize = 16;
/// Bytes of the longest one.
pub const MAX_LEN: usize = HEADER_LEN + NONCE_LEN + KEY_LEN + MAX_RECORD_LEN + TAG_LEN;

/// An announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement<'a> {
    /// The port that the sender takes handshakes at; the address is that which the announcement came from.
    pub port: u16,
    /// What it was sealed with.
    pub nonce: [u8; NONCE_LEN],
    /// The sealed text and its tag.
    pub sealed: &'a [u8],
}

impl<'a> Announcement<'a> {
    /// Whether a datagram is of this kind.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&KIND_ANNOUNCEMENT)
    }

    /// The bytes before the nonce.
    pub fn header(port: u16) -> [u8; HEADER_LEN] {
        let [low, high] = port.to_le_bytes();
        [KIND_ANNOUNCEMENT, VERSION, low, high]
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// [`DropReason::Truncated`], [`DropReason::UnknownKind`], [`DropReason::BadVersion`], or [`DropReason::ReservedBits`] for port 0 and
    /// for more than [`MAX_LEN`] bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(DropReason::Truncated)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(DropReason::Truncated)?;
        let [kind, version, low, high] = *header;
        if kind != KIND_ANNOUNCEMENT {
            return Err(DropReason::UnknownKind);
        }
        if version != VERSION {
            return Err(DropReason::BadVersion);
        }
        let port = u16::from_le_bytes([low, high]);
        if port == 0 || bytes.len() > MAX_LEN {
            return Err(DropReason::ReservedBits);
        }
        if sealed.len() < KEY_LEN + TAG_LEN {
            return Err(DropReason::Truncated);
        }
        Ok(Announcement {
            port,
            nonce: *nonce,
            sealed,
        })
    }

    /// Writes it.
    pub fn to_bytes(self) -> Vec<u8> {
        [
            &Announcement::header(self.port)[..],
            &self.nonce,
            self.sealed,
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let sealed = [7; KEY_LEN + TAG_LEN + 3];
        let announcement = Announcement {
            port: 7656,
            nonce: [9; NONCE_LEN],
            sealed: &sealed,
        };
        let bytes = announcement.to_bytes();
        assert_eq!(Announcement::parse(&bytes), Ok(announcement));
        for len in 0..HEADER_LEN + NONCE_LEN + KEY_LEN + TAG_LEN {
            let read = Announcement::parse(&bytes[..len]);
            assert_eq!(read, Err(DropReason::Truncated), "{len}");
        }
        for (at, value) in [(0, 14), (1, 2)] {
            let mut wrong = bytes.clone();
            wrong[at] = value;
            assert!(Announcement::parse(&wrong).is_err());
        }
        let nowhere = Announcement {
            port: 0,
            ..announcement
        };
        let long = [0; MAX_LEN];
        let long = Announcement {
            sealed: &long,
            ..announcement
        };
        for wrong in [nowhere, long] {
            let read = Announcement::parse(&wrong.to_bytes()).map(|a| a.port);
            assert_eq!(read, Err(DropReason::ReservedBits));
        }
    }
}
