//! The tags in beacons: what two members can make and check, and nobody else.

use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::dialect::{Dialect, hash, mac};
use crate::keys::{PrivateKey, Psk, PublicKey};
use crate::wire::beacon::{Nonce, TAG_LEN};

/// What the tags between two members are made with: both have the same.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct BeaconKey([u8; 32]);

impl BeaconKey {
    /// The key with a peer; `None` when its public key is of small order (RFC 7748 section 6.1).
    pub fn between(
        dialect: &Dialect,
        own: &PrivateKey,
        peer: &PublicKey,
        psk: Option<&Psk>,
    ) -> Option<Self> {
        let secret = StaticSecret::from(*own.expose());
        let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(*peer.as_bytes()));
        let zero = [0; 32];
        let psk = psk.map_or(&zero, Psk::expose);
        shared.was_contributory().then(|| {
            let label = [b"l2vpn beacon v1", &dialect.prologue[..]].concat();
            BeaconKey(hash(&[&label, shared.as_bytes(), psk]))
        })
    }

    /// The tag of a beacon of `sender`, who takes handshakes at that port.
    pub fn tag(&self, sender: &PublicKey, nonce: &Nonce, port: u16) -> [u8; TAG_LEN] {
        let tag = mac(&self.0, &[sender.as_bytes(), nonce, &port.to_le_bytes()]);
        tag.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::dialect::STATIC_NETWORK;

    #[test]
    fn both_ends_make_the_same_tags_and_others_do_not() {
        let keys = [1u8, 2, 3].map(|n| PrivateKey::from_bytes([n; 32]));
        let dialect = Dialect::of_network(&STATIC_NETWORK);
        let psk = Psk::from_bytes([7; 32]);
        let key = |own: usize, peer: usize, psk| {
            BeaconKey::between(&dialect, &keys[own], &keys[peer].public(), psk).unwrap()
        };
        let sender = keys[0].public();
        let tag = |key: BeaconKey, nonce| key.tag(&sender, &[nonce; 16], 7656);
        assert_eq!(tag(key(0, 1, None), 1), tag(key(1, 0, None), 1));
        assert_ne!(tag(key(0, 1, None), 1), tag(key(0, 1, None), 2));
        assert_ne!(tag(key(0, 1, None), 1), tag(key(2, 1, None), 1));
        assert_ne!(tag(key(0, 1, None), 1), tag(key(0, 1, Some(&psk)), 1));
        let other_way = key(0, 1, None).tag(&keys[1].public(), &[1; 16], 7656);
        assert_ne!(
            tag(key(0, 1, None), 1),
            other_way,
            "a beacon sent back is none"
        );
        let small = PublicKey::from_bytes([0; 32]);
        assert!(BeaconKey::between(&dialect, &keys[0], &small, None).is_none());
    }
}
