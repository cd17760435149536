//! What the data plane knows of a peer: how to send to it now, and what passed.
//!
//! A [`Link`] lives as long as the peer; its [`Route`] is replaced whole when the session or the path changes. Workers
//! load it without a lock, and whoever still holds an old one finishes with the previous session, which the peer accepts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};

use super::outgoing::Outgoing;
use super::path::Endpoint;
use crate::drops::DropReason;
use crate::noise::session::{SEAL_OVERHEAD, SendHalf};
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::ethernet::Parts;
use crate::wire::fragment::{FRAGMENT_HEADER_LEN, Fragment, piece_size};
use crate::wire::inner::{self, TYPE_FRAGMENT, TYPE_FRAME};
use crate::wire::segment::SegmentId;

/// How to send to a peer now.
pub struct Route {
    /// Seals.
    pub send: Arc<SendHalf>,
    /// Where to.
    pub endpoint: Endpoint,
    /// The largest datagram payload, in bytes.
    pub room: usize,
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
    /// Adds a frame.
    pub fn add(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
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
    route: ArcSwapOption<Route>,
    next_fragment_id: AtomicU32,
}

impl Link {
    /// A link without a route.
    pub fn new(peer: PeerId) -> Self {
        Link {
            peer,
            activity: Activity::default(),
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
    /// `scratch` serves when a frame whose tag was changed has to be cut.
    ///
    /// # Errors
    /// [`DropReason::NoSession`] or [`DropReason::SessionExpired`]; the frame may be staged then.
    pub fn send_frame(
        &self,
        (segment, frame): (SegmentId, &Parts<'_>),
        scratch: &mut Vec<u8>,
        out: &mut Outgoing,
        now: Instant,
    ) -> Result<(), DropReason> {
        let guard = self.route();
        let route = guard.as_ref().ok_or(DropReason::NoSession)?;
        let len = frame.len();
        if len + SEAL_OVERHEAD <= route.room {
            let header = inner::header(TYPE_FRAME, segment);
            let bytes = match frame.whole() {
                Some(whole) => whole,
                None => {
                    scratch.clear();
                    frame.write(scratch);
                    scratch
                }
            };
            out.push_with(route.endpoint, |buffer| {
                route.send.seal(header, &[bytes], buffer, now)
            })?;
        } else {
            scratch.clear();
            frame.write(scratch);
            let id = self.next_fragment_id.fetch_add(1, Ordering::Relaxed);
            route.seal_pieces((segment, id), scratch, out, now)?;
        }
        self.activity.sent.mark(now);
        self.activity.sent_data.mark(now);
        self.activity.tx.add(len);
        Ok(())
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
        out.push_with(to, |buffer| {
            route
                .send
                .seal(inner::bare_header(kind), &[body], buffer, now)
        })?;
        self.activity.sent.mark(now);
        if kind != inner::TYPE_PADDING {
            self.activity.sent_data.mark(now);
        }
        Ok(())
    }
}

impl Route {
    fn seal_pieces(
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
            out.push_with(self.endpoint, |buffer| {
                self.send.seal(header, &[&place, piece], buffer, now)
            })?;
        }
        Ok(())
    }
}
