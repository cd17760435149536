//! Where the headers of a TCP or UDP packet lie within a frame (RFC 791, RFC 8200, RFC 9293, RFC 768).
//!
//! Offsets count from the EtherType behind the outermost VLAN tag, so that they stay true when that tag is pushed, popped
//! or exchanged. Stacked tags, IPv4 options, IPv6 extension headers and TCP options are walked. What is a fragment,
//! encrypted, or anything else than TCP or UDP has no layers: it is carried as it is.

use super::checksum;
use super::vlan;

/// The most VLAN tags that are looked behind, the outermost not counted.
const MAX_TAGS: usize = 3;
/// The most IPv6 extension headers that are walked.
const MAX_EXTENSIONS: usize = 8;
/// The most bytes of headers from the EtherType to the payload; what has more is carried as it is.
pub const MAX_HEADERS: usize = 224;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

/// TCP flags that matter for cutting and joining.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// The first packet of a connection.
    pub const SYN: u8 = 0x02;
    /// The end of a connection, at once.
    pub const RST: u8 = 0x04;
    /// The urgent pointer holds.
    pub const URG: u8 = 0x20;
    /// Hand the data to the program.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number holds.
    pub const ACK: u8 = 0x10;
    /// Congestion window reduced, RFC 3168.
    pub const CWR: u8 = 0x80;
}

/// The IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    /// IPv4, RFC 791.
    V4,
    /// IPv6, RFC 8200.
    V6,
}

/// The transport protocol of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Transport {
    /// The protocol number in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }

    /// Where the checksum stands in the header, in bytes.
    pub const fn checksum_offset(self) -> usize {
        match self {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
    }
}

/// Where the parts of a packet lie, in bytes from the EtherType behind the outermost tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Which IP.
    pub ip: Ip,
    /// Which transport.
    pub transport: Transport,
    /// The IP header.
    pub network: usize,
    /// The TCP or UDP header.
    pub segment: usize,
    /// The payload.
    pub payload: usize,
    /// The end of the packet as its IP header says; what follows is padding.
    pub end: usize,
}

impl Layers {
    /// Finds the layers; `None` for everything that is not a whole TCP or UDP packet within a frame.
    ///
    /// `rest` begins with the EtherType behind the outermost tag.
    pub fn read(rest: &[u8]) -> Option<Layers> {
        Layers::read_with_room(rest, rest.len())
    }

    /// Finds the layers of a packet whose payload lies elsewhere: `rest` holds the headers only, `len` is the length
    /// with the payload.
    pub fn read_with_room(rest: &[u8], len: usize) -> Option<Layers> {
        let (network, ethertype) = behind_tags(rest)?;
        let layers = match ethertype {
            ETHERTYPE_IPV4 => ipv4(rest, network)?,
            ETHERTYPE_IPV6 => ipv6(rest, network)?,
            _ => return None,
        };
        let layers = Layers {
            payload: layers.segment + transport_len(rest, &layers)?,
            ..layers
        };
        let fits = layers.payload <= layers.end
            && layers.end <= len
            && layers.payload <= MAX_HEADERS
            && layers.payload <= rest.len();
        fits.then_some(layers)
    }

    /// Both addresses of the IP header.
    pub fn addresses<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        match self.ip {
            Ip::V4 => rest.get(self.network + 12..self.network + 20),
            Ip::V6 => rest.get(self.network + 8..self.network + 40),
        }
    }

    /// The sum of the pseudo header for a segment of this length, in bytes.
    pub fn pseudo(&self, rest: &[u8], len: usize) -> u64 {
        let addresses = self.addresses(rest).unwrap_or_default();
        checksum::pseudo(addresses, self.transport.number(), len)
    }

    /// Whether the checksum of the segment is there and right.
    pub fn checksum_holds(&self, rest: &[u8]) -> bool {
        let Some(segment) = rest.get(self.segment..self.end) else {
            return false;
        };
        let is_absent = self.transport == Transport::Udp && segment.get(6..8) == Some(&[0, 0]);
        let sum = checksum::add(self.pseudo(rest, segment.len()), segment);
        !is_absent && checksum::fold(sum) == 0xffff
    }

    /// The flags of the TCP header.
    pub fn tcp_flags(&self, rest: &[u8]) -> u8 {
        rest.get(self.segment + 13).copied().unwrap_or(0)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

/// Walks over further tags; gives where the network header begins and its EtherType.
fn behind_tags(rest: &[u8]) -> Option<(usize, u16)> {
    let mut at = 0;
    for _ in 0..=MAX_TAGS {
        let ethertype = word(rest, at)?;
        if !vlan::is_tag(ethertype) {
            return Some((at + 2, ethertype));
        }
        at += vlan::TAG_LEN;
    }
    None
}

fn transport_of(protocol: u8) -> Option<Transport> {
    [Transport::Tcp, Transport::Udp]
        .into_iter()
        .find(|t| t.number() == protocol)
}

fn ipv4(rest: &[u8], network: usize) -> Option<Layers> {
    let header = rest.get(network..)?.first_chunk::<20>()?;
    let [first, _, l0, l1, _, _, f0, f1, _, protocol, ..] = *header;
    let header_len = usize::from(first & 15) * 4;
    let is_fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
    if first >> 4 != 4 || header_len < 20 || is_fragment {
        return None;
    }
    let segment = network + header_len;
    Some(Layers {
        ip: Ip::V4,
        transport: transport_of(protocol)?,
        network,
        segment,
        payload: segment,
        end: network + usize::from(u16::from_be_bytes([l0, l1])),
    })
}

fn ipv6(rest: &[u8], network: usize) -> Option<Layers> {
    let header = rest.get(network..)?.first_chunk::<40>()?;
    let [first, _, _, _, l0, l1, mut next, ..] = *header;
    if first >> 4 != 6 {
        return None;
    }
    let mut at = network + 40;
    for _ in 0..=MAX_EXTENSIONS {
        if let Some(transport) = transport_of(next) {
            return Some(Layers {
                ip: Ip::V6,
                transport,
                network,
                segment: at,
                payload: at,
                end: network + 40 + usize::from(u16::from_be_bytes([l0, l1])),
            });
        }
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
            return None;
        }
        // While a routing header has segments left the checksum covers another destination than the header's.
        if next == ROUTING && *rest.get(at + 3)? != 0 {
            return None;
        }
        next = *rest.get(at)?;
        at += (usize::from(*rest.get(at + 1)?) + 1) * 8;
    }
    None
}

fn transport_len(rest: &[u8], layers: &Layers) -> Option<usize> {
    match layers.transport {
        Transport::Tcp => {
            let len = usize::from(rest.get(layers.segment + 12)? >> 4) * 4;
            (len >= 20).then_some(len)
        }
        Transport::Udp => {
            // A length that differs from the IP header's hides or misses bytes: nothing to be cut or joined.
            let len = usize::from(word(rest, layers.segment + 4)?);
            (layers.segment + len == layers.end && len >= 8).then_some(8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_v4(ip_options: usize, tcp_options: usize, payload: usize) -> Vec<u8> {
        let total = 40 + ip_options * 4 + tcp_options * 4 + payload;
        let mut p = vec![8, 0, 0x45 + ip_options as u8, 0];
        p.extend_from_slice(&(total as u16).to_be_bytes());
        p.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        p.resize(p.len() + ip_options * 4, 1);
        let at = p.len();
        p.resize(at + 20 + tcp_options * 4 + payload, 0);
        p[at + 12] = (5 + tcp_options as u8) << 4;
        p
    }

    fn v6(extensions: &[(u8, usize)], transport: &[u8], protocol: u8) -> Vec<u8> {
        let mut body = Vec::new();
        for (i, (_, len)) in extensions.iter().enumerate() {
            let next = extensions.get(i + 1).map_or(protocol, |e| e.0);
            let mut e = vec![0u8; (len + 1) * 8];
            (e[0], e[1]) = (next, *len as u8);
            body.extend(e);
        }
        body.extend_from_slice(transport);
        let mut p = vec![0x86, 0xdd, 0x60, 0, 0, 0];
        p.extend_from_slice(&(body.len() as u16).to_be_bytes());
        p.push(extensions.first().map_or(protocol, |e| e.0));
        p.push(64);
        p.extend_from_slice(&[1; 32]);
        p.extend(body);
        p
    }

    #[test]
    fn options_tags_and_extension_headers_are_walked() {
        let plain = Layers::read(&tcp_v4(0, 3, 10)).unwrap();
        assert_eq!(
            (plain.network, plain.segment, plain.payload, plain.end),
            (2, 22, 54, 64)
        );
        let options = Layers::read(&tcp_v4(2, 0, 10)).unwrap();
        assert_eq!((options.segment, options.payload), (30, 50));
        let mut tagged = vec![0x81, 0, 0, 5, 0x88, 0xa8, 0, 6];
        tagged.extend(tcp_v4(0, 0, 1));
        assert_eq!(Layers::read(&tagged).unwrap().network, 10);
        let udp = [0, 1, 0, 2, 0, 12, 0, 0, 9, 9, 9, 9];
        let six = Layers::read(&v6(&[(0, 0), (60, 2), (43, 1)], &udp, 17)).unwrap();
        assert_eq!((six.ip, six.transport), (Ip::V6, Transport::Udp));
        assert_eq!((six.segment, six.payload), (42 + 8 + 24 + 16, 42 + 48 + 8));
    }

    #[test]
    fn fragments_other_protocols_and_lies_have_no_layers() {
        let good = tcp_v4(0, 0, 10);
        let with = |at: usize, value: u8| {
            let mut p = good.clone();
            p[at] = value;
            Layers::read(&p)
        };
        assert!(Layers::read(&good).is_some());
        assert!(with(8, 0x20).is_none(), "more fragments");
        assert!(with(9, 1).is_none(), "a later fragment");
        assert!(with(11, 1).is_none(), "ICMP");
        assert!(with(2, 0x44).is_none(), "a header of 16 bytes");
        assert!(with(2, 0x65).is_none(), "IPv6 under the EtherType of IPv4");
        assert!(with(5, 255).is_none(), "longer than the frame");
        assert!(with(22 + 12, 0x40).is_none(), "a TCP header of 16 bytes");
        assert!(Layers::read(&v6(&[(44, 0)], &[0; 30], 6)).is_none());
        let short = [0, 1, 0, 2, 0, 9, 0, 0, 9, 9, 9, 9];
        assert!(Layers::read(&v6(&[], &short, 17)).is_none(), "two lengths");
        for len in 0..good.len() {
            assert!(Layers::read(&good[..len]).is_none(), "{len}");
        }
        let mut padded = good.clone();
        padded.resize(80, 0);
        assert_eq!(Layers::read(&padded).unwrap().end, good.len());
    }
}
