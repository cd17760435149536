//! What ports do with VLANs, and which VLANs a peer has.

use std::ops::Range;

use super::checker::Checker;
use super::raw::Field;
use crate::switch::port::PortRule;
use crate::switch::translation::VidMap;
use crate::wire::vlan::{Vid, VlanClass};
use crate::wire::vlans::{VidSet, VlanSet};

/// The keys of a port that speak of VLANs.
pub(super) struct VlanFields {
    pub(super) mode: Option<Field<String>>,
    pub(super) vlan: Option<Field<i64>>,
    pub(super) vlans: Option<Field<Vec<toml::Value>>>,
    pub(super) native: Option<Field<i64>>,
    pub(super) translate: Option<Field<Vec<toml::Value>>>,
}

/// Which keys have a meaning with which mode.
const MEANINGS: [(&str, &[&str]); 4] = [
    ("trunk", &["vlans", "native"]),
    ("access", &["vlan"]),
    ("qinq", &["vlan"]),
    ("translate", &["translate"]),
];

pub(super) fn rule(
    checker: &mut Checker<'_>,
    fields: VlanFields,
    at: &Range<usize>,
) -> Option<PortRule> {
    let span = |given: bool, span: Option<&Range<usize>>| given.then(|| span.cloned()).flatten();
    let VlanFields {
        mode,
        vlan,
        vlans,
        native,
        translate,
    } = fields;
    let given = [
        ("vlan", span(vlan.is_some(), vlan.as_ref().map(|f| &f.span))),
        (
            "vlans",
            span(vlans.is_some(), vlans.as_ref().map(|f| &f.span)),
        ),
        (
            "native",
            span(native.is_some(), native.as_ref().map(|f| &f.span)),
        ),
        (
            "translate",
            span(translate.is_some(), translate.as_ref().map(|f| &f.span)),
        ),
    ];
    let wrong_type = mode.as_ref().is_some_and(|m| m.value.is_err());
    let (mode, mode_at) = match checker.take(mode) {
        Some((mode, at)) => (mode, at),
        None => ("trunk".to_string(), at.clone()),
    };
    let vlan_given = vlan.is_some();
    let map_given = translate.is_some();
    let vlan = vid(checker, vlan, "vlan");
    let native = vid(checker, native, "native VLAN");
    let allowed = checker
        .take(vlans)
        .map(|(list, at)| vlan_list(checker, list, &at));
    let map = checker
        .take(translate)
        .map(|(list, at)| translation(checker, list, &at));
    let Some((_, meanings)) = MEANINGS.iter().find(|(m, _)| *m == mode) else {
        checker
            .findings
            .error(&mode_at, format!("mode \"{mode}\" is not known"))
            .hint("\"trunk\", \"access\", \"qinq\" or \"translate\"");
        return None;
    };
    // Which keys belong to a mode of the wrong type nobody knows.
    if wrong_type {
        return None;
    }
    for (key, at) in &given {
        if let (Some(at), false) = (at, meanings.contains(key)) {
            misplaced(checker, at, (key, &mode));
        }
    }
    match mode.as_str() {
        "access" | "qinq" => {
            if !vlan_given {
                let port = if mode == "access" {
                    "an access"
                } else {
                    "a qinq"
                };
                checker
                    .findings
                    .error(at, format!("{port} port needs its VLAN"))
                    .hint(if mode == "access" {
                        "vlan = 10"
                    } else {
                        "vlan = 100, the service VLAN"
                    });
            }
            vlan.map(match mode.as_str() {
                "access" => PortRule::Access,
                _ => PortRule::Qinq,
            })
        }
        "translate" => {
            if !map_given {
                checker
                    .findings
                    .error(at, "a translate port needs its VLANs")
                    .hint("translate = [\"10:110\", \"20:120\"]: here 10, in the network 110");
            }
            map.map(PortRule::Translate)
        }
        _ => Some(PortRule::Trunk { allowed, native }),
    }
}

fn misplaced(checker: &mut Checker<'_>, at: &Range<usize>, (key, mode): (&str, &str)) {
    let modes: Vec<String> = MEANINGS
        .iter()
        .filter(|(_, keys)| keys.contains(&key))
        .map(|(mode, _)| format!("mode = \"{mode}\""))
        .collect();
    checker
        .findings
        .error(
            at,
            format!("\"{key}\" has no meaning on a port with mode \"{mode}\""),
        )
        .hint(format!("remove it, or write {}", modes.join(" or ")));
}

fn vid(checker: &mut Checker<'_>, field: Option<Field<i64>>, what: &str) -> Option<Vid> {
    checker.number(field, what, 1..=4094).and_then(Vid::new)
}

/// A peer's VLANs: a list as a trunk has it, and `"untagged"`.
pub(super) fn peer_vlans(
    checker: &mut Checker<'_>,
    list: Vec<toml::Value>,
    at: &Range<usize>,
) -> VlanSet {
    let is_untagged = |v: &toml::Value| v.as_str() == Some("untagged");
    let (untagged, vlans): (Vec<_>, Vec<_>) = list.into_iter().partition(is_untagged);
    let set = match (untagged.is_empty(), vlans.is_empty()) {
        (false, true) => VlanSet::default(),
        _ => VlanSet::of_list(&vlan_list(checker, vlans, at)),
    };
    match untagged.is_empty() {
        true => set,
        false => set.with(VlanClass::UNTAGGED),
    }
}

fn vlan_list(checker: &mut Checker<'_>, list: Vec<toml::Value>, at: &Range<usize>) -> VidSet {
    let mut set = VidSet::default();
    if list.is_empty() {
        checker
            .findings
            .error(at, "an empty list of VLANs lets nothing pass")
            .hint("leave \"vlans\" out to let everything pass");
    }
    for item in list {
        match vlan_range(&item) {
            Some((low, high)) => {
                (low.get()..=high.get())
                    .filter_map(Vid::new)
                    .for_each(|v| set.insert(v));
            }
            None => checker
                .findings
                .error(at, format!("{item} is not a VLAN or a range of VLANs"))
                .hint("numbers from 1 to 4094, ranges as \"30-39\""),
        }
    }
    set
}

fn number(n: i64) -> Option<Vid> {
    u16::try_from(n).ok().and_then(Vid::new)
}

fn vlan_range(item: &toml::Value) -> Option<(Vid, Vid)> {
    match item {
        toml::Value::Integer(n) => number(*n).map(|v| (v, v)),
        toml::Value::String(text) => {
            let (low, high) = text.split_once('-').unwrap_or((text, text));
            let low = number(low.trim().parse().ok()?)?;
            let high = number(high.trim().parse().ok()?)?;
            (low <= high).then_some((low, high))
        }
        _ => None,
    }
}

fn translation(checker: &mut Checker<'_>, list: Vec<toml::Value>, at: &Range<usize>) -> VidMap {
    let mut map = VidMap::default();
    if list.is_empty() {
        checker
            .findings
            .error(at, "an empty translation lets nothing pass")
            .hint("translate = [\"10:110\"]: here 10, in the network 110");
    }
    for item in list {
        let pair = item.as_str().and_then(|text| {
            let (port, network) = text.split_once(':')?;
            let vid = |text: &str| text.trim().parse().ok().and_then(number);
            Some((vid(port)?, vid(network)?))
        });
        match pair {
            Some((port, network)) if map.insert(port, network) => {}
            Some(_) => checker
                .findings
                .error(
                    at,
                    format!("{item} names a VLAN that stands in another pair"),
                )
                .hint("each VLAN stands once on each side: there must be one way back"),
            None => checker
                .findings
                .error(at, format!("{item} is not a pair of VLANs"))
                .hint("\"10:110\": here 10, in the network 110"),
        }
    }
    map
}
