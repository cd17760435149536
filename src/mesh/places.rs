//! Where a peer may be found, beside where it is: configured addresses, channels through relays, and what it tells itself.
//!
//! # Why
//! A session begins on whatever way there is; better ways are looked for inside it (RFC 8445 in spirit). Both ends ask at all
//! places that the other has told, at about the same time, so that each end's question opens its own NAT for the other's.
//! A question that is answered proves a way; nothing else does. How often is limited, since a member may tell addresses
//! of somebody else: a burst is [`BURST_MS`] long, and the next ones come 30 s, a minute, then five minutes later.

use std::net::{IpAddr, SocketAddr};

use super::link::Second;
use super::path::Endpoint;
use crate::keys::{Names, PublicKey};
use crate::noise::beacon::BeaconKey;
use crate::noise::dialect::Mac1Label;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::MAX_CANDIDATES;
use crate::wire::relayed::Channel;

/// When a burst asks, in milliseconds from its beginning.
pub const BURST_MS: [u64; 9] = [0, 20, 40, 80, 160, 320, 640, 1640, 2640];
/// Questions at the beginning of a burst that open our own NAT and go no further. Many NATs are Linux hosts that note every
/// packet which comes in, even one that they drop: a question that arrives before the other end has asked takes the place of
/// the mapping which that would get, and it gets another port, where nobody looks. The other end begins when it has our addresses:
/// what is sent before it says that it has them must not arrive. So are these at least, as word may be early and the NAT slow;
const SHORT: usize = 3;
/// and these at most, should that word be lost.
const SHORT_MOST: usize = 7;
/// Ports of its NAT that a peer may be seen at next.
const MOST_GUESSES: usize = 20;
/// With which questions of a burst these are asked: 80 to 640 ms after its beginning.
const GUESSING: std::ops::Range<usize> = SHORT..SHORT + 4;
/// Addresses that are asked in a burst: what a member tells, one from a beacon, and some of the configuration's.
const MOST_ASKED: usize = MAX_CANDIDATES + 5;
/// Pauses between bursts; the last is repeated.
const AGAIN: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
];
/// The first pause after a relay had no channel; doubled up to [`ASK_MOST`].
const ASK_FIRST: Duration = Duration::from_secs(1);
const ASK_MOST: Duration = Duration::from_secs(60);
/// Bursts begin this far apart at least, whatever a peer tells.
const RESTART: Duration = Duration::from_secs(5);
/// What was said so shortly before may come after.
const OVERTAKEN: Duration = Duration::from_millis(300);
/// A way that works again so soon after it was given up was given up too early.
const TOO_EARLY: Duration = Duration::from_secs(3);

/// What the two ends of a session knew of each other, and what others have told of one.
#[derive(Debug, Default)]
pub struct Acquaintance {
    /// What the peer drew at its start.
    pub life: Option<[u8; 8]>,
    /// What it had drawn at the start before: who comes back to that has not started anew.
    pub former_life: Option<[u8; 8]>,
    /// What handshakes to it are recognised by, as it says, and since when; we relay them.
    pub mac1_label: Option<Told>,
    /// By which of our keys it knew us.
    pub called: Option<PublicKey>,
    /// Addresses that others have told of it while it was not connected, each by whom.
    pub introduced: Vec<(PeerId, SocketAddr)>,
}

/// The label that a member is called by, as it has told.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The label.
    pub label: Mac1Label,
    /// Since when changes are counted,
    pub since: Instant,
    /// and how many there were.
    pub changes: u32,
}

/// Where a peer may be found.
#[derive(Default)]
pub struct Places {
    /// Addresses from the configuration.
    pub known: Vec<SocketAddr>,
    /// Channels to it, by the relay that they go through.
    pub channels: Vec<(PeerId, Channel)>,
    /// When a relay told of the last one.
    pub channel_at: Instant,
    /// Questions for channels.
    pub wish: Wish,
    /// Questions at the addresses that it told.
    pub search: Search,
    /// Questions whether the way in use still works.
    pub doubt: Option<Doubt>,
    /// How long an answer may take on the direct way.
    pub patience: Patience,
    /// What else belongs to that.
    pub in_doubt: InDoubt,
    /// Until when a way that is no better than the one in use is not moved to.
    pub calm_until: Instant,
    /// Whether we are somewhere else than where the direct way was found, and it has not answered since.
    pub is_behind: bool,
    /// The relay that answers from where we are now.
    pub behind_by: Option<PeerId>,
    /// Where it said last that it is.
    pub told: Vec<SocketAddr>,
    /// How it is looked for where its NAT draws ports by dice.
    pub scatter: Scatter,
    /// What a relay could not carry, in datagrams: of ours when it is one, of its own when we are.
    pub throttled: u64,
    /// How it is found on the LAN.
    pub beaconing: Beaconing,
    /// What the two ends knew of each other in the session before.
    pub acquaintance: Acquaintance,
}

/// What is known and done while the way in use is doubted.
#[derive(Default)]
pub struct InDoubt {
    /// Since when data has been sent and nothing heard.
    pub waiting_since: Option<Instant>,
    /// Where the peer speaks from, which is a worse way.
    pub worse: Option<Endpoint>,
    /// What goes out takes this way as well.
    pub second: Option<Second>,
}

/// Questions at ports of one address, drawn by dice.
#[derive(Default)]
pub struct Scatter {
    /// When it was tried last.
    pub last: Option<Instant>,
    /// When we asked whether the peer is willing, until it has answered.
    pub wished_at: Option<Instant>,
    /// When to ask next.
    pub next_at: Option<Instant>,
    /// Where, what the answer is known by, and how many questions are left.
    asking: Option<(IpAddr, [u8; 8], u16)>,
}

impl Scatter {
    /// So many questions at this address, from now on.
    pub fn ask(&mut self, ip: IpAddr, token: [u8; 8], (questions, now): (u16, Instant)) {
        self.asking = Some((ip, token, questions));
        self.next_at = Some(now);
    }

    /// So many of them are asked now, and others then; gives where, and what the answer is known by. The last answer may still
    /// be on its way when none is left.
    pub fn step(&mut self, at_once: u16, then: Instant) -> Option<(IpAddr, [u8; 8])> {
        self.next_at = None;
        let (ip, token, left) = self.asking.as_mut()?;
        *left = left.checked_sub(at_once)?;
        self.next_at = Some(then);
        Some((*ip, *token))
    }

    /// Nobody is asked any more.
    pub fn rest(&mut self) {
        self.next_at = None;
    }

    /// Whether an answer from there is one to a question of ours.
    pub fn is_answer(&self, from: SocketAddr, token: [u8; 8]) -> bool {
        self.asking
            .is_some_and(|(ip, asked, _)| ip == from.ip() && asked == token)
    }
}

/// What a peer's beacons are checked with, and where they came from.
#[derive(Default)]
pub struct Beaconing {
    /// Made when it is needed.
    pub key: Option<BeaconKey>,
    /// When one was followed last.
    pub followed_at: Option<Instant>,
    /// Where that came from.
    pub near: Option<SocketAddr>,
}

impl Places {
    /// The way in use works, or is another one: nothing is open about it. Gives whether the route is to be published anew,
    /// because what goes out need not take a second way any more.
    pub fn settle(&mut self) -> bool {
        self.doubt = None;
        self.is_behind = false;
        self.behind_by = None;
        self.in_doubt.worse = None;
        self.in_doubt.second.take().is_some()
    }

    /// Takes what a relay says of a channel; gives whether there is a new one. That there is none may have been said before
    /// that there is one, and overtaken by it.
    pub fn take_channel(&mut self, relay: PeerId, channel: Option<Channel>, now: Instant) -> bool {
        match channel {
            Some(_) => self.channel_at = now,
            None if now.since(self.channel_at) < OVERTAKEN => return false,
            None => {}
        }
        self.set_channel(relay, channel)
    }

    /// Notes a channel, or that there is none; gives whether there is a new one.
    pub fn set_channel(&mut self, relay: PeerId, channel: Option<Channel>) -> bool {
        let before = self.channels.iter().position(|(r, _)| *r == relay);
        match (before, channel) {
            (Some(at), None) => {
                self.channels.remove(at);
                false
            }
            (Some(at), Some(channel)) => {
                let is_new = self.channels.get(at) != Some(&(relay, channel));
                if let Some(slot) = self.channels.get_mut(at) {
                    *slot = (relay, channel);
                }
                is_new
            }
            (None, Some(channel)) => {
                self.channels.push((relay, channel));
                true
            }
            (None, None) => false,
        }
    }
}

/// How long an answer may take on the direct way: longer when that was given up too early.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    doublings: u32,
    given_up_at: Option<Instant>,
}

impl Patience {
    /// The time for an answer.
    pub fn get(&self) -> Duration {
        Doubt::PATIENCE * (1 << self.doublings.min(3))
    }

    /// The direct way was given up.
    pub fn give_up(&mut self, now: Instant) {
        self.given_up_at = Some(now);
    }

    /// It works again: had it only been slow?
    pub fn works(&mut self, now: Instant) {
        match self.given_up_at.map(|at| now.since(at) < TOO_EARLY) {
            Some(true) => self.doublings += 1,
            Some(false) => self.doublings = self.doublings.saturating_sub(1),
            None => {}
        }
        self.given_up_at = None;
    }
}

/// When to ask for a channel.
#[derive(Default)]
pub struct Wish {
    next_at: Option<Instant>,
    pause: Duration,
    asked: usize,
}

impl Wish {
    /// Whether to ask now; the next time is later and later.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if self.next_at.is_some_and(|at| now < at) {
            return false;
        }
        self.pause = (self.pause * 2).clamp(ASK_FIRST, ASK_MOST);
        self.next_at = Some(now + self.pause);
        self.asked += 1;
        true
    }

    /// By which of a member's names it is asked for: each has its turn, since a relay may know it by one of them.
    pub fn name(&self, names: &Names) -> PublicKey {
        let turn = self.asked % names.iter().count().max(1);
        names.iter().nth(turn).unwrap_or(names.current)
    }

    /// Asks soon again: something has changed.
    pub fn renew(&mut self) {
        *self = Wish::default();
    }
}

/// A question at the addresses that a peer told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where.
    pub to: Vec<SocketAddr>,
    /// At which ports that its NAT may give it next.
    pub guesses: Vec<SocketAddr>,
    /// What the answer is known by.
    pub token: [u8; 8],
    /// Whether it shall not reach the peer yet.
    pub is_short: bool,
}

/// Bursts of questions at the addresses that a peer told.
#[derive(Debug, Default)]
pub struct Search {
    candidates: Vec<SocketAddr>,
    /// Where its NAT may let it be seen next.
    guesses: Vec<SocketAddr>,
    /// Those of the last burst, whose answers may be on their way.
    stale: Vec<SocketAddr>,
    token: [u8; 8],
    /// What the peer answers when it has our addresses; nothing once it has.
    word: Option<[u8; 8]>,
    began: Instant,
    /// When the last burst began in which anybody was asked.
    burst_at: Option<Instant>,
    /// Questions of this burst so far.
    asked: usize,
    bursts: usize,
    next_at: Option<Instant>,
}

impl Search {
    /// The peer has told its addresses: a burst begins, unless one did a moment ago.
    pub fn begin(&mut self, all: Vec<SocketAddr>, token: [u8; 8], now: Instant) {
        let mut seen = Vec::new();
        for candidate in all {
            if !seen.contains(&candidate) {
                seen.push(candidate);
            }
        }
        seen.truncate(MOST_ASKED);
        let candidates: Vec<SocketAddr> = seen;
        let is_known = |c: &SocketAddr| self.candidates.contains(c);
        let is_same_set =
            candidates.len() == self.candidates.len() && candidates.iter().all(is_known);
        let is_same = is_same_set && self.next_at.is_some();
        self.candidates = candidates;
        if is_same {
            return;
        }
        // What comes soon after the last is asked when its turn comes; its token stays, for answers on their way.
        let soonest = self.burst_at.map_or(now, |at| now.max(at + RESTART));
        if soonest == now {
            self.token = token;
            self.asked = 0;
            self.next_at = Some(now);
        } else {
            let next = self.next_at.unwrap_or(soonest);
            self.next_at = Some(next.min(soonest));
        }
    }

    /// The peer has told where it may be seen next: that is asked in the next burst, besides.
    pub fn guess(&mut self, mut guesses: Vec<SocketAddr>) {
        guesses.truncate(MOST_GUESSES);
        self.guesses = guesses;
    }

    /// The peer is told our addresses, and answers this when it has them.
    pub fn told(&mut self, word: [u8; 8]) {
        self.word = Some(word);
    }

    /// The peer answers; gives whether it has our addresses by that. What did not go far is asked again at once.
    pub fn hears(&mut self, word: [u8; 8], now: Instant) -> bool {
        let is_it = self.word.take_if(|w| *w == word).is_some();
        if is_it && self.asked > SHORT {
            self.next_at = self.next_at.map(|at| at.min(now));
        }
        is_it
    }

    /// Whether a burst has just begun.
    pub fn is_new_burst(&self) -> bool {
        self.asked == 1 || self.candidates.is_empty()
    }

    /// Whether the last question of a burst has just been asked.
    pub fn is_over(&self) -> bool {
        self.asked == 0 && self.bursts > 0
    }

    /// What the peer told last.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// When to ask next.
    pub fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// What to ask now.
    pub fn ask(&mut self, now: Instant) -> Option<Question> {
        if self.next_at().is_none_or(|at| now < at) {
            return None;
        }
        if self.asked == 0 {
            self.began = now;
            if !self.candidates.is_empty() {
                self.burst_at = Some(now);
            }
        }
        let is_short = self.asked < SHORT || (self.word.is_some() && self.asked < SHORT_MOST);
        // Somewhere else than where it says that it is, it has no NAT.
        let is_there = |g: &&SocketAddr| self.candidates.iter().any(|c| c.ip() == g.ip());
        let guesses = match GUESSING.contains(&self.asked) {
            true => self.guesses.iter().filter(is_there).copied().collect(),
            false => Vec::new(),
        };
        self.asked += 1;
        let next = match BURST_MS.get(self.asked) {
            // Where nothing is known to be asked, the pauses alone count: after each the peer is told of us again.
            Some(ms) if !self.candidates.is_empty() => self.began + Duration::from_millis(*ms),
            _ => {
                let pause = AGAIN.get(self.bursts.min(AGAIN.len() - 1));
                self.bursts += 1;
                self.asked = 0;
                // They are told anew before the next one, if they are still so.
                self.stale = std::mem::take(&mut self.guesses);
                now + pause.copied().unwrap_or(ASK_MOST)
            }
        };
        self.next_at = Some(next);
        Some(Question {
            to: self.candidates.clone(),
            guesses,
            token: self.token,
            is_short,
        })
    }

    /// Why there is no direct way, as far as is known.
    pub fn why(&self) -> &'static str {
        match (self.candidates.is_empty(), self.bursts) {
            (true, _) => "it has told no address",
            (false, 0) => "its addresses are being asked",
            _ => {
                "none of its addresses answers: a NAT with a port for each destination, or a firewall"
            }
        }
    }

    /// Whether an answer from there is one to a question of ours.
    pub fn is_answer(&self, from: SocketAddr, token: [u8; 8]) -> bool {
        let mut guesses = self.guesses.iter().chain(&self.stale);
        let is_asked = self.candidates.contains(&from) || guesses.any(|g| *g == from);
        self.token == token && self.next_at.is_some() && is_asked
    }

    /// A way was found; should it be lost, the next burst comes soon.
    pub fn rest(&mut self) {
        self.next_at = None;
        self.asked = 0;
    }

    /// The way that was found is lost: looks again in a moment.
    pub fn resume(&mut self, now: Instant) {
        self.next_at = Some(now);
        self.asked = 0;
    }
}

/// Questions whether a way still works; other ways wait for the answer.
#[derive(Clone, Copy, Debug)]
pub struct Doubt {
    /// How often it was asked.
    pub asked: u32,
    /// When to ask again, or to give the way up.
    pub next_at: Instant,
    /// What is asked.
    pub token: [u8; 8],
}

impl Doubt {
    /// Unanswered questions after which a way is given up.
    pub const MOST: u32 = 3;
    /// The time for an answer at first.
    pub const PATIENCE: Duration = Duration::from_millis(150);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1_000_000 + ms * 1000)
    }

    #[test]
    fn a_burst_is_short_and_the_next_is_late() {
        let there: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let mut search = Search::default();
        assert_eq!(search.next_at(), None);
        let many = (0..20).map(|n| SocketAddr::new(there.ip(), 7 + n));
        search.begin(many.collect(), [1; 8], at(0));
        let mut asked = Vec::new();
        for ms in 0..40_000 {
            if let Some(question) = search.ask(at(ms)) {
                assert_eq!(question.to.len(), MOST_ASKED);
                assert_eq!(question.is_short, asked.len() % BURST_MS.len() < SHORT);
                assert_eq!(question.token, [1; 8]);
                asked.push(ms);
            }
        }
        let first: Vec<u64> = BURST_MS.to_vec();
        assert_eq!(asked[..9], first);
        assert_eq!(asked[9], 2640 + 30_000);
        assert!(search.is_answer(there, [1; 8]) && !search.is_answer(there, [2; 8]));
        search.rest();
        assert!(search.ask(at(900_000)).is_none() && !search.is_answer(there, [1; 8]));
    }

    #[test]
    fn questions_go_far_when_the_peer_has_our_addresses_or_seems_to() {
        let begun = || {
            let mut search = Search::default();
            search.begin(vec!["192.0.2.1:7".parse().unwrap()], [1; 8], at(0));
            search.told([7; 8]);
            search
        };
        let mut search = begun();
        let far = |search: &mut Search, ms| search.ask(at(ms)).map(|q| !q.is_short);
        let first: Vec<_> = (0..200).filter_map(|ms| far(&mut search, ms)).collect();
        assert_eq!(first, [false; 5]);
        assert!(!search.hears([8; 8], at(200)) && far(&mut search, 200).is_none());
        assert!(search.hears([7; 8], at(200)) && !search.hears([7; 8], at(200)));
        assert_eq!(far(&mut search, 200), Some(true), "at once");
        assert_eq!(far(&mut search, 640), Some(true), "as it would have");
        let mut lost = begun();
        let asked: Vec<_> = (0..3000).filter_map(|ms| far(&mut lost, ms)).collect();
        assert_eq!(asked, [[false; 7].to_vec(), [true; 2].to_vec()].concat());
    }

    #[test]
    fn wishes_become_rare() {
        let mut wish = Wish::default();
        let due = (0..400u64).filter(|s| wish.is_due(at(s * 1000))).count();
        assert!((8..=12).contains(&due), "{due}");
        wish.renew();
        assert!(wish.is_due(at(0)));
    }
}
