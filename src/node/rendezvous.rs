//! How we reach members that have no address for us: channels through relays, and direct ways that are found inside a session.

use std::net::{IpAddr, SocketAddr};

use super::beacons::Beacons;
use super::doubt::is_doubtful;
use super::legs::{Leg, Rank};
use super::plane::PerSecond;
use super::relaying::Relaying;
use super::scatter::Scattering;
use super::vantage::Looks;
use super::{Event, Node, publish_route, settle};
use crate::drops::DropReason;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Kind, Pass, Peer, RelayUse};
use crate::noise::dialect::Dialect;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{
    self, Addresses, CONTROL_VERSION, Element, MAX_CANDIDATES, QUESTION_LEN,
};
use crate::wire::relayed::Channel;

/// Ways that could be better or worse are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same while nothing is sent, and for how long nothing has to be sent for that.
const LOOK_IDLE: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_secs(3);
/// Questions in a second at addresses that others told, to all peers together.
const MOST_QUESTIONS: u64 = 200;
/// The same at ports that NATs may give them next.
const MOST_GUESSES: u64 = 100;
/// Members whose channels are wanted at once.
const MOST_WISHES: usize = 256;

/// What we know of relays and of ourselves, as others see us.
#[derive(Default)]
pub(super) struct Relays {
    /// What we do for others.
    pub(super) serving: Relaying,
    /// How we are found on LANs.
    pub(super) beacons: Beacons,
    /// Connections that carry.
    pub(super) legs: Vec<Leg>,
    /// Our own addresses.
    pub(super) local: Vec<SocketAddr>,
    /// The router's port that leads to ours.
    pub(super) mapped: Option<SocketAddr>,
    /// Those that we had before we had none.
    pub(super) left: Vec<SocketAddr>,
    /// Calls at addresses of members that others have told of.
    pub(super) introduced: PerSecond,
    /// Refusals of the underlay that are looked into.
    pub(super) refusals: PerSecond,
    /// What relays see, by relay.
    pub(super) observed: Vec<(PeerId, SocketAddr)>,
    /// Whether, and when last, peers were looked for at ports drawn by dice.
    pub(super) scattering: Scattering,
    /// What is seen from second ports.
    pub(super) looks: Looks,
    next_at: Option<Instant>,
    /// When all were told our addresses last.
    pub(super) told_at: Option<Instant>,
    /// When to tell them again.
    pub(super) tell_at: Option<Instant>,
    /// Questions at addresses that others told.
    questions: PerSecond,
    /// Those at ports that their NATs may give them next.
    guesses: PerSecond,
}

impl Node {
    /// All ways on which a peer may be tried: its addresses, and channels through relays that we reach.
    pub fn ways(&self, id: PeerId) -> Vec<Endpoint> {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return Vec::new();
        };
        // Relays first: who has one needs an address less often.
        let channels = peer.places.channels.iter();
        let relayed = channels.filter_map(|(relay, channel)| self.way_through(*relay, *channel));
        let near = peer.places.beaconing.near.iter();
        let direct = near.chain(&peer.places.known).map(|a| Endpoint::to(*a));
        relayed.chain(direct).collect()
    }

    /// The relay that a peer is reached through, if it is.
    pub fn relay_of(&self, peer: &Peer) -> Option<PeerId> {
        let way = peer.path.endpoint()?;
        way.channel?;
        let is_there = |p: &&Peer| {
            let relay = p.path.endpoint();
            p.serves() && relay.is_some_and(|e| e.remote == way.remote && e.channel.is_none())
        };
        self.peers.iter().find(is_there).map(|p| p.id)
    }

    /// Whether a way leads to a peer as far as we were told: directly anywhere, through a relay by its own channels only.
    pub(super) fn leads_to(&self, id: PeerId, way: &Endpoint) -> bool {
        way.channel.is_none() || self.ways(id).iter().any(|w| w.is_same_way(way))
    }

    /// Whether a channel at that relay is one that we were told of.
    pub(super) fn knows_channel(&self, way: &Endpoint) -> bool {
        let Some(channel) = way.channel else {
            return true;
        };
        let is_one = |(relay, c): &(PeerId, Channel)| {
            let relay = self.peers.get(relay.0 as usize);
            let there = relay.and_then(|r| r.path.endpoint());
            *c == channel && there.is_some_and(|e| e.remote == way.remote)
        };
        self.peers
            .iter()
            .any(|p| p.places.channels.iter().any(is_one))
            || self.is_door(way.remote, channel)
    }

    /// Whether somebody that we have invited may come by a channel at this relay.
    fn is_door(&self, remote: SocketAddr, channel: Channel) -> bool {
        let visiting = &self.directory.visiting;
        let is_there = |p: &Peer| p.path.endpoint().is_some_and(|e| e.remote == remote);
        self.peers
            .iter()
            .any(|p| visiting.has_door(p.id, channel) && is_there(p))
    }

    fn way_through(&self, relay: PeerId, channel: Channel) -> Option<Endpoint> {
        let relay = self.peers.get(relay.0 as usize)?;
        relay.up_since?;
        // A member that relays may be reached through another relay itself: that goes one way only.
        let way = relay.path.endpoint().filter(|way| way.channel.is_none())?;
        Some(way.through(channel))
    }

    /// A relay is there: wants channels to everybody.
    pub(super) fn relay_up(&mut self, relay: PeerId, now: Instant) {
        self.relays.next_at = Some(now);
        self.directory.visiting.tell_soon();
        for index in 0..self.peers.len() {
            if let Some(peer) = self.peers.get_mut(index) {
                peer.places.wish.renew();
            }
        }
        self.ask_channels(relay, now);
    }

    /// A relay is gone: so are its channels.
    pub(super) fn relay_down(&mut self, relay: PeerId, now: Instant) {
        // It may have been one until now.
        let seen = self.relays.observed.len();
        self.relays.observed.retain(|(r, _)| *r != relay);
        self.directory.visiting.close_doors(relay);
        let has_channel = |p: &Peer| p.places.channels.iter().any(|(r, _)| *r == relay);
        let was_of_use = seen != self.relays.observed.len() || self.peers.iter().any(has_channel);
        if !self.serves(relay) && !was_of_use {
            return;
        }
        self.forget_seen(relay);
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            if let Some(peer) = self.peers.get_mut(index) {
                peer.places.set_channel(relay, None);
            }
            self.leave_lost_way(id, now);
        }
    }

    /// Where the way in use was a channel that is gone, another one is taken, if there is any.
    pub(super) fn leave_lost_way(&mut self, id: PeerId, now: Instant) {
        let ways = self.ways(id);
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let way = peer.path.endpoint().filter(|w| w.channel.is_some());
        let is_lost = way.is_some_and(|way| !ways.iter().any(|w| w.is_same_way(&way)));
        let other = ways.into_iter().find(|w| w.channel.is_some());
        if let (true, Some(other), true) = (is_lost, other, peer.up_since.is_some()) {
            peer.path.prove(other, now);
            publish_route(peer);
            self.events.push_back(Event::RouteWanted(id, other.remote));
        }
    }

    /// Asks a relay for channels to members that have none through it.
    fn ask_channels(&mut self, relay: PeerId, now: Instant) {
        let mut asked = Vec::new();
        for peer in &mut self.peers {
            let has_one = peer.places.channels.iter().any(|(r, _)| *r == relay);
            // One that leads nowhere may be old: that there is another was told and lost.
            let is_of_use = has_one && peer.up_since.is_some();
            if peer.id != relay
                && may_be_relayed(peer)
                && !is_of_use
                && asked.len() < MOST_WISHES
                && peer.places.wish.is_due(now)
            {
                asked.push(peer.places.wish.name(&peer.settings.key));
            }
        }
        let is_seen = self.relays.observed.iter().any(|(r, _)| *r == relay);
        let us = self.known_as(relay);
        let relay_peer = self.peers.get_mut(relay.0 as usize);
        let is_due = relay_peer.is_some_and(|p| !is_seen && p.places.wish.is_due(now));
        asked.extend(is_due.then_some(us));
        let label = self.dialects.network().and_then(Dialect::mac1_label);
        for key in asked {
            let mut body = vec![CONTROL_VERSION];
            // With each, as any of them may be lost.
            if let Some(label) = label {
                control::append(&mut body, Element::Label(label));
            }
            control::append(&mut body, Element::Open(*key.as_bytes()));
            control::pad(&mut body, QUESTION_LEN);
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
        let key = crate::keys::PublicKey::from_bytes(key);
        let Some(id) = self.find(&key).filter(|_| self.serves(relay)) else {
            return self.note_door(relay, (key, channel), now);
        };
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let is_invited = matches!(peer.settings.pass, Pass::Invited(_));
        if !may_be_relayed(peer) && !is_invited {
            return;
        }
        let is_new = peer.places.take_channel(relay, channel, now);
        if is_new && peer.places.is_behind {
            peer.places.behind_by = Some(relay);
        }
        if is_new {
            // An attempt that is under way goes on, by this way too.
            self.start_attempt_unless_up(id, now);
        }
        self.leave_lost_way(id, now);
    }

    fn start_attempt_unless_up(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        match &mut peer.attempt {
            _ if peer.up_since.is_some() => {}
            Some(attempt) => attempt.nudge(now),
            None => self.start_attempt(id, now),
        }
    }

    /// Whether a peer carries for us what goes to others.
    pub(super) fn serves(&self, id: PeerId) -> bool {
        let peer = self.peers.get(id.0 as usize);
        peer.is_some_and(Peer::serves)
    }

    pub(super) fn is_kind(&self, id: PeerId, kind: Kind) -> bool {
        let peer = self.peers.get(id.0 as usize);
        peer.is_some_and(|p| p.settings.kind == kind)
    }

    /// A member tells where it may be reached: it is asked there, when there is no direct way.
    pub(super) fn take_candidates(&mut self, id: PeerId, addresses: Addresses<'_>, now: Instant) {
        if !self.is_kind(id, Kind::Member) {
            return;
        }
        let told: Vec<SocketAddr> = addresses.iter().filter(is_askable).collect();
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            peer.places.told.clone_from(&told);
        }
        self.begin_search(id, told, now);
    }

    /// Asks a member at what it told and at what the configuration says, when there is no direct way.
    pub(super) fn begin_search(&mut self, id: PeerId, told: Vec<SocketAddr>, now: Instant) {
        let mut token = [0u8; 8];
        self.entropy.fill(&mut token);
        let is_best = self.is_best(id);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            let mut candidates = peer.places.known.clone();
            candidates.truncate(MAX_CANDIDATES / 2);
            candidates.extend(peer.places.beaconing.near);
            candidates.extend(told);
            peer.places.search.begin(candidates, token, now);
            if is_best {
                peer.places.search.rest();
            }
            self.relays.next_at = Some(now);
        }
    }

    /// Asks a peer again at what it told last and at what is known now.
    pub(super) fn search_again(&mut self, id: PeerId, now: Instant) {
        let peer = self.peers.get(id.0 as usize);
        let told = peer.map(|p| p.places.told.clone());
        self.begin_search(id, told.unwrap_or_default(), now);
    }

    /// When [`Node::look_for_ways`] is due.
    pub(super) fn ways_deadline(&self) -> Option<Instant> {
        let up = || self.peers.iter().filter(|p| p.up_since.is_some());
        let searches = up().filter_map(|p| p.places.search.next_at());
        let doubts = up().filter_map(|p| p.places.doubt.map(|d| d.next_at));
        let scatters = up().filter_map(|p| p.places.scatter.next_at);
        let own = [self.relays.next_at, self.relays.tell_at];
        searches
            .chain(doubts)
            .chain(scatters)
            .chain(own.into_iter().flatten())
            .min()
    }

    /// Asks where members may be, and whether ways in use still work.
    pub(super) fn look_for_ways(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            self.search(id, now);
            self.step_doubt(id, now);
            self.step_scatter(id, now);
        }
        if self.relays.tell_at.is_some_and(|at| now >= at) {
            self.tell_candidates(now);
        }
        if self.relays.next_at.is_none_or(|at| now < at) {
            return;
        }
        let relays: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|p| p.serves() && p.up_since.is_some())
            .map(|p| p.id)
            .collect();
        // Without traffic there is nothing to be lost, and nothing to be seen.
        let is_busy = |p: &Peer| now.since(p.link.activity.sent_data.get()) < BUSY;
        let pause = match self.peers.iter().any(is_busy) {
            true => LOOK_EVERY,
            false => LOOK_IDLE,
        };
        let has_legs = !self.relays.legs.is_empty();
        self.relays.next_at = (!relays.is_empty() || has_legs).then_some(now + pause);
        for relay in relays {
            self.ask_channels(relay, now);
        }
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            match (is_doubtful(peer, has_legs, now), peer.path.endpoint()) {
                (true, Some(way)) if way.channel.is_none() => self.doubt(id, now),
                // The peer may be silent, or the relay dead: that can be asked.
                (true, Some(_)) => {
                    let relay = self.peers.get(index).and_then(|p| self.relay_of(p));
                    relay.into_iter().for_each(|relay| self.doubt(relay, now));
                }
                _ => {}
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
        let Some(question) = peer.places.search.ask(now) else {
            return;
        };
        if peer.places.search.is_new_burst() {
            // What was told may have been lost.
            self.send_candidates(id, now);
            self.look_again(now);
        }
        let body = control::write(Element::PathChallenge(question.token));
        for candidate in question.to {
            if !self.relays.questions.admit_most(MOST_QUESTIONS, now) {
                self.drop_one(DropReason::RateLimited);
                break;
            }
            // What is in our own network has no NAT before it.
            self.outgoing.mark.is_short = question.is_short && is_outside(&candidate);
            self.send_control(id, &body, Some(Endpoint::to(candidate)), now);
            self.outgoing.mark.is_short = false;
        }
        for guess in question.guesses {
            // They leave alone what may be asked elsewhere.
            if !self.relays.guesses.admit_most(MOST_GUESSES, now) {
                self.drop_one(DropReason::RateLimited);
                break;
            }
            self.send_control(id, &body, Some(Endpoint::to(guess)), now);
        }
        let peer = self.peers.get(id.0 as usize);
        if peer.is_some_and(|p| p.places.search.is_over()) {
            self.wish_scatter(id, now);
        }
    }

    /// An answer to a question of ours came from there: gives whether it was one of these.
    pub(super) fn way_answered(
        &mut self,
        id: PeerId,
        from: Endpoint,
        token: [u8; 8],
        now: Instant,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return false;
        };
        if peer.places.doubt.is_some_and(|d| d.token == token) {
            let is_it = peer.path.endpoint().is_some_and(|e| e.is_same_way(&from));
            if is_it {
                settle(peer);
                self.relay_answered(id, now);
            }
            return is_it;
        }
        if peer.places.search.hears(token, now) {
            return true;
        }
        let is_direct = from.channel.is_none();
        let is_one = peer.places.search.is_answer(from.remote, token)
            || peer.places.scatter.is_answer(from.remote, token);
        if !is_direct || !is_one {
            return false;
        }
        let here = peer.path.endpoint();
        let is_better = here.is_none_or(|here| self.rank(&from) < self.rank(&here));
        if is_better {
            self.move_to(id, from, now);
        }
        true
    }

    /// A better way was found.
    fn move_to(&mut self, id: PeerId, way: Endpoint, now: Instant) {
        let is_best = self.rank(&way) == Rank::Direct;
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        if is_best {
            peer.places.search.rest();
        }
        peer.path.prove(way, now);
        peer.places.settle();
        peer.places.patience.works(now);
        self.events.push_back(Event::Moved(id, way.remote));
        self.events.push_back(Event::RouteWanted(id, way.remote));
        publish_route(peer);
        self.tell_binding(id, now);
        self.follow_relay(id, now);
    }
}

/// Whether anything to a peer may go through a relay.
fn may_be_relayed(peer: &Peer) -> bool {
    peer.settings.kind == Kind::Member && peer.settings.relay != RelayUse::Never
}

/// Whether an address may be behind a NAT that others than its owner speak to.
pub(super) fn is_outside(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => !ip.is_private(),
        IpAddr::V6(_) => false,
    }
}

/// Whether an address that a member told may be asked at all.
pub(super) fn is_askable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let is_one = match ip {
        IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    is_one && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && address.port() != 0
}
