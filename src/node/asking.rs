//! Admins: who asks one for a record, and who is asked.
//!
//! # Why
//! The authority is off the network, so a member of it that may sign in its place gives records to those who were invited, and
//! longer ones to members whose time runs out. Signing needs a key and a book of invitations, which are the outside's: here it is
//! settled who may ask for what, and when we ask ourselves.
//!
//! One that was invited knows a secret, which is the pre-shared key of its session: without it there is no session. It is a client
//! that nothing is carried for, and is forgotten [`JOINING`] after it came, or when it is gone.
//! Memory: [`MOST_JOINERS`] of them at a time.

use std::collections::{BTreeMap, HashMap};

use zeroize::Zeroizing;

use super::{Event, Node};
use crate::drops::DropReason;
use crate::keys::{Psk, PublicKey};
use crate::mesh::peer::{Kind, Pass, Peer, PeerSettings};
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::asking::{Answer, Ask, Gift, INVITE_LEN, NotGiven};
use crate::wire::control::{self, Element};
use crate::wire::proof::Proof;
use crate::wire::record::Roles;

/// Those that were invited and are here at a time.
const MOST_JOINERS: usize = 256;
/// Those of them that visit somebody else by one and the same invitation.
const MOST_OF_ONE: usize = 32;
/// How long one may take.
const JOINING: Duration = Duration::from_secs(60);
/// Asks that are passed on in a second.
const MOST_ASKS: u64 = 200;
/// A member asks for a longer record this often, each time another admin,
const ASK_EVERY: Duration = Duration::from_secs(30);
/// and after a refusal this often.
const REFUSED_EVERY: Duration = Duration::from_secs(600);
/// One peer asks this often at most.
const EACH_EVERY: Duration = Duration::from_millis(300);
/// Seconds by which the clocks of two members differ at most.
const AHEAD: u64 = 3600;

/// What is asked of us, and what we ask.
#[derive(Default)]
pub(super) struct Asking {
    /// Whether we can sign.
    signs: bool,
    /// Invitations that are open, or were: who used one of those is told so. With their secrets and ends.
    invites: HashMap<[u8; INVITE_LEN], (Psk, u64)>,
    /// Who was invited and is here, since when.
    joiners: BTreeMap<PeerId, Joiner>,
    /// When each peer asked last.
    asked_by: HashMap<PeerId, Instant>,
    passed_on: super::plane::PerSecond,
    /// Whom we have asked.
    asked: Option<PeerId>,
    /// When we ask again.
    ask_at: Option<Instant>,
}

/// One that was invited and is here.
struct Joiner {
    since: Instant,
    /// The invitation that it has shown.
    invite: [u8; INVITE_LEN],
    /// Whether it has proven that it knows the secret; a visitor of somebody else never does, here.
    is_proven: bool,
}

impl Node {
    /// Signs for others from now on, and knows these invitations.
    ///
    /// Each with its secret, and until when it is open, in seconds since 1970: relays are told of those that are.
    pub fn set_invites(
        &mut self,
        invites: impl IntoIterator<Item = ([u8; INVITE_LEN], (Psk, u64))>,
    ) {
        self.directory.asking.signs = true;
        self.directory.asking.invites = invites.into_iter().collect();
        self.directory.visiting.tell_soon();
    }

    /// Signs for nobody any more.
    pub fn end_signing(&mut self) {
        self.directory.asking.signs = false;
        self.directory.asking.invites.clear();
    }

    /// The invitations that we have made and that are open.
    pub(super) fn open_invites(&self, now: Instant) -> impl Iterator<Item = [u8; INVITE_LEN]> {
        let seconds = self.wall_seconds(now);
        let all = self.directory.asking.invites.iter();
        let open = all.filter(move |(_, (_, until))| seconds < *until);
        open.map(|(name, _)| *name)
    }

    /// The secret of one.
    pub(super) fn secret_of(&self, invite: &[u8; INVITE_LEN]) -> Option<Psk> {
        let known = self.directory.asking.invites.get(invite);
        known.map(|(secret, _)| secret.clone())
    }

    /// Lets in one that was invited, by us or by an admin that we relay for.
    pub(super) fn admit_invited(
        &mut self,
        key: &PublicKey,
        invite: &[u8; INVITE_LEN],
        now: Instant,
    ) -> Result<PeerId, DropReason> {
        let psks = self.psks_of_invited(invite, now);
        let psks = psks.ok_or(DropReason::Stranger)?;
        let known = self.find(key).and_then(|id| self.peers.get(id.0 as usize));
        match known.map(|p| (p.id, p.settings.pass)) {
            Some((id, Pass::Invited(by))) if by == *invite => return Ok(id),
            // Another invitation has another secret, and who was a guest once may be invited later.
            Some((id, Pass::Invited(_) | Pass::Guest)) => self.remove_peer(id, now),
            Some(_) => return Err(DropReason::TicketRefused),
            None => {}
        }
        self.make_room_for_joiner(invite, now)?;
        let settings = PeerSettings {
            psks,
            ..PeerSettings::outsider(Kind::Client, *key, Pass::Invited(*invite))
        };
        let id = self.welcome(settings, now);
        let joiner = Joiner {
            since: now,
            invite: *invite,
            is_proven: false,
        };
        self.directory.asking.joiners.insert(id, joiner);
        self.open_doors(id, key);
        Ok(id)
    }

    /// Whoever knows the name of an invitation can call; who has not shown that it knows the secret gives way to others.
    fn make_room_for_joiner(
        &mut self,
        invite: &[u8; INVITE_LEN],
        now: Instant,
    ) -> Result<(), DropReason> {
        let joiners = &self.directory.asking.joiners;
        let unproven = || joiners.iter().filter(|(_, j)| !j.is_proven);
        let oldest_of = |name: Option<&[u8; INVITE_LEN]>| {
            let those = unproven().filter(|(_, j)| name.is_none_or(|name| j.invite == *name));
            those.min_by_key(|(_, j)| j.since).map(|(id, _)| *id)
        };
        let of_that = unproven().filter(|(_, j)| j.invite == *invite).count();
        let is_visitor = self.secret_of(invite).is_none();
        let gives_way = if is_visitor && of_that >= MOST_OF_ONE {
            oldest_of(Some(invite))
        } else if joiners.len() >= MOST_JOINERS {
            Some(oldest_of(None).ok_or(DropReason::QueueFull)?)
        } else {
            None
        };
        if let Some(id) = gives_way {
            self.remove_peer(id, now);
        }
        match self.is_full() {
            true => Err(DropReason::QueueFull),
            false => Ok(()),
        }
    }

    /// Who was invited and did not come, or is gone.
    pub(super) fn end_joining(&mut self, now: Instant) {
        let mut over = Vec::new();
        let asking = &mut self.directory.asking;
        for (id, joiner) in &mut asking.joiners {
            let peer = self.peers.get(id.0 as usize);
            let is_up = peer.is_some_and(|p| p.up_since.is_some());
            if now.since(joiner.since) >= JOINING || joiner.is_proven && !is_up {
                over.push(*id);
            }
            joiner.is_proven |= is_up && asking.invites.contains_key(&joiner.invite);
        }
        for id in over {
            self.remove_peer(id, now);
        }
    }

    /// Whether a peer may say that: one that was invited asks for a record, one that is awaited shows its own, and nothing else.
    pub(super) fn may_say(&self, id: PeerId, element: &Element<'_>) -> bool {
        let peer = self.peers.get(id.0 as usize);
        let needs = matches!(
            element,
            Element::PathResponse(_) | Element::Received(_) | Element::Padding
        );
        match peer.map(|p| p.settings.pass) {
            Some(Pass::Invited(_)) => {
                needs
                    || matches!(
                        element,
                        Element::Ask(_) | Element::Open(_) | Element::Label(_)
                    )
            }
            // It shows its record, and hears what was taken back.
            Some(Pass::Awaited) => {
                needs
                    || matches!(
                        element,
                        Element::Member(..)
                            | Element::Told(_)
                            | Element::Heard(..)
                            | Element::Epoch(_)
                            | Element::Wanted(..)
                            | Element::Part(_)
                    )
            }
            _ => true,
        }
    }

    /// Who had this number is nobody any more.
    pub(super) fn forget_asking(&mut self, id: PeerId) {
        let asking = &mut self.directory.asking;
        asking.joiners.remove(&id);
        asking.asked_by.remove(&id);
        asking.asked.take_if(|asked| *asked == id);
    }

    /// Somebody asks for a record.
    pub(super) fn take_ask(&mut self, id: PeerId, bytes: &[u8], now: Instant) {
        let Some(ask) = Ask::parse(bytes) else {
            return self.drop_one(DropReason::MalformedInner);
        };
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        let may = match (ask, peer.settings.pass) {
            (Ask::Join(_, invite), Pass::Invited(by)) => invite == by,
            (Ask::Renew(_), Pass::Record(_) | Pass::Listed) => peer.settings.kind == Kind::Member,
            _ => false,
        };
        if !may {
            return self.drop_one(DropReason::UnknownControl);
        }
        let asking = &mut self.directory.asking;
        let last = asking.asked_by.insert(id, now);
        let is_early = last.is_some_and(|at| now.since(at) < EACH_EVERY);
        if is_early || !asking.passed_on.admit_most(MOST_ASKS, now) {
            return self.drop_one(DropReason::RateLimited);
        }
        match asking.signs {
            true => self.events.push_back(Event::Asked(id, ask)),
            false => self.answer_ask(id, Answer::Refused(NotGiven::CannotSign), now),
        }
    }

    /// Answers somebody that has asked.
    pub fn answer_ask(&mut self, id: PeerId, answer: Answer<'_>, now: Instant) {
        let bytes = Zeroizing::new(answer.to_bytes());
        let body = Zeroizing::new(control::write(Element::Answer(&bytes)));
        self.send_control(id, &body, None, now);
    }

    /// Asks a peer; what it answers is an [`Event::Answered`].
    pub fn ask(&mut self, id: PeerId, ask: Ask, now: Instant) {
        self.directory.asking.asked = Some(id);
        let bytes = ask.to_bytes();
        self.send_control(id, &control::write(Element::Ask(&bytes)), None, now);
    }

    /// The record that a peer has shown last, with its proof, if that counts now and is for the key that the peer has shown.
    pub fn good_record_of(&self, id: PeerId, now: Instant) -> Option<Proof> {
        let network = self.directory.network.as_ref()?;
        let proof = Proof::parse(network.introductions.record_of(id)?).ok()?;
        let term = network.settings.realm.believe(&proof).ok()?;
        self.check_time(&proof.record.member, &term, now).ok()?;
        let peer = self.peers.get(id.0 as usize)?;
        let shown = peer.keyring.current()?.between.theirs;
        (*shown.as_bytes() == proof.record.key).then_some(proof)
    }

    /// Somebody that we have asked answers.
    pub(super) fn take_answer(&mut self, id: PeerId, bytes: &[u8], now: Instant) {
        if self.directory.asking.asked != Some(id) {
            return self.drop_one(DropReason::UnknownControl);
        }
        match Answer::parse(bytes) {
            None => self.drop_one(DropReason::MalformedInner),
            Some(Answer::Given(Gift::Record, record)) if self.directory.network.is_some() => {
                self.take_renewed(record, now);
            }
            Some(answer) => {
                if matches!(answer, Answer::Refused(_)) {
                    self.directory.asking.ask_at = Some(now + REFUSED_EVERY);
                }
                self.events.push_back(Event::Answered(id, bytes.to_vec()));
            }
        }
    }

    /// A longer record of ours: it counts from now on if it is one.
    fn take_renewed(&mut self, bytes: &[u8], now: Instant) {
        let Some(network) = &self.directory.network else {
            return;
        };
        let realm = &network.settings.realm;
        let proof = Proof::parse(bytes).ok();
        // One that others would not take, or that holds for less long, is worse than what we have.
        let is_ours = proof.is_some_and(|proof| {
            let Ok(term) = realm.believe(&proof) else {
                return false;
            };
            let is_good = self.check_time(&proof.record.member, &term, now).is_ok();
            let is_of_now = term.not_before <= self.wall_seconds(now).saturating_add(AHEAD);
            let is_later = |own: &super::network::Own| {
                proof.record.member == own.member
                    && term.serial > own.serial
                    && term.not_after > own.not_after
            };
            is_good && is_of_now && network.own.as_ref().is_some_and(is_later)
        });
        let mut settings = network.settings.clone();
        settings.own = Some(bytes.to_vec());
        if !is_ours || !self.set_network(settings, now) {
            return self.drop_one(DropReason::RecordRefused);
        }
        self.events.push_back(Event::Renewed(bytes.to_vec()));
    }

    /// Once a second: asks an admin for a longer record when two thirds of ours are over.
    pub(super) fn go_on_renewing(&mut self, now: Instant) {
        let network = self.directory.network.as_ref();
        let Some(own) = network.and_then(|n| n.own.as_ref()) else {
            return;
        };
        // Who may sign is made by the authority alone.
        if own.is_admin {
            return;
        }
        let life = own.not_after.saturating_sub(own.not_before);
        if self.wall_seconds(now) < own.not_before + life / 3 * 2 {
            return;
        }
        let asking = &self.directory.asking;
        if asking.ask_at.is_some_and(|at| now < at) {
            return;
        }
        let Some(admin) = self.next_admin(asking.asked) else {
            return;
        };
        self.directory.asking.ask_at = Some(now + ASK_EVERY);
        self.ask(admin, Ask::Renew(*self.own.current.as_bytes()), now);
    }

    /// Whom to ask next: members whose record says that they are admins, then those that are listed and may be. Each has its turn.
    fn next_admin(&self, last: Option<PeerId>) -> Option<PeerId> {
        let is_here = |p: &&Peer| p.up_since.is_some() && p.settings.kind == Kind::Member;
        let all = || self.peers.iter().filter(is_here);
        let is_admin = |p: &&Peer| self.roles_of(p).is_some_and(|r| r.has(Roles::ADMIN));
        let may_be = |p: &&Peer| p.settings.pass == Pass::Listed && self.roles_of(p).is_none();
        let mut order: Vec<PeerId> = all().filter(is_admin).map(|p| p.id).collect();
        order.extend(all().filter(may_be).map(|p| p.id));
        let at = order.iter().position(|id| Some(*id) == last);
        let next = at.map_or(0, |at| at + 1);
        order.get(next).or(order.first()).copied()
    }

    pub(super) fn roles_of(&self, peer: &Peer) -> Option<Roles> {
        match peer.settings.pass {
            Pass::Record(recorded) => Some(recorded.roles),
            _ => {
                let network = self.directory.network.as_ref()?;
                let proof = Proof::parse(network.introductions.record_of(peer.id)?).ok()?;
                Some(proof.record.roles)
            }
        }
    }
}
