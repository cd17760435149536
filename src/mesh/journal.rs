//! How members keep each other informed: a journal that each writes and all others read.
//!
//! # Why
//! What is behind a member's ports is a *state*, not a series of messages: a host that came and went while a peer was
//! away is of no interest to it. So each topic has one line, which moves to the journal's end when it changes, and a
//! reader that has come to some line needs those behind it, whatever was lost meanwhile. Lines are sent in order, a few
//! messages ahead of what the reader has acknowledged, and again from there when no receipt comes.
//!
//! # Beginnings
//! A reader draws an epoch when it begins to read, and says in each receipt which epoch of the other it knows. So a member
//! that has lost its memory, by a restart or because it took the other for dead, is recognised by its first receipt, and both
//! directions begin from the first line ([`Inbox::begin_anew`]). A journal has a name for each reader: under a new name,
//! what was told under the old one counts no more.
//!
//! Memory: a line for each topic, and for each that was taken back until all readers have read that, at most
//! [`MAX_GONE`]; above it the readers that lag begin anew.

use std::collections::{BTreeMap, HashMap};

use crate::time::{Duration, Instant};
use crate::wire::advert::{Advert, Item, Receipt, State, Topic};

/// Lines of topics that were taken back.
pub const MAX_GONE: usize = 4096;
/// Bytes of items in one message; it fits the smallest path.
const MESSAGE: usize = 1000;
/// Messages that may be on their way to one reader.
const WINDOW: u64 = 16;
/// A reader that has acknowledged nothing new for this long is sent the rest again.
const AGAIN: Duration = Duration::from_millis(250);
/// Messages a second for each reader: receivers take 100 of all kinds.
const RATE: Duration = Duration::from_millis(20);

/// What a member tells of its ports.
#[derive(Default)]
pub struct Journal {
    version: u64,
    lines: BTreeMap<u64, Item>,
    index: HashMap<Topic, u64>,
    gone: usize,
}

/// How far one reader has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    epoch: Option<u32>,
    /// The journal's name for it.
    name: u32,
    acknowledged: u64,
    sent: u64,
    /// Up to here there is nothing more for it.
    scanned: u64,
    in_flight: u64,
    /// When to send again what was not acknowledged.
    again_at: Option<Instant>,
    /// When the next message may go.
    next_at: Instant,
    /// Whether it has to be told that there is nothing.
    owes_greeting: bool,
}

/// What was read of another member's journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inbox {
    /// Which journal.
    pub journal: Option<u32>,
    /// Drawn when reading began.
    pub epoch: u32,
    /// Up to where.
    pub upto: u64,
    /// Nothing has come since reading began.
    is_waiting: bool,
    /// The other has lost its memory: what it told before counts no more.
    is_stale: bool,
}

/// What to do with a part of another's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its items are to be taken.
    Take,
    /// Its items are to be taken, after everything of this member was forgotten.
    TakeAnew,
    /// It was read already, or something before it is missing.
    Skip,
}

impl Journal {
    /// Writes what is told of a topic from now on.
    pub fn write(&mut self, item: Item) {
        let before = self.index.get(&item.topic).copied();
        let known = before.and_then(|v| self.lines.get(&v)).map(|i| i.state);
        let state = known.unwrap_or(State::Gone);
        if state == item.state {
            return;
        }
        if let Some(version) = before {
            self.lines.remove(&version);
            self.gone -= usize::from(state == State::Gone);
        }
        self.gone += usize::from(item.state == State::Gone);
        self.version += 1;
        self.lines.insert(self.version, item);
        self.index.insert(item.topic, self.version);
    }

    /// Everything that is told, for a comparison with what is so.
    pub fn told(&self) -> impl Iterator<Item = &Item> {
        self.lines.values().filter(|i| i.state != State::Gone)
    }

    /// Whether it has to be tidied now: hosts come and go too fast to wait for all readers.
    pub fn is_overfull(&self) -> bool {
        self.gone > MAX_GONE
    }

    /// Drops lines of what was taken back that all readers have read. With too many left, all of them go, and the readers
    /// that have not read them begin anew, each under a fresh name.
    pub fn tidy<'r>(
        &mut self,
        readers: impl Iterator<Item = &'r mut Reader>,
        mut fresh: impl FnMut() -> u32,
    ) {
        if self.gone == 0 {
            return;
        }
        let readers: Vec<&mut Reader> = readers.collect();
        let all_have = readers.iter().map(|r| self.known_to(r)).min();
        self.drop_gone(all_have.unwrap_or(u64::MAX));
        if !self.is_overfull() {
            return;
        }
        let last = self.drop_gone(u64::MAX);
        for reader in readers {
            if self.known_to(reader) < last {
                *reader = reader.anew(reader.epoch, fresh());
            }
        }
    }

    /// Drops lines of what was taken back up to here; gives the last of them.
    fn drop_gone(&mut self, upto: u64) -> u64 {
        let Journal {
            lines, index, gone, ..
        } = self;
        let mut last = 0;
        lines.retain(|version, item| {
            let drop = item.state == State::Gone && *version <= upto;
            if drop {
                index.remove(&item.topic);
                *gone -= 1;
                last = *version;
            }
            !drop
        });
        last
    }

    /// The next message for a reader, if one is due: the element's items are written to `scratch`. What the reader has no
    /// part in is left out.
    pub fn next<'s>(
        &self,
        reader: &mut Reader,
        wants: impl Fn(&Topic) -> bool,
        scratch: &'s mut Vec<u8>,
        now: Instant,
    ) -> Option<Advert<'s>> {
        reader.epoch?;
        if reader.again_at.is_some_and(|at| now >= at) {
            reader.rewind();
        }
        if !self.has_more(reader) || reader.in_flight >= WINDOW || now < reader.next_at {
            return None;
        }
        scratch.clear();
        let from = reader.sent;
        let mut upto = self.version;
        let unread = self.lines.range(reader.sent.max(reader.scanned) + 1..);
        for (version, item) in unread.filter(|(_, item)| wants(&item.topic)) {
            if scratch.len() >= MESSAGE {
                upto = version - 1;
                break;
            }
            item.write(scratch);
        }
        reader.scanned = upto;
        if scratch.is_empty() && !reader.owes_greeting {
            return None;
        }
        reader.sent = upto;
        reader.in_flight += 1;
        reader.owes_greeting = false;
        reader.next_at = now + RATE;
        reader.again_at = Some(now + AGAIN);
        Some(Advert::new((reader.name, from, upto), scratch))
    }

    /// Takes a reader's receipt; `fresh` is random, and the name of a journal that begins.
    pub fn acknowledge(&self, reader: &mut Reader, receipt: Receipt, fresh: u32, now: Instant) {
        let epoch = Some(receipt.epoch);
        if reader.epoch.is_none() {
            *reader = reader.anew(epoch, fresh);
            return;
        }
        // It reads again, or has read something that was not for it: a part of a former life that came late.
        let is_astray = receipt.journal != 0 && receipt.journal != reader.name;
        if reader.epoch != epoch || is_astray {
            *reader = reader.anew(epoch, reader.name);
            return;
        }
        // One that has not read the greeting yet waits for it, as we do for its word of that.
        if receipt.journal != reader.name || receipt.upto > self.version {
            return;
        }
        let is_progress = receipt.upto > reader.acknowledged;
        if is_progress {
            reader.acknowledged = receipt.upto;
            reader.sent = reader.sent.max(receipt.upto);
            reader.in_flight = reader.in_flight.saturating_sub(1);
        }
        let is_done = reader.acknowledged >= reader.sent;
        if is_done {
            reader.in_flight = 0;
        }
        // A receipt that says nothing new must not put off what it waits for.
        reader.again_at = match is_done {
            true => None,
            false if is_progress => Some(now + AGAIN),
            false => reader.again_at,
        };
    }

    fn has_more(&self, reader: &Reader) -> bool {
        reader.sent.max(reader.scanned) < self.version || reader.owes_greeting
    }

    /// Up to where a reader has all that it has part in.
    pub fn known_to(&self, reader: &Reader) -> u64 {
        match reader.acknowledged >= reader.sent {
            true => reader.acknowledged.max(reader.scanned),
            false => reader.acknowledged,
        }
    }

    /// When [`Journal::next`] will have something for a reader.
    pub fn due(&self, reader: &Reader) -> Option<Instant> {
        reader.epoch?;
        let more = (self.has_more(reader) && reader.in_flight < WINDOW).then_some(reader.next_at);
        more.into_iter().chain(reader.again_at).min()
    }
}

impl Reader {
    /// Whom the journal knows by this epoch; 0 is nobody.
    pub fn epoch(&self) -> u32 {
        self.epoch.unwrap_or(0)
    }

    /// One that has read nothing.
    fn anew(&self, epoch: Option<u32>, name: u32) -> Reader {
        Reader {
            epoch,
            name,
            owes_greeting: true,
            next_at: self.next_at,
            ..Reader::default()
        }
    }

    fn rewind(&mut self) {
        // Without a first receipt the greeting itself may be lost.
        self.owes_greeting = self.acknowledged == 0;
        self.sent = self.acknowledged;
        self.scanned = self.acknowledged;
        self.in_flight = 0;
        self.again_at = None;
    }
}

impl Inbox {
    /// Begins to read.
    pub fn new(epoch: u32) -> Inbox {
        Inbox {
            journal: None,
            epoch: epoch.max(1),
            upto: 0,
            is_waiting: true,
            is_stale: false,
        }
    }

    /// Whether nothing has come yet: one may have to ask again.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Reads everything again; what was told stays.
    pub fn read_again(&mut self, epoch: u32) {
        *self = Inbox {
            journal: self.journal,
            is_stale: self.is_stale,
            ..Inbox::new(epoch)
        };
    }

    /// Reads everything again from one that does not know us any more: what it told counts until it tells anew.
    pub fn begin_anew(&mut self, epoch: u32) {
        let is_stale = self.is_stale || self.journal.is_some();
        *self = Inbox {
            is_stale,
            ..Inbox::new(epoch)
        };
    }

    /// Says what to do with a part, and how far this has read then.
    pub fn read(&mut self, advert: &Advert<'_>) -> Reading {
        let is_other = self.journal != Some(advert.journal);
        let upto = if is_other { 0 } else { self.upto };
        let is_next = advert.from <= upto && (is_other || self.is_waiting || advert.upto > upto);
        if !is_next {
            return Reading::Skip;
        }
        let is_anew = self.is_stale || is_other && self.journal.is_some();
        self.journal = Some(advert.journal);
        self.upto = advert.upto;
        (self.is_waiting, self.is_stale) = (false, false);
        match is_anew {
            true => Reading::TakeAnew,
            false => Reading::Take,
        }
    }

    /// The receipt for what was read; `knows` is the epoch of the other that our journal knows.
    pub fn receipt(&self, knows: u32) -> Receipt {
        Receipt {
            journal: self.journal.unwrap_or(0),
            epoch: self.epoch,
            knows,
            upto: self.upto,
        }
    }
}
