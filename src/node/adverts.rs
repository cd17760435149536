//! What members tell each other of the hosts behind their ports.
//!
//! The switch says what has changed ([`crate::switch::table::News`] and its like); it is written to the journal, which
//! each connected peer reads ([`crate::mesh::journal`]). What peers tell is taken only in segments and VLANs that the
//! configuration lets them take part in, and is forgotten when they are gone.

use super::{Event, Node};
use crate::drops::DropReason;
use crate::mesh::journal::{Inbox, Journal, Reader, Reading};
use crate::mesh::peer::Kind;
use crate::place::{PeerId, Place};
use crate::switch::groups::Subject as GroupSubject;
use crate::switch::neighbors::{Address, Neighbor};
use crate::switch::table::{Claim, Key, Learned, Learning, News};
use crate::time::{Duration, Instant};
use crate::wire::advert::{Advert, Item, Receipt, State, Subject, Topic};
use crate::wire::control::{self, Element};
use crate::wire::neighbor::Binding;
use crate::wire::offer::Abilities;
use crate::wire::segment::SegmentId;

/// What the switch tells is compared with the journal this often, in case that something was not told.
const RECONCILE: Duration = Duration::from_secs(30);

/// The first news is taken at once, what follows it this much later, all together.
const TAKEN_EVERY: Duration = Duration::from_millis(5);

/// The shortest and the longest time between two readings of everything.
const REREAD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(64));

/// The journal and those who read and write others'.
pub(super) struct Adverts {
    journal: Journal,
    peers: Vec<Correspondence>,
    scratch: Vec<u8>,
    reconcile_at: Instant,
    rereading: Rereading,
    /// When news was taken from the switch last.
    taken_at: Instant,
    /// When to take what has come since then.
    take_at: Option<Instant>,
}

/// When all journals are read again, because the table has lost something of what members told: soon, and ever later while
/// that goes on.
struct Rereading {
    /// How much it had lost when they were read last.
    lost: u64,
    /// Not before.
    next_at: Instant,
    pause: Duration,
}

impl Rereading {
    /// Whether they are to be read now.
    fn is_due(&mut self, lost: u64, now: Instant) -> bool {
        if lost == self.lost || now < self.next_at {
            return false;
        }
        let is_calm = now.since(self.next_at) > self.pause;
        self.pause = match is_calm {
            true => REREAD.0,
            false => (self.pause * 2).min(REREAD.1),
        };
        (self.lost, self.next_at) = (lost, now + self.pause);
        true
    }
}

/// Both directions with one peer.
#[derive(Default)]
struct Correspondence {
    reader: Reader,
    inbox: Inbox,
    is_open: bool,
    /// Which editions of our announcement and the peer's were known when it was asked.
    editions: (u32, u32),
}

impl Adverts {
    pub(super) fn new() -> Adverts {
        Adverts {
            journal: Journal::default(),
            peers: Vec::new(),
            scratch: Vec::new(),
            reconcile_at: Instant::ZERO,
            taken_at: Instant::ZERO,
            take_at: None,
            rereading: Rereading {
                lost: 0,
                next_at: Instant::ZERO,
                pause: REREAD.0,
            },
        }
    }

    fn of(&mut self, id: PeerId) -> &mut Correspondence {
        let index = id.0 as usize;
        if self.peers.len() <= index {
            self.peers.resize_with(index + 1, Correspondence::default);
        }
        // The line above made room for it.
        &mut self.peers[index]
    }

    /// When the next message is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let open = self.peers.iter().filter(|p| p.is_open);
        let due = open.filter_map(|p| self.journal.due(&p.reader));
        due.chain(self.take_at).min()
    }
}

impl Node {
    /// A peer can receive: asks for its journal. Its own request begins ours.
    pub(super) fn open_adverts(&mut self, id: PeerId, now: Instant) {
        let (epoch, editions) = (self.entropy.next_u32(), self.editions(id));
        let peer = self.lan.adverts.of(id);
        *peer = Correspondence {
            reader: Reader::default(),
            inbox: Inbox::new(epoch),
            is_open: true,
            editions,
        };
        self.send_receipt(id, now);
    }

    /// Which edition of our announcement a peer has, and which of its own we have.
    fn editions(&self, id: PeerId) -> (u32, u32) {
        let peer = self.peers.get(id.0 as usize);
        let session = peer.and_then(|p| p.keyring.current());
        session.map_or((0, 0), |s| (s.told, s.edition))
    }

    /// A new session began. A peer that tells nothing any more is told nothing either: a restart may have changed its mind.
    /// Where the VLANs of either have changed, everything is told anew: nothing was told of those that were not known of, and
    /// nothing was taken back of those that are gone.
    pub(super) fn renew_adverts(&mut self, id: PeerId, now: Instant) {
        let editions = self.editions(id);
        let peer = self.lan.adverts.of(id);
        let (is_open, is_other) = (peer.is_open, peer.editions != editions);
        match (is_open, self.has_adverts(id)) {
            (true, false) => self.close_adverts(id),
            (false, true) => self.open_adverts(id, now),
            (true, true) if is_other => {
                let epoch = self.entropy.next_u32();
                let peer = self.lan.adverts.of(id);
                peer.editions = editions;
                peer.inbox.begin_anew(epoch);
                self.send_receipt(id, now);
            }
            _ => {}
        }
    }

    /// A peer is gone, and all that is known of its hosts.
    pub(super) fn close_adverts(&mut self, id: PeerId) {
        *self.lan.adverts.of(id) = Correspondence::default();
        self.plane.switch.forget(Place::Peer(id));
    }

    /// Asks again those whose journal has not begun.
    pub(super) fn ask_for_adverts(&mut self, id: PeerId, now: Instant) {
        let peer = self.lan.adverts.of(id);
        if peer.is_open && peer.inbox.is_waiting() {
            self.send_receipt(id, now);
        }
    }

    fn has_adverts(&self, id: PeerId) -> bool {
        let peer = self.peers.get(id.0 as usize);
        let member = peer.filter(|p| p.settings.kind == Kind::Member);
        let session = member.and_then(|p| p.keyring.current());
        session.is_some_and(|s| s.abilities.has(Abilities::ADVERTS))
    }

    fn send_receipt(&mut self, id: PeerId, now: Instant) {
        if self.has_adverts(id) {
            let peer = self.lan.adverts.of(id);
            let receipt = peer.inbox.receipt(peer.reader.epoch());
            let body = control::write(Element::Receipt(receipt));
            self.send_control(id, &body, None, now);
        }
    }

    /// A peer tells how far it has read. One that does not know that we read has lost its memory.
    pub(super) fn take_receipt(&mut self, id: PeerId, receipt: Receipt, now: Instant) {
        let fresh = self.entropy.next_u32();
        let adverts = &mut self.lan.adverts;
        adverts.of(id);
        let Some(peer) = adverts.peers.get_mut(id.0 as usize).filter(|p| p.is_open) else {
            return;
        };
        let journal = &adverts.journal;
        journal.acknowledge(&mut peer.reader, receipt, fresh, now);
        if receipt.knows == 0 && !peer.inbox.is_waiting() {
            peer.inbox.begin_anew(self.entropy.next_u32());
            self.send_receipt(id, now);
        }
    }

    /// A peer tells of its hosts.
    pub(super) fn take_advert(&mut self, id: PeerId, advert: &Advert<'_>, now: Instant) {
        let peer = self.lan.adverts.of(id);
        if !peer.is_open {
            return;
        }
        let Some(items) = advert.items() else {
            return self.drop_one(DropReason::MalformedInner);
        };
        let reading = peer.inbox.read(advert);
        if reading == Reading::TakeAnew {
            self.plane.switch.forget(Place::Peer(id));
        }
        if reading != Reading::Skip {
            items.iter().for_each(|item| self.take_item(id, item, now));
        }
        self.send_receipt(id, now);
        self.tell_news(now);
    }

    fn take_item(&self, id: PeerId, item: &Item, now: Instant) {
        let Topic {
            segment,
            class,
            subject,
        } = item.topic;
        let switch = &self.plane.switch;
        let layout = switch.layout();
        let Some(domain) = layout.domain(segment) else {
            return;
        };
        let Ok(limit) = domain.admit(id, class) else {
            return;
        };
        if !domain.vlans.contains(class) {
            return;
        }
        let claims = limit.map(|l| &l.claims);
        let may = match (subject, claims) {
            (Subject::Mac(mac), claims) => {
                claims.is_none_or(|c| c.allows_mac(mac))
                    && domain.admit_source(Place::Peer(id), mac).is_ok()
            }
            (Subject::Address(ip), Some(claims)) => claims.allows_address(ip),
            _ => true,
        };
        if !may {
            return self.drop_one(DropReason::SourceNotGranted);
        }
        let is_own = |mac| layout.is_own(mac);
        match (subject, item.state) {
            (Subject::Mac(mac), State::Host { .. }) if is_own(mac) => {
                self.drop_one(DropReason::SourceIsOwn);
            }
            (Subject::Mac(mac), State::Host { seq, is_isolated }) => {
                let key = Key::new(segment, class, mac);
                let claim = Claim {
                    seq,
                    is_isolated,
                    outranks: self.outranks(id, key, now),
                };
                switch.table.tell(key, id, claim, now);
            }
            (Subject::Mac(mac), _) => switch.table.untell(Key::new(segment, class, mac), id),
            (Subject::Address(ip), state) => {
                let address = Address { segment, class, ip };
                self.take_address(id, address, state, now);
            }
            (Subject::Group(mac), state) => {
                let subject = GroupSubject::Group(Key::new(segment, class, mac));
                self.take_group(id, subject, state);
            }
            (Subject::Querier(family), state) => {
                let subject = GroupSubject::Querier(segment, class, family);
                self.take_group(id, subject, state);
            }
            (Subject::Crowd(family), state) => {
                let subject = GroupSubject::Crowd(segment, class, family);
                self.take_group(id, subject, state);
            }
            (Subject::Routers(family), state) => {
                let subject = GroupSubject::Routers(segment, class, family);
                self.take_group(id, subject, state);
            }
        }
    }

    /// Whether a peer's claim wins against one of the same number: the smaller key does.
    fn outranks(&self, id: PeerId, key: Key, now: Instant) -> bool {
        let known = self.plane.switch.table.look_up(key, now);
        let key_of = |id: PeerId| self.peers.get(id.0 as usize).map(|p| p.known_as());
        let holder = match known.map(|home| home.place()) {
            Some(Place::Port(_)) => Some(self.known_as(id)),
            Some(Place::Peer(other)) => key_of(other),
            None => None,
        };
        key_of(id) < holder
    }

    fn take_address(&self, id: PeerId, address: Address, state: State, now: Instant) {
        let switch = &self.plane.switch;
        let State::Bound { mac, is_router } = state else {
            return switch.neighbors.untell(address, id);
        };
        let place = Place::Peer(id);
        let known = switch.neighbors.get(address, now);
        // A host that has moved is where its MAC is.
        let home = switch.table.look_up(address.mac(mac), now);
        let is_elsewhere = known.is_some_and(|n| n.binding.mac == mac && n.place != place)
            && home.is_some_and(|h| h.place() != place);
        if !is_elsewhere {
            let ip = address.ip;
            let is_router = Some(is_router);
            let binding = Binding { ip, mac, is_router };
            switch.neighbors.note(address, binding, (place, true), now);
        }
    }

    fn take_group(&self, id: PeerId, subject: GroupSubject, state: State) {
        match state {
            State::There => self.plane.switch.groups.tell(subject, id),
            _ => self.plane.switch.groups.untell(subject, id),
        }
    }

    /// There is news: takes it, or waits a moment for more. Hosts can make it as fast as they like.
    pub(super) fn news(&mut self, now: Instant) {
        let next = self.lan.adverts.taken_at + TAKEN_EVERY;
        match now >= next {
            true => self.tell_news(now),
            false => self.lan.adverts.take_at = Some(next),
        }
    }

    /// Takes news that has waited.
    pub(super) fn take_due_news(&mut self, now: Instant) {
        if self.lan.adverts.take_at.is_some_and(|at| now >= at) {
            self.tell_news(now);
        }
    }

    /// Writes what has changed behind our ports to the journal, and says what happened to MACs and addresses.
    pub(super) fn tell_news(&mut self, now: Instant) {
        self.lan.adverts.taken_at = now;
        self.lan.adverts.take_at = None;
        if self.plane.switch.table.limits().learning != Learning::Data {
            self.write_news(now);
        }
        let plane = self.plane.clone();
        let (table, neighbors) = (&plane.switch.table, &plane.switch.neighbors);
        let moved = std::iter::from_fn(|| table.next_moved()).map(Event::MacMoved);
        self.events.extend(moved);
        let frozen = std::iter::from_fn(|| table.next_frozen()).map(Event::Frozen);
        self.events.extend(frozen);
        let quarrels = std::iter::from_fn(|| neighbors.next_quarrel()).map(Event::Quarrel);
        self.events.extend(quarrels);
    }

    fn write_news(&mut self, now: Instant) {
        let plane = self.plane.clone();
        let (table, neighbors) = (&plane.switch.table, &plane.switch.neighbors);
        match table.take_news() {
            News::Some(keys) => keys
                .into_iter()
                .for_each(|key| self.write_mac(key, table.get(key, now).as_ref())),
            News::Everything => self.reconcile(now),
        }
        for address in neighbors.take_news() {
            self.write_address(address, neighbors.get(address, now).as_ref());
        }
        for (subject, is_there) in plane.switch.groups.take_news() {
            let state = if is_there { State::There } else { State::Gone };
            if let Some(topic) = topic_of(subject) {
                self.lan.adverts.journal.write(Item { topic, state });
            }
        }
    }

    fn write_mac(&mut self, key: Key, known: Option<&Learned>) {
        let Some(segment) = SegmentId::new(key.segment()) else {
            return;
        };
        let state = match known {
            Some(l) if matches!(l.place, Place::Port(_)) => State::Host {
                seq: l.seq,
                is_isolated: l.home.is_isolated(),
            },
            _ => State::Gone,
        };
        let topic = Topic {
            segment,
            class: key.class(),
            subject: Subject::Mac(key.mac()),
        };
        self.lan.adverts.journal.write(Item { topic, state });
    }

    fn write_address(&mut self, address: Address, known: Option<&Neighbor>) {
        let state = match known {
            Some(n) if matches!(n.place, Place::Port(_)) => State::Bound {
                mac: n.binding.mac,
                is_router: n.binding.is_router == Some(true),
            },
            _ => State::Gone,
        };
        let topic = Topic {
            segment: address.segment,
            class: address.class,
            subject: Subject::Address(address.ip),
        };
        self.lan.adverts.journal.write(Item { topic, state });
    }

    /// Compares all that is told with all that is so.
    fn reconcile(&mut self, now: Instant) {
        let (table, neighbors) = (&self.plane.switch.table, &self.plane.switch.neighbors);
        let (macs, addresses) = (table.entries(now), neighbors.entries(now));
        let is_so = |item: &Item| {
            let Topic { segment, class, .. } = item.topic;
            match item.topic.subject {
                Subject::Mac(mac) => macs
                    .binary_search_by_key(&Key::new(segment, class, mac), |l| l.key)
                    .is_ok(),
                Subject::Address(ip) => addresses
                    .binary_search_by_key(&Address { segment, class, ip }, |n| n.address)
                    .is_ok(),
                _ => true,
            }
        };
        let told = self.lan.adverts.journal.told();
        let gone: Vec<Topic> = told.filter(|i| !is_so(i)).map(|i| i.topic).collect();
        for topic in gone {
            let state = State::Gone;
            self.lan.adverts.journal.write(Item { topic, state });
        }
        macs.iter().for_each(|l| self.write_mac(l.key, Some(l)));
        let each = |n: &Neighbor| self.write_address(n.address, Some(n));
        addresses.iter().for_each(each);
    }

    /// Tells everybody what they have not been told.
    pub(super) fn send_adverts(&mut self, now: Instant) {
        if self.lan.adverts.journal.is_overfull() {
            self.tidy_journal();
        }
        let readers = self.lan.adverts.peers.len();
        for index in 0..readers {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            let mut scratch = std::mem::take(&mut self.lan.adverts.scratch);
            while let Some(body) = self.next_advert(id, &mut scratch, now) {
                self.send_control(id, &body, None, now);
            }
            self.lan.adverts.scratch = scratch;
        }
    }

    fn next_advert(&mut self, id: PeerId, scratch: &mut Vec<u8>, now: Instant) -> Option<Vec<u8>> {
        if !self.has_adverts(id) {
            return None;
        }
        let layout = self.plane.switch.layout();
        let adverts = &mut self.lan.adverts;
        let peer = adverts.peers.get_mut(id.0 as usize)?;
        if !peer.is_open {
            return None;
        }
        // What a peer has no part in is not its business.
        let wants = |topic: &Topic| {
            let member = layout.domain(topic.segment).and_then(|d| d.member(id));
            member.is_some_and(|m| m.vlans.contains(topic.class))
        };
        let advert = adverts
            .journal
            .next(&mut peer.reader, wants, scratch, now)?;
        Some(control::write(Element::Advert(advert)))
    }

    /// Reads all members' journals from the beginning: something that they told was forgotten.
    fn read_again(&mut self, now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            if self.lan.adverts.of(id).is_open {
                self.read_one_again(id, now);
            }
        }
    }

    fn read_one_again(&mut self, id: PeerId, now: Instant) {
        let epoch = self.entropy.next_u32();
        self.lan.adverts.of(id).inbox.read_again(epoch);
        self.send_receipt(id, now);
    }

    /// Once a second: what was taken back and is known to all needs no line any more.
    pub(super) fn tidy_adverts(&mut self, now: Instant) {
        let tells = self.plane.switch.table.limits().learning != Learning::Data;
        if tells && now >= self.lan.adverts.reconcile_at {
            self.lan.adverts.reconcile_at = now + RECONCILE;
            self.reconcile(now);
        }
        let lost = self.plane.switch.table.lost();
        if tells && self.lan.adverts.rereading.is_due(lost, now) {
            self.read_again(now);
        }
        self.tidy_journal();
    }

    fn tidy_journal(&mut self) {
        let Adverts { journal, peers, .. } = &mut self.lan.adverts;
        let open = peers.iter_mut().filter(|p| p.is_open);
        journal.tidy(open.map(|p| &mut p.reader), || self.entropy.next_u32());
    }

    /// Forgets MACs and addresses that somebody wants forgotten, and asks the members again; gives how many MACs.
    pub fn flush_macs(&mut self, is_meant: impl Fn(Key, Place) -> bool, now: Instant) -> usize {
        let count = self.plane.switch.table.flush(&is_meant);
        let neighbors = &self.plane.switch.neighbors;
        neighbors.flush(|address, mac, place| is_meant(address.mac(mac), place));
        self.tell_news(now);
        self.read_again(now);
        self.send_adverts(now);
        count
    }
}

fn topic_of(subject: GroupSubject) -> Option<Topic> {
    Some(match subject {
        GroupSubject::Group(key) => Topic {
            segment: SegmentId::new(key.segment())?,
            class: key.class(),
            subject: Subject::Group(key.mac()),
        },
        GroupSubject::Querier(segment, class, family) => Topic {
            segment,
            class,
            subject: Subject::Querier(family),
        },
        GroupSubject::Crowd(segment, class, family) => Topic {
            segment,
            class,
            subject: Subject::Crowd(family),
        },
        GroupSubject::Routers(segment, class, family) => Topic {
            segment,
            class,
            subject: Subject::Routers(family),
        },
    })
}
