//! Stories of a LAN in which something goes wrong, in virtual time: members that lose their memory, wires that work one way,
//! hosts and members that lie.

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/packets.rs"]
mod packets;
#[path = "support/simulator.rs"]
mod simulator;

use hosts::*;
use l2vpn::drops::DropReason;
use l2vpn::mesh::journal::{Inbox, Journal, Reader};
use l2vpn::place::{PeerId, Place, PortId};
use l2vpn::switch::port::PortRule;
use l2vpn::switch::table::{Home, Key};
use l2vpn::time::{Duration, Instant};
use l2vpn::wire::ethernet::Mac;
use l2vpn::wire::vlan::{Vid, VlanClass};
use packets::*;
use simulator::*;
use std::net::IpAddr;

fn told(net: &mut Network, n: usize) -> Vec<Key> {
    let now = net.now;
    let all = net.member(n).plane.switch.table.entries(now).into_iter();
    all.filter(|l| l.home.is_told()).map(|l| l.key).collect()
}

/// What member `n` has behind its own ports.
fn own(net: &mut Network, n: usize) -> Vec<Key> {
    let now = net.now;
    let all = net.member(n).plane.switch.table.entries(now).into_iter();
    let is_own = |place| matches!(place, Place::Port(_));
    all.filter(|l| is_own(l.place)).map(|l| l.key).collect()
}

#[test]
fn a_wire_that_worked_one_way_leaves_nobody_uninformed() {
    let mut net = connected(members(2), 1);
    speak(&mut net, 0, mac(10), Mac::BROADCAST);
    speak(&mut net, 1, mac(11), Mac::BROADCAST);
    net.run_for(SECOND);
    // Member 1 hears nothing for a while and gives member 0 up, which hears it all the time.
    net.blocked = vec![(0, 1)];
    let mut gave_up = false;
    for _ in 0..100 {
        speak(&mut net, 1, mac(11), Mac::BROADCAST);
        net.run_for(millis(100));
        gave_up |= !net.is_up(1, 0);
        if gave_up {
            break;
        }
    }
    assert!(gave_up && net.is_up(0, 1));
    net.blocked.clear();
    net.run_for(SECOND * 20);
    assert!(net.is_up(0, 1) && net.is_up(1, 0));
    // What happens from now on is told, in both directions; nobody speaks to the other.
    speak(&mut net, 0, mac(20), mac(10));
    speak(&mut net, 1, mac(21), mac(11));
    net.run_for(SECOND);
    for host in [10, 20] {
        assert!(is_behind(&mut net, 1, mac(host), 0), "{host}");
    }
    for host in [11, 21] {
        assert!(is_behind(&mut net, 0, mac(host), 1), "{host}");
    }
    let all = (told(&mut net, 0), told(&mut net, 1));
    assert_eq!(all, (own(&mut net, 1), own(&mut net, 0)));
}

#[test]
fn restarts_one_after_the_other_are_all_noticed() {
    for seed in 0..8 {
        let mut net = connected(members(3), seed);
        net.weather = Weather {
            loss: 10,
            duplicate: 10,
            delay: millis(10),
            jitter: millis(20),
        };
        let mut dice = Dice(seed);
        for round in 0..12u32 {
            let n = (dice.next() % 3) as usize;
            net.rebuild(n);
            (0..3).filter(|o| *o != n).for_each(|o| net.introduce(n, o));
            net.run_for(millis(dice.next() % 3000));
            for m in 0..3 {
                let host = mac(round * 10 + m as u32);
                speak(&mut net, m, host, Mac([2, 0, 0, 0, 0, 99]));
            }
        }
        net.run_for(SECOND * 40);
        assert!(net.all_up(), "seed {seed}");
        for n in 0..3 {
            let mut others: Vec<Key> = (0..3)
                .filter(|o| *o != n)
                .flat_map(|o| own(&mut net, o))
                .collect();
            others.sort();
            assert_eq!(told(&mut net, n), others, "seed {seed}, member {n}");
        }
    }
}

#[test]
fn a_journal_that_is_cut_is_read_on() {
    let mut recipes = members(3);
    for recipe in &mut recipes {
        (recipe.limits.total, recipe.limits.per_place) = (30_000, 10_000);
    }
    let mut net = connected(recipes, 2);
    net.record = false;
    // Member 2 reads nothing.
    net.blocked = vec![(0, 2)];
    for n in 0..6000 {
        speak(&mut net, 0, mac(n), Mac([2, 0, 0, 0, 0, 99]));
        if n % 20 == 0 {
            net.run_for(millis(10));
        }
    }
    net.run_for(SECOND);
    assert_eq!(told(&mut net, 1).len(), 6000);
    // All of them go at once, more than the journal keeps a memory of.
    let now = net.now;
    net.member(0).node.flush_macs(|_, _| true, now);
    net.collect(0);
    net.run_for(SECOND);
    assert_eq!(told(&mut net, 1), []);
    speak(&mut net, 0, mac(9999), Mac([2, 0, 0, 0, 0, 99]));
    net.run_for(SECOND);
    assert_eq!(told(&mut net, 1).len(), 1);
    net.blocked.clear();
    net.run_for(SECOND * 20);
    assert_eq!(told(&mut net, 2).len(), 1);
}

#[test]
fn what_a_liar_took_is_told_again() {
    let mut recipes = members(3);
    // The liar tells nobody what it does.
    recipes[2] = recipes[2].clone().untold();
    let mut net = connected(recipes, 3);
    speak(&mut net, 1, mac(1), Mac::BROADCAST);
    net.run_for(SECOND);
    assert!(known(&mut net, 0, mac(1)).unwrap().home.is_told());
    // A host behind member 2 uses its MAC towards member 0's hosts, and then it speaks again itself.
    speak(&mut net, 0, mac(3), Mac::BROADCAST);
    net.run_for(SECOND);
    speak(&mut net, 2, mac(1), mac(3));
    net.run_for(SECOND);
    speak(&mut net, 1, mac(1), mac(3));
    net.run_for(SECOND * 61);
    assert!(is_behind(&mut net, 0, mac(1), 1));
    assert!(known(&mut net, 0, mac(1)).unwrap().home.is_told());
}

#[test]
fn a_pinned_gateway_reaches_isolated_ports() {
    let mut recipes = members(2);
    recipes[0].isolated = true;
    let peer = PeerId(Network::peer_of(0, 1));
    recipes[0].pinned = vec![(key(mac(7)), Home::heard(Place::Peer(peer)))];
    let mut net = connected(recipes, 5);
    speak(&mut net, 1, mac(7), Mac::BROADCAST);
    net.run_for(millis(20));
    assert_eq!(net.member(0).frames().len(), 1);
}

#[test]
fn an_isolated_host_gains_nothing_by_the_mac_of_another() {
    let mut recipes = members(2);
    recipes[0].isolated = true;
    recipes[1].ports = vec![(segment(1), PortRule::TRANSPARENT); 2];
    recipes[1].isolated = true;
    let mut net = connected(recipes, 6);
    // Port 0 of member 1 is isolated, port 1 is not, where a gateway is.
    let layout = net.member(1).plane.switch.layout().clone();
    let mut ports = layout.ports().cloned().collect::<Vec<_>>();
    ports[1].is_isolated = false;
    let table = &net.member(1).plane.switch.table;
    let (now, gateway) = (l2vpn::time::Instant::from_micros(5_000_000), key(mac(7)));
    for n in 0..7 {
        let port = &ports[(n + 1) % 2];
        let home = Home::heard(Place::Port(port.id)).isolated(port.is_isolated);
        let _ = table.learn(gateway, home, now);
    }
    let home = table.look_up(gateway, now).unwrap();
    assert!(home.is_held() && home.place() == Place::Port(PortId(1)));
    let isolated = Home::heard(Place::Port(PortId(0))).isolated(true);
    assert_eq!(
        table.learn(gateway, isolated, now),
        Err(DropReason::SourceElsewhere)
    );
}

#[test]
fn an_address_that_is_taken_from_a_living_host_is_asked_for() {
    let mut net = connected(members(3), 7);
    let ip: IpAddr = "10.0.0.1".parse().unwrap();
    let asker = (mac(3), "10.0.0.3".parse().unwrap());
    net.send(0, 0, &announcement((mac(1), ip)));
    net.send(2, 0, &announcement(asker));
    net.run_for(SECOND);
    // Somebody behind member 1 says in a frame to nobody that it is his.
    let lie = i_have(
        (mac(2), ip),
        (Mac([2, 0, 0, 0, 0, 99]), "10.0.0.9".parse().unwrap()),
    );
    speak(&mut net, 1, mac(2), Mac::BROADCAST);
    net.send(1, 0, &lie);
    net.run_for(SECOND);
    (0..3).for_each(|m| net.member(m).delivered.clear());
    net.send(2, 0, &who_has(ip, asker));
    net.run_for(millis(20));
    assert_eq!(
        net.member(2).frames().len(),
        0,
        "nobody answers in its place"
    );
    assert_eq!(
        net.member(0).frames().len(),
        1,
        "its owner hears the question"
    );
}

#[test]
fn a_router_that_asks_is_still_a_router() {
    let mut net = connected(members(3), 8);
    let router = (mac(1), "fe80::1".parse().unwrap());
    let host = (mac(2), "fe80::2".parse().unwrap());
    let third = (mac(3), "fe80::3".parse().unwrap());
    net.send(1, 0, &announcement(host));
    net.send(2, 0, &announcement(third));
    net.run_for(millis(50));
    net.send(1, 0, &who_has(router.1, host));
    net.run_for(millis(20));
    let mut answer = i_have(router, host);
    as_router(&mut answer);
    net.send(0, 0, &answer);
    net.run_for(millis(50));
    // It asks for somebody itself, and says nothing of what it is.
    net.send(0, 0, &who_has("fe80::77".parse().unwrap(), router));
    net.run_for(millis(50));
    net.member(2).delivered.clear();
    net.send(2, 0, &who_has(router.1, third));
    net.run_for(millis(20));
    let frames = net.member(2).frames();
    assert_eq!(frames.len(), 1, "answered by the switch");
    assert_eq!(frames[0][14 + 40 + 4] & 0x80, 0x80, "as a router");
}

#[test]
fn a_listener_counts_for_as_long_as_its_member_says() {
    let mut net = connected(members(4), 9);
    let got = |net: &mut Network| -> Vec<usize> {
        (0..4)
            .map(|m| std::mem::take(&mut net.member(m).delivered).len())
            .collect()
    };
    // The querier is behind member 0 and hears the reports of member 1's host.
    for _ in 0..2 {
        net.send(0, 0, &query(4, mac(9)));
        net.run_for(millis(50));
        net.send(1, 0, &join(4, 7, mac(2)));
        net.run_for(SECOND * 12);
    }
    // It dies; another behind member 3 takes over, to which alone the reports go from now on.
    for _ in 0..6 {
        net.send(3, 0, &query(4, mac(8)));
        net.run_for(millis(50));
        net.send(1, 0, &join(4, 7, mac(2)));
        net.run_for(SECOND * 100);
    }
    got(&mut net);
    net.send(0, 0, &to_group(4, 7, mac(1)));
    net.run_for(millis(20));
    assert_eq!(got(&mut net), [0, 1, 0, 1]);
}

#[test]
fn a_router_that_does_not_ask_gets_everything_too() {
    for family in [4, 6] {
        let mut net = connected(members(4), 10);
        net.send(3, 0, &query(family, mac(8)));
        net.send(2, 0, &hello(family, mac(7)));
        net.run_for(SECOND * 12);
        (0..4).for_each(|m| net.member(m).delivered.clear());
        net.send(0, 0, &to_group(family, 7, mac(1)));
        net.run_for(millis(20));
        let got: Vec<usize> = (0..4).map(|m| net.member(m).frames().len()).collect();
        assert_eq!(got, [0, 0, 1, 1]);
    }
}

#[test]
fn a_host_that_asks_for_too_many_groups_gets_all_and_takes_nothing_from_other_vlans() {
    let mut net = connected(members(3), 11);
    net.record = false;
    let tag = |frame: Vec<u8>, vid: u8| {
        let mut tagged = frame[..12].to_vec();
        tagged.extend([0x81, 0, 0, vid]);
        tagged.extend(&frame[12..]);
        tagged
    };
    for vid in [10, 20] {
        net.send(2, 0, &tag(query(4, mac(8)), vid));
    }
    net.run_for(SECOND * 12);
    for n in 0..1100u32 {
        net.send(
            1,
            0,
            &tag(join_group([239, 2, (n >> 8) as u8, n as u8], mac(2)), 10),
        );
        net.run_for(millis(10));
    }
    net.send(1, 0, &tag(join(4, 7, mac(3)), 20));
    net.run_for(SECOND * 2);
    for (vid, group, reached) in [(10, 9, 1), (20, 7, 1), (20, 9, 0)] {
        (0..3).for_each(|m| net.member(m).delivered.clear());
        net.send(0, 0, &tag(to_group(4, group, mac(1)), vid));
        net.run_for(millis(20));
        assert_eq!(
            net.member(1).frames().len(),
            reached,
            "VLAN {vid}, group {group}"
        );
    }
}

#[test]
fn a_loop_in_one_vlan_is_found() {
    let mut recipes = members(2);
    recipes.iter_mut().for_each(|r| r.loop_guard = true);
    let mut net = connected(recipes, 12);
    // VLAN 30 is in use; a switch between both sites lets nothing else through.
    let vid = Vid::new(30).unwrap();
    net.send(
        0,
        0,
        &frame(Mac::BROADCAST, mac(1), Some([0x81, 0, 0, 30]), b"x"),
    );
    net.send(
        1,
        0,
        &frame(Mac::BROADCAST, mac(2), Some([0x81, 0, 0, 30]), b"x"),
    );
    net.run_for(millis(20));
    let wire = [(0, 0), (1, 0)];
    wire_up_where(&mut net, &wire, SECOND * 4, |f| {
        f[12..16] == [0x81, 0, 0, 30]
    });
    let blocked = |net: &mut Network| {
        let each = |n| {
            net.member(n)
                .plane
                .switch
                .layout()
                .port(PortId(0))
                .unwrap()
                .is_blocked
        };
        [0, 1].map(each)
    };
    assert_eq!(blocked(&mut net).iter().filter(|b| **b).count(), 1);
    wire_up_where(&mut net, &wire, SECOND * 30, |f| {
        f[12..16] == [0x81, 0, 0, 30]
    });
    let found = loops(&mut net, 0).len() + loops(&mut net, 1).len();
    assert_eq!(found, 1, "it stays closed");
    assert_eq!(VlanClass::customer(vid).vid(), Some(vid));
}

#[test]
fn a_host_that_floods_probes_blinds_the_guard_of_its_own_port_only() {
    let mut recipes = members(3);
    recipes.iter_mut().for_each(|r| r.loop_guard = true);
    let mut net = connected(recipes, 13);
    net.record = false;
    let mut forged = last_probe(&mut net, 2);
    forged[30] ^= 1;
    // Behind member 2; the loop is between members 0 and 1.
    for _ in 0..300 {
        (0..100).for_each(|_| net.send(2, 0, &forged));
        wire_up(&mut net, &[(0, 0), (1, 0)], millis(10));
    }
    let found = loops(&mut net, 0).len() + loops(&mut net, 1).len();
    assert_eq!(found, 1);
}

#[test]
fn addresses_that_move_are_no_way_to_have_more() {
    let mut net = connected(members(2), 14);
    net.record = false;
    for round in 0..4u32 {
        for site in [0, 1] {
            for n in 0..1100u32 {
                let [_, _, c, d] = n.to_be_bytes();
                let ip = IpAddr::from([10, round as u8, c, d]);
                net.send(site, 0, &announcement((mac(site as u32), ip)));
                if n % 50 == 0 {
                    net.run_for(millis(5));
                }
            }
            net.run_for(SECOND);
        }
    }
    let now = net.now;
    for n in 0..2 {
        let known = net.member(n).plane.switch.neighbors.entries(now).len();
        assert!((1024..=2048).contains(&known), "member {n}: {known}");
    }
}

#[test]
fn members_that_have_nothing_to_tell_sleep() {
    let mut net = connected(members(2), 15);
    speak(&mut net, 0, mac(1), Mac::BROADCAST);
    speak(&mut net, 1, mac(2), Mac::BROADCAST);
    net.run_for(SECOND * 60);
    let end = net.now + SECOND * 100;
    let mut wakes = 0;
    while net.now < end {
        let next = net.member(0).node.deadline();
        assert!(next > net.now, "nothing is overdue");
        wakes += 1;
        net.run_for(next.since(net.now));
    }
    assert!(wakes < 600, "{wakes} in 100 seconds");
}

#[test]
fn a_new_port_has_its_part_in_floods_at_once() {
    let mut recipes = members(3);
    let vid = Vid::new(20).unwrap();
    let with_20 = PortRule::Access(vid);
    recipes[1].ports = vec![(segment(1), PortRule::Access(Vid::new(10).unwrap()))];
    recipes[2].ports = recipes[1].ports.clone();
    let mut net = connected(recipes, 16);
    net.weather.delay = millis(20);
    let call = frame(Mac::BROADCAST, mac(1), Some([0x81, 0, 0, 20]), b"anybody?");
    let before = net.recording.len();
    net.send(0, 0, &call);
    net.run_for(millis(100));
    assert_eq!(net.recording.len(), before, "nobody has a part in it");
    // Member 1 gets a port in VLAN 20 while it runs.
    net.recipes[1].ports.push((segment(1), with_20));
    net.reload(1);
    net.run_for(millis(200));
    net.send(0, 0, &call);
    net.run_for(millis(25));
    assert_eq!(net.member(1).frames().len(), 1, "200 ms later");
    assert_eq!(net.member(2).frames().len(), 0);
    // It is known who is behind it, though nobody but the caller's member has seen a frame of VLAN 20 before.
    let answer = frame(mac(1), mac(9), Some([0x81, 0, 0, 20]), b"I am");
    net.send(1, 1, &frame(mac(1), mac(9), None, b"I am"));
    net.run_for(millis(50));
    assert_eq!(net.member(0).frames().last(), Some(&answer));
    let at = net.recording.len();
    net.send(
        0,
        0,
        &frame(mac(9), mac(1), Some([0x81, 0, 0, 20]), b"hello"),
    );
    net.run_for(millis(50));
    assert_eq!(net.member(1).frames().len(), 2);
    assert_eq!(to_member(&net, at, 2), 0, "known, so not flooded");
    // And it goes again: its hosts are forgotten everywhere, and nobody floods there.
    net.recipes[1].ports.pop();
    net.reload(1);
    net.run_for(millis(200));
    let at = net.recording.len();
    net.send(
        0,
        0,
        &frame(mac(9), mac(1), Some([0x81, 0, 0, 20]), b"hello?"),
    );
    net.send(0, 0, &call);
    net.run_for(millis(50));
    assert_eq!(net.recording.len(), at, "nobody has a part in it");
    assert!(net.all_up(), "and no peer was lost by all that");
}

fn to_member(net: &Network, since: usize, n: usize) -> usize {
    let sent = net.recording.iter().skip(since);
    sent.filter(|p| p.to == address(n)).count()
}

#[test]
fn a_port_that_comes_while_handshakes_are_under_way_is_announced() {
    // The change falls at every moment of a handshake that either end began, over a wire that loses and reorders.
    for step in 0..60 {
        let mut recipes = members(2);
        let vid = |n| Vid::new(n).unwrap();
        recipes[1].ports = vec![(segment(1), PortRule::Access(vid(10)))];
        let mut net = Network::of(recipes, 100 + step);
        net.weather = Weather {
            loss: 10,
            duplicate: 10,
            delay: millis(10),
            jitter: millis(15),
        };
        match step % 3 {
            0 => net.introduce(0, 1),
            1 => net.introduce(1, 0),
            _ => net.introduce_all(),
        }
        net.run_for(millis(step * 2));
        let port = (segment(1), PortRule::Access(vid(20)));
        net.recipes[1].ports.push(port);
        net.reload(1);
        net.run_for(Duration::from_secs(5));
        let peers = net.member(0).node.peers();
        let told = peers[0].vlans_in(segment(1)).unwrap();
        let class = VlanClass::customer(vid(20));
        assert!(told.contains(class), "step {step}: {told}");
        let before = net.recording.len();
        net.run_for(Duration::from_secs(4));
        let more = net.recording.len() - before;
        assert!(more < 40, "step {step}: it ends, and {more} datagrams came");
    }
}

#[test]
fn what_was_behind_the_last_port_of_a_segment_is_forgotten_by_all() {
    let mut recipes = members(3);
    for recipe in &mut recipes {
        recipe.ports.push((segment(2), PortRule::TRANSPARENT));
    }
    let mut net = connected(recipes, 18);
    let key = |n| Key::new(segment(2), VlanClass::UNTAGGED, mac(n));
    let call = frame(Mac::BROADCAST, mac(7), None, b"I am here");
    net.send(1, 1, &call);
    net.run_for(SECOND);
    assert_eq!(
        (told(&mut net, 0), told(&mut net, 2)),
        (vec![key(7)], vec![key(7)])
    );
    // It loses its only port of that segment.
    let port = net.recipes[1].ports.pop().unwrap();
    net.reload(1);
    net.run_for(SECOND);
    assert_eq!((told(&mut net, 0), told(&mut net, 2)), (vec![], vec![]));
    // The host is behind member 2 now and is reached there at once.
    net.send(2, 1, &call);
    net.run_for(SECOND);
    assert!(is_at(&mut net, 0, key(7), 2));
    // And what goes while nobody listens has not stayed when somebody listens again.
    net.recipes[1].ports.push(port);
    net.reload(1);
    net.run_for(SECOND);
    assert!(is_at(&mut net, 1, key(7), 2));
    net.recipes[1].ports.pop();
    net.reload(1);
    net.run_for(SECOND);
    net.member(2).plane.switch.forget(Place::Port(PortId(1)));
    net.run_for(SECOND * 70);
    net.recipes[1]
        .ports
        .push((segment(2), PortRule::TRANSPARENT));
    net.reload(1);
    net.run_for(SECOND);
    assert_eq!(told(&mut net, 1), vec![]);
}

fn is_at(net: &mut Network, n: usize, key: Key, other: usize) -> bool {
    let now = net.now;
    let home = net.member(n).plane.switch.table.look_up(key, now);
    let peer = PeerId(Network::peer_of(n, other));
    home.is_some_and(|h| h.place() == Place::Peer(peer))
}

#[test]
fn frames_go_on_while_ports_change() {
    let mut net = connected(members(2), 4);
    net.send(1, 0, &frame(Mac::BROADCAST, mac(2), None, b"here"));
    net.run_for(millis(20));
    let ask = frame(mac(2), mac(1), None, b"steady");
    for n in 0..200 {
        if n % 20 == 10 {
            let vid = Vid::new(20 + n as u16).unwrap();
            let port = (segment(2 + n), PortRule::Access(vid));
            net.recipes[1].ports.push(port);
            net.reload(1);
        }
        net.send(0, 0, &ask);
        net.run_for(millis(5));
    }
    net.run_for(millis(50));
    let steady = net.member(1).frames().into_iter().filter(|f| *f == ask);
    assert_eq!(steady.count(), 200);
}

#[test]
fn a_greeting_that_is_lost_is_sent_again() {
    let (journal, mut reader) = (Journal::default(), Reader::default());
    let inbox = Inbox::new(5);
    let at = |ms: u64| Instant::from_micros(1_000_000 + ms * 1000);
    let mut scratch = Vec::new();
    journal.acknowledge(&mut reader, inbox.receipt(0), 7, at(0));
    let everything = |_: &_| true;
    let first = journal.next(&mut reader, everything, &mut scratch, at(0));
    assert!(
        first.is_some(),
        "there is nothing to tell, and that is told"
    );
    // It is lost, and who waits for it asks again before it would be sent again.
    journal.acknowledge(&mut reader, inbox.receipt(0), 8, at(100));
    let again = journal.next(&mut reader, everything, &mut scratch, at(300));
    assert!(again.is_some());
}

#[test]
fn a_querier_that_is_only_told_of_prunes_nothing() {
    let mut recipes = members(3);
    recipes[0].ports = vec![(segment(1), PortRule::TRANSPARENT); 2];
    let mut net = connected(recipes, 17);
    net.send(2, 0, &query(4, mac(9)));
    net.run_for(SECOND * 15);
    // Member 0 begins anew; a host at its second port listens already and will say so when it is asked next.
    net.rebuild(0);
    net.introduce(0, 1);
    net.introduce(0, 2);
    net.run_for(SECOND * 30);
    net.member(0).delivered.clear();
    net.send(0, 0, &to_group(4, 7, mac(1)));
    net.run_for(millis(20));
    assert_eq!(
        net.member(0).frames().len(),
        1,
        "no question was heard here"
    );
}

#[test]
fn listeners_behind_a_member_that_restarts_miss_nothing() {
    let mut net = connected(members(4), 18);
    net.send(2, 0, &query(4, mac(9)));
    net.run_for(millis(50));
    net.send(0, 0, &join(4, 7, mac(3)));
    net.run_for(SECOND * 15);
    let reached = |net: &mut Network| {
        (0..4).for_each(|m| net.member(m).delivered.clear());
        net.send(1, 0, &to_group(4, 7, mac(1)));
        net.run_for(millis(20));
        [0, 3].map(|m| net.member(m).frames().len())
    };
    assert_eq!(reached(&mut net), [1, 0]);
    // Its hosts notice nothing and say nothing until they are asked.
    net.rebuild(0);
    (1..4).for_each(|other| net.introduce(0, other));
    net.run_for(SECOND);
    assert_eq!(reached(&mut net), [1, 0]);
    net.run_for(SECOND * 60);
    assert_eq!(reached(&mut net), [1, 0]);
    // They are, and nobody listens any more.
    net.send(2, 0, &query(4, mac(9)));
    net.run_for(SECOND * 13);
    assert_eq!(reached(&mut net), [0, 0]);
}
