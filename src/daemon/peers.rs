//! The peers of the configuration, and the node's: which is which, and what a changed configuration makes of them.

use super::assemble::Member;
use crate::config::{Config, PeerConfig, PeerKind, RelayPolicy};
use crate::mesh::peer::{Kind, Pass, PeerSettings, RelayUse};
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::segment::SegmentId;
use crate::wire::vlans::VlanSet;

/// What the node is told of a peer.
pub(super) fn settings(peer: &PeerConfig) -> PeerSettings {
    PeerSettings {
        kind: match peer.kind {
            PeerKind::Member => Kind::Member,
            PeerKind::Relay => Kind::Relay,
            PeerKind::Client => Kind::Client,
        },
        name: peer.name.clone(),
        key: peer.key,
        psks: peer.psks.clone(),
        relay: match peer.relay {
            RelayPolicy::Allow => RelayUse::Allow,
            RelayPolicy::ControlOnly => RelayUse::ControlOnly,
            RelayPolicy::Never => RelayUse::Never,
        },
        pass: peer.ticket.map_or(Pass::Listed, Pass::Ticket),
        keepalive: peer.keepalive,
        mtu: peer.mtu,
        segments: peer.segments.as_ref().map(|list| {
            let all = |id: &SegmentId| (*id, VlanSet::everything());
            list.iter().map(all).collect()
        }),
        vlans: peer.vlans.clone(),
        serves: peer.serves,
        roles: peer.roles,
    }
}

/// What is to be done with peers.
#[derive(Default)]
pub(super) struct PeerPlan {
    /// Those that are new.
    added: Vec<PeerConfig>,
    /// Those that something else is said of, with the number that they have.
    changed: Vec<(PeerId, PeerConfig)>,
    /// Those that are gone, with their names.
    removed: Vec<(PeerId, String)>,
}

/// The names of those that something was done with.
#[derive(Default)]
pub(super) struct PeerChanges {
    pub(super) added: Vec<String>,
    pub(super) changed: Vec<String>,
    pub(super) removed: Vec<String>,
    /// The numbers of those that are looked for anew.
    pub(super) ids: Vec<PeerId>,
    /// The numbers that are free.
    pub(super) vacant: Vec<PeerId>,
}

impl PeerChanges {
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.vacant.is_empty()
    }
}

impl Member {
    /// The number of a peer of the configuration.
    pub(super) fn id_of(&self, peer: &PeerConfig) -> Option<PeerId> {
        peer.key.iter().find_map(|key| self.node.find(&key))
    }

    /// The peers of the configuration with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (PeerId, &PeerConfig)> {
        let peers = self.config.peers.iter();
        peers.filter_map(|peer| Some((self.id_of(peer)?, peer)))
    }

    /// What a configuration changes of the peers.
    pub(super) fn plan_peers(&self, new: &Config) -> PeerPlan {
        let mut plan = PeerPlan::default();
        let mut kept = Vec::new();
        for peer in &new.peers {
            let Some(old) = same(&self.config.peers, peer) else {
                // One that this relay knows by a ticket alone comes again by its place in the list.
                let guest = self.id_of(peer).map(|id| (id, peer.name.clone()));
                plan.removed.extend(guest);
                plan.added.push(peer.clone());
                continue;
            };
            let Some(id) = self.id_of(old).filter(|id| !kept.contains(id)) else {
                plan.added.push(peer.clone());
                continue;
            };
            kept.push(id);
            if !is_same_kind(old, peer) {
                plan.removed.push((id, old.name.clone()));
                plan.added.push(peer.clone());
            } else if old != peer {
                plan.changed.push((id, peer.clone()));
            }
        }
        for old in &self.config.peers {
            let id = self.id_of(old).filter(|id| !kept.contains(id));
            plan.removed.extend(id.map(|id| (id, old.name.clone())));
        }
        plan
    }

    /// Does it. Who is to go goes first, since another may have its key or its name.
    pub(super) fn apply_peers(&mut self, plan: PeerPlan, now: Instant) -> PeerChanges {
        let mut changes = PeerChanges::default();
        for (id, name) in plan.removed {
            self.node.remove_peer(id, now);
            changes.vacant.push(id);
            changes.removed.push(name);
        }
        for (id, peer) in plan.changed {
            self.node.change_peer(id, settings(&peer), now);
            changes.ids.push(id);
            changes.changed.push(peer.name);
        }
        for peer in plan.added {
            let id = self.node.welcome(settings(&peer), now);
            changes.ids.push(id);
            changes.added.push(peer.name);
        }
        changes
    }
}

/// What was said of the same peer before: of one with one of its keys, or of one of its name.
fn same<'a>(all: &'a [PeerConfig], peer: &PeerConfig) -> Option<&'a PeerConfig> {
    let has_its_key = |old: &&PeerConfig| peer.key.iter().any(|key| old.key.has(&key));
    let has_its_name = |old: &&PeerConfig| old.name == peer.name && old.kind == peer.kind;
    let by_key = all.iter().find(has_its_key);
    by_key.or_else(|| all.iter().find(has_its_name))
}

/// Whether what it is to us, how it is let in and what its path is like stay as they are.
fn is_same_kind(old: &PeerConfig, new: &PeerConfig) -> bool {
    (old.kind, old.serves, old.mtu, old.ticket) == (new.kind, new.serves, new.mtu, new.ticket)
}
