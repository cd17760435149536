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

/// The network id of members that only list each other's keys. Networks with an authority have others.
pub const STATIC_NETWORK: [u8; NETWORK_ID_LEN] = [0; NETWORK_ID_LEN];

/// What every mac1 key is derived from.
const MAC1: &[u8] = b"l2vpn mac1 v1";

/// What mac1 keys of a network are derived from: who has it recognises handshakes to keys that it knows, and learns nothing else.
pub type Mac1Label = [u8; 32];

/// By which labels a handshake is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Those of members that list each other's keys.
    Listed,
    /// Those of the network that both are in.
    Network,
}

/// The labels that a member answers to.
#[derive(Clone, Debug)]
pub struct Dialects {
    listed: Dialect,
    network: Option<Dialect>,
}

impl From<Dialect> for Dialects {
    /// Those alone.
    fn from(listed: Dialect) -> Self {
        Dialects {
            listed,
            network: None,
        }
    }
}

impl Dialects {
    /// Those of a member that is in this network, if it is in one.
    pub fn new(network: Option<&[u8; NETWORK_ID_LEN]>) -> Self {
        Dialects {
            network: network.map(Dialect::of_network),
            ..Dialect::of_network(&STATIC_NETWORK).into()
        }
    }

    /// The labels of that kind; without a network those of listed members.
    pub fn get(&self, labels: Labels) -> &Dialect {
        match (labels, &self.network) {
            (Labels::Network, Some(network)) => network,
            _ => &self.listed,
        }
    }

    /// The labels of our network, if there is one.
    pub fn network(&self) -> Option<&Dialect> {
        self.network.as_ref()
    }

    /// All of them, the network's first.
    pub fn iter(&self) -> impl Iterator<Item = (Labels, &Dialect)> {
        let network = self.network.iter().map(|d| (Labels::Network, d));
        network.chain([(Labels::Listed, &self.listed)])
    }
}

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
            mac1_label: [MAC1, &mac1_label(network)[..]].concat(),
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

    /// What relays outside the network need to tell junk from handshakes; `None` for labels that are not this protocol's.
    pub fn mac1_label(&self) -> Option<Mac1Label> {
        self.mac1_label.strip_prefix(MAC1)?.try_into().ok()
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

/// The key of mac1 in messages to the holder of `receiver`, by the label that it has told.
pub fn mac1_key_by(label: &Mac1Label, receiver: &PublicKey) -> [u8; 32] {
    hash(&[MAC1, label, receiver.as_bytes()])
}

/// What a network's mac1 keys are derived from. It may be told to others: the network's id does not follow from it.
fn mac1_label(network: &[u8; NETWORK_ID_LEN]) -> Mac1Label {
    match *network == STATIC_NETWORK {
        // There is nothing to be kept from anybody.
        true => STATIC_NETWORK,
        false => hash(&[b"l2vpn mac1 network v1", network]),
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
    fn a_member_answers_to_its_network_and_to_who_lists_it() {
        let kinds = |dialects: &Dialects| dialects.iter().map(|(l, _)| l).collect::<Vec<_>>();
        let alone = Dialects::new(None);
        assert_eq!(kinds(&alone), [Labels::Listed]);
        let member = Dialects::new(Some(&[1; 32]));
        assert_eq!(kinds(&member), [Labels::Network, Labels::Listed]);
        let key = PublicKey::from_bytes([9; 32]);
        let made = |d: &Dialects, labels| d.get(labels).mac1_key(&key);
        assert_eq!(made(&alone, Labels::Network), made(&alone, Labels::Listed));
        assert_ne!(
            made(&member, Labels::Network),
            made(&member, Labels::Listed)
        );
        let told = member.network().and_then(Dialect::mac1_label).unwrap();
        assert_eq!(mac1_key_by(&told, &key), made(&member, Labels::Network));
        assert_eq!(Dialect::wireguard().mac1_label(), None);
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

    /// What somebody records today depends on ML-KEM's part of it: on the secret, and on whose key and which ciphertext it went by.
    #[test]
    fn each_part_of_the_second_secret_changes_the_handshake_key() {
        let shared = |secret, public, ciphertext| Shared {
            secret: zeroize::Zeroizing::new([secret; 32]),
            public: [public; 32],
            ciphertext: [ciphertext; 32],
        };
        let tries = [
            None,
            Some(shared(1, 1, 1)),
            Some(shared(2, 1, 1)),
            Some(shared(1, 2, 1)),
            Some(shared(1, 1, 2)),
        ];
        let psk = Psk::from_bytes([7; 32]);
        let chosen = Chosen {
            pair: Some(&psk),
            ..Chosen::default()
        };
        let keys = tries.map(|kem| *handshake_psk(&chosen, kem.as_ref()).expose());
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key), "{n}");
        }
    }

    /// RFC 7693 appendix B gives BLAKE2s-256("abc").
    #[test]
    fn the_hash_is_blake2s() {
        assert_eq!(hash(&[b"a", b"bc"])[..4], [0x50, 0x8c, 0x5e, 0x8c]);
        assert_ne!(mac(&[1; 32], &[b"abc"]), mac(&[2; 32], &[b"abc"]));
    }
}
