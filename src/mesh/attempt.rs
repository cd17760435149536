//! One attempt to get a session: an initiation that is repeated until it is answered.

use std::net::SocketAddr;

use crate::noise::handshake::AwaitingResponse;
use crate::noise::schedule::{GIVE_UP_AFTER, is_fresh_attempt, ladder};
use crate::time::{Duration, Instant};
use crate::wire::datagram::MAC_LEN;

/// An initiation on its way.
pub struct Attempt {
    /// The index that the response will name.
    pub index: u32,
    /// The handshake, taken while a response is read.
    pub state: Option<AwaitingResponse>,
    /// The initiation with mac2 zero.
    pub datagram: Vec<u8>,
    /// Whether an initiation of the peer came in meanwhile.
    pub crossed: bool,
    began: Instant,
    sent: u32,
    sent_at: Instant,
    next_at: Instant,
}

/// What to do with an attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Send the same bytes again.
    Repeat,
    /// Make a new initiation.
    Renew,
    /// Nobody answers.
    GiveUp,
}

impl Attempt {
    /// A new attempt, to be sent now.
    pub fn new(index: u32, state: AwaitingResponse, datagram: Vec<u8>, now: Instant) -> Self {
        Attempt {
            index,
            state: Some(state),
            datagram,
            crossed: false,
            began: now,
            sent: 0,
            sent_at: now,
            next_at: now,
        }
    }

    /// The same attempt with a new initiation.
    pub fn renew(&mut self, index: u32, state: AwaitingResponse, datagram: Vec<u8>) {
        self.index = index;
        self.state = Some(state);
        self.datagram = datagram;
    }

    /// What is due.
    pub fn step(&self, now: Instant) -> Step {
        if now < self.next_at {
            Step::Wait
        } else if now.since(self.began) >= GIVE_UP_AFTER {
            Step::GiveUp
        } else if is_fresh_attempt(self.sent) {
            Step::Renew
        } else {
            Step::Repeat
        }
    }

    /// Notes that a copy was sent.
    pub fn mark_sent(&mut self, jitter: u32, now: Instant) {
        self.sent = self.sent.saturating_add(1);
        self.sent_at = now;
        self.next_at = now + ladder(self.sent, jitter);
    }

    /// Brings the next copy forward, because there is a cookie now: at most 20 copies a second.
    pub fn hurry(&mut self) {
        self.next_at = self.next_at.min(self.sent_at + Duration::from_millis(50));
    }

    /// When the next step is due.
    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// How long it has gone on.
    pub fn age(&self, now: Instant) -> Duration {
        now.since(self.began)
    }

    /// Where the next copy goes: three to the proven address, if there is one, then all in turn.
    pub fn target(&self, proven: Option<SocketAddr>, known: &[SocketAddr]) -> Option<SocketAddr> {
        let n = self.sent as usize;
        match proven {
            Some(address) if n < 3 || known.is_empty() => Some(address),
            _ => known
                .get(n.checked_rem(known.len()).unwrap_or(0))
                .copied()
                .or(proven),
        }
    }

    /// mac1 of the initiation, which a cookie reply is bound to.
    pub fn mac1(&self) -> Option<[u8; MAC_LEN]> {
        let (rest, _) = self.datagram.split_last_chunk::<MAC_LEN>()?;
        rest.last_chunk::<MAC_LEN>().copied()
    }
}
