//! The keys of `[node]` and `[[port]]` that trade speed, and that most files leave out.

use std::ops::Range;

use super::checker::Checker;
use super::raw::{Field, RawNode};
use crate::time::Duration;
use crate::wire::kem::PostQuantum;

/// The most workers: what a packet's lane can name.
const MAX_WORKERS: i64 = 8;
/// Microseconds; more would be a core of its own.
const MAX_BUSY_POLL: i64 = 1000;

/// How frames are handed to the kernel and to peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offloading {
    /// Super-frames, checksums left to others.
    #[default]
    On,
    /// The same, but for super-frames of UDP.
    Tcp,
    /// Super-frames at the ports, and every packet by itself on the wire.
    Segments,
    /// Every frame by itself, complete.
    Off,
}

/// Which ciphers are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CipherChoice {
    /// The fastest that both ends have.
    #[default]
    Auto,
    /// AES-256-GCM alone.
    Aes256Gcm,
    /// ChaCha20-Poly1305 alone.
    ChaCha20Poly1305,
}

/// Speed and what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// What this member takes from its ports and peers.
    pub offload: Offloading,
    /// The ciphers that it offers.
    pub cipher: CipherChoice,
    /// Whether handshakes have a post-quantum secret beside.
    pub post_quantum: PostQuantum,
    /// Pairs of threads; `None` goes by the number of cores.
    pub workers: Option<usize>,
    /// How long a worker looks for more before it sleeps.
    pub busy_poll: Duration,
    /// How old a session gets; `None` for the protocol's own limit.
    pub rekey: Option<Duration>,
    /// Whether frames' priorities are shown on the outside.
    pub shows_priority: bool,
}

pub(super) type Choice<T> = (&'static str, T);

const OFFLOADS: &[Choice<Offloading>] = &[
    ("on", Offloading::On),
    ("tcp", Offloading::Tcp),
    ("segments", Offloading::Segments),
    ("off", Offloading::Off),
];
const DSCPS: &[Choice<bool>] = &[("off", false), ("pcp", true)];
const POST_QUANTUM: &[Choice<PostQuantum>] = &[
    ("off", PostQuantum::Off),
    ("prefer", PostQuantum::Prefer),
    ("require", PostQuantum::Require),
];
const CIPHERS: &[Choice<CipherChoice>] = &[
    ("auto", CipherChoice::Auto),
    ("aes-256-gcm", CipherChoice::Aes256Gcm),
    ("chacha20-poly1305", CipherChoice::ChaCha20Poly1305),
];

impl Checker<'_> {
    /// Reads the tuning keys of `[node]`.
    pub(super) fn tuning(&mut self, node: &mut RawNode) -> Tuning {
        let rekey = (Duration::from_secs(5), Duration::from_secs(120));
        let busy_poll: Option<u64> =
            self.number(node.busy_poll_us.take(), "busy_poll_us", 0..=MAX_BUSY_POLL);
        Tuning {
            offload: self.offload(node.offload.take()).unwrap_or_default(),
            cipher: self.cipher(node.cipher.take()).unwrap_or_default(),
            post_quantum: self.post_quantum(node.pq.take()).unwrap_or_default(),
            workers: self.number(node.workers.take(), "workers", 1..=MAX_WORKERS),
            busy_poll: Duration::from_micros(busy_poll.unwrap_or(0)),
            rekey: self.duration(node.rekey.take(), "rekey", rekey),
            shows_priority: self.dscp(node.dscp.take()).unwrap_or(false),
        }
    }

    /// Reads what a member or a port takes.
    pub(super) fn offload(&mut self, field: Option<Field<String>>) -> Option<Offloading> {
        let (text, at) = self.take(field)?;
        self.choice("offload", OFFLOADS, (&text, &at))
    }

    /// Reads what the outer packets' DSCP is taken from.
    fn dscp(&mut self, field: Option<Field<String>>) -> Option<bool> {
        let (text, at) = self.take(field)?;
        self.choice("dscp", DSCPS, (&text, &at))
    }

    fn cipher(&mut self, field: Option<Field<String>>) -> Option<CipherChoice> {
        let (text, at) = self.take(field)?;
        let choice = self.choice("cipher", CIPHERS, (&text, &at));
        if choice == Some(CipherChoice::Aes256Gcm) && !cfg!(feature = "aws-lc") {
            self.findings
                .error(&at, "this build has no AES-256-GCM")
                .hint("leave cipher out, or use a build with the feature aws-lc");
        }
        choice
    }

    fn post_quantum(&mut self, field: Option<Field<String>>) -> Option<PostQuantum> {
        let (text, at) = self.take(field)?;
        let choice = self.choice("pq", POST_QUANTUM, (&text, &at));
        if choice == Some(PostQuantum::Require) && !cfg!(feature = "aws-lc") {
            self.findings
                .error(&at, "this build has no ML-KEM")
                .hint("leave pq out, or use a build with the feature aws-lc");
        }
        choice
    }

    /// Reads one of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        what: &str,
        choices: &[Choice<T>],
        (text, at): (&str, &Range<usize>),
    ) -> Option<T> {
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<String> = choices.iter().map(|(n, _)| format!("\"{n}\"")).collect();
            self.findings
                .error(at, format!("{what} \"{text}\" is not known"))
                .hint(format!("it is one of {}", names.join(", ")));
        }
        found.map(|(_, choice)| *choice)
    }
}
