//! Those that were invited come to an admin behind a NAT by a relay of the network.
//!
//! # Why
//! An invitation names relays beside the places of its admin. A relay does not know the secret, so it could not tell whom to let in: the admin tells it the names of its open invitations, 8 bytes drawn by dice each, and whoever shows one of them in its handshake
//! is a visitor. It is let through to that admin and to nobody else, hears nothing of others, and is let go after a minute. To the admin it
//! proves itself by the secret, as if it had come directly; the relay sees nothing of that.
//!
//! Memory: [`MOST_EXPECTED`] names of each admin at a relay, [`MOST_DOORS`] channels of each relay at an admin; visitors count as those
//! who join.

use std::collections::HashMap;

use super::Node;
use crate::drops::DropReason;
use crate::keys::{Psks, PublicKey};
use crate::mesh::peer::Peer;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::asking::INVITE_LEN;
use crate::wire::control::{self, Element};
use crate::wire::record::Roles;
use crate::wire::relayed::Channel;

/// Names of invitations that one admin may have at a relay.
const MOST_EXPECTED: usize = 256;
/// Names in one message.
const AT_ONCE: usize = 100;
/// Relays are told this often, as long as there is an invitation,
const TELL_EVERY: Duration = Duration::from_secs(20);
/// and remember it for so long.
const EXPECTED: Duration = Duration::from_secs(60);
/// Channels at one relay by which somebody may come who is not known.
const MOST_DOORS: usize = 64;

type Name = [u8; INVITE_LEN];

/// Who is expected by whom, and where.
#[derive(Default)]
pub(super) struct Visiting {
    /// At a relay: whom each admin has told of, until when.
    expected: HashMap<PeerId, HashMap<Name, Instant>>,
    /// At an admin: channels to keys that are not known, the oldest first.
    doors: Vec<(PublicKey, PeerId, Channel)>,
    told_at: Option<Instant>,
}

impl Visiting {
    /// Whether a channel at a relay is one by which somebody may come.
    pub(super) fn has_door(&self, relay: PeerId, channel: Channel) -> bool {
        let is_it = |(_, r, c): &(PublicKey, PeerId, Channel)| *r == relay && *c == channel;
        self.doors.iter().any(is_it)
    }

    /// There is something new to be told.
    pub(super) fn tell_soon(&mut self) {
        self.told_at = None;
    }

    /// A relay is gone, and its channels.
    pub(super) fn close_doors(&mut self, relay: PeerId) {
        self.doors.retain(|(_, r, _)| *r != relay);
    }

    /// Who had this number is nobody any more.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.expected.remove(&id);
        self.close_doors(id);
    }
}

impl Node {
    /// The relays of the network that we reach directly: their records say that they are, and they do relay.
    pub fn network_relays(&self) -> Vec<PeerId> {
        let relays = self.peers.iter().filter(|p| self.is_network_relay(p));
        relays.map(|p| p.id).collect()
    }

    fn is_network_relay(&self, peer: &Peer) -> bool {
        let is_direct = peer.path.endpoint().is_some_and(|w| w.channel.is_none());
        let observed = &self.relays.observed;
        let is_here = peer.serves() && peer.up_since.is_some() && is_direct;
        is_here
            && observed.iter().any(|(relay, _)| *relay == peer.id)
            && self.roles_of(peer).is_some_and(|r| r.has(Roles::RELAY))
    }

    /// Tells the relays of the network whom we have invited: at once, as there is something new.
    pub(super) fn tell_expected(&mut self, now: Instant) {
        self.directory.visiting.told_at = Some(now);
        let names: Vec<Name> = self.open_invites(now).collect();
        for relay in self.network_relays() {
            for some in names.chunks(AT_ONCE) {
                let body = control::write(Element::Expected(some.as_flattened()));
                self.send_control(relay, &body, None, now);
            }
        }
    }

    /// Once a second: tells them again, in time.
    pub(super) fn go_on_expecting(&mut self, now: Instant) {
        let told_at = self.directory.visiting.told_at;
        if told_at.is_none_or(|at| now.since(at) >= TELL_EVERY) {
            self.tell_expected(now);
        }
        for names in self.directory.visiting.expected.values_mut() {
            names.retain(|_, until| now < *until);
        }
    }

    /// An admin says whom it has invited.
    pub(super) fn take_expected(&mut self, id: PeerId, names: &[u8], now: Instant) {
        let peer = self.peers.get(id.0 as usize);
        let roles = peer.and_then(|p| self.roles_of(p));
        let is_admin = roles.is_some_and(|roles| roles.has(Roles::ADMIN));
        if !is_admin || !self.relays.serving.is_on {
            return self.drop_one(DropReason::UnknownControl);
        }
        let known = self.directory.visiting.expected.entry(id).or_default();
        let (names, _) = names.as_chunks::<INVITE_LEN>();
        for name in names {
            known.insert(*name, now + EXPECTED);
            if known.len() > MOST_EXPECTED {
                // One that is not told any more goes first.
                let first = known.iter().min_by_key(|(_, until)| **until);
                let first = first.map(|(name, _)| *name);
                first.and_then(|first| known.remove(&first));
            }
        }
    }

    /// Whether an admin has told of this invitation.
    pub(super) fn is_expected(&self, name: &Name, by: Option<PeerId>, now: Instant) -> bool {
        let mut expected = self.directory.visiting.expected.iter();
        expected.any(|(id, names)| {
            let is_by = by.is_none_or(|by| by == *id);
            is_by && names.get(name).is_some_and(|until| now < *until)
        })
    }

    /// What a visitor is told of channels: to whom it was invited by, whether that has asked for one or not.
    pub(super) fn channel_for_visitor(
        &mut self,
        (id, name): (PeerId, Name),
        wanted: PublicKey,
        now: Instant,
    ) {
        let host = self.find(&wanted);
        let host = host.filter(|host| self.is_expected(&name, Some(*host), now));
        let channel = host.and_then(|host| self.channel_between(id, host));
        let own = self.peers.get(id.0 as usize).map(Peer::known_as);
        if let (Some(host), Some(own), Some(_)) = (host, own, channel) {
            // Each time, as it may have been lost.
            self.tell_channel(host, own, channel, now);
        }
        self.tell_channel(id, wanted, channel, now);
    }

    /// A relay tells of a channel to somebody whom we do not know: it may be one that we have invited.
    pub(super) fn note_door(
        &mut self,
        relay: PeerId,
        (key, channel): (PublicKey, Option<Channel>),
        now: Instant,
    ) {
        if self.open_invites(now).next().is_none() {
            return;
        }
        let peer = self.peers.get(relay.0 as usize);
        let is_of_network = peer.is_some_and(|p| self.is_network_relay(p));
        let doors = &mut self.directory.visiting.doors;
        doors.retain(|(k, r, _)| (*k, *r) != (key, relay));
        let Some(channel) = channel.filter(|_| is_of_network) else {
            return;
        };
        // Each relay has its own.
        if doors.iter().filter(|(_, r, _)| *r == relay).count() >= MOST_DOORS {
            let oldest = doors.iter().position(|(_, r, _)| *r == relay);
            oldest.map(|at| doors.remove(at));
        }
        doors.push((key, relay, channel));
    }

    /// Somebody that was invited has come: by the doors that there are for its key it is reached.
    pub(super) fn open_doors(&mut self, id: PeerId, key: &PublicKey) {
        let doors = &self.directory.visiting.doors;
        let own = doors.iter().filter(|(k, ..)| k == key);
        let own: Vec<_> = own.map(|(_, relay, channel)| (*relay, *channel)).collect();
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            for (relay, channel) in own {
                peer.places.set_channel(relay, Some(channel));
            }
        }
    }

    /// The pre-shared keys of a session with somebody that shows this invitation; `None` where nobody has made it.
    pub(super) fn psks_of_invited(&self, name: &Name, now: Instant) -> Option<Psks> {
        match self.secret_of(name) {
            Some(secret) => Some(Psks::of(Some(secret))),
            // It proves itself to whom it visits.
            None => self.is_expected(name, None, now).then(Psks::default),
        }
    }
}
