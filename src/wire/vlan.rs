//! VLAN tags: IEEE 802.1Q (C-tag), 802.1ad (S-tag) and the older stacking identifier 0x9100.

use std::fmt;
use std::num::NonZeroU32;

use crate::drops::DropReason;

/// Bytes of a tag: protocol identifier and control information.
pub const TAG_LEN: usize = 4;
/// Tag protocol identifier of a customer tag, IEEE 802.1Q.
pub const TPID_CUSTOMER: u16 = 0x8100;
/// Tag protocol identifier of a service tag, IEEE 802.1ad.
pub const TPID_SERVICE: u16 = 0x88a8;
/// Tag protocol identifier that stacking switches used before 802.1ad.
pub const TPID_STACKED: u16 = 0x9100;

/// A VLAN identifier, 1..=4094. VID 0 marks a priority tag and 4095 is reserved: neither names a VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(u16);

impl Vid {
    /// A VLAN identifier, or `None` outside 1..=4094.
    pub const fn new(vid: u16) -> Option<Self> {
        if vid == 0 || vid > 4094 {
            None
        } else {
            Some(Vid(vid))
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A tag as it stands in a frame: every bit is kept. It is one word, as is an `Option` of it: what is written in one piece
/// is read in one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag(NonZeroU32);

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:04x} {:04x})", self.tpid(), self.tci())
    }
}

impl Tag {
    /// The tag of a protocol identifier, which is not 0, and control information.
    pub const fn new(tpid: u16, tci: u16) -> Tag {
        match NonZeroU32::new((tpid as u32) << 16 | tci as u32) {
            Some(bits) => Tag(bits),
            None => Tag(NonZeroU32::MIN),
        }
    }

    /// An 802.1Q tag with a priority code point 0..=7 (higher bits are ignored) and DEI clear.
    pub const fn customer(vid: Vid, pcp: u8) -> Tag {
        Tag::new(TPID_CUSTOMER, ((pcp as u16 & 7) << 13) | vid.0)
    }

    /// An 802.1ad tag with the priority and DEI of another tag, or of none.
    pub const fn service(vid: Vid, like: Option<Tag>) -> Tag {
        let priority = match like {
            Some(tag) => tag.tci() & 0xf000,
            None => 0,
        };
        Tag::new(TPID_SERVICE, priority | vid.0)
    }

    /// Tag protocol identifier: 0x8100, 0x88a8 or 0x9100.
    pub const fn tpid(self) -> u16 {
        (self.0.get() >> 16) as u16
    }

    /// Tag control information: PCP 3 bits, DEI 1 bit, VID 12 bits.
    pub const fn tci(self) -> u16 {
        self.0.get() as u16
    }

    /// The 12-bit VID, which may be 0 (priority tag).
    pub const fn vid(self) -> u16 {
        self.tci() & 0x0fff
    }

    /// Priority code point, 0..=7.
    pub const fn pcp(self) -> u8 {
        (self.tci() >> 13) as u8
    }

    /// Drop eligible indicator.
    pub const fn dei(self) -> bool {
        self.tci() & 0x1000 != 0
    }

    /// The same tag with another VID; PCP and DEI are kept.
    pub const fn with_vid(self, vid: Vid) -> Tag {
        Tag::new(self.tpid(), (self.tci() & 0xf000) | vid.0)
    }

    /// The four bytes on the wire, big endian.
    pub const fn to_bytes(self) -> [u8; TAG_LEN] {
        let [a, b] = self.tpid().to_be_bytes();
        let [c, d] = self.tci().to_be_bytes();
        [a, b, c, d]
    }
}

/// Splits the tag off the bytes that follow the two addresses, if there is one.
///
/// # Errors
/// [`DropReason::TruncatedTag`] when the tag or the EtherType behind it is cut off, [`DropReason::ReservedVid`] for
/// VID 4095.
pub(super) fn outermost(after_addresses: &[u8]) -> Result<(Option<Tag>, &[u8]), DropReason> {
    let Some((tpid, rest)) = after_addresses.split_first_chunk::<2>() else {
        return Err(DropReason::Runt);
    };
    let tpid = u16::from_be_bytes(*tpid);
    if !is_tag(tpid) {
        return Ok((None, after_addresses));
    }
    let Some((tci, rest)) = rest.split_first_chunk::<2>() else {
        return Err(DropReason::TruncatedTag);
    };
    if rest.len() < 2 {
        return Err(DropReason::TruncatedTag);
    }
    let tag = Tag::new(tpid, u16::from_be_bytes(*tci));
    if tag.vid() == 4095 {
        return Err(DropReason::ReservedVid);
    }
    Ok((Some(tag), rest))
}

pub(super) const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, TPID_CUSTOMER | TPID_SERVICE | TPID_STACKED)
}

/// Whether these bytes begin with a tag, whole or not.
pub(super) fn begins_with_tag(bytes: &[u8]) -> bool {
    bytes
        .first_chunk::<2>()
        .is_some_and(|t| is_tag(u16::from_be_bytes(*t)))
}

/// The tag that these bytes begin with, and what follows it.
fn next_tag(bytes: &[u8]) -> Option<(Tag, &[u8])> {
    let ([a, b, c, d], rest) = bytes.split_first_chunk::<TAG_LEN>()?;
    let tag = Tag::new(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
    is_tag(tag.tpid()).then_some((tag, rest))
}

/// The broadcast domain of a frame inside its segment, as the forwarding table keys it.
///
/// Customer and service tags are different number spaces (802.1ad), so an S-VLAN 100 never meets a C-VLAN 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanClass(u16);

impl VlanClass {
    /// Untagged and priority-tagged frames.
    pub const UNTAGGED: VlanClass = VlanClass(0);
    const SERVICE_BIT: u16 = 0x1000;

    /// The class of an outermost tag.
    pub const fn of(tag: Option<Tag>) -> VlanClass {
        match tag {
            None => VlanClass::UNTAGGED,
            Some(tag) if tag.vid() == 0 => VlanClass::UNTAGGED,
            Some(tag) if tag.tpid() == TPID_CUSTOMER => VlanClass(tag.vid()),
            Some(tag) => VlanClass(tag.vid() | Self::SERVICE_BIT),
        }
    }

    /// The class that hosts give a frame. They take a tag of VID 0 off and look at the next one, so what is behind it
    /// counts: `rest` follows the outermost tag.
    pub fn of_frame(tag: Option<Tag>, mut rest: &[u8]) -> VlanClass {
        let mut class = VlanClass::of(tag);
        let mut is_priority = tag.is_some_and(|t| t.vid() == 0);
        while is_priority && let Some((next, behind)) = next_tag(rest) {
            class = VlanClass::of(Some(next));
            is_priority = next.vid() == 0;
            rest = behind;
        }
        class
    }

    /// The class of a customer VLAN.
    pub const fn customer(vid: Vid) -> VlanClass {
        VlanClass(vid.0)
    }

    /// The class of a service VLAN.
    pub const fn service(vid: Vid) -> VlanClass {
        VlanClass(vid.0 | Self::SERVICE_BIT)
    }

    /// 13 bits: VID and the service bit.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`VlanClass::bits`]; bits above the 13th are ignored.
    pub const fn from_bits(bits: u16) -> VlanClass {
        VlanClass(bits & 0x1fff)
    }

    /// The VLAN's number, `None` for untagged frames.
    pub const fn vid(self) -> Option<Vid> {
        Vid::new(self.0 & 0x0fff)
    }

    /// Whether the number belongs to a service tag.
    pub const fn is_service(self) -> bool {
        self.0 & Self::SERVICE_BIT != 0
    }
}

impl fmt::Display for VlanClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vid() {
            None => f.write_str("-"),
            Some(vid) if self.is_service() => write!(f, "s{vid}"),
            Some(vid) => write!(f, "{vid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_vid_0_hides_no_vlan() {
        let vid = |n| Vid::new(n).unwrap();
        let priority = Some(Tag::new(TPID_CUSTOMER, 0xe000));
        let class = |rest: &[u8]| VlanClass::of_frame(priority, rest);
        assert_eq!(class(&[8, 0]), VlanClass::UNTAGGED);
        assert_eq!(class(&[0x81, 0, 0, 20, 8, 0]), VlanClass::customer(vid(20)));
        assert_eq!(
            class(&[0x81, 0, 0, 0, 0x88, 0xa8, 0, 20, 8, 0]),
            VlanClass::service(vid(20))
        );
        assert_eq!(class(&[0x81, 0, 0]), VlanClass::UNTAGGED);
        let tagged = Some(Tag::customer(vid(5), 0));
        let behind = VlanClass::of_frame(tagged, &[0x81, 0, 0, 20]);
        assert_eq!(behind, VlanClass::customer(vid(5)));
    }

    #[test]
    fn tags_keep_every_bit() {
        for tci in [0u16, 1, 0x0fff - 1, 0x1000, 0xe001, 0xfffe] {
            for tpid in [TPID_CUSTOMER, TPID_SERVICE, TPID_STACKED] {
                let tag = Tag::new(tpid, tci);
                let mut bytes = tag.to_bytes().to_vec();
                bytes.extend_from_slice(&[8, 0]);
                assert_eq!(outermost(&bytes), Ok((Some(tag), &[8u8, 0][..])));
                assert_eq!(
                    tci,
                    (u16::from(tag.pcp()) << 13) | (u16::from(tag.dei()) << 12) | tag.vid()
                );
            }
        }
    }

    #[test]
    fn cut_off_and_reserved_tags_are_refused() {
        let whole = [0x81, 0, 0, 10, 8, 0];
        for len in 2..whole.len() {
            assert_eq!(outermost(&whole[..len]), Err(DropReason::TruncatedTag));
        }
        assert_eq!(
            outermost(&[0x81, 0, 0xff, 0xff, 8, 0]),
            Err(DropReason::ReservedVid)
        );
        assert_eq!(outermost(&[8, 0, 1]), Ok((None, &[8u8, 0, 1][..])));
    }

    #[test]
    fn vid_zero_is_not_a_vlan_and_s_tags_are_another_space() {
        let class = |tpid, tci| VlanClass::of(Some(Tag::new(tpid, tci)));
        assert_eq!(class(TPID_CUSTOMER, 0xe000), VlanClass::UNTAGGED);
        assert_ne!(class(TPID_CUSTOMER, 100), class(TPID_SERVICE, 100));
        assert_eq!(class(TPID_SERVICE, 100), class(TPID_STACKED, 100));
        assert_eq!(class(TPID_SERVICE, 100).to_string(), "s100");
        assert_eq!(VlanClass::UNTAGGED.to_string(), "-");
        assert!(Vid::new(0).is_none() && Vid::new(4095).is_none() && Vid::new(4094).is_some());
    }
}
