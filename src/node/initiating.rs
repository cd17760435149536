//! Handshakes that we begin: an initiation for each attempt, as large as the way carries.

use std::net::SocketAddr;

use super::handshakes::DiceOnce;
use super::{Event, Node};
use crate::drops::DropReason;
use crate::keys::{Which, wipe_stack};
use crate::mesh::attempt::{Attempt, Draft, Pair};
use crate::mesh::peer::Kind;
use crate::noise::cookie::Meant;
use crate::noise::handshake::HandshakeError;
use crate::noise::kem::KemKey;
use crate::noise::keyring::Between;
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::datagram::{
    INITIATION_HEADER, MAC_LEN, MAX_HANDSHAKE_LEN, NOISE_1_LEN, SMALL_HANDSHAKE_LEN,
};
use crate::wire::kem::{ParameterSet, PostQuantum};
use crate::wire::offer::{Offer, STAMP_LEN, Stamp};

/// Bytes of the initiation's payload. It is padded to this, so that no response is ever longer than its initiation.
const FIRST_PAYLOAD_LEN: usize = 512;
/// Bytes of a datagram that crosses an IPv6 path of 1280.
const IPV6_LEAST: usize = 1232;
/// Bytes of an initiation beside its payload.
const INITIATION_OVERHEAD: usize = 8 + NOISE_1_LEN + 2 * MAC_LEN;
/// Type of the element that pads.
const PADDING: u8 = 0;

impl Node {
    /// Begins to make a session, unless that is going on already or there is no address to try.
    pub(super) fn start_attempt(&mut self, id: PeerId, now: Instant) {
        let busy = self.peers.get(id.0 as usize).is_none_or(|p| {
            let has_none = matches!(p.settings.kind, Kind::Client | Kind::Vacant);
            p.attempt.is_some() || !p.is_reachable() || has_none
        });
        if busy {
            return;
        }
        let pairs = self.pairs(id);
        let first = pairs.first().copied();
        let draft = self.make_initiation(id, first, now);
        wipe_stack();
        let Some(draft) = draft else { return };
        let index = draft.index;
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            peer.retry_at = None;
            peer.attempt = Some(Attempt::new(draft, pairs, now));
            self.attempts.insert(index, id);
            self.send_initiation(id, now);
        }
    }

    /// Replaces the initiation of a running attempt by a new one.
    pub(super) fn renew_attempt(&mut self, id: PeerId, now: Instant) {
        let peer = self.peers.get(id.0 as usize);
        let pair = peer.and_then(|p| p.attempt.as_ref()?.next_pair());
        let draft = self.make_initiation(id, pair, now);
        wipe_stack();
        let Some(draft) = draft else { return };
        if let Some(attempt) = self
            .peers
            .get_mut(id.0 as usize)
            .and_then(|p| p.attempt.as_mut())
        {
            self.attempts.insert(draft.index, id);
            if let Some(useless) = attempt.renew(draft) {
                self.attempts.remove(&useless);
            }
        }
    }

    /// Between which keys a handshake with a peer may be, in the order in which they are tried: first those that will stay. A
    /// relay comes last to know our new key, and brings us together with others who do not know it yet.
    fn pairs(&self, id: PeerId) -> Vec<Pair> {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return Vec::new();
        };
        let both = |has_two| match has_two {
            true => vec![Which::Current, Which::Former],
            false => vec![Which::Current],
        };
        let mut ours = both(self.settings.keys.former.is_some());
        if peer.settings.kind == Kind::Relay {
            ours.reverse();
        }
        let theirs = both(peer.settings.key.former.is_some());
        let pairs = theirs
            .into_iter()
            .flat_map(|t| ours.iter().map(move |o| (*o, t)));
        pairs.collect()
    }

    fn make_initiation(&mut self, id: PeerId, pair: Option<Pair>, now: Instant) -> Option<Draft> {
        let (own, theirs) = pair.unwrap_or((Which::Current, Which::Current));
        let between = Between {
            ours: self.own.get(own),
            theirs: self.peers.get(id.0 as usize)?.settings.key.get(theirs),
        };
        let index = self.fresh_index();
        let (stamp, mark) = self.settings.wall.stamp(now);
        self.events.extend(mark.map(Event::Mark));
        let mut offer = self.offer(id, self.settings.suites);
        offer.psk_tags = self.psks(id).tags(&stamp);
        // It is for the key that we have now.
        offer.record = match own {
            Which::Current => self.own_record(id),
            Which::Former => None,
        };
        let (kem, payload) = self.first_payload(id, stamp, offer)?;
        let mut dice = DiceOnce::draw(self.entropy.as_mut());
        let labels = self.labels_of(id);
        let meant = Meant { which: own, labels };
        let made: Result<_, HandshakeError> = self.local(meant).initiate(
            &between.theirs,
            INITIATION_HEADER,
            index,
            &payload,
            &mut dice,
        );
        match made {
            Ok((state, datagram)) => Some(Draft {
                index,
                between,
                labels,
                state: Some(state.with(kem)),
                is_large: datagram.len() > SMALL_HANDSHAKE_LEN,
                datagram,
                told: self.life.edition,
            }),
            Err(_) => {
                // A key of low order in the configuration: no packet ever leaves for it.
                self.drop_one(DropReason::HandshakeFailed);
                None
            }
        }
    }

    /// The payload of message 1, with the encapsulation key of the best parameter set that fits.
    fn first_payload(
        &mut self,
        id: PeerId,
        stamp: Stamp,
        mut offer: Offer,
    ) -> Option<(Option<KemKey>, Vec<u8>)> {
        let most = self.most_of_initiation(id);
        let [large, small] = ParameterSet::ALL;
        // Who has very many segments takes a little more than every way carries, before going without.
        let last = if most == 0 { 0 } else { IPV6_LEAST.max(most) };
        let tries = [(large, most), (small, most), (small, last)];
        for (set, most) in tries {
            if self.settings.post_quantum == PostQuantum::Off
                || set.key_len() + INITIATION_OVERHEAD > most
            {
                continue;
            }
            let Some(kem) = KemKey::generate(set) else {
                break;
            };
            offer.kem_key = Some(kem.public().to_vec());
            for offer in [offer.clone(), offer.clone().without_vlans()] {
                let payload = first_payload(stamp, &offer, least_payload(Some(set)));
                if payload.len() + INITIATION_OVERHEAD <= most {
                    return Some((Some(kem), payload));
                }
            }
        }
        if self.settings.post_quantum == PostQuantum::Require {
            self.drop_one(DropReason::NoPostQuantum);
            return None;
        }
        offer.kem_key = None;
        Some((None, first_payload(stamp, &offer, least_payload(None))))
    }

    /// Bytes of the longest initiation that is to be tried: on a way in use what it carries; on others the longest at first, and
    /// when that is not answered, what every path carries.
    fn most_of_initiation(&self, id: PeerId) -> usize {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return SMALL_HANDSHAKE_LEN;
        };
        let attempt = peer.attempt.as_ref();
        if attempt.is_some_and(Attempt::has_to_be_least) {
            return 0;
        }
        let carried = peer.path.endpoint().filter(|_| peer.up_since.is_some());
        let most = match carried {
            Some(way) => peer.path.room(&way),
            None => peer.path.told_room().unwrap_or(MAX_HANDSHAKE_LEN),
        };
        match attempt.is_some_and(Attempt::has_to_be_small) {
            true => most.min(SMALL_HANDSHAKE_LEN),
            false => most.min(MAX_HANDSHAKE_LEN),
        }
    }

    /// Sends the next copy of an initiation.
    pub(super) fn send_initiation(&mut self, id: PeerId, now: Instant) {
        let jitter = self.entropy.next_u32();
        let ways = self.ways(id);
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Some(attempt) = &mut peer.attempt else {
            return;
        };
        let to = attempt.target(peer.path.endpoint(), &ways);
        attempt.mark_sent(to, jitter, now);
        let Some(to) = to else { return };
        let jar = &peer.jar;
        let datagram = &attempt.draft.datagram;
        let _ = self.outgoing.push_with(to, datagram.len(), |copy| {
            copy.copy_from_slice(datagram);
            jar.stamp(copy, now);
            Ok(())
        });
    }

    /// The system takes nothing so long on the way to there; gives whether it was an initiation, which is made smaller.
    pub fn refuse_large(&mut self, refused: (SocketAddr, usize), now: Instant) -> bool {
        let attempts = self.peers.iter_mut().filter_map(|p| p.attempt.as_mut());
        let refused = attempts.map(|attempt| attempt.refuse(refused, now));
        refused.fold(false, |any, one| any | one)
    }

    /// Ends an attempt.
    pub(super) fn drop_attempt(&mut self, id: PeerId) {
        if let Some(attempt) = self
            .peers
            .get_mut(id.0 as usize)
            .and_then(|p| p.attempt.take())
        {
            for index in attempt.indices() {
                self.attempts.remove(&index);
            }
        }
    }
}

/// Bytes that a payload of message 1 is padded to, so that no response is longer than its initiation: beside the ciphertext that has
/// as much room as what most members offer.
fn least_payload(set: Option<ParameterSet>) -> usize {
    match set {
        None => FIRST_PAYLOAD_LEN,
        // Few members have more segments than fit here; theirs fits a smaller one.
        Some(ParameterSet::MlKem768) => ParameterSet::MlKem768.ciphertext_len() + 120,
        Some(ParameterSet::MlKem512) => ParameterSet::MlKem512.ciphertext_len() + 180,
    }
}

fn first_payload(stamp: Stamp, offer: &Offer, least: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(least);
    payload.extend_from_slice(&stamp);
    payload.extend(offer.write());
    let missing = least.saturating_sub(payload.len() + 3);
    payload.push(PADDING);
    payload.extend_from_slice(&u16::try_from(missing).unwrap_or(0).to_le_bytes());
    payload.resize(payload.len() + missing, 0);
    debug_assert!(payload.len() >= least && STAMP_LEN < least);
    payload
}
