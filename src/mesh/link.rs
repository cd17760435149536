//! What the data plane knows of a peer: how to send to it now, and what passed.
//!
//! A [`Link`] lives as long as the peer; its [`Route`] is replaced whole when the session or the path changes. Workers
//! load it without a lock, and whoever still holds an old one finishes with the previous session, which the peer accepts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};

use super::meter::{Meter, Rate};
use super::outgoing::Outgoing;
use super::path::Endpoint;
use crate::drops::DropReason;
use crate::noise::session::{PACKET_OVERHEAD, SEAL_OVERHEAD, SendHalf};
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::ethernet::Parts;
use crate::wire::fragment::{FRAGMENT_HEADER_LEN, Fragment, piece_size};
use crate::wire::inner::{self, TYPE_FRAGMENT, TYPE_FRAME};
use crate::wire::offer::Abilities;
use crate::wire::segment::SegmentId;

/// How to send to a peer now.
pub struct Route {
    /// Seals.
    pub send: Arc<SendHalf>,
    /// Where to.
    pub endpoint: Endpoint,
    /// The largest datagram payload, in bytes.
    pub room: usize,
    /// What both ends can do with frames.
    pub abilities: Abilities,
    /// Whether frames may take this way; what finds a better one always may.
    pub takes_frames: bool,
    /// Whether the path loses so much that each piece of a super-frame should stand for itself.
    pub is_lossy: bool,
    /// A second way that frames take as well, as far as they may, while this one is doubted.
    pub second: Option<Second>,
}

/// A second way for frames, and how much was sent on it. What asks whether the first one works is not for it: whichever came
/// first would be the only one to be answered.
pub struct Second {
    /// Where to.
    pub endpoint: Endpoint,
    /// What went there.
    pub meter: Arc<Meter>,
}

impl Second {
    /// As much may take it in a second: when many ways die at a time, relays shall not drown in what is sent twice. About 64 KiB
    /// at once, and 125 kB a second from then on.
    const RATE: u32 = 1;

    /// A second way that nothing has taken yet.
    pub fn new(endpoint: Endpoint) -> Second {
        Second {
            endpoint,
            meter: Arc::default(),
        }
    }

    /// The same way, and what went there.
    pub fn again(&self) -> Second {
        Second {
            endpoint: self.endpoint,
            meter: self.meter.clone(),
        }
    }

    /// Sends what was sealed last on this way as well, if it may and is no longer there than `most`, in bytes of an IP packet.
    fn repeat(&self, most: usize, out: &mut Outgoing, now: Instant) {
        let len = out.last_len();
        if len + self.endpoint.headers_len() <= most
            && self.meter.admit(len, Rate::of_megabits(Self::RATE), now)
        {
            out.repeat_last(self.endpoint);
        }
    }
}

/// One instant that several threads write.
#[derive(Debug, Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// Sets it.
    pub fn mark(&self, now: Instant) {
        self.0.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Reads it; the clock's origin when it was never set.
    pub fn get(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// What passed on a link. The workers write it, the control side reads it on its heartbeat.
#[derive(Debug, Default)]
pub struct Activity {
    /// When anything was sent last.
    pub sent: Moment,
    /// When something else than a keepalive was sent last.
    pub sent_data: Moment,
    /// When anything authentic was heard last.
    pub heard: Moment,
    /// When something else than a keepalive was heard last.
    pub heard_data: Moment,
    /// Frames and their bytes to the peer.
    pub tx: Tally,
    /// Frames and their bytes from the peer.
    pub rx: Tally,
}

/// Frames and bytes.
#[derive(Debug, Default)]
pub struct Tally {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    /// Adds frames of so many bytes together.
    pub fn add(&self, frames: usize, bytes: usize) {
        self.frames.fetch_add(frames as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Frames and bytes so far.
    pub fn get(&self) -> (u64, u64) {
        (
            self.frames.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

/// The data plane's view of one peer.
pub struct Link {
    /// Which peer.
    pub peer: PeerId,
    /// What passed.
    pub activity: Activity,
    /// What we have carried of it to others.
    pub carried: Meter,
    /// What of that was its part of what we carry for all.
    pub part: Meter,
    route: ArcSwapOption<Route>,
    next_fragment_id: AtomicU32,
}

impl Link {
    /// A link without a route.
    pub fn new(peer: PeerId) -> Self {
        Link {
            peer,
            activity: Activity::default(),
            carried: Meter::default(),
            part: Meter::default(),
            route: ArcSwapOption::empty(),
            next_fragment_id: AtomicU32::new(0),
        }
    }

    /// How to send now; `None` without a session.
    pub fn route(&self) -> Guard<Option<Arc<Route>>> {
        self.route.load()
    }

    /// Publishes how to send from now on.
    pub fn publish(&self, route: Option<Route>) {
        self.route.store(route.map(Arc::new));
    }

    /// Seals a frame into `out`, in pieces when it does not fit the path.
    ///
    /// Its checksums are complete. `scratch` is where it is put together.
    ///
    /// # Errors
    /// [`DropReason::NoSession`] or [`DropReason::SessionExpired`]; the frame may be staged then.
    /// [`DropReason::NotRelayed`] when it would have to go through a relay and must not.
    pub fn send_frame(
        &self,
        (segment, frame): (SegmentId, &Parts<'_>),
        scratch: &mut Vec<u8>,
        out: &mut Outgoing,
        now: Instant,
    ) -> Result<(), DropReason> {
        let guard = self.route();
        let route = guard.as_ref().ok_or(DropReason::NoSession)?;
        route.admit()?;
        let len = frame.len();
        scratch.clear();
        frame.write(scratch);
        if len + SEAL_OVERHEAD <= route.room {
            route.seal_message((TYPE_FRAME, segment), scratch, out, now)?;
        } else {
            let id = self.next_fragment_id.fetch_add(1, Ordering::Relaxed);
            route.seal_fragments((segment, id), scratch, out, now)?;
        }
        self.mark_sent(1, len, now);
        Ok(())
    }

    /// Notes that frames were sent.
    pub fn mark_sent(&self, frames: usize, bytes: usize, now: Instant) {
        self.activity.sent.mark(now);
        self.activity.sent_data.mark(now);
        self.activity.tx.add(frames, bytes);
    }

    /// Seals a message that is not a frame to the published endpoint, or to another.
    ///
    /// # Errors
    /// [`DropReason::NoSession`] or [`DropReason::SessionExpired`].
    pub fn send_message(
        &self,
        kind: u8,
        body: &[u8],
        elsewhere: Option<Endpoint>,
        out: &mut Outgoing,
        now: Instant,
    ) -> Result<(), DropReason> {
        let guard = self.route();
        let route = guard.as_ref().ok_or(DropReason::NoSession)?;
        let to = elsewhere.unwrap_or(route.endpoint);
        let header = inner::bare_header(kind);
        route.seal_parts(to, &[&header, body], out, now)?;
        if elsewhere.is_some() {
            // Nobody may be there: no sign of life, and nothing that an answer is owed to.
            return Ok(());
        }
        self.activity.sent.mark(now);
        if kind != inner::TYPE_PADDING {
            self.activity.sent_data.mark(now);
        }
        Ok(())
    }
}

impl Route {
    /// Whether a frame may take this way.
    ///
    /// # Errors
    /// [`DropReason::NotRelayed`].
    pub fn admit(&self) -> Result<(), DropReason> {
        match self.takes_frames {
            true => Ok(()),
            false => Err(DropReason::NotRelayed),
        }
    }

    /// Seals a message of a segment.
    ///
    /// # Errors
    /// [`DropReason::SessionExpired`].
    pub fn seal_message(
        &self,
        (kind, segment): (u8, SegmentId),
        body: &[u8],
        out: &mut Outgoing,
        now: Instant,
    ) -> Result<(), DropReason> {
        let header = inner::header(kind, segment);
        self.seal_parts(self.endpoint, &[&header, body], out, now)?;
        self.repeat(out, now);
        Ok(())
    }

    fn seal_parts(
        &self,
        to: Endpoint,
        parts: &[&[u8]],
        out: &mut Outgoing,
        now: Instant,
    ) -> Result<(), DropReason> {
        let counter = self.send.reserve(1, now)?;
        let header = self.send.header(counter, self.lane(out), None);
        let len: usize = parts.iter().map(|p| p.len()).sum();
        out.push_with(to, len + PACKET_OVERHEAD, |place| {
            self.send.seal_to(header, parts, place)
        })
    }

    /// Sends what was sealed last on the second way as well, if there is one.
    pub fn repeat(&self, out: &mut Outgoing, now: Instant) {
        if let Some(second) = &self.second {
            second.repeat(self.room + self.endpoint.headers_len(), out, now);
        }
    }

    /// The lane to be named; members that know no lanes take the bits for reserved ones.
    pub fn lane(&self, out: &Outgoing) -> u8 {
        match self.abilities.has(Abilities::BUNDLES) {
            true => out.lane(),
            false => 0,
        }
    }

    fn seal_fragments(
        &self,
        (segment, id): (SegmentId, u32),
        frame: &[u8],
        out: &mut Outgoing,
        now: Instant,
    ) -> Result<(), DropReason> {
        let room = self
            .room
            .saturating_sub(SEAL_OVERHEAD + FRAGMENT_HEADER_LEN);
        let total = u16::try_from(frame.len()).map_err(|_| DropReason::Oversize)?;
        let size = piece_size(frame.len(), room).ok_or(DropReason::Oversize)?;
        let header = inner::header(TYPE_FRAGMENT, segment);
        for (i, piece) in frame.chunks(size).enumerate() {
            let offset = u16::try_from(i * size).map_err(|_| DropReason::Oversize)?;
            let place = Fragment::header(id, offset, total);
            self.seal_parts(self.endpoint, &[&header, &place, piece], out, now)?;
            self.repeat(out, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_twice_is_little_at_a_time() {
        let at = |ms: u64| Instant::from_micros(1_000_000 + ms * 1000);
        let [first, other] = [1, 2].map(|n| Endpoint::to(([192, 0, 2, n], 7656).into()));
        let second = Second::new(other);
        let twice = |ms| {
            let mut out = Outgoing::default();
            for _ in 0..1000 {
                out.push(first, &[0; 1000]);
                second.again().repeat(1100, &mut out, at(ms));
            }
            out.len() - 1000
        };
        assert!((60..70).contains(&twice(0)));
        assert!((115..130).contains(&(twice(500) + twice(1000))));
        let mut out = Outgoing::default();
        out.push(first, &[0; 100]);
        second.repeat(127, &mut out, at(9000));
        assert_eq!(out.len(), 1, "it does not fit");
        second.repeat(128, &mut out, at(9000));
        assert_eq!(out.len(), 2);
    }
}
