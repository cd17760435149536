//! Ways through carriers: addresses of ours that stand for a connection by QUIC or TLS.
//!
//! A leg is an address like any other to handshakes, sessions and the data plane. What is known of it beside is here: that
//! it is worse than UDP, so that better ways go on being looked for; and what both ends of the connection know, so that one in
//! the middle of it is found out.

use std::net::SocketAddr;

use super::{Event, Gone, Node, publish_route};
use crate::carrier::Carrier;
use crate::drops::DropReason;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::control::{self, Element};

/// A connection that carries, as the node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Its address.
    pub address: SocketAddr,
    /// What carries.
    pub carrier: Carrier,
    /// What both ends of the connection know.
    pub binding: [u8; 16],
}

/// How good a way is: the smaller the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Datagrams go straight to the peer.
    Direct,
    /// They are carried straight to it.
    Carried(Carrier),
    /// They go through a relay.
    Relayed,
}

impl Node {
    /// There is another leg.
    pub fn add_leg(&mut self, leg: Leg) {
        self.relays.legs.retain(|l| l.address != leg.address);
        self.relays.legs.push(leg);
    }

    /// A leg has ended: who was reached there is looked for anew, at once.
    pub fn remove_leg(&mut self, address: SocketAddr, now: Instant) {
        self.relays.legs.retain(|l| l.address != address);
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            peer.places.known.retain(|known| *known != address);
            let way = peer.path.endpoint();
            if way.is_some_and(|w| w.remote == address && w.channel.is_none()) {
                // A channel that there is carries on.
                if self.fall_back(id, now) {
                    continue;
                }
                let Some(peer) = self.peers.get_mut(index) else {
                    return;
                };
                peer.path.leave();
                let is_reachable = peer.is_reachable() && peer.settings.kind != Kind::Client;
                if is_reachable {
                    peer.retry_at.get_or_insert(now);
                }
                self.take_down(id, Gone::Silent, now);
            }
        }
    }

    /// How good a way is.
    pub fn rank(&self, way: &Endpoint) -> Rank {
        match (way.channel, self.leg(way)) {
            (Some(_), _) => Rank::Relayed,
            (None, Some(leg)) => Rank::Carried(leg.carrier),
            (None, None) => Rank::Direct,
        }
    }

    /// How good the way to a peer is; `None` when it is not connected.
    pub fn rank_of(&self, id: PeerId) -> Option<Rank> {
        let peer = self.peers.get(id.0 as usize)?;
        peer.up_since?;
        Some(self.rank(&peer.path.endpoint()?))
    }

    /// Whether there is no better kind of way than the one to a peer.
    pub(super) fn is_best(&self, id: PeerId) -> bool {
        let way = self
            .peers
            .get(id.0 as usize)
            .and_then(|p| p.path.endpoint());
        way.is_some_and(|w| self.rank(&w) == Rank::Direct)
    }

    pub(super) fn leg(&self, way: &Endpoint) -> Option<&Leg> {
        self.relays.legs.iter().find(|l| l.address == way.remote)
    }

    /// Tells the other end of a leg what its connection is known by.
    pub(super) fn tell_binding(&mut self, id: PeerId, now: Instant) {
        let way = self
            .peers
            .get(id.0 as usize)
            .and_then(|p| p.path.endpoint());
        let Some(way) = way.filter(|w| w.channel.is_none()) else {
            return;
        };
        if let Some(leg) = self.leg(&way) {
            let body = control::write(Element::Binding(leg.binding));
            self.send_control(id, &body, Some(way), now);
        }
    }

    /// The other end tells what it knows the connection by: another one means that somebody sits between.
    pub(super) fn take_binding(&mut self, from: &Endpoint, binding: [u8; 16], now: Instant) {
        let leg = self.leg(from).filter(|_| from.channel.is_none());
        let Some(address) = leg.filter(|l| l.binding != binding).map(|l| l.address) else {
            return;
        };
        self.drop_one(DropReason::CarrierBinding);
        self.remove_leg(address, now);
        self.events.push_back(Event::LegRefused(address));
    }

    /// The way to a relay is another one: what goes through it follows.
    pub(super) fn follow_relay(&mut self, relay: PeerId, now: Instant) {
        if !self.serves(relay) {
            return;
        }
        let there = self
            .peers
            .get(relay.0 as usize)
            .and_then(|p| p.path.endpoint());
        let Some(there) = there else {
            return;
        };
        for peer in &mut self.peers {
            let channels = &peer.places.channels;
            let channel = channels.iter().find(|(r, _)| *r == relay).map(|(_, c)| *c);
            let way = peer.path.endpoint().filter(|w| w.remote != there.remote);
            let Some(channel) = channel.filter(|c| way.is_some_and(|w| w.channel == Some(*c)))
            else {
                continue;
            };
            peer.path.prove(there.through(channel), now);
            publish_route(peer);
            self.events
                .push_back(Event::RouteWanted(peer.id, there.remote));
        }
    }
}
