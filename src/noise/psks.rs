//! Which pre-shared keys a handshake is made with, when both ends have more than one while they change them.
//!
//! # Why
//! The key goes into the handshake when the responder answers, so the responder chooses: the newest of its keys that the
//! initiator has, too. It knows by tags, which say nothing to who does not have the key, and nothing twice. Where the two have none
//! in common the handshake ends there with a reason of its own, and not as something that does not verify.

use subtle::ConstantTimeEq;

use super::dialect::mac;
use crate::keys::{Psk, Psks};
use crate::wire::offer::{PSK_TAG_LEN, PskTags, Stamp};

/// The keys that may be part of a handshake with one peer.
#[derive(Clone, Copy)]
pub struct PskChoice<'a> {
    /// Those of the network.
    pub network: &'a Psks,
    /// Those of the two members.
    pub pair: &'a Psks,
}

/// The keys of one handshake.
#[derive(Clone, Copy, Default)]
pub struct Chosen<'a> {
    /// That of the network.
    pub network: Option<&'a Psk>,
    /// That of the two members.
    pub pair: Option<&'a Psk>,
}

impl<'a> PskChoice<'a> {
    /// What tells a responder which keys we have.
    pub fn tags(&self, stamp: &Stamp) -> PskTags {
        let tags = |psks: &Psks, kind| psks.iter().map(|psk| tag(psk, kind, stamp)).collect();
        PskTags {
            network: tags(self.network, NETWORK),
            pair: tags(self.pair, PAIR),
        }
    }

    /// The newest keys of ours that an initiator has, too; `None` when one end has a key where the other has none of its keys.
    pub fn agree(&self, tags: &PskTags, stamp: &Stamp) -> Option<Chosen<'a>> {
        Some(Chosen {
            network: newest(self.network, (NETWORK, &tags.network), stamp)?,
            pair: newest(self.pair, (PAIR, &tags.pair), stamp)?,
        })
    }

    /// All that a responder may have chosen, the newest first: four at most.
    pub fn all(&self) -> impl Iterator<Item = Chosen<'a>> {
        let (network, pair) = (self.network, self.pair);
        each(network).flat_map(move |network| each(pair).map(move |pair| Chosen { network, pair }))
    }
}

const NETWORK: &[u8] = b"network";
const PAIR: &[u8] = b"pair";

fn each(psks: &Psks) -> impl Iterator<Item = Option<&Psk>> + Clone {
    let none = psks.current.is_none() && psks.former.is_none();
    psks.iter().map(Some).chain(none.then_some(None))
}

fn newest<'a>(
    psks: &'a Psks,
    (kind, tags): (&[u8], &[[u8; PSK_TAG_LEN]]),
    stamp: &Stamp,
) -> Option<Option<&'a Psk>> {
    let has = |psk: &Psk| {
        let own = tag(psk, kind, stamp);
        tags.iter().any(|tag| bool::from(tag.ct_eq(&own)))
    };
    match each(psks).next() {
        Some(None) => tags.is_empty().then_some(None),
        _ => psks.iter().find(|psk| has(psk)).map(Some),
    }
}

fn tag(psk: &Psk, kind: &[u8], stamp: &Stamp) -> [u8; PSK_TAG_LEN] {
    let tag = mac(psk.expose(), &[b"l2vpn psk tag v1", kind, stamp]);
    tag.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn psks(current: Option<u8>, former: Option<u8>) -> Psks {
        let psk = |n: u8| Psk::from_bytes([n; 32]);
        Psks {
            current: current.map(psk),
            former: former.map(psk),
        }
    }

    /// Every pair of states of a change: what is agreed is the newest of the responder's that both have, or nothing.
    #[test]
    fn what_is_agreed_is_the_newest_that_both_have() {
        let states = [
            (None, None),
            (Some(1), None),
            (Some(2), Some(1)),
            (Some(2), None),
            (Some(1), Some(2)),
        ];
        let all = |(current, former): (Option<u8>, Option<u8>)| psks(current, former);
        let stamp = [7; 12];
        for ours in states {
            for theirs in states {
                let (own, other) = (all(ours), all(theirs));
                let none = Psks::default();
                let choice = |pair| PskChoice {
                    network: &none,
                    pair,
                };
                let agreed = choice(&own).agree(&choice(&other).tags(&stamp), &stamp);
                let got = agreed.map(|a| a.pair.map(|psk| psk.expose()[0]));
                let list = |(a, b): (Option<u8>, Option<u8>)| {
                    [a, b].into_iter().flatten().collect::<Vec<_>>()
                };
                let expected = match (list(ours), list(theirs)) {
                    (a, b) if a.is_empty() && b.is_empty() => Some(None),
                    (a, b) => a.into_iter().find(|n| b.contains(n)).map(Some),
                };
                assert_eq!(got, expected, "{ours:?} {theirs:?}");
                // What the responder has chosen is among what the initiator tries.
                if let Some(Some(n)) = got {
                    let tried = choice(&other)
                        .all()
                        .any(|a| a.pair.is_some_and(|p| p.expose()[0] == n));
                    assert!(tried);
                }
            }
        }
    }

    #[test]
    fn a_key_of_the_network_is_none_of_the_pair_and_tags_do_not_repeat() {
        let (one, none) = (psks(Some(1), None), Psks::default());
        let as_network = PskChoice {
            network: &one,
            pair: &none,
        };
        let as_pair = PskChoice {
            network: &none,
            pair: &one,
        };
        assert!(
            as_pair
                .agree(&as_network.tags(&[0; 12]), &[0; 12])
                .is_none()
        );
        assert_ne!(as_pair.tags(&[0; 12]).pair, as_pair.tags(&[1; 12]).pair);
        assert_ne!(
            as_pair.tags(&[0; 12]).pair,
            as_network.tags(&[0; 12]).network
        );
    }
}
