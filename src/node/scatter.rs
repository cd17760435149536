//! Meeting a peer behind a NAT that draws its ports by dice, where the configuration allows it.
//!
//! # Why
//! Such a NAT gives every destination a port that nobody can know. But one who opens 256 ports towards a peer, each from a
//! socket of its own, is found by that peer with a thousand questions at ports drawn by dice, in 98 of 100 cases: the birthday
//! problem. The peer's own NAT has to keep one port. That is a lot of packets for two members that a relay connects already, so
//! both have to allow it, it is tried every ten minutes at most, and by a member with one peer at a time.
//!
//! The hard side asks whether the other one is willing (an address with port 0: where it will be asked); the other answers with
//! the address that the ports shall be opened towards, and begins to ask.

use std::net::{IpAddr, SocketAddr};

use super::legs::Rank;
use super::rendezvous::{is_askable, is_outside};
use super::{Event, Node};
use crate::mesh::outgoing::Outgoing;
use crate::mesh::places::Scatter;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element};
use crate::wire::inner::TYPE_CONTROL;

/// A pair tries it this often at most, and a member with anybody.
const AGAIN: Duration = Duration::from_secs(600);
const NEXT: Duration = Duration::from_secs(15);
/// An answer to our wish is of use for so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Questions, so many at a time, this far apart: 160 a second.
const QUESTIONS: u16 = 1024;
const AT_ONCE: u16 = 8;
const PAUSE: Duration = Duration::from_millis(50);
/// NATs give no ports below.
const FIRST_PORT: u32 = 1024;

/// What a member does with all peers together.
#[derive(Default)]
pub(super) struct Scattering {
    is_allowed: bool,
    last: Option<Instant>,
}

impl Node {
    /// Allows it, from now on.
    pub fn allow_scatter(&mut self) {
        self.relays.scattering.is_allowed = true;
    }

    /// Whether it is allowed, and this pair's turn; if so that is used up.
    fn takes_turn(&mut self, id: PeerId, now: Instant) -> bool {
        let is_allowed = self.relays.scattering.is_allowed;
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return false;
        };
        let scatter = &mut peer.places.scatter;
        let is_due = scatter.last.is_none_or(|at| now.since(at) >= AGAIN);
        if is_allowed && is_due {
            scatter.last = Some(now);
        }
        is_allowed && is_due
    }

    /// Whether nothing is done with another peer; if so, something is now.
    fn is_free(&mut self, now: Instant) -> bool {
        let scattering = &mut self.relays.scattering;
        let is_free = scattering.last.is_none_or(|at| now.since(at) >= NEXT);
        if is_free {
            scattering.last = Some(now);
        }
        is_free
    }

    /// The address on our NAT's outside, and whether it gives each destination a port that nobody knows; `None` when that is
    /// not known.
    fn outside(&self) -> Option<(SocketAddr, bool)> {
        let pair = self.relays.looks.seen.iter().find_map(|(relay, second)| {
            let first = self.relays.observed.iter().find(|(r, _)| r == relay)?.1;
            (first.is_ipv4() && first.ip() == second.ip()).then_some((first, *second))
        });
        let (first, second) = pair?;
        Some((first, first.port() != second.port() && !self.counts_ports()))
    }

    /// A burst of questions has found no direct way: is this a case for it?
    pub(super) fn wish_scatter(&mut self, id: PeerId, now: Instant) {
        let is_relayed = self.rank_of(id) == Some(Rank::Relayed);
        let Some((outside, true)) = self.outside().filter(|_| is_relayed) else {
            return;
        };
        if self.takes_turn(id, now) {
            if let Some(peer) = self.peers.get_mut(id.0 as usize) {
                peer.places.scatter.wished_at = Some(now);
            }
            let wish = SocketAddr::new(outside.ip(), 0);
            let body = control::write(Element::Scatter(wish));
            self.send_control(id, &body, None, now);
        }
    }

    /// A peer wishes it, or is willing.
    pub(super) fn take_scatter(&mut self, id: PeerId, address: SocketAddr, now: Instant) {
        let is_relayed = self.rank_of(id) == Some(Rank::Relayed);
        if !is_relayed || !address.is_ipv4() || !is_askable(&SocketAddr::new(address.ip(), 1)) {
            return;
        }
        match address.port() {
            0 => self.be_found(id, address.ip(), now),
            _ => self.open_ports(id, address, now),
        }
    }

    /// It has so many ports there: asks at all there are, by dice.
    fn be_found(&mut self, id: PeerId, ip: IpAddr, now: Instant) {
        let Some((outside, false)) = self.outside() else {
            return;
        };
        // It says itself where it is: but it is asked nowhere else, and not in our own network.
        let peer = self.peers.get(id.0 as usize);
        let is_told = peer.is_some_and(|p| p.places.told.iter().any(|a| a.ip() == ip));
        let is_there = is_told && is_outside(&SocketAddr::new(ip, 1));
        if !is_there || !self.takes_turn(id, now) || !self.is_free(now) {
            return;
        }
        let body = control::write(Element::Scatter(outside));
        self.send_control(id, &body, None, now);
        let mut token = [0; 8];
        self.entropy.fill(&mut token);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            peer.places.scatter.ask(ip, token, (QUESTIONS, now));
        }
    }

    /// It asks from there: opens many ports towards it.
    fn open_ports(&mut self, id: PeerId, to: SocketAddr, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        // One answer to one wish, and a place that it has told: that is its own word, so no more than these ports go there.
        let wished = peer.places.scatter.wished_at.take();
        let is_answer = wished.is_some_and(|at| now.since(at) < ANSWER_WITHIN);
        let is_told = peer.places.told.contains(&to) && is_outside(&to);
        if !is_answer || !is_told || !self.is_free(now) {
            return;
        }
        let mut token = [0; 8];
        self.entropy.fill(&mut token);
        // The same from each port: whichever passes first is a question like any other.
        let body = control::write(Element::PathChallenge(token));
        let mut out = Outgoing::default();
        let there = crate::mesh::path::Endpoint::to(to);
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        let sent = peer
            .link
            .send_message(TYPE_CONTROL, &body, Some(there), &mut out, now);
        let first = out.iter().next().map(|(_, bytes)| bytes.to_vec());
        if let (Ok(()), Some(datagram)) = (sent, first) {
            self.events.push_back(Event::Scatter(id, to, datagram));
        }
    }

    /// Asks some more.
    pub(super) fn step_scatter(&mut self, id: PeerId, now: Instant) {
        let is_relayed = self.rank_of(id) == Some(Rank::Relayed);
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Scatter { next_at, .. } = &mut peer.places.scatter;
        if next_at.is_none_or(|at| now < at) {
            return;
        }
        let (true, Some((ip, token))) =
            (is_relayed, peer.places.scatter.step(AT_ONCE, now + PAUSE))
        else {
            peer.places.scatter.rest();
            return;
        };
        let body = control::write(Element::PathChallenge(token));
        for _ in 0..AT_ONCE {
            let span = u32::from(u16::MAX) + 1 - FIRST_PORT;
            let port = FIRST_PORT + self.entropy.next_u32() % span;
            let to = SocketAddr::new(ip, u16::try_from(port).unwrap_or(u16::MAX));
            let to = crate::mesh::path::Endpoint::to(to);
            self.send_control(id, &body, Some(to), now);
        }
    }
}
