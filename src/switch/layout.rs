//! Which ports and peers are in which segment: the switch's picture of the network, published whole.
//!
//! The control side makes a new layout when a port, a peer or its announced segments change, and swaps it in; workers
//! load it once per batch. Flood lists are ready-made, so that flooding is a walk over two slices.

use std::collections::BTreeMap;

use super::port::PortRule;
use crate::place::{PeerId, PortId};
use crate::wire::ethernet::Mac;
use crate::wire::segment::SegmentId;

/// A port of this member.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its number: its index in the layout.
    pub id: PortId,
    /// The segment it is in.
    pub segment: SegmentId,
    /// What it does with tags.
    pub rule: PortRule,
    /// Its own MAC address.
    pub mac: Mac,
}

/// A segment as this member sees it.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    /// Our ports in it.
    pub ports: Vec<PortId>,
    /// The connected peers with ports in it: who gets floods.
    pub peers: Vec<PeerId>,
    /// The peers that the configuration keeps out, sorted.
    pub refused: Vec<PeerId>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    ports: Vec<Port>,
    domains: BTreeMap<SegmentId, Domain>,
}

impl Layout {
    /// A layout of these ports, numbered as they stand, and of no peers.
    pub fn new(ports: Vec<Port>) -> Self {
        let mut domains: BTreeMap<SegmentId, Domain> = BTreeMap::new();
        for port in &ports {
            domains.entry(port.segment).or_default().ports.push(port.id);
        }
        Layout { ports, domains }
    }

    /// Sets which peers a segment's floods go to, and which may not take part in it.
    pub fn set_peers(&mut self, segment: SegmentId, peers: Vec<PeerId>, mut refused: Vec<PeerId>) {
        if let Some(domain) = self.domains.get_mut(&segment) {
            refused.sort_unstable();
            domain.peers = peers;
            domain.refused = refused;
        }
    }

    /// A port by its number.
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id.0))
    }

    /// All ports.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// A segment in which we have a port.
    pub fn domain(&self, segment: SegmentId) -> Option<&Domain> {
        self.domains.get(&segment)
    }

    /// The segments in which we have ports.
    pub fn segments(&self) -> Vec<SegmentId> {
        self.domains.keys().copied().collect()
    }

    /// Whether a MAC is one of our ports'.
    pub fn is_own(&self, mac: Mac) -> bool {
        self.ports.iter().any(|p| p.mac == mac)
    }
}
