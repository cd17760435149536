//! The outer format's kind 12: a datagram that goes through a relay.
//!
//! `kind 12 · hops 1 · reserved 2 · channel 4 · datagram`. A channel is a number that the relay has given to a pair of members;
//! the datagram behind the header is one of kinds 8 to 11 and means nothing to the relay. Hops is 1 on the way to the relay
//! and 0 on the way from it, so that a member which relays for others knows which are for itself, and nothing goes round.

use std::num::NonZeroU32;

use super::cursor::Cursor;
use super::datagram::{KIND_COOKIE, KIND_DATA, KIND_INITIATION, KIND_RESPONSE};
use crate::drops::DropReason;

/// First byte of a datagram that goes through a relay.
pub const KIND_RELAYED: u8 = 12;
/// Bytes before the datagram inside.
pub const RELAYED_HEADER_LEN: usize = 8;

/// What lies between two members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(NonZeroU32);

impl Channel {
    /// A channel by its number; `None` for 0.
    pub const fn new(number: u32) -> Option<Channel> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Channel(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The header of a datagram on it, with so many hops to go: 1 to the relay, 0 from it.
    pub const fn header(self, hops: u8) -> [u8; RELAYED_HEADER_LEN] {
        let [a, b, c, d] = self.0.get().to_le_bytes();
        [KIND_RELAYED, hops, 0, 0, a, b, c, d]
    }
}

/// The header of a datagram that goes through a relay, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Hops to go.
    pub hops: u8,
    /// Between whom.
    pub channel: Channel,
    /// The kind of the datagram inside.
    pub kind: u8,
}

impl Relayed {
    /// Whether a datagram is of this kind.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&KIND_RELAYED)
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`DropReason::Truncated`], [`DropReason::ReservedBits`], or [`DropReason::UnknownKind`] for what does not go through
    /// relays.
    pub fn parse(bytes: &[u8]) -> Result<Relayed, DropReason> {
        let mut cursor = Cursor(bytes);
        let [_, hops, reserved @ ..] = cursor.array::<4>().ok_or(DropReason::Truncated)?;
        let number = cursor.u32().ok_or(DropReason::Truncated)?;
        let kind = cursor.u8().ok_or(DropReason::Truncated)?;
        match (hops, reserved, Channel::new(number), kind) {
            (0 | 1, [0, 0], Some(channel), KIND_INITIATION..=KIND_DATA) => Ok(Relayed {
                hops,
                channel,
                kind,
            }),
            (0 | 1, [0, 0], Some(_), _) => Err(DropReason::UnknownKind),
            _ => Err(DropReason::ReservedBits),
        }
    }
}

const _: () = assert!(KIND_INITIATION < KIND_RESPONSE && KIND_RESPONSE < KIND_COOKIE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_nothing_else_passes() {
        let channel = Channel::new(0x0403_0201).unwrap();
        let mut bytes = channel.header(1).to_vec();
        assert_eq!(bytes, [12, 1, 0, 0, 1, 2, 3, 4]);
        assert_eq!(Relayed::parse(&bytes), Err(DropReason::Truncated));
        bytes.push(KIND_DATA);
        let read = Relayed {
            hops: 1,
            channel,
            kind: KIND_DATA,
        };
        assert_eq!(Relayed::parse(&bytes), Ok(read));
        for (at, value, reason) in [
            (1, 2, DropReason::ReservedBits),
            (2, 1, DropReason::ReservedBits),
            (8, KIND_RELAYED, DropReason::UnknownKind),
            (8, 7, DropReason::UnknownKind),
        ] {
            let mut broken = bytes.clone();
            broken[at] = value;
            assert_eq!(Relayed::parse(&broken), Err(reason));
        }
        bytes[4..8].fill(0);
        assert_eq!(Relayed::parse(&bytes), Err(DropReason::ReservedBits));
    }
}
