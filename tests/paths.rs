//! Stories of members that cannot simply reach each other: relays, NATs, ways that die and come back. In virtual time.

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/simulator.rs"]
mod simulator;

use std::net::SocketAddr;

use hosts::*;
use l2vpn::carrier::Carrier;
use l2vpn::drops::DropReason;
use l2vpn::keys::Ticket;
use l2vpn::mesh::meter::Rate;
use l2vpn::mesh::path::Endpoint;
use l2vpn::mesh::peer::RelayUse;
use l2vpn::node::Event;
use l2vpn::node::legs::{Leg, Rank};
use l2vpn::node::plane::RelayLimits;
use l2vpn::place::PeerId;
use l2vpn::time::Duration;
use l2vpn::wire::control::{self, Addresses, Element};
use l2vpn::wire::ethernet::Mac;
use l2vpn::wire::inner::TYPE_CONTROL;
use l2vpn::wire::relayed::Channel;
use simulator::nat::{KINDS, Kind, PORT_RESTRICTED};
use simulator::*;

/// The relay is the last; the others know it and each other's keys, and no address of each other.
const RELAY: usize = 2;

fn world(kinds: [Option<Kind>; 2], seed: u64) -> Network {
    let mut recipes = members(3);
    recipes[RELAY].relays = true;
    recipes[RELAY].ports.clear();
    let mut net = Network::of(recipes, seed);
    net.weather.delay = millis(20);
    for (n, kind) in kinds.into_iter().enumerate() {
        if let Some(kind) = kind {
            net.put_behind(n, kind);
        }
        let own = net.member(n).address;
        let now = net.now;
        net.member(n).node.set_local_addresses(vec![own], now);
    }
    net
}

/// The same, with members that have to find out what the wire carries.
fn narrow_world(kinds: [Option<Kind>; 2], carries: u16, seed: u64) -> Network {
    let mut net = world(kinds, seed);
    net.carries = Some(carries);
    for n in 0..3 {
        net.rebuild(n);
        let (own, now) = (net.member(n).address, net.now);
        net.member(n).node.set_local_addresses(vec![own], now);
    }
    net
}

fn mtu(net: &Network, n: usize, other: usize) -> u16 {
    let member = net.members[n].as_ref().unwrap();
    let peer = &member.node.peers()[Network::peer_of(n, other) as usize];
    peer.path.mtu()
}

fn introduce(net: &mut Network) {
    net.introduce(0, RELAY);
    net.introduce(1, RELAY);
}

fn way(net: &Network, n: usize, other: usize) -> Option<Endpoint> {
    let member = net.members[n].as_ref()?;
    let peer = &member.node.peers()[Network::peer_of(n, other) as usize];
    peer.up_since.and(peer.path.endpoint())
}

fn is_direct(net: &Network) -> bool {
    let direct = |n, other| way(net, n, other).is_some_and(|w| w.channel.is_none());
    direct(0, 1) && direct(1, 0)
}

fn both_up(net: &Network) -> bool {
    net.is_up(0, 1) && net.is_up(1, 0)
}

fn in_ms(net: &mut Network, most: u64, done: impl Fn(&Network) -> bool) -> Option<u64> {
    let began = net.now;
    let end = began + millis(most);
    net.run_until(end, done)
        .then(|| net.now.since(began).as_millis() as u64)
}

/// Frames both ways, now.
fn crosses(net: &mut Network) -> bool {
    let sent = [(0, 1), (1, 0)].map(|(from, to)| {
        let text = format!("{from} at {:?}", net.now);
        let f = frame(Mac::BROADCAST, mac(from as u32), None, text.as_bytes());
        net.send(from, 0, &f);
        (to, f)
    });
    net.run_for(millis(200));
    sent.into_iter()
        .all(|(to, f)| net.member(to).frames().contains(&f))
}

#[test]
fn two_members_with_nothing_but_a_relay_find_each_other() {
    let mut net = world([Some(PORT_RESTRICTED); 2], 1);
    introduce(&mut net);
    let up = in_ms(&mut net, 1000, both_up).expect("through the relay");
    // Registration 2 one-way delays of 20 ms and its confirmation, the wish and its answer, the handshake by the relay.
    assert!(up <= 400, "{up} ms");
    assert!(crosses(&mut net));
    let direct = in_ms(&mut net, 2000, is_direct).expect("a direct way");
    assert!(up + 200 + direct <= 1000, "{up} + 200 + {direct} ms");
    assert!(crosses(&mut net));
    let relayed = net.member(RELAY).plane.crossings();
    assert_eq!(relayed, 1);
}

/// Which kinds can punch: all but those where both ends see a port that the other has never sent to. One that counts its ports
/// meets one that keeps its own, because the next ports are told.
fn can_punch(a: Option<Kind>, b: Option<Kind>) -> bool {
    use simulator::nat::Depends::*;
    let moves = |k: Option<Kind>| k.is_some_and(|k| k.mapping != Nothing);
    let minds = |k: Option<Kind>| k.is_some_and(|k| k.filtering == Port);
    let counts = |k: Option<Kind>| moves(k) && k.is_some_and(|k| !k.is_random);
    let hard = |a, b| moves(a) && minds(b) && (moves(b) || !counts(a));
    !(hard(a, b) || hard(b, a))
}

#[test]
fn exactly_those_that_can_go_direct_do_and_all_others_run_through_the_relay() {
    let mut punched = 0;
    for (x, a) in KINDS.into_iter().enumerate() {
        for (y, b) in KINDS.into_iter().enumerate() {
            for seed in 0..3 {
                let mut net = world([a, b], 100 + seed);
                introduce(&mut net);
                assert!(in_ms(&mut net, 1500, both_up).is_some(), "{a:?} {b:?}");
                net.run_for(Duration::from_secs(4));
                assert_eq!(is_direct(&net), can_punch(a, b), "{a:?} {b:?}");
                assert!(crosses(&mut net), "{x} {y}: {a:?} {b:?}");
            }
            punched += usize::from(can_punch(a, b));
        }
    }
    assert_eq!(punched, 41);
}

#[test]
fn ports_that_others_take_in_between_are_skipped() {
    for (seed, others) in (0..12).flat_map(|seed| [0, 4, 40].map(|others| (seed, others))) {
        let mut net = world([KINDS[5], Some(PORT_RESTRICTED)], 8000 + seed);
        introduce(&mut net);
        net.run_for(millis(90));
        net.nats[0].give(others);
        assert!(in_ms(&mut net, 1500, both_up).is_some());
        net.run_for(Duration::from_secs(4));
        assert_eq!(is_direct(&net), others < 10, "{others} others");
        assert!(crosses(&mut net));
    }
}

#[test]
fn members_behind_one_nat_meet_inside() {
    let mut net = world([Some(PORT_RESTRICTED), None], 3);
    net.behind.push((1, 0));
    introduce(&mut net);
    assert!(in_ms(&mut net, 2000, is_direct).is_some());
    let inside = net.member(1).address;
    assert_eq!(way(&net, 0, 1).map(|w| w.remote), Some(inside));
    assert!(crosses(&mut net));
}

#[test]
fn a_direct_way_that_dies_under_traffic_is_replaced_by_the_relay_within_a_second() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let mut net = world([Some(PORT_RESTRICTED); 2], 500 + seed);
        introduce(&mut net);
        in_ms(&mut net, 3000, is_direct).unwrap();
        net.run_for(millis(1000 + seed * 7));
        net.blocked = vec![(0, 1), (1, 0)];
        // What a member puts on the wire to the outside of the other's NAT is lost as well.
        let outsides: Vec<_> = net.nats.iter().map(|n| n.outside).collect();
        net.unreachable = vec![(0, outsides[1]), (1, outsides[0])];
        let began = net.now;
        let mut healed = None;
        for n in 0u64..200 {
            let text = format!("after {n}");
            let f = frame(Mac::BROADCAST, mac(1), None, text.as_bytes());
            net.send(0, 0, &f);
            net.run_for(millis(10));
            if net
                .member(1)
                .frames()
                .iter()
                .any(|f| f.ends_with(text.as_bytes()))
                || {
                    let last = net.member(1).delivered.last().map(|(at, ..)| *at);
                    last.is_some_and(|at| at > began + millis(45))
                }
            {
                healed = Some(net.now.since(began).as_millis());
                break;
            }
        }
        times.push(healed.expect("the relay carries on"));
        net.run_for(millis(800));
        let moved = |e: &(_, Event)| matches!(e.1, Event::Relayed(PeerId(_)));
        assert!(net.member(0).events.iter().any(moved));
        // And back, when the wire is whole again.
        net.blocked.clear();
        net.unreachable.clear();
        assert!(in_ms(&mut net, 40_000, is_direct).is_some(), "seed {seed}");
    }
    times.sort_unstable();
    let (half, most) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    println!("direct to relay under traffic: p50 {half} ms, p95 {most} ms");
    // Frames go both ways at once as soon as one question is unanswered.
    assert!(most <= 500, "{times:?}");
}

#[test]
fn a_relay_that_restarts_has_its_members_back() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let mut net = world([KINDS[6]; 2], 400 + seed);
        introduce(&mut net);
        in_ms(&mut net, 2000, both_up).unwrap();
        net.run_for(millis(3000 + seed * 7));
        assert!(crosses(&mut net));
        // It says goodbye, and begins anew a moment later.
        let now = net.now;
        net.member(RELAY).node.close(now);
        net.collect(RELAY);
        net.run_for(millis(100));
        net.rebuild(RELAY);
        times.push(both_heard(&mut net, 3000).expect("they are back"));
    }
    assert!(told("a relay that starts again", times).1 <= 2000);
}

/// How long it takes until frames that were sent from now on arrive on both sides, in ms.
fn both_heard(net: &mut Network, most: u64) -> Option<u64> {
    let began = net.now;
    (0..most / 10).find_map(|n| {
        for (from, to) in [(0, 1), (1, 0)] {
            let text = format!("after {n} to {to}");
            net.send(
                from,
                0,
                &frame(Mac::BROADCAST, mac(1), None, text.as_bytes()),
            );
        }
        net.run_for(millis(10));
        let late = began + millis(60);
        let heard = |m: &simulator::Member| m.delivered.last().is_some_and(|(at, ..)| *at > late);
        let both = net.members.iter().take(2).flatten().all(heard);
        both.then(|| net.now.since(began).as_millis() as u64)
    })
}

#[test]
fn a_relay_that_dies_and_comes_back_unnoticed_has_its_members_back() {
    for seed in 0..10 {
        let mut net = world([KINDS[6]; 2], 40 + seed);
        introduce(&mut net);
        in_ms(&mut net, 2000, both_up).unwrap();
        net.run_for(Duration::from_secs(3));
        // No goodbye: it has no session and no channel any more, and nobody knows.
        net.rebuild(RELAY);
        let back = (0..60).find(|_| {
            net.run_for(millis(800));
            crosses(&mut net)
        });
        assert!(back.is_some(), "seed {seed}: never");
    }
}

#[test]
fn a_member_that_dies_and_comes_back_goes_direct_again() {
    for seed in 0..10 {
        let mut net = world([Some(PORT_RESTRICTED); 2], 60 + seed);
        introduce(&mut net);
        in_ms(&mut net, 3000, is_direct).unwrap();
        net.rebuild(0);
        let (own, now) = (net.member(0).address, net.now);
        net.member(0).node.set_local_addresses(vec![own], now);
        net.introduce(0, RELAY);
        assert!(in_ms(&mut net, 60_000, is_direct).is_some(), "seed {seed}");
        assert!(crosses(&mut net));
    }
}

#[test]
fn a_member_that_is_searched_for_and_goes_costs_no_time() {
    let mut net = world([KINDS[6]; 2], 7);
    introduce(&mut net);
    in_ms(&mut net, 2000, both_up).unwrap();
    net.members[1] = None;
    let end = net.now + Duration::from_secs(100);
    let mut wakes = 0;
    while net.now < end {
        let next = net.member(0).node.deadline();
        wakes += 1;
        assert!(wakes < 3000, "it never sleeps");
        let now = next.max(net.now + Duration::from_micros(1));
        net.run_for(now.since(net.now));
    }
}

#[test]
fn a_lossy_wire_keeps_nobody_from_the_direct_way() {
    for seed in 0..30 {
        let mut net = world([Some(PORT_RESTRICTED); 2], 80 + seed);
        net.weather.loss = 10;
        introduce(&mut net);
        let direct = in_ms(&mut net, 70_000, is_direct);
        assert!(direct.is_some(), "seed {seed}");
    }
}

#[test]
fn a_relay_that_dies_silently_is_left_for_the_other_within_two_seconds() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let mut recipes = members(4);
        for recipe in &mut recipes[RELAY..] {
            recipe.relays = true;
            recipe.ports.clear();
        }
        let mut net = Network::of(recipes, 900 + seed);
        net.weather.delay = millis(20);
        (0..2).for_each(|n| {
            net.put_behind(n, KINDS[6].unwrap());
        });
        for n in 0..2 {
            net.introduce(n, RELAY);
            net.introduce(n, RELAY + 1);
        }
        in_ms(&mut net, 3000, both_up).unwrap();
        net.run_for(Duration::from_secs(6));
        let used = way(&net, 0, 1).unwrap().remote;
        let dead = (RELAY..4).find(|r| address(*r) == used).unwrap();
        net.members[dead] = None;
        times.push(both_heard(&mut net, 4000).expect("the other relay carries on"));
    }
    assert!(told("relay to relay", times).1 <= 2000);
}

#[test]
fn a_slow_way_is_not_given_up_again_and_again() {
    let mut net = world([None, None], 9);
    net.weather.delay = millis(300);
    introduce(&mut net);
    in_ms(&mut net, 10_000, is_direct).expect("direct");
    for n in 0..200 {
        let f = frame(Mac::BROADCAST, mac(1), None, format!("{n}").as_bytes());
        net.send(0, 0, &f);
        net.send(1, 0, &frame(Mac::BROADCAST, mac(2), None, b"and back"));
        net.run_for(millis(150 + n * 10));
    }
    let given_up = |e: &&(_, Event)| matches!(e.1, Event::Relayed(_));
    let times = net.member(0).events.iter().filter(given_up).count();
    assert!(times <= 3, "{times} times");
}

#[test]
fn strangers_and_those_without_a_channel_are_carried_nothing() {
    let mut net = world([None, None], 5);
    introduce(&mut net);
    in_ms(&mut net, 2000, both_up).unwrap();
    let channel = way(&net, 0, 1).and_then(|w| w.channel);
    let (relay, own) = (net.member(RELAY).address, net.member(0).address);
    let channel = channel.unwrap_or(l2vpn::wire::relayed::Channel::new(7).unwrap());
    let mut datagram = channel.header(1).to_vec();
    datagram.extend([11, 0, 0, 0]);
    datagram.extend([0; 40]);
    let stranger = "198.51.100.9:9".parse().unwrap();
    let before = net.recording.len();
    net.inject(RELAY, stranger, &datagram);
    let other = l2vpn::wire::relayed::Channel::new(channel.get() ^ 1).unwrap();
    datagram[..8].copy_from_slice(&other.header(1));
    net.inject(RELAY, own, &datagram);
    // An initiation whose mac1 is not the receiver's goes no further.
    let mut junk = channel.header(1).to_vec();
    junk.extend([8, 1, 0, 0]);
    junk.extend([7; 600]);
    net.inject(RELAY, own, &junk);
    let carried = net.recording[before..].iter().filter(|p| p.from == relay);
    assert_eq!(carried.count(), 0);
}

#[test]
fn what_a_way_carries_is_found_directly_and_through_the_relay() {
    for (kind, direct) in [(None, true), (KINDS[6], false)] {
        for carries in [1280, 1400, 1420, 1500] {
            let mut net = narrow_world([kind; 2], carries, 11);
            introduce(&mut net);
            in_ms(&mut net, 2000, both_up).unwrap();
            net.run_for(Duration::from_secs(8));
            assert_eq!(is_direct(&net), direct);
            assert_eq!([mtu(&net, 0, 1), mtu(&net, 1, 0)], [carries; 2]);
            let f = frame(Mac::BROADCAST, mac(0), None, &[7; 1500]);
            net.send(0, 0, &f);
            net.run_for(millis(200));
            assert!(net.member(1).frames().contains(&f));
        }
    }
}

#[test]
fn a_way_that_shrinks_under_bulk_carries_on_within_three_seconds() {
    for seed in 0..20 {
        let mut net = narrow_world([None; 2], 1500, 20 + seed);
        net.weather.loss = seed % 3;
        introduce(&mut net);
        in_ms(&mut net, 2000, is_direct).unwrap();
        net.run_for(Duration::from_secs(2));
        assert_eq!(mtu(&net, 0, 1), 1500);
        net.carries = Some(1280);
        let began = net.now;
        let healed = (0..500).find_map(|n: u32| {
            let payload = [&n.to_be_bytes()[..], &[7; 1400]].concat();
            net.send(0, 0, &frame(Mac::BROADCAST, mac(0), None, &payload));
            net.run_for(millis(10));
            let last = net.member(1).delivered.last().map(|(at, ..)| *at);
            let is_new = last.is_some_and(|at| at > began + millis(25));
            is_new.then(|| net.now.since(began).as_millis())
        });
        let healed = healed.expect("it carries on");
        assert!(healed <= 3000, "seed {seed}: {healed} ms");
        net.run_for(Duration::from_secs(2));
        assert_eq!(mtu(&net, 0, 1), 1280);
    }
}

#[test]
fn losses_do_not_make_a_way_small() {
    for seed in 0..10 {
        let mut net = narrow_world([None; 2], 1500, 50 + seed);
        net.weather.loss = 5;
        introduce(&mut net);
        in_ms(&mut net, 20_000, is_direct).unwrap();
        let mut small = 0;
        for _ in 0..600 {
            let f = frame(Mac::BROADCAST, mac(0), None, &[7; 1400]);
            (0..4).for_each(|_| net.send(0, 0, &f));
            net.run_for(millis(200));
            small += u32::from(mtu(&net, 0, 1) < 1500);
        }
        assert!(small <= 200, "seed {seed}: {small} of 600");
    }
}

#[test]
fn show_has_a_round_trip_and_since_when() {
    let mut net = narrow_world([None; 2], 1500, 12);
    introduce(&mut net);
    in_ms(&mut net, 2000, is_direct).unwrap();
    net.run_for(Duration::from_secs(3));
    let member = net.members[0].as_ref().unwrap();
    let path = &member.node.peers()[0].path;
    assert_eq!(path.round_trip().get(), Some(millis(40)));
    assert!(net.now.since(path.since()) < Duration::from_secs(4));
}

/// What the first member's policy lets through the relay: whether the two are connected, and whether a frame arrives.
fn with_policy(policy: RelayUse, kind: Option<Kind>) -> (bool, bool) {
    let mut recipes = members(3);
    recipes[RELAY].relays = true;
    recipes[RELAY].ports.clear();
    recipes.iter_mut().for_each(|r| r.relay = policy);
    let mut net = Network::of(recipes, 5);
    net.weather.delay = millis(20);
    for n in 0..2 {
        kind.map(|kind| net.put_behind(n, kind));
        let (own, now) = (net.member(n).address, net.now);
        net.member(n).node.set_local_addresses(vec![own], now);
    }
    introduce(&mut net);
    in_ms(&mut net, 3000, both_up);
    net.run_for(Duration::from_secs(3));
    let up = both_up(&net);
    (up, up && crosses(&mut net))
}

#[test]
fn policies_say_what_a_relay_may_carry() {
    let hard = KINDS[6];
    assert_eq!(with_policy(RelayUse::Allow, hard), (true, true));
    // Connected, for what may come; frames wait for a direct way.
    assert_eq!(with_policy(RelayUse::ControlOnly, hard), (true, false));
    let easy = Some(PORT_RESTRICTED);
    assert_eq!(with_policy(RelayUse::ControlOnly, easy), (true, true));
    assert_eq!(with_policy(RelayUse::Never, hard), (false, false));
    assert_eq!(with_policy(RelayUse::Never, None), (false, false));
}

/// Members that are connected by a carrier, each with what it knows the connection by.
fn carried(bindings: [u8; 2]) -> Network {
    let mut net = Network::new(2, 8);
    for (n, binding) in bindings.into_iter().enumerate() {
        let leg = Leg {
            address: address(1 - n),
            carrier: Carrier::Tls,
            binding: [binding; 16],
        };
        net.member(n).node.add_leg(leg);
    }
    net.introduce_all();
    net.run_for(Duration::from_secs(2));
    net
}

#[test]
fn one_in_the_middle_of_a_carrier_is_found_out() {
    let mut net = carried([7, 7]);
    assert!(both_up(&net) && crosses(&mut net));
    let rank = net.member(0).node.rank_of(PeerId(0));
    assert_eq!(rank, Some(Rank::Carried(Carrier::Tls)));
    let mut net = carried([7, 8]);
    let refused = |m: &simulator::Member| {
        let is_one = |e: &&(_, Event)| matches!(e.1, Event::LegRefused(_));
        m.events.iter().any(|e| is_one(&e))
    };
    assert!(net.members.iter().flatten().any(refused));
    assert!(net.member(0).drops(DropReason::CarrierBinding) > 0);
}

#[test]
fn a_carrier_that_ends_takes_the_way_with_it_and_the_next_one_is_taken() {
    let mut net = carried([7, 7]);
    let (now, gone) = (net.now, address(1));
    net.member(0).node.remove_leg(gone, now);
    net.collect(0);
    assert!(!net.is_up(0, 1));
    // UDP passes again at the same address: it is a plain one now.
    net.introduce(0, 1);
    assert!(in_ms(&mut net, 2000, both_up).is_some());
    let rank = net.member(0).node.rank_of(PeerId(0));
    assert_eq!(rank, Some(Rank::Direct));
}

#[test]
fn members_on_one_lan_find_each_other_by_beacons() {
    for count in [2, 3, 200] {
        let mut net = Network::new(count, 30);
        net.is_lan = true;
        net.record = false;
        net.start_beacons();
        let all_up = |net: &Network| {
            let met = |n: usize| (0..count).all(|o| o == n || net.is_up(n, o));
            // Those of a large network have some turns each; the first and the last are enough.
            if count > 10 {
                net.is_up(0, 0)
            } else {
                (0..count).all(met)
            }
        };
        assert!(in_ms(&mut net, 3000, all_up).is_some(), "{count}");
    }
}

#[test]
fn beacons_tell_strangers_nothing_and_end_when_nobody_is_missed() {
    let mut net = Network::new(2, 31);
    net.is_lan = true;
    net.start_beacons();
    in_ms(&mut net, 3000, both_up).unwrap();
    net.run_for(Duration::from_secs(5));
    let sent = net.beacons.len();
    net.run_for(Duration::from_secs(300));
    assert_eq!(net.beacons.len(), sent);
    let keys = [0, 1].map(|n| *net.recipes[n].public().as_bytes());
    let texts: Vec<&[u8]> = net.beacons.iter().map(|(_, b)| &b[..]).collect();
    for (n, text) in texts.iter().enumerate() {
        let shows = |key: &[u8; 32]| text.windows(8).any(|w| key.windows(8).any(|k| k == w));
        assert!(!keys.iter().any(shows));
        let other = texts.iter().skip(n + 1);
        assert!(
            other.clone().all(|o| o[4..] != text[4..]),
            "no two are alike"
        );
    }
    // A copy from elsewhere makes one that knows the peer already do nothing; a stranger's is noise.
    let copy = net.beacons[0].1.clone();
    let (now, before) = (net.now, net.recording.len());
    net.member(1).node.handle_beacon(address(9), &copy, now);
    net.collect(1);
    assert_eq!(net.recording.len(), before);
}

#[test]
fn a_copied_beacon_starts_few_handshakes() {
    let mut net = Network::new(2, 32);
    net.start_beacons();
    net.run_for(millis(10));
    let copy = net.beacons[0].1.clone();
    let mut at = 0;
    for n in 0..1000u32 {
        let now = net.now;
        let from = SocketAddr::from(([198, 51, 100, (n % 200) as u8], 7656));
        net.member(1).node.handle_beacon(from, &copy, now);
        net.collect(1);
        net.run_for(millis(10));
        at = net
            .recording
            .iter()
            .filter(|p| p.to.ip() != address(0).ip())
            .count();
    }
    // Ten seconds of a thousand copies from two hundred addresses.
    assert!(at <= 25, "{at} datagrams");
    assert!(net.member(1).drops(DropReason::RateLimited) > 0);
}

/// Whether two members are direct some seconds after their start; frames cross in any case.
fn settles_direct(mut net: Network) -> bool {
    introduce(&mut net);
    assert!(in_ms(&mut net, 2000, both_up).is_some());
    net.run_for(Duration::from_secs(4));
    assert!(crosses(&mut net));
    is_direct(&net)
}

#[test]
fn carriers_of_carriers_and_hairpins() {
    // Two homes behind one carrier's NAT: they meet inside it when it hairpins, and through the relay when it does not.
    for (hairpins, direct) in [(true, true), (false, false)] {
        let mut net = world([Some(PORT_RESTRICTED); 2], 70);
        net.put_behind(9, PORT_RESTRICTED);
        net.nats[2].hairpins = hairpins;
        (0..2).for_each(|home| net.nest(home, 2));
        assert_eq!(settles_direct(net), direct, "hairpins: {hairpins}");
    }
    // A home behind a carrier, and one that is not.
    let mut net = world([Some(PORT_RESTRICTED); 2], 71);
    net.put_behind(9, PORT_RESTRICTED);
    net.nest(0, 2);
    assert!(settles_direct(net));
    // A carrier that gives another port for each destination.
    let mut net = world([Some(PORT_RESTRICTED); 2], 72);
    net.put_behind(9, KINDS[6].unwrap());
    net.nest(0, 2);
    assert!(!settles_direct(net));
}

#[test]
fn three_members_behind_one_nat_meet_inside_and_one_outside_is_reached_by_all() {
    let mut recipes = members(5);
    recipes[4].relays = true;
    recipes[4].ports.clear();
    let mut net = Network::of(recipes, 73);
    net.weather.delay = millis(20);
    let nat = net.put_behind(0, PORT_RESTRICTED);
    net.behind.extend([(1, nat), (2, nat)]);
    net.put_behind(3, PORT_RESTRICTED);
    for n in 0..4 {
        let (own, now) = (net.member(n).address, net.now);
        net.member(n).node.set_local_addresses(vec![own], now);
        net.introduce(n, 4);
    }
    net.run_for(Duration::from_secs(6));
    for (n, other) in (0..4)
        .flat_map(|n| (0..4).map(move |o| (n, o)))
        .filter(|(n, o)| n != o)
    {
        let way = way(&net, n, other).expect("connected");
        assert_eq!(way.channel, None, "{n} to {other}");
        let inside = n < 3 && other < 3;
        assert!(
            !inside || way.remote == address(other),
            "{n} to {other}: {way:?}"
        );
    }
}

#[test]
fn a_nat_that_reboots_or_forgets_early_keeps_nobody_apart_for_long() {
    for seed in 0..10 {
        let mut net = world([Some(PORT_RESTRICTED), KINDS[4]], 74 + seed);
        introduce(&mut net);
        in_ms(&mut net, 3000, is_direct).unwrap();
        // Idle for long: keepalives hold the mappings that live 30 s.
        net.run_for(Duration::from_secs(200));
        assert!(is_direct(&net) && crosses(&mut net), "seed {seed}");
        net.nats[1].reboot();
        let healed = (0..50).find(|_| {
            net.run_for(millis(100));
            crosses(&mut net)
        });
        assert!(healed.is_some_and(|n| n < 20), "seed {seed}: {healed:?}");
        assert!(in_ms(&mut net, 40_000, is_direct).is_some());
    }
}

/// p50 and p95 of some times, in ms.
fn told(what: &str, mut times: Vec<u64>) -> (u64, u64) {
    times.sort_unstable();
    let (half, most) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    println!(
        "{what}: p50 {half} ms, p95 {most} ms ({} runs)",
        times.len()
    );
    (half, most)
}

#[test]
fn times_that_a_user_waits() {
    let (mut first, mut direct) = (Vec::new(), Vec::new());
    for seed in 0..100 {
        let mut net = world([Some(PORT_RESTRICTED); 2], 2000 + seed);
        net.weather.jitter = millis(2);
        introduce(&mut net);
        let start = net.now;
        // Both are with the relay and know each other's channel: a host speaks for the first time.
        let has_channel = |net: &Network, n: usize| {
            let peer = &net.members[n].as_ref().unwrap().node.peers()[0];
            !peer.places.channels.is_empty()
        };
        in_ms(&mut net, 1000, |net| {
            has_channel(net, 0) && has_channel(net, 1)
        })
        .unwrap();
        let asked = net.now;
        // A host speaks as soon as its port has a carrier; one that repeats itself finds that moment.
        let came = |net: &Network| !net.members[1].as_ref().unwrap().delivered.is_empty();
        let heard = (0..400).any(|_| {
            net.send(0, 0, &frame(Mac::BROADCAST, mac(0), None, b"the first"));
            net.run_for(millis(5));
            came(&net)
        });
        assert!(heard, "the first frame");
        first.push(net.now.since(asked).as_millis() as u64);
        in_ms(&mut net, 3000, is_direct).expect("direct");
        direct.push(net.now.since(start).as_millis() as u64);
    }
    // One and a half of the relay's round trips between the members, which take 80 ms, and 20: the handshake, and the frame.
    assert!(told("cold first frame, at the start", first).0 <= 140);
    assert!(told("direct after the start", direct).1 <= 1000);
}

#[test]
fn a_hosts_first_frame_goes_at_once_where_members_are_connected() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let mut net = world([KINDS[6]; 2], 2500 + seed);
        net.weather.jitter = millis(2);
        introduce(&mut net);
        in_ms(&mut net, 2000, both_up).unwrap();
        net.run_for(millis(1000 + seed * 3));
        let (began, seen) = (net.now, net.member(1).delivered.len());
        net.send(0, 0, &frame(Mac::BROADCAST, mac(0), None, b"the first"));
        net.run_for(millis(500));
        let at = net.member(1).delivered.get(seen).map(|(at, ..)| *at);
        times.push(at.expect("it comes").since(began).as_millis() as u64);
    }
    // Half of the relay's round trip between them, and no handshake.
    assert!(told("a host's first frame, by the relay", times).0 <= 60);
}

/// A member's host is in another network from now on, with another address.
fn move_away(net: &mut Network, n: usize, is_told: bool) {
    let now = net.now;
    let there = SocketAddr::from(([10, 9, 9, 9], 7656));
    net.member(n).address = there;
    if is_told {
        net.member(n).node.set_local_addresses(vec![there], now);
        net.collect(n);
    }
}

#[test]
fn times_of_members_that_move() {
    for (is_told, most) in [(true, 240), (false, 1500)] {
        let mut times = Vec::new();
        for seed in 0..100 {
            let mut net = world([Some(PORT_RESTRICTED); 2], 3000 + seed);
            introduce(&mut net);
            in_ms(&mut net, 3000, is_direct).unwrap();
            net.run_for(millis(1000 + seed * 13));
            move_away(&mut net, 0, is_told);
            let began = net.now;
            // Traffic towards the one that moved: it hears again when the other knows where it is.
            let healed = (0..400).find_map(|n: u32| {
                let f = frame(Mac::BROADCAST, mac(1), None, &n.to_be_bytes());
                net.send(1, 0, &f);
                if !is_told && n.is_multiple_of(10) {
                    net.send(0, 0, &frame(Mac::BROADCAST, mac(0), None, &n.to_be_bytes()));
                }
                net.run_for(millis(5));
                let last = net.member(0).delivered.last().map(|(at, ..)| *at);
                let is_new = last.is_some_and(|at| at > began + millis(25));
                is_new.then(|| net.now.since(began).as_millis() as u64)
            });
            times.push(healed.expect("it is found again"));
        }
        let what = if is_told {
            "moved, with an event"
        } else {
            "moved, unnoticed"
        };
        assert!(told(what, times).1 <= most);
    }
}

#[test]
fn a_member_that_sends_too_much_through_a_relay_is_slowed_and_told_and_the_others_are_not() {
    let (each, all) = (Rate::of_megabits(8), Rate::of_megabits(16));
    slowed_and_told(RelayLimits { each, all: None });
    slowed_and_told(RelayLimits { each: None, all });
}

fn slowed_and_told(limits: RelayLimits) {
    let mut recipes = members(5);
    recipes[4].relays = true;
    recipes[4].ports.clear();
    recipes[4].relay_limits = limits;
    let mut net = Network::of(recipes, 90);
    net.record = false;
    for n in 0..4 {
        net.put_behind(n, KINDS[6].unwrap());
        net.introduce(n, 4);
    }
    net.run_for(Duration::from_secs(3));
    let sent = |net: &mut Network, n: usize, count: u32| {
        for k in 0..count {
            let payload = [&k.to_be_bytes()[..], &[n as u8; 1000]].concat();
            net.send(n, 0, &frame(Mac::BROADCAST, mac(n as u32), None, &payload));
        }
    };
    let from = |net: &mut Network, to: usize, n: usize| {
        let delivered = &net.member(to).delivered;
        delivered
            .iter()
            .filter(|(.., f)| f.ends_with(&[n as u8; 1000]))
            .count()
    };
    // Member 0 floods with 80 Mbit/s to each of three, member 2 speaks with 0.8.
    for _ in 0..400 {
        sent(&mut net, 0, 100);
        sent(&mut net, 2, 1);
        net.run_for(millis(10));
    }
    net.run_for(Duration::from_secs(12));
    let flood = from(&mut net, 1, 0);
    assert!((1000..3000).contains(&flood), "{flood} of 40000");
    assert!(from(&mut net, 1, 2) >= 396, "its neighbour loses nothing");
    let throttled = |e: &(_, Event)| matches!(e.1, Event::Throttled(PeerId(3), n) if n > 5000);
    assert!(net.member(0).events.iter().any(throttled));
    let all = |e: &&(_, Event)| matches!(e.1, Event::Throttled(..));
    assert_eq!(net.member(2).events.iter().filter(all).count(), 0);
}

#[test]
fn replayed_datagrams_are_delivered_once_and_a_relay_that_lies_delivers_nothing() {
    let mut net = world([KINDS[6]; 2], 91);
    introduce(&mut net);
    in_ms(&mut net, 3000, both_up).unwrap();
    net.run_for(Duration::from_secs(3));
    let secret = b"a frame that the relay must not read, nor change, nor make";
    let before = net.recording.len();
    let f = frame(Mac::BROADCAST, mac(0), None, secret);
    net.send(0, 0, &f);
    net.run_for(millis(200));
    assert_eq!(net.member(1).frames(), std::slice::from_ref(&f));
    // What the relay has seen of it, and what it may do with that.
    let relay = net.member(RELAY).address;
    let seen: Vec<Packet> = net.recording[before..].to_vec();
    let shows = |p: &&Packet| {
        p.bytes
            .windows(8)
            .any(|w| secret.windows(8).any(|s| s == w))
    };
    assert_eq!(
        seen.iter().filter(shows).count(),
        0,
        "plain text on the wire"
    );
    let carried: Vec<&Packet> = seen.iter().filter(|p| p.from == relay).collect();
    assert!(!carried.is_empty());
    for packet in carried {
        for _ in 0..3 {
            net.inject(1, relay, &packet.bytes);
        }
        for at in 0..packet.bytes.len() {
            let mut bytes = packet.bytes.clone();
            bytes[at] ^= 0x40;
            net.inject(1, relay, &bytes);
        }
        net.inject(1, relay, &packet.bytes[..packet.bytes.len() - 1]);
    }
    net.run_for(millis(500));
    assert_eq!(net.member(1).frames(), [f], "once, and nothing else");
    assert!(both_up(&net));
}

#[test]
fn an_address_that_a_member_tells_is_not_flooded() {
    // Member 0 tells a victim's address as its own, over and over.
    let mut net = world([KINDS[6], KINDS[6]], 92);
    let victim: std::net::SocketAddr = "198.51.100.77:53".parse().unwrap();
    introduce(&mut net);
    in_ms(&mut net, 3000, both_up).unwrap();
    let outside = net.nats[1].outside;
    for n in 0..600u16 {
        let mut addresses = vec![victim];
        // Another set each time, so that it looks like news.
        addresses.push(SocketAddr::from(([198, 51, 100, 1], 1000 + n)));
        let now = net.now;
        net.member(0).node.set_local_addresses(addresses, now);
        net.collect(0);
        net.run_for(millis(100));
    }
    let hit = net
        .recording
        .iter()
        .filter(|p| p.to == victim && p.from.ip() == outside);
    let count = hit.count();
    assert!(count <= 120, "{count} packets in a minute");
}

#[test]
fn nats_that_note_what_comes_too_early_are_cured_by_questions_that_do_not_arrive() {
    let mut met = [0; 3];
    for (n, (cures, relay)) in [(false, 20), (true, 20), (true, 200)]
        .into_iter()
        .enumerate()
    {
        for seed in 0..20 {
            let mut net = world([Some(PORT_RESTRICTED); 2], 400 + seed);
            // Neighbours, far from the relay: what one sends is there before the other knows that it should.
            net.near = Some(millis(1));
            net.weather.delay = millis(relay);
            net.weather.jitter = millis(3);
            net.cures = cures;
            net.nats.iter_mut().for_each(|nat| nat.traps = true);
            introduce(&mut net);
            in_ms(&mut net, 10_000, both_up).unwrap();
            net.run_for(Duration::from_secs(4));
            met[n] += usize::from(is_direct(&net));
            assert!(crosses(&mut net));
        }
    }
    assert_eq!(met[1..], [20, 20], "with the cure");
    assert!(
        met[0] < 16,
        "{} without it: is there a trap at all?",
        met[0]
    );
}

#[test]
fn another_address_beside_the_old_ones_moves_nobody() {
    let mut net = world([Some(PORT_RESTRICTED); 2], 95);
    introduce(&mut net);
    in_ms(&mut net, 3000, is_direct).unwrap();
    net.run_for(Duration::from_secs(10));
    let (own, before) = (net.member(0).address, net.now);
    for n in 0..20u8 {
        let bridge = SocketAddr::from(([172, 17, n, 1], 7656));
        let now = net.now;
        net.member(0)
            .node
            .set_local_addresses(vec![bridge, own], now);
        net.collect(0);
        net.run_for(Duration::from_secs(3));
        assert!(is_direct(&net));
    }
    let moves = |e: &&(_, Event)| matches!(e.1, Event::Relayed(_) | Event::Down(..));
    for n in 0..2 {
        let late = net.member(n).events.iter().filter(|(at, _)| *at > before);
        assert_eq!(late.filter(moves).count(), 0, "member {n}");
    }
}

#[test]
fn who_loses_one_network_and_gets_another_later_is_found_at_once() {
    for seed in 0..20 {
        let mut net = world([Some(PORT_RESTRICTED); 2], 96 + seed);
        introduce(&mut net);
        in_ms(&mut net, 3000, is_direct).unwrap();
        net.run_for(Duration::from_secs(3));
        let now = net.now;
        net.member(0).node.set_local_addresses(Vec::new(), now);
        net.collect(0);
        net.blocked = vec![(0, 1), (1, 0), (0, RELAY)];
        let outsides: Vec<_> = net.nats.iter().map(|n| n.outside).collect();
        net.unreachable = vec![(0, outsides[1])];
        net.run_for(millis(200));
        net.blocked.clear();
        net.unreachable.clear();
        move_away(&mut net, 0, true);
        let began = net.now;
        let healed = (0..400).find_map(|n: u32| {
            net.send(1, 0, &frame(Mac::BROADCAST, mac(1), None, &n.to_be_bytes()));
            net.run_for(millis(5));
            let last = net.member(0).delivered.last().map(|(at, ..)| *at);
            let is_new = last.is_some_and(|at| at > began + millis(25));
            is_new.then(|| net.now.since(began).as_millis() as u64)
        });
        let healed = healed.expect("found again");
        assert!(healed <= 400, "seed {seed}: {healed} ms");
        assert!(in_ms(&mut net, 40_000, is_direct).is_some());
    }
}

#[test]
fn who_has_a_ticket_is_carried_until_its_time_is_over_and_others_are_not() {
    let secret = [9; 32];
    let mut recipes = members(3);
    recipes[RELAY].relays = true;
    recipes[RELAY].ports.clear();
    recipes[RELAY].relay_secret = Some(secret);
    let start = recipes[0].wall;
    let issue = |holder: usize, until: u64, recipes: &[Recipe]| {
        let secret = l2vpn::keys::Psk::from_bytes(secret);
        Ticket::issue(&secret, &recipes[holder].public(), until)
    };
    recipes[0].ticket = Some(issue(0, start + 100_000, &recipes));
    recipes[1].ticket = Some(issue(1, start + 300, &recipes));
    let connect = |recipes: Vec<Recipe>| {
        let mut net = Network::of(recipes, 97);
        net.weather.delay = millis(20);
        (0..2).for_each(|n| {
            net.put_behind(n, KINDS[6].unwrap());
        });
        introduce(&mut net);
        net.run_for(Duration::from_secs(3));
        net
    };
    let mut net = connect(recipes.clone());
    assert!(both_up(&net) && crosses(&mut net));
    // Its time is over: with the next handshake it is out.
    net.run_for(Duration::from_secs(700));
    assert!(!net.is_up(1, RELAY) && net.is_up(0, RELAY));
    assert!(net.member(RELAY).drops(DropReason::TicketRefused) > 0);
    // Another's ticket, one that was never made, and none.
    let forged = Ticket::issue(
        &l2vpn::keys::Psk::from_bytes([8; 32]),
        &recipes[1].public(),
        u64::MAX,
    );
    for ticket in [recipes[0].ticket, Some(forged), None] {
        let mut recipes = recipes.clone();
        recipes[1].ticket = ticket;
        let mut net = connect(recipes);
        assert!(!net.is_up(1, RELAY) && net.is_up(0, RELAY));
        assert_eq!(
            net.member(RELAY).node.peers().len(),
            1,
            "no memory of strangers"
        );
    }
}

/// What hosts have: IPv4 behind a NAT of this kind, IPv6, or both.
#[derive(Clone, Copy, Debug)]
struct Families(Option<Option<Kind>>, bool);

fn world_of(families: [Families; 2], seed: u64) -> Network {
    let mut net = world([None; 2], seed);
    let v6 = |n: usize| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16 + 1], 7656));
    net.also.push((RELAY, v6(RELAY)));
    for (n, Families(v4, has_v6)) in families.into_iter().enumerate() {
        match (v4, has_v6) {
            (Some(_), true) => net.also.push((n, v6(n))),
            (None, _) => net.member(n).address = v6(n),
            _ => {}
        }
        if let Some(Some(kind)) = v4 {
            net.put_behind(n, kind);
        }
        let (own, now) = (net.addresses(n), net.now);
        net.member(n).node.set_local_addresses(own, now);
        let relay = PeerId(Network::peer_of(n, RELAY));
        let at = net.addresses(RELAY);
        net.member(n).node.set_endpoints(relay, at, now);
        net.collect(n);
    }
    net
}

#[test]
fn members_of_one_family_of_addresses_and_of_both() {
    let hard = KINDS[6];
    assert!(!can_punch(hard, hard), "the last kind is the hardest");
    let (v4, v6) = (Families(Some(hard), false), Families(None, true));
    let both = Families(Some(hard), true);
    for (pair, meets) in [
        ([v6, v6], true),
        ([both, v6], true),
        ([both, both], true),
        ([v6, v4], false),
        ([both, v4], false),
    ] {
        for seed in 0..10 {
            let mut net = world_of(pair, 7000 + seed);
            assert!(in_ms(&mut net, 1500, both_up).is_some(), "{pair:?}");
            net.run_for(Duration::from_secs(5));
            assert_eq!(is_direct(&net), meets, "{pair:?}");
            if meets {
                let by = way(&net, 0, 1).map(|w| w.remote.is_ipv6());
                assert_eq!(by, Some(true), "{pair:?}");
            }
            assert!(crosses(&mut net), "{pair:?}");
            // A whole frame, too: the halves of the way through the relay differ in their headers.
            let long = frame(Mac::BROADCAST, mac(0), None, &[7; 1500]);
            net.send(0, 0, &long);
            net.run_for(millis(200));
            assert!(net.member(1).frames().contains(&long), "{pair:?}");
        }
    }
}

#[test]
fn a_nat_that_draws_ports_by_dice_is_met_where_both_allow_it() {
    let (easy, hard) = (Some(PORT_RESTRICTED), KINDS[6]);
    let mut times = Vec::new();
    for seed in 0..40 {
        let mut net = world([hard, easy], 9000 + seed);
        for n in 0..2 {
            // Where one does not, nothing of it is sent.
            if n == 0 || seed >= 10 {
                net.member(n).node.allow_scatter();
            }
        }
        introduce(&mut net);
        assert!(in_ms(&mut net, 1500, both_up).is_some());
        let took = in_ms(&mut net, 20_000, is_direct);
        assert!(crosses(&mut net), "seed {seed}");
        assert_eq!(net.scattered.len(), usize::from(seed >= 10));
        if seed < 10 {
            assert_eq!(took, None);
            continue;
        }
        times.extend(took);
        // The way that was found stays, and its end is noticed.
        net.run_for(Duration::from_secs(60));
        assert_eq!(is_direct(&net), took.is_some(), "seed {seed}");
        if took.is_some() {
            net.nats.iter_mut().for_each(simulator::nat::Nat::reboot);
            assert!((0..20).any(|_| crosses(&mut net)), "by the relay again");
        }
    }
    // 98 of 100 by the numbers.
    assert!(times.len() >= 27, "{} of 30", times.len());
    told("direct to a NAT that draws ports by dice", times);
}

#[test]
fn a_nat_that_has_counted_on_is_looked_at_again() {
    for seed in 0..6 {
        let mut net = world([KINDS[5], Some(PORT_RESTRICTED)], 8500 + seed);
        net.introduce(0, RELAY);
        // The other one is away; what this NAT gave to the relay's second port is forgotten by and by.
        for _ in 0..12 {
            net.run_for(Duration::from_secs(25));
            net.nats[0].give(30);
        }
        net.introduce(1, RELAY);
        assert!(in_ms(&mut net, 70_000, both_up).is_some());
        net.run_for(Duration::from_secs(4));
        assert!(is_direct(&net), "seed {seed}");
        assert!(net.member(0).node.counts_ports());
        assert!(crosses(&mut net));
    }
}

#[test]
fn ports_that_were_told_are_asked_once_and_nowhere_else() {
    // Neither can be met, so that searches go on.
    let mut net = world([KINDS[5], KINDS[6]], 8600);
    introduce(&mut net);
    in_ms(&mut net, 1500, both_up).unwrap();
    net.run_for(Duration::from_secs(5));
    let outside = net.nats[0].outside;
    let asked = |net: &Network, since: usize| {
        let to_ports = net
            .recording
            .iter()
            .skip(since)
            .filter(|p| p.to.ip() == outside);
        let ports = to_ports
            .map(|p| p.to.port())
            .collect::<std::collections::HashSet<_>>();
        ports.len()
    };
    assert!(asked(&net, 0) >= 20, "they are asked");
    // It is behind another NAT now, which keeps its ports.
    net.nats[0].kind = PORT_RESTRICTED;
    net.nats[0].outside = [203, 0, 113, 77].into();
    net.nats[0].reboot();
    let now = net.now;
    let own = std::net::SocketAddr::from(([10, 0, 0, 1], 7656));
    net.member(0).node.set_local_addresses(vec![own], now);
    net.run_for(Duration::from_secs(90));
    let since = net.recording.len();
    net.run_for(Duration::from_secs(700));
    assert_eq!(asked(&net, since), 0, "nobody asks a stranger");
}

#[test]
fn an_outage_that_eats_one_question_costs_no_direct_way() {
    // The relay is nearer than the direct way: copies by it come first.
    for seed in 0..20 {
        let mut net = world([Some(PORT_RESTRICTED); 2], 8700 + seed);
        net.near = Some(millis(45));
        net.weather.delay = millis(5);
        introduce(&mut net);
        in_ms(&mut net, 3000, is_direct).unwrap();
        net.run_for(millis(1000 + seed * 11));
        let outsides: Vec<_> = net.nats.iter().map(|n| n.outside).collect();
        net.unreachable = vec![(0, outsides[1]), (1, outsides[0])];
        for n in 0u64..100 {
            if n == 26 {
                net.unreachable.clear();
            }
            for (from, mac_of) in [(0, 0), (1, 1)] {
                let f = frame(Mac::BROADCAST, mac(mac_of), None, format!("{n}").as_bytes());
                net.send(from, 0, &f);
            }
            net.run_for(millis(10));
        }
        let relayed = |e: &(_, Event)| matches!(e.1, Event::Relayed(_));
        assert!(!net.member(0).events.iter().any(relayed), "seed {seed}");
        assert!(is_direct(&net));
    }
}

#[test]
fn many_ports_are_opened_once_for_a_wish_and_nobody_else_is_asked() {
    let mut net = world([KINDS[6], Some(PORT_RESTRICTED)], 9500);
    (0..2).for_each(|n| net.member(n).node.allow_scatter());
    introduce(&mut net);
    in_ms(&mut net, 1500, both_up).unwrap();
    let say = |net: &mut Network, n: usize, address: SocketAddr| {
        let (now, other) = (net.now, Network::peer_of(n, 1 - n) as usize);
        let link = net.member(n).node.peers()[other].link.clone();
        let body = control::write(Element::Scatter(address));
        let out = net.member(n).node.outgoing();
        link.send_message(TYPE_CONTROL, &body, None, out, now)
            .unwrap();
        net.collect(n);
    };
    // Somebody else, whom the hard one shall have asked.
    let victim: SocketAddr = ([198, 51, 100, 7], 4444).into();
    say(&mut net, 0, SocketAddr::new(victim.ip(), 0));
    net.run_for(millis(500));
    assert!(in_ms(&mut net, 10_000, |net| !net.scattered.is_empty()).is_some());
    let easy = net.scattered[0].1;
    for _ in 0..50 {
        say(&mut net, 1, easy);
        say(&mut net, 1, victim);
        net.run_for(millis(20));
    }
    assert_eq!(net.scattered, [(0, easy)]);
    let asked = net.recording.iter().filter(|p| p.to.ip() == victim.ip());
    assert_eq!(asked.count(), 0);
}

#[test]
fn a_member_that_relays_brings_those_together_that_know_it() {
    for (seed, kinds) in [[KINDS[6]; 2], [Some(PORT_RESTRICTED); 2]]
        .into_iter()
        .enumerate()
    {
        let mut recipes = members(3);
        (recipes[RELAY].relays, recipes[RELAY].is_member) = (true, true);
        let mut net = Network::of(recipes, 9800 + seed as u64);
        net.weather.delay = millis(20);
        for (n, kind) in kinds.into_iter().enumerate() {
            net.put_behind(n, kind.unwrap());
            let (own, now) = (net.member(n).address, net.now);
            net.member(n).node.set_local_addresses(vec![own], now);
        }
        introduce(&mut net);
        assert!(in_ms(&mut net, 2000, |net| net.all_up()).is_some());
        net.run_for(Duration::from_secs(3));
        assert_eq!(is_direct(&net), seed == 1);
        let all_cross = |net: &mut Network| {
            (0..3).all(|from| {
                let text = format!("{from} at {:?}", net.now);
                let f = frame(Mac::BROADCAST, mac(from as u32), None, text.as_bytes());
                net.send(from, 0, &f);
                net.run_for(millis(200));
                let others = (0..3).filter(|n| *n != from);
                others
                    .into_iter()
                    .all(|n| net.member(n).frames().iter().filter(|g| **g == f).count() == 1)
            })
        };
        assert!(all_cross(&mut net), "each to each, once");
        // It starts again, and brings them together again.
        net.rebuild(RELAY);
        net.run_for(Duration::from_secs(100));
        assert!(all_cross(&mut net), "again");
    }
}

#[test]
fn wires_that_lose_repeat_and_delay_deliver_once_and_most() {
    for loss in [1, 5, 10] {
        for kinds in [[KINDS[6]; 2], [Some(PORT_RESTRICTED); 2]] {
            let mut net = world(kinds, 9900 + loss);
            net.weather.loss = loss;
            net.weather.duplicate = 5;
            net.weather.jitter = millis(15);
            introduce(&mut net);
            assert!(
                in_ms(&mut net, 20_000, both_up).is_some(),
                "{loss} {kinds:?}"
            );
            net.run_for(Duration::from_secs(10));
            let sent: Vec<_> = (0..500u32)
                .map(|n| {
                    let f = frame(Mac::BROADCAST, mac(0), None, &n.to_be_bytes());
                    net.send(0, 0, &f);
                    net.run_for(millis(10));
                    f
                })
                .collect();
            net.run_for(millis(500));
            let got = net.member(1).frames();
            let times = |f: &Vec<u8>| got.iter().filter(|g| *g == f).count();
            assert!(sent.iter().all(|f| times(f) <= 1), "{loss} {kinds:?}");
            // Two wires through a relay, one directly.
            let came = sent.iter().filter(|f| times(f) == 1).count() as u64;
            assert!(
                came >= 500 * (100 - 3 * loss) / 100,
                "{came} at {loss} % {kinds:?}"
            );
        }
    }
}

#[test]
fn a_relay_that_crashes_under_traffic_has_its_members_back() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let mut net = world([KINDS[6]; 2], 10_000 + seed);
        introduce(&mut net);
        in_ms(&mut net, 2000, both_up).unwrap();
        net.run_for(millis(3000 + seed * 7));
        assert!(crosses(&mut net));
        // No goodbye: it has forgotten everything, and nobody knows.
        net.rebuild(RELAY);
        times.push(both_heard(&mut net, 60_000).expect("they are back"));
    }
    let what = "a relay that crashes and is there again, under traffic";
    assert!(told(what, times).1 <= 2000);
}

#[test]
fn a_relay_that_lies_in_its_own_words_harms_nobody_else() {
    let victim: SocketAddr = ([198, 51, 100, 7], 4444).into();
    for seed in 0..5 {
        let mut net = world([KINDS[6]; 2], 11_000 + seed);
        introduce(&mut net);
        in_ms(&mut net, 2000, both_up).unwrap();
        let keys = [0, 1].map(|n: usize| *net.recipes[n].public().as_bytes());
        let began = net.recording.len();
        for round in 0..40u32 {
            for n in 0..2 {
                let wrong = Channel::new(round * 7919 + 1);
                let addresses = control::address_bytes(victim);
                for lie in [
                    Element::Observed(victim),
                    Element::Seen(victim),
                    Element::Candidates(Addresses::new(&addresses).unwrap()),
                    Element::Scatter(victim),
                    Element::Channel(keys[1 - n], wrong),
                    Element::Channel([9; 32], wrong),
                    Element::Moved,
                    Element::Throttled(u64::MAX),
                    Element::Look(4444, [7; 16]),
                ] {
                    let (now, body) = (net.now, control::write(lie));
                    let relay = net.member(RELAY);
                    let link = relay.node.peers()[Network::peer_of(RELAY, n) as usize]
                        .link
                        .clone();
                    let out = relay.node.outgoing();
                    link.send_message(TYPE_CONTROL, &body, None, out, now)
                        .unwrap();
                    net.collect(RELAY);
                }
            }
            net.run_for(millis(250));
        }
        // Ten seconds of lies: few questions go there, as for any address that is told, and no frame of anybody's.
        let sent = net.recording.iter().skip(began).filter(|p| p.to == victim);
        let (count, longest) = sent.fold((0, 0), |(n, l), p| (n + 1, l.max(p.bytes.len())));
        assert!(
            count <= 60 && longest <= 120,
            "seed {seed}: {count} of {longest} bytes"
        );
        // And when it tells the truth again, all is as it was.
        for n in 0..2 {
            net.rebuild(n);
            let (own, now) = (net.member(n).address, net.now);
            net.member(n).node.set_local_addresses(vec![own], now);
        }
        introduce(&mut net);
        net.run_for(Duration::from_secs(8));
        assert!(crosses(&mut net), "seed {seed}");
        for n in 0..2 {
            let mut frames = net.member(n).frames();
            let all = frames.len();
            frames.sort();
            frames.dedup();
            assert_eq!(frames.len(), all, "each once");
        }
    }
}
