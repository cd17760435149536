//! A network as those see it who have to believe what is said in its name: what it is known by, and whose word counts.

use crate::keys::{Authority, NetworkFile, PublicKey, Signs};
use crate::wire::delegation::Delegation;
use crate::wire::proof::Proof;
use crate::wire::record::{MemberId, NETWORK_LEN, Roles, SIGNATURE_LEN};
use crate::wire::revocation::Revocations;

/// Bytes of a key that signs.
const KEY_LEN: usize = 32;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    /// What it is known by.
    pub id: [u8; NETWORK_LEN],
    /// Whose word counts. Where two of them retire each other, the first one's word is the last.
    pub authorities: Vec<Authority>,
}

/// Why something that is said in the name of a network is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is of another network.
    #[error("is of another network")]
    OtherNetwork,
    /// No authority of the network says so.
    #[error("is signed by no authority of the network")]
    Unsigned,
    /// A delegate grants more than it may.
    #[error("grants more than its signer may grant")]
    TooMuch,
    /// It never holds: the delegate's time does not meet the record's.
    #[error("holds at no time")]
    NoTime,
}

/// For how long a record is believed, and by whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Which of its member's records it is.
    pub serial: u64,
    /// From when on it holds, in seconds since 1970.
    pub not_before: u64,
    /// Until when.
    pub not_after: u64,
    /// The authority that it goes back to.
    pub issuer: [u8; KEY_LEN],
    /// The key that has signed it in the authority's place.
    pub delegate: Option<[u8; KEY_LEN]>,
}

/// What is kept of a member's record beside what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whose it is.
    pub member: MemberId,
    /// Its time.
    pub term: Term,
    /// The time of the record before, while the key in that counts as well.
    pub earlier: Option<Term>,
    /// What it may do beside having ports.
    pub roles: Roles,
}

impl Realm {
    /// The network of a file.
    pub fn of(file: &NetworkFile) -> Realm {
        Realm {
            id: file.id,
            authorities: file.authorities.clone(),
        }
    }

    /// Whether a key is one of the authorities.
    pub fn has(&self, issuer: &[u8; KEY_LEN]) -> bool {
        self.authorities.contains(&Authority::from_bytes(*issuer))
    }

    /// Whether a proof is to be believed, by its signatures, and for how long; one signature is checked, or two, about 50 us each.
    ///
    /// # Errors
    /// Why not. Whether it holds now, and whether it was revoked, is not looked at.
    pub fn believe(&self, proof: &Proof) -> Result<Term, Refusal> {
        let record = &proof.record;
        if record.network != self.id {
            return Err(Refusal::OtherNetwork);
        }
        let term = Term {
            serial: record.serial,
            not_before: record.not_before,
            not_after: record.not_after,
            issuer: record.issuer,
            delegate: None,
        };
        let term = match &proof.delegation {
            None => term,
            Some((delegation, signature)) => {
                self.believe_delegation(delegation, signature)?;
                if !delegation.covers(record) {
                    return Err(Refusal::TooMuch);
                }
                Term {
                    not_before: term.not_before.max(delegation.not_before),
                    not_after: term.not_after.min(delegation.not_after),
                    issuer: delegation.issuer,
                    delegate: Some(record.issuer),
                    ..term
                }
            }
        };
        let signed = record.signed().map_err(|_| Refusal::TooMuch)?;
        let signer = Authority::from_bytes(record.issuer);
        let is_rightful = term.delegate.is_some() || self.has(&term.issuer);
        if !is_rightful || !signer.verifies(Signs::Record, &signed, &proof.signature) {
            return Err(Refusal::Unsigned);
        }
        match term.not_before < term.not_after {
            true => Ok(term),
            false => Err(Refusal::NoTime),
        }
    }

    /// Whether a delegation is one of this network's.
    ///
    /// # Errors
    /// Why not.
    pub fn believe_delegation(
        &self,
        delegation: &Delegation,
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), Refusal> {
        let named = (&delegation.network, &delegation.issuer);
        self.check(named, (Signs::Delegation, delegation.signed()), signature)
    }

    /// Whether a list of revocations is one of this network's.
    ///
    /// # Errors
    /// Why not.
    pub fn believe_list(
        &self,
        list: &Revocations,
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), Refusal> {
        let named = (&list.network, &list.issuer);
        self.check(named, (Signs::Revocations, list.signed()), signature)
    }

    /// Whether something names this network and an authority of it, and is signed by that.
    fn check<E>(
        &self,
        (network, issuer): (&[u8; NETWORK_LEN], &[u8; KEY_LEN]),
        (what, signed): (Signs, Result<Vec<u8>, E>),
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), Refusal> {
        if *network != self.id {
            return Err(Refusal::OtherNetwork);
        }
        let signed = signed.map_err(|_| Refusal::TooMuch)?;
        let authority = Authority::from_bytes(*issuer);
        let is_signed = self.has(issuer) && authority.verifies(what, &signed, signature);
        is_signed.then_some(()).ok_or(Refusal::Unsigned)
    }
}

impl Recorded {
    /// What is kept of a proof that is believed for this time.
    pub fn of(proof: &Proof, term: Term) -> Recorded {
        Recorded {
            member: proof.record.member,
            term,
            earlier: None,
            roles: proof.record.roles,
        }
    }
}

/// The key of a record.
pub fn key_of(proof: &Proof) -> PublicKey {
    PublicKey::from_bytes(proof.record.key)
}
