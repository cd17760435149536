//! The network that we are in: our own record in it, what was taken back, and who brings whom together.
//!
//! # Why
//! Whoever shows a record that an authority of ours has signed is a peer, as far as the record goes (`admitting`); what an
//! authority takes back goes from member to member (`spreading`), and so does who is there (`introducing`).
//!
//! # Clocks
//! A member that wakes up in 1970 must not take every record for one of the future: time is never before the beginning of our own
//! record, nor before what the clock showed in an earlier life.

use std::collections::HashMap;

use super::introducing::Introductions;
use super::spreading::Fetches;
use super::{Event, Node};
use crate::drops::DropReason;
use crate::mesh::peer::{Kind, Pass};
use crate::noise::dialect::{Dialect, Dialects, Labels};
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::trust::{Lists, Realm};
use crate::wire::control::{self, Element};
use crate::wire::ethernet::Mac;
use crate::wire::proof::Proof;
use crate::wire::record::{MemberId, NETWORK_LEN, Roles};
use crate::wire::revocation::Revocations;
use crate::wire::segment::SegmentId;

/// What a member needs to be one of a network.
#[derive(Clone)]
pub struct NetworkSettings {
    /// The network, and whose word counts.
    pub realm: Realm,
    /// Our own record with its signature; without one we let members in and are let in by those who list us.
    pub own: Option<Vec<u8>>,
    /// For how long a record counts after its end.
    pub grace: Duration,
}

/// The network that we are in.
pub(super) struct Network {
    pub(super) settings: NetworkSettings,
    pub(super) own: Option<Own>,
    /// Who is no member any more.
    pub(super) lists: Lists,
    /// Who is brought together with whom.
    pub(super) introductions: Introductions,
    /// Newer lists on their way here.
    pub(super) fetches: Fetches,
    /// Who has which number.
    pub(super) members: HashMap<MemberId, PeerId>,
}

/// Our record.
pub(super) struct Own {
    /// As handshakes have it.
    pub(super) short: Vec<u8>,
    /// Who we are.
    pub(super) member: MemberId,
    pub(super) serial: u64,
    /// From when on it holds: it is no earlier than that.
    pub(super) not_before: u64,
    /// Until when.
    pub(super) not_after: u64,
    /// Whether it says that we may sign.
    pub(super) is_admin: bool,
    /// The MACs that are ours, and where.
    macs: (Vec<Mac>, Vec<SegmentId>),
}

impl Node {
    /// Becomes a member of a network, or one with another record; `false` when the record is no record of this network and key.
    ///
    /// Who is connected hears of another record at once: it could not be called by it otherwise.
    pub fn set_network(&mut self, settings: NetworkSettings, now: Instant) -> bool {
        let own = match &settings.own {
            None => None,
            Some(bytes) => match self.own_of(bytes, &settings.realm) {
                Some(own) => Some(own),
                None => return false,
            },
        };
        let before = self.directory.network.take();
        let before = before.filter(|n| n.settings.realm.id == settings.realm.id);
        let had = before.as_ref().and_then(|n| n.own.as_ref());
        let is_renewed = match (had, &own) {
            (Some(had), Some(own)) => had.serial != own.serial,
            (None, Some(_)) => true,
            _ => false,
        };
        let has_others = before
            .as_ref()
            .is_some_and(|n| n.settings.realm != settings.realm);
        let (mut lists, members, introductions, fetches) = before
            .map(|n| (n.lists, n.members, n.introductions, n.fetches))
            .unwrap_or_default();
        lists.settle(&settings.realm);
        let id = settings.realm.id;
        self.directory.network = Some(Network {
            settings,
            own,
            lists,
            introductions,
            fetches,
            members,
        });
        // With the record at hand, as it goes along.
        self.answer_to(Some(&id), now);
        self.end_records(now);
        // With other authorities, too: what was said of their lists was not kept.
        if is_renewed || has_others {
            self.show_record(now);
        }
        true
    }

    fn own_of(&self, bytes: &[u8], realm: &Realm) -> Option<Own> {
        let proof = Proof::parse(bytes).ok()?;
        let ends = proof.delegation.as_ref().map(|(d, _)| d.not_after);
        let record = proof.record;
        let fits = record.network == realm.id && record.key == *self.own.current.as_bytes();
        Some(Own {
            short: Proof::shortened(bytes).filter(|_| fits)?,
            member: record.member,
            serial: record.serial,
            not_before: record.not_before,
            not_after: record.not_after.min(ends.unwrap_or(u64::MAX)),
            is_admin: record.roles.has(Roles::ADMIN),
            macs: (
                record.macs,
                record.segments.into_iter().map(|(id, _)| id).collect(),
            ),
        })
    }

    /// Shows those who are connected our record: it may be another one.
    fn show_record(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let peer = self.peers.get(index);
            if peer.is_some_and(|p| p.up_since.is_some() && p.settings.kind == Kind::Member) {
                self.start_attempt(id, now);
            }
        }
    }

    /// Is in no network any more: who was let in by a record is gone.
    pub fn leave_network(&mut self, now: Instant) {
        if let Some(network) = &mut self.directory.network {
            network.settings.realm.authorities.clear();
            self.end_records(now);
        }
        self.directory.network = None;
        self.answer_to(None, now);
    }

    /// Handshakes between members of this network are made by its labels from now on; listed members go on with theirs.
    pub fn answer_to(&mut self, network: Option<&[u8; NETWORK_LEN]>, now: Instant) {
        let label = |d: &Dialects| d.network().and_then(Dialect::mac1_label);
        let dialects = Dialects::new(network);
        let (before, after) = (label(&self.dialects), label(&dialects));
        self.dialects = dialects;
        self.gate.keeper.set_own(&self.dialects, &self.own);
        if before == after {
            return;
        }
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let peer = self.peers.get(index);
            let is_called = peer.is_some_and(|p| p.attempt.is_some());
            // What was made by other labels is answered by nobody.
            if is_called && self.labels_of(id) == Labels::Network {
                self.drop_attempt(id);
                self.start_attempt(id, now);
            }
            let is_here = self.peers.get(index).is_some_and(|p| p.up_since.is_some());
            if let (true, Some(label)) = (is_here && self.serves(id), after) {
                self.send_control(id, &control::write(Element::Label(label)), None, now);
            }
        }
    }

    /// Takes a list of who is revoked, if it is newer than the one of that authority which is known, and ends their sessions.
    ///
    /// # Errors
    /// [`DropReason::RecordRefused`] for what is no such list of our network and authorities, or is not newer;
    /// [`DropReason::Revoked`] for one of an authority that is retired.
    pub fn revoke(&mut self, bytes: &[u8], now: Instant) -> Result<(), DropReason> {
        const REFUSED: DropReason = DropReason::RecordRefused;
        let network = self.directory.network.as_mut().ok_or(REFUSED)?;
        let (list, signature) = Revocations::parse(bytes).map_err(|_| REFUSED)?;
        let issuer = list.issuer;
        // What is no news costs no signature.
        if list.epoch <= network.lists.epoch(&issuer) {
            return Err(REFUSED);
        }
        let realm = &network.settings.realm;
        realm.believe_list(&list, &signature).map_err(|_| REFUSED)?;
        if !network.lists.take(list, bytes, realm) {
            return Err(DropReason::Revoked);
        }
        self.end_records(now);
        self.events.push_back(Event::Revocations);
        self.spread(&issuer, now);
        Ok(())
    }

    /// The greatest epoch of the lists that are known; 0 when none is.
    pub fn revocation_epoch(&self) -> u64 {
        let network = self.directory.network.as_ref();
        let epochs = network.map(|n| n.lists.iter().map(|(_, epoch, _)| epoch).max());
        epochs.flatten().unwrap_or(0)
    }

    /// The lists that are known, as they were signed.
    pub fn revocation_lists(&self) -> impl Iterator<Item = &[u8]> {
        let network = self.directory.network.iter();
        network.flat_map(|n| n.lists.iter().map(|(_, _, bytes)| bytes))
    }

    /// From when on our record holds, and until when.
    pub fn own_record_span(&self) -> Option<(u64, u64)> {
        let own = self.directory.network.as_ref()?.own.as_ref()?;
        Some((own.not_before, own.not_after))
    }

    /// Whether our record says that we may sign.
    pub fn is_admin(&self) -> bool {
        let network = self.directory.network.as_ref();
        let own = network.and_then(|n| n.own.as_ref());
        own.is_some_and(|own| own.is_admin)
    }

    /// The MACs that our record names for a segment.
    pub(super) fn own_macs(&self, segment: SegmentId) -> &[Mac] {
        let network = self.directory.network.as_ref();
        let own = network.and_then(|n| n.own.as_ref()).map(|own| &own.macs);
        match own {
            Some((macs, segments)) if segments.contains(&segment) => macs,
            _ => &[],
        }
    }

    /// Whether a key signs no more, as our authorities say.
    pub fn has_retired(&self, key: &[u8; 32]) -> bool {
        let network = self.directory.network.as_ref();
        network.is_some_and(|n| n.lists.has_retired(key))
    }

    /// The serial of our record, and until when it holds, in seconds since 1970.
    pub fn own_record_until(&self) -> Option<(u64, u64)> {
        let own = self.directory.network.as_ref()?.own.as_ref()?;
        Some((own.serial, own.not_after))
    }

    /// The record to show a peer in an initiation, when it does not have it.
    pub(super) fn own_record(&self, id: PeerId) -> Option<Vec<u8>> {
        let own = self.directory.network.as_ref()?.own.as_ref()?;
        let peer = self.peers.get(id.0 as usize)?;
        let is_held = peer
            .keyring
            .current()
            .is_some_and(|s| s.held == Some(own.serial));
        // Who does not answer may have forgotten.
        let is_doubtful = peer.attempt.is_some();
        (!is_held || is_doubtful).then(|| own.short.clone())
    }

    /// The serial of a peer's record that we have.
    pub(super) fn held(&self, id: PeerId) -> Option<u64> {
        match self.peers.get(id.0 as usize)?.settings.pass {
            Pass::Record(recorded) => Some(recorded.term.serial),
            _ => None,
        }
    }

    pub(super) fn is_own_member(&self, member: &MemberId) -> bool {
        let network = self.directory.network.as_ref();
        let own = network.and_then(|n| n.own.as_ref());
        own.is_some_and(|own| own.member == *member)
    }
}

impl Network {
    /// Who had this number is nobody any more.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.members.retain(|_, owner| *owner != id);
        self.introductions.forget(id);
        self.fetches.forget(id);
    }
}
