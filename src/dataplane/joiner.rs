//! Pieces of super-frames on the way in: decrypted to their final place, delivered as soon as a batch ends.
//!
//! # Why
//! Nothing waits here. At the end of each batch whatever contiguous run of a super-frame has come is delivered as a
//! super-frame of its own; TCP does not care where runs are cut. What stays is the place of a super-frame whose rest may
//! still come: it keeps the headers, and of UDP the datagrams that are not complete yet. Bounds: [`MAX_SLOTS`] places of
//! 65 KiB for a whole worker, the one that was touched longest ago goes first; no timer.
//!
//! A piece is written to its place before its tag is known to be right, because the cipher moves the bytes. So a place is
//! only written where nothing authentic lies, and a place is only made by an authentic piece.

use std::ops::Range;

use crate::drops::{DropReason, Drops};
use crate::place::PeerId;
use crate::wire::datagram::Piece;
use crate::wire::ethernet::Frame;
use crate::wire::layers::Transport;
use crate::wire::offload::{MAX_DATAGRAMS, Offload};
use crate::wire::piece::{MAX_HEAD, MAX_PIECES, NOTE_LEN, PieceNote};

/// The most super-frames in the making.
pub const MAX_SLOTS: usize = 8;
/// A super-frame that got nothing in so many batches is given up.
const KEPT: u64 = 64;
/// The longest text of a super-frame: payload, and a note at both ends.
const SLOT_BYTES: usize = 65_536 + 2 * (MAX_HEAD + NOTE_LEN + 4);

/// A super-frame within its session: the receiver index and the counter of its first piece.
type Key = (u32, u64);

/// A part of a super-frame that can be delivered.
pub struct Run<'a> {
    /// Who sent it.
    pub peer: PeerId,
    /// What it is a part of.
    pub note: PieceNote<'a>,
    /// The offload of the whole.
    pub offload: Offload,
    /// Which part of the payload.
    pub range: Range<usize>,
    /// The payload of that part.
    pub payload: &'a [u8],
}

enum Kind {
    /// Cut anywhere: piece `i` lies at `i * size`.
    Whole {
        size: usize,
        /// Pieces in all, once the last has come, and that one's length.
        end: Option<(usize, usize)>,
        have: u64,
        /// What was delivered: pieces of TCP, datagrams of UDP.
        given: u128,
    },
    /// Pieces that stand for themselves, as far as they follow each other; the payload lies at the front.
    Aligned {
        /// The piece that would continue the run.
        next: u16,
        /// Where in the super-frame the run begins.
        start: usize,
        /// Bytes of the run.
        len: usize,
    },
}

struct Slot {
    key: Key,
    peer: PeerId,
    touched: u64,
    /// The batch in which it was touched last.
    batch: u64,
    kind: Kind,
    bytes: Vec<u8>,
    /// The last note of an aligned run, as it came.
    note: Vec<u8>,
}

/// The super-frames of one worker.
#[derive(Default)]
pub struct Joiner {
    slots: Vec<Slot>,
    /// Memory of slots that are done with.
    spare: Vec<Slot>,
    scratch: Vec<u8>,
    /// Counts pieces.
    clock: u64,
    /// Counts deliveries.
    batches: u64,
    /// The clock at the last delivery.
    delivered: u64,
    dirty: bool,
}

impl Joiner {
    /// Takes a piece of `len` bytes of plaintext, which `open` writes to the place that it is given; gives what `open`
    /// gives. Runs that have to make room are counted in `drops`.
    ///
    /// # Errors
    /// Those of `open`, and [`DropReason::MalformedInner`], [`DropReason::Replay`] or [`DropReason::PieceOrphaned`]
    /// for a piece that fits no place.
    pub fn add<T>(
        &mut self,
        (index, peer): (u32, PeerId),
        (counter, piece): (u64, Piece),
        len: usize,
        drops: &Drops,
        open: impl FnOnce(&mut [u8]) -> Result<T, DropReason>,
    ) -> Result<T, DropReason> {
        let number = u64::from(piece.index);
        let base = counter.checked_sub(number);
        let base = base.ok_or(DropReason::MalformedInner)?;
        if usize::from(piece.index) >= MAX_PIECES || len == 0 || len > SLOT_BYTES {
            return Err(DropReason::MalformedInner);
        }
        self.clock += 1;
        let key = (index, base);
        let mine = |s: &Slot| s.key == key && s.continues_with(piece);
        let at = self.slots.iter().position(mine);
        if let Some(slot) = at.and_then(|at| self.slots.get_mut(at))
            && let Some(range) = slot.place(piece, len)?
        {
            let place = slot.bytes.get_mut(range).unwrap_or_default();
            let got = open(place)?;
            (slot.touched, slot.batch) = (self.clock, self.batches);
            self.dirty = true;
            slot.record(piece, len)?;
            return Ok(got);
        }
        self.scratch.resize(SLOT_BYTES, 0);
        let got = open(self.scratch.get_mut(..len).unwrap_or_default())?;
        self.begin((key, peer), piece, len, drops)?;
        Ok(got)
    }

    /// Makes a place for a super-frame of which this authentic piece in `scratch` came first.
    fn begin(
        &mut self,
        (key, peer): (Key, PeerId),
        piece: Piece,
        len: usize,
        drops: &Drops,
    ) -> Result<(), DropReason> {
        let kind = match piece {
            Piece {
                is_aligned: true, ..
            } => Kind::Aligned {
                next: piece.index,
                start: 0,
                len: 0,
            },
            // The last piece is shorter than the others: alone it does not tell its place.
            Piece {
                is_last: true,
                index: 1..,
                ..
            } => return Err(DropReason::PieceOrphaned),
            _ => Kind::Whole {
                size: len,
                end: None,
                have: 0,
                given: 0,
            },
        };
        if self.slots.len() >= MAX_SLOTS {
            self.evict(drops);
        }
        let mut slot = self.spare.pop().unwrap_or_else(|| Slot {
            key,
            peer,
            touched: 0,
            batch: 0,
            kind: Kind::Aligned {
                next: 0,
                start: 0,
                len: 0,
            },
            bytes: vec![0; SLOT_BYTES],
            note: Vec::with_capacity(MAX_HEAD + NOTE_LEN + 4),
        });
        (slot.key, slot.peer, slot.kind) = (key, peer, kind);
        (slot.touched, slot.batch) = (self.clock, self.batches);
        if let Some(range) = slot.place(piece, len)?
            && let (Some(place), Some(text)) = (slot.bytes.get_mut(range), self.scratch.get(..len))
        {
            place.copy_from_slice(text);
            slot.record(piece, len)?;
            self.slots.push(slot);
            self.dirty = true;
        }
        Ok(())
    }

    fn evict(&mut self, drops: &Drops) {
        let oldest = self.slots.iter().enumerate().min_by_key(|(_, s)| s.touched);
        if let Some((at, _)) = oldest {
            let slot = self.slots.remove(at);
            drops.add(DropReason::PieceOrphaned, slot.orphans());
            self.spare.push(slot);
        }
    }

    /// Whether there may be something to deliver.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether this piece needs a place of its own and would push another out: what can be delivered should go before.
    pub fn needs_room(&self, index: u32, counter: u64, piece: Piece) -> bool {
        let base = counter.wrapping_sub(u64::from(piece.index));
        let is_its = |s: &Slot| s.key == (index, base) && s.continues_with(piece);
        self.slots.len() >= MAX_SLOTS && !self.slots.iter().any(is_its)
    }

    /// Whether the rest of a super-frame is likely to be there already: it left its sender right behind what has come in
    /// this batch.
    pub fn lacks_more(&self) -> bool {
        let is_open = |s: &Slot| s.touched > self.delivered && s.is_open();
        self.dirty && self.slots.iter().any(is_open)
    }

    /// Delivers what has come. What can never be delivered is counted in `drops`.
    pub fn flush(&mut self, drops: &Drops, mut each: impl FnMut(Run<'_>)) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        self.delivered = self.clock;
        self.batches += 1;
        let mut at = 0;
        while let Some(slot) = self.slots.get_mut(at) {
            let done = slot.deliver(&mut each).unwrap_or_else(|reason| {
                drops.count(reason);
                true
            });
            let is_stale = self.batches - slot.batch > KEPT;
            if is_stale && !done {
                drops.add(DropReason::PieceOrphaned, slot.orphans());
            }
            if done || is_stale {
                // In the order in which they began: a flow's super-frames follow each other.
                let slot = self.slots.remove(at);
                self.spare.push(slot);
            } else {
                at += 1;
            }
        }
    }

    /// How many super-frames are in the making.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Slot {
    /// Where the plaintext of a piece goes; `None` when this slot has to begin anew for it.
    fn place(&self, piece: Piece, len: usize) -> Result<Option<Range<usize>>, DropReason> {
        let index = usize::from(piece.index);
        let start = match &self.kind {
            Kind::Aligned { next, len: run, .. } => {
                if !piece.is_aligned || piece.index != *next || run + len > SLOT_BYTES {
                    return Ok(None);
                }
                *run
            }
            Kind::Whole {
                size, end, have, ..
            } => {
                let fits = match piece.is_last {
                    true => len <= *size && end.is_none(),
                    false => len == *size && end.is_none_or(|(count, _)| index + 1 < count),
                };
                let start = index * size;
                if piece.is_aligned || !fits || start + len > SLOT_BYTES {
                    return Err(DropReason::MalformedInner);
                }
                if have & 1 << index != 0 {
                    return Err(DropReason::Replay);
                }
                start
            }
        };
        Ok(Some(start..start + len))
    }

    /// Notes that an authentic piece lies in its place.
    fn record(&mut self, piece: Piece, text_len: usize) -> Result<(), DropReason> {
        match &mut self.kind {
            Kind::Whole { end, have, .. } => {
                *have |= 1 << piece.index;
                if piece.is_last {
                    *end = Some((usize::from(piece.index) + 1, text_len));
                }
                Ok(())
            }
            Kind::Aligned { next, start, len } => {
                let text = self.bytes.get(*len..*len + text_len).unwrap_or_default();
                let (note, payload) = PieceNote::read_back(text)?;
                let offset = usize::from(note.offset);
                if payload == 0 || offset + payload > usize::from(note.total) {
                    return Err(DropReason::MalformedInner);
                }
                if *len == 0 {
                    *start = offset;
                } else {
                    let (first, _) = PieceNote::read_back(&self.note)?;
                    if offset != *start + *len || !note.is_of_same(&first) {
                        return Err(DropReason::MalformedInner);
                    }
                }
                self.note.clear();
                note.write_back(&mut self.note);
                *len += payload;
                *next = next.saturating_add(1);
                Ok(())
            }
        }
    }

    /// Whether a piece of this super-frame belongs here: an aligned run takes its next piece only.
    fn continues_with(&self, piece: Piece) -> bool {
        match &self.kind {
            Kind::Whole { .. } => true,
            Kind::Aligned { next, .. } => piece.is_aligned && piece.index == *next,
        }
    }

    /// Whether its last piece has not come yet.
    fn is_open(&self) -> bool {
        matches!(self.kind, Kind::Whole { end: None, .. })
    }

    /// Pieces that came for nothing.
    fn orphans(&self) -> u64 {
        match &self.kind {
            Kind::Whole { have, given: 0, .. } => u64::from(have.count_ones()),
            Kind::Whole { .. } => 0,
            Kind::Aligned { .. } => 1,
        }
    }

    /// Delivers what can be; gives whether the slot is done with.
    fn deliver(&mut self, each: &mut impl FnMut(Run<'_>)) -> Result<bool, DropReason> {
        let peer = self.peer;
        match &mut self.kind {
            Kind::Aligned { start, len, .. } => {
                let (note, _) = PieceNote::read_back(&self.note)?;
                let offload = understand(&note)?;
                let range = *start..*start + *len;
                let payload = self.bytes.get(..*len).unwrap_or_default();
                each(Run {
                    peer,
                    note,
                    offload,
                    range,
                    payload,
                });
                Ok(true)
            }
            Kind::Whole {
                size,
                end,
                have,
                given,
            } => {
                let text_len = end.map(|(count, last)| (count - 1) * *size + last);
                let Some(note) = whole_note(&self.bytes, *size, *have, text_len)? else {
                    return Ok(false);
                };
                let whole = Whole {
                    note,
                    offload: understand(&note)?,
                    size: *size,
                    text_len,
                };
                whole.check(*end)?;
                whole.deliver((peer, &self.bytes), *have, given, each);
                let all = end.map(|(count, _)| u64::MAX >> (64 - count));
                Ok(all == Some(*have))
            }
        }
    }
}

/// The note of a whole super-frame: from its first piece, or from its last.
fn whole_note(
    bytes: &[u8],
    size: usize,
    have: u64,
    text_len: Option<usize>,
) -> Result<Option<PieceNote<'_>>, DropReason> {
    if have & 1 != 0 {
        let first = bytes.get(..size).unwrap_or_default();
        return PieceNote::read_front(first).map(Some);
    }
    let Some(text_len) = text_len else {
        return Ok(None);
    };
    let last = (text_len - 1) / size * size;
    let text = bytes.get(last..text_len).unwrap_or_default();
    PieceNote::read_back(text).map(|(note, _)| Some(note))
}

/// Checks what a peer says of a super-frame.
fn understand(note: &PieceNote<'_>) -> Result<Offload, DropReason> {
    let rest = Frame::parse(note.head)?.parts.after_tag();
    let told = (note.size, note.checksum, note.ecn);
    let len = rest.len() + usize::from(note.total);
    let offload = Offload::of_peer(told, rest, len)?;
    // The head is all of the headers and nothing more.
    match offload.layers {
        Some(layers) if layers.payload == rest.len() => Ok(offload),
        _ => Err(DropReason::BadOffload),
    }
}

/// A super-frame cut anywhere, whose note is known.
struct Whole<'a> {
    note: PieceNote<'a>,
    offload: Offload,
    size: usize,
    text_len: Option<usize>,
}

impl Whole<'_> {
    /// Note and lengths have to agree: a text of one piece has one note, others have two.
    fn check(&self, end: Option<(usize, usize)>) -> Result<(), DropReason> {
        let front = self.note.wire_len();
        let total = usize::from(self.note.total);
        let agrees = match (end, self.text_len) {
            (Some((1, _)), Some(len)) => len == front + total,
            (_, Some(len)) => len == 2 * front + total,
            _ => true,
        };
        match agrees && total > 0 && self.note.offset == 0 {
            true => Ok(()),
            false => Err(DropReason::MalformedInner),
        }
    }

    /// Walks over the runs of pieces that are there.
    fn deliver(
        &self,
        (peer, bytes): (PeerId, &[u8]),
        have: u64,
        given: &mut u128,
        each: &mut impl FnMut(Run<'_>),
    ) {
        let layers = self.offload.layers;
        let is_udp = layers.is_some_and(|l| l.transport == Transport::Udp);
        // Datagrams may straddle pieces of which one was delivered from before; bytes of TCP may not come twice.
        let wanted = if is_udp {
            have
        } else {
            have & !(*given as u64)
        };
        let front = self.note.wire_len();
        let mut index = 0;
        while index < MAX_PIECES {
            let run = (wanted >> index).trailing_ones() as usize;
            if run == 0 {
                index += 1;
                continue;
            }
            let text = index * self.size..(index + run) * self.size;
            let part = self.part_of(text);
            let mut hand_over = |range: Range<usize>| {
                let lies = front + range.start..front + range.end;
                each(Run {
                    peer,
                    note: self.note,
                    offload: self.offload,
                    payload: bytes.get(lies).unwrap_or_default(),
                    range,
                });
            };
            if is_udp {
                self.datagrams(&part, given, &mut hand_over);
            } else {
                *given |= u128::from(u64::MAX >> (64 - run) << index);
                if !part.is_empty() {
                    hand_over(part);
                }
            }
            index += run;
        }
    }

    /// The part of the payload in a range of the text.
    fn part_of(&self, text: Range<usize>) -> Range<usize> {
        let front = self.note.wire_len();
        let total = usize::from(self.note.total);
        let start = text.start.saturating_sub(front).min(total);
        start..text.end.saturating_sub(front).min(total).max(start)
    }

    /// The complete datagrams in a part of the payload that were not delivered yet.
    fn datagrams(
        &self,
        part: &Range<usize>,
        given: &mut u128,
        each: &mut impl FnMut(Range<usize>),
    ) {
        let total = usize::from(self.note.total);
        let size = match self.offload.segment {
            0 => total,
            size => usize::from(size),
        };
        let first = part.start.div_ceil(size);
        let end = match part.end == total {
            true => total.div_ceil(size),
            false => part.end / size,
        };
        let mut at = first;
        while at < end {
            let open = !(*given >> at.min(127));
            let run = (open.trailing_ones() as usize)
                .min(end - at)
                .min(MAX_DATAGRAMS);
            if run > 0 {
                *given |= (u128::MAX >> (128 - run)) << at;
                each(at * size..((at + run) * size).min(total));
            }
            at += run.max(1);
        }
    }
}
