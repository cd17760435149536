//! Members on one LAN find each other: beacons out while somebody is missed, and what beacons of others tell.
//!
//! # Why
//! A beacon says to those who share a secret with us that we are here and at which port; it comes with an address that nobody
//! has proven. So it starts a handshake there, no more often than every few seconds, and the handshake decides. Nothing is
//! answered: a stranger who sends beacons hears nothing, a stranger who listens learns that somebody looks for so many.
//! Members of a network that have not heard of each other announce themselves besides ([`super::announcing`]).
//! Checking costs a MAC for each peer that is missed, so that many are checked in a second, and no more.

use std::net::SocketAddr;

use super::legs::Rank;
use super::plane::PerSecond;
use super::rendezvous::is_askable;
use super::{Event, Node};
use crate::drops::DropReason;
use crate::keys::{Which, wipe_stack};
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Kind, Peer};
use crate::noise::beacon::BeaconKey;
use crate::noise::dialect::Labels;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::announcement::Announcement;
use crate::wire::beacon::{Beacon, MAX_TAGS};

/// Beacons after the start and after a change of addresses: so many, this far apart; then one of each [`SELDOM`].
const AT_FIRST: u32 = 3;
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(30);
/// Tags that are made for comparison in a second.
const MOST_TAGS: u64 = 20_000;
/// Beacons that are looked at in a second.
const MOST_BEACONS: u64 = 50;
/// Announcements that are opened in a second, a few microseconds each,
const MOST_OPENED: u64 = 2000;
/// and those of the network that are looked at: junk keeps nobody else out.
const MOST_ANNOUNCEMENTS: u64 = 200;
/// Keys that are made for one beacon.
const MOST_FRESH: usize = 32;
/// A peer's beacons are followed this often.
const FOLLOW_EVERY: Duration = Duration::from_secs(3);

/// Our beacons, and what those of others are checked with.
#[derive(Default)]
pub(super) struct Beacons {
    /// The port that we take handshakes at; `None` when there are no beacons.
    port: Option<u16>,
    next_at: Option<Instant>,
    sent: u32,
    /// Where the next one begins, when there are more peers than tags.
    from: usize,
    looked_at: PerSecond,
    opened: PerSecond,
    announced: PerSecond,
}

impl Beacons {
    /// Whether another announcement is to be opened.
    pub(super) fn admits_opening(&self, now: Instant) -> bool {
        self.opened.admit_most(MOST_OPENED, now)
    }

    /// Whether another announcement of the network is to be looked at.
    pub(super) fn admits_announcement(&self, now: Instant) -> bool {
        self.announced.admit_most(MOST_ANNOUNCEMENTS, now)
    }
}

impl Node {
    /// Sends beacons from now on, for handshakes at that port.
    pub fn start_beacons(&mut self, port: u16, now: Instant) {
        self.relays.beacons.port = Some(port);
        self.renew_beacons(now);
    }

    /// Some beacons follow soon: we are somewhere else.
    pub(super) fn renew_beacons(&mut self, now: Instant) {
        let beacons = &mut self.relays.beacons;
        beacons.sent = 0;
        beacons.next_at = beacons.port.map(|_| now);
        // Who was near is not, where we are now.
        for peer in &mut self.peers {
            peer.places.beaconing.near = None;
        }
    }

    pub(super) fn beacon_deadline(&self) -> Option<Instant> {
        self.relays.beacons.next_at
    }

    /// Sends a beacon when it is time and somebody is missed, and says to the network that we are here.
    pub(super) fn send_beacon(&mut self, now: Instant) {
        let beacons = &mut self.relays.beacons;
        let (Some(port), Some(true)) = (beacons.port, beacons.next_at.map(|at| now >= at)) else {
            return;
        };
        beacons.sent = beacons.sent.saturating_add(1);
        let pause = if beacons.sent < AT_FIRST {
            OFTEN
        } else {
            SELDOM
        };
        beacons.next_at = Some(now + pause);
        let turn = beacons.sent;
        let announcement = self.announcement((port, turn));
        self.events.extend(announcement.map(Event::Beacon));
        let mut missed = self.missed();
        if missed.is_empty() {
            return;
        }
        // All have their turn.
        let from = self.relays.beacons.from % missed.len();
        self.relays.beacons.from = from + MAX_TAGS;
        missed.rotate_left(from);
        missed.truncate(MAX_TAGS);
        let mut nonce = [0; 16];
        self.entropy.fill(&mut nonce);
        let us = self.own.oldest();
        let keys = missed.into_iter().filter_map(|id| self.beacon_key(id));
        let tags: Vec<_> = keys.map(|key| key.tag(&us, &nonce, port)).collect();
        if !tags.is_empty() {
            let tags = &tags[..];
            let beacon = Beacon { port, nonce, tags };
            self.events.push_back(Event::Beacon(beacon.to_bytes()));
        }
    }

    /// Members without a direct way.
    fn missed(&self) -> Vec<PeerId> {
        let members = self
            .peers
            .iter()
            .filter(|p| p.settings.kind == Kind::Member);
        let ids = members.map(|p| p.id);
        ids.filter(|id| self.rank_of(*id) != Some(Rank::Direct))
            .collect()
    }

    fn beacon_key(&mut self, id: PeerId) -> Option<BeaconKey> {
        let peer = self.peers.get_mut(id.0 as usize)?;
        let Peer {
            settings, places, ..
        } = peer;
        let own = self.settings.keys.get(Which::Former);
        let dialect = self.dialects.get(Labels::Listed);
        let (theirs, psk) = (settings.key.oldest(), settings.psks.oldest());
        let make = || BeaconKey::between(dialect, own, &theirs, psk);
        if places.beaconing.key.is_none() {
            places.beaconing.key = make();
            wipe_stack();
        }
        places.beaconing.key.clone()
    }

    /// A beacon or an announcement came in from there.
    pub fn handle_beacon(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        if Announcement::is_one(bytes) {
            return self.handle_announcement(from, bytes, now);
        }
        let beacon = match Beacon::parse(bytes) {
            Ok(beacon) => beacon,
            Err(reason) => return self.drop_one(reason),
        };
        let most = MOST_TAGS / (self.peers.len() as u64).max(1);
        let beacons = &self.relays.beacons;
        if !beacons
            .looked_at
            .admit_most(most.clamp(1, MOST_BEACONS), now)
        {
            return self.drop_one(DropReason::RateLimited);
        }
        let mut fresh = 0;
        for id in self.missed() {
            let peer = self.peers.get(id.0 as usize);
            fresh += usize::from(peer.is_some_and(|p| p.places.beaconing.key.is_none()));
            // Keys are dear: the rest is made for the next ones.
            if fresh > MOST_FRESH {
                return;
            }
            let Some(theirs) = self
                .peers
                .get(id.0 as usize)
                .map(|p| p.settings.key.oldest())
            else {
                continue;
            };
            let key = self.beacon_key(id);
            let tag = key.map(|key| key.tag(&theirs, &beacon.nonce, beacon.port));
            if tag.is_some_and(|tag| beacon.tags.contains(&tag)) {
                let place = SocketAddr::new(from.ip().to_canonical(), beacon.port);
                return self.follow_beacon(id, place, now);
            }
        }
    }

    pub(super) fn follow_beacon(&mut self, id: PeerId, place: SocketAddr, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let beaconing = &mut peer.places.beaconing;
        let is_late = beaconing
            .followed_at
            .is_none_or(|at| now.since(at) >= FOLLOW_EVERY);
        if !is_late || !is_askable(&place) {
            return;
        }
        beaconing.followed_at = Some(now);
        beaconing.near = Some(Endpoint::to(place).remote);
        match &mut peer.attempt {
            _ if peer.up_since.is_some() => self.search_again(id, now),
            Some(attempt) => attempt.nudge(now),
            None => self.start_attempt(id, now),
        }
    }
}
