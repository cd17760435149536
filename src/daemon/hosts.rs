//! The hosts behind ports and peers as the control objects show them: MACs, addresses, VLANs.

use super::assemble::Member;
use crate::api::{Answer, MacFilter, MacView, NeighborView, VlanView};
use crate::config::pins::parse_class;
use crate::mesh::peer::Peer;
use crate::place::{PeerId, Place, PortId};
use crate::switch::counters::Passed;
use crate::switch::groups::Subject;
use crate::switch::table::{Key, Learned};
use crate::time::Instant;
use crate::wire::ethernet::{Frame, Mac};
use crate::wire::offload::Offload;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

impl Member {
    /// The forwarding table, as far as it fits a filter.
    pub(super) fn mac_views(&self, filter: &MacFilter, now: Instant) -> Answer {
        let meant = match self.meant(filter) {
            Ok(meant) => meant,
            Err(message) => return Answer::Error(message),
        };
        let table = &self.outside.plane.switch.table;
        let all = table.entries(now).into_iter();
        let views = all.filter(|l| meant(l.key, l.place)).map(|learned| {
            let (kind, place) = self.place_name(learned.place);
            let segment = SegmentId::new(learned.key.segment());
            MacView {
                segment: segment.map(|s| self.segment_name(s)).unwrap_or_default(),
                vlan: learned.key.class().to_string(),
                mac: learned.key.mac().to_string(),
                kind: kind.into(),
                place,
                idle_s: learned.idle.as_secs(),
                moves: learned.moves,
                held: learned.home.is_held(),
                pinned: learned.home.is_pinned(),
                told: learned.home.is_told(),
            }
        });
        Answer::Macs(views.collect())
    }

    /// Every VLAN in which anything is or passed.
    pub(super) fn vlan_views(&self, now: Instant) -> Vec<VlanView> {
        let switch = &self.outside.plane.switch;
        let (layout, macs) = (switch.layout(), switch.table.entries(now));
        let groups = switch.groups.entries();
        let mut views = Vec::new();
        for segment in layout.segments() {
            let Some(domain) = layout.domain(segment) else {
                continue;
            };
            let passed = domain.counters.all();
            let in_it = |l: &&Learned| l.key.segment() == segment.get();
            let mut classes: Vec<VlanClass> = passed.iter().map(|(class, _)| *class).collect();
            classes.extend(macs.iter().filter(in_it).map(|l| l.key.class()));
            // A list of all 4094 VLANs of an open trunk helps nobody; what a configuration names does.
            if !domain.vlans.is_everything() {
                let named = (0..0x2000).map(VlanClass::from_bits);
                classes.extend(named.filter(|c| domain.vlans.contains(*c)).take(256));
            }
            classes.sort_unstable();
            classes.dedup();
            for class in classes {
                let found = passed.iter().find(|(c, _)| *c == class);
                let passed = found.map(|(_, p)| *p).unwrap_or_default();
                let is_here = |k: &Key| k.segment() == segment.get() && k.class() == class;
                let mut view = self.vlan_view((segment, class), passed);
                view.macs = macs.iter().filter(|l| is_here(&l.key)).count();
                for (subject, places) in &groups {
                    match subject {
                        Subject::Group(key) if is_here(key) => view.groups += 1,
                        Subject::Querier(s, c, _) if (*s, *c) == (segment, class) => {
                            let names = places.iter().map(|p| self.place_name(*p).1);
                            view.queriers.extend(names);
                        }
                        _ => {}
                    }
                }
                view.queriers.dedup();
                views.push(view);
            }
        }
        views
    }

    fn vlan_view(&self, (segment, class): (SegmentId, VlanClass), passed: Passed) -> VlanView {
        let layout = self.outside.plane.switch.layout();
        let domain = layout.domain(segment);
        let ports = domain.iter().flat_map(|d| d.ports.iter());
        let ports = ports.filter(|id| layout.port(**id).is_some_and(|p| p.rule.carries(class)));
        let peers = domain.iter().flat_map(|d| d.peers.iter());
        let peers = peers.filter(|m| m.vlans.contains(class));
        VlanView {
            segment: self.segment_name(segment),
            vlan: class.to_string(),
            ports: ports
                .map(|id| self.place_name(Place::Port(*id)).1)
                .collect(),
            peers: peers.map(|m| self.peer_name(m.peer)).collect(),
            port_frames: passed.port_frames,
            port_bytes: passed.port_bytes,
            peer_frames: passed.peer_frames,
            peer_bytes: passed.peer_bytes,
            floods: passed.floods,
            drops: passed.drops,
            ..VlanView::default()
        }
    }

    /// The addresses that are known.
    pub(super) fn neighbor_views(&self, now: Instant) -> Vec<NeighborView> {
        let neighbors = &self.outside.plane.switch.neighbors;
        let views = neighbors.entries(now).into_iter().map(|n| {
            let (kind, place) = self.place_name(n.place);
            NeighborView {
                segment: self.segment_name(n.address.segment),
                vlan: n.address.class.to_string(),
                ip: n.address.ip.to_string(),
                mac: n.binding.mac.to_string(),
                kind: kind.into(),
                place,
                told: n.is_told,
                router: n.binding.is_router == Some(true),
                idle_s: n.idle.as_secs(),
            }
        });
        views.collect()
    }

    /// Forgets MACs and addresses.
    pub(super) fn flush(&mut self, filter: &MacFilter, now: Instant) -> Answer {
        let meant = match self.meant(filter) {
            Ok(meant) => meant,
            Err(message) => return Answer::Error(message),
        };
        Answer::Flushed(self.node.flush_macs(meant, now))
    }

    /// Whether a MAC fits a filter.
    fn meant(&self, filter: &MacFilter) -> Result<impl Fn(Key, Place) -> bool + use<>, String> {
        let segment = filter.segment.as_ref().map(|name| {
            let known = self.config.segments.iter().find(|s| s.name == *name);
            known
                .map(|s| s.id.get())
                .ok_or(format!("there is no segment \"{name}\""))
        });
        let class = filter.vlan.as_ref().map(|text| {
            parse_class(text).ok_or(format!("\"{text}\" is no VLAN: write 20, s100 or untagged"))
        });
        let peer = filter
            .peer
            .as_ref()
            .map(|name| self.named_peer(name).map(Place::Peer));
        let port = filter.port.as_ref().map(|name| {
            let known = self.ports.named(name);
            known
                .map(|(id, _)| Place::Port(id))
                .ok_or(format!("there is no port \"{name}\""))
        });
        let (segment, class) = (segment.transpose()?, class.transpose()?);
        let (peer, port) = (peer.transpose()?, port.transpose()?);
        Ok(move |key: Key, place: Place| {
            segment.is_none_or(|s| key.segment() == s)
                && class.is_none_or(|c| key.class() == c)
                && peer.is_none_or(|p| p == place)
                && port.is_none_or(|p| p == place)
        })
    }

    /// Sends a frame by a port of ours.
    pub(super) fn emit(&self, port: PortId, frame: &[u8]) {
        let open = self.ports.get(port);
        let (Some(open), Ok(frame)) = (open, Frame::parse(frame)) else {
            return;
        };
        let sent = open
            .tap
            .send(0, (&frame.parts, &Offload::NONE), &mut Vec::new());
        if let Err(error) = sent {
            let reason = crate::io::process::port_failure(&error);
            self.outside.plane.drops.count(reason);
        }
    }

    /// `port` or `peer`, and its name.
    pub(super) fn place_name(&self, place: Place) -> (&'static str, String) {
        match place {
            Place::Port(port) => {
                let port = self.ports.get(port);
                let tap = port.map(|p| p.config.tap.clone());
                ("port", tap.unwrap_or_default())
            }
            Place::Peer(peer) => ("peer", self.peer_name(peer)),
        }
    }

    pub(super) fn peer_name(&self, id: PeerId) -> String {
        let peer = self.node.peers().get(id.0 as usize);
        peer.map(|p| p.settings.name.clone()).unwrap_or_default()
    }

    pub(super) fn segment_name(&self, id: SegmentId) -> String {
        let known = self.config.segments.iter().find(|s| s.id == id);
        known.map_or_else(|| id.to_string(), |s| s.name.clone())
    }

    fn named_peer(&self, name: &str) -> Result<PeerId, String> {
        let peers = self.node.peers();
        let is_it = |p: &&Peer| p.settings.name == name && !p.is_vacant();
        let by_name = peers.iter().find(is_it).map(|p| p.id);
        let by_key = || name.parse().ok().and_then(|key| self.node.find(&key));
        by_name
            .or_else(by_key)
            .ok_or(format!("there is no peer \"{name}\""))
    }

    /// The peer that a user means: by name, key, or a MAC behind it, in a VLAN if several have it.
    pub(super) fn find_peer(
        &self,
        (target, vlan): (&str, Option<&str>),
        now: Instant,
    ) -> Result<PeerId, String> {
        let class = match vlan {
            Some(text) => Some(parse_class(text).ok_or(format!("\"{text}\" is no VLAN"))?),
            None => None,
        };
        let Ok(mac) = target.parse::<Mac>() else {
            let peer = self.named_peer(target)?;
            return match class {
                Some(class) if !self.carries(peer, class) => {
                    Err(format!("{target} has no port in VLAN {class}"))
                }
                _ => Ok(peer),
            };
        };
        let entries = self.outside.plane.switch.table.entries(now);
        let in_vlan = |l: &&Learned| class.is_none_or(|c| l.key.class() == c);
        let places = entries
            .iter()
            .filter(|l| l.key.mac() == mac)
            .filter(in_vlan)
            .map(|l| l.place);
        let vlan = class.map(|c| format!(" in VLAN {c}")).unwrap_or_default();
        match places.max() {
            Some(Place::Peer(id)) => Ok(id),
            Some(Place::Port(_)) => Err(format!("{mac} is behind a port of this member{vlan}")),
            None => Err(format!(
                "{mac} is not known{vlan}: no frame of it was seen lately"
            )),
        }
    }

    /// Whether a peer has a port in a VLAN of any segment.
    fn carries(&self, peer: PeerId, class: VlanClass) -> bool {
        let layout = self.outside.plane.switch.layout();
        let segments = layout.segments();
        segments.into_iter().any(|s| {
            let member = layout.domain(s).and_then(|d| d.member(peer));
            member.is_some_and(|m| m.vlans.contains(class))
        })
    }
}
