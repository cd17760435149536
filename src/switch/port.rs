//! What a port does with VLAN tags: IEEE 802.1Q access and trunk ports, 802.1ad customer edge ports, translation.

use super::translation::VidMap;
use crate::drops::DropReason;
use crate::wire::ethernet::Parts;
use crate::wire::vlan::{TPID_CUSTOMER, Tag, Vid, VlanClass};
use crate::wire::vlans::{VidSet, VlanSet};

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
    /// A customer edge port: whatever comes gets a service tag of this VLAN before all others, with the priority of the
    /// customer's tag; frames of the service VLAN lose it again. What is behind it is the customer's, bit for bit.
    Qinq(Vid),
    /// Tagged frames whose VLANs have other numbers here than in the network; all others are dropped.
    Translate(VidMap),
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
                Some(tag)
                    if tag.tpid() == TPID_CUSTOMER && tag.vid() == 0 && !frame.is_stacked() =>
                {
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
                    if tag.tpid() == TPID_CUSTOMER && !frame.is_stacked() =>
                {
                    Ok(frame.with_tag(Some(tag.with_vid(*native))))
                }
                // A priority tag of 802.1ad belongs to no customer VLAN.
                (Some(_), _, Some(_)) => Err(DropReason::VlanNotAllowed),
                (None, None, _) => Ok(frame),
                (None, Some(_), _) => Err(DropReason::UntaggedOnTrunk),
            },
            PortRule::Qinq(vid) => frame
                .pushed(Tag::service(*vid, tag))
                .ok_or(DropReason::VlanNotAllowed),
            PortRule::Translate(map) => exchange(frame, |vid| map.to_network(vid)),
        }
    }

    /// Whether this port takes part in one of the network's VLANs, see [`PortRule::vlans`].
    pub fn carries(&self, class: VlanClass) -> bool {
        match self {
            PortRule::Access(vid) => class == VlanClass::customer(*vid),
            PortRule::Trunk { allowed, native } if class == VlanClass::UNTAGGED => {
                allowed.is_none() && native.is_none()
            }
            PortRule::Trunk { allowed, native } => carries(allowed, *native, class),
            PortRule::Qinq(vid) => class == VlanClass::service(*vid),
            PortRule::Translate(map) => {
                !class.is_service() && class.vid().and_then(|v| map.to_port(v)).is_some()
            }
        }
    }

    /// Which of the network's VLANs this port takes part in: what it may bring and what it can carry.
    pub fn vlans(&self) -> VlanSet {
        match self {
            PortRule::Access(vid) => VlanSet::default().with(VlanClass::customer(*vid)),
            PortRule::Trunk { allowed, native } => {
                let listed = match allowed {
                    None if native.is_none() => return VlanSet::everything(),
                    None => VlanSet::everything().without(VlanClass::UNTAGGED),
                    Some(list) => VlanSet::of_list(list),
                };
                native.map_or(listed.clone(), |v| listed.with(VlanClass::customer(v)))
            }
            PortRule::Qinq(vid) => VlanSet::default().with(VlanClass::service(*vid)),
            PortRule::Translate(map) => map.networks().fold(VlanSet::default(), |set, v| {
                set.with(VlanClass::customer(v))
            }),
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
            PortRule::Qinq(vid) if class == VlanClass::service(*vid) => frame.popped(),
            PortRule::Qinq(_) => Err(DropReason::VlanNotAllowed),
            PortRule::Translate(map) => exchange(frame, |vid| map.to_port(vid)),
        }
    }
}

/// Exchanges the VLAN of a customer tag; whatever has none goes nowhere.
fn exchange<'a>(
    frame: Parts<'a>,
    other: impl Fn(Vid) -> Option<Vid>,
) -> Result<Parts<'a>, DropReason> {
    let tag = frame.tag().ok_or(DropReason::UntaggedOnTrunk)?;
    let class = VlanClass::of(Some(tag));
    if class == VlanClass::UNTAGGED {
        return Err(DropReason::UntaggedOnTrunk);
    }
    class
        .vid()
        .filter(|_| !class.is_service())
        .and_then(other)
        .map(|vid| frame.with_tag(Some(tag.with_vid(vid))))
        .ok_or(DropReason::VlanNotAllowed)
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
}
