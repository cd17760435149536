//! Who broke which rule last, for those who ask: the counters say only how often.
//!
//! Written for dropped frames only, in one relaxed store.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::drops::DropReason;
use crate::place::Place;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// What somebody should hear of.
pub const TOLD: [DropReason; 8] = [
    DropReason::StormBroadcast,
    DropReason::StormMulticast,
    DropReason::StormUnknown,
    DropReason::DhcpGuard,
    DropReason::RouterGuard,
    DropReason::GuardUnclear,
    DropReason::SourcePinned,
    DropReason::SourceElsewhere,
];

/// A rule that somebody broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// The rule.
    pub reason: DropReason,
    /// Who did it last.
    pub place: Place,
    /// In which segment.
    pub segment: SegmentId,
    /// In which VLAN.
    pub class: VlanClass,
    /// How many frames since somebody asked.
    pub frames: u64,
}

/// The last of each kind.
#[derive(Default)]
pub struct Offences([Last; TOLD.len()]);

#[derive(Default)]
struct Last {
    place: AtomicU64,
    vlan: AtomicU64,
    count: AtomicU64,
}

impl Offences {
    pub(super) fn note(
        &self,
        reason: DropReason,
        place: Place,
        (segment, class): (SegmentId, VlanClass),
    ) {
        let index = TOLD.iter().position(|r| *r == reason);
        if let Some(last) = index.and_then(|i| self.0.get(i)) {
            let vlan = u64::from(segment.get()) << 16 | u64::from(class.bits());
            last.place.store(place.to_bits(), Ordering::Relaxed);
            last.vlan.store(vlan, Ordering::Relaxed);
            last.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What has happened since somebody asked. Threads that break a rule at the same time may be taken for each other.
    pub fn take(&self) -> Vec<Offence> {
        let each = |(reason, last): (&DropReason, &Last)| {
            let frames = last.count.swap(0, Ordering::Relaxed);
            let vlan = last.vlan.load(Ordering::Relaxed);
            (frames > 0).then_some(Offence {
                reason: *reason,
                place: Place::from_bits(last.place.load(Ordering::Relaxed)),
                segment: SegmentId::new(u32::try_from(vlan >> 16).ok()?)?,
                class: VlanClass::from_bits(vlan as u16),
                frames,
            })
        };
        TOLD.iter().zip(&self.0).filter_map(each).collect()
    }
}
