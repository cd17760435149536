//! Networks: whoever shows a record that an authority of ours has signed is a peer, as far as the record goes.
//!
//! # Why
//! A member controls its own sending side, so what a record grants is enforced by those who receive: the segments and VLANs of the
//! record are the peer's limits, whatever it announces. A record is looked at in each handshake and once a second, and with it who is
//! revoked; who has none that holds any more is gone at once, session and all. Identity is the member and the serial, so a member
//! may have another key, and both are good until the next serial.
//!
//! # Clocks
//! A member that wakes up in 1970 must not take every record for one of the future: time is never before the beginning of our own
//! record, nor before what the clock showed in an earlier life.

use std::collections::HashMap;

use super::introducing::Introductions;
use super::relaying::MOST_GUESTS;
use super::spreading::Fetch;
use super::{Event, Node};
use crate::drops::DropReason;
use crate::keys::{Authority, Names, Psks, PublicKey, Signs};
use crate::mesh::peer::{Kind, Pass, Peer, PeerSettings, Recorded, RelayUse};
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::offer::Offer;
use crate::wire::record::{MemberId, NETWORK_LEN, Record, Roles};
use crate::wire::revocation::Revocations;
use crate::wire::service::Services;

/// What a member needs to be one of a network.
#[derive(Clone)]
pub struct NetworkSettings {
    /// What the network is known by.
    pub id: [u8; NETWORK_LEN],
    /// Whose word counts.
    pub authorities: Vec<Authority>,
    /// Our own record with its signature; without one we let members in and are let in by those who list us.
    pub own: Option<Vec<u8>>,
}

/// The network that we are in.
pub(super) struct Network {
    settings: NetworkSettings,
    /// Our record as handshakes have it, its serial, and from when on it holds.
    own: Option<(Vec<u8>, u64, u64)>,
    /// Who we are in it.
    member: Option<MemberId>,
    /// Who is no member any more, and that as it came.
    revocations: Revocations,
    pub(super) list: Vec<u8>,
    /// Who is brought together with whom.
    pub(super) introductions: Introductions,
    /// A newer list on its way here.
    pub(super) fetch: Option<Fetch>,
    /// Who has which number.
    members: HashMap<MemberId, PeerId>,
}

impl Node {
    /// Becomes a member of a network, or one with another record; `false` when the record is no record of this network and key.
    pub fn set_network(&mut self, settings: NetworkSettings) -> bool {
        let mut member = None;
        let own = match &settings.own {
            None => None,
            Some(bytes) => {
                let read = Record::parse(bytes).ok().map(|(record, _)| record);
                let fits =
                    |r: &Record| r.network == settings.id && r.key == *self.own.current.as_bytes();
                let Some(record) = read.filter(fits) else {
                    return false;
                };
                member = Some(record.member);
                Record::shortened(bytes).map(|short| (short, record.serial, record.not_before))
            }
        };
        let before = self.directory.network.take();
        let before = before.filter(|n| n.settings.id == settings.id);
        let (revocations, list, members, introductions) = before
            .map(|n| (n.revocations, n.list, n.members, n.introductions))
            .unwrap_or_default();
        self.directory.network = Some(Network {
            settings,
            own,
            member,
            revocations,
            list,
            introductions,
            fetch: None,
            members,
        });
        true
    }

    /// Is in no network any more: who was let in by a record is gone.
    pub fn leave_network(&mut self, now: Instant) {
        if let Some(network) = &mut self.directory.network {
            network.settings.authorities.clear();
            self.end_records(now);
        }
        self.directory.network = None;
    }

    /// Takes a list of who is revoked, if it is newer than the one that is known, and ends their sessions.
    ///
    /// # Errors
    /// [`DropReason::RecordRefused`] for what is no such list of our network and authorities, or is not newer.
    pub fn revoke(&mut self, bytes: &[u8], now: Instant) -> Result<(), DropReason> {
        let network = self
            .directory
            .network
            .as_mut()
            .ok_or(DropReason::RecordRefused)?;
        let (list, signature) = Revocations::parse(bytes).map_err(|_| DropReason::RecordRefused)?;
        let signed = list.signed().map_err(|_| DropReason::RecordRefused)?;
        let is_signed = network.is_signed((&list.issuer, Signs::Revocations), &signed, &signature);
        let is_newer = list.epoch > network.revocations.epoch;
        if list.network != network.settings.id || !is_signed || !is_newer {
            return Err(DropReason::RecordRefused);
        }
        network.revocations = list;
        self.end_records(now);
        self.spread(bytes.to_vec(), now);
        Ok(())
    }

    /// The epoch of the list that is known; 0 when none is.
    pub fn revocation_epoch(&self) -> u64 {
        self.directory
            .network
            .as_ref()
            .map_or(0, |n| n.revocations.epoch)
    }

    /// The record to show a peer in an initiation, when it does not have it.
    pub(super) fn own_record(&self, id: PeerId) -> Option<Vec<u8>> {
        let (short, serial, _) = self.directory.network.as_ref()?.own.as_ref()?;
        let peer = self.peers.get(id.0 as usize)?;
        let is_held = peer
            .keyring
            .current()
            .is_some_and(|s| s.held == Some(*serial));
        // Who does not answer may have forgotten.
        let is_doubtful = peer.attempt.is_some();
        (!is_held || is_doubtful).then(|| short.clone())
    }

    /// The serial of a peer's record that we have.
    pub(super) fn held(&self, id: PeerId) -> Option<u64> {
        match self.peers.get(id.0 as usize)?.settings.pass {
            Pass::Record(recorded) => Some(recorded.serial),
            _ => None,
        }
    }

    /// Lets somebody in by a record: the one that it shows, or the one that it has shown before.
    pub(super) fn admit_recorded(
        &mut self,
        remote: &PublicKey,
        offer: Option<&Offer>,
        now: Instant,
    ) -> Result<PeerId, DropReason> {
        let shown = offer.and_then(|o| o.record.as_deref());
        let known = self.find(remote);
        let pass = known
            .and_then(|id| self.peers.get(id.0 as usize))
            .map(|p| p.settings.pass);
        let recorded = match (shown, known, pass) {
            (None, Some(id), Some(Pass::Record(recorded))) => (id, recorded),
            (None, ..) => return Err(DropReason::Stranger),
            (Some(short), ..) => {
                let record = self.check_record(short, remote)?;
                let recorded = recorded(&record);
                self.check_time(&recorded, now)?;
                let whole = Record::completed(short, &record.network, &record.key);
                let whole = whole.unwrap_or_default();
                (self.settle_record(&record, (&whole, now))?, recorded)
            }
        };
        self.check_time(&recorded.1, now)?;
        Ok(recorded.0)
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
        let Ok(record) = self.check_record(short, key) else {
            return;
        };
        let is_good = self.check_time(&recorded(&record), now).is_ok();
        let whole = Record::completed(short, &record.network, &record.key);
        if let (true, Some(whole), Some(network)) = (is_good, whole, &mut self.directory.network) {
            network.introductions.note(record.member, (id, whole));
        }
    }

    /// Whether a record is that of a member which is connected by it, or is listed.
    pub(super) fn is_here(&self, record: &Record) -> bool {
        let key = PublicKey::from_bytes(record.key);
        let peer = self.find(&key).and_then(|id| self.peers.get(id.0 as usize));
        peer.is_some_and(|p| match p.settings.pass {
            Pass::Record(known) => known.serial == record.serial && p.up_since.is_some(),
            Pass::Guest => false,
            Pass::Listed | Pass::Ticket(_) => true,
        })
    }

    pub(super) fn is_own_member(&self, member: &MemberId) -> bool {
        let network = self.directory.network.as_ref();
        network.is_some_and(|n| n.member.as_ref() == Some(member))
    }

    /// Whether a record holds now.
    pub(super) fn check_recorded(&self, record: &Record, now: Instant) -> Result<(), DropReason> {
        self.check_time(&recorded(record), now)
    }

    /// Whether a record is one of our network, for this key, and signed.
    pub(super) fn check_record(
        &self,
        short: &[u8],
        remote: &PublicKey,
    ) -> Result<Record, DropReason> {
        let network = self
            .directory
            .network
            .as_ref()
            .ok_or(DropReason::Stranger)?;
        let whole = Record::completed(short, &network.settings.id, remote.as_bytes());
        let whole = whole.ok_or(DropReason::RecordRefused)?;
        let (record, signature) = Record::parse(&whole).map_err(|_| DropReason::RecordRefused)?;
        let signed = whole.get(..whole.len().saturating_sub(signature.len()));
        let is_signed = network.is_signed(
            (&record.issuer, Signs::Record),
            signed.unwrap_or_default(),
            &signature,
        );
        is_signed.then_some(record).ok_or(DropReason::RecordRefused)
    }

    /// Whether a record holds now.
    fn check_time(&self, recorded: &Recorded, now: Instant) -> Result<(), DropReason> {
        let network = self
            .directory
            .network
            .as_ref()
            .ok_or(DropReason::Stranger)?;
        let named = (&recorded.member, recorded.serial);
        if network.revocations.has(named, &recorded.issuer)
            || !network.is_authority(&recorded.issuer)
        {
            return Err(DropReason::Revoked);
        }
        let began = network.own.as_ref().map_or(0, |(_, _, began)| *began);
        let seconds = self.wall_seconds(now).max(began);
        match (recorded.not_before..recorded.not_after).contains(&seconds) {
            true => Ok(()),
            false => Err(DropReason::RecordNotNow),
        }
    }

    /// Makes a peer of whom the record is of, or changes the one that it is.
    pub(super) fn settle_record(
        &mut self,
        record: &Record,
        (bytes, now): (&[u8], Instant),
    ) -> Result<PeerId, DropReason> {
        let network = self
            .directory
            .network
            .as_ref()
            .ok_or(DropReason::Stranger)?;
        let known = network.members.get(&record.member).copied();
        let peer = known.and_then(|id| self.peers.get(id.0 as usize));
        let before = peer.and_then(|p| match p.settings.pass {
            Pass::Record(known) if known.member == record.member => {
                Some((p.id, p.settings.key, known.serial))
            }
            _ => None,
        });
        let (id, is_news) = match before {
            None => (self.admit_new(record, now)?, true),
            Some((id, names, serial)) => {
                let is_news = self.admit_again(record, (id, names, serial), now)?;
                (id, is_news)
            }
        };
        if let Some(network) = self.directory.network.as_mut().filter(|_| is_news) {
            network.members.insert(record.member, id);
            network
                .introductions
                .note(record.member, (id, bytes.to_vec()));
        }
        Ok(id)
    }

    /// Somebody whose record was not known.
    fn admit_new(&mut self, record: &Record, now: Instant) -> Result<PeerId, DropReason> {
        let key = PublicKey::from_bytes(record.key);
        let is_guest = |p: &&Peer| p.settings.pass == Pass::Guest;
        let guest = self.find(&key).and_then(|id| self.peers.get(id.0 as usize));
        if let Some(guest) = guest.filter(is_guest).map(|p| p.id) {
            self.remove_peer(guest, now);
        }
        // The key may be another peer's already.
        if self.find(&key).is_some() {
            return Err(DropReason::RecordRefused);
        }
        if self.peers.len() >= MOST_GUESTS {
            return Err(DropReason::QueueFull);
        }
        Ok(self.welcome(granted(record, Names::from(key)), now))
    }

    /// Somebody whose record of this serial was known; gives whether this one takes its place.
    fn admit_again(
        &mut self,
        record: &Record,
        (id, names, serial): (PeerId, Names, u64),
        now: Instant,
    ) -> Result<bool, DropReason> {
        let key = PublicKey::from_bytes(record.key);
        if record.serial < serial || (record.serial == serial && key != names.current) {
            return Err(DropReason::RecordRefused);
        }
        if record.serial == serial {
            return Ok(false);
        }
        if self.find(&key).is_some_and(|other| other != id) {
            return Err(DropReason::RecordRefused);
        }
        // The key before is good until the next record: its sessions last for minutes.
        let former = Some(names.current).filter(|before| *before != key);
        let names = Names {
            current: key,
            former,
        };
        self.change_peer(id, granted(record, names), now);
        Ok(true)
    }

    /// Once a second: whose record does not hold any more is no peer.
    pub(super) fn end_records(&mut self, now: Instant) {
        if self.directory.network.is_none() {
            return;
        }
        let is_over = |node: &Node, pass: &Pass| match pass {
            Pass::Record(recorded) => node.check_time(recorded, now).err(),
            _ => None,
        };
        let peers = self.peers.iter();
        let over: Vec<_> = peers
            .filter_map(|p| Some((p.id, is_over(self, &p.settings.pass)?)))
            .collect();
        for (id, why) in over {
            self.drop_one(why);
            self.events.push_back(Event::Lapsed(id, why));
            self.remove_peer(id, now);
        }
    }
}

impl Network {
    /// Who had this number is nobody any more.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.members.retain(|_, owner| *owner != id);
        self.introductions.forget(id);
    }

    fn is_authority(&self, issuer: &[u8; 32]) -> bool {
        let is_it = |a: &Authority| a.as_bytes() == issuer;
        self.settings.authorities.iter().any(is_it)
    }

    fn is_signed(
        &self,
        (issuer, what): (&[u8; 32], Signs),
        message: &[u8],
        signature: &[u8; 64],
    ) -> bool {
        let is_retired = self.revocations.authorities.contains(issuer);
        self.is_authority(issuer)
            && !is_retired
            && Authority::from_bytes(*issuer).verifies(what, message, signature)
    }
}

fn recorded(record: &Record) -> Recorded {
    Recorded {
        member: record.member,
        serial: record.serial,
        not_before: record.not_before,
        not_after: record.not_after,
        issuer: record.issuer,
    }
}

/// What a record makes of its member.
fn granted(record: &Record, key: Names) -> PeerSettings {
    PeerSettings {
        kind: Kind::Member,
        name: record.name.clone(),
        key,
        psks: Psks::default(),
        keepalive: None,
        relay: RelayUse::Allow,
        pass: Pass::Record(recorded(record)),
        mtu: None,
        segments: Some(record.segments.clone()),
        vlans: None,
        roles: Services {
            dhcp_server: record.roles.has(Roles::DHCP_SERVER),
            router: record.roles.has(Roles::ROUTER),
        },
        serves: record.roles.has(Roles::RELAY),
    }
}
