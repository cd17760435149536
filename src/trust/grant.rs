//! What a record grants, as it is typed, kept and told: segments with their VLANs, and roles.

use crate::wire::record::Roles;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::{Vid, VlanClass};
use crate::wire::vlans::{VidSet, VlanSet};

/// Why something grants nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGrant {
    /// No VLAN.
    #[error("\"{0}\" is no VLAN or range of VLANs: 10, 20-29 or untagged")]
    Vlan(String),
    /// No role.
    #[error("\"{0}\" is no role: relay, router, dhcp-server or admin")]
    Role(String),
}

/// VLANs from what was typed: `10`, `20-29`, `untagged`; all of them when nothing was.
///
/// # Errors
/// [`NoGrant::Vlan`].
pub fn vlans<T: AsRef<str>>(words: &[T]) -> Result<VlanSet, NoGrant> {
    if words.is_empty() {
        return Ok(VlanSet::everything());
    }
    let mut list = VidSet::default();
    let mut has_untagged = false;
    for text in words.iter().map(AsRef::as_ref) {
        if text == "untagged" {
            has_untagged = true;
            continue;
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let vid = |text: &str| text.parse().ok().and_then(Vid::new);
        let (Some(first), Some(last)) = (vid(first), vid(last)) else {
            return Err(NoGrant::Vlan(text.escape_debug().to_string()));
        };
        if first > last {
            return Err(NoGrant::Vlan(text.escape_debug().to_string()));
        }
        (first.get()..=last.get())
            .filter_map(Vid::new)
            .for_each(|v| list.insert(v));
    }
    let set = VlanSet::of_list(&list);
    Ok(match has_untagged {
        true => set.with(VlanClass::UNTAGGED),
        false => set,
    })
}

/// Roles by their names.
///
/// # Errors
/// [`NoGrant::Role`].
pub fn roles<T: AsRef<str>>(names: &[T]) -> Result<Roles, NoGrant> {
    names.iter().try_fold(Roles::NONE, |all, name| {
        let mut named = Roles::NAMED.into_iter();
        let role = named.find(|(known, _)| *known == name.as_ref());
        let unknown = || NoGrant::Role(name.as_ref().escape_debug().to_string());
        role.map(|(_, role)| all.and(role)).ok_or_else(unknown)
    })
}

/// Segments, each with the same VLANs, in the order that a record has them.
pub fn segments(
    ids: impl IntoIterator<Item = SegmentId>,
    vlans: &VlanSet,
) -> Vec<(SegmentId, VlanSet)> {
    let mut ids: Vec<SegmentId> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(|id| (id, vlans.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_granted() {
        assert!(vlans::<&str>(&[]).unwrap().is_everything());
        let some = vlans(&["10", "20-21", "untagged"]).unwrap();
        let has = |vid| some.contains(VlanClass::customer(Vid::new(vid).unwrap()));
        assert!(has(10) && has(20) && has(21) && !has(22));
        assert!(some.contains(VlanClass::UNTAGGED));
        for wrong in ["", "0", "4095", "20-10", "a", "1-", "-1"] {
            assert!(vlans(&[wrong]).is_err(), "{wrong}");
        }
        assert_eq!(
            roles(&["relay", "admin"]),
            Ok(Roles::RELAY.and(Roles::ADMIN))
        );
        assert!(roles(&["king"]).is_err());
    }
}
