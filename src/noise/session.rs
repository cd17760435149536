//! The two halves of a session: one seals, one opens, neither takes a lock.
//!
//! Both are shared between threads by `Arc`. The send counter is one atomic addition; the receive window is
//! [`ReplayWindow`]. Dropping the last reference wipes the keys.

use std::sync::atomic::{AtomicU64, Ordering};

use blake2::Blake2s256;
use hkdf::SimpleHkdf;
use zeroize::Zeroizing;

use super::aead::{AeadKey, Suite};
use super::handshake::Secret;
use super::replay::{Mark, ReplayWindow};
use super::schedule::{REJECT_AFTER, REJECT_AFTER_PACKETS};
use crate::drops::DropReason;
use crate::time::Instant;
use crate::wire::datagram::{DATA_HEADER_LEN, DataHeader, Piece, TAG_LEN, VERSION};
use crate::wire::inner::INNER_HEADER_LEN;

/// Bytes that sealing adds to a plaintext.
pub const PACKET_OVERHEAD: usize = DATA_HEADER_LEN + TAG_LEN;
/// Bytes that sealing adds to a message's body.
pub const SEAL_OVERHEAD: usize = PACKET_OVERHEAD + INNER_HEADER_LEN;

/// Which end of the handshake we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We sent message 1.
    Initiator,
    /// We sent message 2.
    Responder,
}

/// Derives both halves from a handshake's secret; `None` when this build lacks the suite.
///
/// `remote` is the index that packets from us name.
pub fn split(
    secret: &Secret,
    suite: Suite,
    role: Role,
    remote: u32,
    now: Instant,
) -> Option<(SendHalf, RecvHalf)> {
    let (out, into) = match role {
        Role::Initiator => (&secret.from_initiator, &secret.from_responder),
        Role::Responder => (&secret.from_responder, &secret.from_initiator),
    };
    let send = SendHalf {
        key: AeadKey::new(suite, &data_key(out, suite)?)?,
        remote,
        counter: AtomicU64::new(0),
        born: now,
    };
    let recv = RecvHalf {
        key: AeadKey::new(suite, &data_key(into, suite)?)?,
        window: ReplayWindow::default(),
        born: now,
    };
    Some((send, recv))
}

fn data_key(raw: &[u8; 32], suite: Suite) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0u8; 32]);
    let label = [b"l2vpn data v1".as_slice(), &[suite.number(), VERSION]].concat();
    SimpleHkdf::<Blake2s256>::new(None, raw)
        .expand(&label, key.as_mut())
        .ok()?;
    Some(key)
}

/// Seals messages to the peer.
pub struct SendHalf {
    key: AeadKey,
    remote: u32,
    counter: AtomicU64,
    born: Instant,
}

impl SendHalf {
    /// Takes the next `many` counters for packets to be sealed and gives the first.
    ///
    /// # Errors
    /// [`DropReason::SessionExpired`] when the session is too old or used up.
    pub fn reserve(&self, many: u64, now: Instant) -> Result<u64, DropReason> {
        if now.since(self.born) >= REJECT_AFTER {
            return Err(DropReason::SessionExpired);
        }
        let first = self.counter.fetch_add(many, Ordering::Relaxed);
        if first.saturating_add(many) > REJECT_AFTER_PACKETS {
            return Err(DropReason::SessionExpired);
        }
        Ok(first)
    }

    /// The header of a packet with a counter from [`SendHalf::reserve`].
    pub fn header(&self, counter: u64, lane: u8, piece: Option<Piece>) -> DataHeader {
        DataHeader {
            receiver: self.remote,
            counter,
            lane,
            piece,
        }
    }

    /// Seals a plaintext into `out`, which has [`PACKET_OVERHEAD`] bytes more than its parts together. A single part goes
    /// there by the cipher's own hand; several are copied first.
    ///
    /// # Errors
    /// [`DropReason::SessionExpired`] when the cipher refuses.
    pub fn seal_to(
        &self,
        header: DataHeader,
        parts: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), DropReason> {
        let refused = DropReason::SessionExpired;
        let bytes = header.to_bytes();
        let (head, sealed) = out
            .split_first_chunk_mut::<DATA_HEADER_LEN>()
            .ok_or(refused)?;
        *head = bytes;
        let counter = header.counter;
        if let [text] = parts {
            return self
                .key
                .seal_to(counter, &bytes, text, sealed)
                .ok_or(refused);
        }
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(refused)?;
        gather(parts, text).ok_or(refused)?;
        *tag = self.key.seal(counter, &bytes, text).ok_or(refused)?;
        Ok(())
    }

    /// The index that packets to the peer name.
    pub fn remote(&self) -> u32 {
        self.remote
    }

    /// How many packets were sealed.
    pub fn packets(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// Lets a test or a fuzz target begin near the limits.
    #[doc(hidden)]
    pub fn skip_to(&self, counter: u64) {
        self.counter.store(counter, Ordering::Relaxed);
    }
}

/// Copies parts one behind the other; `None` unless they fill the place exactly.
fn gather(parts: &[&[u8]], mut place: &mut [u8]) -> Option<()> {
    for part in parts {
        let (here, rest) = place.split_at_mut_checked(part.len())?;
        here.copy_from_slice(part);
        place = rest;
    }
    place.is_empty().then_some(())
}

/// Opens messages of the peer.
pub struct RecvHalf {
    key: AeadKey,
    window: ReplayWindow,
    born: Instant,
}

impl RecvHalf {
    /// Opens a packet in place and gives its plaintext and whether it is the newest so far. `header` is the packet's, as
    /// it came; its receiver index is the one by which this half was found.
    ///
    /// # Errors
    /// [`DropReason::SessionExpired`], [`DropReason::Replay`] or [`DropReason::AuthFailed`]; the buffer's content is
    /// unspecified then.
    pub fn open<'a>(
        &self,
        header: DataHeader,
        sealed: &'a mut [u8],
        now: Instant,
    ) -> Result<(&'a mut [u8], Mark), DropReason> {
        self.check(header.counter, now)?;
        let text = self
            .key
            .open(header.counter, &header.to_bytes(), sealed)
            .ok_or(DropReason::AuthFailed)?;
        Ok((text, self.mark(header.counter)?))
    }

    /// Opens a packet into another place, which has exactly the plaintext's length.
    ///
    /// # Errors
    /// Those of [`RecvHalf::open`]; the place's content is unspecified then.
    pub fn open_to(
        &self,
        header: DataHeader,
        sealed: &[u8],
        place: &mut [u8],
        now: Instant,
    ) -> Result<Mark, DropReason> {
        self.check(header.counter, now)?;
        self.key
            .open_to(header.counter, &header.to_bytes(), sealed, place)
            .ok_or(DropReason::AuthFailed)?;
        self.mark(header.counter)
    }

    fn check(&self, counter: u64, now: Instant) -> Result<(), DropReason> {
        if now.since(self.born) >= REJECT_AFTER || counter >= REJECT_AFTER_PACKETS {
            return Err(DropReason::SessionExpired);
        }
        match self.window.is_stale(counter) {
            true => Err(DropReason::Replay),
            false => Ok(()),
        }
    }

    fn mark(&self, counter: u64) -> Result<Mark, DropReason> {
        match self.window.mark(counter) {
            Mark::Refused => Err(DropReason::Replay),
            mark => Ok(mark),
        }
    }

    /// One more than the highest counter, and how many packets came.
    pub fn received(&self) -> (u64, u64) {
        self.window.received()
    }
}
