//! Taking up a changed configuration while the member runs.
//!
//! # Why
//! What can change under traffic is the LAN side: ports come, go and get other rules, and segments get theirs. Everything
//! is read and opened before anything changes, so a file with a mistake, or a TAP that cannot be had, leaves all as it
//! was. What needs another socket, another key or another table is refused by name rather than left out silently.

use super::assemble::{Member, StartError};
use super::ports::{OpenPort, prepare_bridge, tell_vlans};
use crate::api::{Answer, Changes};
use crate::config::{Config, PeerConfig, PortConfig, load_with};
use crate::dataplane::workers::Workers;
use crate::io::clock;
use crate::keys::{AtHand, Psk};
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
    pub(super) async fn reload(&mut self, workers: &Workers) -> Answer {
        // Nobody is asked for a passphrase again, nor a command run.
        let mut opener = AtHand {
            key: self.config.key.clone(),
            stands_in: false,
        };
        let (config, report) = load_with(&self.config.path, self.config.demo, &mut opener);
        let Some(config) = config else {
            return Answer::Rejected(report.to_string().trim_end().into());
        };
        let plan = match self.plan(&config) {
            Ok(plan) => plan,
            Err(message) => return Answer::Rejected(message),
        };
        let opened = match self.open_all(&config, &plan).await {
            Ok(opened) => opened,
            Err(error) => {
                let hint = error.hint();
                let hint = hint.map(|h| format!("\n  hint: {h}")).unwrap_or_default();
                return Answer::Rejected(format!("{error}{hint}"));
            }
        };
        let mut changes = self.apply(config, plan, opened, workers).await;
        changes.warnings = report.to_string();
        Answer::Reloaded(changes)
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
                 hint: `l2vpn down`, then `l2vpn up`; ports can come, go and change their rules without",
                fixed.join(", ")
            )),
        }
    }

    /// What has changed and cannot while the member runs.
    fn fixed(&self, new: &Config) -> Vec<String> {
        let old = &self.config;
        let peers = old.peers.len() == new.peers.len()
            && old.peers.iter().zip(&new.peers).all(|(a, b)| is_same(a, b));
        let all = [
            ("[node] name", old.name == new.name),
            (
                "[node] key",
                old.key.public() == new.key.public() && old.key_source == new.key_source,
            ),
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
                "[[peer]], [[relay]] or [admission]",
                peers && same_relaying(old, new),
            ),
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
            let with = (&self.links, self.outside.lanes.len());
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

fn is_same(old: &PeerConfig, new: &PeerConfig) -> bool {
    old.kind == new.kind
        && old.name == new.name
        && old.key == new.key
        && old.psk.as_ref().map(Psk::expose) == new.psk.as_ref().map(Psk::expose)
        && old.endpoints == new.endpoints
        && old.carried == new.carried
        && old.relay == new.relay
        && old.ticket == new.ticket
        && old.keepalive == new.keepalive
        && old.mtu == new.mtu
        && old.segments == new.segments
        && old.vlans == new.vlans
        && old.roles == new.roles
        && old.pinned == new.pinned
}
