//! How peers are reached, and what is known of the network, as the control objects show it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::assemble::Member;
use super::view::round_trip;
use crate::api::{NetView, PathView, RelayView};
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Kind, Peer};
use crate::node::legs::Rank;
use crate::time::Instant;

impl Member {
    /// All ways to all peers, and the places where they are looked for.
    pub(super) fn path_views(&self, now: Instant) -> Vec<PathView> {
        let peers = self.node.peers().iter();
        let is_looked_for = |p: &&Peer| matches!(p.settings.kind, Kind::Member | Kind::Relay);
        let others = peers.filter(is_looked_for);
        others.flat_map(|peer| self.paths_of(peer, now)).collect()
    }

    fn paths_of(&self, peer: &Peer, now: Instant) -> Vec<PathView> {
        let used = peer.path.endpoint().filter(|_| peer.up_since.is_some());
        let mut views: Vec<PathView> = used
            .iter()
            .map(|way| PathView {
                state: "in use".into(),
                rtt_us: round_trip(peer),
                loss_ppm: Some(peer.loss.ppm()),
                mtu: Some(peer.path.mtu()),
                since_s: Some(now.since(peer.path.since()).as_secs()),
                ..self.path(peer, way)
            })
            .collect();
        let is_other = |way: &Endpoint| used.is_none_or(|used| !used.is_same_way(way));
        let ready = self.node.ways(peer.id).into_iter();
        let (relayed, known): (Vec<_>, Vec<_>) =
            ready.filter(is_other).partition(|w| w.channel.is_some());
        for way in relayed {
            views.push(PathView {
                state: "ready".into(),
                ..self.path(peer, &way)
            });
        }
        let search = &peer.places.search;
        let asked: BTreeSet<SocketAddr> = search.candidates().iter().copied().collect();
        let is_asked = |address: &SocketAddr| search.next_at().is_some() && asked.contains(address);
        let told = asked.iter().map(|address| Endpoint::to(*address));
        let mut seen = BTreeSet::new();
        for way in known.into_iter().chain(told).filter(is_other) {
            if seen.insert(way.remote) {
                let state = if is_asked(&way.remote) {
                    "asked"
                } else {
                    "known"
                };
                views.push(PathView {
                    state: state.into(),
                    ..self.path(peer, &way)
                });
            }
        }
        views
    }

    fn path(&self, peer: &Peer, way: &Endpoint) -> PathView {
        let by = match self.node.rank(way) {
            Rank::Direct => "udp".into(),
            Rank::Carried(carrier) => carrier.to_string(),
            Rank::Relayed => {
                let relays = self.node.peers().iter();
                let mut relays = relays.filter(|p| p.serves());
                let is_there =
                    |p: &&Peer| p.path.endpoint().is_some_and(|e| e.remote == way.remote);
                let relay = relays.find(is_there);
                relay.map_or("relay".into(), |relay| self.peer_name(relay.id))
            }
        };
        PathView {
            peer: self.peer_name(peer.id),
            by,
            address: self.carriers.name(way.remote),
            ..PathView::default()
        }
    }

    /// What is known of the network that we are in.
    pub(super) fn net_view(&self) -> NetView {
        let (local, observed) = self.node.seen_at();
        let relays = self.node.peers().iter();
        let relays: Vec<&Peer> = relays.filter(|p| p.serves()).collect();
        let ranks: Vec<Rank> = relays
            .iter()
            .filter_map(|p| self.node.rank_of(p.id))
            .collect();
        let udp = match (ranks.is_empty(), ranks.contains(&Rank::Direct)) {
            (true, _) => "unknown",
            (_, true) => "yes",
            _ => "no",
        };
        let all = |seen: &[(crate::place::PeerId, SocketAddr)]| {
            seen.iter().map(|(_, address)| *address).collect()
        };
        let (seen, again): (Vec<SocketAddr>, Vec<SocketAddr>) =
            (all(observed), all(self.node.seen_again()));
        NetView {
            udp: udp.into(),
            nat: nat(local, (&seen, &again), self.node.counts_ports()).into(),
            addresses: local.iter().map(ToString::to_string).collect(),
            mapped: self.node.mapped().map(|a| a.to_string()),
            relays: relays.into_iter().map(|p| self.relay_view(p)).collect(),
        }
    }

    fn relay_view(&self, relay: &Peer) -> RelayView {
        let (_, observed) = self.node.seen_at();
        let seen = observed.iter().find(|(id, _)| *id == relay.id);
        let through = self.node.peers().iter();
        let through = through.filter(|p| self.node.relay_of(p) == Some(relay.id));
        RelayView {
            name: self.peer_name(relay.id),
            state: match (relay.up_since, &relay.attempt) {
                (Some(_), _) => "up",
                (None, Some(_)) => "connecting",
                (None, None) => "down",
            }
            .into(),
            endpoint: relay.path.endpoint().map(|e| self.carriers.name(e.remote)),
            rtt_us: round_trip(relay),
            mtu: relay.up_since.map(|_| relay.path.mtu()),
            observed: seen.map(|(_, address)| address.to_string()),
            peers: through.filter(|p| p.up_since.is_some()).count(),
        }
    }
}

/// What our own addresses and those that relays see say of a NAT between (RFC 4787 section 4). Never from equal ports alone:
/// a NAT may keep them by chance.
fn nat(
    local: &[SocketAddr],
    (seen, again): (&[SocketAddr], &[SocketAddr]),
    counts: bool,
) -> &'static str {
    let own = |address: &SocketAddr| local.contains(address);
    let outside: Vec<&SocketAddr> = seen.iter().filter(|a| !own(a)).collect();
    // A relay's two ports have one address: alike they prove little, unlike they prove it.
    let all = seen.iter().chain(again).filter(|a| !own(a));
    let (v4, v6): (Vec<_>, Vec<_>) = all.partition(|a| a.is_ipv4());
    let differs = |all: &[&SocketAddr]| all.windows(2).any(|w| w.first() != w.get(1));
    match (seen.len(), outside.len()) {
        (0, _) => "unknown: no relay has told where it sees us",
        (_, 0) => "none: relays see our own address",
        _ if counts => {
            "a NAT with the next port for each destination: direct ways only to peers whose NAT lets them in or keeps one port"
        }
        _ if differs(&v4) || differs(&v6) => {
            "a NAT with another port for each destination: direct ways only to peers whose NAT lets them in"
        }
        (_, 1) => "a NAT; a second relay would tell whether it keeps one port for all destinations",
        _ => "a NAT with one port for all destinations: direct ways can be found",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_nat_are_told_by_what_relays_see() {
        let all = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|t| t.parse().unwrap()).collect()
        };
        let local = all(&["10.0.0.1:7656"]);
        for (seen, starts) in [
            (&[][..], "unknown"),
            (&["10.0.0.1:7656"], "none"),
            (&["192.0.2.1:7656"], "a NAT; a second"),
            (&["192.0.2.1:7656", "192.0.2.1:7656"], "a NAT with one"),
            (&["192.0.2.1:7656", "192.0.2.1:7657"], "a NAT with another"),
            (&["10.0.0.1:7656", "192.0.2.1:7657"], "a NAT; a second"),
            (&["192.0.2.1:7656", "[2001:db8::1]:1"], "a NAT with one"),
        ] {
            let told = nat(&local, (&all(seen), &[]), false);
            assert!(told.starts_with(starts), "{seen:?}: {told}");
        }
        let next = all(&["192.0.2.1:7656", "192.0.2.1:7657"]);
        assert!(nat(&local, (&next, &[]), true).starts_with("a NAT with the next"));
        let [one, other] = [0, 1].map(|n| &next[n..=n]);
        let told = |again| nat(&local, (one, again), false);
        assert!(told(one).starts_with("a NAT; a second"), "by its address");
        assert!(told(other).starts_with("a NAT with another"));
    }
}
