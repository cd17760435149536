//! Taking up a changed configuration while the member runs.
//!
//! # Why
//! What can change under traffic is who is there: ports, peers and keys come, go and get other rules, and segments get theirs.
//! Everything is read and opened before anything changes, so a file with a mistake, or a TAP that cannot be had, leaves all as it
//! was. What needs another socket or another table is refused by name rather than left out silently.

use std::fs::File;

use super::admin::Admin;
use super::assemble::{Member, StartError};
use super::peers::PeerChanges;
use super::ports::{OpenPort, prepare_bridge, tell_vlans};
use super::rotation;
use super::{network, peers};
use crate::api::{Answer, Changes, PeersChanged};
use crate::config::{Config, KeySource, PortConfig, load_with};
use crate::dataplane::workers::Workers;
use crate::io::clock;
use crate::keys::{AtHand, OwnKeys, Passphrase, Psks};
use crate::place::PortId;

/// What is to be done.
#[derive(Default)]
struct Plan {
    added: Vec<PortConfig>,
    changed: Vec<(PortId, PortConfig)>,
    removed: Vec<PortId>,
}

impl Member {
    /// Reads the configuration again and does what has changed; all of it or nothing.
    pub(super) async fn reload(
        &mut self,
        workers: &Workers,
        passphrase: Option<Passphrase>,
    ) -> (Answer, PeerChanges) {
        let refused = |why| (Answer::Rejected(why), PeerChanges::default());
        // Nobody is asked for a passphrase again, nor a command run.
        let mut opener = AtHand {
            keys: self.config.own.keys.clone(),
            psks: self.config.psks().cloned().collect(),
            passphrase,
            stands_in: false,
        };
        let (config, report) = load_with(&self.config.path, self.config.demo, &mut opener);
        let Some(mut config) = config else {
            return refused(report.to_string().trim_end().into());
        };
        rotation::settle_time(&mut config.own);
        let plan = match self.plan(&config) {
            Ok(plan) => plan,
            Err(message) => return refused(message),
        };
        let lock = match self.other_lock(&config) {
            Ok(lock) => lock,
            Err(error) => return refused(error.to_string()),
        };
        let opened = match self.open_all(&config, &plan).await {
            Ok(opened) => opened,
            Err(error) => {
                let hint = error.hint();
                let hint = hint.map(|h| format!("\n  hint: {h}")).unwrap_or_default();
                return refused(format!("{error}{hint}"));
            }
        };
        if let Some(lock) = lock {
            self.lock = lock;
            rotation::note_origin(&config, &self.origin);
        }
        let peers = self.plan_peers(&config);
        let keys = self.changed_keys(&config);
        let was = self.config.network.clone();
        let mut changes = self.apply(config, plan, opened, workers).await;
        let peers = self.apply_peers(peers, clock::now());
        changes.own_key = keys.is_some();
        changes.network = was != self.config.network;
        if let Some((keys, network)) = keys {
            self.node.set_keys(keys, network, clock::now());
        }
        if changes.network || changes.own_key {
            network::enter(&self.config, &mut self.node);
            self.admin = Admin::open(&self.config, &mut self.node);
        }
        changes.peers = PeersChanged {
            added: peers.added.clone(),
            changed: peers.changed.clone(),
            removed: peers.removed.clone(),
        };
        changes.warnings = report.to_string();
        (Answer::Reloaded(changes), peers)
    }

    /// The keys, own and the network's, where the configuration has others than those in use.
    fn changed_keys(&self, new: &Config) -> Option<(OwnKeys, Psks)> {
        let keys = rotation::keys_at(&new.own, clock::wall());
        let is_same =
            keys.names() == self.node.names() && new.own.network == self.config.own.network;
        (!is_same).then(|| (keys, new.own.network.clone()))
    }

    /// The lock on the key's file, when that is another one now.
    fn other_lock(&self, new: &Config) -> Result<Option<Option<File>>, StartError> {
        let old = &self.config.own;
        let is_same = old.source == new.own.source && old.public() == new.own.public();
        match is_same {
            true => Ok(None),
            false => rotation::lock(new).map(Some),
        }
    }

    fn plan(&self, new: &Config) -> Result<Plan, String> {
        let mut fixed = self.fixed(new);
        let mut plan = Plan::default();
        for port in &new.ports {
            let Some((id, open)) = self.ports.named(&port.tap) else {
                plan.added.push(port.clone());
                continue;
            };
            fixed.extend(fixed_of_port(&open.config, port));
            if open.config != *port {
                plan.changed.push((id, port.clone()));
            }
        }
        let is_gone = |open: &OpenPort| !new.ports.iter().any(|p| p.tap == open.config.tap);
        let gone = self.ports.iter().filter(|(_, open)| is_gone(open));
        for (id, open) in gone {
            fixed.extend(pins(&open.config, None));
            plan.removed.push(id);
        }
        let added = plan.added.iter();
        fixed.extend(added.filter_map(|port| pins(port, None)));
        match fixed.is_empty() {
            true => Ok(plan),
            false => Err(format!(
                "{}: changed, and that needs a restart; nothing was taken up\n  \
                 hint: `l2vpn down`, then `l2vpn up`; ports, peers and keys can come, go and change without",
                fixed.join(", ")
            )),
        }
    }

    /// What has changed and cannot while the member runs.
    fn fixed(&self, new: &Config) -> Vec<String> {
        let old = &self.config;
        let all = [
            ("[node] name", old.name == new.name),
            (
                "[node] listen and lan_discovery",
                (old.listen, &old.reach) == (new.listen, &new.reach),
            ),
            ("speed settings of [node]", old.tuning == new.tuning),
            (
                "[switch]",
                old.table == new.table && old.storms == new.storms,
            ),
            (
                // What is at hand would be taken for what comes from there.
                "the source of [node] key",
                old.own.source == new.own.source || matches!(new.own.source, KeySource::File(_)),
            ),
            ("secret and rates of [admission]", same_relaying(old, new)),
            // They are a part of the table from its beginning.
            ("pinned of a [[peer]]", peers::has_same_pins(old, new)),
            (
                "[control]",
                old.socket == new.socket && old.state_dir == new.state_dir,
            ),
        ];
        let changed = all.into_iter().filter(|(_, same)| !same);
        changed.map(|(name, _)| name.to_string()).collect()
    }

    /// Opens all ports that are new; an error closes them again.
    async fn open_all(&self, config: &Config, plan: &Plan) -> Result<Vec<OpenPort>, StartError> {
        let mut bridges = Vec::new();
        let result = self.open_each(config, plan, &mut bridges).await;
        if result.is_err() {
            // A TAP that somebody else made would keep what it was given.
            for port in &plan.added {
                let links = &self.links;
                links.remove_addresses(&port.tap, &port.addresses).await;
            }
            for bridge in bridges {
                if let Err(error) = self.links.remove(&bridge).await {
                    tracing::warn!(bridge, "made for a port that could not be opened: {error}");
                }
            }
        }
        result
    }

    async fn open_each(
        &self,
        config: &Config,
        plan: &Plan,
        bridges: &mut Vec<String>,
    ) -> Result<Vec<OpenPort>, StartError> {
        for port in &plan.added {
            let made = prepare_bridge(&self.links, port).await?;
            bridges.extend(port.bridge.clone().filter(|_| made));
        }
        let mut opened = Vec::new();
        for port in &plan.added {
            let with = (&self.links, self.outside.lanes.len(), &self.origin);
            opened.push(OpenPort::open(config, port, with).await?);
        }
        Ok(opened)
    }

    async fn apply(
        &mut self,
        config: Config,
        plan: Plan,
        opened: Vec<OpenPort>,
        workers: &Workers,
    ) -> Changes {
        let name = |member: &Member, id| {
            let port = member.ports.get(id);
            port.map(|p| p.config.tap.clone()).unwrap_or_default()
        };
        let mut changes = Changes::default();
        // New ports come before old ones go: a number that is free now was in use a moment ago, and a worker may still
        // hold a frame of it.
        for port in opened {
            changes.added.push(port.config.tap.clone());
            self.ports.insert(port);
        }
        for (id, port) in plan.changed {
            changes.changed.push(port.tap.clone());
            if let Some(bridge) = &port.bridge {
                tell_vlans(&self.links, bridge, &port).await;
            }
            self.ports.set(id, port);
        }
        for id in plan.removed {
            changes.removed.push(name(self, id));
            if let Some(port) = self.ports.remove(id) {
                let (tap, addresses) = (&port.config.tap, &port.config.addresses);
                self.links.remove_addresses(tap, addresses).await;
            }
        }
        changes.segments = self.config.segments != config.segments;
        let layout = self.ports.layout(&config.segments);
        self.config = config;
        if !changes.is_empty() {
            self.outside.taps.store(self.ports.taps().into());
            workers.wake();
            self.node.set_ports(layout, clock::now());
        }
        changes
    }
}

/// What has changed of a port and cannot while it is open.
fn fixed_of_port(old: &PortConfig, new: &PortConfig) -> Vec<String> {
    let all = [
        ("mtu", old.mtu == new.mtu),
        ("mac", old.mac == new.mac),
        ("addresses", old.addresses == new.addresses),
        ("bridge", old.bridge == new.bridge),
        ("offload", old.offload == new.offload),
        // Pinned MACs are a part of the table from its beginning, and so is whose they are.
        (
            "isolated",
            old.is_isolated == new.is_isolated || old.pinned.is_empty(),
        ),
    ];
    let changed = all.into_iter().filter(|(_, same)| !same);
    let named = changed.map(|(key, _)| format!("{key} of port {}", old.tap));
    named.chain(pins(old, Some(new))).collect()
}

/// Pinned MACs are a part of the table from its beginning.
fn pins(old: &PortConfig, new: Option<&PortConfig>) -> Option<String> {
    let now = new.map_or(&[][..], |p| &p.pinned);
    (old.pinned != now).then(|| format!("pinned of port {}", old.tap))
}

fn same_relaying(old: &Config, new: &Config) -> bool {
    let of = |config: &Config| {
        let relaying = config.relaying.as_ref();
        relaying.map(|r| (r.secret.as_ref().map(|s| *s.expose()), r.rate, r.total_rate))
    };
    of(old) == of(new)
}
