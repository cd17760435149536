//! Super-frames cut, carried and joined, against a reference that builds each packet from nothing.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/simulator.rs"]
mod simulator;

use frames::{Recipe, payload};
use l2vpn::dataplane::coalesce::{Coalescer, Joined};
use l2vpn::dataplane::template::{Workbench, packets};
use l2vpn::drops::DropReason;
use l2vpn::place::{PeerId, PortId};
use l2vpn::switch::port::PortRule;
use l2vpn::time::Duration;
use l2vpn::wire::ethernet::{Frame, Parts};
use l2vpn::wire::layers::Layers;
use l2vpn::wire::offer::Abilities;
use l2vpn::wire::offload::{Checksum, Offload, VirtioHeader};
use l2vpn::wire::vlan::Vid;
use proptest::prelude::*;
use simulator::{Dice, Network, segment};

const CUSTOMER: [u8; 4] = [0x81, 0, 0xa0, 20];
const STACKED: [u8; 8] = [0x88, 0xa8, 0, 7, 0x81, 0, 0xa0, 20];

/// What the packets of a super-frame are, by building each of them.
fn reference(whole: &Recipe, size: usize) -> Vec<Vec<u8>> {
    let count = whole.payload.len().div_ceil(size).max(1);
    let one = |n: usize| {
        let part = whole.payload.chunks(size).nth(n).unwrap_or_default();
        let mut flags = whole.flags;
        if n + 1 < count {
            // FIN and PSH belong to the last packet, CWR to the first.
            flags &= !0x09;
        }
        if n > 0 {
            flags &= !0x80;
        }
        let packet = Recipe {
            payload: part.to_vec(),
            seq: whole.seq.wrapping_add((n * size) as u32),
            id: whole.id.wrapping_add(n as u16),
            flags,
            ..whole.clone()
        };
        packet.whole()
    };
    (0..count).map(one).collect()
}

fn recipe() -> impl Strategy<Value = (Recipe, u16)> {
    let tags = prop_oneof![
        Just(vec![]),
        Just(CUSTOMER.to_vec()),
        Just(STACKED.to_vec())
    ];
    let shape = (tags, any::<bool>(), any::<bool>(), 0..3usize, 0..=10usize);
    let numbers = (any::<u8>(), any::<u32>(), any::<u16>());
    (shape, numbers, 1..3000u16, 33..40_000usize).prop_map(|(shape, numbers, size, len)| {
        let (tags, v6, udp, network, tcp) = shape;
        let (flags, seq, id) = numbers;
        let size = size.max(if udp { len.div_ceil(64) as u16 } else { 32 });
        let recipe = Recipe {
            tags,
            v6,
            udp,
            network_options: network * 8,
            tcp_options: tcp * 4,
            flags: 0x10 | (flags & 0x89),
            seq,
            id,
            payload: payload(len),
            ..Recipe::default()
        };
        (recipe, size)
    })
}

fn cut(header: VirtioHeader, bytes: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let offload = Offload::of_port(header, &mut bytes).expect("a good header");
    let frame = Frame::parse(&bytes).expect("a good frame");
    let mut out = Vec::new();
    let mut bench = Workbench::default();
    packets(&frame.parts, &offload, limit, &mut bench, |p| {
        out.push(written(p))
    });
    out
}

fn written(parts: &Parts<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    parts.write(&mut bytes);
    bytes
}

fn again(frame: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    let frame = Frame::parse(frame).expect("a frame");
    let mut out = Vec::new();
    packets(
        &frame.parts,
        offload,
        usize::MAX,
        &mut Workbench::default(),
        |p| {
            out.push(written(p));
        },
    );
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every byte and every checksum of every packet is that of the reference.
    #[test]
    fn a_cut_super_frame_is_what_the_reference_builds((recipe, size) in recipe()) {
        let (header, bytes) = recipe.begun(size);
        prop_assert_eq!(cut(header, &bytes, usize::MAX), reference(&recipe, usize::from(size)));
    }

    /// Cut smaller than the host asked, no packet is too long, and the bytes are the same in the same order.
    #[test]
    fn tcp_is_cut_to_what_the_path_carries((recipe, size) in recipe(), limit in 300..1500usize) {
        let (recipe, size) = (Recipe { udp: false, ..recipe }, size.max(32));
        let (header, bytes) = recipe.begun(size);
        let mut seq = recipe.seq;
        let mut all = Vec::new();
        for packet in cut(header, &bytes, limit) {
            prop_assert!(packet.len() <= limit || recipe.payload.len() <= usize::from(size));
            let frame = Frame::parse(&packet).expect("a frame");
            let rest = frame.parts.after_tag();
            let layers = Layers::read(rest).expect("TCP");
            prop_assert!(layers.checksum_holds(rest));
            let number = &rest[layers.segment + 4..layers.segment + 8];
            prop_assert_eq!(u32::from_be_bytes(number.try_into().unwrap()), seq);
            let part = &rest[layers.payload..];
            seq = seq.wrapping_add(part.len() as u32);
            all.extend_from_slice(part);
        }
        prop_assert_eq!(all, recipe.payload);
    }

    /// What was joined and is cut again is what came, in the order in which it came.
    #[test]
    fn joined_packets_can_be_cut_into_what_they_were(
        flows in prop::collection::vec(recipe(), 1..4),
        order in prop::collection::vec((0..4usize, any::<u8>()), 1..80),
    ) {
        let mut trains: Vec<std::vec::IntoIter<Vec<u8>>> = Vec::new();
        for (n, (recipe, size)) in flows.iter().enumerate() {
            // Flows differ in a port, and packets are of ordinary size.
            let mut recipe = recipe.clone();
            recipe.flags &= 0x19;
            recipe.seq = recipe.seq.wrapping_add(n as u32 * 7);
            trains.push(reference(&recipe, usize::from(*size).max(33)).into_iter());
        }
        let mut coalescer = Coalescer::default();
        let (mut came, mut went) = (Vec::new(), Vec::new());
        let origin = |n: usize| (PeerId(n as u32), segment(1));
        for (n, noise) in order {
            let n = n % trains.len();
            let Some(mut packet) = trains[n].next() else { continue };
            match noise {
                // Something else in between, a damaged checksum, a gap.
                0..8 => packet.truncate(40),
                8..16 => *packet.last_mut().unwrap() ^= 1,
                16..24 => drop(trains[n].next()),
                _ => {}
            }
            let Ok(frame) = Frame::parse(&packet) else { continue };
            came.push((n as u32, packet.clone()));
            let mut each = |o: (PeerId, _), p: &Parts<'_>, offload: &Offload| {
                went.extend(again(&written(p), offload).into_iter().map(|f| (o.0.0, f)));
            };
            let parts = (&frame.parts, Checksum::Unverified);
            if coalescer.add(origin(n), parts, &mut each) == Joined::Alone {
                coalescer.flush(&mut each);
                each(origin(n), &frame.parts, &Offload::NONE);
            }
        }
        coalescer.flush(&mut |o, p, offload| {
            went.extend(again(&written(p), offload).into_iter().map(|f| (o.0.0, f)));
        });
        for n in 0..flows.len() as u32 {
            let of = |all: &[(u32, Vec<u8>)]| -> Vec<Vec<u8>> {
                all.iter().filter(|(m, _)| *m == n).map(|(_, f)| mask_id(f)).collect()
            };
            prop_assert_eq!(of(&came), of(&went));
        }
    }
}

/// The identification of atomic packets carries no meaning, and their checksum goes along.
fn mask_id(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let rest = Frame::parse(&frame)
        .expect("a frame")
        .parts
        .after_tag()
        .len();
    let at = frame.len() - rest;
    if let Some(layers) = Layers::read(&frame[at..])
        && frame[at + layers.network] >> 4 == 4
    {
        let network = at + layers.network;
        frame[network + 4..network + 6].fill(0);
        frame[network + 10..network + 12].fill(0);
    }
    frame
}

/// Two members; the first sends super-frames, and the wire in between is ours.
fn pair(abilities: Abilities, plain_ports: bool) -> Network {
    let mut recipes: Vec<_> = (0..2).map(simulator::Recipe::new).collect();
    recipes[1].abilities = abilities;
    recipes[1].offload = !plain_ports;
    let mut net = Network::of(recipes, 7);
    net.introduce(0, 1);
    net.run_for(Duration::from_millis(50));
    net.learn_hosts();
    net.member(1).delivered.clear();
    net.member(1).offloads.clear();
    net
}

/// The datagrams that a super-frame becomes.
fn datagrams(net: &mut Network, header: VirtioHeader, frame: &[u8]) -> Vec<Vec<u8>> {
    let m = net.member(0);
    m.captured.outgoing.clear();
    net.put_frames(0, &[(header, frame.to_vec())]);
    net.harvest(0).into_iter().map(|(_, bytes)| bytes).collect()
}

/// Delivered packets, each complete.
fn delivered(net: &mut Network) -> Vec<Vec<u8>> {
    let m = net.member(1);
    let offloads = std::mem::take(&mut m.offloads);
    let frames = std::mem::take(&mut m.delivered);
    frames
        .iter()
        .zip(offloads)
        .flat_map(|((_, _, frame), offload)| again(frame, &offload))
        .collect()
}

#[test]
fn super_frames_arrive_bit_for_bit_whatever_the_other_end_can() {
    for (abilities, plain) in [
        (Abilities::ALL, false),
        (Abilities::ALL, true),
        (Abilities::BUNDLES, false),
        (Abilities::NONE, false),
        (Abilities::NONE, true),
    ] {
        for udp in [false, true] {
            for (len, size) in [(60_000usize, 1448u16), (5000, 1200), (1500, 700), (40, 0)] {
                let recipe = Recipe {
                    udp,
                    tags: STACKED.to_vec(),
                    payload: payload(len),
                    ..Recipe::default()
                };
                let mut net = pair(abilities, plain);
                let (header, frame) = recipe.begun(size);
                let wire = datagrams(&mut net, header, &frame);
                net.inject_all(1, simulator::address(0), &wire);
                let got = delivered(&mut net);
                let size = if size == 0 { len } else { usize::from(size) };
                let case = format!("{abilities:?} {plain} udp {udp} {len}/{size}");
                if udp
                    || abilities.has(Abilities::PIECES)
                    || abilities == Abilities::NONE && len == 40
                {
                    assert!(got == reference(&recipe, size), "{case}");
                } else {
                    // TCP was cut to the path: the bytes are the same.
                    assert_eq!(bytes_of(&got, &recipe), recipe.payload, "{case}");
                }
            }
        }
    }
}

/// The payload that these packets carry together, when each byte stands where its sequence number says.
fn bytes_of(packets: &[Vec<u8>], recipe: &Recipe) -> Vec<u8> {
    let mut all = Vec::new();
    for packet in packets {
        let frame = Frame::parse(packet).expect("a frame");
        let rest = frame.parts.after_tag();
        let layers = Layers::read(rest).expect("TCP");
        assert!(layers.checksum_holds(rest));
        let number = rest[layers.segment + 4..layers.segment + 8].try_into();
        let at = u32::from_be_bytes(number.unwrap()).wrapping_sub(recipe.seq) as usize;
        assert_eq!(at, all.len(), "in order and without gaps");
        all.extend_from_slice(&rest[layers.payload..]);
    }
    all
}

#[test]
fn a_super_frame_costs_no_more_datagrams_than_its_bytes_need() {
    for mtu in [1500, 1400, 1280] {
        let mut net = pair(Abilities::ALL, false);
        net.mtu = mtu;
        net.rebuild(0);
        net.rebuild(1);
        net.introduce(0, 1);
        net.run_for(Duration::from_millis(50));
        net.learn_hosts();
        let (header, frame) = frames::tcp_super(1, 60_000, 1448);
        let wire = datagrams(&mut net, header, &frame);
        let room = usize::from(mtu) - 28 - 32;
        assert_eq!(
            wire.len(),
            (60_000 + 2 * (66 + 12usize)).div_ceil(room),
            "{mtu}"
        );
        let longest = wire.iter().map(Vec::len).max().unwrap();
        assert!(longest + 28 <= usize::from(mtu));
        let equal = wire[..wire.len() - 1]
            .iter()
            .all(|d| d.len() == wire[0].len());
        assert!(equal, "they make one train");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// Whatever is lost, repeated or late: no byte twice, none wrong, and a lost piece costs its own bytes and no others.
    #[test]
    fn lost_pieces_cost_themselves(
        (recipe, size) in recipe(),
        lossy in any::<bool>(),
        seed in any::<u64>(),
        percent in 0..40u64,
        disorder in any::<bool>(),
    ) {
        let mut net = pair(Abilities::ALL, false);
        if lossy {
            net.make_lossy(0, 1);
        }
        let (header, frame) = recipe.begun(size);
        let wire = datagrams(&mut net, header, &frame);
        let mut dice = Dice(seed);
        let mut kept: Vec<(usize, Vec<u8>)> = wire.iter().cloned().enumerate().collect();
        kept.retain(|_| !dice.chance(percent));
        if disorder {
            for i in 1..kept.len() {
                let back = (dice.next() % 4) as usize;
                kept.swap(i, i.saturating_sub(back));
            }
        }
        // In batches of any size.
        let mut rest: &[(usize, Vec<u8>)] = &kept;
        while !rest.is_empty() {
            let n = (1 + dice.next() as usize % 20).min(rest.len());
            let batch: Vec<Vec<u8>> = rest[..n].iter().map(|(_, d)| d.clone()).collect();
            net.inject_all(1, simulator::address(0), &batch);
            rest = &rest[n..];
        }
        let expected = reference(&recipe, usize::from(size));
        let got = delivered(&mut net);
        if recipe.udp {
            // Datagrams over IPv6 have no number: two of equal payload are equal, and may both come.
            for packet in &got {
                let times = |all: &[Vec<u8>]| all.iter().filter(|p| *p == packet).count();
                prop_assert!(times(&expected) > 0, "a datagram that was not sent");
                prop_assert!(times(&got) <= times(&expected), "a datagram came twice");
            }
            if kept.len() == wire.len() && !disorder {
                prop_assert_eq!(got, expected);
            }
            return Ok(());
        }
        let mut seen = vec![false; recipe.payload.len()];
        for packet in &got {
            let frame = Frame::parse(packet).expect("a frame");
            let rest = frame.parts.after_tag();
            let layers = Layers::read(rest).expect("TCP");
            prop_assert!(layers.checksum_holds(rest));
            let number = rest[layers.segment + 4..layers.segment + 8].try_into().unwrap();
            let at = u32::from_be_bytes(number).wrapping_sub(recipe.seq) as usize;
            let part = &rest[layers.payload..];
            prop_assert_eq!(part, &recipe.payload[at..at + part.len()]);
            for byte in &mut seen[at..at + part.len()] {
                prop_assert!(!*byte, "a byte came twice");
                *byte = true;
            }
        }
        let missing = seen.iter().filter(|s| !**s).count();
        let lost: usize = (0..wire.len())
            .filter(|n| !kept.iter().any(|(k, _)| k == n))
            .map(|n| wire[n].len())
            .sum();
        let ends_are_there = [0, wire.len() - 1].iter().all(|n| kept.iter().any(|(k, _)| k == n));
        if ends_are_there && !disorder {
            prop_assert!(missing <= lost, "{} bytes are missing, {} were lost", missing, lost);
        }
    }
}

#[test]
fn losses_make_pieces_stand_for_themselves_and_calm_makes_them_whole_again() {
    let mut net = pair(Abilities::ALL, false);
    let framing = |net: &mut Network| net.member(0).node.peers()[0].loss.is_lossy();
    let bulk = |net: &mut Network, rounds: usize, loss: u64| {
        for n in 0..rounds {
            net.weather.loss = loss;
            net.send_all(0, 0, &[frames::tcp_super(n as u32, 60_000, 1448)]);
            net.run_for(Duration::from_millis(20));
        }
        net.weather.loss = 0;
        net.run_for(Duration::from_millis(1100));
    };
    bulk(&mut net, 50, 0);
    assert!(!framing(&mut net));
    bulk(&mut net, 200, 2);
    assert!(framing(&mut net), "two per cent were reported");
    for _ in 0..8 {
        bulk(&mut net, 60, 0);
    }
    assert!(!framing(&mut net), "ten seconds without losses");
    assert_eq!(net.member(0).drops(DropReason::UnknownControl), 0);
}

#[test]
fn small_frames_of_one_batch_share_datagrams_in_their_order() {
    let mut net = pair(Abilities::ALL, false);
    let batch: Vec<_> = (0..60).map(|n| frames::udp(n, 22)).collect();
    let expected: Vec<Vec<u8>> = (0..60u16)
        .map(|id| {
            let recipe = Recipe {
                udp: true,
                id,
                payload: payload(22),
                ..Recipe::default()
            };
            recipe.whole()
        })
        .collect();
    net.put_frames(0, &batch);
    let wire: Vec<Vec<u8>> = net.harvest(0).into_iter().map(|(_, d)| d).collect();
    assert!(wire.len() <= 4, "{} datagrams", wire.len());
    net.inject_all(1, simulator::address(0), &wire);
    assert_eq!(net.member(1).offloads.len(), 1, "one write to the port");
    let masked = |all: Vec<Vec<u8>>| -> Vec<_> { all.iter().map(|f| mask_id(f)).collect() };
    assert_eq!(masked(delivered(&mut net)), masked(expected));
}

#[test]
fn super_frames_of_one_batch_are_delivered_in_their_order() {
    for lossy in [false, true] {
        let mut net = pair(Abilities::ALL, false);
        if lossy {
            net.make_lossy(0, 1);
        }
        let mut wire = Vec::new();
        for n in 0..7u32 {
            let (header, frame) = frames::tcp_super(n * 9000, 9000, 1448);
            wire.extend(datagrams(&mut net, header, &frame));
        }
        net.inject_all(1, simulator::address(0), &wire);
        let whole = Recipe {
            seq: 0,
            ..Recipe::default()
        };
        assert_eq!(bytes_of(&delivered(&mut net), &whole).len(), 63_000);
    }
}

#[test]
fn losses_of_the_past_cost_nothing_later() {
    let mut net = pair(Abilities::ALL, false);
    for n in 0..30u32 {
        let (header, frame) = frames::tcp_super(n * 60_000, 60_000, 1448);
        let mut wire = datagrams(&mut net, header, &frame);
        wire.remove(5 + n as usize);
        net.inject_all(1, simulator::address(0), &wire);
    }
    delivered(&mut net);
    for n in 30..40u32 {
        let (header, frame) = frames::tcp_super(n * 60_000, 60_000, 1448);
        let wire = datagrams(&mut net, header, &frame);
        net.inject_all(1, simulator::address(0), &wire);
        assert_eq!(
            net.member(1).offloads.len(),
            1,
            "one write for each super-frame"
        );
        delivered(&mut net);
    }
}

/// What a property test once met: two datagrams of one super-frame that are equal, byte for byte.
#[test]
fn datagrams_of_equal_payload_all_come() {
    let mut net = pair(Abilities::ALL, false);
    let recipe = Recipe {
        v6: true,
        udp: true,
        payload: vec![7; 10_000],
        ..Recipe::default()
    };
    let (header, frame) = recipe.begun(160);
    let wire = datagrams(&mut net, header, &frame);
    net.inject_all(1, simulator::address(0), &wire);
    assert_eq!(delivered(&mut net), reference(&recipe, 160));
}

#[test]
fn urgent_frames_and_others_share_no_datagram_and_go_by_different_lanes() {
    let mut net = pair(Abilities::ALL, false);
    let now = net.now;
    let m = net.member(0);
    m.captured.outgoing.clear();
    m.captured.outgoing.worker = 2;
    // Every third is urgent; then one that is not in a bundle.
    let small = (0..30u16).map(|n| (frames::udp(n, 22), n % 3 == 0));
    let large = (frames::tcp_super(0, 9000, 1448), false);
    for ((header, mut frame), urgent) in small.chain([large]) {
        m.captured.outgoing.mark.is_urgent = urgent;
        m.encap
            .frame(PortId(0), (header, &mut frame), now, &mut m.captured);
    }
    m.encap.flush(now, &mut m.captured);
    let wire: Vec<Vec<u8>> = net.harvest(0).into_iter().map(|(_, d)| d).collect();
    let lanes: Vec<u8> = wire.iter().map(|d| d[1] >> 4).collect();
    let (urgent, bulk) = (2 * 2 + 1, 2 * 2);
    assert!(lanes.contains(&urgent) && lanes.iter().all(|l| [urgent, bulk].contains(l)));
    // By itself, the urgent lane brings every urgent frame and nothing else.
    let taken: Vec<_> = wire
        .iter()
        .filter(|d| d[1] >> 4 == urgent)
        .cloned()
        .collect();
    net.inject_all(1, simulator::address(0), &taken);
    assert_eq!(delivered(&mut net).len(), 10);
    let rest: Vec<_> = wire.iter().filter(|d| d[1] >> 4 == bulk).cloned().collect();
    net.inject_all(1, simulator::address(0), &rest);
    assert_eq!(delivered(&mut net).len(), 20 + 9000usize.div_ceil(1448));
}

/// A service tag before the hosts' own tags: super-frames of any kind arrive bit for bit, cut or whole.
#[test]
fn super_frames_cross_under_a_service_tag() {
    let qinq = PortRule::Qinq(Vid::new(100).unwrap());
    for (ports, plain, lossy) in [
        ([qinq.clone(), qinq.clone()], false, false),
        ([qinq.clone(), qinq.clone()], false, true),
        ([qinq.clone(), qinq.clone()], true, false),
        ([qinq, PortRule::TRANSPARENT], false, false),
    ] {
        for tags in [&[][..], &CUSTOMER, &STACKED] {
            let mut recipes: Vec<_> = (0..2).map(simulator::Recipe::new).collect();
            for (recipe, rule) in recipes.iter_mut().zip(&ports) {
                recipe.ports = vec![(segment(1), rule.clone())];
            }
            recipes[1].offload = !plain;
            let mut net = Network::of(recipes, 7);
            net.introduce(0, 1);
            net.run_for(Duration::from_millis(50));
            if lossy {
                net.make_lossy(0, 1);
            }
            let recipe = Recipe {
                tags: tags.to_vec(),
                payload: payload(30_000),
                ..Recipe::default()
            };
            let (header, frame) = recipe.begun(1448);
            let wire = datagrams(&mut net, header, &frame);
            assert!(wire.len() <= 24, "{} datagrams", wire.len());
            net.inject_all(1, simulator::address(0), &wire);
            let mut expected = reference(&recipe, 1448);
            if ports[1] == PortRule::TRANSPARENT {
                let pcp = tags.get(2).map_or(0, |b| b & 0xf0);
                let tag = [0x88, 0xa8, pcp, 100];
                expected
                    .iter_mut()
                    .for_each(|f| drop(f.splice(12..12, tag)));
            }
            assert_eq!(
                delivered(&mut net),
                expected,
                "{ports:?} {plain} {lossy} {tags:x?}"
            );
        }
    }
}

/// A flow that grows from small frames to larger ones within a batch: what was urgent leaves before what is not.
#[test]
fn what_is_urgent_leaves_first() {
    let mut net = pair(Abilities::ALL, false);
    let now = net.now;
    let m = net.member(0);
    m.captured.outgoing.clear();
    // The bulk bundle is the older one, and too small for all of its frames.
    for (len, urgent) in [
        (700, false),
        (22, true),
        (600, false),
        (22, true),
        (500, false),
    ] {
        let (header, mut frame) = frames::udp(1, len);
        m.captured.outgoing.mark.is_urgent = urgent;
        m.encap
            .frame(PortId(0), (header, &mut frame), now, &mut m.captured);
    }
    m.encap.flush(now, &mut m.captured);
    let wire = net.harvest(0);
    let lanes: Vec<u8> = wire.iter().map(|(_, d)| d[1] >> 4 & 1).collect();
    assert_eq!(lanes, [1, 0, 0], "what is urgent, two of bulk, the rest");
}
