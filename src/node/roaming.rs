//! What happens when we, or a peer, are somewhere else than before.
//!
//! # Why
//! Who moves is told by its host, mostly, and can tell others; who does not know it finds out by silence. A question from the new
//! address tells a peer where we are, if it arrives: behind a NAT it does not. So the relay is asked at the same time, and as
//! soon as that answers, the peer hears through it that the direct way leads nowhere: both go on through the relay at once
//! instead of after three silences.

use super::Node;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element};

/// A direct way that was found so shortly before is one to where the peer is now.
const IS_NEW: Duration = Duration::from_millis(500);

impl Node {
    /// We may be somewhere else: all hear from us at once.
    pub(super) fn roamed(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            if peer.up_since.is_none() || peer.settings.kind == Kind::Client {
                continue;
            }
            let way = peer.path.endpoint();
            peer.places.is_behind = way.is_some_and(|w| w.channel.is_none());
            peer.places.doubt = None;
            self.doubt(id, now);
        }
    }

    /// A relay is reached from where we are now: those who do not answer directly are told through it.
    pub(super) fn relay_answered(&mut self, relay: PeerId, now: Instant) {
        if !self.is_kind(relay, Kind::Relay) {
            return;
        }
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let is_behind = self.peers.get(index).is_some_and(|p| p.places.is_behind);
            let is_member = self.is_kind(id, Kind::Member);
            let way = self.ways(id).into_iter().find(|w| w.channel.is_some());
            let Some(way) = way.filter(|_| is_behind && is_member) else {
                continue;
            };
            let body = control::write(Element::Moved);
            self.send_control(id, &body, Some(way), now);
            if let Some(peer) = self.peers.get_mut(index) {
                peer.places.is_behind = false;
                peer.places.doubt = None;
            }
            self.fall_back(id, now);
        }
    }

    /// A peer says through a relay that it is somewhere else.
    pub(super) fn peer_moved(&mut self, id: PeerId, from: &Endpoint, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let way = peer.path.endpoint().filter(|w| w.channel.is_none());
        let is_old = now.since(peer.path.since()) > IS_NEW;
        if way.is_some() && is_old && from.channel.is_some() {
            peer.places.doubt = None;
            self.fall_back(id, now);
        }
    }
}
