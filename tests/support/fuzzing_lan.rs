//! What the fuzzer drives of the LAN's side: what hosts say, what members tell, tables and port rules against models that
//! are written apart from the product.

use std::collections::{BTreeMap, HashMap, VecDeque};

use l2vpn::mesh::journal::{Inbox, Journal, MAX_GONE, Reader, Reading};
use l2vpn::place::{PeerId, Place, PortId};
use l2vpn::switch::port::PortRule;
use l2vpn::switch::table::{Claim, ForwardingTable, Home, Key, Learning, Limits};
use l2vpn::switch::translation::VidMap;
use l2vpn::time::{Duration, Instant};
use l2vpn::wire::advert::{Advert, Item, Receipt, State, Subject, Topic};
use l2vpn::wire::checksum;
use l2vpn::wire::ethernet::{Frame, Mac, Parts};
use l2vpn::wire::membership::{Membership, Scope};
use l2vpn::wire::neighbor::{Answer, Binding, Talk};
use l2vpn::wire::probe::Probe;
use l2vpn::wire::segment::SegmentId;
use l2vpn::wire::service::Service;
use l2vpn::wire::vlan::{Vid, VlanClass};

use super::Input;

fn key(n: u8) -> Key {
    let segment = SegmentId::new(1).expect("a segment");
    Key::new(segment, VlanClass::UNTAGGED, Mac([2, 0, 0, 0, 0, n]))
}

/// What hosts say of addresses, groups, services and loops. The answer to a question is a frame that says what it should.
pub fn snooping(data: &[u8]) {
    overheard(data);
    if let Some(intact) = intact(data) {
        overheard(&intact);
    }
}

/// The same frame with a right checksum where IGMP or ICMPv6 has one: nobody guesses it.
fn intact(data: &[u8]) -> Option<Vec<u8>> {
    let mut frame = data.to_vec();
    let mut at = 12;
    while TPIDS.contains(&u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?])) {
        at += 4;
    }
    let packet = at + 2;
    let (sum, message, end) = match frame.get(at..packet)? {
        [8, 0] => {
            let header = frame.get(packet..packet + 20)?;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let message = packet + usize::from(header[0] & 15) * 4;
            (0, message, packet + total)
        }
        [0x86, 0xdd] => {
            let header = frame.get(packet..packet + 40)?;
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let options = match header[6] {
                0 => 8 * (1 + usize::from(*frame.get(packet + 41)?)),
                _ => 0,
            };
            let sum = checksum::pseudo(&header[8..], 58, len.checked_sub(options)?);
            (sum, packet + 40 + options, packet + 40 + len)
        }
        _ => return None,
    };
    frame.get_mut(message + 2..message + 4)?.fill(0);
    let sum = checksum::finish(checksum::add(sum, frame.get(message..end)?));
    frame[message + 2..message + 4].copy_from_slice(&sum.to_be_bytes());
    Some(frame)
}

fn overheard(data: &[u8]) {
    let Ok(frame) = Frame::parse(data) else {
        return;
    };
    let parts = frame.parts;
    let _ = (Service::of(parts.after_tag()), Probe::read(&parts));
    let said = Membership::of(&parts);
    if let Some(Membership::Report(_, groups)) = &said {
        assert!(groups.len() <= data.len() / 8);
        assert!(groups.iter().all(|(mac, _)| mac.is_group()));
    }
    if frame.destination.is_group() && Scope::of(&parts) != Scope::Everybody {
        assert_ne!(frame.destination, Mac::BROADCAST);
    }
    let Some(talk) = Talk::of(&parts) else {
        return;
    };
    if let Some(binding) = talk.binding {
        assert_eq!(binding.mac, frame.source, "of others nothing is believed");
    }
    let Some(query) = talk.query else {
        return;
    };
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    let is_router = Some(data.len().is_multiple_of(2));
    let binding = Binding {
        ip: query.target,
        mac,
        is_router,
    };
    let answer = Answer::new(&query, &binding).expect("of the same family");
    let answer = Frame::parse(&answer).expect("a frame");
    assert_eq!(answer.source, mac);
    let talk = Talk::of(&answer.parts).expect("it says something");
    let is_router = is_router.filter(|_| query.target.is_ipv6());
    assert_eq!(
        talk.binding,
        Some(Binding {
            is_router,
            ..binding
        })
    );
    assert_eq!(talk.query, None);
    for ask in [
        Answer::probe(&binding, mac),
        Answer::search(query.target, mac),
    ] {
        let ask = Frame::parse(&ask).expect("a frame");
        let talk = Talk::of(&ask.parts).expect("a question");
        assert_eq!(talk.query.is_some(), ask.destination.is_group());
    }
}

/// Items that members tell: what is read is written back, and cut off anywhere it is refused or is the part before.
pub fn adverts(data: &[u8]) {
    let Some(items) = Advert::new((1, 2, 3), data).items() else {
        return;
    };
    let mut written = Vec::new();
    items.iter().for_each(|i| i.write(&mut written));
    let again = Advert::new((1, 2, 3), &written).items();
    assert_eq!(again.as_deref(), Some(&items[..]));
    for cut in 0..written.len().min(64) {
        if let Some(part) = Advert::new((1, 2, 3), &written[..cut]).items() {
            assert_eq!(part[..], items[..part.len()]);
        }
    }
}

/// A member that reads another's journal, and what lies between them.
struct Correspondent {
    reader: Reader,
    inbox: Inbox,
    heard: HashMap<Topic, State>,
    /// Adverts on their way, as their numbers and bytes.
    there: VecDeque<((u32, u64, u64), Vec<u8>)>,
    back: VecDeque<Receipt>,
    epochs: u32,
}

impl Correspondent {
    fn new(epochs: u32) -> Self {
        Correspondent {
            reader: Reader::default(),
            inbox: Inbox::new(epochs),
            heard: HashMap::new(),
            there: VecDeque::new(),
            back: VecDeque::new(),
            epochs,
        }
    }

    fn next_epoch(&mut self) -> u32 {
        self.epochs += 1;
        self.epochs
    }

    /// What the node does with a receipt by which the other says that it does not know this reader.
    fn notice(&mut self) {
        if self.reader.epoch() == 0 && !self.inbox.is_waiting() {
            let epoch = self.next_epoch();
            self.inbox.begin_anew(epoch);
            self.send_receipt();
        }
    }

    fn send_receipt(&mut self) {
        self.back.push_back(self.inbox.receipt(1));
    }

    fn take(&mut self, ((name, from, upto), bytes): ((u32, u64, u64), Vec<u8>)) {
        let advert = Advert::new((name, from, upto), &bytes);
        let items = advert.items().expect("as it was written");
        let reading = self.inbox.read(&advert);
        if reading == Reading::TakeAnew {
            self.heard.clear();
        }
        if reading != Reading::Skip {
            for item in items {
                match item.state {
                    State::Gone => self.heard.remove(&item.topic),
                    state => self.heard.insert(item.topic, state),
                };
            }
        }
        self.send_receipt();
    }
}

fn topic(n: u16) -> Topic {
    let [a, b] = n.to_be_bytes();
    Topic {
        segment: SegmentId::new(1).expect("a segment"),
        class: VlanClass::UNTAGGED,
        subject: Subject::Mac(Mac([2, 0, 0, 0, a, b])),
    }
}

/// A journal and two readers, any schedule of losses, repetitions, restarts and cuts: in the end both know what is told.
pub fn journal(data: &[u8]) {
    let mut input = Input(data);
    let mut journal = Journal::default();
    let mut readers = [Correspondent::new(1000), Correspondent::new(2000)];
    let (mut now, mut names, mut bursts) = (Instant::from_micros(1), 0u32, 0);
    readers.iter_mut().for_each(Correspondent::send_receipt);
    while !input.is_empty() && now < Instant::from_micros(600_000_000) {
        let operation = input.u8();
        let one = &mut readers[usize::from(operation >> 7)];
        let mut fresh = || {
            names += 1;
            names
        };
        match operation & 15 {
            0..=3 => {
                let n = u16::from(input.u8() % 32);
                let seq = u32::from(operation >> 4 & 3);
                let state = match seq {
                    0 => State::Gone,
                    seq => State::Host {
                        seq,
                        is_isolated: false,
                    },
                };
                let topic = topic(n);
                journal.write(Item { topic, state });
            }
            4 | 5 => {
                if let Some(message) = one.there.pop_front() {
                    one.take(message);
                }
            }
            6 => drop(one.there.pop_front()),
            7 => {
                if let Some(message) = one.there.front().cloned() {
                    one.there.push_back(message);
                }
            }
            8 | 9 => {
                if let Some(receipt) = one.back.pop_front() {
                    journal.acknowledge(&mut one.reader, receipt, fresh(), now);
                }
            }
            10 => drop(one.back.pop_front()),
            11 => {
                let all = readers.iter_mut().map(|r| &mut r.reader);
                journal.tidy(all, fresh);
            }
            // The reader has lost its memory; the writer is told so by an epoch that it does not know.
            12 => {
                let epoch = one.next_epoch();
                one.inbox = Inbox::new(epoch);
                one.heard.clear();
                one.send_receipt();
            }
            // It reads again, because it had no room for something.
            13 => {
                let epoch = one.next_epoch();
                one.inbox.read_again(epoch);
                one.send_receipt();
            }
            // The writer has lost its memory of the reader, which notices now or later.
            14 => {
                one.reader = Reader::default();
                if operation & 0x10 != 0 {
                    one.notice();
                }
            }
            _ if bursts < 2 && operation == 0x7f => {
                bursts += 1;
                let all = MAX_GONE as u16 + 100;
                let host = |seq| State::Host {
                    seq,
                    is_isolated: true,
                };
                for state in [host(9), State::Gone] {
                    (0..all).for_each(|n| {
                        let topic = topic(n);
                        journal.write(Item { topic, state });
                    });
                }
                assert!(journal.is_overfull());
            }
            _ => now = now + Duration::from_millis(u64::from(input.u8())),
        }
        send(&journal, &mut readers, now);
    }
    // From here on nothing is lost; who waits asks again.
    for _ in 0..2000 {
        now = now + Duration::from_millis(30);
        if journal.is_overfull() {
            let all = readers.iter_mut().map(|r| &mut r.reader);
            journal.tidy(all, || {
                names += 1;
                names
            });
        }
        send(&journal, &mut readers, now);
        for one in &mut readers {
            while let Some(message) = one.there.pop_front() {
                one.take(message);
            }
            one.notice();
            if one.inbox.is_waiting() {
                one.send_receipt();
            }
            while let Some(receipt) = one.back.pop_front() {
                names += 1;
                journal.acknowledge(&mut one.reader, receipt, names, now);
            }
        }
    }
    let told: HashMap<Topic, State> = journal.told().map(|i| (i.topic, i.state)).collect();
    for one in &readers {
        assert_eq!(one.heard, told);
    }
}

fn send(journal: &Journal, readers: &mut [Correspondent; 2], now: Instant) {
    for one in readers {
        let mut scratch = Vec::new();
        while let Some(advert) = journal.next(&mut one.reader, |_| true, &mut scratch, now) {
            let mut bytes = Vec::new();
            let items = advert.items().expect("as it was written");
            items.iter().for_each(|i| i.write(&mut bytes));
            let numbers = (advert.journal, advert.from, advert.upto);
            one.there.push_back((numbers, bytes));
        }
    }
}

/// What the model of the forwarding table knows of a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    place: Place,
    is_told: bool,
    is_isolated: bool,
    seq: u32,
    seen: Instant,
}

const AGE: Duration = Duration::from_secs(1000);

impl Known {
    fn is_old(&self, now: Instant) -> bool {
        !self.is_told && now.since(self.seen) >= AGE
    }
}

fn place(n: u8) -> Place {
    match n % 6 {
        n @ 0..=2 => Place::Port(PortId(u16::from(n))),
        n => Place::Peer(PeerId(u32::from(n))),
    }
}

/// The forwarding table against a model of a few lines: moves are so rare here that none is held.
pub fn forwarding_table(data: &[u8]) {
    let limits = Limits {
        total: 1000,
        per_place: 1000,
        age: AGE,
        learning: Learning::Both,
    };
    let table = ForwardingTable::new(limits, (1, 2), &[]);
    let mut model: BTreeMap<Key, Known> = BTreeMap::new();
    let (mut input, mut now) = (Input(data), Instant::from_micros(1_000_000));
    while !input.is_empty() {
        let (operation, which) = (input.u8(), input.u8());
        now = now + Duration::from_secs(40 + 8 * u64::from(operation >> 4));
        let (key, place) = (key(which % 8), place(which >> 3));
        let known = model.get(&key).copied();
        match operation % 8 {
            0..=2 => {
                let is_isolated = which >= 0xc0 && matches!(place, Place::Port(_));
                let home = Home::heard(place).isolated(is_isolated);
                table.learn(key, home, now).expect("nothing is pinned");
                let entry = model.entry(key).or_insert(Known {
                    place,
                    is_told: false,
                    is_isolated,
                    seq: 0,
                    seen: now,
                });
                entry.seen = now;
                if entry.place != place {
                    let step = u32::from(matches!(place, Place::Port(_)));
                    let seq = entry.seq.wrapping_add(step);
                    *entry = Known {
                        place,
                        is_told: false,
                        is_isolated,
                        seq,
                        seen: now,
                    };
                }
            }
            3 | 4 => {
                let Place::Peer(peer) = place else { continue };
                let seq = match input.u8() {
                    n if n < 0x80 => u32::from(n),
                    n => u32::MAX - u32::from(n),
                };
                let claim = Claim {
                    seq,
                    is_isolated: which & 1 == 1,
                    outranks: operation & 0x10 != 0,
                };
                let wins = known.is_none_or(|k| {
                    let is_newer = (seq.wrapping_sub(k.seq) as i32) > 0;
                    let is_claimed = k.is_told || matches!(k.place, Place::Port(_));
                    let is_equal = seq == k.seq && claim.outranks && is_claimed;
                    k.place == place || k.is_old(now) || is_newer || is_equal
                });
                assert_eq!(table.tell(key, peer, claim, now), wins);
                if wins {
                    let seen = known.filter(|k| k.place == place).map_or(now, |k| k.seen);
                    let told = Known {
                        place,
                        is_told: true,
                        is_isolated: claim.is_isolated,
                        seq,
                        seen,
                    };
                    model.insert(key, told);
                }
            }
            5 => {
                if let Place::Peer(peer) = place {
                    table.untell(key, peer);
                    model.retain(|k, known| *k != key || known.place != place);
                }
            }
            6 if which & 1 == 1 => {
                table.forget(place);
                model.retain(|_, known| known.place != place);
            }
            6 => {
                let count = table.flush(|k, p| k == key && p == place);
                let before = model.len();
                model.retain(|k, known| *k != key || known.place != place);
                assert_eq!(count, before - model.len());
            }
            _ => {
                table.sweep(now);
                model.retain(|_, known| !known.is_old(now));
            }
        }
        let fresh = model.iter().filter(|(_, k)| !k.is_old(now));
        let expected: Vec<_> = fresh
            .map(|(key, k)| (*key, k.place, k.is_told, k.is_isolated, k.seq))
            .collect();
        let entries = table.entries(now);
        let each = entries.iter();
        let got: Vec<_> = each
            .map(|l| {
                (
                    l.key,
                    l.place,
                    l.home.is_told(),
                    l.home.is_isolated(),
                    l.seq,
                )
            })
            .collect();
        assert_eq!(got, expected);
        assert_eq!(table.len(), model.len());
    }
}

/// A small table that is always full: whoever comes, places keep to their shares and pinned MACs stay.
pub fn full_table(data: &[u8]) {
    let limits = Limits {
        total: 20,
        per_place: 8,
        age: Duration::from_secs(300),
        learning: Learning::Both,
    };
    let pinned = [(key(255), Home::heard(place(0)))];
    let table = ForwardingTable::new(limits, (3, 4), &pinned);
    let (mut input, mut now) = (Input(data), Instant::from_micros(1_000_000));
    while !input.is_empty() {
        let (operation, which, number) = (input.u8(), input.u8(), input.u8());
        now = now + Duration::from_millis(u64::from(operation >> 3) * 50);
        let (place, key) = (place(which), key(number));
        match (operation & 7, place) {
            (0..=4, place) => drop(table.learn(key, Home::heard(place), now)),
            (5, Place::Peer(peer)) => {
                let claim = Claim {
                    seq: u32::from(operation >> 3),
                    is_isolated: false,
                    outranks: which & 0x80 != 0,
                };
                table.tell(key, peer, claim, now);
            }
            (6, Place::Peer(peer)) => table.untell(key, peer),
            _ => table.sweep(now),
        }
        let counts = (0..6).map(|n| table.count(self::place(n)));
        let counts: Vec<usize> = counts.collect();
        assert!(counts.iter().all(|c| *c <= limits.per_place), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), table.len());
        assert!(table.len() <= limits.total);
        let home = table.look_up(self::key(255), now).expect("it is pinned");
        assert!(home.is_pinned() && home.place() == self::place(0));
        let entries = table.entries(now);
        assert!(entries.len() <= table.len() + 1);
        let agrees = |k: &Key, p: Place| table.look_up(*k, now).is_some_and(|h| h.place() == p);
        assert!(entries.iter().all(|l| agrees(&l.key, l.place)));
    }
}

/// A frame as the model of port rules sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    addresses: [u8; 12],
    /// The outermost tag.
    tag: Option<(u16, u16)>,
    rest: Vec<u8>,
}

const TPIDS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

impl Plain {
    fn read(bytes: &[u8]) -> Option<Plain> {
        let (addresses, rest) = bytes.split_first_chunk::<12>()?;
        let word = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
        let tpid = word(0)?;
        let (tag, rest) = match TPIDS.contains(&tpid) {
            true => {
                word(4)?;
                let tci = word(2)?;
                if tci & 0xfff == 0xfff {
                    return None;
                }
                (Some((tpid, tci)), &rest[4..])
            }
            false => (None, rest),
        };
        Some(Plain {
            addresses: *addresses,
            tag,
            rest: rest.to_vec(),
        })
    }

    fn write(&self) -> Vec<u8> {
        let mut out = self.addresses.to_vec();
        if let Some((tpid, tci)) = self.tag {
            out.extend(tpid.to_be_bytes());
            out.extend(tci.to_be_bytes());
        }
        out.extend(&self.rest);
        out
    }

    fn is_stacked(&self) -> bool {
        matches!(self.rest[..], [a, b, ..] if TPIDS.contains(&u16::from_be_bytes([a, b])))
    }

    /// The VLAN, and whether it is a service VLAN.
    fn vlan(&self) -> Option<(u16, bool)> {
        let (tpid, tci) = self.tag?;
        (tci & 0xfff != 0).then_some((tci & 0xfff, tpid != 0x8100))
    }

    fn tagged(&self, tag: Option<(u16, u16)>) -> Option<Plain> {
        Some(Plain {
            tag,
            ..self.clone()
        })
    }

    fn numbered(&self, vid: u16) -> Option<Plain> {
        let (tpid, tci) = self.tag?;
        self.tagged(Some((tpid, tci & 0xf000 | vid)))
    }
}

/// What a port is told to do.
#[derive(Debug)]
enum Mode {
    Access(u16),
    Trunk(Option<Vec<u16>>, Option<u16>),
    Qinq(u16),
    Translate(Vec<(u16, u16)>),
}

impl Mode {
    fn read(input: &mut Input<'_>) -> Mode {
        let (kind, shape) = (input.u8(), input.u8());
        let mut vid = || 1 + (input.u16() & 0x7ff);
        match kind % 4 {
            0 => Mode::Access(vid()),
            1 => {
                let list = (shape & 1 == 0).then(|| (0..shape >> 5).map(|_| vid()).collect());
                Mode::Trunk(list, (shape & 2 == 0).then(vid))
            }
            2 => Mode::Qinq(vid()),
            _ => {
                let mut pairs: Vec<(u16, u16)> = Vec::new();
                for _ in 0..1 + (shape & 3) {
                    let (port, network) = (vid(), vid());
                    if pairs.iter().all(|(p, n)| *p != port && *n != network) {
                        pairs.push((port, network));
                    }
                }
                Mode::Translate(pairs)
            }
        }
    }

    fn rule(&self) -> PortRule {
        let vid = |n: &u16| Vid::new(*n).expect("a VLAN");
        match self {
            Mode::Access(n) => PortRule::Access(vid(n)),
            Mode::Trunk(list, native) => PortRule::Trunk {
                allowed: list.as_ref().map(|l| l.iter().map(vid).collect()),
                native: native.as_ref().map(vid),
            },
            Mode::Qinq(n) => PortRule::Qinq(vid(n)),
            Mode::Translate(pairs) => {
                let mut map = VidMap::default();
                for (port, network) in pairs {
                    assert!(map.insert(vid(port), vid(network)));
                }
                PortRule::Translate(map)
            }
        }
    }

    fn may_pass(
        list: &Option<Vec<u16>>,
        native: Option<u16>,
        (vid, is_service): (u16, bool),
    ) -> bool {
        let Some(list) = list else { return true };
        list.contains(&vid) || native == Some(vid) && !is_service
    }

    /// From the port into the network.
    fn enter(&self, frame: &Plain) -> Option<Plain> {
        let is_priority = frame.vlan().is_none() && matches!(frame.tag, Some((0x8100, _)));
        let joins = |vid: u16| match frame.tag {
            None => frame.tagged(Some((0x8100, vid))),
            Some(_) if is_priority && !frame.is_stacked() => frame.numbered(vid),
            Some(_) => None,
        };
        match self {
            Mode::Access(vid) => joins(*vid),
            Mode::Trunk(list, native) => match (frame.vlan(), native) {
                (Some((vid, false)), Some(n)) if vid == *n && frame.is_stacked() => None,
                (Some(vlan), _) => Mode::may_pass(list, *native, vlan).then(|| frame.clone()),
                (None, Some(vid)) => joins(*vid),
                (None, None) => list.is_none().then(|| frame.clone()),
            },
            Mode::Qinq(vid) => {
                let like = frame.tag.map_or(0, |(_, tci)| tci & 0xf000);
                Some(Plain {
                    addresses: frame.addresses,
                    tag: Some((0x88a8, like | vid)),
                    rest: frame.write()[12..].to_vec(),
                })
            }
            Mode::Translate(pairs) => {
                let (vid, false) = frame.vlan()? else {
                    return None;
                };
                let (_, to) = pairs.iter().find(|(port, _)| *port == vid)?;
                frame.numbered(*to)
            }
        }
    }

    /// From the network to the port.
    fn leave(&self, frame: &Plain) -> Option<Plain> {
        let loses_tag = |vid: u16| frame.vlan() == Some((vid, false));
        match self {
            Mode::Access(vid) if loses_tag(*vid) && !frame.is_stacked() => frame.tagged(None),
            Mode::Access(_) => None,
            Mode::Trunk(_, Some(n)) if loses_tag(*n) => match frame.is_stacked() {
                true => None,
                false => frame.tagged(None),
            },
            Mode::Trunk(list, native) => match frame.vlan() {
                None => (list.is_none() && native.is_none()).then(|| frame.clone()),
                Some(vlan) => Mode::may_pass(list, *native, vlan).then(|| frame.clone()),
            },
            Mode::Qinq(vid) if frame.vlan() == Some((*vid, true)) => {
                let bytes = [&frame.addresses[..], &frame.rest].concat();
                Plain::read(&bytes)
            }
            Mode::Qinq(_) => None,
            Mode::Translate(pairs) => {
                let (vid, false) = frame.vlan()? else {
                    return None;
                };
                let (to, _) = pairs.iter().find(|(_, network)| *network == vid)?;
                frame.numbered(*to)
            }
        }
    }
}

/// Port rules against a reference model: a frame enters by one port and leaves by another, and from there comes back.
pub fn port_rules(data: &[u8]) {
    let mut input = Input(data);
    let (one, other) = (Mode::read(&mut input), Mode::read(&mut input));
    let bytes = |parts: &Parts<'_>| {
        let mut out = Vec::new();
        parts.write(&mut out);
        out
    };
    let frame = Frame::parse(input.0);
    let plain = Plain::read(input.0);
    assert_eq!(frame.is_ok(), plain.is_some());
    let (Ok(frame), Some(plain)) = (frame, plain) else {
        return;
    };
    let (from, to) = (one.rule(), other.rule());
    let entered = from.ingress(frame.parts).ok();
    let expected = one.enter(&plain);
    assert_eq!(
        entered.as_ref().map(&bytes),
        expected.as_ref().map(Plain::write)
    );
    let (Some(entered), Some(expected)) = (entered, expected) else {
        return;
    };
    let left = to.egress(entered).ok();
    let out = other.leave(&expected);
    assert_eq!(left.as_ref().map(&bytes), out.as_ref().map(Plain::write));
    let back = from.egress(entered).ok();
    let out = one.leave(&expected);
    assert_eq!(back.as_ref().map(&bytes), out.as_ref().map(Plain::write));
}
