//! Bundles: several small frames of one segment in one datagram, inner type 4.
//!
//! Body: entries of `length and flags 2 · frame`. The lower 14 bits are the frame's length in bytes; bit 15 says that its
//! transport checksum is only begun, bit 14 that a host has verified it.

use super::cursor::Cursor;
use super::offload::Checksum;
use crate::drops::DropReason;

/// Bytes before each frame.
pub const ENTRY_HEADER_LEN: usize = 2;
/// The longest frame in a bundle, in bytes.
pub const MAX_BUNDLED: usize = 0x3fff;

const BEGUN: u16 = 0x8000;
const VERIFIED: u16 = 0x4000;

/// Appends an entry's header for a frame of this length, at most [`MAX_BUNDLED`].
pub fn write_header(len: usize, checksum: Checksum, out: &mut Vec<u8>) {
    let len = u16::try_from(len).unwrap_or(0) & 0x3fff;
    let flag = match checksum {
        Checksum::Unverified => 0,
        Checksum::Begun => BEGUN,
        Checksum::Verified => VERIFIED,
    };
    out.extend_from_slice(&(len | flag).to_le_bytes());
}

/// The entries of a bundle: frames, and the state of their checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// Reads a body and checks all of it.
    ///
    /// # Errors
    /// [`DropReason::MalformedInner`] when it is empty, an entry is cut off, or both flags are set.
    pub fn parse(body: &'a [u8]) -> Result<Self, DropReason> {
        let mut cursor = Cursor(body);
        if body.is_empty() {
            return Err(DropReason::MalformedInner);
        }
        while !cursor.0.is_empty() {
            entry(&mut cursor).ok_or(DropReason::MalformedInner)?;
        }
        Ok(Entries(body))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Checksum);

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = Cursor(self.0);
        let next = entry(&mut cursor);
        self.0 = cursor.0;
        next
    }
}

fn entry<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], Checksum)> {
    let word = cursor.u16()?;
    let checksum = match word & (BEGUN | VERIFIED) {
        0 => Checksum::Unverified,
        BEGUN => Checksum::Begun,
        VERIFIED => Checksum::Verified,
        _ => return None,
    };
    Some((cursor.take(usize::from(word & 0x3fff))?, checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_broken_ones_are_refused_whole() {
        let mut body = Vec::new();
        let frames: [(&[u8], Checksum); 3] = [
            (b"one", Checksum::Begun),
            (b"", Checksum::Unverified),
            (b"three", Checksum::Verified),
        ];
        for (frame, checksum) in frames {
            write_header(frame.len(), checksum, &mut body);
            body.extend_from_slice(frame);
        }
        let read: Vec<_> = Entries::parse(&body).unwrap().collect();
        assert_eq!(read, frames);
        assert!(Entries::parse(&body[..body.len() - 1]).is_err());
        assert!(Entries::parse(&[]).is_err());
        assert!(Entries::parse(&[1, 0xc0, 9]).is_err());
    }
}
