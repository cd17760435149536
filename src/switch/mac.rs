//! Words of the forwarding table: what it is asked for, what it answers, what it tells.

use crate::place::Place;
use crate::time::Duration;
use crate::wire::ethernet::Mac;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// What the table is asked for: a MAC in a VLAN of a segment, in 85 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

impl Key {
    /// The key of a MAC in a VLAN of a segment.
    pub const fn new(segment: SegmentId, class: VlanClass, mac: Mac) -> Key {
        Key((segment.get() as u128) << 61 | (class.bits() as u128) << 48 | mac.to_u64() as u128)
    }

    /// The key with these bits.
    pub const fn from_bits(bits: u128) -> Key {
        Key(bits)
    }

    /// All of it.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The segment's number.
    pub const fn segment(self) -> u32 {
        (self.0 >> 61) as u32
    }

    /// The VLAN.
    pub const fn class(self) -> VlanClass {
        VlanClass::from_bits((self.0 >> 48) as u16)
    }

    /// The MAC.
    pub const fn mac(self) -> Mac {
        Mac::from_u64(self.0 as u64 & 0xffff_ffff_ffff)
    }
}

/// Where a MAC lives, and what is known of it beside: one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home(u64);

impl Home {
    const PINNED: u64 = 1 << 40;
    const TOLD: u64 = 1 << 41;
    const HELD: u64 = 1 << 42;
    const ISOLATED: u64 = 1 << 43;

    /// A MAC that was heard there.
    pub const fn heard(place: Place) -> Home {
        Home(place.to_bits())
    }

    /// The home of these bits.
    pub(super) const fn from_bits(bits: u64) -> Home {
        Home(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// Where.
    pub const fn place(self) -> Place {
        Place::from_bits(self.0 & 0x1_ffff_ffff)
    }

    /// Whether both are in one place.
    pub const fn is_beside(self, other: Home) -> bool {
        (self.0 ^ other.0) & 0x1_ffff_ffff == 0
    }

    /// Whether the configuration puts it there.
    pub const fn is_pinned(self) -> bool {
        self.0 & Self::PINNED != 0
    }

    /// Whether the member there has told of it: it stays until that is taken back.
    pub const fn is_told(self) -> bool {
        self.0 & Self::TOLD != 0
    }

    /// Whether it stays there, because it moved too often.
    pub const fn is_held(self) -> bool {
        self.0 & Self::HELD != 0
    }

    /// Whether it is behind an isolated port.
    pub const fn is_isolated(self) -> bool {
        self.0 & Self::ISOLATED != 0
    }

    const fn with(self, bit: u64, on: bool) -> Home {
        Home(if on { self.0 | bit } else { self.0 & !bit })
    }

    /// The same, pinned.
    #[must_use]
    pub const fn pinned(self) -> Home {
        self.with(Self::PINNED, true)
    }

    /// The same, told.
    #[must_use]
    pub const fn told(self) -> Home {
        self.with(Self::TOLD, true)
    }

    /// The same, held or not.
    #[must_use]
    pub const fn held(self, on: bool) -> Home {
        self.with(Self::HELD, on)
    }

    /// The same, isolated or not.
    #[must_use]
    pub const fn isolated(self, on: bool) -> Home {
        self.with(Self::ISOLATED, on)
    }
}

/// One known MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Segment, VLAN and MAC.
    pub key: Key,
    /// Where it lives.
    pub place: Place,
    /// What else is known.
    pub home: Home,
    /// How long ago it was last heard, to the second.
    pub idle: Duration,
    /// How often it has moved between places.
    pub moves: u32,
    /// Which of the claims to it this is: each member that hears it anew raises it.
    pub seq: u32,
}

/// A MAC that has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Segment, VLAN and MAC.
    pub key: Key,
    /// Where it was.
    pub from: Place,
    /// Where it is.
    pub to: Place,
}

/// A MAC that has been heard in two places too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Segment, VLAN and MAC.
    pub key: Key,
    /// Where it is held.
    pub held: Place,
    /// Where else it was heard.
    pub other: Place,
}

/// What changed of the MACs behind our ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// These, which may be there or not.
    Some(Vec<Key>),
    /// More than were kept: look at everything.
    Everything,
}

/// A look-up that has begun.
#[derive(Clone, Copy)]
pub struct Approach {
    pub(super) key: Key,
    pub(super) hash: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{PeerId, PortId};

    #[test]
    fn keys_keep_their_parts() {
        let vid = crate::wire::vlan::Vid::new(4094).unwrap();
        let mac: Mac = "fe:dc:ba:98:76:54".parse().unwrap();
        let key = Key::new(
            SegmentId::new(0xff_ffff).unwrap(),
            VlanClass::customer(vid),
            mac,
        );
        assert_eq!(
            (key.segment(), key.class(), key.mac()),
            (0xff_ffff, VlanClass::customer(vid), mac)
        );
        assert!(key.bits() < 1 << 85);
    }

    #[test]
    fn homes_keep_their_parts() {
        for place in [Place::Peer(PeerId(u32::MAX)), Place::Port(PortId(u16::MAX))] {
            let home = Home::heard(place);
            assert!(!home.is_pinned() && !home.is_told() && !home.is_held());
            let all = home.pinned().told().held(true).isolated(true);
            assert_eq!(all.place(), place);
            assert!(all.is_pinned() && all.is_told() && all.is_held() && all.is_isolated());
            assert_eq!(all.held(false).isolated(false), home.pinned().told());
        }
    }
}
