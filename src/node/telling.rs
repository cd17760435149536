//! Introductions arrive: they are told in batches, and what was not heard of one is told again.
//!
//! # Why
//! Each introduction is told once to each peer, and one that was lost would leave two members strangers for as long as they run. So
//! whoever hears the end of a batch says what came of it. Our own record goes with the first: who was called and has shown nothing
//! yet is not listened to. A peer that never answers is taken for one that is in no network, and left alone until it speaks of members itself.

use super::Node;
use crate::drops::DropReason;
use crate::mesh::peer::{Kind, Pass};
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element, InBatch};
use crate::wire::record::MemberId;

/// Introductions to one peer at a time: each second, and when it comes.
const AT_ONCE: usize = 50;
/// What was not heard is told again after this, and each time after twice as long,
const AGAIN: Duration = Duration::from_millis(500);
/// but for this long at most;
const AGAIN_MOST: Duration = Duration::from_secs(8);
/// as long as it is there. Who hears and takes nothing of it so often does not believe it.
const MOST_REFUSALS: u32 = 8;
/// So many tries are enough for somebody that has never answered,
const TRIES_AT_FIRST: u32 = 5;
/// and so many times more with another session: it may have been away.
const CHANCES: u8 = 2;

/// How far a peer was told of the row.
#[derive(Default)]
pub(super) struct Telling {
    /// The next place.
    from: u64,
    /// Whether it has our record, as far as it was told here.
    knows_us: bool,
    /// Whether it has ever said that it heard something.
    answers: bool,
    /// Whether it is left alone,
    is_deaf: bool,
    /// and how often it was not, with another session.
    chances: u8,
    on_its_way: Option<OnItsWay>,
}

/// A batch that was told and not heard yet.
struct OnItsWay {
    batch: u32,
    /// Who is in it; nobody stands for ourselves.
    members: Vec<Option<MemberId>>,
    /// Which of them were not heard.
    missing: u64,
    /// The place behind its last.
    to: u64,
    told_at: Instant,
    tries: u32,
    /// How often it was heard, and nothing more of it came.
    refusals: u32,
}

impl OnItsWay {
    fn is_due(&self, now: Instant) -> bool {
        let pause = AGAIN * (1 << (self.tries.saturating_sub(1)).min(8));
        now.since(self.told_at) >= pause.min(AGAIN_MOST)
    }
}

impl Telling {
    /// What is on its way is told, heard or not.
    fn settle(&mut self) {
        if let Some(done) = self.on_its_way.take() {
            self.from = done.to;
            self.knows_us = true;
        }
    }

    /// Whether it is time for another batch, or for the last one again.
    fn is_due(&mut self, now: Instant) -> bool {
        let Some(last) = self.on_its_way.as_ref().filter(|_| !self.is_deaf) else {
            return !self.is_deaf;
        };
        if !last.is_due(now) {
            return false;
        }
        if !self.answers && last.tries >= TRIES_AT_FIRST {
            self.is_deaf = true;
            return false;
        }
        if last.refusals >= MOST_REFUSALS {
            self.settle();
        }
        true
    }

    /// There is a new session: who did not hear may hear now.
    pub(super) fn go_on(&mut self) {
        let has_chance = self.is_deaf && self.chances < CHANCES;
        if !self.answers && !has_chance {
            return;
        }
        self.chances += u8::from(self.is_deaf);
        self.is_deaf = false;
        if let Some(last) = &mut self.on_its_way {
            last.tries = 0;
        }
    }
}

impl Node {
    /// Tells a peer the next few that it has not heard of, and who we are; or again what it has not heard.
    pub(super) fn tell_of_others(&mut self, id: PeerId, now: Instant) {
        let Some(network) = &mut self.directory.network else {
            return;
        };
        let telling = network.introductions.telling.entry(id).or_default();
        if !telling.is_due(now) {
            return;
        }
        if telling.on_its_way.is_none() && !self.begin_batch(id, now) {
            return;
        }
        let Some(network) = &mut self.directory.network else {
            return;
        };
        let telling = network.introductions.telling.get_mut(&id);
        let Some(last) = telling.and_then(|t| t.on_its_way.as_mut()) else {
            return;
        };
        last.told_at = now;
        last.tries += 1;
        let (batch, missing) = (last.batch, last.missing);
        let members = last.members.clone();
        let mut gone = 0;
        let places = members.into_iter().zip(0u8..);
        for (member, index) in places.filter(|(_, index)| missing >> index & 1 == 1) {
            match self.introduction(member, InBatch { batch, index }) {
                Some(body) => self.send_control(id, &body, None, now),
                None => gone |= 1 << index,
            }
        }
        let body = control::write(Element::Told(batch));
        self.send_control(id, &body, None, now);
        self.take_missing(id, (batch, gone));
    }

    /// Puts together whom a peer is told of next; gives whether there is anybody.
    fn begin_batch(&mut self, id: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return false;
        };
        let held = peer.keyring.current().and_then(|s| s.held);
        let is_known = peer.settings.pass != Pass::Awaited;
        let Some(network) = &mut self.directory.network else {
            return false;
        };
        let introductions = &mut network.introductions;
        let Some(telling) = introductions.telling.get(&id) else {
            return false;
        };
        let own = network.own.as_ref().filter(|own| held != Some(own.serial));
        let mut members = Vec::new();
        members.extend(own.filter(|_| !telling.knows_us).map(|_| None));
        let mut to = telling.from;
        // Who has not shown who it is hears of nobody else.
        let row = introductions
            .row_from(to)
            .take(if is_known { AT_ONCE } else { 0 });
        for (place, member) in row {
            to = place + 1;
            let owner = introductions.introduced(&member).map(|i| i.owner);
            let peer = owner.and_then(|owner| self.peers.get(owner.0 as usize));
            // Who is not here gets a place further on when it comes.
            if peer.is_some_and(|p| p.up_since.is_some() && p.id != id) {
                members.push(Some(member));
            }
        }
        // By dice: nobody's word of an earlier one, or of an earlier life of ours, counts for it.
        let batch = self.entropy.next_u32() | 1;
        let Some(telling) = introductions.telling.get_mut(&id) else {
            return false;
        };
        if members.is_empty() {
            telling.from = to;
            return false;
        }
        telling.on_its_way = Some(OnItsWay {
            batch,
            missing: (1 << members.len()) - 1,
            members,
            to,
            told_at: now,
            tries: 0,
            refusals: 0,
        });
        true
    }

    /// What is said of a member, or of ourselves; `None` when it is not here any more.
    fn introduction(&self, member: Option<MemberId>, place: InBatch) -> Option<Vec<u8>> {
        let network = self.directory.network.as_ref()?;
        let Some(member) = member else {
            let own = network.settings.own.as_ref()?;
            return Some(control::write(Element::Member(own, None, place)));
        };
        let introduced = network.introductions.introduced(&member)?;
        let peer = self.peers.get(introduced.owner.0 as usize)?;
        peer.up_since?;
        let way = peer.path.endpoint().filter(|way| way.channel.is_none());
        let seen = way
            .filter(|way| self.leg(way).is_none())
            .map(|way| way.remote);
        let element = Element::Member(&introduced.record, seen, place);
        Some(control::write(element))
    }

    /// A peer has told a batch: it hears what came of it.
    pub(super) fn take_told(&mut self, id: PeerId, batch: u32, now: Instant) {
        let may = self.may_introduce(id);
        let network = self.directory.network.as_ref().filter(|_| may);
        let Some(network) = network else {
            return self.drop_one(DropReason::UnknownControl);
        };
        let heard = network.introductions.heard_of(id, batch);
        self.hear_from(id);
        let body = control::write(Element::Heard(batch, heard));
        self.send_control(id, &body, None, now);
        if self.is_kind(id, Kind::Relay) {
            // It is of the network, as it shows by that.
            self.tell_epochs(id, now);
        }
    }

    /// A peer has another session: what it has not heard is told in it.
    pub(super) fn listen_again(&mut self, id: PeerId) {
        let network = self.directory.network.as_mut();
        if let Some(telling) = network.and_then(|n| n.introductions.telling.get_mut(&id)) {
            telling.go_on();
        }
    }

    /// A peer speaks of members itself, so it is of the network, whatever it has not said so far.
    fn hear_from(&mut self, id: PeerId) {
        let network = self.directory.network.as_mut();
        let telling = network.and_then(|n| n.introductions.telling.get_mut(&id));
        if let Some(telling) = telling {
            telling.is_deaf = false;
            telling.answers = true;
        }
    }

    /// A peer says what came of a batch.
    pub(super) fn take_heard(&mut self, id: PeerId, (batch, which): (u32, u64), now: Instant) {
        let network = self.directory.network.as_mut();
        let telling = network.and_then(|n| n.introductions.telling.get_mut(&id));
        let Some(telling) = telling else {
            return self.drop_one(DropReason::UnknownControl);
        };
        if let Some(last) = &mut telling.on_its_way
            && last.batch == batch
            && last.missing & which == 0
        {
            last.refusals += 1;
        }
        self.hear_from(id);
        // Many go on in the next second.
        if self.take_missing(id, (batch, which)) {
            self.tell_of_others(id, now);
        }
    }

    /// These of a batch are heard, or gone: gives whether it was a small one, and this was the last of it.
    fn take_missing(&mut self, id: PeerId, (batch, which): (u32, u64)) -> bool {
        let network = self.directory.network.as_mut();
        let telling = network.and_then(|n| n.introductions.telling.get_mut(&id));
        let Some(telling) = telling else { return false };
        let last = telling.on_its_way.as_mut().filter(|l| l.batch == batch);
        let Some(last) = last else { return false };
        last.missing &= !which;
        let is_small = last.members.len() < AT_ONCE;
        let is_whole = last.missing == 0;
        if is_whole {
            telling.settle();
        }
        is_whole && is_small
    }
}
