//! What we do for others: channels between members that cannot reach each other.
//!
//! A member asks for a channel to another by its key; both are told its number when both are here and have asked. What passes on it is
//! forwarded by the data plane ([`super::plane::Crossing`]) between the proven addresses of the two sessions, as it is.
//! Memory: a channel for each pair that asked, [`MOST_CHANNELS`] for each member at most.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::plane::{Crossing, CrossingEnd, RelayLimits};
use super::{Event, Node};
use crate::drops::DropReason;
use crate::keys::{Psk, PublicKey, Ticket};
use crate::mesh::peer::{Kind, Pass, Peer, PeerSettings};
use crate::mesh::places::Told;
use crate::noise::dialect::{Mac1Label, mac1_key_by};
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element};
use crate::wire::offer::Offer;
use crate::wire::relayed::Channel;

/// Channels that one member may have.
const MOST_CHANNELS: usize = 256;
/// A member says by which label it is called, and in this time says another one so often at most.
const LABEL_HOLDS: Duration = Duration::from_secs(10);
const MOST_LABELS: u32 = 4;
/// Peers and guests together. A guest that came once is remembered until the relay starts anew: then there is room again for
/// others.
pub(super) const MOST_GUESTS: usize = 20_000;
/// Members are told this often at most what was too much.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The channels that we relay.
#[derive(Default)]
pub(super) struct Relaying {
    pub(super) is_on: bool,
    /// What tickets are made with.
    secret: Option<Psk>,
    /// What the wall clock showed last, and when: it may have been set since the start.
    clock: Option<(Duration, Instant)>,
    /// What each member had sent to be carried a second ago, in datagrams.
    counts: Vec<u64>,
    /// When members were told last what was too much.
    told_at: Option<Instant>,
    /// By the pair of members, the smaller number first.
    channels: HashMap<(PeerId, PeerId), Channel>,
    /// Who each member has channels to.
    others: HashMap<PeerId, Vec<PeerId>>,
    /// Whom each member wants a channel to: there is one when both want it.
    wishes: HashMap<PeerId, HashSet<PeerId>>,
}

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    (a.min(b), a.max(b))
}

impl Node {
    /// Relays between our peers from now on.
    pub fn start_relaying(&mut self, limits: RelayLimits, secret: Option<Psk>) {
        self.relays.serving.secret = secret;
        self.relays.serving.is_on = true;
        // Set once: a relay starts once.
        let _ = self.plane.relaying.limits.set(limits);
    }

    /// Tells what the wall clock shows, since 1970: tickets end by it.
    pub fn set_clock(&mut self, shown: Duration, now: Instant) {
        self.relays.serving.clock = Some((shown, now));
    }

    /// Whose handshake is answered: a peer that is known, one with a ticket of ours, or one with a record of our network. Both are
    /// looked at again in every handshake, so that who came in by one goes when its time is over.
    pub(super) fn admit(
        &mut self,
        remote: &PublicKey,
        offer: Option<&Offer>,
        now: Instant,
    ) -> Result<PeerId, DropReason> {
        let known = self.find(remote);
        let pass = known
            .and_then(|id| self.peers.get(id.0 as usize))
            .map(|p| p.settings.pass);
        if let (Some(id), Some(Pass::Listed | Pass::Ticket(_) | Pass::Invite(_))) = (known, pass) {
            self.note_record(id, (remote, offer), now);
            return Ok(id);
        }
        let is_recorded = matches!(pass, Some(Pass::Record(_)));
        let shows_one = offer.is_some_and(|o| o.record.is_some());
        // Whoever has a record shows it when it calls.
        if let (Some(Pass::Awaited), false) = (pass, shows_one) {
            return Err(DropReason::RecordRefused);
        }
        if is_recorded || shows_one && self.directory.network.is_some() {
            let admitted = self.admit_recorded(remote, offer, now);
            // Who may not come in as a member may still be a guest of a relay.
            if is_recorded || admitted.is_ok() || offer.is_none_or(|o| o.ticket.is_none()) {
                return admitted;
            }
        }
        if let Some(invite) = offer.and_then(|o| o.invite) {
            return self.admit_invited(remote, &invite, now);
        }
        let secret = self
            .relays
            .serving
            .secret
            .as_ref()
            .ok_or(DropReason::Stranger)?;
        let ticket = offer.and_then(|o| o.ticket).ok_or(DropReason::Stranger)?;
        let ticket = Ticket::from_bytes(ticket);
        if !ticket.holds(secret, remote, self.wall_seconds(now)) {
            return Err(DropReason::TicketRefused);
        }
        if known.is_none() && self.is_full() {
            return Err(DropReason::QueueFull);
        }
        Ok(known.unwrap_or_else(|| self.add_guest(remote)))
    }

    /// Seconds since 1970, as the clock was told last.
    pub(super) fn wall_seconds(&self, now: Instant) -> u64 {
        let clock = self.relays.serving.clock;
        let clock = clock.map(|(shown, at)| (shown + now.since(at)).as_secs());
        // What was shown in an earlier life is past, whatever the clock says now.
        let floor = self.settings.wall.seconds(now);
        clock.unwrap_or(floor).max(floor)
    }

    fn add_guest(&mut self, key: &PublicKey) -> PeerId {
        self.add_peer(PeerSettings::outsider(Kind::Client, *key, Pass::Guest))
    }

    /// Once a second: how many have sent something to be carried.
    pub(super) fn count_active(&mut self) {
        let serving = &mut self.relays.serving;
        if !serving.is_on {
            return;
        }
        serving.counts.resize(self.peers.len(), 0);
        let mut active = 0;
        for (peer, before) in self.peers.iter().zip(&mut serving.counts) {
            let (packets, _, over) = peer.link.carried.get();
            let now = packets + over;
            active += u64::from(now != *before);
            *before = now;
        }
        let load = &self.plane.relaying;
        load.active.store(active, Ordering::Relaxed);
    }

    /// Tells members what of theirs was too much, every few seconds at most.
    pub(super) fn tell_throttled(&mut self, now: Instant) {
        let serving = &mut self.relays.serving;
        if !serving.is_on || serving.told_at.is_some_and(|at| now.since(at) < TELL_EVERY) {
            return;
        }
        serving.told_at = Some(now);
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            let (_, _, over) = peer.link.carried.get();
            let told = &mut peer.places.throttled;
            if over != *told && peer.up_since.is_some() {
                *told = over;
                let id = peer.id;
                let body = control::write(Element::Throttled(over));
                self.send_control(id, &body, None, now);
            }
        }
    }

    /// A relay says how much of ours was too much for it, in all.
    pub(super) fn take_throttled(&mut self, relay: PeerId, over: u64) {
        if !self.serves(relay) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(relay.0 as usize)
            && peer.places.throttled != over
        {
            peer.places.throttled = over;
            self.events.push_back(Event::Throttled(relay, over));
        }
    }

    /// How many channels a member has.
    pub fn channels_of(&self, id: PeerId) -> usize {
        self.relays.serving.others.get(&id).map_or(0, Vec::len)
    }

    /// A member wants a channel to another.
    pub(super) fn open_channel(&mut self, id: PeerId, key: [u8; 32], now: Instant) {
        if !self.relays.serving.is_on {
            return self.drop_one(DropReason::UnknownControl);
        }
        let wanted = PublicKey::from_bytes(key);
        let own = self.peers.get(id.0 as usize);
        if let Some(Pass::Invited(name)) = own.map(|p| p.settings.pass) {
            return self.channel_for_visitor((id, name), wanted, now);
        }
        if own.is_some_and(|p| p.known_as() == wanted || p.settings.key.has(&wanted)) {
            // It asks how it looks from here: what it was told was lost.
            return self.greet_client(id, now);
        }
        let found = self.find(&wanted);
        let channel = found.and_then(|other| self.agreed_channel((id, other), now));
        self.tell_channel(id, wanted, channel, now);
    }

    /// The channel that two members want, told to the other when it is new.
    fn agreed_channel(&mut self, (id, other): (PeerId, PeerId), now: Instant) -> Option<Channel> {
        let wishes = &mut self.relays.serving.wishes;
        let own = wishes.entry(id).or_default();
        if own.len() < MOST_CHANNELS {
            own.insert(other);
        }
        let is_mutual = wishes.get(&other).is_some_and(|w| w.contains(&id));
        if !is_mutual {
            return None;
        }
        let had_one = self.relays.serving.channels.contains_key(&pair(id, other));
        let channel = self.channel_between(id, other)?;
        let ours = self.peers.get(id.0 as usize).map(Peer::known_as);
        if let Some(ours) = ours.filter(|_| !had_one) {
            self.tell_channel(other, ours, Some(channel), now);
        }
        Some(channel)
    }

    /// The channel between two members that are here, made if there is none.
    pub(super) fn channel_between(&mut self, a: PeerId, b: PeerId) -> Option<Channel> {
        let is_here = |id: PeerId| {
            let peer = self.peers.get(id.0 as usize);
            // One that we reach through another relay is reached there.
            let is_direct = |p: &&Peer| p.path.endpoint().is_some_and(|e| e.channel.is_none());
            let member = peer.filter(|p| p.up_since.is_some() && p.settings.kind != Kind::Relay);
            member.filter(is_direct)
        };
        let (one, other) = (is_here(a)?, is_here(b)?);
        let serving = &self.relays.serving;
        if let Some(channel) = serving.channels.get(&pair(a, b)) {
            return Some(*channel);
        }
        let count = |id| serving.others.get(&id).map_or(0, Vec::len);
        if count(a) >= MOST_CHANNELS || count(b) >= MOST_CHANNELS {
            self.drop_one(DropReason::QueueFull);
            return None;
        }
        let ends = [one, other].map(|peer| self.crossing_end(peer));
        let channel = self.fresh_channel();
        let crossing = Crossing {
            ends,
            initiations: Arc::default(),
        };
        self.plane.add_crossing(channel, crossing);
        let serving = &mut self.relays.serving;
        serving.channels.insert(pair(a, b), channel);
        serving.others.entry(a).or_default().push(b);
        serving.others.entry(b).or_default().push(a);
        Some(channel)
    }

    fn crossing_end(&self, peer: &Peer) -> CrossingEnd {
        let names = || peer.settings.key.iter();
        let ours = self.dialects.iter().filter_map(|(_, d)| d.mac1_label());
        let told = peer.places.acquaintance.mac1_label;
        let labels = ours.chain(told.map(|told| told.label));
        CrossingEnd {
            link: peer.link.clone(),
            mac1_keys: labels
                .flat_map(|label| names().map(move |key| mac1_key_by(&label, &key)))
                .collect(),
        }
    }

    /// A member says by which label handshakes to it are made: those of its network, which need not be ours.
    pub(super) fn take_label(&mut self, id: PeerId, label: Mac1Label, now: Instant) {
        if !self.relays.serving.is_on {
            return self.drop_one(DropReason::UnknownControl);
        }
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let known = &mut peer.places.acquaintance.mac1_label;
        if known.is_some_and(|known| known.label == label) {
            return;
        }
        let recent = known.filter(|known| now.since(known.since) < LABEL_HOLDS);
        let (since, changes) = recent.map_or((now, 0), |known| (known.since, known.changes));
        // It is another one with another network, and each is work for all channels.
        if changes >= MOST_LABELS {
            return self.drop_one(DropReason::RateLimited);
        }
        *known = Some(Told {
            label,
            since,
            changes: changes + 1,
        });
        self.rename_channels(id);
    }

    /// A member has other names or labels: its channels stay, and let through what is for it by one of them.
    pub(super) fn rename_channels(&mut self, id: PeerId) {
        let others = self.relays.serving.others.get(&id).cloned();
        for other in others.unwrap_or_default() {
            let channel = self.relays.serving.channels.get(&pair(id, other)).copied();
            let ends = [id, other].map(|id| self.peers.get(id.0 as usize));
            if let (Some(channel), [Some(one), Some(two)]) = (channel, ends) {
                // What was let through in this second stays counted.
                let before = self.plane.crossing(channel);
                let crossing = Crossing {
                    ends: [self.crossing_end(one), self.crossing_end(two)],
                    initiations: before.map_or_else(Default::default, |b| b.initiations.clone()),
                };
                self.plane.add_crossing(channel, crossing);
            }
        }
    }

    fn fresh_channel(&mut self) -> Channel {
        loop {
            let channel = Channel::new(self.entropy.next_u32());
            if let Some(channel) = channel.filter(|c| self.plane.crossing(*c).is_none()) {
                return channel;
            }
        }
    }

    pub(super) fn tell_channel(
        &mut self,
        id: PeerId,
        to: PublicKey,
        channel: Option<Channel>,
        now: Instant,
    ) {
        let body = control::write(Element::Channel(*to.as_bytes(), channel));
        self.send_control(id, &body, None, now);
    }

    /// A member is here: it learns how it looks from here.
    pub(super) fn greet_client(&mut self, id: PeerId, now: Instant) {
        let peer = self.peers.get(id.0 as usize);
        let way = peer.and_then(|p| p.path.endpoint());
        // How a carrier's connection looks says nothing about UDP.
        let way = way.filter(|w| self.leg(w).is_none());
        if let (true, Some(way)) = (self.relays.serving.is_on, way) {
            let body = control::write(Element::Observed(way.remote));
            self.send_control(id, &body, None, now);
            self.invite_look(id, now);
        }
    }

    /// Nobody wants channels to who had this number.
    pub(super) fn forget_wishes(&mut self, id: PeerId) {
        for wishes in self.relays.serving.wishes.values_mut() {
            wishes.remove(&id);
        }
    }

    /// A member is gone, and with it its channels.
    pub(super) fn close_channels(&mut self, id: PeerId, now: Instant) {
        self.forget_look(id);
        let serving = &mut self.relays.serving;
        serving.wishes.remove(&id);
        let others = serving.others.remove(&id).unwrap_or_default();
        let Some(key) = self.peers.get(id.0 as usize).map(Peer::known_as) else {
            return;
        };
        for other in others {
            let serving = &mut self.relays.serving;
            if let Some(theirs) = serving.others.get_mut(&other) {
                theirs.retain(|o| *o != id);
            }
            if let Some(channel) = serving.channels.remove(&pair(id, other)) {
                self.plane.remove_crossing(channel);
            }
            self.tell_channel(other, key, None, now);
        }
    }
}
