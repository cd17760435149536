//! The handshake as values: who holds one can do the next step, and only that.
//!
//! ```text
//! initiator                                        responder
//! initiate() -> AwaitingResponse  --message 1-->   accept() -> Answering       (now the initiator's key is known)
//! AwaitingResponse::finish()      <--message 2--   Answering::respond() -> Secret
//!   -> Secret
//! ```
//!
//! Messages are whole datagrams but for mac2, which the sender adds when it has a cookie.

use snow::HandshakeState;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::dialect::Dialect;
use super::kem::{self, KemKey, Shared};
use super::resolver::Primitives;
use crate::keys::{Entropy, PrivateKey, Psk, PublicKey};
use crate::wire::datagram::{MAC_LEN, MAX_HANDSHAKE_LEN, NOISE_1_LEN, NOISE_2_LEN};
use crate::wire::kem::ParameterSet;

/// Bytes of a response before the ciphertext: header and both indices.
const RESPONSE_START: usize = 12;
const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

/// Why a handshake step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The message does not verify: forged, damaged, or made with other keys.
    #[error("the handshake message does not verify")]
    Refused,
    /// The payload is too long for one datagram.
    #[error("the handshake payload is too long")]
    TooLong,
}

impl From<snow::Error> for HandshakeError {
    fn from(_: snow::Error) -> Self {
        HandshakeError::Refused
    }
}

/// The result of a handshake: one key for each direction, from which data keys are derived.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret {
    /// Key material for packets from the initiator.
    pub(super) from_initiator: [u8; 32],
    /// Key material for packets from the responder.
    pub(super) from_responder: [u8; 32],
}

impl Secret {
    fn split(state: &mut HandshakeState) -> Self {
        let (from_initiator, from_responder) = state.dangerously_get_raw_split();
        Secret {
            from_initiator,
            from_responder,
        }
    }
}

/// Who we are in a handshake.
#[derive(Clone, Copy)]
pub struct Local<'a> {
    /// The labels of our network.
    pub dialect: &'a Dialect,
    /// Our private key.
    pub key: &'a PrivateKey,
}

impl Local<'_> {
    fn builder(
        &self,
        header: &[u8; 4],
        remote: Option<&PublicKey>,
        ephemeral: Zeroizing<[u8; 32]>,
    ) -> Result<Box<HandshakeState>, HandshakeError> {
        let params = PATTERN.parse().map_err(|_| HandshakeError::Refused)?;
        let prologue = self.dialect.full_prologue(header);
        let builder = snow::Builder::with_resolver(params, Box::new(Primitives { ephemeral }))
            .local_private_key(self.key.expose())?
            .prologue(&prologue)?;
        let state = match remote {
            Some(key) => builder
                .remote_public_key(key.as_bytes())?
                .build_initiator()?,
            None => builder.build_responder()?,
        };
        Ok(Box::new(state))
    }

    /// Makes message 1 for the holder of `remote`.
    ///
    /// `header` are the first four bytes of the datagram, `sender` is the index that the response shall name. The
    /// result is the whole datagram with mac2 zero.
    ///
    /// # Errors
    /// [`HandshakeError::TooLong`] for a payload that does not fit, [`HandshakeError::Refused`] for a remote key of low
    /// order.
    pub fn initiate(
        &self,
        remote: &PublicKey,
        header: [u8; 4],
        sender: u32,
        payload: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<(AwaitingResponse, Vec<u8>), HandshakeError> {
        let mut state = self.builder(&header, Some(remote), ephemeral(entropy))?;
        let mut datagram = header.to_vec();
        datagram.extend_from_slice(&sender.to_le_bytes());
        append_noise(&mut state, payload, NOISE_1_LEN, &mut datagram)?;
        self.append_macs(remote, &mut datagram);
        Ok((AwaitingResponse { state, kem: None }, datagram))
    }

    /// Reads message 1.
    ///
    /// # Errors
    /// [`HandshakeError::Refused`] when it does not verify; nothing about its sender is known then.
    pub fn accept(
        &self,
        header: [u8; 4],
        noise: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Answering, HandshakeError> {
        let mut state = self.builder(&header, None, ephemeral(entropy))?;
        let payload = read_noise(&mut state, noise)?;
        let remote: [u8; 32] = state
            .get_remote_static()
            .and_then(|k| k.try_into().ok())
            .ok_or(HandshakeError::Refused)?;
        Ok(Answering {
            state,
            remote: PublicKey::from_bytes(remote),
            payload,
            ciphertext: None,
        })
    }

    fn append_macs(&self, remote: &PublicKey, datagram: &mut Vec<u8>) {
        let mac1 = self.dialect.mac1(remote, datagram);
        datagram.extend_from_slice(&mac1);
        datagram.extend_from_slice(&[0; MAC_LEN]);
    }
}

fn ephemeral(entropy: &mut dyn Entropy) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    entropy.fill(bytes.as_mut());
    bytes
}

fn append_noise(
    state: &mut HandshakeState,
    payload: &[u8],
    overhead: usize,
    datagram: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    let start = datagram.len();
    let end = start + overhead + payload.len();
    if end + 2 * MAC_LEN > MAX_HANDSHAKE_LEN {
        return Err(HandshakeError::TooLong);
    }
    datagram.resize(end, 0);
    let place = datagram.get_mut(start..).unwrap_or_default();
    let written = state.write_message(payload, place)?;
    datagram.truncate(start + written);
    Ok(())
}

fn read_noise(
    state: &mut HandshakeState,
    noise: &[u8],
) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
    let mut payload = Zeroizing::new(vec![0u8; noise.len()]);
    let len = state.read_message(noise, &mut payload)?;
    payload.truncate(len);
    Ok(payload)
}

/// An initiator that waits for message 2.
pub struct AwaitingResponse {
    state: Box<HandshakeState>,
    kem: Option<KemKey>,
}

impl AwaitingResponse {
    /// Keeps the key pair whose encapsulation key message 1 holds.
    #[must_use]
    pub fn with(self, kem: Option<KemKey>) -> Self {
        AwaitingResponse { kem, ..self }
    }

    /// What a response's ciphertext hides; `None` when there is no key for it.
    pub fn open(&self, (set, ciphertext): (ParameterSet, &[u8])) -> Option<Shared> {
        self.kem.as_ref()?.open(set, ciphertext)
    }

    /// Reads message 2 and ends the handshake; gives the secret and the responder's payload.
    ///
    /// # Errors
    /// The state comes back with the error, so that a forged response does not stop the genuine one.
    #[allow(clippy::type_complexity)]
    pub fn finish(
        mut self,
        noise: &[u8],
        psk: &Psk,
    ) -> Result<(Secret, Zeroizing<Vec<u8>>), (Self, HandshakeError)> {
        if let Err(error) = self.state.set_psk(2, psk.expose()) {
            return Err((self, error.into()));
        }
        match read_noise(&mut self.state, noise) {
            Ok(payload) => Ok((Secret::split(&mut self.state), payload)),
            Err(error) => Err((self, error)),
        }
    }
}

/// A responder that knows who knocks.
pub struct Answering {
    state: Box<HandshakeState>,
    remote: PublicKey,
    payload: Zeroizing<Vec<u8>>,
    ciphertext: Option<(ParameterSet, Vec<u8>)>,
}

impl Answering {
    /// Hides a second secret for the initiator, by the encapsulation key that it sent; `None` when that is none, or this build
    /// cannot.
    pub fn encapsulate(&mut self, key: &[u8]) -> Option<Shared> {
        let (shared, set, ciphertext) = kem::encapsulate(key)?;
        self.ciphertext = Some((set, ciphertext));
        Some(shared)
    }

    /// What the second secret is hidden by, if there is one.
    pub fn hidden_by(&self) -> Option<ParameterSet> {
        self.ciphertext.as_ref().map(|(set, _)| *set)
    }

    /// Bytes that the response has beside its payload.
    pub fn overhead(&self) -> usize {
        let ciphertext = self.ciphertext.as_ref().map_or(0, |(_, text)| text.len());
        RESPONSE_START + ciphertext + NOISE_2_LEN + 2 * MAC_LEN
    }

    /// The initiator's public key, proven.
    pub fn remote(&self) -> PublicKey {
        self.remote
    }

    /// The initiator's payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Makes message 2: the whole datagram with mac2 zero, and the secret.
    ///
    /// `sender` is our index, `receiver` the one that message 1 named.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub fn respond(
        mut self,
        local: &Local<'_>,
        header: [u8; 4],
        (sender, receiver): (u32, u32),
        psk: &Psk,
        payload: &[u8],
    ) -> Result<(Secret, Vec<u8>), HandshakeError> {
        self.state.set_psk(2, psk.expose())?;
        let [kind, version, _, reserved] = header;
        let flag = self.ciphertext.as_ref().map_or(0, |(set, _)| set.flag());
        let mut datagram = vec![kind, version, flag, reserved];
        datagram.extend_from_slice(&sender.to_le_bytes());
        datagram.extend_from_slice(&receiver.to_le_bytes());
        if let Some((_, ciphertext)) = &self.ciphertext {
            datagram.extend_from_slice(ciphertext);
        }
        append_noise(&mut self.state, payload, NOISE_2_LEN, &mut datagram)?;
        local.append_macs(&self.remote, &mut datagram);
        Ok((Secret::split(&mut self.state), datagram))
    }
}
