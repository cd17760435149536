//! What a reload has changed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a reload has changed: the TAPs of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Ports that came.
    pub added: Vec<String>,
    /// Ports that follow other rules now.
    pub changed: Vec<String>,
    /// Ports that went.
    pub removed: Vec<String>,
    /// Whether segments came, went, or follow other rules now.
    pub segments: bool,
    /// Peers, relays, and members that are relayed for.
    #[serde(default)]
    pub peers: PeersChanged,
    /// Whether the member, or its network, has other keys.
    #[serde(default)]
    pub own_key: bool,
    /// Whether the network, the record or the revocations are others.
    #[serde(default)]
    pub network: bool,
    /// What the configuration's checker warns of.
    #[serde(default)]
    pub warnings: String,
}

impl Changes {
    /// Whether nothing has changed of ports and segments.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.changed.is_empty()
            && self.removed.is_empty()
            && !self.segments
    }
}

/// Which peers came, went, or are another way now, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersChanged {
    /// Those that came.
    pub added: Vec<String>,
    /// Those that something else is said of.
    pub changed: Vec<String>,
    /// Those that went.
    pub removed: Vec<String>,
}

/// In a line, for people.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeersChanged {
            added,
            changed,
            removed,
        } = &self.peers;
        let parts = [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
            ("added peer", added),
            ("changed peer", changed),
            ("removed peer", removed),
        ];
        let some = parts.into_iter().filter(|(_, taps)| !taps.is_empty());
        let mut text: Vec<String> = some
            .map(|(what, taps)| format!("{what} {}", taps.join(", ")))
            .collect();
        text.extend(self.segments.then(|| "segments changed".into()));
        text.extend(self.own_key.then(|| "other keys".into()));
        text.extend(self.network.then(|| "network changed".into()));
        match text.is_empty() {
            true => f.write_str("nothing has changed"),
            false => f.write_str(&text.join("; ")),
        }
    }
}
