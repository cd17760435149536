//! Ethernet II and 802.3 frames as a TAP delivers them: no preamble, no frame check sequence (IEEE 802.3 clause 3).

use std::fmt;
use std::str::FromStr;

use super::vlan::{self, Tag, VlanClass};
use crate::drops::DropReason;

/// Bytes of destination, source and EtherType.
pub const HEADER_LEN: usize = 14;
/// Bytes of destination and source.
pub const ADDRESSES_LEN: usize = 12;
/// The longest frame, in bytes: the longest IP packet behind addresses, three tags (two of a port's hosts and one that the
/// port pushes) and an EtherType. What is cut into fragments is shorter: its length has to fit 16 bits.
pub const MAX_FRAME_LEN: usize = 65_535 + HEADER_LEN + 12;

/// A 48-bit MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// 00:00:00:00:00:00
    pub const ZERO: Mac = Mac([0; 6]);

    /// Whether the group bit is set: multicast or broadcast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The address as a number, first byte highest; below 2^48.
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The inverse of [`Mac::to_u64`]; the upper 16 bits are ignored.
    pub const fn from_u64(value: u64) -> Mac {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Mac([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six two-digit hexadecimal bytes joined by `:` or `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address (expected six bytes such as 02:00:5e:10:00:01)")]
pub struct NotAMac;

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut bytes = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or(NotAMac)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(NotAMac);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        match parts.next() {
            None => Ok(Mac(bytes)),
            Some(_) => Err(NotAMac),
        }
    }
}

/// A frame whose header was read completely; the bytes stay where they are.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it goes.
    pub destination: Mac,
    /// Where it says that it comes from.
    pub source: Mac,
    /// Its parts, the outermost VLAN tag apart.
    pub parts: Parts<'a>,
}

impl<'a> Frame<'a> {
    /// Reads the header of a frame.
    ///
    /// # Errors
    /// [`DropReason::Runt`] below 14 bytes, [`DropReason::Oversize`] above [`MAX_FRAME_LEN`],
    /// [`DropReason::TruncatedTag`] when a tag is announced and cut off, [`DropReason::ReservedVid`] for VID 4095.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (addresses, rest) = bytes
            .split_first_chunk::<ADDRESSES_LEN>()
            .ok_or(DropReason::Runt)?;
        if rest.len() < 2 {
            return Err(DropReason::Runt);
        }
        if bytes.len() > MAX_FRAME_LEN {
            return Err(DropReason::Oversize);
        }
        let (tag, rest) = vlan::outermost(rest)?;
        Ok(Frame::of_parts(Parts {
            addresses,
            tag,
            under: None,
            rest,
            tail: &[],
            unchanged: Some(bytes),
        }))
    }
}

impl<'a> Frame<'a> {
    /// The frame that these parts make.
    pub fn of_parts(parts: Parts<'a>) -> Self {
        let [a, b, c, d, e, f, source @ ..] = *parts.addresses;
        Frame {
            destination: Mac([a, b, c, d, e, f]),
            source: Mac(source),
            parts,
        }
    }
}

/// A frame in parts, so that a tag can be pushed, popped or exchanged without moving the frame.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    addresses: &'a [u8; ADDRESSES_LEN],
    tag: Option<Tag>,
    /// The tag that was the outermost before another was pushed.
    under: Option<Tag>,
    rest: &'a [u8],
    /// Payload that lies elsewhere than the headers; mostly empty.
    tail: &'a [u8],
    /// The frame in one piece while nothing was changed.
    unchanged: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// The outermost VLAN tag.
    pub fn tag(&self) -> Option<Tag> {
        self.tag
    }

    /// The same frame with this outermost tag: `None` pops, `Some` exchanges, or is the first.
    #[must_use]
    pub fn with_tag(self, tag: Option<Tag>) -> Parts<'a> {
        let unchanged = self.unchanged.filter(|_| tag == self.tag);
        let (tag, under) = match tag {
            None => (self.under, None),
            some => (some, self.under),
        };
        Parts {
            tag,
            under,
            unchanged,
            ..self
        }
    }

    /// The same frame with one more tag before all others; `None` when two were pushed already.
    #[must_use]
    pub fn pushed(self, tag: Tag) -> Option<Parts<'a>> {
        self.under.is_none().then_some(Parts {
            tag: Some(tag),
            under: self.tag,
            unchanged: None,
            ..self
        })
    }

    /// The same frame with more payload, which lies elsewhere.
    #[must_use]
    pub fn with_tail(self, tail: &'a [u8]) -> Parts<'a> {
        let unchanged = self.unchanged.filter(|_| tail.is_empty());
        Parts {
            tail,
            unchanged,
            ..self
        }
    }

    /// What follows the outermost tag that the frame came with: the EtherType or further tags, and the payload but for the
    /// [tail](Self::tail). A tag that was pushed changes nothing here.
    pub fn after_tag(&self) -> &'a [u8] {
        self.rest
    }

    /// Payload that lies elsewhere.
    pub fn tail(&self) -> &'a [u8] {
        self.tail
    }

    /// Destination and source.
    pub fn addresses(&self) -> &'a [u8; ADDRESSES_LEN] {
        self.addresses
    }

    /// Bytes before [`Parts::after_tag`].
    pub fn before_rest(&self) -> usize {
        ADDRESSES_LEN + self.tags().len()
    }

    /// The bytes between the addresses and [`Parts::after_tag`].
    pub fn tags(&self) -> Tags {
        let mut bytes = [0; 2 * vlan::TAG_LEN];
        let tags = [self.tag, self.under];
        let mut len = 0;
        for (place, tag) in bytes
            .chunks_exact_mut(vlan::TAG_LEN)
            .zip(tags.iter().flatten())
        {
            place.copy_from_slice(&tag.to_bytes());
            len += vlan::TAG_LEN;
        }
        Tags { bytes, len }
    }

    /// Whether there is another tag behind the outermost one.
    pub fn is_stacked(&self) -> bool {
        self.under.is_some() || self.tag.is_some() && vlan::begins_with_tag(self.rest)
    }

    /// The VLAN that hosts see it in.
    pub fn class(&self) -> VlanClass {
        match self.under {
            // A tag that was pushed names a VLAN.
            Some(_) => VlanClass::of(self.tag),
            None => VlanClass::of_frame(self.tag, self.rest),
        }
    }

    /// The same frame without its outermost tag.
    ///
    /// # Errors
    /// [`DropReason::TruncatedTag`] or [`DropReason::ReservedVid`] for what comes to light.
    pub fn popped(self) -> Result<Parts<'a>, DropReason> {
        if self.under.is_none() && self.tag.is_some() {
            vlan::outermost(self.rest)?;
        }
        Ok(self.with_tag(None))
    }

    /// The frame in one piece, unless its tag was changed.
    pub fn whole(&self) -> Option<&'a [u8]> {
        self.unchanged
    }

    /// Length of the frame, in bytes.
    #[allow(clippy::len_without_is_empty)] // a frame is never empty
    pub fn len(&self) -> usize {
        self.before_rest() + self.rest.len() + self.tail.len()
    }

    /// Appends the frame to a buffer.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.addresses);
        out.extend_from_slice(&self.tags());
        out.extend_from_slice(self.rest);
        out.extend_from_slice(self.tail);
    }
}

/// The tags of [`Parts`] as bytes: none, one or two.
#[derive(Clone, Copy, Debug)]
pub struct Tags {
    bytes: [u8; 2 * vlan::TAG_LEN],
    len: usize,
}

impl std::ops::Deref for Tags {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::vlan::Vid;

    fn frame(ethertype: &[u8]) -> Vec<u8> {
        let mut f = vec![1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 7];
        f.extend_from_slice(ethertype);
        f
    }

    #[test]
    fn runts_are_refused_at_every_length() {
        let whole = frame(&[8, 0]);
        for len in 0..whole.len() {
            assert_eq!(Frame::parse(&whole[..len]).err(), Some(DropReason::Runt));
        }
        assert!(Frame::parse(&whole).is_ok());
        assert_eq!(
            Frame::parse(&vec![2; MAX_FRAME_LEN + 1]).err(),
            Some(DropReason::Oversize)
        );
    }

    #[test]
    fn mac_text_round_trips_and_refuses_the_rest() {
        let mac: Mac = "02:aB:00:ff:01:10".parse().unwrap();
        assert_eq!(mac.to_string(), "02:ab:00:ff:01:10");
        assert_eq!(Mac::from_u64(mac.to_u64()), mac);
        for bad in [
            "",
            "02:ab",
            "02:ab:00:ff:01:10:11",
            "+2:ab:00:ff:01:10",
            "2:ab:0:f:1:10",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_are_pushed_popped_and_exchanged_without_moving_the_rest() {
        let written = |parts: Parts<'_>| {
            let mut out = Vec::new();
            parts.write(&mut out);
            assert_eq!(out.len(), parts.len());
            out
        };
        let bytes = frame(&[0x08, 0x06, 9, 9]);
        let plain = Frame::parse(&bytes).unwrap().parts;
        assert_eq!(plain.whole(), Some(&bytes[..]));
        let tag = Tag::customer(Vid::new(20).unwrap(), 5);
        let tagged = written(plain.with_tag(Some(tag)));
        let parsed = Frame::parse(&tagged).unwrap().parts;
        assert_eq!(parsed.tag(), Some(tag));
        assert_eq!(written(parsed), tagged);
        assert_eq!(written(parsed.with_tag(None)), bytes);
        let other = Tag::customer(Vid::new(30).unwrap(), 1);
        let exchanged = parsed.with_tag(Some(other));
        assert_eq!(exchanged.whole(), None);
        assert_eq!(
            Frame::parse(&written(exchanged)).unwrap().parts.tag(),
            Some(other)
        );
    }
}
