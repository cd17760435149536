//! What each authority has taken back: one list of each, the newest that is known.
//!
//! # Why
//! Two authorities of one network do not know of each other's lists, so neither may replace the other's: what counts is what any of
//! them says. A retired authority's word is nothing, its list included; where two retire each other, that counts which the
//! network's file names first.

use super::realm::{Realm, Term};
use crate::keys::MAX_AUTHORITIES;
use crate::wire::record::MemberId;
use crate::wire::revocation::Revocations;

/// The lists of a network's authorities: [`MAX_AUTHORITIES`] of them, each as long as a list can be, at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    kept: Vec<(Revocations, Vec<u8>)>,
    retired: Vec<[u8; 32]>,
}

impl Lists {
    /// Takes a list that is believed; `false` when one of that authority and as new is known, or the authority is retired by one that the
    /// network's file names before it.
    pub fn take(&mut self, list: Revocations, bytes: &[u8], realm: &Realm) -> bool {
        if list.epoch <= self.epoch(&list.issuer) || !realm.has(&list.issuer) {
            return false;
        }
        let issuer = list.issuer;
        self.kept.retain(|(known, _)| known.issuer != list.issuer);
        if self.kept.len() < MAX_AUTHORITIES {
            self.kept.push((list, bytes.to_vec()));
        }
        self.settle(realm);
        self.epoch(&issuer) > 0
    }

    /// The network has other authorities: the lists of those that are none any more are forgotten.
    pub fn settle(&mut self, realm: &Realm) {
        let rank = |issuer: &[u8; 32]| {
            let mut all = realm.authorities.iter();
            all.position(|a| a.as_bytes() == issuer)
        };
        self.kept.retain(|(list, _)| rank(&list.issuer).is_some());
        self.kept.sort_by_key(|(list, _)| rank(&list.issuer));
        let mut retired: Vec<[u8; 32]> = Vec::new();
        for (list, _) in &self.kept {
            if !retired.contains(&list.issuer) {
                // Nobody retires itself by that: it could not take the next one back.
                let others = list.authorities.iter().filter(|a| **a != list.issuer);
                retired.extend(others);
            }
        }
        self.kept
            .retain(|(list, _)| !retired.contains(&list.issuer));
        self.retired = retired;
    }

    /// Whether a key signs no more, be it an authority's or a delegate's.
    pub fn has_retired(&self, key: &[u8; 32]) -> bool {
        self.retired.contains(key)
    }

    /// Whether a record of this member does not count any more.
    pub fn has(&self, member: &MemberId, term: &Term) -> bool {
        let delegate = term.delegate.as_ref();
        let is_revoked = |list: &Revocations| list.has((member, term.serial), &[0; 32]);
        self.has_retired(&term.issuer)
            || delegate.is_some_and(|key| self.has_retired(key))
            || self.kept.iter().any(|(list, _)| is_revoked(list))
    }

    /// The epoch of an authority's list; 0 when none is known.
    pub fn epoch(&self, issuer: &[u8; 32]) -> u64 {
        let mut kept = self.kept.iter();
        let own = kept.find(|(list, _)| list.issuer == *issuer);
        own.map_or(0, |(list, _)| list.epoch)
    }

    /// An authority's list of just this epoch, as it was signed.
    pub fn bytes(&self, issuer: &[u8; 32], epoch: u64) -> Option<&[u8]> {
        let mut kept = self.kept.iter();
        let own = kept.find(|(list, _)| list.issuer == *issuer && list.epoch == epoch);
        own.map(|(_, bytes)| &bytes[..])
    }

    /// Each list: who has signed it, its epoch, and its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; 32], u64, &[u8])> {
        let kept = self.kept.iter();
        kept.map(|(list, bytes)| (&list.issuer, list.epoch, &bytes[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Authority;

    fn list(issuer: u8, epoch: u64, retires: &[u8]) -> Revocations {
        let mut list = Revocations {
            epoch,
            issuer: [issuer; 32],
            ..Revocations::default()
        };
        retires.iter().for_each(|n| list.retire([*n; 32]));
        list.revoke(MemberId([issuer; 16]), 5);
        list
    }

    fn realm(authorities: &[u8]) -> Realm {
        let authorities = authorities.iter();
        Realm {
            id: [0; 32],
            authorities: authorities
                .map(|n| Authority::from_bytes([*n; 32]))
                .collect(),
        }
    }

    fn term(serial: u64, issuer: u8, delegate: Option<u8>) -> Term {
        Term {
            serial,
            not_before: 0,
            not_after: 1,
            issuer: [issuer; 32],
            delegate: delegate.map(|n| [n; 32]),
        }
    }

    #[test]
    fn what_any_authority_has_taken_back_is_taken_back() {
        let realm = realm(&[1, 2]);
        let mut lists = Lists::default();
        assert!(lists.take(list(1, 4, &[]), &[1], &realm));
        assert!(lists.take(list(2, 1, &[9]), &[2], &realm));
        assert!(!lists.take(list(1, 4, &[]), &[3], &realm), "no news");
        assert!(!lists.take(list(3, 9, &[]), &[3], &realm), "nobody's");
        let [one, two, other] = [1, 2, 3].map(|n| MemberId([n; 16]));
        for member in [one, two] {
            assert!(lists.has(&member, &term(5, 1, None)));
            assert!(!lists.has(&member, &term(6, 1, None)));
        }
        assert!(!lists.has(&other, &term(1, 1, None)));
        assert!(
            lists.has(&other, &term(1, 1, Some(9))),
            "its delegate signs no more"
        );
        assert_eq!((lists.epoch(&[1; 32]), lists.epoch(&[2; 32])), (4, 1));
        assert_eq!(lists.bytes(&[1; 32], 4), Some(&[1][..]));
        assert_eq!(lists.bytes(&[1; 32], 3), None);
    }

    #[test]
    fn of_two_that_retire_each_other_the_first_one_stays() {
        for order in [[1, 2], [2, 1]] {
            let realm = realm(&order);
            for first in [1, 2] {
                let mut lists = Lists::default();
                // Whichever comes first.
                assert!(lists.take(list(first, 1, &[3 - first]), &[1], &realm));
                let is_first = order[0] == first;
                let other = lists.take(list(3 - first, 1, &[first]), &[2], &realm);
                assert_eq!(other, !is_first);
                assert!(lists.has_retired(&[order[1]; 32]));
                assert!(!lists.has_retired(&[order[0]; 32]));
            }
            // Both are read from a file at once.
            let mut lists = Lists::default();
            for (n, other) in [(1, 2), (2, 1)] {
                lists.kept.push((list(n, 1, &[other]), Vec::new()));
            }
            lists.settle(&realm);
            assert!(!lists.has_retired(&[order[0]; 32]) && lists.has_retired(&[order[1]; 32]));
            assert!(!lists.has(&MemberId([order[1]; 16]), &term(1, order[0], None)));
        }
    }
}
