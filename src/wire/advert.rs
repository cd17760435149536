//! What members tell each other of the hosts behind their ports: MACs, IP addresses, multicast groups, queriers.
//!
//! Value of the control element 6: `journal 4 · from 8 · upto 8` and items of `kind 1 · segment 3 · VLAN 2 · subject · state`.
//! Kinds: 1 a MAC (6; state: claim number 4, flags 1) · 2 an IPv4 address (4; MAC 6, flags 1) · 3 an IPv6 address (16; MAC 6,
//! flags 1) · 4 a group (MAC 6) · 5 queriers, 6 other routers for multicast, 7 too many listeners (family 1). With the highest bit of the kind set it is taken back, and there is no
//! state. Value of element 7, the receipt: `journal 4 · epoch 4 · known epoch 4 ·
//! upto 8`. The idea of types, claim numbers and flags is that of EVPN (RFC 7432, RFC 9161); [`crate::mesh::journal`] says how they arrive.

use std::net::IpAddr;

use super::cursor::Cursor;
use super::ethernet::Mac;
use super::membership::Family;
use super::segment::SegmentId;
use super::vlan::VlanClass;

const MAC: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 3;
const GROUP: u8 = 4;
const QUERIER: u8 = 5;
const ROUTERS: u8 = 6;
const CROWD: u8 = 7;
const TAKEN_BACK: u8 = 0x80;
const ISOLATED: u8 = 1;
const ROUTER: u8 = 1;

/// What something is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A host.
    Mac(Mac),
    /// An address of a host.
    Address(IpAddr),
    /// Hosts that listen to a group.
    Group(Mac),
    /// A querier.
    Querier(Family),
    /// Another router for multicast.
    Routers(Family),
    /// More listeners than can be told.
    Crowd(Family),
}

/// A subject and the VLAN that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The segment.
    pub segment: SegmentId,
    /// The VLAN.
    pub class: VlanClass,
    /// The subject.
    pub subject: Subject,
}

/// What is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not there any more.
    Gone,
    /// It is there, and there is no more to say: a group, a querier.
    There,
    /// A host is there.
    Host {
        /// Which of the claims to it this is.
        seq: u32,
        /// Whether it is behind an isolated port.
        is_isolated: bool,
    },
    /// An address has this MAC.
    Bound {
        /// The MAC.
        mac: Mac,
        /// Whether that is a router.
        is_router: bool,
    },
}

/// A topic and what is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The topic.
    pub topic: Topic,
    /// What is told.
    pub state: State,
}

impl Item {
    /// Appends it. A state that does not fit its subject is told as gone.
    pub fn write(&self, out: &mut Vec<u8>) {
        let kind = match self.topic.subject {
            Subject::Mac(_) => MAC,
            Subject::Address(IpAddr::V4(_)) => IPV4,
            Subject::Address(IpAddr::V6(_)) => IPV6,
            Subject::Group(_) => GROUP,
            Subject::Querier(_) => QUERIER,
            Subject::Routers(_) => ROUTERS,
            Subject::Crowd(_) => CROWD,
        };
        let at = out.len();
        out.push(kind);
        out.extend_from_slice(&self.topic.segment.to_bytes());
        out.extend_from_slice(&self.topic.class.bits().to_le_bytes());
        match self.topic.subject {
            Subject::Mac(mac) | Subject::Group(mac) => out.extend_from_slice(&mac.0),
            Subject::Address(IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
            Subject::Address(IpAddr::V6(ip)) => out.extend_from_slice(&ip.octets()),
            Subject::Querier(family) | Subject::Routers(family) | Subject::Crowd(family) => {
                out.push(u8::from(family == Family::V6));
            }
        }
        match (kind, self.state) {
            (MAC, State::Host { seq, is_isolated }) => {
                out.extend_from_slice(&seq.to_le_bytes());
                out.push(if is_isolated { ISOLATED } else { 0 });
            }
            (IPV4 | IPV6, State::Bound { mac, is_router }) => {
                out.extend_from_slice(&mac.0);
                out.push(if is_router { ROUTER } else { 0 });
            }
            (GROUP | QUERIER | ROUTERS | CROWD, State::There) => {}
            _ => {
                if let Some(kind) = out.get_mut(at) {
                    *kind |= TAKEN_BACK;
                }
            }
        }
    }

    fn read(cursor: &mut Cursor<'_>) -> Option<Item> {
        let kind = cursor.u8()?;
        let segment = SegmentId::from_bytes(cursor.array()?)?;
        let bits = cursor.u16()?;
        let class = VlanClass::from_bits(bits);
        // VID 4095 is none, and there is nothing above 13 bits.
        if class.bits() != bits || bits & 0x0fff == 0x0fff || bits == 0x1000 {
            return None;
        }
        let subject = match kind & !TAKEN_BACK {
            MAC => Subject::Mac(host(cursor.array()?)?),
            IPV4 => Subject::Address(IpAddr::from(cursor.array::<4>()?)),
            IPV6 => Subject::Address(IpAddr::from(cursor.array::<16>()?)),
            GROUP => Subject::Group(Some(Mac(cursor.array()?)).filter(|m| m.is_group())?),
            QUERIER => Subject::Querier(family(cursor.u8()?)?),
            ROUTERS => Subject::Routers(family(cursor.u8()?)?),
            CROWD => Subject::Crowd(family(cursor.u8()?)?),
            _ => return None,
        };
        let state = match (kind & TAKEN_BACK != 0, subject) {
            (true, _) => State::Gone,
            (false, Subject::Mac(_)) => State::Host {
                seq: cursor.u32()?,
                is_isolated: cursor.u8()? & ISOLATED != 0,
            },
            (false, Subject::Address(_)) => State::Bound {
                mac: host(cursor.array()?)?,
                is_router: cursor.u8()? & ROUTER != 0,
            },
            (false, _) => State::There,
        };
        let topic = Topic {
            segment,
            class,
            subject,
        };
        Some(Item { topic, state })
    }
}

fn family(number: u8) -> Option<Family> {
    match number {
        0 => Some(Family::V4),
        1 => Some(Family::V6),
        _ => None,
    }
}

/// A MAC that a host can have.
fn host(bytes: [u8; 6]) -> Option<Mac> {
    let mac = Mac(bytes);
    (!mac.is_group() && mac != Mac::ZERO).then_some(mac)
}

/// A part of a member's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert<'a> {
    /// Drawn when the journal was begun.
    pub journal: u32,
    /// What has come up to here, this follows.
    pub from: u64,
    /// Where it ends.
    pub upto: u64,
    items: &'a [u8],
}

impl<'a> Advert<'a> {
    /// Reads the head; the items are read one by one.
    pub(super) fn read(value: &'a [u8]) -> Option<Advert<'a>> {
        let mut cursor = Cursor(value);
        let advert = Advert {
            journal: cursor.u32()?,
            from: cursor.u64()?,
            upto: cursor.u64()?,
            items: &[],
        };
        let items = cursor.0;
        (advert.from <= advert.upto).then_some(Advert { items, ..advert })
    }

    pub(super) fn parts(&self) -> [u8; 20] {
        let mut head = [0u8; 20];
        let (journal, rest) = head.split_at_mut(4);
        let (from, upto) = rest.split_at_mut(8);
        journal.copy_from_slice(&self.journal.to_le_bytes());
        from.copy_from_slice(&self.from.to_le_bytes());
        upto.copy_from_slice(&self.upto.to_le_bytes());
        head
    }

    /// A part with these items, each written by [`Item::write`].
    pub fn new((journal, from, upto): (u32, u64, u64), items: &'a [u8]) -> Advert<'a> {
        Advert {
            journal,
            from,
            upto,
            items,
        }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.items
    }

    /// The items; `None` when one is malformed: nothing of it is taken then.
    pub fn items(&self) -> Option<Vec<Item>> {
        let mut cursor = Cursor(self.items);
        let mut items = Vec::new();
        while !cursor.0.is_empty() {
            items.push(Item::read(&mut cursor)?);
        }
        Some(items)
    }
}

/// How far a member has read another's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whose.
    pub journal: u32,
    /// Drawn when the reader began: another one has read nothing yet.
    pub epoch: u32,
    /// The epoch of the other that this member's own journal knows; 0 when it knows none.
    pub knows: u32,
    /// Up to where.
    pub upto: u64,
}

impl Receipt {
    pub(super) fn to_bytes(self) -> [u8; 20] {
        let mut out = [0u8; 20];
        let (journal, rest) = out.split_at_mut(4);
        let (epoch, rest) = rest.split_at_mut(4);
        let (knows, upto) = rest.split_at_mut(4);
        knows.copy_from_slice(&self.knows.to_le_bytes());
        journal.copy_from_slice(&self.journal.to_le_bytes());
        epoch.copy_from_slice(&self.epoch.to_le_bytes());
        upto.copy_from_slice(&self.upto.to_le_bytes());
        out
    }

    pub(super) fn read(value: &[u8]) -> Option<Receipt> {
        let mut cursor = Cursor(value);
        let receipt = Receipt {
            journal: cursor.u32()?,
            epoch: cursor.u32()?,
            knows: cursor.u32()?,
            upto: cursor.u64()?,
        };
        cursor.0.is_empty().then_some(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_round_trip_and_cut_off_they_are_refused_whole() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let topic = |subject| Topic {
            segment: SegmentId::new(0xff_ffff).unwrap(),
            class: VlanClass::from_bits(0x1064),
            subject,
        };
        let host = State::Host {
            seq: 7,
            is_isolated: true,
        };
        let bound = State::Bound {
            mac,
            is_router: true,
        };
        let (v4, v6) = ("10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap());
        let group = Subject::Group(Mac([1, 0, 0x5e, 1, 1, 1]));
        let mut items: Vec<Item> = [
            (Subject::Mac(mac), host),
            (Subject::Address(v4), bound),
            (Subject::Address(v6), bound),
            (group, State::There),
            (Subject::Querier(Family::V6), State::There),
        ]
        .map(|(s, state)| Item {
            topic: topic(s),
            state,
        })
        .to_vec();
        items.extend(items.clone().into_iter().map(|i| Item {
            state: State::Gone,
            ..i
        }));
        let mut bytes = Vec::new();
        items.iter().for_each(|i| i.write(&mut bytes));
        let read = |bytes: &[u8]| Advert::new((1, 2, 3), bytes).items();
        assert_eq!(read(&bytes), Some(items.clone()));
        let mut ends = vec![0];
        for item in &items {
            let mut one = Vec::new();
            item.write(&mut one);
            ends.push(ends.last().unwrap() + one.len());
        }
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]).is_some(), ends.contains(&len), "{len}");
        }
    }

    #[test]
    fn what_no_frame_can_have_is_refused() {
        let read = |bytes: &[u8]| Advert::new((1, 0, 1), bytes).items();
        let mac = [2, 0, 0, 0, 0, 1];
        let item = |kind: u8, class: u16, mac: [u8; 6]| {
            let mut out = vec![kind, 1, 0, 0];
            out.extend_from_slice(&class.to_le_bytes());
            out.extend_from_slice(&mac);
            out.extend_from_slice(&[0; 5]);
            out
        };
        assert!(read(&item(1, 20, mac)).is_some());
        for class in [0x0fff, 0x1fff, 0x1000, 0x2000, 0xffff] {
            assert_eq!(read(&item(1, class, mac)), None, "{class:#x}");
        }
        assert_eq!(read(&item(1, 20, [3, 0, 0, 0, 0, 1])), None);
        assert_eq!(read(&item(1, 20, [0; 6])), None);
        assert_eq!(read(&item(6, 20, mac)), None);
        assert!(Advert::read(&[0; 19]).is_none());
        let mut backwards = Advert::new((1, 9, 9), &[]).parts();
        backwards[12] = 3;
        assert!(Advert::read(&backwards).is_none());
    }
}
