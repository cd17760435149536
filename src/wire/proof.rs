//! Proofs: a member's record, and behind one that a delegate has signed the delegation that says so.
//!
//! A proof is whole by itself: who knows the authorities of a network needs nothing else to believe it. Inside a handshake it is
//! shorter, since both ends know the network and the key, and the delegate stands in the record:
//!
//! ```text
//! record without network and key · [delegation without network and delegate]
//! ```

use super::delegation::Delegation;
use super::record::{KEY_LEN, MAX_RECORD_LEN, NAMED_LEN, NETWORK_LEN};
use super::record::{NoRecord, Record, SIGNATURE_LEN};
use super::signed;

/// A record with what makes it believable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The record.
    pub record: Record,
    /// By the record's issuer.
    pub signature: [u8; SIGNATURE_LEN],
    /// What the issuer may sign, where it is no authority itself, and that authority's signature.
    pub delegation: Option<(Delegation, [u8; SIGNATURE_LEN])>,
}

impl Proof {
    /// Reads a proof, all of it: [`MAX_RECORD_LEN`] bytes at most.
    ///
    /// # Errors
    /// See [`NoRecord`].
    pub fn parse(bytes: &[u8]) -> Result<Proof, NoRecord> {
        if bytes.len() > MAX_RECORD_LEN {
            return Err(NoRecord::TooLong);
        }
        let (record, signature, rest) = signed::front::<Record>(bytes)?;
        let delegation = match rest {
            [] => None,
            rest => Some(Delegation::parse(rest)?),
        };
        // One that is another network's or key's says nothing of this record, and could not be left out and put in again.
        let is_its_own =
            |(d, _): &(Delegation, _)| d.network == record.network && d.delegate == record.issuer;
        if delegation.as_ref().is_some_and(|d| !is_its_own(d)) {
            return Err(NoRecord::Form);
        }
        Ok(Proof {
            record,
            signature,
            delegation,
        })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`NoRecord::Form`] for what cannot be said, [`NoRecord::TooLong`] for more than [`MAX_RECORD_LEN`] bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NoRecord> {
        let mut out = self.record.signed()?;
        out.extend_from_slice(&self.signature);
        if let Some((delegation, signature)) = &self.delegation {
            out.extend_from_slice(&delegation.signed()?);
            out.extend_from_slice(signature);
        }
        match out.len() <= MAX_RECORD_LEN {
            true => Ok(out),
            false => Err(NoRecord::TooLong),
        }
    }

    /// A proof as a handshake has it; `None` for what is no proof.
    pub fn shortened(bytes: &[u8]) -> Option<Vec<u8>> {
        let (record, rest) = split(bytes)?;
        let (version, record) = record.split_first()?;
        let (named, record) = record.get(NETWORK_LEN..)?.split_at_checked(NAMED_LEN)?;
        let record = record.get(KEY_LEN..)?;
        let delegation = match rest.split_first() {
            None => Vec::new(),
            Some((version, rest)) => [&[*version], rest.get(NETWORK_LEN + KEY_LEN..)?].concat(),
        };
        Some([&[*version], named, record, &delegation].concat())
    }

    /// The whole proof to what a handshake has of it; `None` for what comes from none.
    pub fn completed(
        short: &[u8],
        network: &[u8; NETWORK_LEN],
        key: &[u8; KEY_LEN],
    ) -> Option<Vec<u8>> {
        let (version, rest) = short.split_first()?;
        let (named, rest) = rest.split_at_checked(NAMED_LEN)?;
        let whole = [&[*version], &network[..], named, key, rest].concat();
        let (record, _, rest) = signed::front::<Record>(&whole).ok()?;
        let Some((version, delegation)) = rest.split_first() else {
            return Some(whole);
        };
        let head = whole.get(..whole.len() - rest.len())?;
        Some([head, &[*version], network, &record.issuer, delegation].concat())
    }
}

/// The record with its signature, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, _, rest) = signed::front::<Record>(bytes).ok()?;
    bytes.split_at_checked(bytes.len() - rest.len())
}
