//! What was left to others on a frame: the virtio header of a TAP, checked against the frame that follows it.
//!
//! Layout (virtio 1.2 section 5.1.6, legacy form, 10 bytes, native byte order): `flags 1 · gso type 1 · hdr_len 2 ·
//! gso_size 2 · csum_start 2 · csum_offset 2`.
//!
//! # Why
//! A TAP with this header hands over TCP super-frames of up to 64 KiB with one call, and takes them back; the checksum of
//! such a frame is only begun (the sum of the pseudo header stands in its place), and whoever puts the frame on a real
//! wire finishes it. The header is never believed: `hdr_len` is the length of a linear buffer and not that of the
//! headers, and what a peer says of a frame is checked as if it were hostile. An [`Offload`] is proof of that check.

use super::checksum;
use super::ethernet::{Frame, Parts};
use super::layers::{Ip, Layers, Transport};
use crate::drops::DropReason;

/// Bytes of the header.
pub const VIRTIO_LEN: usize = 10;
/// The smallest segment of a TCP super-frame that is believed; less would multiply frames behind a plain port.
pub const MIN_SEGMENT: u16 = 32;
/// The most datagrams of a UDP super-frame that every kernel takes.
pub const MAX_DATAGRAMS: usize = 64;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// The header as it stands before a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioHeader {
    /// 1: the checksum is begun. 2: it was verified.
    pub flags: u8,
    /// What kind of super-frame; 0 for none.
    pub gso_type: u8,
    /// Bytes of headers, as a hint.
    pub hdr_len: u16,
    /// Bytes of payload in each packet of a super-frame.
    pub gso_size: u16,
    /// Where the checksum's range begins, in bytes from the start of the frame.
    pub csum_start: u16,
    /// Where the checksum stands, in bytes from there.
    pub csum_offset: u16,
}

impl VirtioHeader {
    /// Reads the header; every ten bytes are one.
    pub fn from_bytes(bytes: &[u8; VIRTIO_LEN]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        VirtioHeader {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// The bytes before a frame.
    pub fn to_bytes(self) -> [u8; VIRTIO_LEN] {
        let [a, b] = self.hdr_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }
}

/// The state of a packet's TCP or UDP checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It stands in the packet; nobody has looked at it.
    #[default]
    Unverified,
    /// Only the pseudo header's sum stands in its place.
    Begun,
    /// A host has verified it.
    Verified,
}

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Bytes of payload in each packet of a super-frame; 0 for a single packet.
    pub segment: u16,
    /// The state of the transport checksum.
    pub checksum: Checksum,
    /// Whether the packets use ECN, RFC 3168.
    pub ecn: bool,
    /// Where the headers lie. Always there for super-frames and begun checksums.
    pub layers: Option<Layers>,
}

impl Offload {
    /// A frame without anything left to others.
    pub const NONE: Offload = Offload {
        segment: 0,
        checksum: Checksum::Unverified,
        ecn: false,
        layers: None,
    };

    /// How many packets a frame is.
    pub fn packets(&self, frame: &Parts<'_>) -> u32 {
        let Some(layers) = self.layers.filter(|_| self.is_super()) else {
            return 1;
        };
        let len = frame.after_tag().len() + frame.tail().len();
        let payload = len.saturating_sub(layers.payload);
        let packets = payload.div_ceil(usize::from(self.segment).max(1));
        u32::try_from(packets).unwrap_or(u32::MAX).max(1)
    }

    /// Whether this is more than one packet.
    pub fn is_super(&self) -> bool {
        self.segment != 0
    }

    /// Checks a header from a TAP against its frame. A checksum that was begun elsewhere than at the transport header
    /// that we see (a tunnel's inner packet) is finished in place.
    ///
    /// # Errors
    /// [`DropReason::BadOffload`] when they do not fit.
    pub fn of_port(header: VirtioHeader, bytes: &mut [u8]) -> Result<Offload, DropReason> {
        if header.flags == 0 && header.gso_type == GSO_NONE {
            return Ok(Offload::NONE);
        }
        let begun = header.flags & NEEDS_CSUM != 0;
        let checksum = match (begun, header.flags & DATA_VALID != 0) {
            (true, _) => Checksum::Begun,
            (_, true) => Checksum::Verified,
            _ => Checksum::Unverified,
        };
        let frame = Frame::parse(bytes)?;
        let rest = frame.parts.after_tag();
        let before = bytes.len() - rest.len();
        let layers = Layers::read(rest).filter(|l| l.end == rest.len());
        let is_here = layers.is_some_and(|l| {
            usize::from(header.csum_start) == before + l.segment
                && usize::from(header.csum_offset) == l.transport.checksum_offset()
        });
        if header.gso_type == GSO_NONE {
            if begun && !is_here {
                finish_at(bytes, header.csum_start, header.csum_offset)?;
                return Ok(Offload::NONE);
            }
            return Ok(Offload {
                checksum,
                layers: layers.filter(|_| begun),
                ..Offload::NONE
            });
        }
        let layers = layers.filter(|_| is_here || !begun);
        let offload = Offload {
            segment: header.gso_size,
            checksum: Checksum::Begun,
            ecn: header.gso_type & GSO_ECN != 0,
            layers,
        };
        let kind = layers.map(|l| gso_type(&l));
        if kind != Some(header.gso_type & !GSO_ECN) || header.gso_size == 0 {
            return Err(DropReason::BadOffload);
        }
        offload.checked(rest.len())
    }

    /// Checks what a peer says of a frame; `rest` are the bytes behind the outermost tag up to the payload at least, and
    /// `len` their number with the payload.
    ///
    /// # Errors
    /// [`DropReason::BadOffload`] when it does not fit the frame.
    pub fn of_peer(
        (segment, checksum, ecn): (u16, Checksum, bool),
        rest: &[u8],
        len: usize,
    ) -> Result<Offload, DropReason> {
        let layers = Layers::read_with_room(rest, len).filter(|l| l.end == len);
        let offload = Offload {
            segment,
            checksum,
            ecn,
            layers,
        };
        if segment == 0 && checksum != Checksum::Begun {
            return Ok(offload);
        }
        if layers.is_none() || (segment != 0 && checksum != Checksum::Begun) {
            return Err(DropReason::BadOffload);
        }
        offload.checked(len)
    }

    /// A super-frame of one packet is none, and its segments have a sensible size.
    fn checked(self, len: usize) -> Result<Offload, DropReason> {
        let layers = self.layers.ok_or(DropReason::BadOffload)?;
        let payload = len.saturating_sub(layers.payload);
        if self.segment == 0 {
            return Ok(self);
        }
        if payload <= usize::from(self.segment) {
            return Ok(Offload { segment: 0, ..self });
        }
        let is_sensible = match layers.transport {
            Transport::Tcp => self.segment >= MIN_SEGMENT,
            Transport::Udp => payload.div_ceil(usize::from(self.segment)) <= 2 * MAX_DATAGRAMS,
        };
        match is_sensible {
            true => Ok(self),
            false => Err(DropReason::BadOffload),
        }
    }

    /// The header for a TAP; `before` are the frame's bytes before its EtherType behind the outermost tag.
    pub fn to_virtio(&self, before: usize) -> VirtioHeader {
        let small = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let Some(layers) = self.layers.filter(|_| self.checksum == Checksum::Begun) else {
            let verified = self.checksum == Checksum::Verified;
            return VirtioHeader {
                flags: if verified { DATA_VALID } else { 0 },
                ..VirtioHeader::default()
            };
        };
        let kind = match self.is_super() {
            true => gso_type(&layers) | if self.ecn { GSO_ECN } else { 0 },
            false => GSO_NONE,
        };
        VirtioHeader {
            flags: NEEDS_CSUM,
            gso_type: kind,
            hdr_len: small(before + layers.payload),
            gso_size: self.segment,
            csum_start: small(before + layers.segment),
            csum_offset: small(layers.transport.checksum_offset()),
        }
    }
}

fn gso_type(layers: &Layers) -> u8 {
    match (layers.transport, layers.ip) {
        (Transport::Tcp, Ip::V4) => GSO_TCP4,
        (Transport::Tcp, Ip::V6) => GSO_TCP6,
        (Transport::Udp, _) => GSO_UDP,
    }
}

/// Finishes a checksum whose begun sum stands in its place.
///
/// # Errors
/// [`DropReason::BadOffload`] when it does not lie within the frame.
pub fn finish_at(bytes: &mut [u8], start: u16, offset: u16) -> Result<(), DropReason> {
    let range = bytes
        .get_mut(usize::from(start)..)
        .ok_or(DropReason::BadOffload)?;
    let at = usize::from(offset);
    let sum = checksum::add(0, range);
    let place = range.get_mut(at..at + 2).ok_or(DropReason::BadOffload)?;
    // The form of zero that UDP wants is as good as the other one for everybody else.
    place.copy_from_slice(&checksum::finish_udp(sum).to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame with a UDP datagram in IPv4 whose checksum is begun.
    fn frame(payload: usize) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        f.extend_from_slice(&(28 + payload as u16).to_be_bytes());
        f.extend_from_slice(&[0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        f.extend_from_slice(&[0, 7, 0, 9]);
        f.extend_from_slice(&(8 + payload as u16).to_be_bytes());
        f.extend_from_slice(&[0, 0]);
        f.resize(f.len() + payload, 0xab);
        let layers = Layers::read(&f[12..]).unwrap();
        let sum = checksum::fold(layers.pseudo(&f[12..], 8 + payload));
        f[40..42].copy_from_slice(&sum.to_be_bytes());
        f
    }

    fn header(gso_type: u8, gso_size: u16) -> VirtioHeader {
        VirtioHeader {
            flags: NEEDS_CSUM,
            gso_type,
            hdr_len: 42,
            gso_size,
            csum_start: 34,
            csum_offset: 6,
        }
    }

    #[test]
    fn headers_round_trip() {
        let bytes = [1, 0x85, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(VirtioHeader::from_bytes(&bytes).to_bytes(), bytes);
        let mut f = frame(3000);
        let offload = Offload::of_port(header(GSO_UDP, 1000), &mut f).unwrap();
        assert_eq!((offload.segment, offload.is_super()), (1000, true));
        assert_eq!(offload.to_virtio(12), header(GSO_UDP, 1000));
        let offload = Offload::of_port(header(GSO_UDP, 3000), &mut f).unwrap();
        assert!(!offload.is_super(), "one packet is no super-frame");
    }

    #[test]
    fn headers_that_do_not_fit_their_frames_are_refused() {
        let bad = Err(DropReason::BadOffload);
        let mut f = frame(3000);
        for (kind, size) in [
            (GSO_TCP4, 1000),
            (GSO_TCP6, 9),
            (3, 9),
            (GSO_UDP, 0),
            (7, 1),
        ] {
            assert_eq!(Offload::of_port(header(kind, size), &mut f), bad, "{kind}");
        }
        assert_eq!(
            Offload::of_port(header(GSO_UDP, 2), &mut f),
            bad,
            "too many"
        );
        let elsewhere = VirtioHeader {
            csum_start: 50,
            ..header(GSO_UDP, 1000)
        };
        assert_eq!(Offload::of_port(elsewhere, &mut f), bad);
        let outside = VirtioHeader {
            csum_start: 65_000,
            ..header(GSO_NONE, 0)
        };
        assert_eq!(Offload::of_port(outside, &mut f), bad);
        f.push(0);
        assert_eq!(Offload::of_port(header(GSO_UDP, 1000), &mut f), bad);
        let told = (1000, Checksum::Verified, false);
        assert_eq!(Offload::of_peer(told, &frame(3000)[12..], 3030), bad);
        let told = (0, Checksum::Begun, false);
        assert_eq!(Offload::of_peer(told, &[0x88, 0xb5, 1], 3), bad);
    }

    #[test]
    fn a_checksum_begun_for_an_inner_packet_is_finished() {
        let mut f = frame(100);
        let inner = VirtioHeader {
            csum_start: 50,
            csum_offset: 2,
            ..header(GSO_NONE, 0)
        };
        let offload = Offload::of_port(inner, &mut f).unwrap();
        assert_eq!(offload, Offload::NONE);
        // Whoever begins a sum adds the pseudo header; what is left of the range is its complement.
        assert_eq!(checksum::fold(checksum::add(0, &f[50..])), !0xabab);
    }
}
