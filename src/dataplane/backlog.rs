//! Frames that were read from a port and not sent yet: bulk waits, small flows go past it.
//!
//! Small frames of flows that have brought nothing else for half a second are urgent: they take a lane of their own
//! ([`crate::io::lanes`]), so they do not wait behind bulk at the other end either.
//!
//! # Why
//! A TAP is one queue without a scheduler: the kernel tells the host nothing when it is full, so bulk TCP fills it, and a
//! ping behind fifty super-frames waits milliseconds. So a worker reads ahead, as far as this backlog reaches, and lets
//! small frames go at once, unless a frame of their own flow waits: no flow is ever reordered. Bounds: [`MAX_HELD`]
//! frames of 64 KiB for each worker; memory is taken when it is first needed. What does not fit stays with the kernel,
//! whose queue is bounded, too.

use std::collections::VecDeque;
use std::time::Duration;

use crate::place::PortId;
use crate::time::Instant;
use crate::wire::ethernet::{Frame, MAX_FRAME_LEN};
use crate::wire::layers::Layers;
use crate::wire::offload::{VIRTIO_LEN, VirtioHeader};

/// The most frames that wait.
pub const MAX_HELD: usize = 64;
/// So many small frames go past before a frame that waits is sent: they must not starve it.
const MAX_OVERTAKEN: usize = 16;
/// Frames up to this length, in bytes, may overtake.
const SMALL: usize = 600;

/// How long the small frames of a flow are not urgent after it has brought a large one: longer than anything waits
/// underway.
const CALM: Duration = Duration::from_millis(500);
/// Moments that are kept of flows that brought large frames. Two flows that share one make each other less urgent.
const MOMENTS: usize = 256;

/// A frame in a buffer: at [`VIRTIO_LEN`], so many bytes.
pub struct Held {
    /// The port that brought it.
    pub port: PortId,
    /// What came before it.
    pub header: VirtioHeader,
    len: usize,
    flow: u64,
    is_urgent: bool,
    buffer: Vec<u8>,
}

impl Held {
    /// Whether it shall be taken before bulk at the other end.
    pub fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    /// The frame.
    pub fn frame(&mut self) -> &mut [u8] {
        let end = VIRTIO_LEN + self.len;
        self.buffer.get_mut(VIRTIO_LEN..end).unwrap_or_default()
    }
}

/// The waiting frames of one worker, oldest first.
pub struct Backlog {
    held: VecDeque<Held>,
    /// When a flow of this place brought a large frame last.
    large: [Option<Instant>; MOMENTS],
    /// Frames that went past the oldest since the last of those that wait was sent.
    overtaken: usize,
    spare: Vec<Vec<u8>>,
}

impl Default for Backlog {
    fn default() -> Self {
        Backlog {
            held: VecDeque::new(),
            large: [None; MOMENTS],
            overtaken: 0,
            spare: Vec::new(),
        }
    }
}

impl Backlog {
    /// Whether another frame can be read.
    pub fn has_room(&self) -> bool {
        self.held.len() < MAX_HELD
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// A buffer to read a frame into.
    pub fn buffer(&mut self) -> Vec<u8> {
        let fresh = || vec![0; VIRTIO_LEN + MAX_FRAME_LEN];
        self.spare.pop().unwrap_or_else(fresh)
    }

    /// Takes a buffer back.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }

    /// Takes a frame that was read into a buffer; gives it back at once when it may go before all that wait.
    pub fn take(
        &mut self,
        port: PortId,
        (header, len): (VirtioHeader, usize),
        buffer: Vec<u8>,
        now: Instant,
    ) -> Option<Held> {
        let frame = buffer.get(VIRTIO_LEN..VIRTIO_LEN + len).unwrap_or_default();
        let flow = flow_of(frame);
        let pair = pair_of(frame);
        if flow.is_none() {
            // It may belong to any flow of these two.
            self.note_large(pair, now);
        }
        let held = Held {
            port,
            header,
            len,
            flow: flow.unwrap_or(0),
            is_urgent: flow.is_some_and(|f| self.is_urgent((f, pair), len, now)),
            buffer,
        };
        let overtakes = self.held.is_empty() && len <= SMALL
            || flow.is_some_and(|f| len <= SMALL && !self.waits(f));
        if overtakes {
            self.overtaken += usize::from(!self.held.is_empty());
            return Some(held);
        }
        self.held.push_back(held);
        None
    }

    /// Whether a frame of this flow between these two is urgent; notes when it is a large one.
    fn is_urgent(&mut self, (flow, pair): (u64, u64), len: usize, now: Instant) -> bool {
        if len > SMALL {
            self.note_large(flow, now);
        }
        let is_calm = |flow: u64| {
            let large = self.large.get(place_of(flow)).copied().flatten();
            large.is_none_or(|at| now.since(at) > CALM)
        };
        is_calm(flow) && is_calm(pair)
    }

    fn note_large(&mut self, flow: u64, now: Instant) {
        if let Some(large) = self.large.get_mut(place_of(flow)) {
            *large = Some(now);
        }
    }

    /// Whether a frame of this flow waits, or one that belongs to who knows which.
    fn waits(&self, flow: u64) -> bool {
        self.held.iter().any(|h| h.flow == flow || h.flow == 0)
    }

    /// Whether so many have gone past that it is bulk's turn.
    pub fn is_due(&self) -> bool {
        self.overtaken >= MAX_OVERTAKEN
    }

    /// The frame that waits longest.
    pub fn oldest(&mut self) -> Option<Held> {
        self.overtaken = 0;
        self.held.pop_front()
    }

    /// Drops the frames of some ports.
    pub fn retain(&mut self, stays: impl Fn(PortId) -> bool) {
        for held in std::mem::take(&mut self.held) {
            match stays(held.port) {
                true => self.held.push_back(held),
                false => self.done(held),
            }
        }
    }

    /// Takes a frame's buffer back when it is sent.
    pub fn done(&mut self, held: Held) {
        self.spare.push(held.buffer);
    }
}

/// Where the moment of a flow is kept; the low bit of its number says nothing.
fn place_of(flow: u64) -> usize {
    (flow >> 1) as usize % MOMENTS
}

/// A number that is the same for all frames from one host to another.
fn pair_of(bytes: &[u8]) -> u64 {
    let addresses = bytes.first_chunk::<12>().copied().unwrap_or_default();
    let [a, b, c, d, e, f, g, h, i, j, k, l] = addresses;
    let word = |w: [u8; 4]| u64::from(u32::from_be_bytes(w));
    let first = hash(word([a, b, c, d]), word([e, f, g, h]));
    hash(first, word([i, j, k, l]))
}

/// A number that is the same for all frames of a flow, never 0; `None` for what belongs to a flow that it does not name,
/// as fragments do.
fn flow_of(bytes: &[u8]) -> Option<u64> {
    let frame = Frame::parse(bytes).ok()?;
    let rest = frame.parts.after_tag();
    let ends = hash(frame.destination.to_u64(), frame.source.to_u64());
    let flow = match Layers::read(rest) {
        Some(layers) => {
            let ports = rest.get(layers.segment..layers.segment + 4)?;
            let addresses = layers.addresses(rest)?;
            let words = addresses.chunks(4).chain([ports]);
            words.fold(ends, |h, w| {
                let word = w.first_chunk::<4>().map_or(0, |w| u32::from_be_bytes(*w));
                hash(h, u64::from(word))
            })
        }
        // ARP, and ICMP in unfragmented packets: flows of their own.
        None => match rest {
            [8, 6, ..] => hash(ends, 0x0806),
            [8, 0, _, _, _, _, _, _, f0, f1, _, 1, ..] if (f0 & 0x3f, *f1) == (0, 0) => {
                hash(ends, 0x0800)
            }
            [0x86, 0xdd, _, _, _, _, _, _, 58, ..] => hash(ends, 0x86dd),
            _ => return None,
        },
    };
    Some(flow | 1)
}

/// Mixes a word into a hash. An attacker who makes flows collide makes his own frames wait.
fn hash(state: u64, word: u64) -> u64 {
    (state ^ word)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(0);

    /// An IPv4 packet of a protocol with two port numbers; `fragment` as the header has it.
    fn packet(protocol: u8, ports: [u8; 4], fragment: u8, len: usize) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        f.extend_from_slice(&((len - 14) as u16).to_be_bytes());
        f.extend_from_slice(&[
            0, 1, fragment, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        f.extend_from_slice(&ports);
        f.resize(len, 0);
        f[46] = 0x50;
        f
    }

    fn take(backlog: &mut Backlog, frame: &[u8]) -> bool {
        take_at(backlog, frame, 0).0
    }

    /// Whether a frame may go at once, and whether it is urgent then.
    fn take_at(backlog: &mut Backlog, frame: &[u8], millis: u64) -> (bool, bool) {
        let mut buffer = backlog.buffer();
        buffer[VIRTIO_LEN..VIRTIO_LEN + frame.len()].copy_from_slice(frame);
        let read = (VirtioHeader::default(), frame.len());
        let now = Instant::from_micros(1 + millis * 1000);
        let gone = backlog.take(PORT, read, buffer, now);
        let urgent = gone.as_ref().is_some_and(Held::is_urgent);
        (gone.map(|h| backlog.done(h)).is_some(), urgent)
    }

    #[test]
    fn small_flows_go_past_bulk_and_never_past_their_own() {
        let mut backlog = Backlog::default();
        let (bulk, other) = ([0, 1, 0, 2], [0, 3, 0, 4]);
        assert!(!take(&mut backlog, &packet(6, bulk, 0x40, 60_000)));
        assert!(
            !take(&mut backlog, &packet(6, bulk, 0x40, 60)),
            "its own flow"
        );
        assert!(take(&mut backlog, &packet(6, other, 0x40, 60)));
        assert!(take(&mut backlog, &packet(1, other, 0x40, 98)), "a ping");
        assert!(
            !take(&mut backlog, &packet(17, other, 0x20, 98)),
            "a fragment"
        );
        assert!(
            !take(&mut backlog, &packet(1, other, 0x40, 98)),
            "nothing goes past what may be its own"
        );
        let mut lens = Vec::new();
        while let Some(mut held) = backlog.oldest() {
            lens.push(held.frame().len());
            backlog.done(held);
        }
        assert_eq!(lens, [60_000, 60, 98, 98]);
    }

    #[test]
    fn a_flow_is_urgent_while_it_brings_small_frames_only() {
        let mut backlog = Backlog::default();
        let (mixed, small) = ([0, 1, 0, 2], [0, 3, 0, 4]);
        let mut tell = |ports, len, at| {
            let told = take_at(&mut backlog, &packet(6, ports, 0x40, len), at);
            if let Some(held) = backlog.oldest() {
                assert!(!held.is_urgent());
                backlog.done(held);
            }
            told
        };
        assert_eq!(tell(mixed, 100, 0), (true, true));
        assert_eq!(tell(mixed, 1400, 1), (false, false));
        assert_eq!(tell(mixed, 100, 2), (true, false));
        assert_eq!(tell(small, 100, 2), (true, true));
        assert_eq!(tell(mixed, 100, 501), (true, false));
        assert_eq!(tell(mixed, 100, 502), (true, true));
        // A fragment may belong to any flow of the two hosts.
        let mut tell = |protocol, fragment, at| {
            let told = take_at(&mut backlog, &packet(protocol, small, fragment, 100), at);
            while let Some(held) = backlog.oldest() {
                backlog.done(held);
            }
            told.1
        };
        assert!(tell(6, 0x40, 600));
        assert!(!tell(17, 0x20, 601));
        assert!(!tell(6, 0x40, 602) && !tell(6, 0x40, 1101) && tell(6, 0x40, 1102));
    }

    #[test]
    fn small_frames_do_not_starve_bulk() {
        let mut backlog = Backlog::default();
        assert!(!take(&mut backlog, &packet(6, [0, 1, 0, 2], 0x40, 60_000)));
        let mut gone = 0;
        while !backlog.is_due() {
            assert!(take(&mut backlog, &packet(1, [0, 3, 0, 4], 0x40, 98)));
            gone += 1;
        }
        assert_eq!(gone, MAX_OVERTAKEN);
        assert!(backlog.oldest().is_some() && !backlog.is_due());
    }

    #[test]
    fn the_backlog_is_bounded() {
        let mut backlog = Backlog::default();
        let frame = packet(6, [0, 1, 0, 2], 0x40, 2000);
        let mut taken = 0;
        while backlog.has_room() {
            assert!(!take(&mut backlog, &frame));
            taken += 1;
        }
        assert_eq!(taken, MAX_HELD);
    }
}
