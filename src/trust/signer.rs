//! Who signs records: an authority, or a key that an authority has delegated to.

use std::fmt;

use crate::keys::{Authority, AuthorityKey, Signs};
use crate::wire::delegation::{BACKDATED, Delegation};
use crate::wire::proof::Proof;
use crate::wire::record::{NoRecord, Record, Roles, SIGNATURE_LEN};
use crate::wire::segment::SegmentId;
use crate::wire::vlans::VlanSet;

/// Seconds in a day.
const DAY: u64 = 24 * 3600;

/// A key that signs, and by what right.
#[derive(Clone)]
pub struct Signer {
    key: AuthorityKey,
    delegation: Option<(Delegation, [u8; SIGNATURE_LEN])>,
}

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        (self.public(), &self.delegation) == (other.public(), &other.delegation)
    }
}

impl Eq for Signer {}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signer {}", self.public())
    }
}

impl Signer {
    /// An authority.
    pub fn authority(key: AuthorityKey) -> Signer {
        Signer {
            key,
            delegation: None,
        }
    }

    /// A key with its delegation; `None` when that is another key's.
    pub fn delegate(
        key: AuthorityKey,
        delegation: (Delegation, [u8; SIGNATURE_LEN]),
    ) -> Option<Signer> {
        let is_its_own = delegation.0.delegate == *key.authority().as_bytes();
        is_its_own.then_some(Signer {
            key,
            delegation: Some(delegation),
        })
    }

    /// Its public key.
    pub fn public(&self) -> Authority {
        self.key.authority()
    }

    /// What it may sign, if that is not everything.
    pub fn limits(&self) -> Option<&Delegation> {
        self.delegation.as_ref().map(|(delegation, _)| delegation)
    }

    /// The longest time that a record of its may hold from now on, but no more than this, in seconds.
    pub fn longest(&self, wanted: u64, now: u64) -> u64 {
        let Some(limits) = self.limits() else {
            return wanted;
        };
        let left = limits.not_after.saturating_sub(now);
        wanted.min(left).min(u64::from(limits.days) * DAY)
    }

    /// Whether it may grant this.
    pub fn may(&self, roles: Roles, segments: &[(SegmentId, VlanSet)]) -> bool {
        self.limits().is_none_or(|limits| {
            let has = |(id, vlans): &(SegmentId, VlanSet)| {
                let granted = limits.segments.iter().find(|(known, _)| known == id);
                granted.is_some_and(|(_, granted)| vlans.is_within(granted))
            };
            limits.roles.has(roles) && segments.iter().all(has)
        })
    }

    /// Signs a record, which becomes its own; gives the bytes of the proof.
    ///
    /// # Errors
    /// [`NoRecord::Form`] for what no record can say, or this signer may not; [`NoRecord::TooLong`].
    pub fn issue(&self, mut record: Record) -> Result<Vec<u8>, NoRecord> {
        record.issuer = *self.public().as_bytes();
        if self.limits().is_some_and(|limits| !limits.covers(&record)) {
            return Err(NoRecord::Form);
        }
        let signature = self.key.sign(Signs::Record, &record.signed()?);
        Proof {
            record,
            signature,
            delegation: self.delegation.clone(),
        }
        .to_bytes()
    }

    /// When a record that is signed now begins to hold: clocks may be late.
    pub fn begins(now: u64) -> u64 {
        now.saturating_sub(BACKDATED)
    }
}

/// The serial of a member's next record: greater than the one before, and than all that another signer, or a directory that was restored
/// from a copy, has given before now; `None` when there is none greater.
pub fn next_serial(before: u64, now: u64) -> Option<u64> {
    let next = before.checked_add(1)?.max(now);
    // The greatest one stands for all of them in a list of revocations.
    (next < u64::MAX).then_some(next)
}
