//! The running member as the control objects show it.

use std::collections::HashMap;

use super::admin::id_text;
use super::assemble::Member;
use crate::api::{
    self, BulkView, CarriedView, MannerView, OldKeyView, PeerView, PortView, SecrecyView, Snapshot,
    TableView, TransferView, WayView,
};
use crate::io::clock;
use crate::mesh::peer::{Kind, Pass, Peer};
use crate::noise::keyring::Session;
use crate::place::Place;
use crate::switch::port::PortRule;
use crate::time::Instant;
use crate::wire::offer::Abilities;

impl Member {
    /// Everything that `show` may print.
    pub(super) fn snapshot(&self, started: Instant, now: Instant) -> Snapshot {
        let plane = &self.outside.plane;
        let entries = plane.switch.table.entries(now);
        let mut macs: HashMap<Place, usize> = HashMap::new();
        for entry in &entries {
            *macs.entry(entry.place).or_default() += 1;
        }
        let (moves, evictions) = plane.switch.table.moves_and_evictions();
        let listen = self.outside.lanes.first().map(|l| l.bulk.local_address());
        Snapshot {
            version: api::VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            name: self.config.name.clone(),
            public_key: self.node.public().to_string(),
            old_key: self.old_key(),
            network: self.network_view(),
            pid: std::process::id(),
            uptime_s: now.since(started).as_secs(),
            listen: match listen {
                Some(Ok(address)) => address.to_string(),
                _ => self.config.listen.to_string(),
            },
            workers: self.outside.lanes.len(),
            trains: self.trains().into(),
            ports: self.port_views(),
            peers: self
                .node
                .peers()
                .iter()
                .filter(|p| !p.is_vacant())
                .map(|p| self.peer(p, &macs, now))
                .collect(),
            channels: plane.crossings(),
            table: TableView {
                entries: entries.len(),
                limit: self.config.table.total,
                moves,
                evictions,
            },
            drops: plane
                .drops
                .nonzero()
                .map(|(reason, count)| (reason.name().to_string(), count))
                .collect(),
        }
    }

    fn trains(&self) -> &'static str {
        let lanes = &self.outside.lanes;
        let out = lanes.iter().all(|l| l.bulk.max_train() > 1);
        let into = lanes.iter().all(|l| l.bulk.receives_trains());
        match (out, into) {
            (true, true) => "both ways",
            (true, false) => "out",
            (false, true) => "in",
            (false, false) => "neither",
        }
    }

    fn port_views(&self) -> Vec<PortView> {
        let layout = self.outside.plane.switch.layout();
        let views = self.ports.iter().map(|(id, open)| {
            let (port, tap) = (&open.config, &open.tap);
            let (offloads, offload_limits) = tap.offloads();
            let (mode, vlans, native) = match &port.rule {
                PortRule::Access(vid) => ("access", vid.to_string(), None),
                PortRule::Trunk { allowed, native } => (
                    "trunk",
                    allowed
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    native.map(|v| v.get()),
                ),
                PortRule::Qinq(vid) => ("qinq", vid.to_string(), None),
                PortRule::Translate(map) => ("translate", map.to_string(), None),
            };
            PortView {
                tap: port.tap.clone(),
                segment: self.segment_name(port.segment),
                segment_id: port.segment.get(),
                mode: mode.into(),
                vlans,
                native,
                mtu: port.mtu,
                mac: open.mac.to_string(),
                bridge: port.bridge.clone(),
                state: if tap.is_gone() { "removed" } else { "open" }.into(),
                carrier: !tap.is_gone()
                    && layout
                        .domain(port.segment)
                        .is_some_and(|d| !d.peers.is_empty()),
                offloads: offloads.into_iter().map(Into::into).collect(),
                offload_limits,
                queues: tap.queues(),
                queue_drops: open.queue_drops,
                manner: MannerView {
                    isolated: port.is_isolated,
                    loop_guard: port.guards_loops,
                    blocked: layout.port(id).is_some_and(|p| p.is_blocked),
                    bridge_warnings: open.bridge_warnings.clone(),
                },
            }
        });
        views.collect()
    }

    fn way(&self, peer: &Peer, now: Instant) -> WayView {
        let relay = self.node.relay_of(peer);
        let is_up = peer.up_since.is_some();
        let kind = match peer.settings.kind {
            Kind::Member => "member",
            Kind::Relay => "relay",
            Kind::Client => "client",
            Kind::Vacant => "gone",
        };
        WayView {
            kind: kind.into(),
            member: match peer.settings.pass {
                Pass::Record(recorded) => Some(id_text(&recorded.member)),
                _ => None,
            },
            record_s: match peer.settings.pass {
                Pass::Record(recorded) => Some(
                    recorded
                        .term
                        .not_after
                        .saturating_sub(clock::wall().as_secs()),
                ),
                _ => None,
            },
            via: relay.map(|relay| self.peer_name(relay)),
            why_relayed: relay.map(|_| peer.places.search.why().into()),
            throttled: peer.places.throttled,
            carried: self.carried(peer),
            rtt_us: round_trip(peer),
            way_s: is_up.then(|| now.since(peer.path.since()).as_secs()),
        }
    }

    /// What this one has carried for a member, if it relays.
    fn carried(&self, peer: &Peer) -> Option<CarriedView> {
        self.config.relaying.as_ref()?;
        let (packets, bytes, over) = peer.link.carried.get();
        let is_client = peer.settings.kind != Kind::Relay;
        is_client.then(|| CarriedView {
            channels: self.node.channels_of(peer.id),
            packets,
            bytes,
            over,
        })
    }

    /// Our key before the last rotation, while it is good.
    fn old_key(&self) -> Option<OldKeyView> {
        let retiring = self.config.own.retiring.as_ref()?;
        let left = retiring.until.checked_sub(clock::wall())?;
        let former = self.node.names().former?;
        Some(OldKeyView {
            public_key: former.to_string(),
            left_s: left.as_secs(),
        })
    }

    /// Whose old key a session was made with.
    fn old_key_of(&self, peer: &Peer, session: &Session) -> Option<String> {
        let ours = session.between.ours != self.node.public();
        let its = session.between.theirs != peer.settings.key.current;
        let whose = match (ours, its) {
            (true, true) => "both",
            (true, false) => "ours",
            (false, true) => "its",
            (false, false) => return None,
        };
        Some(whose.into())
    }

    fn bulk(&self, peer: &Peer) -> BulkView {
        let framing = peer.keyring.current().map(|s| {
            let pieces = s.abilities.has(Abilities::PIECES);
            let framing = match (pieces, peer.loss.is_lossy()) {
                (false, _) => "packets",
                (true, false) => "whole",
                (true, true) => "aligned",
            };
            framing.into()
        });
        BulkView {
            framing,
            loss_ppm: peer.loss.ppm(),
        }
    }

    fn peer(&self, peer: &Peer, macs: &HashMap<Place, usize>, now: Instant) -> PeerView {
        let session = peer.keyring.current();
        let heard = peer.link.activity.heard.get();
        let (rx_frames, rx_bytes) = peer.link.activity.rx.get();
        let (tx_frames, tx_bytes) = peer.link.activity.tx.get();
        let endpoint = peer.path.endpoint();
        let state = match (peer.up_since, &peer.attempt) {
            (Some(_), _) => "up",
            (None, Some(_)) => "connecting",
            (None, None) => "down",
        };
        let ids = session
            .iter()
            .flat_map(|s| s.segments.iter().map(|(id, _)| *id));
        let taken: Vec<_> = ids
            .filter_map(|id| Some((self.segment_name(id), peer.vlans_in(id)?)))
            .collect();
        PeerView {
            name: peer.settings.name.clone(),
            public_key: peer.settings.key.current.to_string(),
            way: self.way(peer, now),
            state: state.into(),
            endpoint: endpoint.map(|e| self.carriers.name(e.remote)),
            known: peer.places.known.iter().map(ToString::to_string).collect(),
            secrecy: SecrecyView {
                suite: session.map(|s| s.suite.name().into()),
                post_quantum: session.and_then(|s| s.kem).map(|set| set.name().into()),
                handshake_s: session.map(|s| s.age(now).as_secs()),
                old_key: session.and_then(|s| self.old_key_of(peer, s)),
            },
            up_s: peer.up_since.map(|at| now.since(at).as_secs()),
            heard_s: (heard != Instant::ZERO).then(|| now.since(heard).as_secs()),
            mtu: peer.path.mtu(),
            bulk: self.bulk(peer),
            segments: taken.iter().map(|(name, _)| name.clone()).collect(),
            vlans: taken
                .iter()
                .filter(|(_, vlans)| !vlans.is_everything())
                .map(|(name, vlans)| (name.clone(), vlans.to_string()))
                .collect(),
            macs: macs.get(&Place::Peer(peer.id)).copied().unwrap_or(0),
            transfer: TransferView {
                rx_frames,
                rx_bytes,
                tx_frames,
                tx_bytes,
            },
        }
    }
}

/// The smoothed round trip to a connected peer, in microseconds.
pub(super) fn round_trip(peer: &Peer) -> Option<u64> {
    peer.up_since?;
    let trip = peer.path.round_trip().get()?;
    u64::try_from(trip.as_micros()).ok()
}
