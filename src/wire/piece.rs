//! Pieces of super-frames: inner type 2.
//!
//! A super-frame travels as datagrams whose data headers name the piece: its index, and whether it is the last. Their
//! counters follow each other, so `counter - index` names the super-frame within its session. What the receiver has to
//! know of it stands in a *note*: `flags 1 · head length 1 · segment size 2 · payload length 2 · offset 2` and the head,
//! which is everything before the payload, from the MAC addresses to the transport header.
//!
//! * **whole** pieces: the plaintexts of all pieces, one behind the other, are `inner header · note · head · payload ·
//!   head · note · inner header`, cut into equal parts anywhere. The copy at the end stands in for the one at the front
//!   when that is lost; a super-frame of one piece has none.
//! * **aligned** pieces: each plaintext is `part of the payload · head · note · inner header`, and `offset` says which
//!   part. Each can be delivered without the others. The note stands at the end so that a piece can be decrypted to its
//!   final place behind its predecessor's payload, and be overwritten there by its successor.
//!
//! Flags: bits 0 and 1 the checksum (0 unverified, 1 begun, 2 verified), bit 2 ECN; the others are zero.

use super::cursor::Cursor;
use super::inner::{self, INNER_HEADER_LEN, TYPE_PIECE};
use super::layers::MAX_HEADERS;
use super::offload::Checksum;
use super::segment::SegmentId;
use crate::drops::DropReason;

/// Bytes of a note.
pub const NOTE_LEN: usize = 8;
/// The most bytes of a head: addresses, outermost tag, headers.
pub const MAX_HEAD: usize = 20 + MAX_HEADERS;
/// The most pieces of one super-frame.
pub const MAX_PIECES: usize = 64;

const CHECKSUM_BITS: u8 = 3;
const ECN_BIT: u8 = 4;

/// What a receiver has to know of a super-frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceNote<'a> {
    /// Whose frame.
    pub segment: SegmentId,
    /// Bytes of payload in each of its packets; 0 for a single packet.
    pub size: u16,
    /// The state of its checksum.
    pub checksum: Checksum,
    /// Whether it uses ECN.
    pub ecn: bool,
    /// Bytes of payload in all.
    pub total: u16,
    /// Where this piece's payload begins; 0 in whole pieces.
    pub offset: u16,
    /// Everything before the payload.
    pub head: &'a [u8],
}

impl<'a> PieceNote<'a> {
    /// Bytes of note, head and inner header together.
    pub fn wire_len(&self) -> usize {
        INNER_HEADER_LEN + NOTE_LEN + self.head.len()
    }

    /// `inner header · note · head`, appended.
    pub fn write_front(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&inner::header(TYPE_PIECE, self.segment));
        out.extend_from_slice(&self.fields());
        out.extend_from_slice(self.head);
    }

    /// `head · note · inner header`, appended.
    pub fn write_back(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head);
        out.extend_from_slice(&self.fields());
        out.extend_from_slice(&inner::header(TYPE_PIECE, self.segment));
    }

    fn fields(&self) -> [u8; NOTE_LEN] {
        let checksum = match self.checksum {
            Checksum::Unverified => 0,
            Checksum::Begun => 1,
            Checksum::Verified => 2,
        };
        let flags = checksum | if self.ecn { ECN_BIT } else { 0 };
        let head = u8::try_from(self.head.len()).unwrap_or(u8::MAX);
        let [a, b] = self.size.to_le_bytes();
        let [c, d] = self.total.to_le_bytes();
        let [e, f] = self.offset.to_le_bytes();
        [flags, head, a, b, c, d, e, f]
    }

    /// Reads a note at the front of a plaintext.
    ///
    /// # Errors
    /// [`DropReason::MalformedInner`].
    pub fn read_front(text: &'a [u8]) -> Result<Self, DropReason> {
        let mut cursor = Cursor(text);
        let read = |cursor: &mut Cursor<'a>| {
            let inner = cursor.array::<INNER_HEADER_LEN>()?;
            let fields = cursor.array::<NOTE_LEN>()?;
            let [_, head, ..] = fields;
            let head = cursor.take(usize::from(head))?;
            PieceNote::of(inner, fields, head)
        };
        read(&mut cursor).ok_or(DropReason::MalformedInner)
    }

    /// Reads a note at the back of a plaintext; gives the length of what comes before it, too.
    ///
    /// # Errors
    /// [`DropReason::MalformedInner`].
    pub fn read_back(text: &'a [u8]) -> Result<(Self, usize), DropReason> {
        let read = || {
            let (rest, inner) = text.split_last_chunk::<INNER_HEADER_LEN>()?;
            let (rest, fields) = rest.split_last_chunk::<NOTE_LEN>()?;
            let [_, head, ..] = *fields;
            let at = rest.len().checked_sub(usize::from(head))?;
            let (_, head) = rest.split_at_checked(at)?;
            Some((PieceNote::of(*inner, *fields, head)?, at))
        };
        read().ok_or(DropReason::MalformedInner)
    }

    fn of(
        inner: [u8; INNER_HEADER_LEN],
        fields: [u8; NOTE_LEN],
        head: &'a [u8],
    ) -> Option<PieceNote<'a>> {
        let [kind, segment @ ..] = inner;
        let [flags, _, a, b, c, d, e, f] = fields;
        if kind != TYPE_PIECE || flags & !(CHECKSUM_BITS | ECN_BIT) != 0 || head.len() > MAX_HEAD {
            return None;
        }
        Some(PieceNote {
            segment: SegmentId::from_bytes(segment)?,
            size: u16::from_le_bytes([a, b]),
            checksum: match flags & CHECKSUM_BITS {
                0 => Checksum::Unverified,
                1 => Checksum::Begun,
                2 => Checksum::Verified,
                _ => return None,
            },
            ecn: flags & ECN_BIT != 0,
            total: u16::from_le_bytes([c, d]),
            offset: u16::from_le_bytes([e, f]),
            head,
        })
    }

    /// Whether two notes speak of the same super-frame.
    pub fn is_of_same(&self, other: &PieceNote<'_>) -> bool {
        PieceNote {
            offset: self.offset,
            ..*other
        } == *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_round_trip_at_both_ends() {
        let note = PieceNote {
            segment: SegmentId::new(77).unwrap(),
            size: 1448,
            checksum: Checksum::Begun,
            ecn: true,
            total: 60_000,
            offset: 1362,
            head: &[7; 66],
        };
        let mut front = Vec::new();
        note.write_front(&mut front);
        assert_eq!(front.len(), note.wire_len());
        front.extend_from_slice(b"payload");
        assert_eq!(PieceNote::read_front(&front), Ok(note));
        let mut back = b"payload".to_vec();
        note.write_back(&mut back);
        assert_eq!(PieceNote::read_back(&back), Ok((note, 7)));
        assert!(note.is_of_same(&PieceNote { offset: 0, ..note }));
        assert!(!note.is_of_same(&PieceNote { total: 1, ..note }));
        let malformed = DropReason::MalformedInner;
        for len in 0..note.wire_len() {
            assert_eq!(PieceNote::read_front(&front[..len]), Err(malformed));
            assert_eq!(
                PieceNote::read_back(&back[back.len() - len..]),
                Err(malformed)
            );
        }
        front[4] |= 8;
        assert_eq!(
            PieceNote::read_front(&front),
            Err(malformed),
            "a flag of later"
        );
    }
}
