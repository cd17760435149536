//! The primitives that snow runs on: x25519-dalek, chacha20poly1305, blake2.
//!
//! # Why
//! snow's own X25519 completes a handshake with the all-zero key and never wipes; its own cipher rebuilds the key
//! schedule for each call. These refuse non-contributory results (RFC 7748 section 6.1), wipe on drop, and share their
//! code with the rest of the program. The only randomness of a handshake, its ephemeral key, comes in from outside, so
//! that a simulation can repeat a handshake byte for byte.

use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

const LEN: usize = 32;

/// Hands out the primitives of one handshake.
pub(super) struct Primitives {
    /// The ephemeral private key's bytes.
    pub(super) ephemeral: Zeroizing<[u8; LEN]>,
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::default())),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::new(Blake2s(Blake2s256::new()))),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly(None))),
            _ => None,
        }
    }
}

/// Randomness for exactly one ephemeral key: a second request is an error, not a repeated key.
struct Once(Option<Zeroizing<[u8; LEN]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.take().ok_or(Error::Rng)?;
        if out.len() != LEN {
            return Err(Error::Rng);
        }
        out.copy_from_slice(bytes.as_ref());
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    private: Zeroizing<[u8; LEN]>,
    public: [u8; LEN],
}

impl X25519 {
    fn derive(&mut self) {
        self.public = PublicKey::from(&StaticSecret::from(*self.private)).to_bytes();
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        LEN
    }

    fn priv_len(&self) -> usize {
        LEN
    }

    fn set(&mut self, private: &[u8]) {
        // INVARIANT: keys reach snow as `PrivateKey` only, so the length is right.
        if private.len() == LEN {
            self.private.copy_from_slice(private);
            self.derive();
        }
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        random.try_fill_bytes(self.private.as_mut())?;
        self.derive();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_ref()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public: [u8; LEN] = public
            .get(..LEN)
            .and_then(|p| p.try_into().ok())
            .ok_or(Error::Dh)?;
        let shared = StaticSecret::from(*self.private).diffie_hellman(&PublicKey::from(public));
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        out.get_mut(..LEN)
            .ok_or(Error::Dh)?
            .copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

struct ChaChaPoly(Option<ChaCha20Poly1305>);

/// Noise section 12.3: four zero bytes and the counter, little endian.
fn nonce(counter: u64) -> [u8; 12] {
    let mut out = [0u8; 12];
    let (_, tail) = out.split_at_mut(4);
    tail.copy_from_slice(&counter.to_le_bytes());
    out
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; LEN]) {
        self.0 = Some(ChaCha20Poly1305::new(key.into()));
    }

    fn encrypt(&self, counter: u64, aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let Some(cipher) = &self.0 else { return 0 };
        let Some((text, tail)) = out.split_at_mut_checked(plaintext.len()) else {
            return 0;
        };
        text.copy_from_slice(plaintext);
        let tag = cipher.encrypt_inout_detached(&nonce(counter).into(), aad, text.into());
        match (tag, tail.get_mut(..16)) {
            (Ok(tag), Some(place)) => {
                place.copy_from_slice(&tag);
                plaintext.len() + 16
            }
            _ => 0,
        }
    }

    fn decrypt(
        &self,
        counter: u64,
        aad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let cipher = self.0.as_ref().ok_or(Error::Decrypt)?;
        let (text, tag) = ciphertext.split_last_chunk::<16>().ok_or(Error::Decrypt)?;
        let place = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        place.copy_from_slice(text);
        cipher
            .decrypt_inout_detached(&nonce(counter).into(), aad, place.into(), tag.into())
            .map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        LEN
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let digest = std::mem::take(&mut self.0).finalize();
        if let Some(place) = out.get_mut(..LEN) {
            place.copy_from_slice(&digest);
        }
    }
}
