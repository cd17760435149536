//! The little of IP and UDP that it takes to recognise a datagram: addresses and ports (RFC 791, RFC 8200, RFC 768).
//!
//! Fragments, and IPv6 packets with extension headers, are not looked into: they count as no UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_UDP: u8 = 17;

/// Source port and destination of the UDP datagram in a frame; `after_tags` begins with the EtherType.
pub fn ports(after_tags: &[u8]) -> Option<(u16, SocketAddr)> {
    let (ethertype, packet) = after_tags.split_first_chunk::<2>()?;
    let (to, segment): (IpAddr, &[u8]) = match *ethertype {
        ETHERTYPE_IPV4 => {
            let header = packet.first_chunk::<20>()?;
            let [
                first,
                _,
                _,
                _,
                _,
                _,
                f0,
                f1,
                _,
                protocol,
                _,
                _,
                _,
                _,
                _,
                _,
                to @ ..,
            ] = *header;
            let is_fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
            if first >> 4 != 4 || protocol != PROTOCOL_UDP || is_fragment {
                return None;
            }
            let len = usize::from(first & 15) * 4;
            (Ipv4Addr::from(to).into(), packet.get(len..)?)
        }
        ETHERTYPE_IPV6 => {
            let (header, rest) = packet.split_first_chunk::<40>()?;
            let to: &[u8; 16] = header.last_chunk()?;
            let [first, _, _, _, _, _, next, ..] = *header;
            if first >> 4 != 6 || next != PROTOCOL_UDP {
                return None;
            }
            (Ipv6Addr::from(*to).into(), rest)
        }
        _ => return None,
    };
    let [a, b, c, d] = *segment.first_chunk::<4>()?;
    let destination = SocketAddr::new(to, u16::from_be_bytes([c, d]));
    Some((u16::from_be_bytes([a, b]), destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(options: usize, fragment: u16) -> Vec<u8> {
        let mut p = vec![0x08, 0x00, 0x45 + options as u8, 0, 0, 0, 0, 0];
        p.extend_from_slice(&fragment.to_be_bytes());
        p.extend_from_slice(&[64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 9]);
        p.extend(vec![0; options * 4]);
        p.extend_from_slice(&[0x1d, 0xe8, 0x00, 0x35, 0, 8, 0, 0]);
        p
    }

    #[test]
    fn udp_is_recognised_behind_ipv4_options_and_in_ipv6() {
        let expected = Some((7656, "192.0.2.9:53".parse().unwrap()));
        assert_eq!(ports(&v4(0, 0)), expected);
        assert_eq!(ports(&v4(2, 0x4000)), expected, "DF is no fragment");
        assert_eq!(ports(&v4(0, 0x2000)), None);
        assert_eq!(ports(&v4(0, 1)), None);
        let mut v6 = vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64];
        v6.extend_from_slice(&[0; 16]);
        v6.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        v6.extend_from_slice(&[0x1d, 0xe8, 0x00, 0x35]);
        assert_eq!(ports(&v6), Some((7656, "[::1]:53".parse().unwrap())));
    }

    #[test]
    fn anything_else_is_not_and_nothing_panics() {
        let whole = v4(3, 0);
        for len in 0..whole.len() - 4 {
            assert_eq!(ports(&whole[..len]), None, "{len}");
        }
        let mut tcp = v4(0, 0);
        tcp[11] = 6;
        assert_eq!(ports(&tcp), None);
        let mut arp = v4(0, 0);
        arp[1] = 6;
        assert_eq!(ports(&arp), None);
        let mut short_header = v4(0, 0);
        short_header[2] = 0x40;
        let _ = ports(&short_header);
    }
}
