//! Who is no member any more, and which authorities are none: one list for a network, ever longer.
//!
//! ```text
//! version 1 · network 32 · epoch 8 · members (count 2, each member 16, serial 8) · authorities (count 1, 32 each) ·
//! issuer 32 · signature 64
//! ```
//! A list takes the place of one with a smaller epoch, and never of one with a greater. Of a member all records up to the serial are
//! revoked: the greatest serial means that it does not come back. As with records there is one form for each content: lists
//! are sorted and name nothing twice.

use super::cursor::Cursor;
use super::record::{MemberId, NETWORK_LEN, NoRecord, SIGNATURE_LEN};
use super::signed::{self, Signed};

const KEY_LEN: usize = 32;
/// The most members that one list revokes.
pub const MAX_REVOKED: usize = 4096;
/// The most authorities.
pub const MAX_RETIRED: usize = 16;
/// Bytes of the longest list.
pub const MAX_REVOCATIONS_LEN: usize = 256 + MAX_REVOKED * 24 + MAX_RETIRED * KEY_LEN;

/// Whose records do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// The network.
    pub network: [u8; NETWORK_LEN],
    /// Which list this is: a greater one takes the place of a smaller one.
    pub epoch: u64,
    /// Members, each with the greatest serial that is revoked.
    pub members: Vec<(MemberId, u64)>,
    /// Authorities whose records count no more, and keys that an authority has delegated to.
    pub authorities: Vec<[u8; KEY_LEN]>,
    /// The authority that signs the list.
    pub issuer: [u8; KEY_LEN],
}

impl Revocations {
    /// Whether a record of this member and serial, signed by that authority, counts no more.
    pub fn has(&self, (member, serial): (&MemberId, u64), issuer: &[u8; KEY_LEN]) -> bool {
        let at = self.members.binary_search_by_key(member, |(m, _)| *m);
        let up_to = at.ok().and_then(|at| self.members.get(at)).map(|(_, s)| *s);
        up_to.is_some_and(|up_to| serial <= up_to) || self.authorities.contains(issuer)
    }

    /// Revokes a member's records up to a serial.
    pub fn revoke(&mut self, member: MemberId, up_to: u64) {
        match self.members.binary_search_by_key(&member, |(m, _)| *m) {
            Ok(at) => {
                if let Some((_, serial)) = self.members.get_mut(at) {
                    *serial = (*serial).max(up_to);
                }
            }
            Err(at) => self.members.insert(at, (member, up_to)),
        }
    }

    /// Retires an authority.
    pub fn retire(&mut self, authority: [u8; KEY_LEN]) {
        if let Err(at) = self.authorities.binary_search(&authority) {
            self.authorities.insert(at, authority);
        }
    }

    /// What is signed: everything but the signature.
    ///
    /// # Errors
    /// [`NoRecord::Form`] for lists out of order, [`NoRecord::TooLong`].
    pub fn signed(&self) -> Result<Vec<u8>, NoRecord> {
        self.form()
    }

    /// Reads a list and its signature, all of it.
    ///
    /// # Errors
    /// See [`NoRecord`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, [u8; SIGNATURE_LEN]), NoRecord> {
        signed::whole(bytes)
    }
}

impl Signed for Revocations {
    const VERSION: u8 = 1;
    const MOST: usize = MAX_REVOCATIONS_LEN;

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let _version = cursor.u8()?;
        let network = cursor.array()?;
        let epoch = cursor.u64()?;
        let count = usize::from(cursor.u16()?).min(MAX_REVOKED + 1);
        let member = |c: &mut Cursor<'_>| Some((MemberId(c.array()?), c.u64()?));
        let members = (0..count).map(|_| member(cursor)).collect::<Option<_>>()?;
        let count = usize::from(cursor.u8()?).min(MAX_RETIRED + 1);
        let authorities = (0..count).map(|_| cursor.array()).collect::<Option<_>>()?;
        Some(Revocations {
            network,
            epoch,
            members,
            authorities,
            issuer: cursor.array()?,
        })
    }

    fn form(&self) -> Result<Vec<u8>, NoRecord> {
        let in_order = self.members.is_sorted_by(|(a, _), (b, _)| a < b)
            && self.authorities.is_sorted_by(|a, b| a < b);
        if !in_order {
            return Err(NoRecord::Form);
        }
        if self.members.len() > MAX_REVOKED || self.authorities.len() > MAX_RETIRED {
            return Err(NoRecord::TooLong);
        }
        let mut out = vec![Self::VERSION];
        out.extend_from_slice(&self.network);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&(self.members.len() as u16).to_le_bytes());
        for (member, serial) in &self.members {
            out.extend_from_slice(&member.0);
            out.extend_from_slice(&serial.to_le_bytes());
        }
        out.push(self.authorities.len() as u8);
        self.authorities
            .iter()
            .for_each(|a| out.extend_from_slice(a));
        out.extend_from_slice(&self.issuer);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(list: &Revocations) -> Vec<u8> {
        let mut bytes = list.signed().unwrap();
        bytes.extend_from_slice(&[9; SIGNATURE_LEN]);
        bytes
    }

    #[test]
    fn a_list_revokes_up_to_a_serial_and_whole_authorities() {
        let mut list = Revocations {
            epoch: 4,
            ..Revocations::default()
        };
        let [a, b, c] = [1, 2, 3].map(|n| MemberId([n; 16]));
        list.revoke(b, 5);
        list.revoke(a, u64::MAX);
        list.revoke(b, 3);
        list.retire([8; 32]);
        list.retire([7; 32]);
        list.retire([8; 32]);
        assert_eq!(list.members, [(a, u64::MAX), (b, 5)]);
        assert_eq!(list.authorities, [[7; 32], [8; 32]]);
        let own = [1; 32];
        assert!(list.has((&a, u64::MAX), &own) && list.has((&b, 5), &own));
        assert!(!list.has((&b, 6), &own) && !list.has((&c, 0), &own));
        assert!(list.has((&c, 0), &[7; 32]), "its authority is retired");
        let bytes = whole(&list);
        assert_eq!(Revocations::parse(&bytes), Ok((list, [9; SIGNATURE_LEN])));
        for len in 0..bytes.len() {
            assert!(Revocations::parse(&bytes[..len]).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            if let Ok((read, signature)) = Revocations::parse(&other) {
                assert_eq!([&read.signed().unwrap()[..], &signature].concat(), other);
            }
        }
    }

    #[test]
    fn lists_out_of_order_or_too_long_are_none() {
        let of = |n: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            (MemberId(id), 1)
        };
        let mut list = Revocations {
            members: (0..MAX_REVOKED as u32).map(of).collect(),
            authorities: (0..MAX_RETIRED as u8).map(|n| [n; 32]).collect(),
            ..Revocations::default()
        };
        let bytes = whole(&list);
        assert!(bytes.len() <= MAX_REVOCATIONS_LEN && Revocations::parse(&bytes).is_ok());
        let mut more = list.clone();
        more.members.push(of(MAX_REVOKED as u32));
        assert_eq!(more.signed(), Err(NoRecord::TooLong));
        list.members.swap(3, 4);
        assert_eq!(list.signed(), Err(NoRecord::Form));
    }
}
