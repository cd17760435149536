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
