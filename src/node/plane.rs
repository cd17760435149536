//! What all threads of a member share: the switch, the links, the table of receiver indices, the counters.
//!
//! Readers take no lock. The control side is the only writer of links, layout and receiver indices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use papaya::Guard as _;

use crate::drops::Drops;
use crate::mesh::link::{Link, Moment};
use crate::mesh::meter::{Meter, Rate};
use crate::mesh::path::Endpoint;
use crate::noise::session::RecvHalf;
use crate::place::{PeerId, Place};
use crate::switch::decide::Switch;
use crate::time::Instant;
use crate::wire::probe::Probe;
use crate::wire::relayed::Channel;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// The receiving end of one session.
pub struct Inlet {
    /// The index that packets name.
    pub index: u32,
    /// Whose packets.
    pub link: Arc<Link>,
    /// Opens them.
    pub recv: RecvHalf,
    /// Whether the control side knows that a packet of this session was opened.
    heard: AtomicBool,
    /// When the last [`Note::Moved`] was made for it.
    pub moved: Moment,
    /// How many messages go to the control side.
    pub messages: PerSecond,
}

impl Inlet {
    /// The receiving end of a session that nobody has used yet.
    pub fn new(index: u32, link: Arc<Link>, recv: RecvHalf) -> Self {
        Inlet {
            index,
            link,
            recv,
            heard: AtomicBool::new(false),
            moved: Moment::default(),
            messages: PerSecond::default(),
        }
    }

    /// Whether the control side knows that a packet was opened.
    pub fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Notes that it does.
    pub fn mark_heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }
}

/// Lets a number of messages through in each second: the queue to the control side is shared by all peers.
#[derive(Default)]
pub struct PerSecond {
    /// The second in the upper half, the count in the lower.
    state: AtomicU64,
}

impl PerSecond {
    /// Messages in one second.
    pub const MOST: u64 = 100;

    /// Whether one more may pass now.
    pub fn admit(&self, now: Instant) -> bool {
        self.admit_most(Self::MOST, now)
    }

    /// The same for so many in a second.
    pub fn admit_most(&self, most: u64, now: Instant) -> bool {
        let second = (now.as_micros() / 1_000_000) << 32;
        let seen = self.state.load(Ordering::Relaxed);
        let count = if seen & !0xffff_ffff == second {
            seen & 0xffff_ffff
        } else {
            0
        };
        // Threads that race here let a message more through, not a second's worth.
        self.state.store(second | (count + 1), Ordering::Relaxed);
        count < most
    }
}

/// Places that share an allowance are so many apart.
const ALLOWANCES: usize = 256;

/// Probes that go to the control side: a host or member that sends too many makes the guard blind for its own only.
pub struct ProbeAllowance {
    ports: [PerSecond; ALLOWANCES],
    peers: [PerSecond; ALLOWANCES],
}

impl Default for ProbeAllowance {
    fn default() -> Self {
        let new = || std::array::from_fn(|_| PerSecond::default());
        ProbeAllowance {
            ports: new(),
            peers: new(),
        }
    }
}

impl ProbeAllowance {
    /// Whether one more from this place may pass now.
    pub fn admit(&self, place: Place, now: Instant) -> bool {
        let (all, number) = match place {
            Place::Port(port) => (&self.ports, usize::from(port.0)),
            Place::Peer(peer) => (&self.peers, peer.0 as usize),
        };
        let one = all.get(number % ALLOWANCES);
        one.is_some_and(|allowance| allowance.admit(now))
    }
}

/// What all threads of a member share.
pub struct Plane {
    /// Who gets a frame.
    pub switch: Switch,
    /// Why frames and datagrams were dropped.
    pub drops: Drops,
    /// How many probes go to the control side.
    pub probes: ProbeAllowance,
    links: ArcSwap<Vec<Arc<Link>>>,
    inlets: papaya::HashMap<u32, Arc<Inlet>>,
    crossings: papaya::HashMap<u32, Arc<Crossing>>,
    /// What we carry for others.
    pub relaying: RelayLoad,
}

/// What a relay carries for all, and how much it may.
#[derive(Default)]
pub struct RelayLoad {
    /// What was carried.
    pub meter: Meter,
    /// How many members have sent something to be carried in the last second.
    pub active: AtomicU64,
    /// How much may be, for one member and for all; set once.
    pub limits: OnceLock<RelayLimits>,
}

/// How much a relay carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayLimits {
    /// For one member.
    pub each: Option<Rate>,
    /// For all together.
    pub all: Option<Rate>,
}

/// One end of a channel that we relay.
pub struct CrossingEnd {
    /// Who is there, and where.
    pub link: Arc<Link>,
    /// The keys of mac1 in messages to it, for each of its names and of the labels that it answers to: junk goes no further than
    /// here. Six at most.
    pub mac1_keys: Vec<[u8; 32]>,
}

/// A channel that we relay.
pub struct Crossing {
    /// Between whom.
    pub ends: [CrossingEnd; 2],
    /// How many initiations go through.
    pub initiations: Arc<PerSecond>,
}

impl Crossing {
    /// Initiations that pass in a second.
    pub const MOST_INITIATIONS: u64 = 10;

    /// The end that a datagram from there is of, and the one that it goes to; `None` when it comes from neither.
    pub fn from_to(&self, from: &Endpoint) -> Option<(&CrossingEnd, &CrossingEnd)> {
        let [one, other] = &self.ends;
        let is_there = |end: &CrossingEnd| {
            let route = end.link.route();
            route.as_ref().is_some_and(|r| r.endpoint.is_same_way(from))
        };
        match (is_there(one), is_there(other)) {
            (true, _) => Some((one, other)),
            (_, true) => Some((other, one)),
            _ => None,
        }
    }
}

impl Plane {
    /// A plane without peers.
    pub fn new(switch: Switch) -> Self {
        Plane {
            switch,
            drops: Drops::default(),
            probes: ProbeAllowance::default(),
            links: ArcSwap::default(),
            inlets: papaya::HashMap::new(),
            crossings: papaya::HashMap::new(),
            relaying: RelayLoad::default(),
        }
    }

    /// The links, by peer number; load them once per batch.
    pub fn links(&self) -> Guard<Arc<Vec<Arc<Link>>>> {
        self.links.load()
    }

    /// The receiving end with this index.
    pub fn inlet(&self, index: u32) -> Option<Arc<Inlet>> {
        self.inlets.pin().get(&index).cloned()
    }

    /// A channel that we relay.
    pub fn crossing(&self, channel: Channel) -> Option<Arc<Crossing>> {
        self.crossings.pin().get(&channel.get()).cloned()
    }

    /// Whether so many bytes of a member may be carried on now. Of what may be carried for all, each of those that send has an
    /// equal part for sure; the rest is for whoever comes.
    pub fn may_carry(&self, link: &Link, bytes: usize, now: Instant) -> bool {
        let load = &self.relaying;
        let limits = load.limits.get().copied().unwrap_or_default();
        if !link.carried.admit(bytes, limits.each, now) {
            return false;
        }
        let Some(all) = limits.all else {
            return true;
        };
        let part = all.part(load.active.load(Ordering::Relaxed));
        let fits = match link.part.admit(bytes, Some(part), now) {
            true => {
                load.meter.charge(bytes, all, now);
                true
            }
            false => load.meter.admit(bytes, Some(all), now),
        };
        if !fits {
            link.carried.refuse(1);
        }
        fits
    }

    /// How many channels we relay.
    pub fn crossings(&self) -> usize {
        self.crossings.len()
    }

    pub(super) fn add_crossing(&self, channel: Channel, crossing: Crossing) {
        let crossings = self.crossings.pin();
        crossings.insert(channel.get(), Arc::new(crossing));
    }

    pub(super) fn remove_crossing(&self, channel: Channel) {
        self.crossings.pin().remove(&channel.get());
    }

    /// How many sessions can be received on.
    pub fn sessions(&self) -> usize {
        self.inlets.len()
    }

    pub(super) fn publish_links(&self, links: Vec<Arc<Link>>) {
        self.links.store(Arc::new(links));
    }

    pub(super) fn add_inlet(&self, inlet: Inlet) {
        self.inlets.pin().insert(inlet.index, Arc::new(inlet));
    }

    pub(super) fn remove_inlets(&self, indices: &[u32]) {
        let inlets = self.inlets.guard();
        for index in indices {
            self.inlets.remove(index, &inlets);
        }
        // What is removed is let go in batches, and these hold keys.
        inlets.flush();
    }

    /// Once more, for what a worker was looking at when it was removed.
    pub(super) fn let_go(&self) {
        self.inlets.guard().flush();
    }
}

/// Something that the data plane saw and the control side decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A handshake message or a cookie reply, well formed and nothing more.
    Handshake {
        /// Where it came from.
        from: Endpoint,
        /// All of it.
        datagram: Vec<u8>,
    },
    /// The first packet of a session was opened.
    Heard {
        /// Whose.
        peer: PeerId,
        /// The session's index.
        index: u32,
        /// Where it came from.
        from: Endpoint,
    },
    /// The newest packet of a session came from another address than the path's.
    Moved {
        /// Whose.
        peer: PeerId,
        /// Where it came from.
        from: Endpoint,
    },
    /// A control message.
    Control {
        /// Whose.
        peer: PeerId,
        /// Where it came from.
        from: Endpoint,
        /// Whether the peer may be there now; only told here of a message with a question.
        moved: bool,
        /// The message's body.
        body: Vec<u8>,
    },
    /// The peer ended a session.
    Close {
        /// Which peer.
        peer: PeerId,
        /// The session's index.
        index: u32,
    },
    /// MACs, addresses or groups behind our ports have changed: [`Switch`] knows which.
    News,
    /// A loop guard's probe came in.
    Probe {
        /// Where.
        place: Place,
        /// Its segment and VLAN.
        vlan: (SegmentId, VlanClass),
        /// What it says.
        probe: Probe,
    },
    /// The underlay refused a datagram to this address because of its size.
    TooLarge(std::net::SocketAddr),
    /// A frame waits for a session with a peer.
    Wanted {
        /// Which peer.
        peer: PeerId,
        /// The frame's segment.
        segment: SegmentId,
        /// The frame in canonical form.
        frame: Vec<u8>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_uses_up_no_other_allowance() {
        let (allowance, now) = (ProbeAllowance::default(), Instant::from_micros(5_000_000));
        let [port, other] = [3, 4].map(|n| Place::Port(crate::place::PortId(n)));
        let peer = Place::Peer(PeerId(3));
        let admitted = (0..1000).filter(|_| allowance.admit(port, now)).count();
        assert_eq!(admitted as u64, PerSecond::MOST);
        assert!(allowance.admit(other, now) && allowance.admit(peer, now));
    }
}
