//! How much a forwarding table holds, for how long, and whom it believes.

use crate::time::Duration;

/// How much the table holds, for how long, and whom it believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in all.
    pub total: usize,
    /// Entries for each peer and each port.
    pub per_place: usize,
    /// How long an entry stays without a frame from its MAC.
    pub age: Duration,
    /// Where MACs behind peers are learned from.
    pub learning: Learning,
}

/// Where MACs behind peers are learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learning {
    /// Their frames only; nothing is advertised either.
    Data,
    /// What they advertise only.
    Advertised,
    /// Both.
    #[default]
    Both,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            total: 8192,
            per_place: 1024,
            age: Duration::from_secs(300),
            learning: Learning::default(),
        }
    }
}
