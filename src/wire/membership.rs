//! Who listens to which multicast group: IGMP (RFC 1112, 2236, 3376) and MLD (RFC 2710, 3810), as a switch reads them
//! (RFC 4541). Groups are told by their MACs, as hosts filter them; sources are not told apart.

use super::checksum;
use super::cursor::Cursor;
use super::ethernet::{Mac, Parts};
use super::neighbor::is_intact;
use crate::time::Duration;

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Protocol Independent Multicast (RFC 7761), in both families.
const PIM: u8 = 103;

/// Internet Protocol 4 or 6: each has queriers and groups of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IGMP.
    V4,
    /// MLD.
    V6,
}

/// What one frame says of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Somebody asks who listens to anything: a router for multicast is behind the place that it comes from. It asks again
    /// within this time; zero when it does not say (RFC 3376 section 4.1.7).
    Query(Family, Duration),
    /// Somebody asks who listens to one group: that one asks for all groups too.
    GroupQuery(Family),
    /// A router for multicast that does not ask: it talks to its like (RFC 4541 section 2.1.1, RFC 4286).
    Router(Family),
    /// A host begins or ends to listen: the group, and whether it listens now.
    Report(Family, Vec<(Mac, bool)>),
}

/// To whom a frame for a group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To everybody: broadcasts, what is no IP, and groups of the link (224.0.0.0/24, ff01:: and ff02::).
    Everybody,
    /// To those who listen.
    Listeners(Family),
}

impl Scope {
    /// The scope of a frame that goes to a group.
    pub fn of(frame: &Parts<'_>) -> Scope {
        if frame.is_stacked() {
            return Scope::Everybody;
        }
        match (frame.addresses(), frame.after_tag()) {
            ([1, 0, 0x5e, 0, 0, _, ..], _) => Scope::Everybody,
            ([1, 0, 0x5e, ..], [8, 0, ..]) => Scope::Listeners(Family::V4),
            ([0x33, 0x33, ..], [0x86, 0xdd, rest @ ..]) => match rest.get(24..26) {
                Some([0xff, flags]) if flags & 15 > 2 => Scope::Listeners(Family::V6),
                _ => Scope::Everybody,
            },
            _ => Scope::Everybody,
        }
    }
}

impl Membership {
    /// Reads a frame; `None` when it says nothing of groups, is malformed, or has a second tag.
    pub fn of(frame: &Parts<'_>) -> Option<Membership> {
        let (kind, packet) = frame.after_tag().split_first_chunk::<2>()?;
        if frame.is_stacked() {
            return None;
        }
        match *kind {
            IPV4 => ipv4(packet),
            IPV6 => ipv6(packet),
            _ => None,
        }
    }
}

fn ipv4(packet: &[u8]) -> Option<Membership> {
    let header = packet.first_chunk::<20>()?;
    let len = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if header[0] >> 4 != 4 || len < 20 || is_fragment {
        return None;
    }
    let message = packet.get(len..total)?;
    // What hosts throw away shall not be believed here.
    match header[9] {
        2 if checksum::finish(checksum::add(0, message)) == 0 => igmp(message),
        PIM => is_hello(message).then_some(Membership::Router(Family::V4)),
        _ => None,
    }
}

/// MLD is ICMP behind hop-by-hop options.
fn ipv6(packet: &[u8]) -> Option<Membership> {
    let (header, rest) = packet.split_first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let rest = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
    match (header[6], rest) {
        (PIM, hello) => is_hello(hello).then_some(Membership::Router(Family::V6)),
        (0, [58, units, ..]) => {
            let message = rest.get(8 * (1 + usize::from(*units))..)?;
            is_intact(header, message).then(|| mld(message)).flatten()
        }
        _ => None,
    }
}

fn is_hello(message: &[u8]) -> bool {
    matches!(message, [0x20, ..])
}

/// A time as queries write it: a number, or from 128 on a mantissa and an exponent (RFC 3376 section 4.1.7).
fn interval(code: u8) -> Duration {
    let code = u64::from(code);
    Duration::from_secs(match code {
        0..128 => code,
        _ => (16 + (code & 15)) << ((code >> 4 & 7) + 3),
    })
}

fn query(family: Family, is_general: bool, code: Option<u8>) -> Membership {
    match is_general {
        true => Membership::Query(family, interval(code.unwrap_or(0))),
        false => Membership::GroupQuery(family),
    }
}

fn igmp(message: &[u8]) -> Option<Membership> {
    let mut cursor = Cursor(message);
    let [kind, code, _, _] = cursor.array()?;
    let report = |groups| Some(Membership::Report(Family::V4, groups));
    match (kind, code) {
        (0x11, _) => {
            let is_general = cursor.array::<4>()? == [0; 4];
            Some(query(Family::V4, is_general, message.get(9).copied()))
        }
        (0x12 | 0x16, _) => report(vec![(mac4(cursor.array()?)?, true)]),
        (0x17, _) => report(vec![(mac4(cursor.array()?)?, false)]),
        (0x22, _) => report(records(cursor, |c| c.array().map(mac4))?),
        // An advertisement of a router, and a probe of the distance-vector protocol.
        (0x30, _) | (0x13, 1) => Some(Membership::Router(Family::V4)),
        _ => None,
    }
}

fn mld(message: &[u8]) -> Option<Membership> {
    let mut cursor = Cursor(message);
    let [kind, _, _, _] = cursor.array()?;
    let report = |groups| Some(Membership::Report(Family::V6, groups));
    match kind {
        130 => {
            cursor.take(4)?;
            let is_general = cursor.array::<16>()? == [0; 16];
            Some(query(Family::V6, is_general, message.get(25).copied()))
        }
        131 | 132 => {
            cursor.take(4)?;
            report(vec![(mac6(cursor.array()?)?, kind == 131)])
        }
        143 => report(records(cursor, |c| c.array().map(mac6))?),
        151 => Some(Membership::Router(Family::V6)),
        _ => None,
    }
}

/// The records of a report of IGMPv3 or MLDv2.
fn records(
    mut cursor: Cursor<'_>,
    group: impl Fn(&mut Cursor<'_>) -> Option<Option<Mac>>,
) -> Option<Vec<(Mac, bool)>> {
    let [_, _, a, b] = cursor.array()?;
    let count = usize::from(u16::from_be_bytes([a, b]));
    let mut groups = Vec::new();
    for _ in 0..count {
        let [kind, extra, a, b] = cursor.array()?;
        let sources = usize::from(u16::from_be_bytes([a, b]));
        let before = cursor.0.len();
        let group = group(&mut cursor)?;
        let address = before - cursor.0.len();
        cursor.take(sources * address + 4 * usize::from(extra))?;
        let listens = match kind {
            // Includes these sources, and no others: none is none.
            1 | 3 => sources > 0,
            2 | 4 | 5 => true,
            _ => continue,
        };
        // What includes nothing in answer to a question was not listened to before either.
        if listens || kind == 3 {
            groups.extend(group.map(|g| (g, listens)));
        }
    }
    Some(groups)
}

/// The MAC of an IPv4 group (RFC 1112 section 6.4); `None` for what is none, and for groups of the link.
fn mac4([a, b, c, d]: [u8; 4]) -> Option<Mac> {
    let is_link = [a, b, c] == [224, 0, 0];
    (a >> 4 == 14 && !is_link).then_some(Mac([1, 0, 0x5e, b & 0x7f, c, d]))
}

/// The MAC of an IPv6 group (RFC 2464 section 7); `None` for what is none, and for groups of the link.
fn mac6(group: [u8; 16]) -> Option<Mac> {
    let [first, flags, .., a, b, c, d] = group;
    (first == 0xff && flags & 15 > 2).then_some(Mac([0x33, 0x33, a, b, c, d]))
}
