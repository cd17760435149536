//! Putting the pieces of one peer's frames together again, within fixed bounds.
//!
//! Bounds per peer: 64 partial frames, 256 KiB, two seconds. When a new frame needs room the oldest goes. Pieces that
//! overlap, or contradict what an earlier piece said of the frame, kill the frame: honest senders cut once.

use std::collections::VecDeque;

use crate::drops::{DropReason, Drops};
use crate::time::{Duration, Instant};
use crate::wire::fragment::Fragment;
use crate::wire::segment::SegmentId;

/// The most frames in the making.
pub const MAX_FRAMES: usize = 64;
/// The most bytes in the making.
pub const MAX_BYTES: usize = 256 * 1024;
/// How long a frame may be in the making.
pub const KEPT: Duration = Duration::from_secs(2);
/// How many killed frames are remembered, so that their late pieces do not begin them anew.
const MAX_KILLED: usize = 64;

/// What pieces of one frame have in common beside its id: the session's index and the segment. A peer that restarts
/// begins a new session, so frames of two lives never mix.
pub type Origin = (u32, SegmentId);

struct Partial {
    origin: Origin,
    id: u32,
    since: Instant,
    bytes: Vec<u8>,
    /// Which parts came, as half-open ranges in order; never more than there are pieces.
    have: Vec<(u16, u16)>,
}

/// The frames of one peer that are in the making, oldest first.
#[derive(Default)]
pub struct Reassembly {
    frames: VecDeque<Partial>,
    bytes: usize,
    killed: VecDeque<(Origin, u32)>,
    /// The frame that was completed last.
    whole: Vec<u8>,
    /// Frames that are done with: their memory serves the next ones, so that a steady stream allocates nothing.
    spare: Vec<Partial>,
}

/// How many frames' memory is kept for the next ones.
const MAX_SPARE: usize = 8;

impl Reassembly {
    /// Adds a piece; gives the frame when it was the last one missing. Frames that have to go are counted in `drops`.
    ///
    /// # Errors
    /// [`DropReason::FragmentConflict`] when the piece contradicts another; the frame is gone then.
    pub fn add(
        &mut self,
        origin: Origin,
        piece: &Fragment<'_>,
        (now, drops): (Instant, &Drops),
    ) -> Result<Option<&[u8]>, DropReason> {
        self.expire(now, drops);
        if self.killed.contains(&(origin, piece.id)) {
            return Err(DropReason::FragmentConflict);
        }
        let at = self
            .frames
            .iter()
            .rposition(|p| p.id == piece.id && p.origin == origin);
        let at = match at {
            Some(at) => at,
            None => self.begin(origin, piece, (now, drops)),
        };
        let Some(partial) = self.frames.get_mut(at) else {
            return Err(DropReason::FragmentEvicted);
        };
        if !partial.fill(piece) {
            self.kill(at);
            return Err(DropReason::FragmentConflict);
        }
        if !partial.is_whole() {
            return Ok(None);
        }
        let Some(mut done) = self.remove(at) else {
            return Ok(None);
        };
        std::mem::swap(&mut self.whole, &mut done.bytes);
        self.recycle(done);
        Ok(Some(&self.whole))
    }

    /// Frames and bytes in the making.
    pub fn size(&self) -> (usize, usize) {
        (self.frames.len(), self.bytes)
    }

    fn begin(
        &mut self,
        origin: Origin,
        piece: &Fragment<'_>,
        (now, drops): (Instant, &Drops),
    ) -> usize {
        let total = usize::from(piece.total);
        while self.frames.len() >= MAX_FRAMES || self.bytes + total > MAX_BYTES {
            let Some(oldest) = self.remove(0) else { break };
            self.recycle(oldest);
            drops.count(DropReason::FragmentEvicted);
        }
        self.bytes += total;
        let mut partial = self.spare.pop().unwrap_or_else(|| Partial {
            origin,
            id: 0,
            since: now,
            bytes: Vec::new(),
            have: Vec::new(),
        });
        partial.origin = origin;
        partial.id = piece.id;
        partial.since = now;
        // Every byte is written before the frame counts as whole, so old content never shows.
        partial.bytes.resize(total, 0);
        partial.have.clear();
        self.frames.push_back(partial);
        self.frames.len() - 1
    }

    fn expire(&mut self, now: Instant, drops: &Drops) {
        while self
            .frames
            .front()
            .is_some_and(|p| now.since(p.since) >= KEPT)
        {
            if let Some(oldest) = self.remove(0) {
                self.recycle(oldest);
            }
            drops.count(DropReason::FragmentExpired);
        }
    }

    fn kill(&mut self, at: usize) {
        if let Some(partial) = self.remove(at) {
            self.killed.push_back((partial.origin, partial.id));
            if self.killed.len() > MAX_KILLED {
                self.killed.pop_front();
            }
            self.recycle(partial);
        }
    }

    fn recycle(&mut self, partial: Partial) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(partial);
        }
    }

    fn remove(&mut self, at: usize) -> Option<Partial> {
        let partial = self.frames.remove(at)?;
        self.bytes -= partial.bytes.len();
        Some(partial)
    }
}

impl Partial {
    /// Copies a piece in; `false` when it does not fit what is known of the frame.
    fn fill(&mut self, piece: &Fragment<'_>) -> bool {
        let start = piece.offset;
        let Ok(len) = u16::try_from(piece.bytes.len()) else {
            return false;
        };
        let Some(end) = start.checked_add(len) else {
            return false;
        };
        if usize::from(piece.total) != self.bytes.len() {
            return false;
        }
        let at = self.have.partition_point(|(s, _)| *s < start);
        let overlaps_before = at > 0 && self.have.get(at - 1).is_some_and(|(_, e)| *e > start);
        let overlaps_after = self.have.get(at).is_some_and(|(s, _)| *s < end);
        if overlaps_before || overlaps_after {
            return false;
        }
        let Some(place) = self.bytes.get_mut(usize::from(start)..usize::from(end)) else {
            return false;
        };
        place.copy_from_slice(piece.bytes);
        self.have.insert(at, (start, end));
        self.merge_around(at);
        true
    }

    /// Joins the range at `at` with neighbours that touch it.
    fn merge_around(&mut self, at: usize) {
        if let (Some(&(s, e)), Some(&(next, end))) = (self.have.get(at), self.have.get(at + 1))
            && e == next
        {
            self.have.remove(at + 1);
            if let Some(range) = self.have.get_mut(at) {
                *range = (s, end);
            }
        }
        let Some(before) = at.checked_sub(1) else {
            return;
        };
        if let (Some(&(s, e)), Some(&(next, end))) = (self.have.get(before), self.have.get(at))
            && e == next
        {
            self.have.remove(at);
            if let Some(range) = self.have.get_mut(before) {
                *range = (s, end);
            }
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self.have.as_slice(), [(0, end)] if usize::from(*end) == self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        (1, SegmentId::new(1).unwrap())
    }

    fn add(
        r: &mut Reassembly,
        id: u32,
        offset: u16,
        total: u16,
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>, DropReason> {
        add_at(r, id, offset, total, bytes, Instant::ZERO)
    }

    fn add_at(
        r: &mut Reassembly,
        id: u32,
        offset: u16,
        total: u16,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Option<Vec<u8>>, DropReason> {
        let piece = Fragment {
            id,
            offset,
            total,
            bytes,
        };
        r.add(origin(), &piece, (now, &Drops::default()))
            .map(|w| w.map(Vec::from))
    }

    #[test]
    fn pieces_in_any_order_make_the_frame() {
        let mut r = Reassembly::default();
        assert_eq!(add(&mut r, 1, 4, 6, b"ef"), Ok(None));
        assert_eq!(add(&mut r, 1, 0, 6, b"ab"), Ok(None));
        assert_eq!(add(&mut r, 2, 0, 3, b"xyz"), Ok(Some(b"xyz".to_vec())));
        assert_eq!(add(&mut r, 1, 2, 6, b"cd"), Ok(Some(b"abcdef".to_vec())));
        assert_eq!(r.size(), (0, 0));
    }

    #[test]
    fn overlaps_and_contradictions_kill_the_frame_for_good() {
        for (offset, total, bytes) in [(1u16, 6u16, &b"bb"[..]), (0, 6, b"a"), (2, 7, b"c")] {
            let mut r = Reassembly::default();
            assert_eq!(add(&mut r, 1, 0, 6, b"ab"), Ok(None));
            let conflict = Err(DropReason::FragmentConflict);
            assert_eq!(add(&mut r, 1, offset, total, bytes), conflict);
            assert_eq!(add(&mut r, 1, 2, 6, b"cdef"), conflict);
            assert_eq!(add(&mut r, 1, 0, 6, b"abcdef"), conflict);
            assert_eq!(r.size(), (0, 0));
        }
    }

    #[test]
    fn memory_and_time_are_bounded() {
        let mut r = Reassembly::default();
        for id in 0..1000 {
            let _ = add(&mut r, id, 0, 60_000, &[1; 100]);
            let (frames, bytes) = r.size();
            assert!(frames <= MAX_FRAMES && bytes <= MAX_BYTES);
        }
        for id in 1000..2000 {
            let _ = add(&mut r, id, 0, 20, &[1; 10]);
            assert!(r.size().0 <= MAX_FRAMES);
        }
        let drops = Drops::default();
        let piece = Fragment {
            id: 5000,
            offset: 0,
            total: 60_000,
            bytes: &[1],
        };
        assert_eq!(r.add(origin(), &piece, (Instant::ZERO, &drops)), Ok(None));
        assert_eq!(drops.get(DropReason::FragmentEvicted), 1);
        r = Reassembly::default();
        assert_eq!(add(&mut r, 1999, 0, 20, &[1; 10]), Ok(None));
        let later = Instant::ZERO + KEPT;
        assert_eq!(
            add_at(&mut r, 1999, 10, 20, &[1; 10], later),
            Ok(None),
            "its first half expired"
        );
        assert_eq!(r.size().0, 1);
    }
}
