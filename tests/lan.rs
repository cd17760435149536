//! Stories of the LAN behind the members, in virtual time: hosts that come, move and go, addresses, groups, loops.

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/packets.rs"]
mod packets;
#[path = "support/simulator.rs"]
mod simulator;

use hosts::*;
use l2vpn::drops::DropReason;
use l2vpn::node::{Event, Gone};
use l2vpn::place::{PeerId, Place, PortId};
use l2vpn::switch::port::PortRule;
use l2vpn::switch::table::{Home, Learned, Learning};
use l2vpn::wire::ethernet::Mac;
use l2vpn::wire::vlan::{Vid, VlanClass};
use packets::*;
use simulator::*;

#[test]
fn members_tell_each_other_of_hosts_they_have_not_heard_themselves() {
    let mut net = connected(members(3), 1);
    speak(&mut net, 0, mac(1), Mac::BROADCAST);
    net.run_for(millis(5));
    // The answer goes to member 0 alone, and all know who gave it.
    speak(&mut net, 1, mac(2), mac(1));
    net.run_for(millis(50));
    assert!(is_behind(&mut net, 2, mac(2), 1));
    assert!(known(&mut net, 2, mac(2)).unwrap().home.is_told());
    // Told hosts do not age here while they do not there.
    for _ in 0..20 {
        net.run_for(SECOND * 60);
        speak(&mut net, 1, mac(2), mac(1));
        speak(&mut net, 0, mac(1), mac(2));
    }
    assert!(is_behind(&mut net, 2, mac(2), 1));
    // And are taken back when they do.
    net.run_for(SECOND * 330);
    assert_eq!(known(&mut net, 2, mac(2)), None);
}

#[test]
fn a_host_that_moves_is_reached_at_its_new_place() {
    let mut net = connected(members(4), 2);
    speak(&mut net, 0, mac(1), Mac::BROADCAST);
    speak(&mut net, 1, mac(2), Mac::BROADCAST);
    net.run_for(millis(50));
    // It turns up behind member 2 and speaks to member 0's host alone: 1 and 3 do not hear it.
    speak(&mut net, 2, mac(2), mac(1));
    net.run_for(millis(20));
    for n in 0..4 {
        assert!(is_behind(&mut net, n, mac(2), 2), "member {n}");
        assert_eq!(known(&mut net, n, mac(2)).unwrap().seq, 1, "member {n}");
    }
    // And back.
    speak(&mut net, 1, mac(2), mac(1));
    net.run_for(millis(20));
    for n in 0..4 {
        assert!(is_behind(&mut net, n, mac(2), 1), "member {n}");
        assert_eq!(known(&mut net, n, mac(2)).unwrap().seq, 2, "member {n}");
    }
}

#[test]
fn moves_are_told_on_lossy_wires_too() {
    for seed in 0..10 {
        let mut net = connected(members(3), seed);
        net.weather = Weather {
            loss: 30,
            duplicate: 10,
            delay: millis(10),
            jitter: millis(20),
        };
        // First behind member 0 and then behind member 1, where they speak twice: who has not heard of the first place
        // yet cannot know that the second is newer.
        for site in [0, 1, 1] {
            for host in 0..20 {
                speak(&mut net, site, mac(host), Mac([2, 0, 0, 0, 0, 99]));
                net.run_for(millis(100));
            }
        }
        net.run_for(SECOND * 8);
        for n in 0..20 {
            for m in 0..3 {
                assert!(
                    is_behind(&mut net, m, mac(n), 1),
                    "seed {seed}, member {m}, host {n}"
                );
            }
        }
    }
}

#[test]
fn hosts_of_a_member_that_leaves_are_gone_at_once_and_of_one_that_dies_in_five_seconds() {
    let mut net = connected(members(3), 4);
    speak(&mut net, 1, mac(1), Mac::BROADCAST);
    speak(&mut net, 2, mac(2), Mac::BROADCAST);
    net.run_for(SECOND * 3);
    let now = net.now;
    net.member(1).node.close(now);
    net.collect(1);
    net.members[1] = None;
    net.run_for(millis(200));
    assert_eq!(known(&mut net, 0, mac(1)), None);
    net.members[2] = None;
    net.run_for(SECOND * 5);
    assert_eq!(known(&mut net, 0, mac(2)), None);
    let silent = Event::Down(PeerId(1), Gone::Silent);
    assert!(net.member(0).events.iter().any(|(_, e)| *e == silent));
}

#[test]
fn a_quiet_peer_on_a_lossy_wire_is_not_taken_for_dead() {
    let mut net = connected(members(2), 5);
    speak(&mut net, 0, mac(1), Mac::BROADCAST);
    speak(&mut net, 1, mac(2), Mac::BROADCAST);
    net.run_for(SECOND);
    net.weather.loss = 20;
    net.run_for(SECOND * 240);
    let downs = net.member(0).events.iter();
    assert_eq!(
        downs.filter(|(_, e)| matches!(e, Event::Down(..))).count(),
        0
    );
}

#[test]
fn a_member_that_restarts_is_believed_at_once() {
    let mut net = connected(members(3), 6);
    for _ in 0..3 {
        // The MAC has wandered: its claims have numbers by now.
        speak(&mut net, 0, mac(1), Mac::BROADCAST);
        net.run_for(millis(50));
        speak(&mut net, 1, mac(1), Mac::BROADCAST);
        net.run_for(SECOND * 61);
    }
    speak(&mut net, 0, mac(9), Mac::BROADCAST);
    net.run_for(millis(50));
    // Killed, and back before anybody misses it; its old hosts are gone, a new one speaks to member 0 alone.
    net.rebuild(1);
    net.introduce(1, 0);
    net.introduce(1, 2);
    net.run_for(SECOND);
    speak(&mut net, 1, mac(1), mac(9));
    speak(&mut net, 1, mac(2), mac(9));
    net.run_for(millis(500));
    for n in [0, 2] {
        for host in [mac(1), mac(2)] {
            assert!(is_behind(&mut net, n, host, 1), "member {n}");
            let home = known(&mut net, n, host).unwrap().home;
            assert!(home.is_told(), "member {n}");
        }
    }
    assert!(is_behind(&mut net, 1, mac(9), 0));
}

#[test]
fn a_configured_mac_is_reached_before_it_spoke_and_cannot_be_taken() {
    let mut recipes = members(3);
    recipes[1].pinned = vec![(key(mac(7)), Home::heard(Place::Port(PortId(0))))];
    let mut net = connected(recipes, 7);
    speak(&mut net, 0, mac(1), mac(7));
    net.run_for(millis(20));
    assert_eq!(net.member(1).frames().len(), 1);
    assert_eq!(net.member(2).frames().len(), 0, "nothing was flooded");
    // Somebody behind member 2 claims it: member 1 does not believe that, and drops the frame.
    speak(&mut net, 2, mac(7), Mac::BROADCAST);
    net.run_for(millis(20));
    assert!(is_behind(&mut net, 1, mac(7), 1));
    assert_eq!(net.member(1).drops(DropReason::SourcePinned), 1);
}

#[test]
fn where_only_advertised_macs_count_a_forged_one_teaches_nothing() {
    let mut recipes = members(3);
    recipes[0].limits.learning = Learning::Advertised;
    recipes[1].limits.learning = Learning::Advertised;
    recipes[2].limits.learning = Learning::Data;
    let mut net = connected(recipes, 8);
    speak(&mut net, 1, mac(1), Mac::BROADCAST);
    net.run_for(millis(50));
    assert!(is_behind(&mut net, 0, mac(1), 1));
    // Member 2 advertises nothing: what its frames say is not believed, and not of others' hosts at all.
    // The first frame is here before it is told of.
    assert_eq!(net.member(0).plane.switch.table.unadvertised(), 1);
    speak(&mut net, 2, mac(2), Mac::BROADCAST);
    net.run_for(millis(50));
    assert_eq!(known(&mut net, 0, mac(2)), None);
    assert_eq!(net.member(0).plane.switch.table.unadvertised(), 2);
    speak(&mut net, 2, mac(1), Mac::BROADCAST);
    net.run_for(millis(50));
    assert!(is_behind(&mut net, 0, mac(1), 1));
    assert_eq!(net.member(0).drops(DropReason::SourceElsewhere), 1);
}

#[test]
fn members_hear_only_of_vlans_that_they_have() {
    let mut recipes = members(3);
    let vid = Vid::new(20).unwrap();
    recipes[2].ports = vec![(segment(1), PortRule::Access(vid))];
    let mut net = connected(recipes, 9);
    speak(&mut net, 0, mac(1), Mac::BROADCAST);
    let tagged = frame(Mac::BROADCAST, mac(2), Some([0x81, 0, 0, 20]), b"hello");
    net.send(0, 0, &tagged);
    net.run_for(millis(50));
    let now = net.now;
    assert_eq!(net.member(1).plane.switch.table.entries(now).len(), 2);
    let at_2 = net.member(2).plane.switch.table.entries(now);
    assert_eq!(at_2.len(), 1);
    assert_eq!(at_2[0].key.class(), VlanClass::customer(vid));
}

#[test]
fn forgotten_macs_are_told_again() {
    let mut net = connected(members(2), 10);
    speak(&mut net, 0, mac(1), Mac::BROADCAST);
    speak(&mut net, 1, mac(2), mac(1));
    net.run_for(millis(50));
    let now = net.now;
    let flushed = net.member(0).node.flush_macs(|_, _| true, now);
    assert_eq!(flushed, 2);
    net.collect(0);
    assert_eq!(known(&mut net, 0, mac(2)), None);
    net.run_for(millis(100));
    assert!(is_behind(&mut net, 0, mac(2), 1));
    assert_eq!(known(&mut net, 1, mac(1)), None, "ours was taken back");
}

#[test]
fn isolated_ports_reach_none_of_their_kind_here_or_there() {
    let mut recipes = members(3);
    recipes[0].isolated = true;
    recipes[0].ports = vec![(segment(1), PortRule::TRANSPARENT); 2];
    recipes[1].isolated = true;
    let mut net = connected(recipes, 11);
    let introduce = |net: &mut Network, n: usize, port: u16, from: u32| {
        net.send(n, port, &frame(Mac::BROADCAST, mac(from), None, b"hello"));
        net.run_for(millis(20));
        (0..3).for_each(|m| net.member(m).delivered.clear());
    };
    introduce(&mut net, 0, 0, 1);
    introduce(&mut net, 0, 1, 2);
    introduce(&mut net, 1, 0, 3);
    introduce(&mut net, 2, 0, 4);
    let mut got = |n: usize, port: u16, from: u32, to: Mac| {
        net.send(n, port, &frame(to, mac(from), None, b"hello"));
        net.run_for(millis(20));
        let all = (0..3).map(|m| std::mem::take(&mut net.member(m).delivered).len());
        all.collect::<Vec<_>>()
    };
    assert_eq!(
        got(0, 0, 1, Mac::BROADCAST),
        [0, 0, 1],
        "from an isolated port"
    );
    assert_eq!(got(2, 0, 4, Mac::BROADCAST), [2, 1, 0], "from an open one");
    assert_eq!(got(0, 0, 1, mac(2)), [0, 0, 0], "its neighbour");
    assert_eq!(got(0, 0, 1, mac(3)), [0, 0, 0], "an isolated one there");
    assert_eq!(got(0, 0, 1, mac(4)), [0, 0, 1], "an open one there");
    assert_eq!(got(2, 0, 4, mac(3)), [0, 1, 0], "and back");
}

#[test]
fn after_one_exchange_nobody_else_hears_who_has() {
    for (a, b) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let mut net = connected(members(3), 12);
        let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
        net.send(0, 0, &who_has(b, (mac(1), a)));
        net.run_for(millis(20));
        assert_eq!(net.member(1).frames(), [who_has(b, (mac(1), a))]);
        net.send(1, 0, &i_have((mac(2), b), (mac(1), a)));
        net.run_for(millis(20));
        (0..3).for_each(|m| net.member(m).delivered.clear());
        // The second time, and from a third member.
        let c = if a.is_ipv4() { "10.0.0.3" } else { "fd00::3" };
        let c = c.parse().unwrap();
        net.send(2, 0, &announcement((mac(3), c)));
        net.run_for(millis(20));
        (0..3).for_each(|m| net.member(m).delivered.clear());
        net.send(0, 0, &who_has(b, (mac(1), a)));
        net.send(2, 0, &who_has(b, (mac(3), c)));
        net.run_for(millis(20));
        assert_eq!(
            net.member(1).frames().len(),
            0,
            "zero at the other members' ports"
        );
        assert_eq!(net.member(0).frames(), [i_have((mac(2), b), (mac(1), a))]);
        assert_eq!(net.member(2).frames(), [i_have((mac(2), b), (mac(3), c))]);
        // An unknown address is asked for everywhere.
        let unknown = if a.is_ipv4() { "10.0.0.9" } else { "fd00::9" }
            .parse()
            .unwrap();
        net.send(0, 0, &who_has(unknown, (mac(1), a)));
        net.run_for(millis(20));
        assert_eq!(net.member(1).frames().len(), 1);
    }
}

#[test]
fn a_taken_address_is_defended_and_a_free_one_is_not() {
    for (taken, free) in [("10.0.0.2", "10.0.0.7"), ("fd00::2", "fd00::7")] {
        let mut net = connected(members(2), 13);
        let (taken, free) = (taken.parse().unwrap(), free.parse().unwrap());
        net.send(1, 0, &announcement((mac(2), taken)));
        net.run_for(millis(20));
        (0..2).for_each(|m| net.member(m).delivered.clear());
        net.send(0, 0, &is_free(taken, mac(1)));
        net.run_for(millis(20));
        assert_eq!(net.member(0).frames(), [defence((mac(2), taken), mac(1))]);
        assert_eq!(net.member(1).frames().len(), 0);
        net.send(0, 0, &is_free(free, mac(1)));
        net.run_for(millis(20));
        assert_eq!(net.member(0).frames().len(), 1, "nobody answers");
        assert_eq!(net.member(1).frames(), [is_free(free, mac(1))]);
        // The owner asks for its own: nobody tells it that it is taken.
        net.send(1, 0, &is_free(taken, mac(2)));
        net.run_for(millis(20));
        assert_eq!(net.member(1).frames().len(), 1);
    }
}

#[test]
fn a_host_with_a_new_mac_is_heard_by_all() {
    let mut net = connected(members(2), 22);
    let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    net.send(0, 0, &announcement((mac(1), a)));
    net.send(1, 0, &announcement((mac(2), b)));
    net.run_for(millis(20));
    (0..2).for_each(|m| net.member(m).delivered.clear());
    // Its question tells the other that what it remembers is wrong, so it is not answered here.
    net.send(1, 0, &who_has(a, (mac(3), b)));
    net.run_for(millis(20));
    assert_eq!(net.member(0).frames(), [who_has(a, (mac(3), b))]);
    net.send(1, 0, &who_has(a, (mac(3), b)));
    net.run_for(millis(20));
    assert_eq!(net.member(0).frames().len(), 1);
    assert_eq!(net.member(1).frames(), [i_have((mac(1), a), (mac(3), b))]);
}

#[test]
fn a_host_that_is_gone_is_not_answered_for() {
    let mut net = connected(members(2), 14);
    let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    net.send(1, 0, &announcement((mac(2), b)));
    net.run_for(millis(20));
    // It is asked whether it is still there before that is forgotten.
    net.run_for(SECOND * 260);
    let asked = net.member(1).events.iter();
    let asked = asked.filter(|(_, e)| matches!(e, Event::Emit(_, f) if f[..6] == mac(2).0));
    assert!(asked.count() >= 1);
    net.run_for(SECOND * 60);
    (0..2).for_each(|m| net.member(m).delivered.clear());
    net.send(0, 0, &who_has(b, (mac(1), a)));
    net.run_for(millis(20));
    assert_eq!(net.member(0).frames().len(), 0);
    assert_eq!(
        net.member(1).frames().len(),
        1,
        "the question goes there again"
    );
}

#[test]
fn two_hosts_with_one_address_are_told() {
    let mut net = connected(members(3), 15);
    let ip = "10.0.0.5".parse().unwrap();
    for _ in 0..3 {
        net.send(0, 0, &announcement((mac(1), ip)));
        net.run_for(SECOND);
        net.send(1, 0, &announcement((mac(2), ip)));
        net.run_for(SECOND);
    }
    for n in 0..3 {
        let quarrels = net.member(n).events.iter().filter_map(|(_, e)| match e {
            Event::Quarrel(quarrel) => Some(*quarrel),
            _ => None,
        });
        let quarrels: Vec<_> = quarrels.collect();
        assert_eq!(quarrels.len(), 1, "member {n}: once in three minutes");
        assert_eq!(quarrels[0].address.ip, ip);
        let mut macs = quarrels[0].hosts.map(|(mac, _)| mac);
        macs.sort();
        assert_eq!(macs, [mac(1), mac(2)]);
    }
}

#[test]
fn with_a_querier_groups_go_to_those_that_asked() {
    for family in [4, 6] {
        let mut net = connected(members(4), 16);
        let clear = |net: &mut Network| (0..4).for_each(|m| net.member(m).delivered.clear());
        let got = |net: &mut Network| -> Vec<usize> {
            (0..4)
                .map(|m| std::mem::take(&mut net.member(m).delivered).len())
                .collect()
        };
        // Without a querier everything is flooded, whatever is said.
        net.send(1, 0, &join(family, 7, mac(2)));
        net.run_for(millis(20));
        clear(&mut net);
        net.send(0, 0, &to_group(family, 7, mac(1)));
        net.run_for(millis(20));
        assert_eq!(got(&mut net), [0, 1, 1, 1]);
        // A querier behind member 3: it gets all, member 1 its group, member 2 nothing.
        net.send(3, 0, &query(family, mac(4)));
        net.run_for(millis(20));
        assert_eq!(got(&mut net), [1, 1, 1, 0], "questions go to everybody");
        net.send(0, 0, &to_group(family, 8, mac(1)));
        net.run_for(SECOND * 12);
        assert_eq!(got(&mut net), [0, 1, 1, 1], "hosts have had no time yet");
        net.send(1, 0, &join(family, 7, mac(2)));
        net.run_for(millis(20));
        assert_eq!(got(&mut net), [0, 0, 0, 1], "answers go to the querier");
        net.send(0, 0, &to_group(family, 7, mac(1)));
        net.run_for(millis(20));
        assert_eq!(got(&mut net), [0, 1, 0, 1]);
        net.send(0, 0, &to_group(family, 8, mac(1)));
        net.run_for(millis(20));
        assert_eq!(got(&mut net), [0, 0, 0, 1]);
        net.send(0, 0, &to_link_group(family, mac(1)));
        net.run_for(millis(20));
        assert_eq!(got(&mut net), [0, 1, 1, 1], "groups of the link");
        // It leaves.
        net.send(1, 0, &leave(family, 7, mac(2)));
        net.run_for(SECOND * 5);
        clear(&mut net);
        net.send(0, 0, &to_group(family, 7, mac(1)));
        net.run_for(millis(20));
        assert_eq!(got(&mut net), [0, 0, 0, 1]);
        // The querier is silent for too long: nobody's silence means anything any more.
        net.run_for(SECOND * 260);
        clear(&mut net);
        net.send(0, 0, &to_group(family, 7, mac(1)));
        net.run_for(millis(20));
        assert_eq!(got(&mut net), [0, 1, 1, 1]);
    }
}

#[test]
fn a_loop_through_two_members_closes_one_port_and_opens_it_again() {
    let mut recipes = members(3);
    recipes.iter_mut().for_each(|r| r.loop_guard = true);
    let keys: Vec<_> = recipes.iter().map(Recipe::public).collect();
    let mut net = connected(recipes, 17);
    let (small, large) = if keys[0] < keys[1] { (0, 1) } else { (1, 0) };
    // A cable between the sites of members 0 and 1.
    wire_up(&mut net, &[(0, 0), (1, 0)], millis(2500));
    let found = loops(&mut net, large);
    assert_eq!(found.len(), 1);
    assert!(found[0].is_blocked);
    assert_eq!(
        found[0].through,
        Place::Peer(PeerId(Network::peer_of(large, small)))
    );
    assert_eq!(loops(&mut net, small), [], "the other one goes on");
    // The closed port carries nothing, in or out; the third member is still reached by the other.
    wire_up(&mut net, &[(0, 0), (1, 0)], SECOND * 20);
    assert_eq!(loops(&mut net, large).len(), 1, "and stays closed");
    assert_eq!(loops(&mut net, small), []);
    (0..3).for_each(|m| net.member(m).delivered.clear());
    speak(&mut net, large, mac(1), Mac::BROADCAST);
    speak(&mut net, 2, mac(3), Mac::BROADCAST);
    net.run_for(millis(20));
    assert_eq!(net.member(small).frames().len(), 1);
    assert_eq!(net.member(large).frames().len(), 0);
    assert_eq!(net.member(2).frames().len(), 0);
    // The cable is gone.
    wire_up(&mut net, &[], SECOND * 8);
    let found = loops(&mut net, large);
    assert!(found.len() == 2 && !found[1].is_blocked, "{found:?}");
    speak(&mut net, large, mac(1), Mac::BROADCAST);
    net.run_for(millis(20));
    assert_eq!(net.member(2).frames().len(), 1);
}

#[test]
fn of_three_gateways_at_one_site_one_stays_open() {
    let mut recipes = members(4);
    recipes.iter_mut().for_each(|r| r.loop_guard = true);
    let mut net = connected(recipes, 18);
    wire_up(&mut net, &[(0, 0), (1, 0), (2, 0)], SECOND * 15);
    let layouts = (0..4).map(|n| {
        net.member(n)
            .plane
            .switch
            .layout()
            .port(PortId(0))
            .unwrap()
            .is_blocked
    });
    let closed: Vec<bool> = layouts.collect();
    assert_eq!(closed.iter().filter(|c| **c).count(), 2, "{closed:?}");
    assert!(!closed[3]);
}

#[test]
fn two_ports_of_one_member_on_one_wire_leave_one() {
    let mut recipes = members(1);
    recipes[0].loop_guard = true;
    recipes[0].ports = vec![(segment(1), PortRule::TRANSPARENT); 2];
    let mut net = Network::of(recipes, 19);
    wire_up(&mut net, &[(0, 0), (0, 1)], SECOND * 3);
    let found = loops(&mut net, 0);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].port, PortId(1));
}

#[test]
fn a_host_that_throws_probes_back_closes_nothing() {
    let mut recipes = members(2);
    recipes.iter_mut().for_each(|r| r.loop_guard = true);
    let mut net = connected(recipes, 23);
    for _ in 0..5 {
        net.run_for(SECOND * 2);
        let probe = last_probe(&mut net, 0);
        net.send(0, 0, &probe);
    }
    assert_eq!(loops(&mut net, 0), []);
    assert!(net.member(0).drops(DropReason::Hairpin) >= 5);
}

#[test]
fn a_peer_that_stops_telling_costs_no_time() {
    let mut net = connected(members(2), 24);
    speak(&mut net, 0, mac(1), Mac::BROADCAST);
    speak(&mut net, 1, mac(2), Mac::BROADCAST);
    net.run_for(SECOND);
    // It comes back before it is missed, and learns from frames alone from now on.
    net.recipes[1].limits.learning = Learning::Data;
    net.rebuild(1);
    net.introduce(1, 0);
    net.run_for(SECOND);
    speak(&mut net, 0, mac(3), Mac::BROADCAST);
    net.run_for(SECOND * 3);
    let now = net.now;
    assert!(
        net.member(0).node.deadline() > now,
        "nothing is overdue for ever"
    );
}

#[test]
fn a_site_of_random_macs_costs_its_member_bounded_memory() {
    let mut recipes = members(2);
    // The other evicts nothing, and so has no reason of its own to read anything again.
    (recipes[1].limits.total, recipes[1].limits.per_place) = (100_000, 50_000);
    let mut net = connected(recipes, 25);
    net.record = false;
    let mut dice = Dice(3);
    for n in 0..60_000u32 {
        let [a, b, c, d] = (dice.next() as u32).to_be_bytes();
        speak(
            &mut net,
            0,
            Mac([0x06, 0, a, b, c, d]),
            Mac([2, 0, 0, 0, 0, 99]),
        );
        if n % 500 == 0 {
            net.run_for(millis(1));
        }
    }
    net.run_for(SECOND * 65);
    let now = net.now;
    let here = net.member(0).plane.switch.table.entries(now);
    assert_eq!(here.len(), 1024);
    // The last state arrives whole, whatever was lost of the way there.
    let there = net.member(1).plane.switch.table.entries(now);
    let told = there.iter().filter(|l| l.home.is_told()).map(|l| l.key);
    let own: Vec<_> = here.iter().map(|l| l.key).collect();
    assert!(told.eq(own));
}

#[test]
fn a_forged_probe_closes_nothing() {
    let mut recipes = members(2);
    recipes.iter_mut().for_each(|r| r.loop_guard = true);
    let mut net = connected(recipes, 20);
    let old = last_probe(&mut net, 0);
    let mut forged = old.clone();
    forged[30] ^= 1;
    // By the other member, as a true one would come.
    for _ in 0..10 {
        net.send(1, 0, &forged);
        net.run_for(SECOND);
    }
    assert_eq!(loops(&mut net, 0), []);
    // Nor does one of ours that somebody kept.
    net.run_for(SECOND * 10);
    for _ in 0..10 {
        net.send(1, 0, &old);
        net.run_for(SECOND);
    }
    assert_eq!(loops(&mut net, 0), []);
    assert_eq!(loops(&mut net, 1), []);
}

#[test]
fn five_sites_of_two_thousand_hosts_stay_calm() {
    let mut recipes = members(5);
    for recipe in &mut recipes {
        recipe.limits.total = 12_000;
        recipe.limits.per_place = 2500;
        recipe.storms.broadcast = 0;
    }
    let mut net = connected(recipes, 21);
    net.record = false;
    const HOSTS: u32 = 2000;
    let of = |site: u32, n: u32| mac(site * 10_000 + n);
    for n in 0..HOSTS {
        for site in 0..5u32 {
            speak(&mut net, site as usize, of(site, n), Mac::BROADCAST);
        }
        if n % 20 == 0 {
            net.run_for(millis(10));
        }
    }
    net.run_for(SECOND * 5);
    (0..5).for_each(|m| net.member(m).delivered.clear());
    for m in 0..5 {
        let now = net.now;
        let entries = net.member(m).plane.switch.table.entries(now);
        assert_eq!(entries.len(), 5 * HOSTS as usize, "member {m}");
        let told = entries.iter().filter(|l| l.home.is_told()).count();
        assert_eq!(told, 4 * HOSTS as usize, "member {m}");
    }
    // A tenth of the hosts move to the next site, and speak to one host there.
    for n in 0..HOSTS / 10 {
        for site in 0..5u32 {
            let to = (site + 1) % 5;
            speak(&mut net, to as usize, of(site, n), of(to, HOSTS - 1));
        }
    }
    net.run_for(SECOND);
    for m in 0..5usize {
        for n in 0..HOSTS / 10 {
            for site in 0..5u32 {
                let to = ((site + 1) % 5) as usize;
                assert!(is_behind(&mut net, m, of(site, n), to), "{m} {site} {n}");
            }
        }
    }
    // One host flaps between two sites, as with a loop: it is held, and nobody else notices.
    for _ in 0..200 {
        speak(&mut net, 0, of(0, 1999), Mac::BROADCAST);
        speak(&mut net, 1, of(0, 1999), Mac::BROADCAST);
        net.run_for(millis(2));
    }
    net.run_for(SECOND * 2);
    for m in 0..5 {
        let held = net
            .member(m)
            .events
            .iter()
            .filter(|(_, e)| matches!(e, Event::Frozen(_)));
        assert_eq!(held.count(), 1, "member {m}");
        assert!(is_behind(&mut net, m, of(3, 700), 3));
    }
    // A site goes mad with random MACs: it loses its own only.
    let mut dice = Dice(5);
    for _ in 0..20_000 {
        let random = Mac([
            0x06,
            0,
            0,
            dice.next() as u8,
            dice.next() as u8,
            dice.next() as u8,
        ]);
        speak(&mut net, 4, random, of(0, 5));
    }
    net.run_for(SECOND * 20);
    for m in 0..4 {
        let now = net.now;
        let entries = net.member(m).plane.switch.table.entries(now);
        assert!(entries.len() <= 12_000);
        for site in 0..4u32 {
            let at = |l: &&Learned| {
                l.key.mac().0[..2] == [2, 0x10]
                    && l.key.mac() >= of(site, 300)
                    && l.key.mac() < of(site, 1900)
            };
            assert_eq!(
                entries.iter().filter(at).count(),
                1600,
                "member {m}, site {site}"
            );
        }
    }
}
