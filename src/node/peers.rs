//! Who the peers are, and by which keys they and we know each other: all of it can change while they are connected.
//!
//! # Why
//! A number that a peer had is used again, or the tables that are indexed by it would grow for ever where members come and go; but
//! only after a while, since a worker may still hold a frame that came from the one before. Who stays is disturbed as little as can
//! be: other pre-shared keys and rights count from now on and the session lives on, while one that was made with a key that is
//! not the peer's any more ends at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::admitting::overlaid;
use super::asking::Asking;
use super::network::Network;
use super::visiting::Visiting;
use super::{Gone, Node, publish_route};
use crate::keys::{OwnKeys, Psks, PublicKey, wipe_stack};
use crate::mesh::link::Link;
use crate::mesh::peer::{Kind, Pass, Peer, PeerSettings, RelayUse};
use crate::place::{PeerId, Place};
use crate::time::{Duration, Instant};
use crate::wire::inner::TYPE_CLOSE;

/// A number is given to another peer so long after it was free.
const REUSED_AFTER: Duration = Duration::from_secs(10);

/// Which peer is which.
#[derive(Default)]
pub(super) struct Directory {
    /// The names of all, and the former ones.
    pub(super) by_key: HashMap<PublicKey, PeerId>,
    /// Numbers that nobody has, and since when.
    vacant: Vec<(PeerId, Instant)>,
    /// The network that we are in.
    pub(super) network: Option<Network>,
    /// Who asks us for records, and whom we ask.
    pub(super) asking: Asking,
    /// Who comes by relays to those that have invited it.
    pub(super) visiting: Visiting,
    /// What the configuration says of those that were awaited and have shown a record.
    pub(super) awaited: HashMap<PeerId, PeerSettings>,
}

impl Directory {
    /// How many of so many numbers somebody has.
    pub(super) fn living(&self, numbers: usize) -> usize {
        numbers.saturating_sub(self.vacant.len())
    }
}

impl Node {
    /// Adds a peer, and gives its number; one that is known by one of its keys changes nothing.
    pub fn add_peer(&mut self, settings: PeerSettings) -> PeerId {
        if let Some(id) = settings.key.iter().find_map(|key| self.find(&key)) {
            return id;
        }
        let id = PeerId(u32::try_from(self.peers.len()).unwrap_or(u32::MAX));
        self.settle_in(id, settings);
        id
    }

    /// The same while others come and go: takes a number that has been free for long, if there is one.
    pub fn welcome(&mut self, settings: PeerSettings, now: Instant) -> PeerId {
        if let Some(id) = settings.key.iter().find_map(|key| self.find(&key)) {
            return id;
        }
        let vacant = &mut self.directory.vacant;
        let is_free = |(_, since): &(PeerId, Instant)| now.since(*since) >= REUSED_AFTER;
        match vacant.iter().position(is_free) {
            Some(at) => {
                let (id, _) = vacant.swap_remove(at);
                self.settle_in(id, settings);
                id
            }
            None => self.add_peer(settings),
        }
    }

    /// How many MACs behind a peer are remembered.
    fn share_out(&self, id: PeerId, settings: &PeerSettings) {
        let most = Some(usize::from(settings.claims.mac_limit)).filter(|most| *most > 0);
        self.plane.switch.table.set_share(Place::Peer(id), most);
    }

    fn settle_in(&mut self, id: PeerId, settings: PeerSettings) {
        let names = settings.key.iter().map(|key| (key, id));
        self.directory.by_key.extend(names);
        self.share_out(id, &settings);
        let peer = Peer::new(id, settings, Arc::new(Link::new(id)));
        match self.peers.get_mut(id.0 as usize) {
            Some(place) => *place = peer,
            None => self.peers.push(peer),
        }
        let links = self.peers.iter().map(|p| p.link.clone()).collect();
        self.plane.publish_links(links);
        self.publish_layout();
    }

    /// A peer is another now, as the configuration says: its session lives on if it was made with a key that is still the peer's.
    ///
    /// What it is to us and how it is let in does not change by this: such a peer is removed and added.
    pub fn change_peer(&mut self, id: PeerId, settings: PeerSettings, now: Instant) {
        let settings = self.with_its_record(id, settings);
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let has_other_keys = peer.settings.key != settings.key;
        let needs_handshake = has_other_keys || peer.settings.psks != settings.psks;
        let rights = |s: &PeerSettings| (s.segments.clone(), s.vlans.clone(), s.claims.clone());
        let has_other_rights = rights(&peer.settings) != rights(&settings);
        let shown = peer.keyring.current().map(|s| s.between.theirs);
        let is_stranger = shown.is_some_and(|key| !settings.key.has(&key));
        let names = settings.key;
        let (served, serves) = (peer.settings.serves, settings.serves);
        let is_up = peer.up_since.is_some();
        peer.settings = settings;
        let by_key = &mut self.directory.by_key;
        by_key.retain(|key, owner| *owner != id || names.has(key));
        by_key.extend(names.iter().map(|key| (key, id)));
        if needs_handshake {
            peer.places.beaconing.key = None;
            self.forget_answer(id);
            self.drop_attempt(id);
        }
        if is_stranger {
            self.say_goodbye(id, now);
            self.take_down(id, Gone::Removed, now);
        } else if has_other_keys {
            self.rename_channels(id);
        }
        if has_other_keys {
            self.end_sessions_of_others(id, &names.iter().collect::<Vec<_>>());
        }
        if has_other_rights {
            if let Some(peer) = self.peers.get(id.0 as usize) {
                self.share_out(id, &peer.settings);
            }
            // What was told and not taken is told again, and what was taken is not kept.
            self.close_adverts(id);
            self.renew_adverts(id, now);
        }
        let is_awaited = self
            .peers
            .get(id.0 as usize)
            .is_some_and(|p| p.settings.pass == Pass::Awaited);
        if is_awaited {
            // What it has shown is to be shown again.
            self.directory.awaited.remove(&id);
        }
        if needs_handshake || is_awaited {
            self.start_attempt(id, now);
        }
        match (served, serves) {
            (true, false) => self.relay_down(id, now),
            (false, true) if is_up => self.relay_up(id, now),
            _ => {}
        }
        self.follow_policy(id, now);
        self.publish_layout();
    }

    /// One that has shown its record keeps it when the configuration says something else of it, if not of its key.
    fn with_its_record(&mut self, id: PeerId, settings: PeerSettings) -> PeerSettings {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return settings;
        };
        let is_recorded = matches!(peer.settings.pass, Pass::Record(_));
        let has_its_key = settings.key.has(&peer.settings.key.current);
        let configured = self.directory.awaited.get_mut(&id);
        match configured.filter(|_| settings.pass == Pass::Awaited && is_recorded && has_its_key) {
            Some(configured) => {
                *configured = settings.clone();
                overlaid(peer.settings.clone(), &settings)
            }
            None => settings,
        }
    }

    /// What a relay may carry to a peer may be another now.
    fn follow_policy(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            if peer.settings.relay == RelayUse::Never {
                peer.places.channels.clear();
            }
            publish_route(peer);
        }
        self.leave_lost_way(id, now);
    }

    /// Somebody is no peer of ours any more.
    pub fn remove_peer(&mut self, id: PeerId, now: Instant) {
        if self.peers.get(id.0 as usize).is_none_or(Peer::is_vacant) {
            return;
        }
        self.say_goodbye(id, now);
        self.take_down(id, Gone::Removed, now);
        self.directory.by_key.retain(|_, owner| *owner != id);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            // What is told of its end names it.
            let name = std::mem::take(&mut peer.settings.name);
            *peer = Peer::new(id, nobody(name), peer.link.clone());
        }
        self.forget_wishes(id);
        self.forget_asking(id);
        self.directory.visiting.forget(id);
        self.directory.awaited.remove(&id);
        if let Some(network) = &mut self.directory.network {
            network.forget(id);
        }
        self.directory.vacant.push((id, now));
        self.publish_layout();
    }

    /// We have other keys, and the network has: all peers get new sessions, made with the newest that they know. The sessions in use
    /// stay until then.
    pub fn set_keys(&mut self, keys: OwnKeys, network: Psks, now: Instant) {
        self.own = keys.names();
        self.settings.keys = keys;
        self.settings.network = network;
        self.gate.keeper.set_own(&self.dialects, &self.own);
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            self.forget_answer(id);
            self.drop_attempt(id);
            if let Some(peer) = self.peers.get_mut(index) {
                peer.places.beaconing.key = None;
            }
            self.start_attempt(id, now);
        }
        wipe_stack();
    }

    /// Tells a peer that the session ends.
    pub(super) fn say_goodbye(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        // Three copies: the packet is small, and its loss would cost the peer seconds.
        for _ in 0..3 {
            let link = &peer.link;
            let sent = link.send_message(TYPE_CLOSE, &[], None, &mut self.outgoing, now);
            if sent.is_err() {
                break;
            }
        }
    }

    /// What was answered with other keys is not answered again.
    fn forget_answer(&mut self, id: PeerId) {
        let peer = self.peers.get_mut(id.0 as usize);
        if let Some(answered) = peer.and_then(|p| p.initiations.answered.take()) {
            self.answered.remove(&answered.digest);
        }
    }

    /// Sessions beside the one in use that were made with other keys than these end.
    fn end_sessions_of_others(&mut self, id: PeerId, names: &[PublicKey]) {
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            let retired = peer.keyring.end_others(names);
            self.plane.remove_inlets(&retired);
        }
    }
}

/// What stands in the place of a peer that was removed.
fn nobody(name: String) -> PeerSettings {
    let key = PublicKey::from_bytes([0; 32]);
    PeerSettings {
        name,
        relay: RelayUse::Never,
        ..PeerSettings::outsider(Kind::Vacant, key, Pass::Listed)
    }
}
