//! Fragments: a frame that does not fit the path, cut into equal pieces.
//!
//! Body of inner type 3: `frame id 4 · offset 2 · total 2 · bytes`. Every piece is sealed on its own and its segment is
//! named by each. The pieces of one frame have one size, except that the last may be shorter, so that a receiver can
//! tell an overlap by arithmetic and a sender can give them to the kernel as one train.

use super::cursor::Cursor;
use crate::drops::DropReason;

/// Bytes before a fragment's data.
pub const FRAGMENT_HEADER_LEN: usize = 8;

/// A piece of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Which frame, unique among those in flight from this sender.
    pub id: u32,
    /// Where the piece starts in the frame, in bytes.
    pub offset: u16,
    /// The frame's whole length, in bytes.
    pub total: u16,
    /// The piece; never empty.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads a fragment and checks that it lies within its frame.
    ///
    /// # Errors
    /// [`DropReason::MalformedInner`].
    pub fn parse(body: &'a [u8]) -> Result<Self, DropReason> {
        let mut cursor = Cursor(body);
        let mut read = || {
            Some(Fragment {
                id: cursor.u32()?,
                offset: cursor.u16()?,
                total: cursor.u16()?,
                bytes: cursor.0,
            })
        };
        let fragment = read().ok_or(DropReason::MalformedInner)?;
        let end = usize::from(fragment.offset) + fragment.bytes.len();
        if fragment.bytes.is_empty() || end > usize::from(fragment.total) {
            return Err(DropReason::MalformedInner);
        }
        Ok(fragment)
    }

    /// The header that goes before the data.
    pub fn header(id: u32, offset: u16, total: u16) -> [u8; FRAGMENT_HEADER_LEN] {
        let mut out = [0u8; FRAGMENT_HEADER_LEN];
        let (a, rest) = out.split_at_mut(4);
        let (b, c) = rest.split_at_mut(2);
        a.copy_from_slice(&id.to_le_bytes());
        b.copy_from_slice(&offset.to_le_bytes());
        c.copy_from_slice(&total.to_le_bytes());
        out
    }
}

/// The size of each piece but the last when `total` bytes go into pieces of at most `room` bytes; `None` when there is
/// no room at all.
pub fn piece_size(total: usize, room: usize) -> Option<usize> {
    if room == 0 {
        return None;
    }
    let pieces = total.div_ceil(room).max(1);
    Some(total.div_ceil(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_round_trip_and_stay_inside_their_frame() {
        let mut bytes = Fragment::header(0xdead_beef, 700, 1514).to_vec();
        bytes.extend_from_slice(&[5; 814]);
        let parsed = Fragment::parse(&bytes).unwrap();
        assert_eq!(
            (parsed.id, parsed.offset, parsed.total, parsed.bytes.len()),
            (0xdead_beef, 700, 1514, 814)
        );
        bytes.push(0);
        assert_eq!(Fragment::parse(&bytes), Err(DropReason::MalformedInner));
        assert_eq!(
            Fragment::parse(&Fragment::header(1, 0, 10)),
            Err(DropReason::MalformedInner)
        );
    }

    #[test]
    fn pieces_are_equal_and_cover_the_frame() {
        for total in 1..4000usize {
            for room in [1, 7, 700, 1196, 1436] {
                let size = piece_size(total, room).unwrap();
                assert!(size <= room && size > 0);
                assert_eq!(total.div_ceil(size), total.div_ceil(room));
            }
        }
        assert_eq!(piece_size(10, 0), None);
    }
}
