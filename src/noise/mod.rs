//! AUTHENTICATION: from two public keys to a pair of AEAD halves.
//!
//! # Why
//! One pattern only, `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, for everything: one round trip, the initiator's key is
//! hidden, and mac1 lets a responder stay silent to everybody who does not know its public key. snow runs the pattern on
//! primitives that its resolver hands it; the data keys come from its raw split and live in halves of our own
//! ([`session`]), because snow's transport copies every message and cannot authenticate our header.
//!
//! A handshake may have a second secret, by ML-KEM ([`kem`]): it goes into psk2 with everything else that is secret between
//! two ([`dialect::handshake_psk`]), and costs no round trip.
//!
//! # The rules that the types enforce
//! * A state that has been used up does not exist any more: [`handshake::AwaitingResponse::finish`] consumes itself and
//!   gives itself back when a response was forged.
//! * The remote static key can only be read from an [`handshake::Answering`], which exists only after the whole message
//!   verified: before that, snow reports whatever the attacker claims.
//! * Opening a packet checks age, window and tag in that order, and marks the window only after the tag.

pub mod aead;
pub mod beacon;
pub mod cookie;
pub mod dialect;
pub mod handshake;
pub mod kem;
pub mod keyring;
pub mod limiter;
pub mod psks;
pub mod replay;
mod resolver;
pub mod schedule;
pub mod session;

#[cfg(test)]
mod oracles;
#[cfg(test)]
mod replay_tests;
