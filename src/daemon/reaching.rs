//! Where peers may be, and where we are: resolved names, carriers, beacons, and the addresses of this host.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use tokio::sync::mpsc::Sender;

use super::assemble::Member;
use super::carriers::News;
use super::ears::Ears;
use super::event_loop::EventLoop;
use super::peers::PeerChanges;
use super::resolve::{self, Resolved};
use crate::config::{PeerKind, PortConfig};
use crate::io::beacon::Near;
use crate::io::clock;
use crate::io::mapping;
use crate::keys::PrivateKey;
use crate::place::PeerId;
use crate::time::Instant;

impl Member {
    /// The task that keeps a port of the router leading to ours, if members may have to reach us there.
    pub(super) fn map_port(
        &self,
        tell: Sender<Option<SocketAddr>>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let has_members = self.config.peers.iter().any(|p| p.kind == PeerKind::Member);
        let lane = self.outside.lanes.first()?;
        let port = lane.bulk.local_address().ok()?.port();
        let port = NonZeroU16::new(port)?;
        let [a, b, c, _] = nonce_of(self.config.own.key());
        let nonce = [a, b, c];
        (self.config.reach.maps_port && has_members).then(|| mapping::keep(port, nonce, tell))
    }
}

impl EventLoop {
    /// Looks for all peers where the configuration says, and lets ourselves be found.
    pub(super) async fn start_reaching(&mut self) {
        let now = clock::now();
        let all: Vec<_> = self.member.numbered().map(|(id, _)| id).collect();
        self.look_for(&all, now);
        self.look_at_addresses().await;
        self.start_beacons(now);
        if let Some(second) = &self.ears.second {
            self.member.node.start_looking(second.port());
        }
    }

    /// Tells the node where these peers are, as the configuration has it.
    fn look_for(&mut self, peers: &[PeerId], now: Instant) {
        let known = self.member.numbered().filter(|(id, _)| peers.contains(id));
        let known: Vec<_> = known.map(|(id, p)| (id, resolve::literal(p))).collect();
        for (id, addresses) in known {
            self.tell_places(id, addresses, now);
        }
    }

    /// Peers have come, gone, or are somewhere else, as a changed configuration says.
    pub(super) async fn look_anew(&mut self, changes: &PeerChanges) {
        for id in &changes.vacant {
            self.addresses.remove(id);
        }
        let peers = self.member.numbered();
        let peers = peers.map(|(id, peer)| (id, peer.clone())).collect();
        let Member {
            carriers, config, ..
        } = &mut self.member;
        carriers.call_only(peers, config).await;
        self.resolvers = self.resolvers.again(self.member.numbered());
        let now = clock::now();
        self.look_for(&changes.ids, now);
        if self.ears.beacons.is_none() {
            self.ears.beacons = Ears::beacons(&self.member.config);
            self.start_beacons(now);
        }
    }

    /// Our own addresses, where others may reach us: not those of the overlay.
    pub(super) async fn look_at_addresses(&mut self) {
        let Member {
            links,
            ports,
            outside,
            ..
        } = &self.member;
        let own = ports.iter().flat_map(|(_, port)| {
            let PortConfig { tap, bridge, .. } = &port.config;
            std::iter::once(tap.clone()).chain(bridge.clone())
        });
        let own: Vec<String> = own.collect();
        let excluded = &self.member.config.reach.excluded;
        let listen = outside
            .lanes
            .first()
            .and_then(|l| l.bulk.local_address().ok());
        let (Some(listen), Ok(all)) = (listen, links.addresses(&own, excluded).await) else {
            return;
        };
        let fits = |ip: &IpAddr| match listen.ip() {
            bound if bound.is_unspecified() => bound.is_ipv6() || ip.is_ipv4(),
            bound => bound == *ip,
        };
        let all: Vec<Near> = all.into_iter().filter(|n| fits(&n.address)).collect();
        let addresses = all
            .iter()
            .map(|n| SocketAddr::new(n.address, listen.port()));
        let now = clock::now();
        self.member
            .node
            .set_local_addresses(addresses.collect(), now);
        if let Some(beacons) = &mut self.ears.beacons {
            beacons.set_near(all);
        }
    }

    /// Looks for members on the same LAN, if there is anybody to look for.
    fn start_beacons(&mut self, now: Instant) {
        let lanes = &self.member.outside.lanes;
        let listen = lanes.first().and_then(|l| l.bulk.local_address().ok());
        if let (Some(_), Some(listen)) = (&self.ears.beacons, listen) {
            self.member.node.start_beacons(listen.port(), now);
        }
    }

    pub(super) fn resolved(&mut self, found: Resolved) {
        if found.generation != self.resolvers.generation {
            return;
        }
        let now = clock::now();
        for failure in &found.failures {
            if self.gate.opens(found.peer, "resolve", now) {
                tracing::warn!(peer = self.member.peer_name(found.peer), "{failure}");
            }
        }
        if !found.addresses.is_empty() {
            self.tell_places(found.peer, found.addresses, now);
        }
    }

    /// Tells the node where a peer may be found: at these addresses, and at the legs to it.
    fn tell_places(&mut self, peer: PeerId, addresses: Vec<SocketAddr>, now: Instant) {
        let legs = self.member.carriers.legs_to(peer);
        let all = legs.chain(addresses.iter().copied()).collect();
        self.member.node.set_endpoints(peer, all, now);
        self.addresses.insert(peer, addresses);
    }

    #[cfg(feature = "quic")]
    pub(super) fn carrier_news(&mut self, news: News) {
        let now = clock::now();
        let Member { carriers, node, .. } = &mut self.member;
        let peer = match news {
            News::Up(peer, leg) => {
                let (carrier, remote) = (leg.carrier, leg.remote);
                tracing::debug!("{carrier} with {remote}");
                carriers.take((peer, leg), node);
                peer
            }
            News::Ended(address) => {
                let peer = carriers.end(address);
                node.remove_leg(address, now);
                peer
            }
        };
        if let Some(peer) = peer {
            let known = self.addresses.get(&peer).cloned().unwrap_or_default();
            self.tell_places(peer, known, now);
        }
    }

    #[cfg(not(feature = "quic"))]
    pub(super) fn carrier_news(&mut self, news: News) {
        match news {}
    }

    /// Those who called and did not prove who they are get no more of our time.
    pub(super) fn dismiss_strangers(&mut self) {
        let Member { carriers, node, .. } = &mut self.member;
        for address in carriers.strangers(node) {
            carriers.end(address);
            node.remove_leg(address, clock::now());
        }
    }
}

/// What routers know our mappings by.
fn nonce_of(key: &PrivateKey) -> [u32; 4] {
    let bytes = key.derived(b"l2vpn port mapping v1");
    let (words, _) = bytes.as_chunks::<4>();
    let mut nonce = [0; 4];
    for (to, word) in nonce.iter_mut().zip(words) {
        *to = u32::from_le_bytes(*word);
    }
    nonce
}
