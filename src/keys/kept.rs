//! What is kept in key files: each kind has a plain text of its own, and all have the same envelope.

use blake2::{Blake2s256, Digest};
use zeroize::Zeroizing;

use super::key::LEN;
use super::{AuthorityKey, Holds, KeyTextError, PrivateKey, Psk};

/// A key that is kept in a file of its own.
pub trait Kept: Sized {
    /// What an envelope says that it holds.
    const HOLDS: Holds;

    /// What an envelope shows of it: the public key, or a fingerprint where there is none.
    fn shown(&self) -> [u8; LEN];

    /// The key itself.
    fn secret(&self) -> &[u8; LEN];

    /// The key of these bytes.
    fn of_secret(secret: &Zeroizing<[u8; LEN]>) -> Self;

    /// The text of a file that is not encrypted, without a line end at its end.
    fn to_plain(&self) -> Zeroizing<String>;

    /// Reads such a text.
    ///
    /// # Errors
    /// When it is none of this kind.
    fn from_plain(text: &str) -> Result<Self, KeyTextError>;
}

impl Kept for PrivateKey {
    const HOLDS: Holds = Holds::NodeKey;

    fn shown(&self) -> [u8; LEN] {
        *self.public().as_bytes()
    }

    fn secret(&self) -> &[u8; LEN] {
        self.expose()
    }

    fn of_secret(secret: &Zeroizing<[u8; LEN]>) -> Self {
        PrivateKey::from_bytes(**secret)
    }

    fn to_plain(&self) -> Zeroizing<String> {
        self.to_text()
    }

    fn from_plain(text: &str) -> Result<Self, KeyTextError> {
        PrivateKey::from_text(text)
    }
}

impl Kept for Psk {
    const HOLDS: Holds = Holds::Psk;

    /// BLAKE2s of it: 32 bytes drawn by dice are not found from that.
    fn shown(&self) -> [u8; LEN] {
        let mut state = Blake2s256::new();
        state.update(b"l2vpn psk fingerprint v1");
        state.update(self.expose());
        state.finalize().into()
    }

    fn secret(&self) -> &[u8; LEN] {
        self.expose()
    }

    fn of_secret(secret: &Zeroizing<[u8; LEN]>) -> Self {
        Psk::from_bytes(**secret)
    }

    fn to_plain(&self) -> Zeroizing<String> {
        self.to_text()
    }

    fn from_plain(text: &str) -> Result<Self, KeyTextError> {
        Psk::from_text(text)
    }
}

/// What a plain authority's key begins with: it looks like no other key.
const PLAIN_AUTHORITY: &str = "l2vpn-authority-key 1\n";

impl Kept for AuthorityKey {
    const HOLDS: Holds = Holds::Authority;

    fn shown(&self) -> [u8; LEN] {
        *self.authority().as_bytes()
    }

    fn secret(&self) -> &[u8; LEN] {
        self.expose()
    }

    fn of_secret(secret: &Zeroizing<[u8; LEN]>) -> Self {
        AuthorityKey::from_seed(secret)
    }

    fn to_plain(&self) -> Zeroizing<String> {
        let seed = PrivateKey::from_bytes(*self.expose()).to_text();
        // Room for all of it, so that it never moves and leaves a piece behind.
        let mut text = String::with_capacity(PLAIN_AUTHORITY.len() + seed.len());
        text.push_str(PLAIN_AUTHORITY);
        text.push_str(&seed);
        Zeroizing::new(text)
    }

    fn from_plain(text: &str) -> Result<Self, KeyTextError> {
        let seed = text.strip_prefix(PLAIN_AUTHORITY);
        let seed = PrivateKey::from_text(seed.ok_or(KeyTextError::Length(0))?)?;
        Ok(AuthorityKey::of_secret(&Zeroizing::new(*seed.expose())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Envelope, Passphrase};

    fn round<K: Kept>() {
        let secret = Zeroizing::new([9; LEN]);
        let key = K::of_secret(&secret);
        assert_eq!(key.secret(), &*secret);
        let read = K::from_plain(&key.to_plain()).unwrap();
        assert_eq!(read.secret(), &*secret);
        assert_eq!(read.shown(), key.shown());
        assert_ne!(key.shown(), *secret);
        assert!(K::from_plain("").is_err());
    }

    #[test]
    fn an_encrypted_pre_shared_key_of_another_day_opens() {
        let text = include_str!("../../keys/vectors/encrypted.psk");
        let envelope = Envelope::from_text(text).unwrap();
        assert_eq!(envelope.holds(), Holds::Psk);
        let words = Passphrase::new("correct horse battery staple").unwrap();
        let psk = Psk::of_secret(&envelope.open(&words).unwrap());
        assert_eq!(psk.secret(), &[7; LEN]);
        assert_eq!(psk.shown(), *envelope.public());
    }

    #[test]
    fn each_kind_reads_what_it_writes() {
        round::<PrivateKey>();
        round::<Psk>();
        round::<AuthorityKey>();
        let authority = AuthorityKey::of_secret(&Zeroizing::new([9; LEN]));
        assert!(PrivateKey::from_plain(&authority.to_plain()).is_err());
        assert!(Psk::from_plain(&authority.to_plain()).is_err());
    }
}
