//! What a port does with VLAN tags: IEEE 802.1Q access and trunk ports.

use crate::drops::DropReason;
use crate::wire::ethernet::Parts;
use crate::wire::vlan::{TPID_CUSTOMER, Tag, Vid, VlanClass};

/// A set of VLANs.
#[derive(Clone, PartialEq, Eq)]
pub struct VidSet(Box<[u64; 64]>);

impl Default for VidSet {
    fn default() -> Self {
        VidSet(Box::new([0; 64]))
    }
}

impl VidSet {
    /// Adds a VLAN.
    pub fn insert(&mut self, vid: Vid) {
        let vid = usize::from(vid.get());
        if let Some(word) = self.0.get_mut(vid / 64) {
            *word |= 1 << (vid % 64);
        }
    }

    /// Whether the VLAN is in the set.
    pub fn contains(&self, vid: Vid) -> bool {
        let vid = usize::from(vid.get());
        self.0
            .get(vid / 64)
            .is_some_and(|word| word & (1 << (vid % 64)) != 0)
    }

    /// The VLANs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Vid> + '_ {
        (1..=4094)
            .filter_map(Vid::new)
            .filter(|v| self.contains(*v))
    }
}

impl FromIterator<Vid> for VidSet {
    fn from_iter<I: IntoIterator<Item = Vid>>(vids: I) -> Self {
        let mut set = VidSet::default();
        vids.into_iter().for_each(|v| set.insert(v));
        set
    }
}

/// Writes runs as ranges: `10,20,30-39`.
impl std::fmt::Display for VidSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut vids = self.iter().map(Vid::get).peekable();
        let mut separator = "";
        while let Some(first) = vids.next() {
            let mut last = first;
            while let Some(next) = vids.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last == first {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl std::fmt::Debug for VidSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// How a port treats tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRule {
    /// One VLAN, untagged on the port. Tagged frames are dropped; a priority tag (VID 0) counts as untagged and its
    /// priority goes along.
    Access(Vid),
    /// Tagged frames.
    Trunk {
        /// The VLANs that pass; `None` passes every frame bit for bit.
        allowed: Option<VidSet>,
        /// The VLAN of untagged frames. Without one they pass as they are when everything passes, and are dropped
        /// when VLANs are listed.
        native: Option<Vid>,
    },
}

impl PortRule {
    /// A trunk that passes everything bit for bit: the default.
    pub const TRANSPARENT: PortRule = PortRule::Trunk {
        allowed: None,
        native: None,
    };

    /// Brings a frame that came in by this port into canonical form.
    ///
    /// # Errors
    /// Why the port does not take it.
    pub fn ingress<'a>(&self, frame: Parts<'a>) -> Result<Parts<'a>, DropReason> {
        let tag = frame.tag();
        let names_vlan = tag.is_some_and(|t| t.vid() != 0);
        match self {
            PortRule::Access(vid) => match tag {
                None => Ok(frame.with_tag(Some(Tag::customer(*vid, 0)))),
                // A second tag would come to light where the first is taken off: the classic way to hop VLANs.
                Some(tag) if tag.tpid == TPID_CUSTOMER && tag.vid() == 0 && !frame.is_stacked() => {
                    Ok(frame.with_tag(Some(tag.with_vid(*vid))))
                }
                Some(_) => Err(DropReason::TaggedOnAccess),
            },
            PortRule::Trunk { native, .. } if hides_a_tag(&frame, *native) => {
                Err(DropReason::VlanNotAllowed)
            }
            PortRule::Trunk { allowed, native } if names_vlan => {
                if carries(allowed, *native, VlanClass::of(tag)) {
                    Ok(frame)
                } else {
                    Err(DropReason::VlanNotAllowed)
                }
            }
            PortRule::Trunk { allowed, native } => match (native, allowed, tag) {
                (Some(native), _, None) => Ok(frame.with_tag(Some(Tag::customer(*native, 0)))),
                (Some(native), _, Some(tag))
                    if tag.tpid == TPID_CUSTOMER && !frame.is_stacked() =>
                {
                    Ok(frame.with_tag(Some(tag.with_vid(*native))))
                }
                // A priority tag of 802.1ad belongs to no customer VLAN.
                (Some(_), _, Some(_)) => Err(DropReason::VlanNotAllowed),
                (None, None, _) => Ok(frame),
                (None, Some(_), _) => Err(DropReason::UntaggedOnTrunk),
            },
        }
    }

    /// Brings a canonical frame into the form that it has on this port.
    ///
    /// # Errors
    /// Why the port does not carry it.
    pub fn egress<'a>(&self, frame: Parts<'a>) -> Result<Parts<'a>, DropReason> {
        let class = VlanClass::of(frame.tag());
        match self {
            PortRule::Access(vid) if hides_a_tag(&frame, Some(*vid)) => {
                Err(DropReason::VlanNotAllowed)
            }
            PortRule::Trunk { native, .. } if hides_a_tag(&frame, *native) => {
                Err(DropReason::VlanNotAllowed)
            }
            PortRule::Access(vid) if class == VlanClass::customer(*vid) => Ok(frame.with_tag(None)),
            PortRule::Access(_) => Err(DropReason::VlanNotAllowed),
            PortRule::Trunk {
                native: Some(native),
                ..
            } if class == VlanClass::customer(*native) => Ok(frame.with_tag(None)),
            PortRule::Trunk { allowed, native } if class == VlanClass::UNTAGGED => {
                if allowed.is_none() && native.is_none() {
                    Ok(frame)
                } else {
                    Err(DropReason::UntaggedOnTrunk)
                }
            }
            PortRule::Trunk { allowed, native } => {
                if carries(allowed, *native, class) {
                    Ok(frame)
                } else {
                    Err(DropReason::VlanNotAllowed)
                }
            }
        }
    }
}

/// Whether taking the tag of this VLAN off would bring another tag to light.
fn hides_a_tag(frame: &Parts<'_>, untagged_vlan: Option<Vid>) -> bool {
    let class = VlanClass::of(frame.tag());
    frame.is_stacked() && untagged_vlan.is_some_and(|v| class == VlanClass::customer(v))
}

fn carries(allowed: &Option<VidSet>, native: Option<Vid>, class: VlanClass) -> bool {
    let Some(vid) = class.vid() else { return false };
    match allowed {
        None => true,
        Some(set) => set.contains(vid) || (native == Some(vid) && !class.is_service()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::Frame;
    use crate::wire::vlan::{TPID_SERVICE, TPID_STACKED};
    use DropReason::*;

    fn vid(n: u16) -> Vid {
        Vid::new(n).unwrap()
    }

    /// A frame with these tags, outermost first.
    fn frame(tags: &[(u16, u16)]) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (tpid, tci) in tags {
            f.extend_from_slice(&tpid.to_be_bytes());
            f.extend_from_slice(&tci.to_be_bytes());
        }
        f.extend_from_slice(&[8, 0, 1, 2, 3]);
        f
    }

    fn through(
        rule: &PortRule,
        way: fn(&PortRule, Parts<'static>) -> Result<Parts<'static>, DropReason>,
        tags: &[(u16, u16)],
    ) -> Result<Vec<u8>, DropReason> {
        let bytes: &'static [u8] = Box::leak(frame(tags).into_boxed_slice());
        let mut out = Vec::new();
        way(rule, Frame::parse(bytes)?.parts)?.write(&mut out);
        Ok(out)
    }

    const C: u16 = TPID_CUSTOMER;
    const S: u16 = TPID_SERVICE;
    const PRIO: u16 = 0xa000;
    type Tags = &'static [(u16, u16)];
    type Cell = (Tags, Result<Tags, DropReason>, Result<Tags, DropReason>);

    fn check(rule: &PortRule, cells: &[Cell]) {
        for (tags, ingress, egress) in cells {
            let expect = |r: Result<Tags, DropReason>| r.map(frame);
            let got = through(rule, |r, p| r.ingress(p), tags);
            assert_eq!(got, expect(*ingress), "{rule:?} ingress {tags:x?}");
            let got = through(rule, |r, p| r.egress(p), tags);
            assert_eq!(got, expect(*egress), "{rule:?} egress {tags:x?}");
        }
    }

    #[test]
    fn an_access_port_carries_one_vlan_untagged() {
        check(
            &PortRule::Access(vid(10)),
            &[
                (&[], Ok(&[(C, 10)]), Err(VlanNotAllowed)),
                (&[(C, PRIO)], Ok(&[(C, PRIO | 10)]), Err(VlanNotAllowed)),
                (&[(C, 10)], Err(TaggedOnAccess), Ok(&[])),
                (&[(C, 20)], Err(TaggedOnAccess), Err(VlanNotAllowed)),
                (
                    &[(C, 10), (C, 20)],
                    Err(TaggedOnAccess),
                    Err(VlanNotAllowed),
                ),
                (&[(C, 0), (C, 20)], Err(TaggedOnAccess), Err(VlanNotAllowed)),
                (&[(S, 10)], Err(TaggedOnAccess), Err(VlanNotAllowed)),
                (&[(C, 4095)], Err(ReservedVid), Err(ReservedVid)),
            ],
        );
    }

    #[test]
    fn a_transparent_trunk_changes_no_bit() {
        let same = |tags: Tags| -> Cell { (tags, Ok(tags), Ok(tags)) };
        check(
            &PortRule::TRANSPARENT,
            &[
                same(&[]),
                same(&[(C, PRIO)]),
                same(&[(C, 0xf000 | 4094)]),
                same(&[(S, 100), (C, 30)]),
                same(&[(TPID_STACKED, 0xb001), (C, 0xd002), (C, 3)]),
            ],
        );
    }

    #[test]
    fn a_listed_trunk_with_and_without_native() {
        let list = |native| PortRule::Trunk {
            allowed: Some([vid(10), vid(20)].into_iter().collect()),
            native,
        };
        check(
            &list(None),
            &[
                (&[], Err(UntaggedOnTrunk), Err(UntaggedOnTrunk)),
                (&[(C, PRIO)], Err(UntaggedOnTrunk), Err(UntaggedOnTrunk)),
                (&[(C, 20)], Ok(&[(C, 20)]), Ok(&[(C, 20)])),
                (&[(C, 30)], Err(VlanNotAllowed), Err(VlanNotAllowed)),
                (
                    &[(S, 20), (C, 7)],
                    Ok(&[(S, 20), (C, 7)]),
                    Ok(&[(S, 20), (C, 7)]),
                ),
                (
                    &[(S, 30), (C, 20)],
                    Err(VlanNotAllowed),
                    Err(VlanNotAllowed),
                ),
            ],
        );
        check(
            &list(Some(vid(5))),
            &[
                (&[], Ok(&[(C, 5)]), Err(UntaggedOnTrunk)),
                (&[(C, PRIO)], Ok(&[(C, PRIO | 5)]), Err(UntaggedOnTrunk)),
                (&[(C, 5)], Ok(&[(C, 5)]), Ok(&[])),
                (&[(C, 5), (C, 20)], Err(VlanNotAllowed), Err(VlanNotAllowed)),
                (
                    &[(C, 0), (C, 20)],
                    Err(VlanNotAllowed),
                    Err(UntaggedOnTrunk),
                ),
                (&[(S, 5)], Err(VlanNotAllowed), Err(VlanNotAllowed)),
                (&[(S, PRIO)], Err(VlanNotAllowed), Err(UntaggedOnTrunk)),
                (&[(C, 10)], Ok(&[(C, 10)]), Ok(&[(C, 10)])),
            ],
        );
    }

    #[test]
    fn sets_print_as_ranges() {
        let set: VidSet = [10, 20, 30, 31, 32, 4094].map(vid).into_iter().collect();
        assert_eq!(set.to_string(), "10,20,30-32,4094");
        assert_eq!(VidSet::default().to_string(), "");
    }
}
