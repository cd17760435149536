//! What the hosts behind a member may call themselves: MACs, and addresses that they claim by ARP (RFC 826) and neighbour discovery
//! (RFC 4861).
//!
//! # Why
//! Hosts believe whatever says "this address is mine", so whoever receives for them looks whether it may be. What they could read and
//! this cannot is dropped where addresses are limited: a second tag or an extension header must not be a way around (VU#855201).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cursor::Cursor;
use super::ethernet::Mac;
use super::service::Service;
use super::vlan::is_tag;

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMP6: u8 = 58;
const ROUTER_SOLICITATION: u8 = 133;
const REDIRECT: u8 = 137;
const FRAGMENT: u8 = 44;
/// Extension headers that are followed.
const MAX_EXTENSIONS: usize = 8;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Tags that are followed.
const MAX_TAGS: usize = 4;

/// What a member's record says of the hosts behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The MACs that they may have, in their order; empty for all.
    pub macs: Vec<Mac>,
    /// The addresses that they may claim, with the bits of each prefix; empty for all.
    pub prefixes: Vec<(IpAddr, u8)>,
    /// How many of their MACs are remembered; 0 for as many as of every other place.
    pub mac_limit: u16,
}

/// What a frame claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Nothing,
    These([Option<IpAddr>; 2]),
    Unclear,
}

impl Claims {
    /// Whether everything is allowed.
    pub fn is_empty(&self) -> bool {
        self.macs.is_empty() && self.prefixes.is_empty() && self.mac_limit == 0
    }

    /// Whether a host may have this MAC.
    pub fn allows_mac(&self, mac: Mac) -> bool {
        self.macs.is_empty() || self.macs.binary_search(&mac).is_ok()
    }

    /// Whether a host may claim this address. Those of one link (RFC 4291 section 2.5.6) are everybody's.
    pub fn allows_address(&self, ip: IpAddr) -> bool {
        let is_of_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let is_within = |(prefix, bits): &(IpAddr, u8)| is_in(ip, *prefix, *bits);
        self.prefixes.is_empty() || is_of_link || self.prefixes.iter().any(is_within)
    }

    /// Whether a frame claims nothing that it may not; `rest` is what follows its addresses and first tag.
    pub fn allow(&self, rest: &[u8]) -> bool {
        if self.prefixes.is_empty() {
            return true;
        }
        match claim_of(rest) {
            Claim::Nothing => true,
            Claim::These(all) => all.into_iter().flatten().all(|ip| self.allows_address(ip)),
            Claim::Unclear => false,
        }
    }
}

fn is_in(ip: IpAddr, prefix: IpAddr, bits: u8) -> bool {
    let (ip, prefix, len) = match (ip, prefix) {
        (IpAddr::V4(ip), IpAddr::V4(prefix)) => {
            (u128::from(ip.to_bits()), u128::from(prefix.to_bits()), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(prefix)) => (ip.to_bits(), prefix.to_bits(), 128),
        _ => return false,
    };
    let rest = 128u32.min(len).saturating_sub(u32::from(bits));
    (ip ^ prefix).checked_shr(rest).unwrap_or(0) == 0
}

fn claim_of(rest: &[u8]) -> Claim {
    if Service::of(rest) == Service::Unclear {
        return Claim::Unclear;
    }
    let mut cursor = Cursor(rest);
    let mut kind = be16(&mut cursor);
    for _ in 0..MAX_TAGS {
        if !kind.is_some_and(is_tag) {
            break;
        }
        // What the tag says.
        let _ = be16(&mut cursor);
        kind = be16(&mut cursor);
    }
    match kind {
        Some(ARP) => arp(cursor.0),
        Some(IPV6) => nd(cursor.0),
        // A length, and what LLC says: hosts take ARP behind it, too.
        Some(length) if length < 0x0600 => snap(cursor.0),
        Some(_) => Claim::Nothing,
        None => Claim::Unclear,
    }
}

fn snap(rest: &[u8]) -> Claim {
    match rest {
        [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, 0x08, 0x06, packet @ ..] => arp(packet),
        [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, 0x86, 0xdd, packet @ ..] => nd(packet),
        _ => Claim::Nothing,
    }
}

fn be16(cursor: &mut Cursor<'_>) -> Option<u16> {
    cursor.array().map(u16::from_be_bytes)
}

/// Who sends, whatever it asks or answers. Who asks whether an address is free claims none yet (RFC 5227).
fn arp(packet: &[u8]) -> Claim {
    let mut cursor = Cursor(packet);
    let (Some(header), Some(_mac), Some(sender)) = (
        cursor.array::<8>(),
        cursor.array::<6>(),
        cursor.array::<4>(),
    ) else {
        return Claim::Unclear;
    };
    // Hosts read other hardware types with Ethernet's lengths all the same.
    let [_, _, 8, 0, 6, 4, _, _] = header else {
        return Claim::Unclear;
    };
    let sender = Ipv4Addr::from(sender);
    match sender.is_unspecified() {
        true => Claim::Nothing,
        false => Claim::These([Some(sender.into()), None]),
    }
}

/// Whom a solicitation is from, and what an advertisement is of. A neighbour's message behind an extension header is none that a host
/// should take (RFC 6980), but some do; others' messages there, as those of multicast listeners (RFC 3810), claim nothing.
fn nd(packet: &[u8]) -> Claim {
    let Some((header, mut message)) = packet.split_first_chunk::<40>() else {
        return Claim::Unclear;
    };
    let from = Cursor(header.get(8..24).unwrap_or_default()).array::<16>();
    let from = Ipv6Addr::from(from.unwrap_or_default());
    let mut next = header[6];
    let mut is_behind = false;
    for _ in 0..MAX_EXTENSIONS {
        match (next, message) {
            // A later fragment has no header of its own.
            (FRAGMENT, [_, _, high, low, ..]) if *high != 0 || *low & 0xf8 != 0 => {
                return Claim::Nothing;
            }
            (FRAGMENT, [then, _, _, _, _, _, _, _, rest @ ..]) => (next, message) = (*then, rest),
            (0 | 43 | 60, [then, units, ..]) => {
                let Some(rest) = message.get((usize::from(*units) + 1) * 8..) else {
                    return Claim::Unclear;
                };
                (next, message) = (*then, rest);
            }
            (0 | 43 | 60 | FRAGMENT, _) => return Claim::Unclear,
            _ => break,
        }
        is_behind = true;
    }
    if matches!(next, 0 | 43 | 60 | FRAGMENT) {
        return Claim::Unclear;
    }
    if next != ICMP6 {
        return Claim::Nothing;
    }
    let from = (!from.is_unspecified()).then_some(IpAddr::V6(from));
    match message {
        [ROUTER_SOLICITATION..=REDIRECT, ..] if is_behind => Claim::Unclear,
        [ADVERTISEMENT, _, _, _, _, _, _, _, target @ ..] => match target.first_chunk::<16>() {
            Some(target) => Claim::These([from, Some(IpAddr::V6(Ipv6Addr::from(*target)))]),
            None => Claim::Unclear,
        },
        // Both name the sender's MAC for its address.
        [ROUTER_SOLICITATION | SOLICITATION, ..] => Claim::These([from, None]),
        // It names a MAC for whatever address it likes, in a router's name.
        [REDIRECT, ..] | [] => Claim::Unclear,
        _ => Claim::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(prefixes: &[(&str, u8)]) -> Claims {
        let prefixes = prefixes.iter();
        Claims {
            prefixes: prefixes
                .map(|(ip, bits)| (ip.parse().unwrap(), *bits))
                .collect(),
            ..Claims::default()
        }
    }

    fn arp_of(sender: [u8; 4]) -> Vec<u8> {
        let head = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1];
        [&head[..], &sender, &[0; 6], &[10, 0, 0, 9]].concat()
    }

    fn nd_of(kind: u8, from: &str, target: &str, next: u8) -> Vec<u8> {
        let from: Ipv6Addr = from.parse().unwrap();
        let target: Ipv6Addr = target.parse().unwrap();
        let head = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, next, 255];
        let message = [kind, 0, 0, 0, 0, 0, 0, 0];
        [
            &head[..],
            &from.octets(),
            &[0xff; 16],
            &message,
            &target.octets(),
        ]
        .concat()
    }

    #[test]
    fn what_is_claimed_has_to_be_allowed_whatever_it_hides_behind() {
        let own = claims(&[("10.0.0.0", 24), ("fd00::", 64)]);
        let tag = [0x81, 0, 0, 0];
        let snap = |frame: &[u8]| [&[0, 60, 0xaa, 0xaa, 3, 0, 0, 0][..], frame].concat();
        for (sender, is_allowed) in [
            ([10, 0, 0, 7], true),
            ([10, 0, 1, 7], false),
            ([0, 0, 0, 0], true),
        ] {
            let plain = arp_of(sender);
            assert_eq!(own.allow(&plain), is_allowed, "{sender:?}");
            assert_eq!(own.allow(&[&tag[..], &plain].concat()), is_allowed);
            assert_eq!(own.allow(&[&tag[..], &tag, &plain].concat()), is_allowed);
            assert_eq!(own.allow(&snap(&plain)), is_allowed, "behind LLC");
        }
        assert!(!own.allow(&arp_of([10, 0, 0, 7])[..12]), "cut off");
        let mut odd = arp_of([10, 0, 0, 7]);
        odd[6] = 8;
        assert!(!own.allow(&odd), "addresses of other lengths");
        for (from, target, is_allowed) in [
            ("fd00::5", "fd00::5", true),
            ("fe80::1", "fd00::5", true),
            ("fe80::1", "fd01::5", false),
            ("fd01::1", "fd00::5", false),
        ] {
            let frame = nd_of(ADVERTISEMENT, from, target, ICMP6);
            assert_eq!(own.allow(&frame), is_allowed, "{from} {target}");
        }
        // A listener's report behind a hop-by-hop header, a fragment, and what only looks like them.
        let behind = |next: u8, header: &[u8], message: &[u8]| {
            let mut frame = nd_of(1, "fd01::5", "::", next)[..2 + 40].to_vec();
            frame.extend_from_slice(header);
            frame.extend_from_slice(message);
            frame
        };
        let alert = [58, 0, 5, 2, 0, 0, 1, 0];
        assert!(own.allow(&behind(0, &alert, &[143, 0, 0, 0, 0, 0, 0, 0])));
        assert!(!own.allow(&behind(0, &alert, &[ADVERTISEMENT, 0, 0, 0])));
        assert!(own.allow(&behind(44, &[17, 0, 0, 9, 0, 0, 0, 1], &[0; 40])));
        assert!(!own.allow(&nd_of(ROUTER_SOLICITATION, "fd01::5", "::", ICMP6)));
        assert!(!own.allow(&nd_of(REDIRECT, "fe80::1", "fd00::5", ICMP6)));
        assert!(own.allow(&nd_of(SOLICITATION, "fd00::5", "fd01::9", ICMP6)));
        assert!(own.allow(&nd_of(SOLICITATION, "::", "fd01::9", ICMP6)));
        assert!(!own.allow(&nd_of(SOLICITATION, "fd01::5", "fd00::9", ICMP6)));
        // Without a limit nothing is looked at.
        assert!(claims(&[]).allow(&[]));
    }

    #[test]
    fn prefixes_are_of_their_family_and_length() {
        let ip = |text: &str| text.parse().unwrap();
        assert!(is_in(ip("10.1.2.3"), ip("10.1.0.0"), 16));
        assert!(!is_in(ip("10.2.2.3"), ip("10.1.0.0"), 16));
        assert!(is_in(ip("1.2.3.4"), ip("0.0.0.0"), 0));
        assert!(is_in(ip("::1"), ip("::"), 0) && !is_in(ip("::1"), ip("0.0.0.0"), 0));
        assert!(is_in(ip("10.0.0.1"), ip("10.0.0.1"), 32));
        assert!(!is_in(ip("10.0.0.2"), ip("10.0.0.1"), 32));
    }
}
