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

//!
//! # What a handshake proves, and to whom
//! The pattern is Noise IKpsk2 (the Noise Protocol Framework, revision 34, section 7.7 and 9): message 1 is `e, es, s, ss`, message 2 is
//! `e, ee, se, psk`. What follows is an argument, not a proof by machine: the pattern without our additions has such proofs, and the
//! additions are values in places that the pattern has for them.
//!
//! *What we add.* The prologue is the protocol's name, a network id and the first four bytes of message 1, so version and flags of the
//! question are part of every key. psk2 is a hash of a fixed label and five values of 32 bytes each: two pre-shared keys, the secret of
//! ML-KEM, and the hashes of its key and ciphertext. All have one length, so no two sets of values are one input. A value that does not
//! exist is zeros; a pre-shared key or a KEM secret of zeros is known to nobody's advantage, since leaving one out is the same as
//! having none, and both ends have to agree on that or message 2 does not verify.
//!
//! *The responder to the initiator.* Message 2 verifies only for who knows the responder's static key (`es`, in message 1, has gone into the
//! chaining key) and psk2. An initiator that has finished knows that the holder of that key has answered this very message 1: its
//! ephemeral key is in the hash. So an answer cannot be replayed, and the offers of both ends, which are payloads under that hash, are
//! those that were sent: no bit of an offer, and no ciphertext, can be changed or left out without the handshake failing.
//!
//! *The initiator to the responder.* Message 1 proves by `ss` that somebody had one of the two static keys, at some time: who has stolen
//! the responder's can make one in anybody's name (key-compromise impersonation), and a copy of an old one verifies. Neither is
//! believed. A responder delivers nothing, sends no frame, and takes no address for the peer's, before a packet has been opened under the
//! new session's key, for which one has to know `se`: the initiator's static key with the responder's fresh ephemeral. That is
//! key confirmation; until then the session is pending in the [`keyring`], the old one goes on, and what an initiation changed by
//! itself is the greatest stamp and a cached answer. A stamp is only a filter against work: with or without it a copy comes to nothing.
//! A record of a network that comes with message 1 is a statement by its authority, true whoever sends it; the peer that it makes has
//! no session by it.
//!
//! *Which peer.* Both static keys are in the hash, the responder's before the first message. Two ends that have finished with each other
//! agree who both are (no unknown key share), and on the network by the prologue, where networks have labels of their own.
//!
//! *Afterwards.* Data keys come from the raw split, which depends on `ee` and, where it was used, on ML-KEM: static keys and pre-shared keys
//! that leak later open no recorded session. They open message 1 of those where the responder's static key leaks: who called, what it
//! offered, and its record. A recorded session stays closed to who breaks X25519 alone where ML-KEM or a pre-shared key was in
//! it; who can break X25519 while it runs can impersonate, since members prove themselves by it.
//!
//! *To outsiders.* mac1 says that its maker knows the responder's public key, and lets whoever knows that recognise messages to it. Between
//! members of a network its key depends on the network's id, too ([`dialect::Labels`]): public keys alone recognise nothing then. The id is
//! in every record, invitation and network file, and in nothing that travels in the clear; whoever has it is no outsider in this. All
//! else of message 1 but lengths, an index and the ephemeral key is ciphertext.

pub mod aead;
pub mod announcement;
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
