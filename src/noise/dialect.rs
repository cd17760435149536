//! The labels that separate this protocol from every other use of the same keys, and the MACs made from them.
//!
//! # Why
//! The handshake's bytes before the labels are WireGuard's, so the whole handshake code can be run against an
//! independent WireGuard implementation by giving it WireGuard's labels: a test does exactly that.

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};

use super::kem::Shared;
use super::psks::Chosen;
use crate::keys::{Psk, PublicKey};
use crate::wire::datagram::MAC_LEN;

/// Bytes of a network id.
pub const NETWORK_ID_LEN: usize = 32;

/// The network id of members that only list each other's keys. Networks with a certificate authority have others.
pub const STATIC_NETWORK: [u8; NETWORK_ID_LEN] = [0; NETWORK_ID_LEN];

/// The labels of one network.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// What the Noise prologue starts with.
    pub prologue: Vec<u8>,
    /// Whether the first four bytes of the initiation are part of the prologue.
    pub binds_header: bool,
    /// What the mac1 key is derived from, before the receiver's public key.
    pub mac1_label: Vec<u8>,
    /// What the cookie reply's key is derived from, before the sender's public key.
    pub cookie_label: Vec<u8>,
}

impl Dialect {
    /// The labels of l2vpn for a network.
    pub fn of_network(network: &[u8; NETWORK_ID_LEN]) -> Self {
        let label = |text: &[u8]| [text, network].concat();
        Dialect {
            prologue: label(b"l2vpn v1"),
            binds_header: true,
            mac1_label: label(b"l2vpn mac1 v1"),
            cookie_label: label(b"l2vpn cookie v1"),
        }
    }

    /// The labels of WireGuard, for checking the handshake against other implementations.
    pub fn wireguard() -> Self {
        Dialect {
            prologue: b"WireGuard v1 zx2c4 Jason@zx2c4.com".to_vec(),
            binds_header: false,
            mac1_label: b"mac1----".to_vec(),
            cookie_label: b"cookie--".to_vec(),
        }
    }

    pub(super) fn full_prologue(&self, header: &[u8; 4]) -> Vec<u8> {
        match self.binds_header {
            true => [&self.prologue[..], header].concat(),
            false => self.prologue.clone(),
        }
    }

    /// The key of mac1 in messages to the holder of `receiver`.
    pub fn mac1_key(&self, receiver: &PublicKey) -> [u8; 32] {
        hash(&[&self.mac1_label, receiver.as_bytes()])
    }

    /// mac1 of a message to the holder of `receiver`; `body` is everything before it.
    pub fn mac1(&self, receiver: &PublicKey, body: &[u8]) -> [u8; MAC_LEN] {
        mac(&self.mac1_key(receiver), &[body])
    }

    /// The key that seals cookie replies from the holder of `sender`.
    pub fn cookie_key(&self, sender: &PublicKey) -> [u8; 32] {
        hash(&[&self.cookie_label, sender.as_bytes()])
    }
}

/// BLAKE2s over the concatenation of the parts.
pub(super) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// Keyed BLAKE2s with 16 bytes of output over the concatenation of the parts.
///
/// A key of 1 to 32 bytes; others make an output that nobody else can make either (the empty key's).
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    let Ok(mut state) = <Blake2sMac<U16> as KeyInit>::new_from_slice(key) else {
        return hash(&[key, &parts.concat()])
            .first_chunk()
            .copied()
            .unwrap_or_default();
    };
    for part in parts {
        Update::update(&mut state, part);
    }
    state.finalize_fixed().into()
}

/// The key for Noise's psk2 slot: everything that is secret between the two beside their static keys.
///
/// Parts that do not exist count as zeros. Of ML-KEM it takes the secret, and the hashes of key and ciphertext: a handshake in which
/// any of them was exchanged or left out does not verify.
pub fn handshake_psk(psks: &Chosen<'_>, kem: Option<&Shared>) -> Psk {
    let zero = [0u8; 32];
    let network = psks.network.map_or(&zero, Psk::expose);
    let pair = psks.pair.map_or(&zero, Psk::expose);
    let (kem_secret, kem_public, kem_ciphertext) = match kem {
        Some(shared) => (&*shared.secret, &shared.public, &shared.ciphertext),
        None => (&zero, &zero, &zero),
    };
    Psk::from_bytes(hash(&[
        b"l2vpn psk v1",
        network,
        pair,
        kem_secret,
        kem_public,
        kem_ciphertext,
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_different_networks_and_receivers_differ() {
        let a = Dialect::of_network(&STATIC_NETWORK);
        let b = Dialect::of_network(&[1; 32]);
        let key = PublicKey::from_bytes([9; 32]);
        assert_ne!(a.mac1_key(&key), b.mac1_key(&key));
        assert_ne!(
            a.mac1_key(&key),
            a.mac1_key(&PublicKey::from_bytes([8; 32]))
        );
        assert_ne!(
            a.full_prologue(&[8, 1, 0, 0]),
            a.full_prologue(&[8, 2, 0, 0])
        );
    }

    #[test]
    fn a_psk_changes_the_handshake_key() {
        let [zero, one] = [0, 1].map(|n| Psk::from_bytes([n; 32]));
        let none = Chosen::default();
        let pair = |psk| Chosen {
            pair: Some(psk),
            ..none
        };
        let network = Chosen {
            network: Some(&one),
            ..none
        };
        let made =
            [none, pair(&zero), pair(&one), network].map(|p| *handshake_psk(&p, None).expose());
        assert_eq!(made[0], made[1]);
        assert!(made[1] != made[2] && made[2] != made[3] && made[1] != made[3]);
    }

    /// RFC 7693 appendix B gives BLAKE2s-256("abc").
    #[test]
    fn the_hash_is_blake2s() {
        assert_eq!(hash(&[b"a", b"bc"])[..4], [0x50, 0x8c, 0x5e, 0x8c]);
        assert_ne!(mac(&[1; 32], &[b"abc"]), mac(&[2; 32], &[b"abc"]));
    }
}
