//! The peers of the configuration, and the node's: which is which, and what a changed configuration makes of them.

use std::sync::Arc;

use super::assemble::Member;
use crate::config::{Config, PeerConfig, PeerKind, RelayPolicy, Word};
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
        pass: match peer.word {
            Word::Listed => Pass::Listed,
            Word::Ticket(ticket) => Pass::Ticket(ticket),
            Word::Invite(invite) => Pass::Invite(invite),
            Word::Record => Pass::Awaited,
        },
        keepalive: peer.keepalive,
        mtu: peer.mtu,
        // Until it has shown its record it has a part in nothing.
        segments: match peer.word == Word::Record {
            true => Some(Vec::new()),
            false => peer.segments.as_ref().map(|list| {
                let all = |id: &SegmentId| (*id, VlanSet::everything());
                list.iter().map(all).collect()
            }),
        },
        vlans: peer.vlans.clone(),
        claims: Arc::default(),
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
        for (peer, old) in matched(&self.config.peers, &new.peers) {
            let known = old.and_then(|old| Some((old, self.id_of(old)?)));
            // One that was let in without being listed comes again by its place in the list.
            let own = known.map(|(_, id)| id);
            let guests = self.guests(peer).filter(|id| Some(*id) != own);
            plan.removed
                .extend(guests.map(|id| (id, peer.name.clone())));
            let Some((old, id)) = known else {
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

    /// Those that have one of a peer's keys and are not listed.
    fn guests(&self, peer: &PeerConfig) -> impl Iterator<Item = PeerId> {
        let ids = peer.key.iter().filter_map(|key| self.node.find(&key));
        let is_guest = |id: &PeerId| {
            let peer = self.node.peers().get(id.0 as usize);
            peer.is_some_and(|p| {
                matches!(
                    p.settings.pass,
                    Pass::Guest | Pass::Invited(_) | Pass::Record(_)
                )
            })
        };
        ids.filter(is_guest).collect::<Vec<_>>().into_iter()
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

/// Each peer with what was said of the same one before: of one with one of its keys; else of one of its name, if that is nobody
/// else by its key.
fn matched<'a>(
    old: &'a [PeerConfig],
    new: &'a [PeerConfig],
) -> Vec<(&'a PeerConfig, Option<&'a PeerConfig>)> {
    let by_key = |peer: &PeerConfig| {
        let has_its_key = |old: &&PeerConfig| peer.key.iter().any(|key| old.key.has(&key));
        old.iter().find(has_its_key)
    };
    let mut taken: Vec<&str> = Vec::new();
    let mut all: Vec<_> = new.iter().map(|peer| (peer, by_key(peer))).collect();
    for (_, known) in &mut all {
        // Two with keys of one: the first has its place.
        match known {
            Some(old) if taken.contains(&old.name.as_str()) => *known = None,
            Some(old) => taken.push(&old.name),
            None => {}
        }
    }
    for (peer, known) in all.iter_mut().filter(|(_, known)| known.is_none()) {
        let has_its_name = |old: &&PeerConfig| {
            old.name == peer.name && old.kind == peer.kind && !taken.contains(&old.name.as_str())
        };
        *known = old.iter().find(has_its_name);
        taken.extend(known.map(|old| old.name.as_str()));
    }
    all
}

/// Whether the same peers have the same MACs pinned to them, by the same numbers: the table has them from its beginning.
pub(super) fn has_same_pins(old: &Config, new: &Config) -> bool {
    let matched = matched(&old.peers, &new.peers);
    let is_same = |(peer, old): &(&PeerConfig, Option<&PeerConfig>)| match old {
        Some(old) if old.pinned.is_empty() => peer.pinned.is_empty(),
        Some(old) => old.pinned == peer.pinned && is_same_kind(old, peer),
        None => peer.pinned.is_empty(),
    };
    let is_kept = |peer: &PeerConfig| {
        let mut known = matched.iter().filter_map(|(_, old)| *old);
        peer.pinned.is_empty() || known.any(|old| std::ptr::eq(old, peer))
    };
    matched.iter().all(is_same) && old.peers.iter().all(is_kept)
}

/// Whether what it is to us, how it is let in and what its path is like stay as they are.
fn is_same_kind(old: &PeerConfig, new: &PeerConfig) -> bool {
    (old.kind, old.serves, old.mtu, old.word) == (new.kind, new.serves, new.mtu, new.word)
}
