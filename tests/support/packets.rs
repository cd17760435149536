//! Packets of hosts as hosts write them: ARP, neighbour discovery, IGMP, MLD. Written apart from the product's own.

#![allow(dead_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use l2vpn::wire::ethernet::Mac;

type Host = (Mac, IpAddr);

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

fn arp(
    to: Mac,
    operation: u8,
    (mac, ip): (Mac, Ipv4Addr),
    (of, target): (Mac, Ipv4Addr),
) -> Vec<u8> {
    let mut f = [
        &to.0[..],
        &mac.0,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation],
        &mac.0,
    ]
    .concat();
    f.extend(ip.octets());
    f.extend(of.0);
    f.extend(target.octets());
    f
}

fn icmp6(
    (mac, from): (Mac, Ipv6Addr),
    (to_mac, to): (Mac, Ipv6Addr),
    mut body: Vec<u8>,
    hop_by_hop: bool,
) -> Vec<u8> {
    let len = body.len() as u16;
    let mut pseudo = [
        &from.octets()[..],
        &to.octets(),
        &[0, 0],
        &len.to_be_bytes(),
        &[0, 0, 0, 58],
    ]
    .concat();
    pseudo.extend(&body);
    let check = sum(&pseudo).to_be_bytes();
    body[2..4].copy_from_slice(&check);
    let options: &[u8] = if hop_by_hop {
        &[58, 0, 5, 2, 0, 0, 1, 0]
    } else {
        &[]
    };
    let total = (options.len() + body.len()) as u16;
    let (next, hops) = if hop_by_hop { (0, 1) } else { (58, 255) };
    let mut f = [&to_mac.0[..], &mac.0, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    f.extend(total.to_be_bytes());
    f.extend([next, hops]);
    f.extend(from.octets());
    f.extend(to.octets());
    f.extend(options);
    f.extend(body);
    f
}

fn solicited(ip: Ipv6Addr) -> (Mac, Ipv6Addr) {
    let [.., a, b, c] = ip.octets();
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(a),
        u16::from_be_bytes([b, c]),
    );
    (Mac([0x33, 0x33, 0xff, a, b, c]), group)
}

fn nd(kind: u8, flags: u8, target: Ipv6Addr, option: Option<(u8, Mac)>) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    body.extend(target.octets());
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac.0);
    }
    body
}

const ALL_NODES: (Mac, Ipv6Addr) = (
    Mac([0x33, 0x33, 0, 0, 0, 1]),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
);

/// Who has this address?
pub fn who_has(target: IpAddr, (mac, ip): Host) -> Vec<u8> {
    match (target, ip) {
        (IpAddr::V4(target), IpAddr::V4(ip)) => {
            arp(Mac::BROADCAST, 1, (mac, ip), (Mac::ZERO, target))
        }
        (IpAddr::V6(target), IpAddr::V6(ip)) => icmp6(
            (mac, ip),
            solicited(target),
            nd(135, 0, target, Some((1, mac))),
            false,
        ),
        _ => panic!("two families"),
    }
}

/// The answer.
pub fn i_have((mac, ip): Host, (to_mac, to): Host) -> Vec<u8> {
    match (ip, to) {
        (IpAddr::V4(ip), IpAddr::V4(to)) => arp(to_mac, 2, (mac, ip), (to_mac, to)),
        (IpAddr::V6(ip), IpAddr::V6(to)) => icmp6(
            (mac, ip),
            (to_mac, to),
            nd(136, 0x60, ip, Some((2, mac))),
            false,
        ),
        _ => panic!("two families"),
    }
}

/// What a host says to everybody when it comes.
pub fn announcement((mac, ip): Host) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp(Mac::BROADCAST, 1, (mac, ip), (Mac::ZERO, ip)),
        IpAddr::V6(ip) => icmp6(
            (mac, ip),
            ALL_NODES,
            nd(136, 0x20, ip, Some((2, mac))),
            false,
        ),
    }
}

/// Does anybody have the address that I want?
pub fn is_free(target: IpAddr, mac: Mac) -> Vec<u8> {
    match target {
        IpAddr::V4(target) => arp(
            Mac::BROADCAST,
            1,
            (mac, Ipv4Addr::UNSPECIFIED),
            (Mac::ZERO, target),
        ),
        IpAddr::V6(target) => icmp6(
            (mac, Ipv6Addr::UNSPECIFIED),
            solicited(target),
            nd(135, 0, target, None),
            false,
        ),
    }
}

/// I do.
pub fn defence((mac, ip): Host, to: Mac) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp(to, 2, (mac, ip), (to, Ipv4Addr::UNSPECIFIED)),
        IpAddr::V6(ip) => icmp6(
            (mac, ip),
            ALL_NODES,
            nd(136, 0x20, ip, Some((2, mac))),
            false,
        ),
    }
}

fn ipv4(mac: Mac, to: (Mac, Ipv4Addr), protocol: u8, body: &[u8]) -> Vec<u8> {
    let options: &[u8] = if protocol == 2 { &[0x94, 4, 0, 0] } else { &[] };
    let mut header = vec![0x45 + options.len() as u8 / 4, 0];
    header.extend(((20 + options.len() + body.len()) as u16).to_be_bytes());
    header.extend([0, 0, 0, 0, 1, protocol, 0, 0, 10, 0, 0, 1]);
    header.extend(to.1.octets());
    header.extend(options);
    let check = sum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&check);
    [&to.0.0[..], &mac.0, &[8, 0], &header, body].concat()
}

fn group4(n: u8) -> (Mac, Ipv4Addr) {
    (Mac([1, 0, 0x5e, 1, 1, n]), Ipv4Addr::new(239, 1, 1, n))
}

fn group6(n: u8) -> (Mac, Ipv6Addr) {
    let group = Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, u16::from(n));
    (Mac([0x33, 0x33, 0, 0, 0, n]), group)
}

const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);

fn igmp(mut body: Vec<u8>) -> Vec<u8> {
    let check = sum(&body).to_be_bytes();
    body[2..4].copy_from_slice(&check);
    body
}

/// A report of IGMPv3 or MLDv2 of one record.
fn report(family: u8, n: u8, record: u8, mac: Mac) -> Vec<u8> {
    if family == 4 {
        let mut body = vec![0x22, 0, 0, 0, 0, 0, 0, 1, record, 0, 0, 0];
        body.extend(group4(n).1.octets());
        let to = (Mac([1, 0, 0x5e, 0, 0, 22]), Ipv4Addr::new(224, 0, 0, 22));
        return ipv4(mac, to, 2, &igmp(body));
    }
    let mut body = vec![143, 0, 0, 0, 0, 0, 0, 1, record, 0, 0, 0];
    body.extend(group6(n).1.octets());
    let to = (
        Mac([0x33, 0x33, 0, 0, 0, 22]),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16),
    );
    icmp6((mac, OWN), to, body, true)
}

/// A host begins to listen to group `n`.
pub fn join(family: u8, n: u8, mac: Mac) -> Vec<u8> {
    report(family, n, 4, mac)
}

/// A host ends to listen.
pub fn leave(family: u8, n: u8, mac: Mac) -> Vec<u8> {
    report(family, n, 3, mac)
}

/// A router asks who listens to what.
pub fn query(family: u8, mac: Mac) -> Vec<u8> {
    if family == 4 {
        let to = (Mac([1, 0, 0x5e, 0, 0, 1]), Ipv4Addr::new(224, 0, 0, 1));
        return ipv4(
            mac,
            to,
            2,
            &igmp(vec![0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]),
        );
    }
    let mut body = vec![130, 0, 0, 0, 0x27, 0x10, 0, 0];
    body.extend([0; 16]);
    body.extend([2, 125, 0, 0]);
    icmp6((mac, OWN), ALL_NODES, body, true)
}

/// Something to group `n`.
pub fn to_group(family: u8, n: u8, mac: Mac) -> Vec<u8> {
    let udp = [0x13, 0x88, 0x13, 0x88, 0, 12, 0, 0, 1, 2, 3, 4];
    if family == 4 {
        return ipv4(mac, group4(n), 17, &udp);
    }
    ipv6_udp(mac, group6(n), &udp)
}

/// Something to a group of the link.
pub fn to_link_group(family: u8, mac: Mac) -> Vec<u8> {
    let udp = [0x14, 0xe9, 0x14, 0xe9, 0, 12, 0, 0, 1, 2, 3, 4];
    match family {
        4 => ipv4(mac, link_group4(251), 17, &udp),
        _ => ipv6_udp(mac, link_group6(0xfb), &udp),
    }
}

fn link_group4(n: u8) -> (Mac, Ipv4Addr) {
    (Mac([1, 0, 0x5e, 0, 0, n]), Ipv4Addr::new(224, 0, 0, n))
}

fn link_group6(n: u8) -> (Mac, Ipv6Addr) {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, u16::from(n));
    (Mac([0x33, 0x33, 0, 0, 0, n]), group)
}

fn ipv6_udp(mac: Mac, (to_mac, to): (Mac, Ipv6Addr), udp: &[u8]) -> Vec<u8> {
    let mut f = [&to_mac.0[..], &mac.0, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    f.extend((udp.len() as u16).to_be_bytes());
    f.extend([17, 1]);
    f.extend(OWN.octets());
    f.extend(to.octets());
    f.extend(udp);
    f
}

/// Makes an advertisement of an address one of a router.
pub fn as_router(frame: &mut [u8]) {
    frame[14 + 40 + 4] |= 0x80;
    frame[14 + 42..14 + 44].fill(0);
    let message = frame[14 + 40..].to_vec();
    let mut pseudo = frame[14 + 8..14 + 40].to_vec();
    pseudo.extend([0, 0, 0, message.len() as u8, 0, 0, 0, 58]);
    pseudo.extend(message);
    let check = sum(&pseudo).to_be_bytes();
    frame[14 + 42..14 + 44].copy_from_slice(&check);
}

/// A router of Protocol Independent Multicast greets its like.
pub fn hello(family: u8, mac: Mac) -> Vec<u8> {
    let body = [0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105];
    if family == 4 {
        return ipv4(mac, link_group4(13), 103, &body);
    }
    let mut frame = ipv6_udp(mac, link_group6(13), &body);
    frame[14 + 6] = 103;
    frame
}

/// A host begins to listen to this group (IGMPv2).
pub fn join_group(group: [u8; 4], mac: Mac) -> Vec<u8> {
    let [_, b, c, d] = group;
    let to = (Mac([1, 0, 0x5e, b & 127, c, d]), Ipv4Addr::from(group));
    let mut body = vec![0x16, 0, 0, 0];
    body.extend(group);
    ipv4(mac, to, 2, &igmp(body))
}
