//! The ports of a running member: their TAPs, their bridges, and what the switch is told of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use blake2::{Blake2s256, Digest};

use super::assemble::StartError;
use super::bridging::vlan_ranges;
use crate::config::tuning::Offloading;
use crate::config::{Config, PortConfig, SegmentConfig};
use crate::dataplane::workers::Taps;
use crate::io::links::{LinkError, LinkSettings, Links};
use crate::io::tap::{Tap, TapError, Wish};
use crate::keys::PublicKey;
use crate::place::PortId;
use crate::switch::layout::{Layout, Port};
use crate::wire::ethernet::Mac;

/// Frames that the kernel may queue on a TAP. The host's stack is told nothing when the queue is full, so it should not be;
/// a queue of super-frames is long in bytes, so it is not made longer than the kernel's own.
const TAP_QUEUE: u32 = 1000;

/// A port that is open.
pub(super) struct OpenPort {
    pub(super) config: PortConfig,
    pub(super) tap: Arc<Tap>,
    pub(super) mac: Mac,
    /// Frames that the kernel could not queue on the TAP, as last asked.
    pub(super) queue_drops: u64,
    /// What is wrong with its bridge.
    pub(super) bridge_warnings: Vec<String>,
}

impl OpenPort {
    /// Opens a TAP and sets its interface up.
    pub(super) async fn open(
        config: &Config,
        port: &PortConfig,
        (links, workers, origin): (&Links, usize, &PublicKey),
    ) -> Result<OpenPort, StartError> {
        let derived = || derived_mac(origin, &port.tap);
        let wanted = port.mac.unwrap_or_else(derived);
        let existed = links.index(&port.tap).await.is_ok();
        // A TAP with several queues lets any number of programs of one user in, and would share its frames among them.
        if links.tap_queues(&port.tap).await.is_some_and(|n| n > 0) {
            return Err(TapError::InUse(port.tap.clone()).into());
        }
        let wish = match port.offload.unwrap_or(config.tuning.offload) {
            Offloading::On | Offloading::Segments => Wish::Everything,
            Offloading::Tcp => Wish::Tcp,
            Offloading::Off => Wish::Nothing,
        };
        let tap = Tap::open(&port.tap, wish, workers)?;
        let settings = LinkSettings {
            mtu: Some(port.mtu),
            mac: Some(wanted),
            addresses: port.addresses.clone(),
            bridge: port.bridge.clone(),
            queue: Some(TAP_QUEUE),
        };
        match links.configure(&port.tap, &settings).await {
            // A TAP that somebody with more rights has made for us is as it shall be.
            Err(error) if existed && error.is_permission() => {
                tracing::warn!(tap = port.tap, "using the TAP as it is: {error}");
            }
            other => other?,
        }
        if let Some(bridge) = &port.bridge {
            tell_vlans(links, bridge, port).await;
        }
        Ok(OpenPort {
            mac: links.mac(&port.tap).await.unwrap_or(wanted),
            config: port.clone(),
            tap: Arc::new(tap),
            queue_drops: 0,
            bridge_warnings: Vec::new(),
        })
    }

    fn layout(&self, id: PortId) -> Port {
        let port = &self.config;
        Port {
            id,
            segment: port.segment,
            rule: port.rule.clone(),
            link_local: port.link_local,
            roles: port.roles,
            is_isolated: port.is_isolated,
            guards_loops: port.guards_loops,
            is_blocked: false,
            mac: self.mac,
        }
    }
}

/// All open ports by their numbers. One keeps its number as long as it is open.
#[derive(Default)]
pub(super) struct Ports(BTreeMap<PortId, OpenPort>);

impl Ports {
    pub(super) fn iter(&self) -> impl Iterator<Item = (PortId, &OpenPort)> {
        self.0.iter().map(|(id, port)| (*id, port))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut OpenPort> {
        self.0.values_mut()
    }

    pub(super) fn get(&self, id: PortId) -> Option<&OpenPort> {
        self.0.get(&id)
    }

    /// The port with this TAP.
    pub(super) fn named(&self, tap: &str) -> Option<(PortId, &OpenPort)> {
        self.iter().find(|(_, port)| port.config.tap == tap)
    }

    /// Gives a port the first number that is free.
    pub(super) fn insert(&mut self, port: OpenPort) {
        let free = (0..=u16::MAX)
            .map(PortId)
            .find(|id| !self.0.contains_key(id));
        if let Some(id) = free {
            self.0.insert(id, port);
        }
    }

    pub(super) fn remove(&mut self, id: PortId) -> Option<OpenPort> {
        self.0.remove(&id)
    }

    /// Sets what a port shall do; it takes effect with the next layout.
    pub(super) fn set(&mut self, id: PortId, config: PortConfig) {
        if let Some(port) = self.0.get_mut(&id) {
            port.config = config;
        }
    }

    /// The TAPs as the workers want them.
    pub(super) fn taps(&self) -> Taps {
        let count = self.0.keys().last().map_or(0, |id| usize::from(id.0) + 1);
        let mut taps = vec![None; count];
        for (id, port) in &self.0 {
            if let Some(slot) = taps.get_mut(usize::from(id.0)) {
                *slot = Some(port.tap.clone());
            }
        }
        taps
    }

    /// The ports as the switch wants them.
    pub(super) fn layout(&self, segments: &[SegmentConfig]) -> Layout {
        let ports = self.iter().map(|(id, port)| port.layout(id));
        let mut layout = Layout::new(ports.collect());
        segments
            .iter()
            .for_each(|s| layout.set_rules(s.id, s.rules));
        layout
    }
}

/// Checks that a port's bridge is there, or makes it; gives whether it did.
pub(super) async fn prepare_bridge(links: &Links, port: &PortConfig) -> Result<bool, LinkError> {
    let Some(bridge) = &port.bridge else {
        return Ok(false);
    };
    match links.require_bridge(bridge).await {
        Err(LinkError::Missing(_)) if port.creates_bridge => {
            links.create_bridge(bridge).await?;
            tracing::info!(bridge, "made; it stays when this member ends");
            Ok(true)
        }
        other => other.map(|()| false),
    }
}

/// Where the bridge filters by VLAN, it shall pass by our port what the port carries.
pub(super) async fn tell_vlans(links: &Links, bridge: &str, port: &PortConfig) {
    let state = links.bridge_state(bridge).await;
    if state.is_some_and(|s| s.filters_vlans) {
        let ranges = vlan_ranges(&port.rule);
        match links.set_port_vlans(&port.tap, &ranges).await {
            Ok(()) => tracing::info!(bridge, tap = port.tap, "told the bridge the port's VLANs"),
            Err(error) => tracing::warn!(bridge, tap = port.tap, "{error}"),
        }
    }
}

/// A MAC that is the same at every start and unlike any other member's: locally administered, from key and port name.
pub(super) fn derived_mac(public: &PublicKey, tap: &str) -> Mac {
    let mut hash = Blake2s256::new();
    hash.update(b"l2vpn tap mac v1");
    hash.update(public.as_bytes());
    hash.update(tap.as_bytes());
    let [first, b, c, d, e, f, ..] = <[u8; 32]>::from(hash.finalize());
    Mac([(first & 0xfc) | 0x02, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_macs_are_stable_local_and_distinct() {
        let (a, b) = (
            PublicKey::from_bytes([1; 32]),
            PublicKey::from_bytes([2; 32]),
        );
        let mac = derived_mac(&a, "lan0");
        assert_eq!(mac, derived_mac(&a, "lan0"));
        assert_ne!(mac, derived_mac(&a, "lan1"));
        assert_ne!(mac, derived_mac(&b, "lan0"));
        assert_eq!(mac.0[0] & 3, 2);
    }
}
