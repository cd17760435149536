//! `[[port]]`: TAPs, their addresses and what they do with VLANs.

use std::net::IpAddr;
use std::ops::Range;

use super::checker::Checker;
use super::pins;
use super::raw::{Field, RawPort, Sections};
use super::vlans::{self, VlanFields};
use super::{PortConfig, SegmentConfig};
use crate::wire::ethernet::Mac;
use crate::wire::segment::SegmentId;

/// The longest interface name, in bytes (IFNAMSIZ less its NUL).
const MAX_NAME: usize = 15;
const DEFAULT_MTU: u16 = 1500;
/// From IPv4's smallest to what a frame's 16-bit length leaves beside header and two tags.
const MTU_RANGE: std::ops::RangeInclusive<i64> = 576..=65_500;
const MAX_PORTS: usize = 256;

pub(super) fn check(
    checker: &mut Checker<'_>,
    raw: Option<Sections<RawPort>>,
    (segments, relays): (&[SegmentConfig], bool),
) -> Vec<PortConfig> {
    let raw = checker.sections(raw, "port");
    if raw.len() > MAX_PORTS
        && let Some((_, at)) = raw.last()
    {
        checker
            .findings
            .error(at, format!("more than {MAX_PORTS} ports"));
    }
    if raw.is_empty() && !relays {
        checker.findings.warning(
            &(0..0),
            "there is no [[port]]: this member carries no frames",
        );
    }
    let mut ports: Vec<PortConfig> = Vec::new();
    for (port, at) in raw {
        if let Some(port) = one(checker, port, &at, (segments, &ports)) {
            ports.push(port);
        }
    }
    ports
}

fn one(
    checker: &mut Checker<'_>,
    raw: RawPort,
    at: &Range<usize>,
    (segments, others): (&[SegmentConfig], &[PortConfig]),
) -> Option<PortConfig> {
    let fields = VlanFields {
        mode: raw.mode,
        vlan: raw.vlan,
        vlans: raw.vlans,
        native: raw.native,
        translate: raw.translate,
    };
    let rule = vlans::rule(checker, fields, at);
    let mtu = checker.number(raw.mtu, "mtu", MTU_RANGE);
    let mac = checker.take(raw.mac).and_then(|m| port_mac(checker, m));
    let addresses = checker
        .take(raw.addresses)
        .map(|(list, at)| addresses(checker, list, &at))
        .unwrap_or_default();
    let segment = segment(checker, raw.segment, segments, at);
    let (bridge, creates_bridge) = bridge(
        checker,
        (raw.bridge, raw.create_bridge),
        addresses.is_empty(),
    );
    let offload = checker.offload(raw.offload);
    let link_local = checker.link_local(raw.link_local);
    let home = pins::Home {
        segment,
        rule: rule.as_ref(),
    };
    let pinned = pins::check(checker, raw.pinned, &home);
    let is_isolated = checker.switch_of(raw.isolated).unwrap_or(false);
    let guards_loops = checker.switch_of(raw.loop_guard);
    let roles = checker.services("role", raw.roles);
    let (tap, tap_at) = tap(checker, raw.tap, at, others)?;
    let is_bridge = bridge.as_ref().is_some_and(|(b, _)| *b == tap);
    if is_bridge {
        let message = "a TAP and its bridge cannot have one name";
        checker.findings.error(&tap_at, message);
    }
    Some(PortConfig {
        tap,
        segment: segment?,
        mtu: mtu.unwrap_or(DEFAULT_MTU),
        mac,
        addresses,
        guards_loops: guards_loops.unwrap_or(bridge.is_some()),
        bridge: bridge.map(|(name, _)| name),
        creates_bridge,
        is_isolated,
        pinned,
        rule: rule?,
        link_local,
        roles,
        offload,
    })
}

/// The bridge that is joined and where it stands, and whether it is made when it is not there.
fn bridge(
    checker: &mut Checker<'_>,
    (name, create): (Option<Field<String>>, Option<Field<bool>>),
    has_no_addresses: bool,
) -> (Option<(String, Range<usize>)>, bool) {
    let bridge = checker
        .take(name)
        .filter(|(name, at)| interface_name(checker, name, at));
    if let (Some((_, at)), false) = (&bridge, has_no_addresses) {
        let message = "addresses on a port that joins a bridge have no effect";
        let warning = checker.findings.warning(at, message);
        warning.hint("give them to the bridge instead");
    }
    let create = checker.take(create);
    if let (Some((true, at)), None) = (&create, &bridge) {
        checker
            .findings
            .error(at, "the port does not say which bridge")
            .hint("bridge = \"br0\"");
    }
    (bridge, create.is_some_and(|(on, _)| on))
}

/// The name of a TAP, and where it stands.
fn tap(
    checker: &mut Checker<'_>,
    field: Option<Field<String>>,
    at: &Range<usize>,
    others: &[PortConfig],
) -> Option<(String, Range<usize>)> {
    if field.is_none() {
        checker
            .findings
            .error(at, "a port needs the name of its TAP")
            .hint("tap = \"l2lan\"");
    }
    let tap = checker.take(field);
    let (tap, tap_at) = tap.filter(|(name, at)| interface_name(checker, name, at))?;
    if others.iter().any(|p| p.tap == tap) {
        checker
            .findings
            .error(&tap_at, format!("TAP \"{tap}\" stands twice"));
    }
    Some((tap, tap_at))
}

fn segment(
    checker: &mut Checker<'_>,
    field: Option<Field<String>>,
    segments: &[SegmentConfig],
    at: &Range<usize>,
) -> Option<SegmentId> {
    let given = field.is_some();
    if let Some((name, at)) = checker.take(field) {
        return checker.named_segment(&name, &at);
    }
    match segments {
        [only] => Some(only.id),
        _ if given => None,
        [] if checker.names_segments => None,
        [] => {
            checker
                .findings
                .error(at, "the port is in no segment")
                .hint("write a [[segment]] with name and id");
            None
        }
        _ => {
            checker
                .findings
                .error(at, "the port does not say in which segment it is")
                .hint("segment = \"name\", since there are several");
            None
        }
    }
}

/// The kernel cuts long names silently in the old TAP interface, so they are refused here.
fn interface_name(checker: &mut Checker<'_>, name: &str, at: &Range<usize>) -> bool {
    let valid = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%');
    let good = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(valid)
        && name != "."
        && name != "..";
    if !good {
        let shown = name.escape_debug();
        checker
            .findings
            .error(at, format!("\"{shown}\" is not an interface name"))
            .hint("use 1 to 15 letters, digits, '-', '_' and '.'");
    }
    good
}

fn port_mac(checker: &mut Checker<'_>, (text, at): (String, Range<usize>)) -> Option<Mac> {
    match text.parse::<Mac>() {
        Ok(mac) if mac.is_group() || mac == Mac::ZERO => {
            checker
                .findings
                .error(&at, format!("{mac} cannot be the MAC of one port"))
                .hint("the first byte is even and not all bytes are zero");
            None
        }
        Ok(mac) => Some(mac),
        Err(error) => {
            checker
                .findings
                .error(&at, format!("\"{text}\" is {error}"));
            None
        }
    }
}

fn addresses(checker: &mut Checker<'_>, list: Vec<String>, at: &Range<usize>) -> Vec<(IpAddr, u8)> {
    let mut good = Vec::new();
    for text in list {
        match parse_address(&text) {
            Some(address) if good.contains(&address) => {
                checker
                    .findings
                    .error(at, format!("address \"{text}\" stands twice"));
            }
            Some(address) => good.push(address),
            None => checker
                .findings
                .error(
                    at,
                    format!("\"{text}\" is not an address with a prefix length"),
                )
                .hint("\"10.77.0.1/24\" or \"fd00::1/64\""),
        }
    }
    good
}

fn parse_address(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    let ip: IpAddr = ip.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let usable = !ip.is_unspecified() && !ip.is_multicast();
    (usable && (1..=bits).contains(&prefix)).then_some((ip, prefix))
}
