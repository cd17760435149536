//! What a frame offers to hosts: a DHCP server's answer, a router's advertisement, neither, or nobody can tell.
//!
//! # Why
//! A guard that looks at the first EtherType only is passed by one tag of VID 0, a SNAP header, an extension header or a
//! fragment, because hosts look further than it does (VU#855201). So this walks as far as hosts do, and says *unclear*
//! for what it cannot follow; a guard drops that. Sources: IEEE 802.1Q, RFC 1042 (SNAP), RFC 2131 and 8415 (DHCP),
//! RFC 4861 (router advertisements), RFC 6105 and 7113 (guards and their evasion), RFC 8200 (extension headers).

use super::cursor::Cursor;
use super::vlan::is_tag;

/// Tags that are followed; a frame with more is nothing that a host takes.
const MAX_TAGS: usize = 4;
/// Extension headers that are followed.
const MAX_EXTENSIONS: usize = 8;
/// Values up to this are taken for an 802.3 length by hosts, and an LLC header follows: 1500 by the standard, all below the
/// first EtherType in fact.
const MAX_LENGTH: u16 = 0x05ff;
/// The EtherType of LLC frames that are too long for a length.
const LONG_LLC: u16 = 0x8870;
/// The port that DHCPv4 clients listen on.
const DHCP_CLIENT: u16 = 68;
/// The port that DHCPv6 clients listen on.
const DHCP6_CLIENT: u16 = 546;
const ROUTER_ADVERTISEMENT: u8 = 134;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// What a frame offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Nothing of these.
    None,
    /// A DHCP server's or relay's message to clients.
    DhcpServer,
    /// A router advertisement.
    Router,
    /// Hosts may see more in it than we do.
    Unclear,
}

/// A set of services: what a segment guards, or what a port or peer may offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// DHCP, for IPv4 and IPv6.
    pub dhcp_server: bool,
    /// Router advertisements.
    pub router: bool,
}

impl Services {
    /// Neither.
    pub const NONE: Services = Services {
        dhcp_server: false,
        router: false,
    };

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(self, other: Services) -> Services {
        Services {
            dhcp_server: self.dhcp_server && !other.dhcp_server,
            router: self.router && !other.router,
        }
    }
}

impl Service {
    /// Looks into a frame; `rest` begins with the EtherType, a tag, or a length, behind the addresses or any tag.
    pub fn of(rest: &[u8]) -> Service {
        look(rest).unwrap_or(Service::Unclear)
    }
}

/// `None` when something is cut off.
fn look(rest: &[u8]) -> Option<Service> {
    let mut cursor = Cursor(rest);
    let mut kind = be16(&mut cursor)?;
    for _ in 0..MAX_TAGS {
        if !is_tag(kind) {
            break;
        }
        cursor.take(2)?;
        kind = be16(&mut cursor)?;
    }
    if kind <= MAX_LENGTH {
        match cursor.0 {
            // Spanning tree, and what else names itself by an LLC address that no host takes for IP.
            [0x42, 0x42, ..] | [0xfe, 0xfe, ..] | [0xe0, 0xe0, ..] | [0xf0, 0xf0, ..] => {
                return Some(Service::None);
            }
            // SNAP: an EtherType follows the organisations of RFC 1042 and 802.1H; others have protocols of their own.
            [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, ..] => {
                cursor.take(6)?;
                kind = be16(&mut cursor)?;
            }
            [0xaa, 0xaa, 3, _, _, _, ..] => return Some(Service::None),
            _ => return None,
        }
    }
    match kind {
        0x0800 => ipv4(cursor.0),
        0x86dd => ipv6(cursor.0),
        // A tag within a SNAP header, or more tags than hosts take.
        kind if is_tag(kind) || kind <= MAX_LENGTH || kind == LONG_LLC => None,
        _ => Some(Service::None),
    }
}

fn be16(cursor: &mut Cursor<'_>) -> Option<u16> {
    cursor.array().map(u16::from_be_bytes)
}

fn ipv4(packet: &[u8]) -> Option<Service> {
    let header = packet.first_chunk::<20>()?;
    let len = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || len < 20 || total < len {
        return None;
    }
    // What lies behind the packet is not its.
    let packet = packet.get(..total).unwrap_or(packet);
    if header[9] != UDP {
        return Some(Service::None);
    }
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if offset != 0 {
        // Without the first fragment it is nothing, and that is looked at.
        return Some(Service::None);
    }
    udp(packet.get(len..)?, DHCP_CLIENT)
}

fn udp(segment: &[u8], client: u16) -> Option<Service> {
    let header = segment.first_chunk::<8>()?;
    let to = u16::from_be_bytes([header[2], header[3]]);
    Some(match to == client {
        true => Service::DhcpServer,
        false => Service::None,
    })
}

fn ipv6(packet: &[u8]) -> Option<Service> {
    let (header, mut rest) = packet.split_first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // What lies behind the packet is not its.
    rest = rest.get(..len).unwrap_or(rest);
    let mut next = header[6];
    for _ in 0..=MAX_EXTENSIONS {
        let unit = match next {
            UDP => return udp(rest, DHCP6_CLIENT),
            ICMP6 => {
                return Some(match *rest.first()? {
                    ROUTER_ADVERTISEMENT => Service::Router,
                    _ => Service::None,
                });
            }
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => 8 * (1 + usize::from(*rest.get(1)?)),
            // Authentication.
            51 => 4 * (2 + usize::from(*rest.get(1)?)),
            44 => {
                let fragment = rest.first_chunk::<8>()?;
                if u16::from_be_bytes([fragment[2], fragment[3]]) >> 3 != 0 {
                    // Without the first fragment it is nothing, and overlapping ones are refused by hosts (RFC 5722).
                    return Some(Service::None);
                }
                8
            }
            _ => return Some(Service::None),
        };
        next = *rest.first()?;
        rest = rest.get(unit..)?;
    }
    None
}
