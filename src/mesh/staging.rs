//! Frames that wait for a session: a short queue, oldest dropped first.
//!
//! Bounds: 128 frames and 256 KiB for each peer, two seconds each. A frame that waited longer is worth less than the
//! retransmission that follows it.

use std::collections::VecDeque;

use crate::time::{Duration, Instant};
use crate::wire::segment::SegmentId;

/// The most frames that wait for one peer.
pub const MAX_FRAMES: usize = 128;
/// The most bytes that wait for one peer.
pub const MAX_BYTES: usize = 256 * 1024;
/// How long a frame waits.
pub const KEPT: Duration = Duration::from_secs(2);

struct Waiting {
    segment: SegmentId,
    frame: Vec<u8>,
    since: Instant,
}

/// The frames that wait for one peer.
#[derive(Default)]
pub struct Staging {
    queue: VecDeque<Waiting>,
    bytes: usize,
}

impl Staging {
    /// Adds a frame; gives how many old ones had to go.
    pub fn push(&mut self, segment: SegmentId, frame: Vec<u8>, now: Instant) -> u64 {
        self.bytes += frame.len();
        self.queue.push_back(Waiting {
            segment,
            frame,
            since: now,
        });
        let mut dropped = 0;
        while self.queue.len() > MAX_FRAMES || self.bytes > MAX_BYTES {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Waiting> {
        let first = self.queue.pop_front()?;
        self.bytes -= first.frame.len();
        Some(first)
    }

    /// The oldest frame.
    pub fn oldest(&self) -> Option<(SegmentId, &[u8])> {
        self.queue.front().map(|w| (w.segment, &w.frame[..]))
    }

    /// Removes the oldest frame: it was sent, or cannot be.
    pub fn remove_oldest(&mut self) {
        self.pop();
    }

    /// Drops frames that waited too long; gives how many.
    pub fn expire(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        while self
            .queue
            .front()
            .is_some_and(|w| now.since(w.since) >= KEPT)
        {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_in_frames_bytes_and_time() {
        let segment = SegmentId::new(1).unwrap();
        let mut staging = Staging::default();
        let dropped: u64 = (0..200)
            .map(|i| staging.push(segment, vec![i as u8; 100], Instant::ZERO))
            .sum();
        assert_eq!(dropped, 72);
        assert_eq!(staging.oldest().unwrap().1[0], 72, "the oldest went");
        staging.remove_oldest();
        (0..5).for_each(|_| {
            staging.push(segment, vec![9; 64_000], Instant::ZERO);
        });
        assert!(staging.bytes <= MAX_BYTES);
        assert_eq!(staging.expire(Instant::from_micros(1_999_999)), 0);
        assert!(staging.expire(Instant::ZERO + KEPT) > 0);
        assert!(staging.is_empty() && staging.bytes == 0);
    }
}
