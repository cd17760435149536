//! Revocations go from member to member: who knows newer ones says so, and who does not asks for them, part by part.
//!
//! # Why
//! A list is signed, so it may come from anybody in the network; the authority is off the network. Members say which epoch they
//! know with each session and when they learn of another, so a list is everywhere one round trip after each hop that it takes; one that
//! was away hears of it when it comes back. One list is fetched at a time, by one question after the other, so nobody is sent
//! more than it asked for, and what is kept of a list that is not whole is bounded by [`MAX_REVOCATIONS_LEN`].

use super::{Event, Node};
use crate::drops::DropReason;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element, Part};
use crate::wire::revocation::MAX_REVOCATIONS_LEN;

/// A part that does not come is asked for again after this,
const AGAIN: Duration = Duration::from_secs(1);
/// so often.
const TRIES: u32 = 5;

/// A list that is on its way here.
pub(super) struct Fetch {
    from: PeerId,
    epoch: u64,
    bytes: Vec<u8>,
    asked_at: Instant,
    tries: u32,
}

impl Node {
    /// Says which revocations we know, to one who may not.
    pub(super) fn tell_epoch(&mut self, id: PeerId, now: Instant) {
        let epoch = self.revocation_epoch();
        let is_member = self.is_kind(id, Kind::Member);
        let is_up = self
            .peers
            .get(id.0 as usize)
            .is_some_and(|p| p.up_since.is_some());
        if epoch > 0 && is_member && is_up {
            self.send_control(id, &control::write(Element::Epoch(epoch)), None, now);
        }
    }

    /// There is a new list: all members hear of it, and so does whoever keeps it.
    pub(super) fn spread(&mut self, list: Vec<u8>, now: Instant) {
        self.events.push_back(Event::Revocations(list.clone()));
        if let Some(network) = &mut self.directory.network {
            network.list = list;
            network.fetch = None;
        }
        for index in 0..self.peers.len() {
            self.tell_epoch(PeerId(u32::try_from(index).unwrap_or(u32::MAX)), now);
        }
    }

    /// A member knows the revocations of this epoch.
    pub(super) fn take_epoch(&mut self, id: PeerId, epoch: u64, now: Instant) {
        let known = self.revocation_epoch();
        let is_member = self.is_kind(id, Kind::Member);
        let Some(network) = self.directory.network.as_mut().filter(|_| is_member) else {
            return;
        };
        let is_coming = network.fetch.as_ref().is_some_and(|f| f.epoch >= epoch);
        if epoch <= known || is_coming {
            return;
        }
        network.fetch = Some(Fetch {
            from: id,
            epoch,
            bytes: Vec::new(),
            asked_at: now,
            tries: 0,
        });
        self.ask_for_part(now);
    }

    fn ask_for_part(&mut self, now: Instant) {
        let fetch = self
            .directory
            .network
            .as_mut()
            .and_then(|n| n.fetch.as_mut());
        let Some(fetch) = fetch else { return };
        fetch.asked_at = now;
        let from = u32::try_from(fetch.bytes.len()).unwrap_or(u32::MAX);
        let (id, wanted) = (fetch.from, Element::Wanted(fetch.epoch, from));
        self.send_control(id, &control::write(wanted), None, now);
    }

    /// A member wants a part of the list.
    pub(super) fn take_wanted(&mut self, id: PeerId, (epoch, from): (u64, u32), now: Instant) {
        let known = self.revocation_epoch();
        let Some(network) = &self.directory.network else {
            return self.drop_one(DropReason::UnknownControl);
        };
        let rest = network.list.get(from as usize..).filter(|_| epoch == known);
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
            return;
        };
        let part = Part {
            epoch,
            total: u32::try_from(network.list.len()).unwrap_or(u32::MAX),
            offset: from,
            bytes: rest.get(..Part::MOST).unwrap_or(rest),
        };
        let body = control::write(Element::Part(part));
        self.send_control(id, &body, None, now);
    }

    /// A part of a list that we asked for.
    pub(super) fn take_part(&mut self, id: PeerId, part: Part<'_>, now: Instant) {
        let Some(network) = &mut self.directory.network else {
            return self.drop_one(DropReason::UnknownControl);
        };
        let is_next = |f: &Fetch| {
            f.from == id && f.epoch == part.epoch && f.bytes.len() == part.offset as usize
        };
        let Some(fetch) = network.fetch.as_mut().filter(|f| is_next(f)) else {
            return;
        };
        let total = part.total as usize;
        let fits = total <= MAX_REVOCATIONS_LEN && fetch.bytes.len() + part.bytes.len() <= total;
        if !fits || part.bytes.is_empty() {
            network.fetch = None;
            return self.drop_one(DropReason::RecordRefused);
        }
        fetch.bytes.extend_from_slice(part.bytes);
        fetch.tries = 0;
        if fetch.bytes.len() < total {
            return self.ask_for_part(now);
        }
        let list = network.fetch.take().map(|f| f.bytes).unwrap_or_default();
        if let Err(reason) = self.revoke(&list, now) {
            self.drop_one(reason);
        }
    }

    /// Once a second: asks again for what has not come.
    pub(super) fn go_on_fetching(&mut self, now: Instant) {
        let Some(network) = &mut self.directory.network else {
            return;
        };
        let Some(fetch) = network.fetch.as_mut() else {
            return;
        };
        if now.since(fetch.asked_at) < AGAIN {
            return;
        }
        fetch.tries += 1;
        match fetch.tries > TRIES {
            // It says so again when it is there again, and so do the others that have it.
            true => network.fetch = None,
            false => self.ask_for_part(now),
        }
    }
}
