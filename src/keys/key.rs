//! The three kinds of key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, Zeroizing};

use super::Entropy;

/// Bytes of every key.
pub(super) const LEN: usize = 32;
/// Characters of a key's text.
const TEXT_LEN: usize = 44;

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// The text has another length than 44 characters.
    #[error("a key has 44 characters, this text has {0}")]
    Length(usize),
    /// The text is not padded standard base64.
    #[error("the text is not base64")]
    NotBase64,
    /// The public key is zero.
    #[error("the key is all zeros")]
    Zero,
}

/// A secret in one place of memory, however often it is cloned and moved; wiped when the last of them is dropped.
pub(super) type Shared = Arc<Zeroizing<[u8; LEN]>>;

pub(super) fn shared(fill: impl FnOnce(&mut [u8; LEN])) -> Shared {
    let mut bytes = Arc::new(Zeroizing::new([0; LEN]));
    if let Some(bytes) = Arc::get_mut(&mut bytes) {
        fill(bytes);
    }
    bytes
}

pub(super) fn decode(text: &str) -> Result<Shared, KeyTextError> {
    let text = text.trim();
    if text.len() != TEXT_LEN {
        return Err(KeyTextError::Length(text.chars().count()));
    }
    let mut buffer = Zeroizing::new([0u8; 33]);
    let bytes =
        Base64::decode(text.as_bytes(), buffer.as_mut()).map_err(|_| KeyTextError::NotBase64)?;
    let bytes: &[u8; LEN] = bytes.try_into().map_err(|_| KeyTextError::NotBase64)?;
    Ok(shared(|place| place.copy_from_slice(bytes)))
}

/// An X25519 public key: who a member is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; LEN]);

impl PublicKey {
    /// A public key from its bytes.
    pub const fn from_bytes(bytes: [u8; LEN]) -> Self {
        PublicKey(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }

    /// The first eight characters of the text, for logs and tables.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let bytes = decode(text)?;
        if **bytes == [0; LEN] {
            return Err(KeyTextError::Zero);
        }
        Ok(PublicKey(**bytes))
    }
}

/// An X25519 private key.
#[derive(Clone)]
pub struct PrivateKey(Shared);

impl PrivateKey {
    /// Makes a new key, clamped as `wg genkey` does (RFC 7748 section 5).
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        PrivateKey(shared(|key| {
            entropy.fill(key);
            key[0] &= 248;
            key[31] = (key[31] & 127) | 64;
        }))
    }

    /// A private key from its bytes.
    pub fn from_bytes(mut bytes: [u8; LEN]) -> Self {
        let key = PrivateKey(shared(|place| *place = bytes));
        bytes.zeroize();
        key
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// When the text is not 44 characters of base64.
    pub fn from_text(text: &str) -> Result<Self, KeyTextError> {
        decode(text).map(PrivateKey)
    }

    /// The text form, wiped when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64::encode_string(&**self.0))
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&StaticSecret::from(**self.0)).to_bytes())
    }

    /// Something for another purpose that only the holder of the key can make, and makes again: 16 bytes, BLAKE2s keyed with
    /// the key (RFC 7693).
    pub fn derived(&self, purpose: &[u8]) -> [u8; 16] {
        let Ok(mut state) = <Blake2sMac<U16> as KeyInit>::new_from_slice(&**self.0) else {
            return [0; 16];
        };
        Update::update(&mut state, purpose);
        state.finalize_fixed().into()
    }

    pub(crate) fn expose(&self) -> &[u8; LEN] {
        &self.0
    }
}

/// A pre-shared key of a pair of members, mixed into their handshake.
#[derive(Clone)]
pub struct Psk(Shared);

impl Psk {
    /// Makes a new key.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Psk(shared(|key| entropy.fill(key)))
    }

    /// A pre-shared key from its bytes.
    pub fn from_bytes(mut bytes: [u8; LEN]) -> Self {
        let key = Psk(shared(|place| *place = bytes));
        bytes.zeroize();
        key
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// When the text is not 44 characters of base64.
    pub fn from_text(text: &str) -> Result<Self, KeyTextError> {
        decode(text).map(Psk)
    }

    /// The text form, wiped when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64::encode_string(&**self.0))
    }

    pub(crate) fn expose(&self) -> &[u8; LEN] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748 section 6.1.
    #[test]
    fn public_keys_are_those_of_the_rfc() {
        let alice = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2,
            0x66, 0x45, 0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5,
            0x1d, 0xb9, 0x2c, 0x2a,
        ];
        assert_eq!(
            PrivateKey::from_bytes(alice).public().as_bytes()[..4],
            [0x85, 0x20, 0xf0, 0x09]
        );
    }

    #[test]
    fn texts_of_every_other_length_are_refused() {
        let key = PrivateKey::from_bytes([7; 32]);
        let text = key.to_text();
        assert_eq!(PrivateKey::from_text(&text).unwrap().expose(), &[7; 32]);
        for len in 0..44 {
            assert!(PrivateKey::from_text(&text[..len]).is_err());
        }
        assert!(Psk::from_text(&format!("{}AAAA", *text)).is_err());
        assert_eq!(
            "!".repeat(44).parse::<PublicKey>(),
            Err(KeyTextError::NotBase64)
        );
        let zero = PublicKey::from_bytes([0; 32]).to_string();
        assert_eq!(zero.parse::<PublicKey>(), Err(KeyTextError::Zero));
    }
}
