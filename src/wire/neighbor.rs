//! What ARP (RFC 826, RFC 5227) and IPv6 neighbour discovery (RFC 4861) say of which IP address has which MAC, and the
//! answers to what they ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;
use super::cursor::Cursor;
use super::ethernet::{Mac, Parts};

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMP6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ROUTER_ADVERTISEMENT: u8 = 134;
/// The longest answer: Ethernet, IPv6, advertisement, one option.
const MAX_ANSWER: usize = 14 + 40 + 24 + 8;

/// An address and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The address.
    pub ip: IpAddr,
    /// Who has it.
    pub mac: Mac,
    /// Whether that is a router, as IPv6 hosts tell; `None` when it was not said.
    pub is_router: Option<bool>,
}

impl Binding {
    /// The same, with what it does not say as it was said before of the same host.
    #[must_use]
    pub fn or_as(self, before: &Binding) -> Binding {
        let known = before.is_router.filter(|_| before.mac == self.mac);
        Binding {
            is_router: self.is_router.or(known),
            ..self
        }
    }
}

/// A question to everybody who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which address.
    pub target: IpAddr,
    /// Who asks; `None` wants it for itself and asks whether it is free (RFC 5227, RFC 4862 section 5.4).
    pub asker: Option<IpAddr>,
    /// The MAC of who asks.
    pub mac: Mac,
}

/// What one frame says and asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talk {
    /// What it says of its sender. What is said of others is not believed.
    pub binding: Option<Binding>,
    /// What it asks.
    pub query: Option<Query>,
}

impl Talk {
    /// Reads a frame; `None` when it is neither ARP nor neighbour discovery, or malformed, or has a second tag.
    pub fn of(frame: &Parts<'_>) -> Option<Talk> {
        // Behind two tags another network's addresses begin.
        let (kind, rest) = frame.after_tag().split_first_chunk::<2>()?;
        if frame.is_stacked() {
            return None;
        }
        let [.., a, b, c, d, e, f] = *frame.addresses();
        let source = Mac([a, b, c, d, e, f]);
        let is_to_all = frame.addresses()[0] & 1 == 1;
        match u16::from_be_bytes(*kind) {
            ARP => arp(rest, source, is_to_all),
            IPV6 => nd(rest, source, is_to_all),
            _ => None,
        }
    }
}

fn arp(packet: &[u8], source: Mac, is_to_all: bool) -> Option<Talk> {
    let mut cursor = Cursor(packet);
    let [0, 1, 8, 0, 6, 4, 0, operation @ (1 | 2)] = cursor.array()? else {
        return None;
    };
    let sender = Mac(cursor.array()?);
    let said = Ipv4Addr::from(cursor.array::<4>()?);
    cursor.take(6)?;
    let target = Ipv4Addr::from(cursor.array::<4>()?);
    let is_true = sender == source && is_host(IpAddr::V4(said));
    let asks = operation == 1 && is_to_all && said != target && is_host(IpAddr::V4(target));
    Some(Talk {
        binding: is_true.then_some(Binding {
            ip: IpAddr::V4(said),
            mac: sender,
            is_router: None,
        }),
        query: (asks && sender == source).then_some(Query {
            target: IpAddr::V4(target),
            asker: (!said.is_unspecified()).then_some(IpAddr::V4(said)),
            mac: sender,
        }),
    })
}

fn nd(packet: &[u8], source: Mac, is_to_all: bool) -> Option<Talk> {
    let (header, payload) = packet.split_first_chunk::<40>()?;
    // A hop limit below 255 came through a router, and hosts do not believe it.
    if header[0] >> 4 != 6 || header[6] != ICMP6 || header[7] != 255 {
        return None;
    }
    let from = Ipv6Addr::from(Cursor(header.get(8..24)?).array::<16>()?);
    let message = payload.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
    let mut cursor = Cursor(message);
    let [kind, 0, _, _, flags, _, _, _] = cursor.array()? else {
        return None;
    };
    // What hosts throw away shall not be believed here.
    if !matches!(kind, ROUTER_ADVERTISEMENT..=ADVERTISEMENT) || !is_intact(header, message) {
        return None;
    }
    let target = Ipv6Addr::from(cursor.array::<16>()?);
    if kind != ROUTER_ADVERTISEMENT && !is_host(IpAddr::V6(target)) {
        return None;
    }
    let binding = |ip: Ipv6Addr, is_router| {
        is_host(IpAddr::V6(ip)).then_some(Binding {
            ip: IpAddr::V6(ip),
            mac: source,
            is_router,
        })
    };
    match kind {
        SOLICITATION => Some(Talk {
            binding: binding(from, None).filter(|_| names(cursor, 1, source) == Some(true)),
            query: is_to_all.then_some(Query {
                target: IpAddr::V6(target),
                asker: (!from.is_unspecified()).then_some(IpAddr::V6(from)),
                mac: source,
            }),
        }),
        ADVERTISEMENT => Some(Talk {
            binding: binding(target, Some(flags & 0x80 != 0))
                .filter(|_| names(cursor, 2, source) != Some(false)),
            query: None,
        }),
        ROUTER_ADVERTISEMENT => Some(Talk {
            // Eight bytes more of its own, and then options.
            binding: binding(from, Some(true)).filter(|_| {
                names(Cursor(message.get(16..).unwrap_or_default()), 1, source) == Some(true)
            }),
            query: None,
        }),
        _ => None,
    }
}

/// Whether the checksum of an ICMPv6 message is right (RFC 4443 section 2.3).
pub(super) fn is_intact(header: &[u8; 40], message: &[u8]) -> bool {
    let sum = checksum::pseudo(&header[8..], ICMP6, message.len());
    checksum::finish(checksum::add(sum, message)) == 0
}

/// Whether the option of this type names this MAC; `None` when there is no such option.
fn names(mut options: Cursor<'_>, kind: u8, mac: Mac) -> Option<bool> {
    loop {
        let [found, units] = options.array()?;
        let value = options.take((usize::from(units) * 8).checked_sub(2)?)?;
        if found == kind {
            return Some(value == mac.0);
        }
    }
}

/// Whether one host can have this address.
fn is_host(ip: IpAddr) -> bool {
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || is_broadcast)
}

/// The answer to a question, as a frame without tags.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    bytes: [u8; MAX_ANSWER],
    len: usize,
}

impl std::ops::Deref for Answer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Answer {
    /// What who has the address would answer; `None` when question and binding are of different families.
    pub fn new(query: &Query, binding: &Binding) -> Option<Answer> {
        match (query.target, query.asker) {
            (IpAddr::V4(target), None) => Some(arp_frame(
                2,
                (binding.mac, target),
                (query.mac, Ipv4Addr::UNSPECIFIED),
            )),
            (IpAddr::V4(target), Some(IpAddr::V4(asker))) => {
                Some(arp_frame(2, (binding.mac, target), (query.mac, asker)))
            }
            (IpAddr::V6(target), None) => Some(advertisement(
                (target, binding),
                (Mac([0x33, 0x33, 0, 0, 0, 1]), ALL_NODES),
                0x20,
            )),
            (IpAddr::V6(target), Some(IpAddr::V6(asker))) => {
                Some(advertisement((target, binding), (query.mac, asker), 0x60))
            }
            _ => None,
        }
    }

    /// A question of nobody in particular to who has an address: whether it still has it. Its answer refreshes what is
    /// known and changes nothing at the host.
    pub fn probe(binding: &Binding, from: Mac) -> Answer {
        Answer::ask(binding.ip, (binding.mac, from))
    }

    /// The same, to everybody: bridges on the way may remember the host where it is not any more.
    pub fn search(ip: IpAddr, from: Mac) -> Answer {
        let to = match ip {
            IpAddr::V4(_) => Mac::BROADCAST,
            IpAddr::V6(ip) => {
                let [.., a, b, c] = ip.octets();
                Mac([0x33, 0x33, 0xff, a, b, c])
            }
        };
        Answer::ask(ip, (to, from))
    }

    fn ask(ip: IpAddr, (to, from): (Mac, Mac)) -> Answer {
        match ip {
            IpAddr::V4(ip) => {
                let nobody = Ipv4Addr::UNSPECIFIED;
                let mut question = arp_frame(1, (from, nobody), (Mac::ZERO, ip));
                question.put(0, &to.0);
                question
            }
            IpAddr::V6(ip) => solicitation(ip, (to, from)),
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn of(parts: &[&[u8]]) -> Answer {
        let mut answer = Answer {
            bytes: [0; MAX_ANSWER],
            len: 0,
        };
        for part in parts {
            answer.put(answer.len, part);
            answer.len += part.len();
        }
        answer
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn arp_frame(operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Answer {
    Answer::of(&[
        &target.0.0,
        &sender.0.0,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation],
        &sender.0.0,
        &sender.1.octets(),
        &target.0.0,
        &target.1.octets(),
    ])
}

fn advertisement(
    (target, binding): (Ipv6Addr, &Binding),
    to: (Mac, Ipv6Addr),
    flags: u8,
) -> Answer {
    let router = if binding.is_router == Some(true) {
        0x80
    } else {
        0
    };
    let mut body = [0u8; 32];
    body[0] = ADVERTISEMENT;
    body[4] = flags | router;
    body[24..26].copy_from_slice(&[2, 1]);
    body[26..].copy_from_slice(&binding.mac.0);
    icmp6((binding.mac, target), to, (target, &mut body))
}

/// A solicitation by a link-local address that the MAC gives (RFC 4291 appendix A).
fn solicitation(target: Ipv6Addr, (to, from): (Mac, Mac)) -> Answer {
    let [a, b, c, d, e, f] = from.0;
    let own = Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ]);
    let mut body = [0u8; 32];
    body[0] = SOLICITATION;
    body[24..26].copy_from_slice(&[1, 1]);
    body[26..].copy_from_slice(&from.0);
    // RFC 4291 section 2.7.1: the group of all who have an address with this end.
    let [.., x, y, z] = target.octets();
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z];
    let destination = if to.is_group() { group.into() } else { target };
    icmp6((from, own), (to, destination), (target, &mut body))
}

fn icmp6(
    from: (Mac, Ipv6Addr),
    to: (Mac, Ipv6Addr),
    (target, body): (Ipv6Addr, &mut [u8; 32]),
) -> Answer {
    body[8..24].copy_from_slice(&target.octets());
    let mut sum = checksum::add(0, &from.1.octets());
    sum = checksum::add(sum, &to.1.octets());
    sum = checksum::add(sum, &[0, 32, 0, ICMP6]);
    sum = checksum::add(sum, &body[..]);
    body[2..4].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    Answer::of(&[
        &to.0.0,
        &from.0.0,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, ICMP6, 255],
        &from.1.octets(),
        &to.1.octets(),
        &body[..],
    ])
}
