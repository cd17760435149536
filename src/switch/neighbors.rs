//! Which IP address has which MAC, and the answers that this makes unnecessary to ask for (RFC 9161).
//!
//! # Why
//! A question "who has this address?" goes to everybody, and a LAN of many hosts is full of them. Members see the answers
//! pass and tell each other, so most questions are answered where they are asked. The rules: answer when it is known
//! and the MAC is where it was; let the question go when not; answer who wants a taken address for itself while its owner
//! was heard lately, and never the owner asking for its own; and let everybody hear who asks with an address or a MAC that
//! is new, for what they remember of it is wrong. Where an address changes hands while the former owner is still there, one
//! of both lies, and questions go to both. What is known ages, and before it does, its host is asked.
//!
//! Memory: about 100 bytes for each address; at most as many for each place as it may have MACs.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mac::Key;
use super::table::ForwardingTable;
use crate::place::{PeerId, Place, PortId};
use crate::sync::Apart;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::Mac;
use crate::wire::neighbor::{Binding, Query};
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// In what time a change back counts as two hosts with one address (RFC 9161 section 3.7 has the same).
const QUARREL: Duration = Duration::from_secs(180);
/// The most of everything that waits to be told.
const MAX_WAITING: usize = 1024;
/// A question to a host that was heard this lately on the same port is left to that port's own network, and who wants its
/// address for itself is refused.
const FRESH: Duration = Duration::from_secs(60);

/// An address in a VLAN of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The segment.
    pub segment: SegmentId,
    /// The VLAN.
    pub class: VlanClass,
    /// The address.
    pub ip: IpAddr,
}

impl Address {
    /// The key of a MAC in the same VLAN.
    pub const fn mac(&self, mac: Mac) -> Key {
        Key::new(self.segment, self.class, mac)
    }
}

/// A known address, for display and for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Which address.
    pub address: Address,
    /// Who has it.
    pub binding: Binding,
    /// Where that is.
    pub place: Place,
    /// Whether the member there has told of it.
    pub is_told: bool,
    /// How long ago it was heard or told.
    pub idle: Duration,
}

/// Two hosts that use one address in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarrel {
    /// The address.
    pub address: Address,
    /// Both hosts, and where they are.
    pub hosts: [(Mac, Place); 2],
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug)]
pub enum Reaction {
    /// It goes on.
    Pass,
    /// It goes no further: who is asked hears it anyway.
    Rest,
    /// It is answered here.
    Answer,
}

struct Entry {
    binding: Binding,
    place: Place,
    is_told: bool,
    seen: Instant,
    /// Who had it before, where, and when that changed.
    former: Option<(Mac, Place, Instant)>,
    /// When a quarrel about it was told.
    told_quarrel: Option<Instant>,
    /// When its host was asked whether it is still there.
    probed: Instant,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Address, Entry>,
    counts: HashMap<Place, usize>,
    news: Vec<Address>,
    quarrels: VecDeque<Quarrel>,
}

/// The addresses that are known.
pub struct NeighborTable {
    per_place: usize,
    age: Duration,
    inner: Apart<Mutex<Inner>>,
    has_news: AtomicBool,
}

impl NeighborTable {
    /// An empty table of so many addresses for each place, which age like MACs.
    pub fn new(per_place: usize, age: Duration) -> Self {
        NeighborTable {
            per_place,
            age,
            inner: Apart::default(),
            has_news: AtomicBool::new(false),
        }
    }

    /// Nothing is left half done under this lock, so a thread that died with it has spoilt nothing.
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes what a frame from a place, or the member there, says; gives whether that was known.
    pub fn note(
        &self,
        address: Address,
        binding: Binding,
        (place, is_told): (Place, bool),
        now: Instant,
    ) -> bool {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&address) else {
            let count = inner.counts.entry(place).or_default();
            if *count < self.per_place {
                *count += 1;
                let entry = Entry::new(binding, (place, is_told), now);
                inner.entries.insert(address, entry);
                self.tell_news(&mut inner, address, [place, place]);
            }
            return false;
        };
        let (known, from) = (entry.binding, entry.place);
        // A question says nothing of whether who asks is a router: that stays as it was.
        let binding = binding.or_as(&known);
        let is_same = known == binding && from == place;
        let quarrel = (known.mac != binding.mac)
            .then(|| entry.change_hands(address, (binding.mac, place), now))
            .flatten();
        entry.binding = binding;
        entry.place = place;
        entry.is_told = is_told || entry.is_told && is_same;
        entry.seen = now;
        if let Some(quarrel) = quarrel
            && inner.quarrels.len() < MAX_WAITING
        {
            inner.quarrels.push_back(quarrel);
        }
        if from != place {
            leave(&mut inner.counts, from);
            let count = inner.counts.entry(place).or_default();
            *count += 1;
            // To move is no way to have more.
            if *count > self.per_place {
                inner.remove(&address);
            }
        }
        if !is_same {
            self.tell_news(&mut inner, address, [from, place]);
        }
        is_same
    }

    fn tell_news(&self, inner: &mut Inner, address: Address, places: [Place; 2]) {
        if places.iter().any(|p| matches!(p, Place::Port(_)))
            && inner.news.len() < MAX_WAITING
            && inner.news.last() != Some(&address)
        {
            inner.news.push(address);
            if inner.news.len() == 1 {
                self.has_news.store(true, Ordering::Relaxed);
            }
        }
    }

    /// What becomes of a question that came in by a port, which may be isolated.
    pub fn react(
        &self,
        (query, address): (&Query, Address),
        (from, is_isolated): (PortId, bool),
        table: &ForwardingTable,
        now: Instant,
    ) -> Reaction {
        let inner = self.lock();
        let Some(entry) = inner.entries.get(&address) else {
            return Reaction::Pass;
        };
        let lives = |mac, place| {
            let home = table.look_up(address.mac(mac), now);
            home.filter(|h| h.place() == place)
        };
        let Some(home) = lives(entry.binding.mac, entry.place) else {
            return Reaction::Pass;
        };
        let rival = entry.former.filter(|(mac, ..)| *mac != entry.binding.mac);
        let is_contested = rival.is_some_and(|(mac, place, _)| lives(mac, place).is_some());
        // Between isolated hosts there may be somebody who answers for all of them.
        if is_contested || is_isolated && home.is_isolated() {
            return Reaction::Pass;
        }
        // Who has it may ask for it: nobody shall tell it that it is taken.
        if entry.binding.mac == query.mac || self.is_old(entry, now) {
            return Reaction::Pass;
        }
        let is_fresh = now.since(entry.seen) < FRESH;
        if entry.place == Place::Port(from) {
            return match is_fresh {
                true => Reaction::Rest,
                false => Reaction::Pass,
            };
        }
        // Who wants it for itself may be meant to succeed a host that has died.
        if query.asker.is_none() && !is_fresh {
            return Reaction::Pass;
        }
        Reaction::Answer
    }

    fn is_old(&self, entry: &Entry, now: Instant) -> bool {
        !entry.is_told && now.since(entry.seen) >= self.age
    }

    /// Forgets an address that a member has taken back.
    pub fn untell(&self, address: Address, peer: PeerId) {
        let mut inner = self.lock();
        let is_theirs = |e: &Entry| e.place == Place::Peer(peer);
        if inner.entries.get(&address).is_some_and(is_theirs) {
            inner.remove(&address);
        }
    }

    /// Forgets everything behind a place.
    pub fn forget(&self, place: Place) {
        self.remove_where(|_, entry| entry.place == place);
    }

    /// Forgets what somebody wants forgotten.
    pub fn flush(&self, is_meant: impl Fn(Address, Mac, Place) -> bool) {
        self.remove_where(|address, e| is_meant(*address, e.binding.mac, e.place));
    }

    fn remove_where(&self, is_meant: impl Fn(&Address, &Entry) -> bool) {
        let mut inner = self.lock();
        let meant = inner.entries.iter().filter(|(a, e)| is_meant(a, e));
        let meant: Vec<(Address, Place)> = meant.map(|(a, e)| (*a, e.place)).collect();
        for (address, place) in meant {
            inner.remove(&address);
            self.tell_news(&mut inner, address, [place, place]);
        }
    }

    /// Forgets what is too old, and gives those behind our ports that should be asked whether they are still there.
    pub fn sweep(&self, now: Instant) -> Vec<(Address, Binding, PortId)> {
        self.remove_where(|_, entry| self.is_old(entry, now));
        let mut inner = self.lock();
        let mut asked = Vec::new();
        for (address, entry) in &mut inner.entries {
            let due = now.since(entry.seen) >= self.age * 2 / 3;
            if let Place::Port(port) = entry.place
                && due
                && now.since(entry.probed) >= self.age / 12
            {
                entry.probed = now;
                asked.push((*address, entry.binding, port));
            }
        }
        asked
    }

    /// Whether there is news of addresses behind our ports, once.
    pub fn announce_news(&self) -> bool {
        self.has_news.load(Ordering::Relaxed) && self.has_news.swap(false, Ordering::Relaxed)
    }

    /// The addresses of which there is news.
    pub fn take_news(&self) -> Vec<Address> {
        std::mem::take(&mut self.lock().news)
    }

    /// The next quarrel that nobody has been told of.
    pub fn next_quarrel(&self) -> Option<Quarrel> {
        self.lock().quarrels.pop_front()
    }

    /// What is known of an address.
    pub fn get(&self, address: Address, now: Instant) -> Option<Neighbor> {
        let inner = self.lock();
        let entry = inner.entries.get(&address)?;
        Some(entry.view(address, now))
    }

    /// Everything that is known, in order.
    pub fn entries(&self, now: Instant) -> Vec<Neighbor> {
        let inner = self.lock();
        let each = |(address, entry): (&Address, &Entry)| entry.view(*address, now);
        let mut all: Vec<Neighbor> = inner.entries.iter().map(each).collect();
        all.sort_by_key(|n| n.address);
        all
    }
}

fn leave(counts: &mut HashMap<Place, usize>, place: Place) {
    if let Some(count) = counts.get_mut(&place) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&place);
        }
    }
}

impl Inner {
    fn remove(&mut self, address: &Address) {
        if let Some(entry) = self.entries.remove(address) {
            leave(&mut self.counts, entry.place);
        }
    }
}

impl Entry {
    fn new(binding: Binding, (place, is_told): (Place, bool), now: Instant) -> Entry {
        Entry {
            binding,
            place,
            is_told,
            seen: now,
            former: None,
            told_quarrel: None,
            probed: now,
        }
    }

    /// Another host has the address now. When it is the one that had it before, both think that it is theirs.
    fn change_hands(
        &mut self,
        address: Address,
        (mac, place): (Mac, Place),
        now: Instant,
    ) -> Option<Quarrel> {
        let again = self
            .former
            .is_some_and(|(former, _, at)| former == mac && now.since(at) < QUARREL);
        let loser = (self.binding.mac, self.place);
        self.former = Some((loser.0, loser.1, now));
        let is_news = self.told_quarrel.is_none_or(|at| now.since(at) >= QUARREL);
        (again && is_news).then(|| {
            self.told_quarrel = Some(now);
            Quarrel {
                address,
                hosts: [loser, (mac, place)],
            }
        })
    }

    fn view(&self, address: Address, now: Instant) -> Neighbor {
        Neighbor {
            address,
            binding: self.binding,
            place: self.place,
            is_told: self.is_told,
            idle: now.since(self.seen),
        }
    }
}
