//! What happens when we, or a peer, are somewhere else than before.
//!
//! # Why
//! Who moves is told by its host, mostly, and can tell others; who does not know it finds out by silence. A question from the new
//! address tells a peer where we are, if it arrives: behind a NAT it does not. So the relays are asked at the same time, and when
//! one has answered and the peer has not, the peer hears through that relay that the direct way leads nowhere: both go on
//! through it at once instead of after three silences. An address that comes beside others is no move; one that goes is.

use std::net::SocketAddr;

use super::{Event, Node, publish_route};
use crate::mesh::path::Endpoint;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element};

/// A direct way that was found so shortly before is one to where the peer is now.
const IS_NEW: Duration = Duration::from_millis(500);

impl Node {
    /// Tells which addresses of ours others may reach, with the port that we listen on.
    pub fn set_local_addresses(&mut self, mut addresses: Vec<SocketAddr>, now: Instant) {
        addresses.sort_unstable();
        addresses.dedup();
        if self.relays.local == addresses {
            return;
        }
        let before = std::mem::replace(&mut self.relays.local, addresses.clone());
        // Without any address there is nobody to be told; the next one is compared with what was before.
        if addresses.is_empty() {
            if !before.is_empty() {
                self.relays.left = before;
            }
            return;
        }
        let before = match before.is_empty() {
            true => std::mem::take(&mut self.relays.left),
            false => before,
        };
        self.tell_candidates(now);
        self.renew_beacons(now);
        let gone: Vec<SocketAddr> = before
            .into_iter()
            .filter(|a| !addresses.contains(a))
            .collect();
        if !gone.is_empty() {
            self.roamed(&gone, now);
        }
    }

    /// These addresses are ours no more: all who may know us there hear from us at once.
    fn roamed(&mut self, gone: &[SocketAddr], now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            let way = peer.path.endpoint();
            let (Some(way), Some(_)) = (way, peer.up_since) else {
                continue;
            };
            let is_meant = way.local.is_none_or(|ip| gone.iter().any(|a| a.ip() == ip));
            if !is_meant || peer.settings.kind == Kind::Client {
                continue;
            }
            // What the way carried, and how long it took, was said of another one.
            peer.path.renew(now);
            peer.places.is_behind = way.channel.is_none();
            peer.places.behind_by = None;
            peer.places.doubt = None;
            publish_route(peer);
            self.events.push_back(Event::RouteWanted(id, way.remote));
            self.doubt(id, now);
        }
    }

    /// A relay is reached from where we are now: those who do not answer directly are told through it.
    pub(super) fn relay_answered(&mut self, relay: PeerId, now: Instant) {
        if !self.serves(relay) {
            return;
        }
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            if !peer.places.is_behind || peer.settings.kind != Kind::Member {
                continue;
            }
            peer.places.behind_by = Some(relay);
            let id = peer.id;
            // One silence at least: its answer may take longer than the relay's.
            if peer.places.doubt.is_none_or(|d| d.asked > 1) {
                self.leave_behind(id, now);
            }
        }
    }

    /// Where a relay answers and the peer does not, both go on through it; gives whether that is so.
    pub(super) fn leave_behind(&mut self, id: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return false;
        };
        let Some(relay) = peer.places.behind_by.filter(|_| peer.places.is_behind) else {
            return false;
        };
        let there = self
            .peers
            .get(relay.0 as usize)
            .and_then(|r| r.path.endpoint());
        let channels = peer.places.channels.iter();
        let channel = channels
            .filter(|(r, _)| *r == relay)
            .map(|(_, c)| *c)
            .next();
        let (Some(there), Some(channel)) = (there, channel) else {
            return false;
        };
        let way = there.through(channel);
        let body = control::write(Element::Moved);
        self.send_control(id, &body, Some(way), now);
        self.go_through(id, way, now);
        true
    }

    /// A peer says through a relay that it is somewhere else.
    pub(super) fn peer_moved(&mut self, id: PeerId, from: &Endpoint, now: Instant) {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        let way = peer.path.endpoint().filter(|w| w.channel.is_none());
        let is_old = now.since(peer.path.since()) > IS_NEW;
        if way.is_some() && is_old && from.channel.is_some() && self.knows_channel(from) {
            self.go_through(id, *from, now);
        }
    }

    /// The direct way is left for one through a relay, which is known to work.
    fn go_through(&mut self, id: PeerId, way: Endpoint, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        peer.places.settle();
        peer.path.prove(way, now);
        peer.places.search.resume(now);
        publish_route(peer);
        self.events.push_back(Event::Relayed(id));
        self.events.push_back(Event::RouteWanted(id, way.remote));
    }
}
