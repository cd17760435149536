//! How a NAT maps: a relay sees a member from two of its ports, and the member tells others which ports come next.
//!
//! # Why
//! Behind a NAT that takes another port for each destination, nobody knows the port that a peer's datagrams will be seen at. Many
//! such NATs count: the next destination gets the next port. So a member that two ports of a relay have seen at two ports close to
//! each other tells its peers the ones that follow. A peer whose own NAT keeps one port for all asks at these, which lets through
//! what comes from there, and one of them is where the member's questions come from. Where both ends are behind such NATs, and
//! where the ports are drawn by dice, the relay goes on.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Node;
use crate::drops::DropReason;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element, Guesses};
use crate::wire::vantage::{self, Cookie};

/// Copies of one look: one of them arrives.
const COPIES: usize = 3;
/// A member is told this often at most.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Ports of two destinations that are no further apart were given one after the other.
const NEXT: i32 = 10;
/// Ports that are told.
const GUESSES: u8 = 20;

/// The first NATs forget a port after this; at others a look shows the port that was given before, and costs nothing.
const OLD: Duration = Duration::from_secs(30);

/// What is seen from second ports, at both ends.
#[derive(Default)]
pub(super) struct Looks {
    /// Our own, when we are a relay.
    pub(super) second: SecondPort,
    /// Where relays see us from theirs.
    pub(super) seen: Vec<(PeerId, SocketAddr)>,
    /// How they ask to.
    pub(super) invitations: Vec<Invitation>,
    /// How our NAT counts, if it does.
    counting: Option<Counting>,
}

/// A relay's second port, and what it knows us by there.
pub(super) struct Invitation {
    relay: PeerId,
    port: u16,
    cookie: Cookie,
    followed_at: Instant,
}

/// A NAT that gives one port after the other.
#[derive(Clone, Copy)]
struct Counting {
    /// Whose looks have shown it.
    relay: PeerId,
    /// The last port that was seen.
    last: SocketAddr,
    /// From each to the next.
    step: i8,
}

/// At a relay: the second port, and who shows itself there with which cookie. One cookie for each member that is here.
#[derive(Default)]
pub(super) struct SecondPort {
    port: Option<u16>,
    cookies: HashMap<Cookie, PeerId>,
    /// The cookie that each has, and when it was told last what came with it.
    given: HashMap<PeerId, (Cookie, Option<Instant>)>,
}

impl Node {
    /// Members are looked at from this port of ours, too: what comes there is for [`Node::handle_look`].
    pub fn start_looking(&mut self, port: u16) {
        self.relays.looks.second.port = Some(port);
    }

    /// At a relay: gives a member something to show at the second port.
    pub(super) fn invite_look(&mut self, id: PeerId, now: Instant) {
        let Some(port) = self.relays.looks.second.port else {
            return;
        };
        self.forget_look(id);
        let mut cookie = [0; 16];
        self.entropy.fill(&mut cookie);
        let second = &mut self.relays.looks.second;
        second.cookies.insert(cookie, id);
        second.given.insert(id, (cookie, None));
        let body = control::write(Element::Look(port, cookie));
        self.send_control(id, &body, None, now);
    }

    /// At a relay: a member is gone.
    pub(super) fn forget_look(&mut self, id: PeerId) {
        let second = &mut self.relays.looks.second;
        if let Some((cookie, _)) = second.given.remove(&id) {
            second.cookies.remove(&cookie);
        }
    }

    /// Takes what came to the second port; its sender, if it is one of ours, is told inside the session where it came from.
    pub fn handle_look(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let cookie = vantage::read(bytes);
        let found = cookie.and_then(|c| self.relays.looks.second.cookies.get(&c).copied());
        let Some(id) = found else {
            return self.drop_one(DropReason::UnknownIndex);
        };
        let given = self.relays.looks.second.given.get_mut(&id);
        let is_due = given.is_some_and(|(_, told)| {
            let is_due = told.is_none_or(|at| now.since(at) >= TELL_EVERY);
            if is_due {
                *told = Some(now);
            }
            is_due
        });
        if !is_due {
            return;
        }
        let from = Endpoint::to(from).remote;
        let body = control::write(Element::Seen(from));
        self.send_control(id, &body, None, now);
    }

    /// A relay wants to see us from another of its ports.
    pub(super) fn take_look(&mut self, relay: PeerId, (port, cookie): (u16, Cookie), now: Instant) {
        if !self.serves(relay) || port == 0 {
            return;
        }
        let invitations = &mut self.relays.looks.invitations;
        invitations.retain(|i| i.relay != relay);
        let first = (invitations.len() + 1).saturating_sub(super::candidates::MOST_OBSERVED);
        invitations.drain(..first);
        invitations.push(Invitation {
            relay,
            port,
            cookie,
            followed_at: now,
        });
        self.look(relay, (port, cookie));
    }

    fn look(&mut self, relay: PeerId, (port, cookie): (u16, Cookie)) {
        let way = self
            .peers
            .get(relay.0 as usize)
            .and_then(|p| p.path.endpoint());
        // How a carrier's connection looks says nothing about UDP.
        let way = way.filter(|w| w.channel.is_none() && self.leg(w).is_none());
        if let Some(way) = way {
            let there = Endpoint {
                remote: SocketAddr::new(way.remote.ip(), port),
                ..way
            };
            for _ in 0..COPIES {
                self.outgoing.push(there, &vantage::write(cookie));
            }
        }
    }

    /// A search begins: where our NAT counts, and has forgotten what it gave to the relays' second ports, it gives others now.
    pub(super) fn look_again(&mut self, now: Instant) {
        if self.relays.looks.counting.is_none() {
            return;
        }
        let is_old = |i: &&mut Invitation| now.since(i.followed_at) >= OLD;
        let mut due = Vec::new();
        for invitation in self.relays.looks.invitations.iter_mut().filter(is_old) {
            invitation.followed_at = now;
            due.push((invitation.relay, (invitation.port, invitation.cookie)));
        }
        due.into_iter()
            .for_each(|(relay, what)| self.look(relay, what));
    }

    /// A relay tells where it sees us from its other port.
    pub(super) fn take_seen(&mut self, relay: PeerId, address: SocketAddr, now: Instant) {
        if !self.serves(relay) {
            return;
        }
        let before = self.guesses();
        let seen = &mut self.relays.looks.seen;
        seen.retain(|(r, _)| *r != relay);
        seen.push((relay, address));
        let first = seen.len().saturating_sub(super::candidates::MOST_OBSERVED);
        seen.drain(..first);
        self.learn_step(relay);
        if self.guesses() != before {
            self.tell_candidates(now);
        }
    }

    /// What the two ports of a relay say of our NAT. Ports far from each other were not given one after the other, which says
    /// nothing of a NAT that was seen to count; and other relays may see another NAT, or none.
    pub(super) fn learn_step(&mut self, relay: PeerId) {
        let looks = &mut self.relays.looks;
        let at =
            |all: &[(PeerId, SocketAddr)]| all.iter().find(|(r, _)| *r == relay).map(|(_, a)| *a);
        let (Some(first), Some(second)) = (at(&self.relays.observed), at(&looks.seen)) else {
            return;
        };
        let known = looks.counting.filter(|c| c.relay != relay);
        if known.is_some() {
            return;
        }
        let step = i32::from(second.port()) - i32::from(first.port());
        let is_same = first.ip() == second.ip();
        let before = looks.counting.take().filter(|c| c.last.ip() == second.ip());
        if !is_same || step == 0 {
            return;
        }
        let is_next = step.abs() <= NEXT;
        let step = before
            .map(|c| c.step)
            .or(is_next.then_some(step.signum() as i8));
        looks.counting = step.map(|step| Counting {
            relay,
            last: second,
            step,
        });
    }

    /// A relay is gone, and what it has seen.
    pub(super) fn forget_seen(&mut self, relay: PeerId) {
        let looks = &mut self.relays.looks;
        looks.seen.retain(|(r, _)| *r != relay);
        looks.invitations.retain(|i| i.relay != relay);
        looks.counting.take_if(|c| c.relay == relay);
    }

    /// Where relays see us from their second ports.
    pub fn seen_again(&self) -> &[(PeerId, SocketAddr)] {
        &self.relays.looks.seen
    }

    /// Whether our NAT gives one port after the other.
    pub fn counts_ports(&self) -> bool {
        self.relays.looks.counting.is_some()
    }

    /// The ports that our NAT gives next, if it counts.
    pub(super) fn guesses(&self) -> Option<Guesses> {
        let Counting { last, step, .. } = self.relays.looks.counting?;
        let next = last.port().checked_add_signed(i16::from(step))?;
        Some(Guesses {
            first: SocketAddr::new(last.ip(), next),
            step,
            count: GUESSES,
        })
    }

    /// A member tells at which ports it may be seen next.
    pub(super) fn take_guesses(&mut self, id: PeerId, guesses: Guesses) {
        if !self.is_kind(id, Kind::Member) {
            return;
        }
        let all = guesses.iter().filter(super::rendezvous::is_askable);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            peer.places.search.guess(all.collect());
        }
    }
}
