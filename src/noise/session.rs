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
use crate::wire::datagram::{DATA_HEADER_LEN, DataHeader, TAG_LEN, VERSION};
use crate::wire::inner::INNER_HEADER_LEN;

/// Bytes that sealing adds to a message's body.
pub const SEAL_OVERHEAD: usize = DATA_HEADER_LEN + INNER_HEADER_LEN + TAG_LEN;

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
/// `local` is the index that packets to us will name, `remote` the one that packets from us name.
pub fn split(
    secret: &Secret,
    suite: Suite,
    role: Role,
    (local, remote): (u32, u32),
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
        local,
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
    /// Appends a whole data packet to `out`: header, sealed `inner` header and `body` parts, tag.
    ///
    /// The buffer grows by [`SEAL_OVERHEAD`] and the body's length; with that much capacity nothing is allocated. Gives
    /// the packet's length.
    ///
    /// # Errors
    /// [`DropReason::SessionExpired`] when the session is too old or used up; nothing is appended then.
    pub fn seal(
        &self,
        inner: [u8; INNER_HEADER_LEN],
        body: &[&[u8]],
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Result<usize, DropReason> {
        if now.since(self.born) >= REJECT_AFTER {
            return Err(DropReason::SessionExpired);
        }
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        if counter >= REJECT_AFTER_PACKETS {
            return Err(DropReason::SessionExpired);
        }
        let start = out.len();
        let header = DataHeader {
            receiver: self.remote,
            counter,
        }
        .to_bytes();
        out.extend_from_slice(&header);
        out.extend_from_slice(&inner);
        for part in body {
            out.extend_from_slice(part);
        }
        let text = out.get_mut(start + DATA_HEADER_LEN..).unwrap_or_default();
        let Some(tag) = self.key.seal(counter, &header, text) else {
            out.truncate(start);
            return Err(DropReason::SessionExpired);
        };
        out.extend_from_slice(&tag);
        Ok(out.len() - start)
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

/// Opens messages of the peer.
pub struct RecvHalf {
    key: AeadKey,
    local: u32,
    window: ReplayWindow,
    born: Instant,
}

impl RecvHalf {
    /// Opens a packet in place and gives its plaintext and whether it is the newest so far.
    ///
    /// # Errors
    /// [`DropReason::SessionExpired`], [`DropReason::Replay`] or [`DropReason::AuthFailed`]; the buffer's content is
    /// unspecified then.
    pub fn open<'a>(
        &self,
        counter: u64,
        sealed: &'a mut [u8],
        now: Instant,
    ) -> Result<(&'a mut [u8], Mark), DropReason> {
        if now.since(self.born) >= REJECT_AFTER || counter >= REJECT_AFTER_PACKETS {
            return Err(DropReason::SessionExpired);
        }
        if self.window.is_stale(counter) {
            return Err(DropReason::Replay);
        }
        let header = DataHeader {
            receiver: self.local,
            counter,
        }
        .to_bytes();
        let text = self
            .key
            .open(counter, &header, sealed)
            .ok_or(DropReason::AuthFailed)?;
        match self.window.mark(counter) {
            Mark::Refused => Err(DropReason::Replay),
            mark => Ok((text, mark)),
        }
    }
}
