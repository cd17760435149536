//! Delegations: what an authority lets another key sign in its place, so that it need not be there itself.
//!
//! ```text
//! version 1 · network 32 · delegate 32 · not before 8 · not after 8 · days 2 · roles 1 ·
//! segments (count 1, each id 3 and VLANs) · issuer 32 · signature 64
//! ```
//! A record that a delegate has signed is followed by this ([`super::proof`]), and grants nothing that this does not.

use super::cursor::Cursor;
use super::record::{NETWORK_LEN, NoRecord, Record, Roles, SIGNATURE_LEN, read_segments};
use super::record::{is_in_order, write_segments};
use super::segment::SegmentId;
use super::signed::{self, Signed};
use super::vlans::VlanSet;

const KEY_LEN: usize = 32;
/// Seconds in a day.
const DAY: u64 = 24 * 3600;
/// How far the serials of a delegate's records may be ahead of their time, in seconds: an authority can always give a greater one.
const MOST_AHEAD: u64 = 3 * 366 * DAY;
/// Records begin a little before they are signed, for clocks that are late.
pub const BACKDATED: u64 = 600;

/// What a delegate may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The network.
    pub network: [u8; NETWORK_LEN],
    /// The delegate's Ed25519 key.
    pub delegate: [u8; KEY_LEN],
    /// From when on what it signs counts, in seconds since 1970.
    pub not_before: u64,
    /// Until when.
    pub not_after: u64,
    /// The most days that a record of its may hold.
    pub days: u16,
    /// The roles that it may grant.
    pub roles: Roles,
    /// The segments that it may grant, and the VLANs in each.
    pub segments: Vec<(SegmentId, VlanSet)>,
    /// The authority that signs it.
    pub issuer: [u8; KEY_LEN],
}

impl Signed for Delegation {
    const VERSION: u8 = 1;
    const MOST: usize = super::record::MAX_RECORD_LEN;

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let _version = cursor.u8()?;
        Some(Delegation {
            network: cursor.array()?,
            delegate: cursor.array()?,
            not_before: cursor.u64()?,
            not_after: cursor.u64()?,
            days: cursor.u16()?,
            roles: Roles::read(cursor)?,
            segments: read_segments(cursor)?,
            issuer: cursor.array()?,
        })
    }

    fn form(&self) -> Result<Vec<u8>, NoRecord> {
        let mut out = vec![Self::VERSION];
        out.extend_from_slice(&self.network);
        out.extend_from_slice(&self.delegate);
        out.extend_from_slice(&self.not_before.to_le_bytes());
        out.extend_from_slice(&self.not_after.to_le_bytes());
        out.extend_from_slice(&self.days.to_le_bytes());
        out.push(self.roles.bits());
        write_segments(&self.segments, &mut out)?;
        out.extend_from_slice(&self.issuer);
        let is_in_form = self.not_before < self.not_after
            && self.days > 0
            && self.roles.is_known()
            // Who may sign makes nobody else who may.
            && !self.roles.has(Roles::ADMIN)
            && is_in_order(&self.segments);
        match (is_in_form, out.len() + SIGNATURE_LEN <= Self::MOST) {
            (false, _) => Err(NoRecord::Form),
            (_, false) => Err(NoRecord::TooLong),
            _ => Ok(out),
        }
    }
}

impl Delegation {
    /// What is signed: everything but the signature.
    ///
    /// # Errors
    /// [`NoRecord::Form`] for what cannot be said in it, [`NoRecord::TooLong`].
    pub fn signed(&self) -> Result<Vec<u8>, NoRecord> {
        self.form()
    }

    /// Reads a delegation and its signature, all of it.
    ///
    /// # Errors
    /// See [`NoRecord`].
    pub fn parse(bytes: &[u8]) -> Result<(Delegation, [u8; SIGNATURE_LEN]), NoRecord> {
        signed::whole(bytes)
    }

    /// Whether a record grants nothing that this does not.
    pub fn covers(&self, record: &Record) -> bool {
        let longest = u64::from(self.days) * DAY + BACKDATED;
        let has = |(id, vlans): &(SegmentId, VlanSet)| {
            let granted = self.segments.iter().find(|(known, _)| known == id);
            granted.is_some_and(|(_, granted)| vlans.is_within(granted))
        };
        record.network == self.network
            && record.issuer == self.delegate
            && record.not_after - record.not_before <= longest
            && record.serial <= record.not_before.saturating_add(MOST_AHEAD)
            && self.roles.has(record.roles)
            && record.segments.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proof::Proof;
    use crate::wire::record::MemberId;
    use crate::wire::vlan::{Vid, VlanClass};

    fn of(ids: &[u32], vid: u16) -> Vec<(SegmentId, VlanSet)> {
        let vlans = VlanSet::default().with(VlanClass::customer(Vid::new(vid).unwrap()));
        let ids = ids.iter();
        ids.map(|id| (SegmentId::new(*id).unwrap(), vlans.clone()))
            .collect()
    }

    fn delegation() -> Delegation {
        Delegation {
            network: [1; 32],
            delegate: [6; 32],
            not_before: 1_800_000_000,
            not_after: 1_831_536_000,
            days: 30,
            roles: Roles::RELAY.and(Roles::ROUTER),
            segments: of(&[1, 7], 10),
            issuer: [5; 32],
        }
    }

    fn record() -> Record {
        Record {
            network: [1; 32],
            member: MemberId([2; 16]),
            serial: 3,
            key: [4; 32],
            not_before: 1_800_000_000 - BACKDATED,
            not_after: 1_800_000_000 + 30 * DAY,
            roles: Roles::RELAY,
            mac_limit: 0,
            name: "web3".into(),
            segments: of(&[7], 10),
            macs: Vec::new(),
            prefixes: Vec::new(),
            issuer: [6; 32],
        }
    }

    #[test]
    fn it_has_one_form_and_a_proof_with_it_reads_back() {
        let mut bytes = delegation().signed().unwrap();
        bytes.extend_from_slice(&[8; SIGNATURE_LEN]);
        assert_eq!(Delegation::parse(&bytes), Ok((delegation(), [8; 64])));
        for len in 0..bytes.len() {
            assert!(Delegation::parse(&bytes[..len]).is_err(), "cut to {len}");
        }
        for with in [None, Some((delegation(), [8; 64]))] {
            let proof = Proof {
                record: record(),
                signature: [9; 64],
                delegation: with,
            };
            let bytes = proof.to_bytes().unwrap();
            assert_eq!(Proof::parse(&bytes), Ok(proof.clone()));
            let short = Proof::shortened(&bytes).unwrap();
            let left_out = if proof.delegation.is_some() { 128 } else { 64 };
            assert_eq!(short.len(), bytes.len() - left_out);
            let whole = Proof::completed(&short, &[1; 32], &[4; 32]);
            assert_eq!(whole, Some(bytes.clone()));
            for len in 0..bytes.len() {
                let is_the_record_alone = len == record().signed().unwrap().len() + 64;
                let read = Proof::parse(&bytes[..len]);
                assert_eq!(read.is_ok(), is_the_record_alone, "cut to {len}");
            }
        }
    }

    /// Found by fuzzing: a delegation behind a record that it has nothing to do with.
    #[test]
    fn a_delegation_of_another_key_or_network_makes_no_proof() {
        type Change = fn(&mut Delegation);
        let changes: [Change; 2] = [|d| d.delegate = [7; 32], |d| d.network = [2; 32]];
        for change in changes {
            let mut other = delegation();
            change(&mut other);
            let mut bytes = record().signed().unwrap();
            bytes.extend_from_slice(&[9; 64]);
            bytes.extend_from_slice(&other.signed().unwrap());
            bytes.extend_from_slice(&[8; 64]);
            assert_eq!(Proof::parse(&bytes), Err(NoRecord::Form));
        }
    }

    #[test]
    fn it_covers_what_it_names_and_no_more() {
        type Change = fn(&mut Record);
        assert!(delegation().covers(&record()));
        let cases: [(&str, Change); 7] = [
            ("the greatest serial", |r| r.serial = u64::MAX - 1),
            ("a day more", |r| r.not_after += DAY),
            ("a role more", |r| r.roles = Roles::ADMIN),
            ("another segment", |r| r.segments = of(&[8], 10)),
            ("another VLAN", |r| r.segments = of(&[7], 11)),
            ("another network", |r| r.network = [2; 32]),
            ("another signer", |r| r.issuer = [5; 32]),
        ];
        for (what, change) in cases {
            let mut other = record();
            change(&mut other);
            assert!(!delegation().covers(&other), "{what}");
        }
        let mut admins = delegation();
        admins.roles = Roles::ADMIN;
        assert_eq!(
            admins.signed(),
            Err(NoRecord::Form),
            "nobody delegates that"
        );
    }
}
