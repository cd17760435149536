//! A rogue DHCP server and a rogue router try everything to get past a guard; honest hosts notice nothing of it.

#[path = "support/simulator.rs"]
mod simulator;

use l2vpn::drops::DropReason;
use l2vpn::time::Duration;
use l2vpn::wire::service::Services;
use simulator::*;

const BOTH: Services = Services {
    dhcp_server: true,
    router: true,
};
const C0: &[u8] = &[0x81, 0, 0, 0];
const C10: &[u8] = &[0x81, 0, 0, 10];
const S0: &[u8] = &[0x88, 0xa8, 0, 0];
const S100: &[u8] = &[0x88, 0xa8, 0, 100];
const Q0: &[u8] = &[0x91, 0, 0, 0];
const IPV4: &[u8] = &[8, 0];
const IPV6: &[u8] = &[0x86, 0xdd];
const SNAP: &[u8] = &[0xaa, 0xaa, 3, 0, 0, 0];
const BRIDGED: &[u8] = &[0xaa, 0xaa, 3, 0, 0, 0xf8];

/// A frame from host 0 to everybody.
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend_from_slice(&host(0).0);
    bytes.extend(parts.concat());
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// A length field and what follows it.
fn llc(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u16).to_be_bytes()[..], &body].concat()
}

fn ipv4(protocol: u8, fragment: u16, options: usize, payload: &[u8]) -> Vec<u8> {
    let len = 20 + options + payload.len();
    let mut packet = vec![0x45 + (options / 4) as u8, 0];
    packet.extend_from_slice(&(len as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[64, protocol, 0, 0, 10, 0, 0, 1, 255, 255, 255, 255]);
    packet.resize(20 + options, 1);
    packet.extend_from_slice(payload);
    packet
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
    segment.extend_from_slice(&[0, 48, 0, 0]);
    segment.resize(48, 2);
    segment
}

/// An IPv6 packet: the first next header, and everything behind the fixed header.
fn ipv6(next: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(body.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[next, 255]);
    packet.extend_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(body);
    packet
}

/// An extension header of 8 bytes.
fn extension(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

fn fragment(next: u8, offset: u16) -> [u8; 8] {
    let [a, b] = (offset << 3 | 1).to_be_bytes();
    [next, 0, a, b, 0, 0, 0, 7]
}

fn advertisement() -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8];
    message.resize(16, 0);
    message
}

fn evasions_of_dhcp() -> Vec<(&'static str, Vec<u8>)> {
    let offer = ipv4(17, 0, 0, &udp(67, 68));
    let (o, arp) = (offer.as_slice(), [8u8, 6]);
    let tags = |tags: &[&[u8]]| frame(&[&tags.concat(), IPV4, o]);
    let mut other_version = offer.clone();
    other_version[0] = 0x55;
    let mut short_header = offer.clone();
    short_header[0] = 0x44;
    let six = |parts: &[&[u8]], next| frame(&[IPV6, &ipv6(next, parts)]);
    let answer = udp(547, 546);
    vec![
        ("plain", frame(&[IPV4, o])),
        ("VID 0", tags(&[C0])),
        ("VID 0 twice", tags(&[C0, C0])),
        ("VID 0 three times", tags(&[C0, C0, C0])),
        ("VID 0 four times", tags(&[C0, C0, C0, C0])),
        ("VID 0 five times", tags(&[C0, C0, C0, C0, C0])),
        ("VID 0 nine times", tags(&[C0; 9])),
        ("service VID 0", tags(&[S0])),
        ("service and customer VID 0", tags(&[S0, C0])),
        ("0x9100", tags(&[Q0])),
        ("0x9100 and VID 0", tags(&[Q0, C0])),
        ("a VLAN", tags(&[C10])),
        ("a VLAN and VID 0", tags(&[C10, C0])),
        ("QinQ", tags(&[S100, C10])),
        ("SNAP", frame(&[&llc(&[SNAP, IPV4, o])])),
        ("SNAP of 802.1H", frame(&[&llc(&[BRIDGED, IPV4, o])])),
        ("SNAP behind VID 0", frame(&[C0, &llc(&[SNAP, IPV4, o])])),
        ("a tag in SNAP", frame(&[&llc(&[SNAP, C0, IPV4, o])])),
        (
            "SNAP in SNAP",
            frame(&[&llc(&[SNAP, &llc(&[SNAP, IPV4, o])])]),
        ),
        ("SNAP, length 1501", frame(&[&[5, 0xdd], SNAP, IPV4, o])),
        ("SNAP, length 1535", frame(&[&[5, 0xff], SNAP, IPV4, o])),
        (
            "SNAP, length 1535, behind VID 0",
            frame(&[C0, &[5, 0xff], SNAP, IPV4, o]),
        ),
        ("long LLC", frame(&[&[0x88, 0x70], SNAP, IPV4, o])),
        ("SNAP, length 0", frame(&[&[0, 0], SNAP, IPV4, o])),
        ("SNAP, length 1500", frame(&[&[5, 220], SNAP, IPV4, o])),
        ("LLC for IP", frame(&[&llc(&[&[6, 6, 3], o])])),
        (
            "SNAP, another control",
            frame(&[&llc(&[&[0xaa, 0xaa, 0xf3, 0, 0, 0], IPV4, o])]),
        ),
        (
            "SNAP, group SAP",
            frame(&[&llc(&[&[0xab, 0xaa, 3, 0, 0, 0], IPV4, o])]),
        ),
        ("options", frame(&[IPV4, &ipv4(17, 0, 40, &udp(67, 68))])),
        (
            "another source port",
            frame(&[IPV4, &ipv4(17, 0, 0, &udp(4711, 68))]),
        ),
        (
            "a first fragment",
            frame(&[IPV4, &ipv4(17, 0x2000, 0, &udp(67, 68))]),
        ),
        (
            "a first fragment with options",
            frame(&[IPV4, &ipv4(17, 0x2000, 20, &udp(67, 68))]),
        ),
        ("another version", frame(&[IPV4, &other_version])),
        ("a short header", frame(&[IPV4, &short_header])),
        ("IPv4 as IPv6", frame(&[IPV6, o])),
        ("DHCPv6", six(&[&answer], 17)),
        ("DHCPv6 behind options", six(&[&extension(17), &answer], 60)),
        (
            "DHCPv6 in a first fragment",
            six(&[&fragment(17, 0), &answer], 44),
        ),
        (
            "DHCPv6, SNAP",
            frame(&[&llc(&[SNAP, IPV6, &ipv6(17, &[&answer])])]),
        ),
        // Cut off before it can be told what it is.
        (
            "four bytes of UDP",
            [
                &frame(&[])[..12],
                IPV4,
                &ipv4(17, 0x2000, 24, &udp(67, 68)[..2]),
            ]
            .concat(),
        ),
        (
            "half an IPv4 header",
            [&frame(&[])[..12], IPV4, &o[..12]].concat(),
        ),
        (
            "SNAP without a type",
            [&frame(&[])[..12], &[0, 6][..], SNAP].concat(),
        ),
    ]
    .into_iter()
    .filter(|(_, f)| f[12..14] != arp)
    .collect()
}

fn evasions_of_routers() -> Vec<(&'static str, Vec<u8>)> {
    let ra = advertisement();
    let six = |next, parts: &[&[u8]]| frame(&[IPV6, &ipv6(next, parts)]);
    let plain = ipv6(58, &[&ra]);
    let many = |n: usize| -> Vec<u8> {
        let mut all: Vec<u8> = (1..n).flat_map(|_| extension(60)).collect();
        all.extend(extension(58));
        all
    };
    let long = [58u8, 9, 1, 4, 0, 0, 0, 0];
    let authentication = [
        58u8, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    vec![
        ("plain", frame(&[IPV6, &plain])),
        ("VID 0", frame(&[C0, IPV6, &plain])),
        ("VID 0 in a VLAN", frame(&[C10, C0, IPV6, &plain])),
        ("SNAP", frame(&[&llc(&[SNAP, IPV6, &plain])])),
        ("SNAP of 802.1H", frame(&[&llc(&[BRIDGED, IPV6, &plain])])),
        ("hop-by-hop", six(0, &[&extension(58), &ra])),
        ("destination options", six(60, &[&extension(58), &ra])),
        ("routing", six(43, &[&extension(58), &ra])),
        ("mobility", six(135, &[&extension(58), &ra])),
        ("HIP", six(139, &[&extension(58), &ra])),
        ("shim6", six(140, &[&extension(58), &ra])),
        ("authentication", six(51, &[&authentication, &ra])),
        (
            "two extensions",
            six(0, &[&extension(60), &extension(58), &ra]),
        ),
        ("eight extensions", six(60, &[&many(8), &ra])),
        ("twenty extensions", six(60, &[&many(20), &ra])),
        ("an atomic fragment", six(44, &[&fragment(58, 0), &ra])),
        (
            "a first fragment behind options",
            six(60, &[&extension(44), &fragment(58, 0), &ra]),
        ),
        (
            "options within a first fragment",
            six(44, &[&fragment(60, 0), &extension(58), &ra]),
        ),
        // The chain goes on in the second fragment (RFC 7113).
        ("a first fragment without the end of the chain", {
            let packet = ipv6(44, &[&fragment(60, 0), &long]);
            [&frame(&[])[..12], IPV6, &packet].concat()
        }),
        ("a header that lies behind the packet", {
            // The fragment ends before the message; the bytes behind it belong to nobody.
            let mut packet = ipv6(44, &[&fragment(60, 0), &extension(58)]);
            packet.extend_from_slice(&[128, 0, 0, 0, 0, 0, 0, 0]);
            frame(&[IPV6, &packet])
        }),
        (
            "an extension that is cut off",
            [&frame(&[])[..12], IPV6, &ipv6(60, &[&long[..1]])].concat(),
        ),
        (
            "half an IPv6 header",
            [&frame(&[])[..12], IPV6, &plain[..20]].concat(),
        ),
    ]
}

fn honest() -> Vec<(&'static str, Vec<u8>)> {
    let six = |next, parts: &[&[u8]]| frame(&[IPV6, &ipv6(next, parts)]);
    vec![
        ("ARP", frame(&[&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]])),
        (
            "DHCP discover",
            frame(&[IPV4, &ipv4(17, 0, 0, &udp(68, 67))]),
        ),
        ("DHCPv6 solicit", six(17, &[&udp(546, 547)])),
        (
            "router solicitation",
            six(58, &[&[133, 0, 0, 0, 0, 0, 0, 0]]),
        ),
        (
            "neighbour solicitation",
            six(0, &[&extension(58), &[135, 0, 0, 0, 0, 0, 0, 0]]),
        ),
        (
            "a packet with a port 68 of its own",
            frame(&[IPV4, &ipv4(17, 0, 0, &udp(68, 4711))]),
        ),
        ("TCP", frame(&[IPV4, &ipv4(6, 0, 12, &udp(67, 68))])),
        (
            "a later fragment",
            frame(&[IPV4, &ipv4(17, 0x2001, 0, &udp(67, 68))]),
        ),
        (
            "spanning tree",
            frame(&[&llc(&[&[0x42, 0x42, 3, 0, 0, 0, 0]])]),
        ),
        (
            "CDP",
            frame(&[&llc(&[&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0]])]),
        ),
        ("LLDP", frame(&[&[0x88, 0xcc, 2, 7, 4]])),
        ("tagged ARP", frame(&[C10, &[8, 6, 0, 1]])),
        ("an unknown protocol", frame(&[&[0x88, 0xb5, 1, 2, 3]])),
    ]
}

fn network(change: impl Fn(&mut [Recipe])) -> Network {
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    change(&mut recipes);
    let mut net = Network::of(recipes, 41);
    net.introduce(0, 1);
    net.run_for(Duration::from_secs(1));
    net
}

/// Whether a frame of host 0 comes out at member 1, and whether it was sent at all.
fn passes(net: &mut Network, frame: &[u8]) -> (bool, bool) {
    net.recording.clear();
    net.member(1).delivered.clear();
    net.send(0, 0, frame);
    net.run_for(Duration::from_millis(2));
    (
        !net.member(1).frames().is_empty(),
        !net.recording.is_empty(),
    )
}

#[test]
fn nothing_gets_past_a_guard() {
    let evasions = [evasions_of_dhcp(), evasions_of_routers()].concat();
    assert!(evasions.len() >= 50, "{}", evasions.len());
    // The receiver guards against a sender that does not.
    let mut receiver = network(|r| {
        r[0] = Recipe::new(0).untold();
        r[1].guards = BOTH;
    });
    let mut sender = network(|r| r[0].guards = BOTH);
    let mut open = network(|_| {});
    for (name, frame) in &evasions {
        assert!(
            !passes(&mut receiver, frame).0,
            "{name} passed the receiver"
        );
        assert!(!passes(&mut sender, frame).1, "{name} was sent");
        assert!(
            passes(&mut open, frame).0,
            "{name} is carried without a guard"
        );
    }
    let m = receiver.member(1);
    for reason in [
        DropReason::DhcpGuard,
        DropReason::RouterGuard,
        DropReason::GuardUnclear,
    ] {
        assert!(m.drops(reason) > 0, "{reason:?}");
    }
    let known = m.plane.switch.table.len();
    assert_eq!(known, 0, "a refused frame teaches nothing");
}

#[test]
fn honest_hosts_notice_no_guard() {
    let mut net = network(|r| r.iter_mut().for_each(|r| r.guards = BOTH));
    for (name, frame) in honest() {
        assert!(passes(&mut net, &frame).0, "{name}");
    }
}

#[test]
fn those_with_the_role_may() {
    let offer = frame(&[IPV4, &ipv4(17, 0, 0, &udp(67, 68))]);
    let advertisement = frame(&[IPV6, &ipv6(58, &[&advertisement()])]);
    let server = Services {
        dhcp_server: true,
        router: false,
    };
    let mut net = network(|r| {
        r.iter_mut().for_each(|r| r.guards = BOTH);
        r[0].roles = BOTH;
        r[1].peer_roles = server;
    });
    assert!(passes(&mut net, &offer).0);
    assert_eq!(
        passes(&mut net, &advertisement),
        (false, true),
        "the receiver says no"
    );
    assert_eq!(net.member(1).drops(DropReason::RouterGuard), 1);
}
