//! The sessions that two members have at one time: current, previous, and up to two that wait for confirmation.
//!
//! # Why
//! A responder cannot know whether its response arrived, so a session of its making is *pending* until the first packet
//! sealed with it proves it. The previous session stays for packets in flight. When both ends begin at the same moment
//! two sessions arise; both work, and both ends settle on the one that the member with the smaller key began, so that
//! only one is rekeyed later. The keys are those of the handshakes themselves: a member may have two for a while, and each end
//! knows the other by what it has heard of that.

use std::cmp::Ordering;
use std::sync::Arc;

use super::aead::Suite;
use super::schedule::{REJECT_AFTER, UNCONFIRMED_KEPT};
use super::session::{Role, SendHalf};
use crate::keys::PublicKey;
use crate::time::{Duration, Instant};
use crate::wire::kem::ParameterSet;
use crate::wire::offer::Abilities;
use crate::wire::segment::SegmentId;
use crate::wire::vlans::VlanSet;

const MAX_PENDING: usize = 2;
/// Two sessions that began within this time of each other may be one crossing.
const CROSSING: Duration = Duration::from_secs(1);

/// The keys of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    /// The one of ours.
    pub ours: PublicKey,
    /// The one of the peer's.
    pub theirs: PublicKey,
}

/// One session as the control side sees it; the receiving half lives in the table of receiver indices.
pub struct Session {
    /// The index that packets to us name.
    pub index: u32,
    /// Seals packets to the peer.
    pub send: Arc<SendHalf>,
    /// Which end we were.
    pub role: Role,
    /// Between which keys the handshake was.
    pub between: Between,
    /// The cipher.
    pub suite: Suite,
    /// What ML-KEM's part of its secret is of, if it has one.
    pub kem: Option<ParameterSet>,
    /// When the handshake ended.
    pub born: Instant,
    /// Whether the peer's initiation and ours crossed.
    pub crossed: bool,
    /// What the peer drew when it started: sessions of two starts never compete.
    pub boot: [u8; 8],
    /// Which edition of our own announcement the peer has with it.
    pub told: u32,
    /// Which edition of its own the peer announced, since its start.
    pub edition: u32,
    /// The segments that the peer announced in the handshake, and its VLANs in each.
    pub segments: Vec<(SegmentId, VlanSet)>,
    /// The serial of our record that the peer has, as it says.
    pub held: Option<u64>,
    /// What both ends can do with frames.
    pub abilities: Abilities,
}

impl Session {
    /// How much is announced in it; the same number at both ends.
    fn news(&self) -> u64 {
        u64::from(self.told) + u64::from(self.edition)
    }

    /// The key of the member that began.
    fn initiator(&self) -> &PublicKey {
        match self.role {
            Role::Initiator => &self.between.ours,
            Role::Responder => &self.between.theirs,
        }
    }

    /// Its age.
    pub fn age(&self, now: Instant) -> Duration {
        now.since(self.born)
    }
}

/// The sessions with one peer.
#[derive(Default)]
pub struct Keyring {
    current: Option<Session>,
    previous: Option<Session>,
    pending: Vec<Session>,
}

/// The receiver indices of sessions that ended; they have to leave the table.
pub type Retired = Vec<u32>;

impl Keyring {
    /// The session to send with.
    pub fn current(&self) -> Option<&Session> {
        self.current.as_ref()
    }

    /// Whether this index belongs to a session that waits for confirmation.
    pub fn is_pending(&self, index: u32) -> bool {
        self.pending.iter().any(|s| s.index == index)
    }

    /// Whether this index belongs to the current session.
    pub fn is_current(&self, index: u32) -> bool {
        self.current.as_ref().is_some_and(|s| s.index == index)
    }

    /// Adds a session that we answered; it may be used for sending after [`Keyring::confirm`].
    pub fn add_pending(&mut self, session: Session) -> Retired {
        let mut retired = Retired::new();
        if self.pending.len() >= MAX_PENDING {
            retired.push(self.pending.remove(0).index);
        }
        self.pending.push(session);
        retired
    }

    /// Adds a session whose response we received: the peer has it for certain.
    pub fn install(&mut self, session: Session) -> Retired {
        let mut retired = Retired::new();
        let stays = self
            .current
            .as_ref()
            .is_some_and(|current| loses_to(&session, current));
        let old = if stays {
            Some(session)
        } else {
            self.current.replace(session)
        };
        if let Some(old) = old {
            retired.extend(self.previous.replace(old).map(|s| s.index));
        }
        retired
    }

    /// Moves a pending session up after a packet sealed with it was opened. Older pending ones end.
    ///
    /// `None` when the index is not pending.
    pub fn confirm(&mut self, index: u32) -> Option<Retired> {
        let at = self.pending.iter().position(|s| s.index == index)?;
        let mut retired: Retired = self.pending.drain(..at).map(|s| s.index).collect();
        let session = self.pending.remove(0);
        let is_older = self
            .current
            .as_ref()
            .is_some_and(|c| c.born.since(session.born) >= CROSSING);
        if is_older {
            // Its first packet was held up; both ends send on the newest.
            retired.extend(self.previous.replace(session).map(|s| s.index));
        } else {
            retired.extend(self.install(session));
        }
        Some(retired)
    }

    /// Ends sessions that are too old to be used; their keys are wiped with the last reference.
    pub fn expire(&mut self, now: Instant) -> Retired {
        let mut retired = Retired::new();
        for slot in [&mut self.current, &mut self.previous] {
            let old = slot.take_if(|s| s.age(now) >= REJECT_AFTER);
            retired.extend(old.map(|s| s.index));
        }
        self.pending.retain(|s| {
            let keep = s.age(now) < UNCONFIRMED_KEPT;
            if !keep {
                retired.push(s.index);
            }
            keep
        });
        retired
    }

    /// The life of the peer that a session in use belongs to, by its index: the end of such a session is the peer's.
    ///
    /// `None` for a session of an earlier life, or one that waits for confirmation.
    pub fn life_of(&self, index: u32) -> Option<[u8; 8]> {
        let current = self.current.as_ref()?;
        let is_previous = |p: &&Session| p.index == index && p.boot == current.boot;
        match current.index == index {
            true => Some(current.boot),
            false => self.previous.as_ref().filter(is_previous).map(|p| p.boot),
        }
    }

    /// Ends the sessions with other keys of the peer than these, but for the one in use.
    pub fn end_others(&mut self, names: &[PublicKey]) -> Retired {
        let (own, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|s| names.contains(&s.between.theirs));
        self.pending = own;
        let previous = self
            .previous
            .take_if(|s| !names.contains(&s.between.theirs));
        others
            .into_iter()
            .chain(previous)
            .map(|s| s.index)
            .collect()
    }

    /// Takes out the pending sessions of other lives than this one.
    pub fn take_pending_of_others(&mut self, boot: [u8; 8]) -> Vec<Session> {
        let (others, own) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|s| s.boot != boot);
        self.pending = own;
        others
    }

    /// Ends all sessions.
    pub fn clear(&mut self) -> Retired {
        let all = std::mem::take(self);
        all.current
            .into_iter()
            .chain(all.previous)
            .chain(all.pending)
            .map(|s| s.index)
            .collect()
    }

    /// Ends one session, wherever it stands.
    pub fn remove(&mut self, index: u32) -> Retired {
        let mut retired = Retired::new();
        for slot in [&mut self.current, &mut self.previous] {
            retired.extend(slot.take_if(|s| s.index == index).map(|s| s.index));
        }
        if let Some(at) = self.pending.iter().position(|s| s.index == index) {
            retired.push(self.pending.remove(at).index);
        }
        retired
    }

    /// The keys of the peer that the sessions were made with.
    pub fn names(&self) -> impl Iterator<Item = PublicKey> {
        let all = self
            .current
            .iter()
            .chain(&self.previous)
            .chain(&self.pending);
        all.map(|s| s.between.theirs)
    }

    /// How many sessions there are; at most four.
    pub fn len(&self) -> usize {
        usize::from(self.current.is_some())
            + usize::from(self.previous.is_some())
            + self.pending.len()
    }

    /// Whether there is no session at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether `new` is the half of a crossing that both ends let go: the one in which less is announced, else the one that the
/// member with the greater key began.
fn loses_to(new: &Session, current: &Session) -> bool {
    let crossing = (new.crossed || current.crossed)
        && new.role != current.role
        && new.boot == current.boot
        && new.born.since(current.born) < CROSSING;
    crossing
        && match new.news().cmp(&current.news()) {
            Ordering::Less => true,
            Ordering::Equal => current.initiator() < new.initiator(),
            Ordering::Greater => false,
        }
}
