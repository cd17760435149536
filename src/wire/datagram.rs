//! The outer format, version 1: what travels in one UDP datagram.
//!
//! | kind | name | layout (bytes) |
//! |---|---|---|
//! | 8 | initiation | kind, version, flags 2 · sender 4 · Noise message 1 · mac1 16 · mac2 16 |
//! | 9 | response | kind, version, flags 2 · sender 4 · receiver 4 · Noise message 2 · mac1 16 · mac2 16 |
//! | 10 | cookie | kind, reserved 3 · receiver 4 · nonce 24 · sealed cookie 32 |
//! | 11 | data | kind, flags 1, piece 2 · receiver 4 · counter 8 · ciphertext · tag 16 |
//! | 12 | relayed | see [`super::relayed`] |
//! | 13 | bind | kept; counted as unknown |
//!
//! # Why
//! The first byte lies in 8..=15, which RFC 7983 and RFC 9443 leave unassigned, so that STUN and QUIC can share the
//! socket. The whole 16-byte data header is authenticated. Checks run in the order length, reserved bits, version; no
//! check failure is ever answered.

use super::cursor::Cursor;
use super::kem::ParameterSet;
use crate::drops::DropReason;

/// The version of this format.
pub const VERSION: u8 = 1;
/// First byte of an initiation.
pub const KIND_INITIATION: u8 = 8;
/// First byte of a response.
pub const KIND_RESPONSE: u8 = 9;
/// First byte of a cookie reply.
pub const KIND_COOKIE: u8 = 10;
/// First byte of a data packet.
pub const KIND_DATA: u8 = 11;

/// Bytes of a data packet's header, all of them authenticated.
pub const DATA_HEADER_LEN: usize = 16;
/// Bytes of an AEAD tag.
pub const TAG_LEN: usize = 16;
/// Bytes of mac1 and of mac2.
pub const MAC_LEN: usize = 16;
/// Bytes of a cookie reply.
pub const COOKIE_LEN: usize = 64;
/// Bytes of Noise IKpsk2 message 1 with an empty payload: ephemeral 32, sealed static 48, tag 16.
pub const NOISE_1_LEN: usize = 96;
/// Bytes of Noise IKpsk2 message 2 with an empty payload: ephemeral 32, tag 16.
pub const NOISE_2_LEN: usize = 48;
/// The longest handshake datagram, in bytes: with UDP and IPv6 headers it is a packet of 1500.
pub const MAX_HANDSHAKE_LEN: usize = 1452;
/// The longest that crosses every way: an IPv6 path of 1280, and what QUIC carries at least, behind a relay's header.
pub const SMALL_HANDSHAKE_LEN: usize = 1154;
/// The first four bytes of an initiation.
pub const INITIATION_HEADER: [u8; 4] = [KIND_INITIATION, VERSION, 0, 0];
/// The first four bytes of a response.
pub const RESPONSE_HEADER: [u8; 4] = [KIND_RESPONSE, VERSION, 0, 0];
/// The first four bytes of a cookie reply.
pub const COOKIE_HEADER: [u8; 4] = [KIND_COOKIE, 0, 0, 0];

/// A datagram of a known kind, with its lengths and reserved bits checked and nothing authenticated.
#[derive(Clone, Copy, Debug)]
pub enum Datagram<'a> {
    /// A peer wants a session.
    Initiation(Initiation<'a>),
    /// The answer to an initiation of ours.
    Response(Response<'a>),
    /// The peer is under load and wants our address proven.
    Cookie(Cookie<'a>),
    /// A sealed message within a session.
    Data(Data<'a>),
}

/// The two MACs at the end of a handshake message and what they cover.
#[derive(Clone, Copy, Debug)]
pub struct Macs<'a> {
    /// What mac1 covers: everything before it.
    pub body: &'a [u8],
    /// Proof that the sender knows the receiver's public key.
    pub mac1: [u8; MAC_LEN],
    /// Proof that the sender received a cookie at its address; zero when it has none.
    pub mac2: [u8; MAC_LEN],
}

/// An initiation.
#[derive(Clone, Copy, Debug)]
pub struct Initiation<'a> {
    /// The sender's receiver index.
    pub sender: u32,
    /// Noise message 1.
    pub noise: &'a [u8],
    /// mac1 and mac2.
    pub macs: Macs<'a>,
}

/// A response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The sender's receiver index.
    pub sender: u32,
    /// The index that the initiation named.
    pub receiver: u32,
    /// What hides the second secret, if the ends have one.
    pub ciphertext: Option<(ParameterSet, &'a [u8])>,
    /// Noise message 2.
    pub noise: &'a [u8],
    /// mac1 and mac2.
    pub macs: Macs<'a>,
}

/// A cookie reply.
#[derive(Clone, Copy, Debug)]
pub struct Cookie<'a> {
    /// The sender index of the message that it answers.
    pub receiver: u32,
    /// XChaCha20-Poly1305 nonce.
    pub nonce: [u8; 24],
    /// The sealed cookie: 16 bytes and a tag.
    pub sealed: &'a [u8],
}

/// The header of a data packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataHeader {
    /// The receiver's index of the session.
    pub receiver: u32,
    /// The packet's counter: the AEAD nonce.
    pub counter: u64,
    /// Which of the sender's lanes it took, 0..=15: packets of one flow keep to one worker's pair of lanes, and a receiver
    /// with several workers gives each pair to one of them. Odd lanes are for what is to be taken before bulk.
    pub lane: u8,
    /// What part of a super-frame it is; `None` for a message of its own.
    pub piece: Option<Piece>,
}

/// A packet's place in a super-frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its number; its counter less this is the super-frame's.
    pub index: u16,
    /// Whether it is the last.
    pub is_last: bool,
    /// Whether it can be delivered without the others, see [`super::piece`].
    pub is_aligned: bool,
}

const FLAG_PIECE: u8 = 1;
const FLAG_LAST: u8 = 2;
const FLAG_ALIGNED: u8 = 4;
const LANE_SHIFT: u8 = 4;
/// Flags that no version uses yet.
const FLAGS_RESERVED: u8 = 8;

/// A data packet.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// The header's fields.
    pub header: DataHeader,
    /// Ciphertext and tag.
    pub sealed: &'a [u8],
}

impl DataHeader {
    /// A message of its own, on lane 0.
    pub fn new(receiver: u32, counter: u64) -> Self {
        DataHeader {
            receiver,
            counter,
            ..DataHeader::default()
        }
    }

    /// The 16 bytes on the wire, all of them authenticated.
    pub fn to_bytes(self) -> [u8; DATA_HEADER_LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let (flags, index) = self.piece.map_or((0, 0), |p| {
            let flags = FLAG_PIECE | flag(p.is_last, FLAG_LAST) | flag(p.is_aligned, FLAG_ALIGNED);
            (flags, p.index)
        });
        let [i0, i1] = index.to_le_bytes();
        let [r0, r1, r2, r3] = self.receiver.to_le_bytes();
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.counter.to_le_bytes();
        let flags = flags | self.lane << LANE_SHIFT;
        [
            KIND_DATA, flags, i0, i1, r0, r1, r2, r3, c0, c1, c2, c3, c4, c5, c6, c7,
        ]
    }

    /// Reads the flags and the index of a piece; `None` when they contradict each other or use reserved bits.
    fn place(flags: u8, index: u16) -> Option<(u8, Option<Piece>)> {
        let lane = flags >> LANE_SHIFT;
        let piece = Piece {
            index,
            is_last: flags & FLAG_LAST != 0,
            is_aligned: flags & FLAG_ALIGNED != 0,
        };
        match flags & (FLAGS_RESERVED | FLAG_PIECE) {
            FLAG_PIECE => Some((lane, Some(piece))),
            0 if !piece.is_last && !piece.is_aligned && index == 0 => Some((lane, None)),
            _ => None,
        }
    }
}

impl<'a> Datagram<'a> {
    /// Tells a datagram's kind and checks its length, reserved bits and version.
    ///
    /// # Errors
    /// The reason to drop it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        match bytes.first() {
            None => Err(DropReason::Truncated),
            Some(&KIND_DATA) => Data::parse(bytes).map(Datagram::Data),
            Some(&KIND_INITIATION) => Initiation::parse(bytes).map(Datagram::Initiation),
            Some(&KIND_RESPONSE) => Response::parse(bytes).map(Datagram::Response),
            Some(&KIND_COOKIE) => Cookie::parse(bytes).map(Datagram::Cookie),
            Some(_) => Err(DropReason::UnknownKind),
        }
    }
}

/// Checks version and flags behind the kind byte of a handshake message.
/// Gives the first flag byte, of which only some are known.
fn handshake_header(
    cursor: &mut Cursor<'_>,
    is_known: impl Fn(u8) -> bool,
) -> Result<u8, DropReason> {
    let [_, version, flags, reserved] = cursor.array::<4>().ok_or(DropReason::Truncated)?;
    if reserved != 0 || !is_known(flags) {
        return Err(DropReason::ReservedBits);
    }
    if version != VERSION {
        return Err(DropReason::BadVersion);
    }
    Ok(flags)
}

fn macs(bytes: &[u8]) -> Option<Macs<'_>> {
    let (rest, mac2) = bytes.split_last_chunk::<MAC_LEN>()?;
    let (body, mac1) = rest.split_last_chunk::<MAC_LEN>()?;
    Some(Macs {
        body,
        mac1: *mac1,
        mac2: *mac2,
    })
}

impl<'a> Initiation<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        if bytes.len() < 8 + NOISE_1_LEN + 2 * MAC_LEN || bytes.len() > MAX_HANDSHAKE_LEN {
            return Err(DropReason::Truncated);
        }
        let macs = macs(bytes).ok_or(DropReason::Truncated)?;
        let mut cursor = Cursor(macs.body);
        handshake_header(&mut cursor, |flags| flags == 0)?;
        let sender = cursor.u32().ok_or(DropReason::Truncated)?;
        Ok(Initiation {
            sender,
            noise: cursor.0,
            macs,
        })
    }
}

impl<'a> Response<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        if bytes.len() < 12 + NOISE_2_LEN + 2 * MAC_LEN || bytes.len() > MAX_HANDSHAKE_LEN {
            return Err(DropReason::Truncated);
        }
        let macs = macs(bytes).ok_or(DropReason::Truncated)?;
        let mut cursor = Cursor(macs.body);
        let is_known = |flags| flags == 0 || ParameterSet::of_flag(flags).is_some();
        let flags = handshake_header(&mut cursor, is_known)?;
        let sender = cursor.u32().ok_or(DropReason::Truncated)?;
        let receiver = cursor.u32().ok_or(DropReason::Truncated)?;
        let (ciphertext, noise) = match ParameterSet::of_flag(flags) {
            None => (None, cursor.0),
            Some(set) => {
                let parts = cursor.0.split_at_checked(set.ciphertext_len());
                let (text, noise) = parts.ok_or(DropReason::Truncated)?;
                (Some((set, text)), noise)
            }
        };
        if noise.len() < NOISE_2_LEN {
            return Err(DropReason::Truncated);
        }
        Ok(Response {
            sender,
            receiver,
            ciphertext,
            noise,
            macs,
        })
    }
}

impl<'a> Cookie<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        if bytes.len() != COOKIE_LEN {
            return Err(DropReason::Truncated);
        }
        let mut cursor = Cursor(bytes);
        let [_, reserved @ ..] = cursor.array::<4>().ok_or(DropReason::Truncated)?;
        if reserved != [0; 3] {
            return Err(DropReason::ReservedBits);
        }
        Ok(Cookie {
            receiver: cursor.u32().ok_or(DropReason::Truncated)?,
            nonce: cursor.array().ok_or(DropReason::Truncated)?,
            sealed: cursor.0,
        })
    }

    /// The 64 bytes on the wire; `None` unless the sealed cookie has 32 bytes.
    pub fn to_bytes(&self) -> Option<[u8; COOKIE_LEN]> {
        let mut out = Vec::with_capacity(COOKIE_LEN);
        out.extend_from_slice(&COOKIE_HEADER);
        out.extend_from_slice(&self.receiver.to_le_bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(self.sealed);
        out.try_into().ok()
    }
}

impl<'a> Data<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let mut cursor = Cursor(bytes);
        let [_, flags, i0, i1] = cursor.array::<4>().ok_or(DropReason::Truncated)?;
        let receiver = cursor.u32().ok_or(DropReason::Truncated)?;
        let counter = cursor.u64().ok_or(DropReason::Truncated)?;
        if cursor.0.len() < TAG_LEN {
            return Err(DropReason::Truncated);
        }
        let place = DataHeader::place(flags, u16::from_le_bytes([i0, i1]));
        let (lane, piece) = place.ok_or(DropReason::ReservedBits)?;
        Ok(Data {
            header: DataHeader {
                receiver,
                counter,
                lane,
                piece,
            },
            sealed: cursor.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_headers_round_trip() {
        let header = DataHeader::new(0x0403_0201, 0x0c0b_0a09_0807_0605);
        let mut bytes = header.to_bytes().to_vec();
        assert_eq!(bytes, [11, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        bytes.extend_from_slice(&[7; 16]);
        let Ok(Datagram::Data(data)) = Datagram::parse(&bytes) else {
            panic!("a data packet");
        };
        assert_eq!((data.header, data.sealed), (header, &[7u8; 16][..]));
        let piece = DataHeader {
            lane: 5,
            piece: Some(Piece {
                index: 0x0302,
                is_last: true,
                is_aligned: true,
            }),
            ..header
        };
        bytes[..16].copy_from_slice(&piece.to_bytes());
        assert_eq!(bytes[1..4], [0x57, 2, 3]);
        let Ok(Datagram::Data(data)) = Datagram::parse(&bytes) else {
            panic!("a piece");
        };
        assert_eq!(data.header, piece);
    }

    #[test]
    fn reserved_bits_versions_and_lengths_are_checked() {
        let mut data = [0u8; 32];
        data[0] = KIND_DATA;
        assert!(Datagram::parse(&data).is_ok());
        for (at, value) in [(1, 2), (1, 4), (1, 8), (1, 9), (2, 1), (3, 1)] {
            let mut bad = data;
            bad[at] = value;
            assert_eq!(Datagram::parse(&bad).err(), Some(DropReason::ReservedBits));
        }
        let mut init = vec![0u8; 8 + 96 + 32];
        init[..4].copy_from_slice(&INITIATION_HEADER);
        assert!(Datagram::parse(&init).is_ok());
        init[1] = 2;
        assert_eq!(Datagram::parse(&init).err(), Some(DropReason::BadVersion));
        init[2] = 1;
        assert_eq!(Datagram::parse(&init).err(), Some(DropReason::ReservedBits));
        for kind in (0..=255u8).filter(|k| !(8..=11).contains(k)) {
            assert_eq!(
                Datagram::parse(&[kind; 200]).err(),
                Some(DropReason::UnknownKind)
            );
        }
    }

    #[test]
    fn every_short_length_of_every_kind_is_refused() {
        for kind in 0..=255u8 {
            for len in 0..64 {
                let bytes = vec![kind; len];
                let parsed = Datagram::parse(&bytes);
                assert!(parsed.is_err(), "kind {kind} length {len}");
            }
        }
    }
}
