//! Where we may be reached, and how others are told.

use std::net::SocketAddr;

use super::Node;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Addresses, Element, MAX_CANDIDATES};

/// Addresses that relays have seen us at.
pub(super) const MOST_OBSERVED: usize = 4;
/// All are told our addresses this often at most.
const TELL_EVERY: Duration = Duration::from_secs(2);

impl Node {
    /// Tells which port of the router leads to ours.
    pub fn set_mapped(&mut self, outside: Option<SocketAddr>, now: Instant) {
        if self.relays.mapped != outside {
            self.relays.mapped = outside;
            self.tell_candidates(now);
        }
    }

    /// The port of the router that leads to ours.
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.relays.mapped
    }

    /// Our own addresses, and where relays see us.
    pub fn seen_at(&self) -> (&[SocketAddr], &[(PeerId, SocketAddr)]) {
        (&self.relays.local, &self.relays.observed)
    }

    /// A relay tells where it sees us.
    pub(super) fn take_observed(&mut self, relay: PeerId, address: SocketAddr, now: Instant) {
        if !self.serves(relay) {
            return;
        }
        let mut before = self.relays.observed.clone();
        self.relays.observed.retain(|(r, _)| *r != relay);
        self.relays.observed.push((relay, address));
        let most = MOST_OBSERVED.min(self.relays.observed.len());
        let first = self.relays.observed.len() - most;
        self.relays.observed.drain(..first);
        self.learn_step(relay);
        let mut after = self.relays.observed.clone();
        before.sort_unstable();
        after.sort_unstable();
        if before != after {
            self.tell_candidates(now);
        }
    }

    /// Tells all connected members where we may be reached.
    pub(super) fn tell_candidates(&mut self, now: Instant) {
        let next = self.relays.told_at.map(|at| at + TELL_EVERY);
        if let Some(next) = next.filter(|next| now < *next) {
            self.relays.tell_at = Some(next);
            return;
        }
        (self.relays.told_at, self.relays.tell_at) = (Some(now), None);
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
        let outside = observed.chain(self.relays.mapped);
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in outside.chain(self.relays.local.iter().copied()) {
            if !all.contains(&address) && all.len() < MAX_CANDIDATES {
                all.push(address);
            }
        }
        let bytes: Vec<u8> = all.into_iter().flat_map(control::address_bytes).collect();
        if let Some(addresses) = Addresses::new(&bytes).filter(|_| !bytes.is_empty()) {
            let body = control::write(Element::Candidates(addresses));
            // Before these, which begin a search.
            if let Some(guesses) = self.guesses() {
                let body = control::write(Element::Guesses(guesses));
                self.send_control(id, &body, None, now);
            }
            self.send_control(id, &body, None, now);
            self.ask_for_word(id, now);
        }
    }

    /// Has a member that is not reached directly say that what we have sent it is there.
    fn ask_for_word(&mut self, id: PeerId, now: Instant) {
        if self.is_best(id) {
            return;
        }
        let mut word = [0u8; 8];
        self.entropy.fill(&mut word);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            peer.places.search.told(word);
        }
        let body = control::write(Element::PathChallenge(word));
        self.send_control(id, &body, None, now);
    }
}
