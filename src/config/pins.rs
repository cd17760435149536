//! `pinned`: MACs that live where the configuration says, whatever frames say.

use std::ops::Range;

use super::checker::Checker;
use super::raw::Field;
use crate::switch::port::PortRule;
use crate::switch::table::Key;
use crate::wire::ethernet::Mac;
use crate::wire::segment::SegmentId;
use crate::wire::vlan::{Vid, VlanClass};

/// Pinned MACs of one port or peer.
const MAX_PINS: usize = 1024;
const FORM: &str = "\"02:00:00:00:00:01\", with a VLAN \"02:00:00:00:00:01@20\", \
                    with segment and VLAN \"02:00:00:00:00:01@lan/20\"";

/// Where a MAC without a VLAN or segment belongs.
pub(super) struct Home<'r> {
    /// The segment, if only one can be meant.
    pub(super) segment: Option<SegmentId>,
    /// What the port carries; `None` for a peer.
    pub(super) rule: Option<&'r PortRule>,
}

impl Home<'_> {
    fn class(&self) -> VlanClass {
        match self.rule {
            Some(PortRule::Access(vid)) => VlanClass::customer(*vid),
            Some(PortRule::Qinq(vid)) => VlanClass::service(*vid),
            Some(PortRule::Trunk {
                native: Some(vid), ..
            }) => VlanClass::customer(*vid),
            _ => VlanClass::UNTAGGED,
        }
    }
}

pub(super) fn check(
    checker: &mut Checker<'_>,
    field: Option<Field<Vec<String>>>,
    home: &Home<'_>,
) -> Vec<Key> {
    let Some((list, at)) = checker.take(field) else {
        return Vec::new();
    };
    if list.len() > MAX_PINS {
        let message = format!("more than {MAX_PINS} pinned MACs in one place");
        checker.findings.error(&at, message);
        return Vec::new();
    }
    let pins = list.iter();
    pins.filter_map(|text| one(checker, (text, &at), home))
        .collect()
}

fn one(
    checker: &mut Checker<'_>,
    (text, at): (&str, &Range<usize>),
    home: &Home<'_>,
) -> Option<Key> {
    let (mac, vlan) = match text.split_once('@') {
        Some((mac, vlan)) => (mac, Some(vlan)),
        None => (text, None),
    };
    let mac = host(checker, (text, mac), at)?;
    let (segment, vlan) = match vlan.and_then(|v| v.split_once('/')) {
        Some((name, vlan)) => {
            let segment = checker.named_segment(name, at);
            if home.rule.is_some() && segment.is_some() && segment != home.segment {
                let message = format!("the port is not in the segment \"{}\"", name.escape_debug());
                checker
                    .findings
                    .error(at, message)
                    .hint("pin the MAC at a port of that segment, or leave the segment out");
            }
            (segment, Some(vlan))
        }
        None => (home.segment, vlan),
    };
    let class = match vlan {
        None => Some(home.class()),
        Some(text) => parse_class(text),
    };
    let Some(class) = class else {
        checker
            .findings
            .error(at, format!("\"{}\" names no VLAN", text.escape_debug()))
            .hint("the VLAN is a number from 1 to 4094, s and a number, or untagged");
        return None;
    };
    if home.rule.is_some_and(|rule| !rule.carries(class)) {
        checker
            .findings
            .error(
                at,
                format!("the port does not carry the VLAN of \"{text}\""),
            )
            .hint(FORM);
    }
    if segment.is_none() && home.segment.is_none() && !text.contains('/') {
        checker
            .findings
            .error(at, format!("\"{text}\" does not say in which segment"))
            .hint("\"02:00:00:00:00:01@lan/20\", since there are several");
    }
    let key = Key::new(segment?, class, mac);
    if !checker.pins.insert(key) {
        let message = format!("{mac} is pinned twice in this VLAN");
        checker.findings.error(at, message);
    }
    Some(key)
}

fn host(checker: &mut Checker<'_>, (text, mac): (&str, &str), at: &Range<usize>) -> Option<Mac> {
    let mac = mac.parse::<Mac>().ok();
    let mac = mac.filter(|m| !m.is_group() && *m != Mac::ZERO);
    if mac.is_none() {
        let message = format!("\"{}\" is not the MAC of a host", text.escape_debug());
        checker.findings.error(at, message).hint(FORM);
    }
    mac
}

/// `20`, `s100`, `untagged`; as `macs` prints them.
pub fn parse_class(text: &str) -> Option<VlanClass> {
    let vid = |text: &str| text.parse().ok().and_then(Vid::new);
    match (text, text.strip_prefix('s')) {
        ("untagged" | "-", _) => Some(VlanClass::UNTAGGED),
        (_, Some(service)) => vid(service).map(VlanClass::service),
        _ => vid(text).map(VlanClass::customer),
    }
}
