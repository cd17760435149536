//! Handshake messages: what arrives, in the order in which it is checked, and what we begin ourselves.

use blake2::{Blake2s256, Digest};
use zeroize::Zeroizing;

use super::plane::Inlet;
use super::{Node, choose};
use crate::drops::DropReason;
use crate::keys::wipe_stack;
use crate::mesh::attempt::Draft;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::Answered;
use crate::noise::aead::Suite;
use crate::noise::cookie::Meant;
use crate::noise::dialect::handshake_psk;
use crate::noise::handshake::{Answering, Secret};
use crate::noise::kem::{self, Shared};
use crate::noise::keyring::{Between, Session};
use crate::noise::limiter::Class;
use crate::noise::psks::PskChoice;
use crate::noise::schedule::{ANSWER_CACHED, REST_AFTER_GIVING_UP};
use crate::noise::session::{self, Role};
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::datagram::{
    Cookie, Datagram, INITIATION_HEADER, Initiation, RESPONSE_HEADER, Response,
};
use crate::wire::kem::{ParameterSet, PostQuantum};
use crate::wire::offer::{self, Offer, Stamp};

/// What a session is made of when a handshake has ended.
pub(super) struct Agreed {
    pub(super) secret: Secret,
    pub(super) suite: Suite,
    pub(super) kem: Option<ParameterSet>,
    pub(super) role: Role,
    pub(super) between: Between,
    pub(super) local: u32,
    pub(super) remote: u32,
    pub(super) crossed: bool,
    pub(super) told: u32,
    pub(super) offer: Offer,
}

/// What an initiation asks for, and by what it was checked.
struct Asked {
    /// The index that the response names.
    sender: u32,
    /// The key of ours that is meant, and by which labels: the response has the same.
    meant: Meant,
    /// Bytes of the initiation: no response is longer.
    room: usize,
    suite: Suite,
    stamp: Stamp,
    offer: Offer,
}

impl Node {
    /// Takes a handshake message or cookie reply from the network.
    pub fn handle_handshake(&mut self, from: Endpoint, datagram: &[u8], now: Instant) {
        if !self.knows_channel(&from) {
            return self.drop_one(DropReason::AddressUnproven);
        }
        let result = match Datagram::parse(datagram) {
            Ok(Datagram::Initiation(message)) => {
                self.initiation(from, &message, datagram.len(), now)
            }
            Ok(Datagram::Response(message)) => self.response(from, &message, now),
            Ok(Datagram::Cookie(message)) => self.cookie(&message, now),
            Ok(Datagram::Data(_)) => Err(DropReason::UnknownKind),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = result {
            self.drop_one(reason);
        }
        wipe_stack();
    }

    /// mac1, then copies of an answered one, then load, then rate, then the expensive part.
    fn initiation(
        &mut self,
        from: Endpoint,
        message: &Initiation<'_>,
        len: usize,
        now: Instant,
    ) -> Result<(), DropReason> {
        let meant = self.gate.keeper.mac1_holds(&message.macs);
        let meant = meant.ok_or(DropReason::BadMac1)?;
        let busy = self.gate.load.count(now);
        let digest: [u8; 32] = Blake2s256::digest(message.macs.body).into();
        if self.answer_again(from, &digest, now) {
            return Ok(());
        }
        let proven = self
            .gate
            .keeper
            .mac2_holds(&message.macs, from.origin(), now);
        if busy && !proven {
            self.send_cookie(from, (message, meant), now);
            return Err(DropReason::AddressUnproven);
        }
        if !self.gate.limiter.admit((from.origin(), class(proven)), now) {
            return Err(DropReason::RateLimited);
        }
        let mut dice = DiceOnce::draw(self.entropy.as_mut());
        let answering = self
            .local(meant)
            .accept(INITIATION_HEADER, message.noise, &mut dice)
            .map_err(|_| DropReason::HandshakeFailed)?;
        // The remote key is true from here on: the whole message verified.
        let (remote, payload) = (answering.remote(), answering.payload());
        let first = offer::read_first(payload);
        let id = self.admit(&remote, first.as_ref().map(|(_, offer)| offer), now)?;
        let (stamp, offer) = first.ok_or(DropReason::HandshakeFailed)?;
        self.check_freshness(id, stamp, (proven, from, (message, meant)), now)?;
        let suite =
            Suite::agree(self.settings.suites, offer.suites).ok_or(DropReason::NoCommonSuite)?;
        let boot = offer.boot;
        let asked = Asked {
            sender: message.sender,
            meant,
            room: len,
            suite,
            stamp,
            offer,
        };
        let response = self.answer(id, answering, asked, now)?;
        debug_assert!(response.len() <= len, "amplified");
        self.outgoing.push(from, &response);
        let answered = Answered {
            digest,
            response,
            at: now,
            boot,
        };
        self.remember_answer(id, answered);
        Ok(())
    }

    /// Repeats the answer to an initiation that was answered a moment ago: our response was lost.
    fn answer_again(&mut self, from: Endpoint, digest: &[u8; 32], now: Instant) -> bool {
        let cached = self
            .answered
            .get(digest)
            .and_then(|id| self.peers.get(id.0 as usize))
            .and_then(|p| p.initiations.answered.as_ref())
            .filter(|a| a.digest == *digest && now.since(a.at) < ANSWER_CACHED);
        let Some(cached) = cached else { return false };
        if self.gate.limiter.admit((from.origin(), Class::Copy), now) {
            self.outgoing.push(from, &cached.response);
        } else {
            self.plane.drops.count(DropReason::RateLimited);
        }
        true
    }

    fn remember_answer(&mut self, id: PeerId, new: Answered) {
        let digest = new.digest;
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        if let Some(old) = peer.initiations.answered.replace(new) {
            self.answered.remove(&old.digest);
        }
        self.answered.insert(digest, id);
    }

    /// An older stamp than one seen before is a replay, or a machine whose clock was set back. Accepting it changes
    /// nothing until the session is confirmed, so it is let through seldom, and only from a proven address.
    fn check_freshness(
        &mut self,
        id: PeerId,
        stamp: Stamp,
        (proven, from, message): (bool, Endpoint, (&Initiation<'_>, Meant)),
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return Err(DropReason::Stranger);
        };
        let seen = &mut peer.initiations;
        if stamp > seen.greatest {
            seen.greatest = stamp;
            return Ok(());
        }
        // By address, so that nobody else's replays keep a machine with a dead clock out.
        if proven && self.gate.limiter.admit((from.origin(), Class::Stale), now) {
            return Ok(());
        }
        if !proven {
            self.send_cookie(from, message, now);
        }
        Err(DropReason::Stale)
    }

    fn send_cookie(
        &mut self,
        from: Endpoint,
        (message, meant): (&Initiation<'_>, Meant),
        now: Instant,
    ) {
        let asked = (message.sender, meant);
        let entropy: &mut dyn crate::keys::Entropy = self.entropy.as_mut();
        let reply = self
            .gate
            .keeper
            .reply(asked, &message.macs, from.origin(), (entropy, now));
        if let Some(reply) = reply {
            self.outgoing.push(from, &reply);
        }
    }

    /// Makes the response and the session that waits for its confirmation.
    fn answer(
        &mut self,
        id: PeerId,
        mut answering: Answering,
        mut asked: Asked,
        now: Instant,
    ) -> Result<Vec<u8>, DropReason> {
        let psks = self.psks(id).agree(&asked.offer.psk_tags, &asked.stamp);
        let psks = psks.ok_or(DropReason::PskMismatch)?;
        let shared = self.second_secret(&mut answering, &mut asked.offer)?;
        let psk = handshake_psk(&psks, shared.as_ref());
        let local = self.fresh_index();
        let (payload, crossed) = self.second_payload(id, &answering, &asked)?;
        let kem = answering.hidden_by();
        let between = Between {
            ours: self.own.get(asked.meant.which),
            theirs: answering.remote(),
        };
        let ends = (local, asked.sender);
        let own = self.local(asked.meant);
        let (secret, response) = answering
            .respond(&own, RESPONSE_HEADER, ends, &psk, &payload)
            .map_err(|_| DropReason::HandshakeFailed)?;
        let agreed = Agreed {
            secret,
            suite: asked.suite,
            kem,
            role: Role::Responder,
            between,
            local,
            remote: asked.sender,
            crossed,
            told: self.life.edition,
            offer: asked.offer,
        };
        let session = self
            .open_session(id, agreed, now)
            .ok_or(DropReason::NoCommonSuite)?;
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            let retired = peer.keyring.add_pending(session);
            self.plane.remove_inlets(&retired);
        }
        Ok(response)
    }

    /// What a response tells, as much of it as is no longer than the initiation; and whether ours and theirs cross.
    fn second_payload(
        &mut self,
        id: PeerId,
        answering: &Answering,
        asked: &Asked,
    ) -> Result<(Vec<u8>, bool), DropReason> {
        let mut ours = self.offer(id, asked.suite.answer());
        let peer = self.peers.get_mut(id.0 as usize);
        let peer = peer.ok_or(DropReason::Stranger)?;
        ours.crossing = peer.attempt.is_some();
        let crossing = ours.crossing;
        let fits = |payload: &Vec<u8>| answering.overhead() + payload.len() <= asked.room;
        let whole = Some(ours.write()).filter(fits);
        let payload = whole.or_else(|| Some(ours.without_vlans().write()).filter(fits));
        // There is more room in a smaller initiation, which comes next.
        let payload = payload.ok_or(DropReason::HandshakeFailed)?;
        if let Some(attempt) = &mut peer.attempt {
            attempt.crossed = true;
        }
        Ok((payload, crossing))
    }

    /// Hides a second secret for the initiator, if both want one.
    fn second_secret(
        &self,
        answering: &mut Answering,
        offer: &mut Offer,
    ) -> Result<Option<Shared>, DropReason> {
        let key = offer.kem_key.take();
        match (key, self.settings.post_quantum) {
            (None, PostQuantum::Require) => Err(DropReason::NoPostQuantum),
            (None, _) | (_, PostQuantum::Off) => Ok(None),
            // What is no key is not answered as if there were none.
            (Some(key), _) if kem::IS_AVAILABLE => {
                let shared = answering.encapsulate(&key);
                shared.map(Some).ok_or(DropReason::HandshakeFailed)
            }
            (_, PostQuantum::Require) => Err(DropReason::NoPostQuantum),
            _ => Ok(None),
        }
    }

    /// Derives both halves and puts the receiving one into the table.
    pub(super) fn open_session(
        &mut self,
        id: PeerId,
        agreed: Agreed,
        now: Instant,
    ) -> Option<Session> {
        let peer = self.peers.get(id.0 as usize)?;
        let (send, recv) = session::split(
            &agreed.secret,
            agreed.suite,
            agreed.role,
            agreed.remote,
            now,
        )?;
        let abilities = self.settings.abilities.and(agreed.offer.abilities);
        self.plane
            .add_inlet(Inlet::new(agreed.local, peer.link.clone(), recv));
        Some(Session {
            index: agreed.local,
            send: send.into(),
            role: agreed.role,
            between: agreed.between,
            suite: agreed.suite,
            kem: agreed.kem,
            born: now,
            crossed: agreed.crossed,
            boot: agreed.offer.boot,
            told: agreed.told,
            edition: agreed.offer.edition,
            segments: agreed.offer.segments,
            held: agreed.offer.held,
            abilities,
        })
    }

    fn response(
        &mut self,
        from: Endpoint,
        message: &Response<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        if self.gate.keeper.mac1_holds(&message.macs).is_none() {
            return Err(DropReason::BadMac1);
        }
        let id = *self
            .attempts
            .get(&message.receiver)
            .ok_or(DropReason::UnknownIndex)?;
        let ours = self.settings.suites;
        let peer = self
            .peers
            .get_mut(id.0 as usize)
            .ok_or(DropReason::UnknownIndex)?;
        let psks = choose(&self.settings.network, &peer.settings);
        let attempt = peer.attempt.as_mut().ok_or(DropReason::UnknownIndex)?;
        let draft = attempt.draft_of(message.receiver);
        let draft = draft.ok_or(DropReason::UnknownIndex)?;
        let (secret, payload, kem) = read_response(draft, message, psks)?;
        let (told, between) = (draft.told, draft.between);
        let crossed = attempt.crossed;
        let asked = attempt.sent_to();
        let offer = Offer::read(&payload);
        let suite = offer.as_ref().and_then(|o| Suite::answered(ours, o.suites));
        self.attempts.remove(&message.receiver);
        self.drop_attempt(id);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            // Should this answer be of no use, the peer's next version may give a better one.
            peer.retry_at = Some(now + REST_AFTER_GIVING_UP);
        }
        let (Some(offer), Some(suite)) = (offer, suite) else {
            return Err(DropReason::NoCommonSuite);
        };
        if kem.is_none() && self.settings.post_quantum == PostQuantum::Require {
            return Err(DropReason::NoPostQuantum);
        }
        let agreed = Agreed {
            secret,
            suite,
            kem,
            role: Role::Initiator,
            between,
            local: message.receiver,
            remote: message.sender,
            crossed: crossed || offer.crossing,
            told,
            offer,
        };
        let session = self
            .open_session(id, agreed, now)
            .ok_or(DropReason::NoCommonSuite)?;
        let way = self.way_there(id, asked, from);
        self.install(id, session, (way, from), now);
        Ok(())
    }

    /// Where to send after a response. A copy of it may come from anywhere, and faster: the way is the one that we asked
    /// on, unless the answer came from another address that the peer is known at.
    fn way_there(&self, id: PeerId, asked: Option<Endpoint>, from: Endpoint) -> Endpoint {
        let is_known = self.ways(id).iter().any(|w| w.is_same_way(&from));
        match asked {
            Some(asked) if !asked.is_same_way(&from) && !is_known => asked,
            _ => from,
        }
    }

    fn cookie(&mut self, message: &Cookie<'_>, now: Instant) -> Result<(), DropReason> {
        let id = *self
            .attempts
            .get(&message.receiver)
            .ok_or(DropReason::UnknownIndex)?;
        let peer = self
            .peers
            .get_mut(id.0 as usize)
            .ok_or(DropReason::UnknownIndex)?;
        let attempt = peer.attempt.as_mut().ok_or(DropReason::UnknownIndex)?;
        let mac1 = attempt.mac1().ok_or(DropReason::UnknownIndex)?;
        let key = attempt.draft.between.theirs;
        let dialect = self.dialects.get(attempt.draft.labels);
        if !peer.jar.receive(dialect, &key, (message, &mac1), now) {
            return Err(DropReason::HandshakeFailed);
        }
        attempt.hurry();
        Ok(())
    }
}

/// Ends the handshake of a draft: gives the secret, the other end's payload, and what ML-KEM's part of the secret is of. A forged
/// response costs nothing but this try; the genuine one still fits.
#[allow(clippy::type_complexity)]
fn read_response(
    draft: &mut Draft,
    message: &Response<'_>,
    psks: PskChoice<'_>,
) -> Result<(Secret, Zeroizing<Vec<u8>>, Option<ParameterSet>), DropReason> {
    let mut state = draft.state.take().ok_or(DropReason::UnknownIndex)?;
    // One that hides nothing that we can open does not verify either.
    let shared = message.ciphertext.and_then(|c| state.open(c));
    let kem = shared.as_ref().and(message.ciphertext).map(|(set, _)| set);
    for chosen in psks.all() {
        match state.finish(message.noise, &handshake_psk(&chosen, shared.as_ref())) {
            Ok((secret, payload)) => return Ok((secret, payload, kem)),
            Err((again, _)) => state = again,
        }
    }
    draft.state = Some(state);
    Err(DropReason::HandshakeFailed)
}

/// What a handshake is counted as: junk with a borrowed source address must not use up its owner's share.
fn class(proven: bool) -> Class {
    match proven {
        true => Class::Proven,
        false => Class::Unproven,
    }
}

/// Randomness drawn ahead, so that the node's source is not borrowed while its keys are.
pub(super) struct DiceOnce([u8; 32]);

impl DiceOnce {
    pub(super) fn draw(entropy: &mut dyn crate::keys::Entropy) -> Self {
        let mut bytes = [0u8; 32];
        entropy.fill(&mut bytes);
        DiceOnce(bytes)
    }
}

impl crate::keys::Entropy for DiceOnce {
    fn fill(&mut self, out: &mut [u8]) {
        let len = out.len().min(self.0.len());
        let (head, _) = out.split_at_mut(len);
        head.copy_from_slice(self.0.get(..len).unwrap_or_default());
    }
}

impl Drop for DiceOnce {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}
