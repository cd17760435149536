//! Where a frame comes from or goes to: a port of this member, or another member.

/// A port of this member, numbered in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// Another member, numbered in the order in which it became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// One of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Behind a port of ours.
    Port(PortId),
    /// Behind another member.
    Peer(PeerId),
}

impl Place {
    const PEER_BIT: u64 = 1 << 32;

    /// The place as a number below 2^33, for an atomic cell.
    pub const fn to_bits(self) -> u64 {
        match self {
            Place::Port(PortId(id)) => id as u64,
            Place::Peer(PeerId(id)) => Self::PEER_BIT | id as u64,
        }
    }

    /// The inverse of [`Place::to_bits`].
    pub const fn from_bits(bits: u64) -> Place {
        if bits & Self::PEER_BIT == 0 {
            Place::Port(PortId(bits as u16))
        } else {
            Place::Peer(PeerId(bits as u32))
        }
    }
}
