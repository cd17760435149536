//! One attempt to get a session: an initiation that is repeated until it is answered.

use std::net::SocketAddr;

use crate::keys::Which;
use crate::mesh::path::Endpoint;
use crate::noise::dialect::Labels;
use crate::noise::handshake::AwaitingResponse;
use crate::noise::keyring::Between;
use crate::noise::schedule::{GIVE_UP_AFTER, is_fresh_attempt, ladder};
use crate::time::{Duration, Instant};
use crate::wire::datagram::MAC_LEN;
use crate::wire::relayed::RELAYED_HEADER_LEN;

/// Copies of an initiation that is longer than every path takes, in the first 400 ms: then comes a smaller one.
const LARGE_COPIES: u32 = 4;
/// Copies of an initiation before others are made, while an end may have two keys: 200 ms.
const COPIES_OF_A_PAIR: u32 = 3;
/// Bytes of an initiation that cannot be made shorter.
const LEAST: usize = 700;

/// Between which of our keys and which of the peer's.
pub type Pair = (Which, Which);

/// An initiation that was made.
pub struct Draft {
    /// The index that the response will name.
    pub index: u32,
    /// The handshake, taken while a response is read.
    pub state: Option<AwaitingResponse>,
    /// Its keys.
    pub between: Between,
    /// Its labels.
    pub labels: Labels,
    /// All of it, with mac2 zero.
    pub datagram: Vec<u8>,
    /// Which edition of our announcement it holds.
    pub told: u32,
    /// Whether it is longer than every path takes.
    pub is_large: bool,
}

/// An initiation on its way.
pub struct Attempt {
    /// What is sent.
    pub draft: Draft,
    /// Whether an initiation of the peer came in meanwhile.
    pub crossed: bool,
    /// Between which keys it may be, in the order in which they are tried.
    pairs: Vec<Pair>,
    /// How many drafts there were, and how often the newest was sent.
    drafts: usize,
    copies: u32,
    /// How often the system took nothing so long.
    refusals: u32,
    /// The draft that this one is made instead of: it may have been answered, on a long way. A responder keeps two as well.
    before: Option<Draft>,
    began: Instant,
    sent: u32,
    sent_at: Instant,
    next_at: Instant,
    /// Whether a cookie has brought a copy of this datagram forward; once is all that a cookie is good for.
    hurried: bool,
    /// Whether that copy is still to be sent.
    urgent: bool,
    /// Where the last copy went.
    sent_to: Option<Endpoint>,
    /// Where the next one goes, out of turn.
    aside: Option<Endpoint>,
}

/// What to do with an attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Send the same bytes again.
    Repeat,
    /// Make a new draft.
    Renew,
    /// Nobody answers.
    GiveUp,
}

impl Attempt {
    /// For how long it has gone on.
    pub fn lasts(&self, now: Instant) -> Duration {
        now.since(self.began)
    }

    /// A new attempt, to be sent now; `pairs` are the keys that it may be between, the most likely first.
    pub fn new(draft: Draft, pairs: Vec<Pair>, now: Instant) -> Self {
        Attempt {
            draft,
            pairs,
            drafts: 1,
            copies: 0,
            refusals: 0,
            before: None,
            crossed: false,
            began: now,
            sent: 0,
            sent_at: now,
            next_at: now,
            hurried: false,
            urgent: false,
            sent_to: None,
            aside: None,
        }
    }

    /// The same attempt with a new draft; the last one may still be answered.
    ///
    /// Gives the index that is of no use any more.
    pub fn renew(&mut self, draft: Draft) -> Option<u32> {
        let old = std::mem::replace(&mut self.draft, draft);
        self.drafts += 1;
        self.copies = 0;
        self.hurried = false;
        self.before.replace(old).map(|d| d.index)
    }

    /// The indices that responses may name.
    pub fn indices(&self) -> impl Iterator<Item = u32> {
        let before = self.before.as_ref().map(|d| d.index);
        std::iter::once(self.draft.index).chain(before)
    }

    /// The draft that a response is for.
    pub fn draft_of(&mut self, index: u32) -> Option<&mut Draft> {
        let both = std::iter::once(&mut self.draft).chain(&mut self.before);
        both.into_iter().find(|draft| draft.index == index)
    }

    /// The keys that the next draft is to be between; `None` for the usual ones.
    pub fn next_pair(&self) -> Option<Pair> {
        let turn = self.drafts.checked_rem(self.pairs.len())?;
        self.pairs.get(turn).copied()
    }

    /// Whether other keys come next: every pair has its turn soon, and after that with each new draft.
    fn is_others_turn(&self) -> bool {
        self.drafts < self.pairs.len() && self.copies >= COPIES_OF_A_PAIR
    }

    /// What is due.
    pub fn step(&self, now: Instant) -> Step {
        if now < self.next_at {
            Step::Wait
        } else if now.since(self.began) >= GIVE_UP_AFTER {
            Step::GiveUp
        } else if self.has_to_be_new() && !self.urgent {
            Step::Renew
        } else {
            Step::Repeat
        }
    }

    fn has_to_be_new(&self) -> bool {
        is_fresh_attempt(self.sent) || self.is_too_large() || self.is_others_turn()
    }

    /// Whether it has not been answered for so long that it may be longer than the path takes.
    pub fn is_too_large(&self) -> bool {
        self.draft.is_large && self.has_to_be_small()
    }

    /// Whether what comes next is to be one that every path takes.
    pub fn has_to_be_small(&self) -> bool {
        self.refusals > 0 || self.sent >= LARGE_COPIES
    }

    /// Whether what comes next is to be as short as can be.
    pub fn has_to_be_least(&self) -> bool {
        self.refusals > 1
    }

    /// The system takes nothing so long on the way to there: gives whether that was a copy of this, which a smaller one replaces now.
    pub fn refuse(&mut self, (there, len): (SocketAddr, usize), now: Instant) -> bool {
        let lead = |to: Endpoint| to.channel.map_or(0, |_| RELAYED_HEADER_LEN);
        let was_it = self
            .sent_to
            .is_some_and(|to| to.remote == there && self.draft.datagram.len() + lead(to) == len);
        let is_it = was_it && self.draft.datagram.len() > LEAST && self.refusals < 2;
        if is_it {
            self.refusals += 1;
            self.draft.is_large = true;
            self.next_at = now;
        }
        is_it
    }

    /// Notes that a copy was sent.
    pub fn mark_sent(&mut self, to: Option<Endpoint>, jitter: u32, now: Instant) {
        self.urgent = false;
        self.aside = None;
        self.sent_to = to.or(self.sent_to);
        self.sent = self.sent.saturating_add(1);
        self.copies = self.copies.saturating_add(1);
        self.sent_at = now;
        let rung = match self.drafts < self.pairs.len() {
            true => self.copies,
            false => self.sent,
        };
        self.next_at = now + ladder(rung, jitter);
    }

    /// Brings the next copy of this datagram forward, because there is a cookie now.
    ///
    /// Once for each datagram: anybody who knows the peer's public key can make cookies that open.
    pub fn hurry(&mut self) {
        if std::mem::replace(&mut self.hurried, true) {
            return;
        }
        self.urgent = true;
        self.next_at = self.next_at.min(self.sent_at + Duration::from_millis(50));
    }

    /// There is another way: the next copy goes out soon, if the last is a while ago.
    pub fn nudge(&mut self, now: Instant) {
        if now.since(self.sent_at) >= Duration::from_millis(200) {
            self.next_at = self.next_at.min(now);
        }
    }

    /// There is this other way: the next copy goes there, and soon.
    pub fn nudge_to(&mut self, way: Endpoint, now: Instant) {
        self.aside = Some(way);
        self.nudge(now);
    }

    /// When the next step is due.
    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// How long it has gone on.
    pub fn age(&self, now: Instant) -> Duration {
        now.since(self.began)
    }

    /// Where the last copy went.
    pub fn sent_to(&self) -> Option<Endpoint> {
        self.sent_to
    }

    /// Where the next copy goes: three to the proven address, if there is one, then to all in turn.
    pub fn target(&self, proven: Option<Endpoint>, ways: &[Endpoint]) -> Option<Endpoint> {
        if self.aside.is_some() {
            return self.aside;
        }
        let n = self.sent as usize;
        let places = ways.len() + usize::from(proven.is_some());
        let turn = n.checked_rem(places)?;
        match proven {
            Some(endpoint) if n < 3 => Some(endpoint),
            _ => ways.get(turn).copied().or(proven),
        }
    }

    /// mac1 of the initiation, which a cookie reply is bound to.
    pub fn mac1(&self) -> Option<[u8; MAC_LEN]> {
        let (rest, _) = self.draft.datagram.split_last_chunk::<MAC_LEN>()?;
        rest.last_chunk::<MAC_LEN>().copied()
    }
}
