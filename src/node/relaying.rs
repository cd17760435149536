//! What we do for others: channels between members that cannot reach each other.
//!
//! A member asks for a channel to another by its key; both are told its number when both are here. What passes on it is
//! forwarded by the data plane ([`super::plane::Crossing`]) between the proven addresses of the two sessions, as it is.
//! Memory: a channel for each pair that asked, [`MOST_CHANNELS`] for each member at most.

use std::collections::HashMap;

use super::Node;
use super::plane::{Crossing, CrossingEnd, PerSecond};
use crate::drops::DropReason;
use crate::keys::PublicKey;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::control::{self, Element};
use crate::wire::relayed::Channel;

/// Channels that one member may have.
const MOST_CHANNELS: usize = 256;

/// The channels that we relay.
#[derive(Default)]
pub(super) struct Relaying {
    pub(super) is_on: bool,
    /// By the pair of members, the smaller number first.
    channels: HashMap<(PeerId, PeerId), Channel>,
    /// Who each member has channels to.
    others: HashMap<PeerId, Vec<PeerId>>,
}

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    (a.min(b), a.max(b))
}

impl Node {
    /// Relays between our peers from now on.
    pub fn start_relaying(&mut self) {
        self.relays.serving.is_on = true;
    }

    /// A member wants a channel to another.
    pub(super) fn open_channel(&mut self, id: PeerId, key: [u8; 32], now: Instant) {
        if !self.relays.serving.is_on {
            return self.drop_one(DropReason::UnknownControl);
        }
        let wanted = PublicKey::from_bytes(key);
        let found = self.find(&wanted).filter(|other| *other != id);
        let channel = found.and_then(|other| self.channel_between(id, other));
        self.tell_channel(id, wanted, channel, now);
        if let (Some(other), Some(_), Some(peer)) = (found, channel, self.peers.get(id.0 as usize))
        {
            let ours = peer.settings.key;
            self.tell_channel(other, ours, channel, now);
        }
    }

    /// The channel between two members that are here, made if there is none.
    fn channel_between(&mut self, a: PeerId, b: PeerId) -> Option<Channel> {
        let is_here = |id: PeerId| {
            let peer = self.peers.get(id.0 as usize);
            peer.filter(|p| p.up_since.is_some() && p.settings.kind != Kind::Relay)
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
        let ends = [one, other].map(|peer| CrossingEnd {
            link: peer.link.clone(),
            mac1_key: self.dialect.mac1_key(&peer.settings.key),
        });
        let channel = self.fresh_channel();
        let crossing = Crossing {
            ends,
            initiations: PerSecond::default(),
        };
        self.plane.add_crossing(channel, crossing);
        let serving = &mut self.relays.serving;
        serving.channels.insert(pair(a, b), channel);
        serving.others.entry(a).or_default().push(b);
        serving.others.entry(b).or_default().push(a);
        Some(channel)
    }

    fn fresh_channel(&mut self) -> Channel {
        loop {
            let channel = Channel::new(self.entropy.next_u32());
            if let Some(channel) = channel.filter(|c| self.plane.crossing(*c).is_none()) {
                return channel;
            }
        }
    }

    fn tell_channel(&mut self, id: PeerId, to: PublicKey, channel: Option<Channel>, now: Instant) {
        let body = control::write(Element::Channel(*to.as_bytes(), channel));
        self.send_control(id, &body, None, now);
    }

    /// A member is here: it learns how it looks from here.
    pub(super) fn greet_client(&mut self, id: PeerId, now: Instant) {
        let peer = self.peers.get(id.0 as usize);
        let way = peer.and_then(|p| p.path.endpoint());
        if let (true, Some(way)) = (self.relays.serving.is_on, way) {
            let body = control::write(Element::Observed(way.remote));
            self.send_control(id, &body, None, now);
        }
    }

    /// A member is gone, and with it its channels.
    pub(super) fn close_channels(&mut self, id: PeerId, now: Instant) {
        let serving = &mut self.relays.serving;
        let others = serving.others.remove(&id).unwrap_or_default();
        let Some(key) = self.peers.get(id.0 as usize).map(|p| p.settings.key) else {
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
