//! Members bring each other together: who has shown a record is introduced to the others, and they to it, with where they are seen.
//!
//! # Why
//! A record is proof by itself, so it may come from anybody: one member that is known is enough to find all of them, and nobody
//! keeps a list. Each member has a place in a row that it gets when it comes up, and each peer is told of the row from where it was told
//! last: a few at a time, so a newcomer to a large network is not flooded. What is told is checked as in a handshake, and
//! whoever is introduced still has to prove that it has the key.

use std::collections::{BTreeMap, HashMap};

use super::Node;
use super::rendezvous::is_askable;
use crate::drops::DropReason;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::control::{self, Element};
use crate::wire::record::{MemberId, Record};

/// Introductions to one peer at a time: each second, and when it comes.
const AT_ONCE: usize = 50;
/// Calls in a second at addresses that others have told, to all together.
const MOST_CALLS: u64 = 50;

/// Who is introduced to whom.
#[derive(Default)]
pub(super) struct Introductions {
    /// Those with a record, in the order in which they came.
    row: BTreeMap<u64, MemberId>,
    /// Each with its place in the row, its number, and its record.
    members: HashMap<MemberId, (u64, PeerId, Vec<u8>)>,
    next: u64,
    /// How far in the row each peer was told.
    told: HashMap<PeerId, u64>,
}

impl Introductions {
    /// Somebody has shown this record, and is introduced to the others once it is connected.
    pub(super) fn note(&mut self, member: MemberId, (id, record): (PeerId, Vec<u8>)) {
        let known = self.members.get(&member);
        if known.is_some_and(|(_, owner, before)| *owner == id && *before == record) {
            return;
        }
        self.put_last(member, (id, record));
    }

    fn put_last(&mut self, member: MemberId, (id, record): (PeerId, Vec<u8>)) {
        let place = self.next;
        self.next += 1;
        if let Some((old, ..)) = self.members.insert(member, (place, id, record)) {
            self.row.remove(&old);
        }
        self.row.insert(place, member);
    }

    /// Who had this number is nobody any more.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.told.remove(&id);
        let row = &mut self.row;
        self.members.retain(|_, (place, owner, _)| {
            if *owner == id {
                row.remove(place);
            }
            *owner != id
        });
    }

    /// A peer has come anew: it is told of all, and all of it.
    fn greet(&mut self, id: PeerId) {
        self.told.remove(&id);
        let known = self.members.iter().find(|(_, (_, owner, _))| *owner == id);
        if let Some((member, record)) = known.map(|(m, (_, _, record))| (*m, record.clone())) {
            self.put_last(member, (id, record));
        }
    }
}

impl Node {
    /// A peer is connected: it hears of the others, and they of it.
    pub(super) fn introduce(&mut self, id: PeerId, now: Instant) {
        let Some(network) = self.directory.network.as_mut() else {
            return;
        };
        network.introductions.greet(id);
        self.go_on_introducing(now);
    }

    /// Once a second: tells each peer of some that it has not heard of.
    pub(super) fn go_on_introducing(&mut self, now: Instant) {
        let Some(network) = &self.directory.network else {
            return;
        };
        if network.introductions.row.is_empty() {
            return;
        }
        let members = self.peers.iter();
        let members = members.filter(|p| p.settings.kind == Kind::Member && p.up_since.is_some());
        let ids: Vec<PeerId> = members.map(|p| p.id).collect();
        for id in ids {
            self.tell_of_others(id, now);
        }
    }

    fn tell_of_others(&mut self, id: PeerId, now: Instant) {
        let Some(network) = &self.directory.network else {
            return;
        };
        let Introductions {
            row, members, told, ..
        } = &network.introductions;
        let from = told.get(&id).map_or(0, |last| last + 1);
        let mut bodies = Vec::new();
        let mut last = None;
        for (place, member) in row.range(from..).take(AT_ONCE) {
            last = Some(*place);
            let Some((_, owner, record)) = members.get(member) else {
                continue;
            };
            let peer = self.peers.get(owner.0 as usize);
            // Who is not here gets a place further on when it comes.
            let Some(peer) = peer.filter(|p| p.up_since.is_some() && *owner != id) else {
                continue;
            };
            let way = peer.path.endpoint().filter(|way| way.channel.is_none());
            let seen = way
                .filter(|way| self.leg(way).is_none())
                .map(|way| way.remote);
            bodies.push(control::write(Element::Member(record, seen)));
        }
        if let (Some(last), Some(network)) = (last, &mut self.directory.network) {
            network.introductions.told.insert(id, last);
        }
        for body in bodies {
            self.send_control(id, &body, None, now);
        }
    }

    /// A member tells of another.
    pub(super) fn take_member(
        &mut self,
        from: PeerId,
        (bytes, seen): (&[u8], Option<std::net::SocketAddr>),
        now: Instant,
    ) {
        if !self.is_kind(from, Kind::Member) || self.directory.network.is_none() {
            return self.drop_one(DropReason::UnknownControl);
        }
        match self.settle_introduced(bytes, now) {
            Ok(Some(id)) => {
                let Some(peer) = self.peers.get(id.0 as usize) else {
                    return;
                };
                let mut places = peer.places.known.clone();
                let is_new = seen.filter(is_askable).filter(|at| !places.contains(at));
                // One place that others have told is enough, and the last is the best.
                // What a member says makes us call somewhere: few a second, whoever says it.
                let is_few = self.relays.introduced.admit_most(MOST_CALLS, now);
                if let (None, Some(at), true) = (peer.up_since, is_new, is_few) {
                    places = vec![at];
                    self.set_endpoints(id, places, now);
                }
            }
            Ok(None) => {}
            Err(reason) => self.drop_one(reason),
        }
    }

    /// The number of somebody of whom another has told, if it is not here already.
    fn settle_introduced(
        &mut self,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Option<PeerId>, DropReason> {
        let (record, _) = Record::parse(bytes).map_err(|_| DropReason::RecordRefused)?;
        let key = crate::keys::PublicKey::from_bytes(record.key);
        if self.names().has(&key) || self.is_own_member(&record.member) {
            return Ok(None);
        }
        if self.is_here(&record) {
            return Ok(None);
        }
        let short = Record::shortened(bytes).ok_or(DropReason::RecordRefused)?;
        let record = self.check_record(&short, &key)?;
        self.check_recorded(&record, now)?;
        self.settle_record(&record, (bytes, now)).map(Some)
    }
}
