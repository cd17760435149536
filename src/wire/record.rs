//! Member records: what an authority says of a member, in the one form that it can have.
//!
//! ```text
//! version 1 · network 32 · member 16 · serial 8 · key 32 · not before 8 · not after 8 · roles 1 · MAC limit 2 ·
//! name (length 1, UTF-8) · segments (count 1, each id 3 and VLANs) · MACs (count 1, 6 each) ·
//! prefixes (count 1, each length 1 and as many bytes of the address as it needs) · issuer 32 · signature 64
//! ```
//! Integers are little endian, times are seconds since 1970. Lists are sorted and name nothing twice, a prefix has zeros behind its
//! length, and nothing follows the signature: whatever can be said has one form, and what has another is refused. So a signature
//! cannot be told from another that is as good (CVE-2026-25793 of another system), and a record is known by member and serial, never by
//! a hash of its bytes.
//!
//! A record of this type is well formed; whether it is to be believed is [`crate::trust`]'s to say.

use std::net::IpAddr;

use super::cursor::Cursor;
use super::ethernet::Mac;
use super::segment::SegmentId;
use super::signed::{self, Signed};
use super::vlans::VlanSet;

/// Bytes of the longest record, with the delegation behind it: it has to fit into one initiation.
pub const MAX_RECORD_LEN: usize = 1024;
/// Entries of the longest list in it.
pub const MAX_LIST: usize = 64;
/// Bytes of the longest name in it.
pub const MAX_NAME_LEN: usize = 63;
/// Bytes of a signature (RFC 8032 section 5.1.6).
pub const SIGNATURE_LEN: usize = 64;
/// Bytes of what a network is known by.
pub const NETWORK_LEN: usize = 32;
/// Bytes of a public key.
pub const KEY_LEN: usize = 32;
/// Bytes of member and serial.
pub(super) const NAMED_LEN: usize = 24;

/// Who a member is for as long as it is one, whatever its keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub [u8; 16]);

/// What a member may do beside having ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// None of them.
    pub const NONE: Roles = Roles(0);
    /// It relays for others.
    pub const RELAY: Roles = Roles(1);
    /// Its hosts may advertise themselves as routers.
    pub const ROUTER: Roles = Roles(2);
    /// Its hosts may answer as DHCP servers.
    pub const DHCP_SERVER: Roles = Roles(4);
    /// It may invite and renew.
    pub const ADMIN: Roles = Roles(8);
    const ALL: u8 = 15;
    /// Each with its name.
    pub const NAMED: [(&'static str, Roles); 4] = [
        ("relay", Roles::RELAY),
        ("router", Roles::ROUTER),
        ("dhcp-server", Roles::DHCP_SERVER),
        ("admin", Roles::ADMIN),
    ];

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Roles> {
        cursor.u8().map(Roles)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn is_known(self) -> bool {
        self.0 & !Roles::ALL == 0
    }

    /// These and others.
    #[must_use]
    pub const fn and(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }

    /// Whether others are among these.
    pub const fn has(self, other: Roles) -> bool {
        self.0 & other.0 == other.0
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = Roles::NAMED.into_iter();
        named
            .filter(move |(_, role)| self.has(*role))
            .map(|(n, _)| n)
    }
}

/// What an authority says of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The network that it is a member of.
    pub network: [u8; NETWORK_LEN],
    /// Who it is.
    pub member: MemberId,
    /// Which of its records this is: a greater one takes the place of a smaller one.
    pub serial: u64,
    /// Its X25519 key.
    pub key: [u8; KEY_LEN],
    /// From when on it holds, in seconds since 1970.
    pub not_before: u64,
    /// Until when it holds.
    pub not_after: u64,
    /// What it may do.
    pub roles: Roles,
    /// How many MACs may be behind it; 0 for as many as each receiver allows.
    pub mac_limit: u16,
    /// What it is called.
    pub name: String,
    /// The segments that it may take part in, and the VLANs in each.
    pub segments: Vec<(SegmentId, VlanSet)>,
    /// The MACs that may be behind it; empty for all.
    pub macs: Vec<Mac>,
    /// The addresses that its hosts may claim, with the bits of each prefix; empty for all.
    pub prefixes: Vec<(IpAddr, u8)>,
    /// The authority that signs it.
    pub issuer: [u8; KEY_LEN],
}

/// Why something is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRecord {
    /// It is longer than a record may be.
    #[error("it is longer than {MAX_RECORD_LEN} bytes")]
    TooLong,
    /// It ends too early, or goes on behind its end.
    #[error("it is cut off, or goes on behind its end")]
    Length,
    /// Another version's.
    #[error("it is of another version")]
    Version,
    /// A list that is too long, not in order, or names something twice; a prefix with bits behind its length; a name with other
    /// characters; roles that nobody knows; an end before its beginning.
    #[error("it does not have the one form that a record has")]
    Form,
}

impl Signed for Record {
    const VERSION: u8 = 1;
    const MOST: usize = MAX_RECORD_LEN;

    fn read(cursor: &mut Cursor<'_>) -> Option<Record> {
        let _version = cursor.u8()?;
        Some(Record {
            network: cursor.array()?,
            member: MemberId(cursor.array()?),
            serial: cursor.u64()?,
            key: cursor.array()?,
            not_before: cursor.u64()?,
            not_after: cursor.u64()?,
            roles: Roles::read(cursor)?,
            mac_limit: cursor.u16()?,
            name: name(cursor)?,
            segments: read_segments(cursor)?,
            macs: list(cursor, |c| Some(Mac(c.array()?)))?,
            prefixes: list(cursor, read_prefix)?,
            issuer: cursor.array()?,
        })
    }

    fn form(&self) -> Result<Vec<u8>, NoRecord> {
        let mut out = vec![Self::VERSION];
        out.extend_from_slice(&self.network);
        out.extend_from_slice(&self.member.0);
        out.extend_from_slice(&self.serial.to_le_bytes());
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.not_before.to_le_bytes());
        out.extend_from_slice(&self.not_after.to_le_bytes());
        out.push(self.roles.0);
        out.extend_from_slice(&self.mac_limit.to_le_bytes());
        out.push(counted(self.name.len(), MAX_NAME_LEN)?);
        out.extend_from_slice(self.name.as_bytes());
        write_segments(&self.segments, &mut out)?;
        out.push(counted(self.macs.len(), MAX_LIST)?);
        self.macs
            .iter()
            .for_each(|mac| out.extend_from_slice(&mac.0));
        out.push(counted(self.prefixes.len(), MAX_LIST)?);
        for prefix in &self.prefixes {
            write_prefix(*prefix, &mut out)?;
        }
        out.extend_from_slice(&self.issuer);
        match (self.is_in_form(), out.len() + SIGNATURE_LEN <= Self::MOST) {
            (false, _) => Err(NoRecord::Form),
            (_, false) => Err(NoRecord::TooLong),
            _ => Ok(out),
        }
    }
}

impl Record {
    /// What is signed: everything but the signature.
    ///
    /// # Errors
    /// [`NoRecord::Form`] for what cannot be said in it, [`NoRecord::TooLong`].
    pub fn signed(&self) -> Result<Vec<u8>, NoRecord> {
        self.form()
    }

    /// Reads a record and its signature, all of it.
    ///
    /// # Errors
    /// See [`NoRecord`].
    pub fn parse(bytes: &[u8]) -> Result<(Record, [u8; SIGNATURE_LEN]), NoRecord> {
        signed::whole(bytes)
    }

    fn is_in_form(&self) -> bool {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let starts = self.name.bytes().next();
        let is_name =
            self.name.bytes().all(inner) && starts.is_some_and(|b| b.is_ascii_alphanumeric());
        is_name
            && self.roles.is_known()
            && self.not_before < self.not_after
            && is_in_order(&self.segments)
            && self.macs.is_sorted_by(|a, b| a < b)
            && self
                .macs
                .iter()
                .all(|mac| !mac.is_group() && *mac != Mac::ZERO)
            && self.prefixes.is_sorted_by(|a, b| a < b)
    }
}

fn counted(len: usize, most: usize) -> Result<u8, NoRecord> {
    match u8::try_from(len) {
        Ok(count) if len <= most => Ok(count),
        _ => Err(NoRecord::Form),
    }
}

pub(super) fn read_segments(cursor: &mut Cursor<'_>) -> Option<Vec<(SegmentId, VlanSet)>> {
    list(cursor, |c| {
        Some((SegmentId::from_bytes(c.array()?)?, VlanSet::read(c)?))
    })
}

pub(super) fn write_segments(
    segments: &[(SegmentId, VlanSet)],
    out: &mut Vec<u8>,
) -> Result<(), NoRecord> {
    out.push(counted(segments.len(), MAX_LIST)?);
    for (segment, vlans) in segments {
        out.extend_from_slice(&segment.to_bytes());
        if !vlans.is_told_exactly() {
            return Err(NoRecord::Form);
        }
        vlans.write(out);
    }
    Ok(())
}

pub(super) fn is_in_order(segments: &[(SegmentId, VlanSet)]) -> bool {
    segments.is_sorted_by(|(a, _), (b, _)| a < b)
}

fn name(cursor: &mut Cursor<'_>) -> Option<String> {
    let len = usize::from(cursor.u8()?);
    let bytes = cursor.take(len).filter(|_| len <= MAX_NAME_LEN)?;
    std::str::from_utf8(bytes).ok().map(str::to_string)
}

/// A list that is no longer than what is left of the bytes: nothing is kept for a count that lies.
fn list<T>(cursor: &mut Cursor<'_>, one: impl Fn(&mut Cursor<'_>) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::from(cursor.u8()?);
    (0..count.min(MAX_LIST + 1)).map(|_| one(cursor)).collect()
}

/// The bits of the prefix, 128 more for IPv6, and as many bytes as they need.
fn write_prefix((ip, bits): (IpAddr, u8), out: &mut Vec<u8>) -> Result<(), NoRecord> {
    let (bytes, longest, kind) = match ip {
        IpAddr::V4(ip) => (ip.octets().to_vec(), 32, 0),
        IpAddr::V6(ip) => (ip.octets().to_vec(), 128, IPV6),
    };
    if bits > longest {
        return Err(NoRecord::Form);
    }
    let (head, tail) = bytes.split_at(usize::from(bits).div_ceil(8));
    let last = head.last().copied().unwrap_or(0);
    let unused = (8 - bits % 8) % 8;
    if tail.iter().any(|b| *b != 0) || last & ((1u16 << unused) - 1) as u8 != 0 {
        return Err(NoRecord::Form);
    }
    out.extend_from_slice(&[kind, bits]);
    out.extend_from_slice(head);
    Ok(())
}

const IPV6: u8 = 1;

fn read_prefix(cursor: &mut Cursor<'_>) -> Option<(IpAddr, u8)> {
    let (kind, bits) = (cursor.u8()?, cursor.u8()?);
    let head = cursor.take(usize::from(bits).div_ceil(8))?;
    match kind {
        0 => Some((IpAddr::from(filled::<4>(head)?), bits)),
        IPV6 => Some((IpAddr::from(filled::<16>(head)?), bits)),
        _ => None,
    }
}

fn filled<const N: usize>(head: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    bytes.get_mut(..head.len())?.copy_from_slice(head);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::vlan::{Vid, VlanClass};

    fn segment(id: u32, vid: u16) -> (SegmentId, VlanSet) {
        let vlans = VlanSet::default().with(VlanClass::customer(Vid::new(vid).unwrap()));
        (SegmentId::new(id).unwrap(), vlans)
    }

    fn record() -> Record {
        Record {
            network: [1; 32],
            member: MemberId([2; 16]),
            serial: 3,
            key: [4; 32],
            not_before: 1_800_000_000,
            not_after: 1_807_776_000,
            roles: Roles::RELAY.and(Roles::ADMIN),
            mac_limit: 16,
            name: "web3".into(),
            segments: vec![segment(1, 10), segment(7, 20)],
            macs: vec![Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])],
            prefixes: vec![
                ("10.77.0.0".parse().unwrap(), 20),
                ("fd77::".parse().unwrap(), 64),
            ],
            issuer: [5; 32],
        }
    }

    fn whole(record: &Record) -> Vec<u8> {
        let mut bytes = record.signed().unwrap();
        bytes.extend_from_slice(&[9; SIGNATURE_LEN]);
        bytes
    }

    #[test]
    fn a_record_has_one_form_and_reads_back() {
        let bytes = whole(&record());
        assert_eq!(Record::parse(&bytes), Ok((record(), [9; SIGNATURE_LEN])));
        for len in 0..bytes.len() {
            assert!(Record::parse(&bytes[..len]).is_err(), "cut to {len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Record::parse(&longer).is_err());
        // Whatever bit is flipped, what is read has that form again, or is nothing.
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            if let Ok((read, signature)) = Record::parse(&other) {
                assert_eq!([&read.signed().unwrap()[..], &signature].concat(), other);
                assert_ne!((&read, &signature), (&record(), &[9; SIGNATURE_LEN]));
            }
        }
    }

    #[test]
    fn what_is_out_of_order_or_twice_or_too_much_is_no_record() {
        type Change = fn(&mut Record);
        let cases: [(&str, Change); 12] = [
            ("segments turned round", |r| r.segments.reverse()),
            ("a segment twice", |r| {
                r.segments.push(r.segments[1].clone())
            }),
            ("MACs turned round", |r| r.macs.reverse()),
            ("a MAC twice", |r| r.macs.push(r.macs[1])),
            ("a group's MAC", |r| r.macs.push(Mac([3, 0, 0, 0, 0, 1]))),
            ("prefixes turned round", |r| r.prefixes.reverse()),
            ("bits behind a prefix", |r| r.prefixes[0].1 = 7),
            ("a prefix that is too long", |r| r.prefixes[0].1 = 33),
            ("no name", |r| r.name.clear()),
            ("a name with a line end", |r| r.name.push('\n')),
            ("an end before its beginning", |r| {
                r.not_after = r.not_before
            }),
            ("too many MACs", |r| {
                r.macs = (0..=64).map(|n| Mac([2, 0, 0, 0, 0, n])).collect();
            }),
        ];
        for (what, change) in cases {
            let mut other = record();
            change(&mut other);
            assert_eq!(other.signed(), Err(NoRecord::Form), "{what}");
        }
        let mut large = record();
        large.segments = (1..=64)
            .map(|id| {
                let vids = (1..=12).filter_map(|n| Vid::new(n * 10));
                let set = vids.fold(VlanSet::default(), |s, v| s.with(VlanClass::customer(v)));
                (SegmentId::new(id).unwrap(), set)
            })
            .collect();
        assert_eq!(large.signed(), Err(NoRecord::TooLong));
        // More ranges than are told exactly would grant more than was meant.
        let mut wide = record();
        let vids = (1..=60).filter_map(|n| Vid::new(n * 2));
        wide.segments[0].1 = vids.fold(VlanSet::default(), |s, v| s.with(VlanClass::customer(v)));
        assert_eq!(wide.signed(), Err(NoRecord::Form));
        let mut roles = whole(&record());
        roles[1 + 32 + 16 + 8 + 32 + 16] = 16;
        assert_eq!(Record::parse(&roles), Err(NoRecord::Form));
        let mut version = whole(&record());
        version[0] = 2;
        assert_eq!(Record::parse(&version), Err(NoRecord::Version));
    }
}
