//! Members bring each other together: who has shown a record is introduced to the others, and they to it, with where they are seen.
//!
//! # Why
//! A record is proof by itself, so it may come from anybody: one member that is known is enough to find all of them, and nobody
//! keeps a list. Each member has a place in a row that it gets when it comes up, and each peer is told of the row from where it was told
//! last: a few at a time, so a newcomer to a large network is not flooded. What is told is checked as in a handshake, and
//! whoever is introduced still has to prove that it has the key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use super::Node;
use super::admitting::{Believed, By, may_be_taken_later};
use super::plane::PerSecond;
use super::rendezvous::is_askable;
use super::telling::Telling;
use crate::drops::DropReason;
use crate::keys::PublicKey;
use crate::mesh::peer::{Kind, Pass};
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::InBatch;
use crate::wire::proof::Proof;
use crate::wire::record::MemberId;

/// Calls in a second at addresses that one member has told,
const MOST_CALLS: u64 = 50;
/// and that all have.
const MOST_CALLS_OF_ALL: u64 = 200;
/// Records that are looked at in a second for one member that tells of them: a signature is 50 us of work.
const MOST_LOOKS: u64 = 100;
/// Addresses of one that is not connected, each told by another.
const MOST_PLACES: usize = 4;
/// Who comes again and again is told of all, and all of it, this often.
const CALM: Duration = Duration::from_secs(10);

/// Who is introduced to whom.
#[derive(Default)]
pub(super) struct Introductions {
    /// Those with a record, in the order in which they came.
    row: BTreeMap<u64, MemberId>,
    members: HashMap<MemberId, Introduced>,
    next: u64,
    /// How far in the row each peer was told.
    pub(super) telling: HashMap<PeerId, Telling>,
    /// When each peer was told of all, and all of it.
    greeted: HashMap<PeerId, Instant>,
    /// Who came again since, too early.
    waiting: BTreeSet<PeerId>,
    /// What each peer that tells of others may still cost.
    tellers: HashMap<PeerId, Allowance>,
    /// The same for what is announced on LANs, whoever it is by.
    lan: Allowance,
}

/// A member with a record.
pub(super) struct Introduced {
    /// Its place in the row.
    place: u64,
    serial: u64,
    pub(super) owner: PeerId,
    pub(super) record: Vec<u8>,
}

/// What telling of others costs us.
#[derive(Default)]
struct Allowance {
    looks: PerSecond,
    calls: PerSecond,
    /// The batch that it is telling, and what came of it.
    heard: (u32, u64),
}

impl Introductions {
    /// Somebody has shown this record, and is introduced to the others once it is connected.
    pub(super) fn note(
        &mut self,
        (member, serial): (MemberId, u64),
        (id, record): (PeerId, Vec<u8>),
    ) {
        let known = self.members.get(&member);
        // An older one never takes the place of a newer, nor one of the same age that of another peer.
        if known.is_some_and(|m| m.serial > serial || m.serial == serial && m.record != record) {
            return;
        }
        if known.is_some_and(|m| m.owner == id && m.record == record) {
            return;
        }
        self.put_last((member, serial), (id, record));
    }

    /// Whether just this is known of a peer.
    pub(super) fn knows_of(&self, id: PeerId, record: &[u8]) -> bool {
        let is_known = |m: &Introduced| m.owner == id && m.record == record;
        self.members.values().any(is_known)
    }

    /// Whether another record that a peer tells is to be looked at, or too much.
    pub(super) fn may_look(&mut self, id: PeerId, now: Instant) -> bool {
        let teller = self.tellers.entry(id).or_default();
        teller.looks.admit_most(MOST_LOOKS, now)
    }

    fn put_last(&mut self, (member, serial): (MemberId, u64), (owner, record): (PeerId, Vec<u8>)) {
        let place = self.next;
        self.next += 1;
        let introduced = Introduced {
            place,
            serial,
            owner,
            record,
        };
        if let Some(old) = self.members.insert(member, introduced) {
            self.row.remove(&old.place);
        }
        self.row.insert(place, member);
    }

    /// The record of somebody in the row, and whose number that is.
    pub(super) fn introduced(&self, member: &MemberId) -> Option<&Introduced> {
        self.members.get(member)
    }

    /// Those in the row from a place on.
    pub(super) fn row_from(&self, from: u64) -> impl Iterator<Item = (u64, MemberId)> {
        let places = self.row.range(from..);
        places.map(|(place, member)| (*place, *member))
    }

    /// What came of a batch that a peer has told.
    pub(super) fn heard_of(&self, id: PeerId, batch: u32) -> u64 {
        let teller = self.tellers.get(&id);
        teller.map_or(0, |teller| match teller.heard {
            (number, which) if number == batch => which,
            _ => 0,
        })
    }

    /// Something that a peer told was listened to.
    fn hear(&mut self, id: PeerId, place: InBatch) {
        let heard = &mut self.tellers.entry(id).or_default().heard;
        if heard.0 != place.batch {
            *heard = (place.batch, 0);
        }
        heard.1 |= 1 << (u32::from(place.index) % u64::BITS);
    }

    /// Who had this number is nobody any more.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.telling.remove(&id);
        self.greeted.remove(&id);
        self.waiting.remove(&id);
        self.tellers.remove(&id);
        let row = &mut self.row;
        self.members.retain(|_, member| {
            if member.owner == id {
                row.remove(&member.place);
            }
            member.owner != id
        });
    }

    /// A peer has come anew: it is told of all, and all of it. Not at once if it came a moment ago: each time costs a message for each
    /// member, and whoever comes says that it is new.
    fn greet(&mut self, id: PeerId, now: Instant) -> bool {
        let last = self.greeted.get(&id);
        if last.is_some_and(|at| now.since(*at) < CALM) {
            self.waiting.insert(id);
            return false;
        }
        self.waiting.remove(&id);
        self.greeted.insert(id, now);
        self.telling.remove(&id);
        let known = self.members.iter().find(|(_, m)| m.owner == id);
        if let Some((named, record)) = known.map(|(m, i)| ((*m, i.serial), i.record.clone())) {
            self.put_last(named, (id, record));
        }
        true
    }

    /// Who has waited long enough to be greeted again.
    fn due(&self, now: Instant) -> Vec<PeerId> {
        let is_due = |id: &&PeerId| {
            let last = self.greeted.get(id);
            last.is_none_or(|at| now.since(*at) >= CALM)
        };
        self.waiting.iter().filter(is_due).copied().collect()
    }

    /// Whether just this record is known, and need not be looked at again.
    fn has(&self, member: &MemberId, record: &[u8]) -> bool {
        let known = self.members.get(member);
        known.is_some_and(|known| known.record == record)
    }

    /// The record that a peer has shown.
    pub(super) fn record_of(&self, id: PeerId) -> Option<&[u8]> {
        let known = self.members.values().find(|known| known.owner == id);
        known.map(|known| &known.record[..])
    }

    fn owner(&self, member: &MemberId) -> Option<PeerId> {
        self.members.get(member).map(|known| known.owner)
    }
}

impl Node {
    /// A peer is connected: it hears of the others, and they of it.
    pub(super) fn introduce(&mut self, id: PeerId, now: Instant) {
        let Some(network) = self.directory.network.as_mut() else {
            return;
        };
        if network.introductions.greet(id, now) {
            self.tell_all_of_others(now);
        }
    }

    /// Once a second: tells each peer of some that it has not heard of.
    pub(super) fn go_on_introducing(&mut self, now: Instant) {
        let Some(network) = self.directory.network.as_mut() else {
            return;
        };
        for id in network.introductions.due(now) {
            network.introductions.greet(id, now);
        }
        self.tell_all_of_others(now);
    }

    fn tell_all_of_others(&mut self, now: Instant) {
        let Some(network) = &self.directory.network else {
            return;
        };
        if network.introductions.row.is_empty() && network.own.is_none() {
            return;
        }
        let members = self.peers.iter();
        let members = members.filter(|p| {
            let is_guest = matches!(p.settings.pass, Pass::Invite(_) | Pass::Invited(_));
            p.settings.kind == Kind::Member && p.up_since.is_some() && !is_guest
        });
        let ids: Vec<PeerId> = members.map(|p| p.id).collect();
        for id in ids {
            self.tell_of_others(id, now);
        }
    }

    /// A member tells of another.
    pub(super) fn take_member(
        &mut self,
        from: PeerId,
        (bytes, seen, place): (&[u8], Option<SocketAddr>, InBatch),
        now: Instant,
    ) {
        if !self.may_introduce(from) {
            return self.drop_one(DropReason::UnknownControl);
        }
        let sender = self
            .peers
            .get(from.0 as usize)
            .map(|p| p.settings.key.current);
        let is_its_own = |key: &[u8; 32]| Proof::parse(bytes).is_ok_and(|p| p.record.key == *key);
        if sender.is_some_and(|key| is_its_own(key.as_bytes())) {
            if self.take_record_of(from, bytes, now) {
                self.note_heard(from, place);
            }
            return;
        }
        let teller = self.peers.get(from.0 as usize);
        if teller.is_some_and(|p| p.settings.pass == Pass::Awaited) {
            return self.drop_one(DropReason::UnknownControl);
        }
        let settled = self.settle_introduced(Some(from), bytes, now);
        // What may be taken later is to be told again; what is not believed is not.
        let is_heard = !settled.is_err_and(may_be_taken_later);
        if is_heard {
            self.note_heard(from, place);
        }
        match settled {
            Ok(Some(id)) => self.note_place(from, (id, seen), now),
            Ok(None) => {}
            Err(reason) => self.drop_one(reason),
        }
    }

    /// Whether a peer may tell of others: a member, and a relay that is named, since it knows who comes to it. What they say is proof by
    /// itself.
    pub(super) fn may_introduce(&self, from: PeerId) -> bool {
        let is_one = self.is_kind(from, Kind::Member) || self.is_kind(from, Kind::Relay);
        is_one && self.directory.network.is_some()
    }

    /// Whether a peer has told of others, and so is of the network, whatever it is else.
    pub(super) fn introduces(&self, id: PeerId) -> bool {
        let network = self.directory.network.as_ref();
        network.is_some_and(|n| n.introductions.tellers.contains_key(&id))
    }

    fn note_heard(&mut self, from: PeerId, place: InBatch) {
        if let Some(network) = &mut self.directory.network {
            network.introductions.hear(from, place);
        }
    }

    /// Where one that is not connected may be, as a member says: it makes us call there, so few are called, whoever says it, and what
    /// one says does not take the place of what others say.
    fn note_place(&mut self, from: PeerId, (id, seen): (PeerId, Option<SocketAddr>), now: Instant) {
        let peer = self.peers.get_mut(id.0 as usize);
        let (Some(peer), Some(at)) = (peer, seen.filter(is_askable)) else {
            return;
        };
        let places = &mut peer.places;
        if peer.up_since.is_some() || places.known.contains(&at) {
            return;
        }
        let network = self.directory.network.as_mut();
        let teller = network.and_then(|n| n.introductions.tellers.get(&from));
        let is_few = teller.is_none_or(|t| t.calls.admit_most(MOST_CALLS, now));
        if !is_few || !self.relays.introduced.admit_most(MOST_CALLS_OF_ALL, now) {
            return;
        }
        let introduced = &mut places.acquaintance.introduced;
        introduced.retain(|(by, _)| *by != from);
        introduced.insert(0, (from, at));
        introduced.truncate(MOST_PLACES);
        let known = introduced.iter().map(|(_, at)| *at).collect();
        self.set_endpoints(id, known, now);
    }

    /// The number of somebody of whom another has told, or who is announced on the LAN, if it is not here already.
    pub(super) fn settle_introduced(
        &mut self,
        from: Option<PeerId>,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Option<PeerId>, DropReason> {
        let proof = Proof::parse(bytes).map_err(|_| DropReason::RecordRefused)?;
        let (key, member) = (PublicKey::from_bytes(proof.record.key), proof.record.member);
        let is_ours = self.names().has(&key) || self.is_own_member(&member);
        if is_ours || self.is_here(&proof.record) {
            return Ok(None);
        }
        let network = self.directory.network.as_mut();
        let network = network.ok_or(DropReason::UnknownControl)?;
        let introductions = &mut network.introductions;
        if introductions.has(&member, bytes) {
            return Ok(introductions.owner(&member));
        }
        let teller = match from {
            Some(from) => introductions.tellers.entry(from).or_default(),
            None => &mut introductions.lan,
        };
        if !teller.looks.admit_most(MOST_LOOKS, now) {
            return Err(DropReason::RateLimited);
        }
        let believed = network.settings.realm.believe(&proof);
        let term = believed.map_err(|_| DropReason::RecordRefused)?;
        self.check_time(&member, &term, now)?;
        let bytes = bytes.to_vec();
        let believed = Believed { proof, bytes, term };
        self.settle_record(believed, By::Word, now).map(Some)
    }
}
