//! How we reach members that have no address for us: channels through relays, and direct ways that are found inside a session.

use std::net::{IpAddr, SocketAddr};

use super::relaying::Relaying;
use super::{Event, Node, publish_route};
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Kind, Peer};
use crate::mesh::places::Doubt;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Addresses, Element, MAX_CANDIDATES};
use crate::wire::relayed::Channel;

/// Ways that could be better or worse are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Data went out on a direct way and nothing came back for this long: it is asked whether it still works.
const DOUBT_AFTER: Duration = Duration::from_millis(250);
/// Addresses that relays have seen us at.
const MOST_OBSERVED: usize = 4;
/// Members whose channels are wanted at once.
const MOST_WISHES: usize = 256;

/// What we know of relays and of ourselves, as others see us.
#[derive(Default)]
pub(super) struct Relays {
    /// What we do for others.
    pub(super) serving: Relaying,
    /// Our own addresses.
    local: Vec<SocketAddr>,
    /// What relays see, by relay.
    observed: Vec<(PeerId, SocketAddr)>,
    next_at: Option<Instant>,
}

impl Node {
    /// Tells which addresses of ours others may reach, with the port that we listen on.
    pub fn set_local_addresses(&mut self, addresses: Vec<SocketAddr>, now: Instant) {
        if self.relays.local != addresses {
            self.relays.local = addresses;
            self.tell_candidates(now);
        }
    }

    /// All ways on which a peer may be tried: its addresses, and channels through relays that we reach.
    pub(super) fn ways(&self, id: PeerId) -> Vec<Endpoint> {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return Vec::new();
        };
        // Relays first: who has one needs an address less often.
        let channels = peer.places.channels.iter();
        let relayed = channels.filter_map(|(relay, channel)| self.way_through(*relay, *channel));
        let direct = peer.places.known.iter().map(|a| Endpoint::to(*a));
        relayed.chain(direct).collect()
    }

    /// The relay that a peer is reached through, if it is.
    pub fn relay_of(&self, peer: &Peer) -> Option<PeerId> {
        let channel = peer.path.endpoint()?.channel?;
        let through = peer.places.channels.iter().find(|(_, c)| *c == channel);
        through.map(|(relay, _)| *relay)
    }

    fn way_through(&self, relay: PeerId, channel: Channel) -> Option<Endpoint> {
        let relay = self.peers.get(relay.0 as usize)?;
        relay.up_since?;
        Some(relay.path.endpoint()?.through(channel))
    }

    /// A relay is there: wants channels to everybody.
    pub(super) fn relay_up(&mut self, relay: PeerId, now: Instant) {
        self.relays.next_at = Some(now);
        for index in 0..self.peers.len() {
            if let Some(peer) = self.peers.get_mut(index) {
                peer.places.wish.renew();
            }
        }
        self.ask_channels(relay, now);
    }

    /// A relay is gone: so are its channels.
    pub(super) fn relay_down(&mut self, relay: PeerId) {
        self.relays.observed.retain(|(r, _)| *r != relay);
        for peer in &mut self.peers {
            peer.places.set_channel(relay, None);
        }
    }

    /// Asks a relay for channels to members that have none through it.
    fn ask_channels(&mut self, relay: PeerId, now: Instant) {
        let mut asked = Vec::new();
        for peer in &mut self.peers {
            let has_one = peer.places.channels.iter().any(|(r, _)| *r == relay);
            if peer.settings.kind == Kind::Member
                && !has_one
                && asked.len() < MOST_WISHES
                && peer.places.wish.is_due(now)
            {
                asked.push(peer.settings.key);
            }
        }
        for key in asked {
            let body = control::write(Element::Open(*key.as_bytes()));
            self.send_control(relay, &body, None, now);
        }
    }

    /// A relay tells of a channel.
    pub(super) fn take_channel(
        &mut self,
        relay: PeerId,
        (key, channel): ([u8; 32], Option<Channel>),
        now: Instant,
    ) {
        let wanted = self.find(&crate::keys::PublicKey::from_bytes(key));
        let Some(id) = wanted.filter(|_| self.is_kind(relay, Kind::Relay)) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        if peer.settings.kind != Kind::Member {
            return;
        }
        let is_new = peer.places.set_channel(relay, channel);
        let is_lost = peer
            .path
            .endpoint()
            .is_some_and(|e| e.channel.is_some() && e.channel != channel);
        if channel.is_none() {
            peer.places.wish.renew();
            // Not at once: it has just said no.
            let _ = peer.places.wish.is_due(now);
        }
        if is_new && (peer.up_since.is_none() || is_lost) {
            // Another way may have been tried in vain.
            self.drop_attempt(id);
            self.start_attempt(id, now);
        }
    }

    pub(super) fn is_kind(&self, id: PeerId, kind: Kind) -> bool {
        let peer = self.peers.get(id.0 as usize);
        peer.is_some_and(|p| p.settings.kind == kind)
    }

    /// A relay tells where it sees us.
    pub(super) fn take_observed(&mut self, relay: PeerId, address: SocketAddr, now: Instant) {
        if !self.is_kind(relay, Kind::Relay) {
            return;
        }
        let before = self.relays.observed.clone();
        self.relays.observed.retain(|(r, _)| *r != relay);
        self.relays.observed.push((relay, address));
        let most = MOST_OBSERVED.min(self.relays.observed.len());
        let first = self.relays.observed.len() - most;
        self.relays.observed.drain(..first);
        if before != self.relays.observed {
            self.tell_candidates(now);
        }
    }

    /// Tells all connected members where we may be reached.
    fn tell_candidates(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let is_up = self.peers.get(index).is_some_and(|p| p.up_since.is_some());
            if is_up {
                self.send_candidates(id, now);
            }
        }
    }

    /// Tells a member where we may be reached.
    pub(super) fn send_candidates(&mut self, id: PeerId, now: Instant) {
        if !self.is_kind(id, Kind::Member) {
            return;
        }
        let observed = self.relays.observed.iter().map(|(_, a)| *a);
        let mut all: Vec<SocketAddr> = observed.chain(self.relays.local.clone()).collect();
        all.dedup();
        all.truncate(MAX_CANDIDATES);
        let bytes: Vec<u8> = all.into_iter().flat_map(control::address_bytes).collect();
        if let Some(addresses) = Addresses::new(&bytes).filter(|_| !bytes.is_empty()) {
            let body = control::write(Element::Candidates(addresses));
            self.send_control(id, &body, None, now);
        }
    }

    /// A member tells where it may be reached: it is asked there, when there is no direct way.
    pub(super) fn take_candidates(&mut self, id: PeerId, addresses: Addresses<'_>, now: Instant) {
        if !self.is_kind(id, Kind::Member) {
            return;
        }
        let candidates: Vec<SocketAddr> = addresses.iter().filter(is_askable).collect();
        let mut token = [0u8; 8];
        self.entropy.fill(&mut token);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            peer.places.search.begin(candidates, token, now);
            if peer.path.endpoint().is_some_and(|e| e.channel.is_none()) {
                peer.places.search.rest();
            }
            self.relays.next_at = Some(now);
        }
    }

    /// When [`Node::look_for_ways`] is due.
    pub(super) fn ways_deadline(&self) -> Option<Instant> {
        let searches = self.peers.iter().filter_map(|p| p.places.search.next_at());
        let doubts = self
            .peers
            .iter()
            .filter_map(|p| p.places.doubt.map(|d| d.next_at));
        searches.chain(doubts).chain(self.relays.next_at).min()
    }

    /// Asks where members may be, and whether ways in use still work.
    pub(super) fn look_for_ways(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            self.search(id, now);
            self.step_doubt(id, now);
        }
        if self.relays.next_at.is_none_or(|at| now < at) {
            return;
        }
        let relays: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|p| p.settings.kind == Kind::Relay && p.up_since.is_some())
            .map(|p| p.id)
            .collect();
        self.relays.next_at = (!relays.is_empty()).then_some(now + LOOK_EVERY);
        for relay in relays {
            self.ask_channels(relay, now);
        }
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            if self.peers.get(index).is_some_and(|p| is_doubtful(p, now)) {
                self.doubt(id, now);
            }
        }
    }

    fn search(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        if peer.up_since.is_none() {
            return;
        }
        let Some((candidates, token)) = peer.places.search.ask(now) else {
            return;
        };
        let body = control::write(Element::PathChallenge(token));
        for candidate in candidates {
            self.send_control(id, &body, Some(Endpoint::to(candidate)), now);
        }
    }

    /// The way in use may not work any more: asks.
    pub(super) fn doubt(&mut self, id: PeerId, now: Instant) {
        let mut token = [0u8; 8];
        self.entropy.fill(&mut token);
        if let Some(peer) = self.peers.get_mut(id.0 as usize)
            && peer.places.doubt.is_none()
        {
            peer.places.doubt = Some(Doubt {
                asked: 0,
                next_at: now,
                token,
            });
            self.step_doubt(id, now);
        }
    }

    fn step_doubt(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Some(doubt) = peer.places.doubt.as_mut().filter(|d| now >= d.next_at) else {
            return;
        };
        if doubt.asked < Doubt::MOST {
            doubt.asked += 1;
            doubt.next_at = now + Doubt::PATIENCE;
            let body = control::write(Element::PathChallenge(doubt.token));
            return self.send_control(id, &body, None, now);
        }
        peer.places.doubt = None;
        self.fall_back(id, now);
    }

    /// The direct way does not work any more: goes on through a relay, and looks for another.
    fn fall_back(&mut self, id: PeerId, now: Instant) {
        let relayed = self.ways(id).into_iter().find(|w| w.channel.is_some());
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        if let Some(way) = relayed
            && peer.path.endpoint().is_some_and(|e| e.channel.is_none())
        {
            peer.path.prove(way);
            peer.places.search.resume(now);
            publish_route(peer);
            self.events.push_back(Event::Relayed(id));
        }
    }

    /// An answer to a question of ours came from there: gives whether it was one of these.
    pub(super) fn way_answered(&mut self, id: PeerId, from: Endpoint, token: [u8; 8]) -> bool {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return false;
        };
        if peer.places.doubt.is_some_and(|d| d.token == token) {
            let is_it = peer.path.endpoint().is_some_and(|e| e.is_same_way(&from));
            if is_it {
                peer.places.doubt = None;
            }
            return is_it;
        }
        let is_direct = from.channel.is_none();
        if !is_direct || !peer.places.search.is_answer(from.remote, token) {
            return false;
        }
        let has_one = peer.path.endpoint().is_some_and(|e| e.channel.is_none());
        peer.places.search.rest();
        if !has_one && peer.path.prove(from) {
            self.events.push_back(Event::Moved(id, from.remote));
            self.events.push_back(Event::RouteWanted(id, from.remote));
            publish_route(peer);
        }
        true
    }

    /// A packet came through a relay while there is a direct way: the other end has doubts, and so have we now.
    pub(super) fn came_relayed(&mut self, id: PeerId, from: Endpoint, now: Instant) -> bool {
        let peer = self.peers.get(id.0 as usize);
        let way = peer.and_then(|p| p.path.endpoint());
        let is_worse = from.channel.is_some() && way.is_some_and(|w| w.channel.is_none());
        if is_worse {
            self.doubt(id, now);
        }
        is_worse
    }
}

/// Whether data went out on a direct way and nothing has come back.
fn is_doubtful(peer: &Peer, now: Instant) -> bool {
    let activity = &peer.link.activity;
    let (sent, heard) = (activity.sent_data.get(), activity.heard.get());
    let is_direct = peer.path.endpoint().is_some_and(|e| e.channel.is_none());
    let has_other = !peer.places.channels.is_empty();
    is_direct
        && has_other
        && peer.up_since.is_some()
        && sent > heard
        && now.since(heard) >= DOUBT_AFTER
        && now.since(sent) < Duration::from_secs(1)
}

/// Whether an address that a member told may be asked at all.
fn is_askable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let is_one = match ip {
        IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    is_one && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && address.port() != 0
}
