//! Who is let in: by a record that it shows, for as long as that holds and no further than it goes.
//!
//! # Why
//! A member controls its own sending side, so what a record grants is enforced by those who receive: the segments and VLANs of the
//! record are the peer's limits, whatever it announces. A record is looked at in each handshake and once a second, and with it who is
//! revoked; who has none that holds any more is gone at once, session and all. Identity is the member and the serial, so a member may
//! have another key: both are good for [`OVERLAP`], but the former one no longer than its own record, and not once that is revoked.

use std::sync::Arc;

use super::relaying::MOST_GUESTS;
use super::{Event, Gone, Node};
use crate::drops::DropReason;
use crate::keys::{Names, Psks, PublicKey};
use crate::mesh::peer::{Kind, Pass, Peer, PeerSettings, RelayUse};
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::trust::realm::key_of;
use crate::trust::{Recorded, Term};
use crate::wire::claims::Claims;
use crate::wire::control::{self, Element, InBatch};
use crate::wire::offer::Offer;
use crate::wire::proof::Proof;
use crate::wire::record::{MemberId, Record, Roles};
use crate::wire::service::Services;

/// For how long the key of the record before is as good as the new one: its sessions last for minutes.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// How long one that is awaited may take to show its record,
const AWAITED: Duration = Duration::from_secs(10);
/// and how long it is left alone when it has none.
const AWAITED_AGAIN: Duration = Duration::from_secs(60);

/// A record that was looked at.
pub(super) struct Believed {
    pub(super) proof: Proof,
    pub(super) bytes: Vec<u8>,
    pub(super) term: Term,
}

/// How somebody came to be known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// It called, and has the key.
    Call,
    /// Another member has told of it.
    Word,
}

impl Node {
    /// Lets somebody in by a record: the one that it shows, or the one that it has shown before.
    pub(super) fn admit_recorded(
        &mut self,
        remote: &PublicKey,
        offer: Option<&Offer>,
        now: Instant,
    ) -> Result<PeerId, DropReason> {
        if let Some(short) = offer.and_then(|o| o.record.as_deref()) {
            let believed = self.believe(short, remote)?;
            self.check_time(&believed.proof.record.member, &believed.term, now)?;
            return self.settle_record(believed, By::Call, now);
        }
        let known = self.find(remote);
        let peer = known.and_then(|id| self.peers.get(id.0 as usize));
        let Some((id, Pass::Record(recorded), names)) =
            peer.map(|p| (p.id, p.settings.pass, p.settings.key))
        else {
            return Err(DropReason::Stranger);
        };
        // Each key is as good as the record that it stands in.
        let term = match names.current == *remote {
            true => Some(recorded.term),
            false => recorded.earlier,
        };
        let term = term.ok_or(DropReason::RecordRefused)?;
        self.check_time(&recorded.member, &term, now)?;
        Ok(id)
    }

    /// Somebody that is listed shows a record, too: it is introduced to others by that.
    pub(super) fn note_record(
        &mut self,
        id: PeerId,
        (key, offer): (&PublicKey, Option<&Offer>),
        now: Instant,
    ) {
        let Some(short) = offer.and_then(|o| o.record.as_deref()) else {
            return;
        };
        let Ok(believed) = self.believe(short, key) else {
            return;
        };
        let member = believed.proof.record.member;
        let is_good = self.check_time(&member, &believed.term, now).is_ok();
        if let (true, Some(network)) = (is_good, &mut self.directory.network) {
            let serial = believed.term.serial;
            network
                .introductions
                .note((member, serial), (id, believed.bytes));
        }
    }

    /// Whether a record is that of a member which is connected by it, or is listed.
    pub(super) fn is_here(&self, record: &Record) -> bool {
        let key = PublicKey::from_bytes(record.key);
        let peer = self.find(&key).and_then(|id| self.peers.get(id.0 as usize));
        peer.is_some_and(|p| match p.settings.pass {
            Pass::Record(known) => known.term.serial == record.serial && p.up_since.is_some(),
            Pass::Guest | Pass::Invited(_) | Pass::Awaited => false,
            Pass::Listed | Pass::Ticket(_) | Pass::Invite(_) => true,
        })
    }

    /// Reads what a handshake shows: whether it is a record of our network, for this key, and to be believed.
    pub(super) fn believe(&self, short: &[u8], remote: &PublicKey) -> Result<Believed, DropReason> {
        const REFUSED: DropReason = DropReason::RecordRefused;
        let network = self.directory.network.as_ref();
        let network = network.ok_or(DropReason::Stranger)?;
        let realm = &network.settings.realm;
        let bytes = Proof::completed(short, &realm.id, remote.as_bytes()).ok_or(REFUSED)?;
        let proof = Proof::parse(&bytes).map_err(|_| REFUSED)?;
        let term = realm.believe(&proof).map_err(|_| REFUSED)?;
        Ok(Believed { proof, bytes, term })
    }

    /// Whether a record holds now.
    pub(super) fn check_time(
        &self,
        member: &MemberId,
        term: &Term,
        now: Instant,
    ) -> Result<(), DropReason> {
        let network = self.directory.network.as_ref();
        let network = network.ok_or(DropReason::Stranger)?;
        if network.lists.has(member, term) || !network.settings.realm.has(&term.issuer) {
            return Err(DropReason::Revoked);
        }
        let began = network.own.as_ref().map_or(0, |own| own.not_before);
        let seconds = self.wall_seconds(now).max(began);
        let end = term
            .not_after
            .saturating_add(network.settings.grace.as_secs());
        match (term.not_before..end).contains(&seconds) {
            true => Ok(()),
            false => Err(DropReason::RecordNotNow),
        }
    }

    /// Makes a peer of whom the record is of, or changes the one that it is.
    pub(super) fn settle_record(
        &mut self,
        believed: Believed,
        by: By,
        now: Instant,
    ) -> Result<PeerId, DropReason> {
        let member = believed.proof.record.member;
        if self.is_own_member(&member) {
            return Err(DropReason::RecordRefused);
        }
        let network = self.directory.network.as_ref();
        let known = network.and_then(|n| n.members.get(&member).copied());
        let peer = known.and_then(|id| self.peers.get(id.0 as usize));
        let before = peer.and_then(|p| match p.settings.pass {
            Pass::Record(known) if known.member == member => Some((p.id, p.settings.key, known)),
            _ => None,
        });
        // The configuration knows it by the key that it has now: there it belongs.
        let before = match before {
            Some((id, ..)) if self.is_awaited(&key_of(&believed.proof)) => {
                self.remove_peer(id, now);
                None
            }
            before => before,
        };
        let (id, is_news) = match before {
            None => (self.admit_new(&believed, by, now)?, true),
            Some((id, names, known)) => {
                let is_news = self.admit_again(&believed, (id, names, known), by, now)?;
                (id, is_news)
            }
        };
        if let Some(network) = self.directory.network.as_mut().filter(|_| is_news) {
            network.members.insert(member, id);
            let serial = believed.term.serial;
            network
                .introductions
                .note((member, serial), (id, believed.bytes));
        }
        Ok(id)
    }

    /// Somebody whose record was not known.
    fn admit_new(
        &mut self,
        believed: &Believed,
        by: By,
        now: Instant,
    ) -> Result<PeerId, DropReason> {
        let key = key_of(&believed.proof);
        if !self.is_awaited(&key) {
            self.make_room_for(&key, by, now)?;
        }
        if let Some(id) = self.find(&key).filter(|_| self.is_awaited(&key)) {
            self.fill_in(id, believed, now);
            return Ok(id);
        }
        if self.is_full() {
            return Err(DropReason::QueueFull);
        }
        let recorded = Recorded::of(&believed.proof, believed.term);
        let settings = granted(&believed.proof.record, Names::from(key), recorded);
        Ok(self.welcome(settings, now))
    }

    fn is_awaited(&self, key: &PublicKey) -> bool {
        let peer = self.find(key).and_then(|id| self.peers.get(id.0 as usize));
        peer.is_some_and(|p| p.settings.pass == Pass::Awaited)
    }

    /// One that was awaited has shown its record. What the configuration says of it is kept for the time after that.
    fn fill_in(&mut self, id: PeerId, believed: &Believed, now: Instant) {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        let before = peer.settings.clone();
        let recorded = Recorded::of(&believed.proof, believed.term);
        let key = Names::from(key_of(&believed.proof));
        let granted = granted(&believed.proof.record, key, recorded);
        let settings = overlaid(granted, &before);
        self.change_peer(id, settings, now);
        self.directory.awaited.insert(id, before);
    }

    /// Shows a peer our record inside the session, if it does not say that it has it: who answers a call has shown none.
    pub(super) fn show_own_record(&mut self, id: PeerId, now: Instant) {
        let network = self.directory.network.as_ref();
        let Some((own, record)) =
            network.and_then(|n| Some((n.own.as_ref()?, n.settings.own.as_ref()?)))
        else {
            return;
        };
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        let session = peer.keyring.current();
        let is_held = session.is_some_and(|s| s.held == Some(own.serial));
        if peer.settings.kind == Kind::Member && !is_held {
            let body = control::write(Element::Member(record, None, InBatch::NONE));
            self.send_control(id, &body, None, now);
        }
    }

    /// A peer shows its own record inside the session; gives whether it need not show it again.
    pub(super) fn take_record_of(&mut self, id: PeerId, bytes: &[u8], now: Instant) -> bool {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return false;
        };
        let (key, pass) = (peer.settings.key.current, peer.settings.pass);
        let Some(network) = self.directory.network.as_mut() else {
            return false;
        };
        // A signature is work: what is known is not looked at again, and the rest not as often as it is sent.
        if !network.introductions.may_look(id, now) {
            return false;
        }
        if network.introductions.knows_of(id, bytes) {
            return true;
        }
        let Some(short) = Proof::shortened(bytes) else {
            self.drop_one(DropReason::RecordRefused);
            return true;
        };
        let shown = self.believe(&short, &key).and_then(|believed| {
            self.check_time(&believed.proof.record.member, &believed.term, now)?;
            Ok(believed)
        });
        let settled = match (shown, pass) {
            (Err(reason), _) => Err(reason),
            (Ok(believed), Pass::Listed) => {
                let named = (believed.proof.record.member, believed.term.serial);
                if let Some(network) = &mut self.directory.network {
                    network.introductions.note(named, (id, believed.bytes));
                }
                Ok(())
            }
            (Ok(believed), _) => self.settle_record(believed, By::Call, now).map(|_| ()),
        };
        if let Err(reason) = settled {
            self.drop_one(reason);
        }
        !settled.is_err_and(may_be_taken_later)
    }

    /// A key gets a record: who had it as a guest is not that any more, and one that was only told of gives way to one that calls.
    fn make_room_for(&mut self, key: &PublicKey, by: By, now: Instant) -> Result<(), DropReason> {
        let other = self.find(key).and_then(|id| self.peers.get(id.0 as usize));
        let Some(other) = other else { return Ok(()) };
        let gives_way = match other.settings.pass {
            Pass::Guest | Pass::Invited(_) => true,
            Pass::Record(_) => by == By::Call && other.up_since.is_none(),
            Pass::Listed | Pass::Ticket(_) | Pass::Invite(_) | Pass::Awaited => false,
        };
        if !gives_way {
            return Err(DropReason::RecordRefused);
        }
        // One that the configuration names stays, and is awaited again.
        self.let_go(other.id, now);
        Ok(())
    }

    /// Somebody whose record of this serial was known; gives whether this one takes its place.
    fn admit_again(
        &mut self,
        believed: &Believed,
        (id, names, known): (PeerId, Names, Recorded),
        by: By,
        now: Instant,
    ) -> Result<bool, DropReason> {
        let key = key_of(&believed.proof);
        let (serial, before) = (believed.term.serial, known.term.serial);
        if serial < before || (serial == before && key != names.current) {
            return Err(DropReason::RecordRefused);
        }
        if serial == before {
            return Ok(false);
        }
        // An admin makes records longer; another key is the authority's to say, or whoever may sign could be anybody.
        if key != names.current && believed.term.delegate.is_some() {
            return Err(DropReason::RecordRefused);
        }
        if self.find(&key).is_some_and(|other| other != id) {
            self.make_room_for(&key, by, now)?;
        }
        let mut recorded = Recorded::of(&believed.proof, believed.term);
        let mut names = names;
        if key == names.current {
            recorded.earlier = known.earlier;
        } else {
            names = Names {
                current: key,
                former: Some(names.current),
            };
            let until = self.wall_seconds(now).saturating_add(OVERLAP.as_secs());
            recorded.earlier = Some(Term {
                not_after: known.term.not_after.min(until),
                ..known.term
            });
        }
        let granted = granted(&believed.proof.record, names, recorded);
        let settings = match self.directory.awaited.get(&id) {
            Some(configured) => overlaid(granted, configured),
            None => granted,
        };
        self.change_peer(id, settings, now);
        Ok(true)
    }

    /// Whether there is no room for another peer. Numbers that nobody has are used again, so they count for half.
    pub(super) fn is_full(&self) -> bool {
        self.directory.living(self.peers.len()) >= MOST_GUESTS
            || self.peers.len() >= 2 * MOST_GUESTS
    }

    /// Once a second: whose record does not hold any more is no peer, and a former key whose record does not is nobody's.
    pub(super) fn end_records(&mut self, now: Instant) {
        if self.directory.network.is_none() {
            return;
        }
        let mut over = Vec::new();
        let mut outdated = Vec::new();
        for peer in &self.peers {
            let Pass::Record(recorded) = peer.settings.pass else {
                continue;
            };
            if let Err(why) = self.check_time(&recorded.member, &recorded.term, now) {
                over.push((peer.id, why));
            } else if let Some(earlier) = recorded.earlier
                && self.check_time(&recorded.member, &earlier, now).is_err()
            {
                outdated.push(peer.id);
            }
        }
        for (id, why) in over {
            self.drop_one(why);
            self.events.push_back(Event::Lapsed(id, why));
            self.let_go(id, now);
        }
        for id in outdated {
            self.forget_former_key(id, now);
        }
    }

    /// Who has no record any more is gone; one that the configuration names is awaited again.
    fn let_go(&mut self, id: PeerId, now: Instant) {
        let configured = self.directory.awaited.remove(&id);
        // Its key may be another's by now.
        let is_its_own =
            |s: &PeerSettings| s.key.iter().all(|k| self.find(&k).is_none_or(|o| o == id));
        let Some(settings) = configured.filter(is_its_own) else {
            return self.remove_peer(id, now);
        };
        self.say_goodbye(id, now);
        self.take_down(id, Gone::Removed, now);
        if let Some(network) = &mut self.directory.network {
            network.forget(id);
        }
        self.directory.visiting.forget(id);
        self.change_peer(id, settings, now);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            peer.retry_at = Some(now + AWAITED_AGAIN);
        }
    }

    /// Once a second: who was called and does not show a record is left alone for a while.
    pub(super) fn end_awaiting(&mut self, now: Instant) {
        let is_over = |p: &Peer| {
            let up = p.up_since.filter(|_| p.settings.pass == Pass::Awaited);
            up.is_some_and(|since| now.since(since) >= AWAITED)
        };
        let peers = self.peers.iter().filter(|p| is_over(p));
        let over: Vec<PeerId> = peers.map(|p| p.id).collect();
        for id in over {
            self.say_goodbye(id, now);
            self.take_down(id, Gone::Removed, now);
            if let Some(peer) = self.peers.get_mut(id.0 as usize) {
                peer.retry_at = Some(now + AWAITED_AGAIN);
            }
        }
    }

    fn forget_former_key(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        let mut settings = peer.settings.clone();
        settings.key.former = None;
        if let Pass::Record(recorded) = &mut settings.pass {
            recorded.earlier = None;
        }
        self.change_peer(id, settings, now);
    }
}

/// What a record grants, to a peer of which the configuration says how it is reached.
pub(super) fn overlaid(granted: PeerSettings, configured: &PeerSettings) -> PeerSettings {
    PeerSettings {
        name: configured.name.clone(),
        psks: configured.psks.clone(),
        keepalive: configured.keepalive,
        relay: configured.relay,
        mtu: configured.mtu,
        ..granted
    }
}

/// What a record makes of its member.
fn granted(record: &Record, key: Names, recorded: Recorded) -> PeerSettings {
    PeerSettings {
        kind: Kind::Member,
        name: record.name.clone(),
        key,
        psks: Psks::default(),
        keepalive: None,
        relay: RelayUse::Allow,
        pass: Pass::Record(recorded),
        mtu: None,
        segments: Some(record.segments.clone()),
        vlans: None,
        roles: Services {
            dhcp_server: record.roles.has(Roles::DHCP_SERVER),
            router: record.roles.has(Roles::ROUTER),
        },
        claims: Arc::new(Claims {
            macs: record.macs.clone(),
            prefixes: record.prefixes.clone(),
            mac_limit: record.mac_limit,
        }),
        serves: record.roles.has(Roles::RELAY),
    }
}

/// Whether what was refused for this may be taken another time: clocks are set, and room is made.
pub(super) fn may_be_taken_later(why: DropReason) -> bool {
    matches!(
        why,
        DropReason::RateLimited | DropReason::QueueFull | DropReason::RecordNotNow
    )
}
