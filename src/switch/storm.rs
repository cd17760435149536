//! Storm control: how many frames that go to everybody one peer or port may bring in a second.
//!
//! # Why
//! A broadcast, a multicast or a frame for an unknown host costs every member, so a loop in one site, or one host that has
//! gone mad, would fill all others. Each place has an allowance for each kind of traffic in each VLAN; what is above it is
//! dropped and counted, and nobody else's allowance shrinks by it. The allowance is a leaky bucket of one second, kept as
//! one number (the time at which it will be empty), so that any number of threads use it without a lock.
//!
//! Memory: 1.5 KiB for each peer and port that ever flooded. VLANs of one place may share an allowance, by chance; those
//! of two places never do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::drops::DropReason;
use crate::place::Place;
use crate::time::Instant;
use crate::wire::ethernet::Mac;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// Allowances of one kind that one place has.
const SLOTS: usize = 64;
/// What may come at once: an allowance of so many nanoseconds.
const BURST: u64 = 1_000_000_000;

/// What goes to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storm {
    /// Frames for all hosts.
    Broadcast,
    /// Frames for a group of hosts.
    Multicast,
    /// Frames for a host of which nobody knows where it is.
    UnknownUnicast,
}

impl Storm {
    /// The kind of a frame that is flooded, by its destination.
    pub fn of(destination: Mac) -> Storm {
        match (destination == Mac::BROADCAST, destination.is_group()) {
            (true, _) => Storm::Broadcast,
            (_, true) => Storm::Multicast,
            _ => Storm::UnknownUnicast,
        }
    }

    fn reason(self) -> DropReason {
        match self {
            Storm::Broadcast => DropReason::StormBroadcast,
            Storm::Multicast => DropReason::StormMulticast,
            Storm::UnknownUnicast => DropReason::StormUnknown,
        }
    }
}

/// Packets in a second, for each place and VLAN; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StormLimits {
    /// A host asks for a few addresses in a second; a site of thousands stays below this.
    pub broadcast: u32,
    /// Enough for several video streams.
    pub multicast: u32,
    /// A host that answers becomes known with its first frame.
    pub unknown: u32,
}

impl Default for StormLimits {
    fn default() -> Self {
        StormLimits {
            broadcast: 1000,
            multicast: 10_000,
            unknown: 10_000,
        }
    }
}

/// One place's allowances: when each of them will be empty, in nanoseconds since boot.
struct Meters([AtomicU64; 3 * SLOTS]);

/// The allowances of all places.
pub struct StormControl {
    limits: StormLimits,
    places: papaya::HashMap<u64, Arc<Meters>>,
}

impl StormControl {
    /// Full allowances for everybody.
    pub fn new(limits: StormLimits) -> Self {
        StormControl {
            limits,
            places: papaya::HashMap::new(),
        }
    }

    /// Takes a flooded frame of so many packets from a place's allowance.
    ///
    /// # Errors
    /// The reason to drop it: the allowance is used up.
    pub fn admit(
        &self,
        place: Place,
        (segment, class): (SegmentId, VlanClass),
        (storm, packets): (Storm, u32),
        now: Instant,
    ) -> Result<(), DropReason> {
        let rate = match storm {
            Storm::Broadcast => self.limits.broadcast,
            Storm::Multicast => self.limits.multicast,
            Storm::UnknownUnicast => self.limits.unknown,
        };
        if rate == 0 {
            return Ok(());
        }
        let cost = u64::from(packets) * (BURST / u64::from(rate));
        let places = self.places.pin();
        let new = || Arc::new(Meters(std::array::from_fn(|_| AtomicU64::new(0))));
        let meters = places.get_or_insert_with(place.to_bits(), new);
        let vlan = u64::from(segment.get()) << 13 | u64::from(class.bits());
        let slot = (vlan.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % SLOTS;
        let meter = meters.0.get(storm as usize * SLOTS + slot);
        match meter.is_none_or(|m| take(m, cost, now.as_micros() * 1000)) {
            true => Ok(()),
            false => Err(storm.reason()),
        }
    }
}

/// Takes from one allowance; gives whether there was as much.
fn take(meter: &AtomicU64, cost: u64, now: u64) -> bool {
    let mut seen = meter.load(Ordering::Relaxed);
    loop {
        // One frame passes a full allowance, however many packets it is.
        if seen > now && seen + cost > now + BURST {
            return false;
        }
        let next = seen.max(now) + cost;
        match meter.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(other) => seen = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{PeerId, PortId};
    use crate::wire::vlan::Vid;

    const LIMITS: StormLimits = StormLimits {
        broadcast: 100,
        multicast: 0,
        unknown: 1000,
    };

    fn class(vid: u16) -> VlanClass {
        VlanClass::customer(Vid::new(vid).unwrap())
    }

    fn lan(n: u32) -> SegmentId {
        SegmentId::new(n).unwrap()
    }

    /// How many of so many single packets pass at one time.
    fn pass(control: &StormControl, place: Place, storm: Storm, (count, at): (u32, u64)) -> u32 {
        let now = Instant::from_micros(at);
        let one = |_: &u32| {
            control
                .admit(place, (lan(1), class(10)), (storm, 1), now)
                .is_ok()
        };
        (0..count).filter(one).count() as u32
    }

    #[test]
    fn a_second_at_once_and_then_the_rate() {
        let control = StormControl::new(LIMITS);
        let place = Place::Peer(PeerId(1));
        let start = 5_000_000;
        assert_eq!(pass(&control, place, Storm::Broadcast, (500, start)), 100);
        assert_eq!(
            pass(&control, place, Storm::Broadcast, (500, start + 250_000)),
            25
        );
        assert_eq!(
            pass(&control, place, Storm::Broadcast, (500, start + 60_000_000)),
            100
        );
    }

    #[test]
    fn others_are_not_touched() {
        let control = StormControl::new(LIMITS);
        let (a, b) = (Place::Peer(PeerId(1)), Place::Port(PortId(1)));
        assert_eq!(pass(&control, a, Storm::Broadcast, (500, 1)), 100);
        assert_eq!(pass(&control, b, Storm::Broadcast, (500, 1)), 100);
        assert_eq!(pass(&control, a, Storm::UnknownUnicast, (5000, 1)), 1000);
        assert_eq!(pass(&control, a, Storm::Multicast, (5000, 1)), 5000);
        let now = Instant::from_micros(1);
        for vlan in [(lan(1), class(11)), (lan(2), class(10))] {
            assert_eq!(control.admit(a, vlan, (Storm::Broadcast, 1), now), Ok(()));
        }
    }

    #[test]
    fn a_super_frame_counts_as_its_packets() {
        let control = StormControl::new(LIMITS);
        let place = Place::Peer(PeerId(1));
        let admit = |packets, at| {
            let now = Instant::from_micros(at);
            control.admit(place, (lan(1), class(10)), (Storm::Broadcast, packets), now)
        };
        assert_eq!(admit(60, 1), Ok(()));
        assert_eq!(admit(60, 1), Err(DropReason::StormBroadcast));
        assert_eq!(admit(40, 1), Ok(()));
        // Larger than the allowance, it passes when that is full.
        assert_eq!(admit(200, 900_000), Err(DropReason::StormBroadcast));
        assert_eq!(admit(200, 2_000_000), Ok(()));
        assert_eq!(admit(1, 3_000_000), Err(DropReason::StormBroadcast));
    }

    #[test]
    fn kinds_are_told_by_the_destination() {
        assert_eq!(Storm::of(Mac::BROADCAST), Storm::Broadcast);
        assert_eq!(Storm::of(Mac([1, 0, 0x5e, 0, 0, 1])), Storm::Multicast);
        assert_eq!(Storm::of(Mac([2, 0, 0, 0, 0, 1])), Storm::UnknownUnicast);
    }
}
