//! Stories of members in virtual time: what users and attackers do, without a socket or a clock.

#[path = "support/simulator.rs"]
mod simulator;

use l2vpn::drops::DropReason;
use l2vpn::keys::Which;
use l2vpn::node::{Event, Gone};
use l2vpn::place::{PeerId, Place, PortId};
use l2vpn::switch::layout::LinkLocal;
use l2vpn::switch::port::PortRule;
use l2vpn::switch::storm::StormLimits;
use l2vpn::time::Duration;
use l2vpn::wire::ethernet::Mac;
use l2vpn::wire::service::Services;
use l2vpn::wire::vlan::{Vid, VlanClass};
use l2vpn::wire::vlans::VlanSet;
use simulator::*;

const SECOND: Duration = Duration::from_secs(1);

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Two members of which the first knows where the second is, connected.
fn connected(seed: u64) -> Network {
    let mut net = Network::new(2, seed);
    net.introduce(0, 1);
    net.run_for(millis(20));
    assert!(net.all_up());
    net
}

fn greeting(from: usize, to: usize) -> Vec<u8> {
    frame(
        host(to),
        host(from),
        None,
        format!("{from} to {to}").as_bytes(),
    )
}

fn broadcast(from: usize) -> Vec<u8> {
    frame(Mac::BROADCAST, host(from), None, b"who has")
}

#[test]
fn two_members_learn_each_other_and_stop_flooding() {
    let mut net = connected(1);
    net.send(0, 0, &broadcast(0));
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames(), [broadcast(0)]);
    net.send(1, 0, &greeting(1, 0));
    net.run_for(millis(5));
    assert_eq!(net.member(0).frames(), [greeting(1, 0)]);
    let entries = |net: &mut Network, n: usize| {
        let now = net.now;
        net.member(n).plane.switch.table.entries(now)
    };
    let at_0 = entries(&mut net, 0);
    assert_eq!(at_0.len(), 2);
    assert!(
        at_0.iter()
            .any(|l| l.key.mac() == host(1) && l.place == Place::Peer(PeerId(0)))
    );
    assert!(
        at_0.iter()
            .any(|l| l.key.mac() == host(0) && l.place == Place::Port(PortId(0)))
    );
}

#[test]
fn the_first_frame_arrives_after_one_and_a_half_round_trips() {
    let mut net = Network::new(2, 2);
    net.weather.delay = millis(10);
    net.introduce(0, 1);
    net.send(0, 0, &broadcast(0));
    // The frame's segment has no peer yet, so it goes nowhere; one for a staged peer waits.
    net.run_for(millis(29));
    assert!(!net.is_up(1, 0));
    net.run_for(millis(2));
    assert!(net.is_up(1, 0), "initiation, response, first packet: 30 ms");
    assert!(!net.is_up(0, 1));
    net.run_for(millis(10));
    assert!(net.all_up(), "and its answer: 40 ms");
}

#[test]
fn five_members_flood_to_all_and_never_on() {
    let mut net = Network::new(5, 3);
    net.introduce_all();
    net.run_for(SECOND);
    assert!(net.all_up());
    net.send(2, 0, &broadcast(2));
    net.run_for(millis(50));
    for n in 0..5 {
        let expected = usize::from(n != 2);
        assert_eq!(net.member(n).frames().len(), expected, "member {n}");
    }
    net.send(4, 0, &greeting(4, 2));
    net.run_for(millis(50));
    assert_eq!(net.member(2).frames(), [greeting(4, 2)]);
    assert_eq!(
        net.member(0).frames().len(),
        1,
        "a known destination is not flooded"
    );
}

#[test]
fn simultaneous_starts_settle_on_one_session() {
    for seed in 0..300 {
        let mut net = Network::new(2, seed);
        net.weather.jitter = millis(seed % 5);
        net.introduce_all();
        net.run_for(SECOND);
        assert!(net.all_up());
        let role = |net: &mut Network, n: usize| {
            let keyring = &net.member(n).node.peers()[0].keyring;
            keyring.current().expect("a session").role
        };
        let roles = (role(&mut net, 0), role(&mut net, 1));
        assert_ne!(
            roles.0, roles.1,
            "seed {seed}: each sends on another session"
        );
        net.send(0, 0, &greeting(0, 1));
        net.send(1, 0, &greeting(1, 0));
        net.run_for(millis(20));
        assert_eq!(net.member(1).frames(), [greeting(0, 1)]);
        assert_eq!(net.member(0).frames(), [greeting(1, 0)]);
    }
}

#[test]
fn rekeying_loses_no_frame_in_an_hour() {
    let mut net = connected(5);
    net.weather.jitter = millis(4);
    let mut sent = 0usize;
    while sent < 3600 * 4 {
        let bytes = frame(host(1), host(0), None, &(sent as u32).to_be_bytes());
        net.send(0, 0, &bytes);
        let back = frame(host(0), host(1), None, &(sent as u32).to_be_bytes());
        net.send(1, 0, &back);
        sent += 1;
        net.run_for(millis(250));
    }
    net.run_for(SECOND);
    assert_eq!(net.member(0).delivered.len(), sent);
    assert_eq!(net.member(1).delivered.len(), sent);
    let now = net.now;
    let born = net.member(0).node.peers()[0]
        .keyring
        .current()
        .unwrap()
        .age(now);
    assert!(born <= Duration::from_secs(130), "{born:?}");
    let downs = net
        .member(0)
        .events
        .iter()
        .filter(|(_, e)| matches!(e, Event::Down(..)));
    assert_eq!(downs.count(), 0);
}

#[test]
fn an_idle_pair_stays_connected_for_a_day_and_says_little() {
    let mut net = connected(6);
    net.recording.clear();
    net.run_for(Duration::from_secs(86_400));
    assert!(net.all_up());
    let packets = net.recording.len() as u64;
    // One handshake in two minutes: initiation, response, two first packets.
    assert!(
        (86_400 / 120 * 3..86_400 / 120 * 5).contains(&packets),
        "{packets}"
    );
}

#[test]
fn a_lossy_wire_connects_and_delivers_each_frame_at_most_once() {
    for seed in 0..20 {
        let mut net = Network::new(2, seed);
        net.weather = Weather {
            loss: 30,
            duplicate: 20,
            delay: millis(10),
            jitter: millis(30),
        };
        net.introduce_all();
        let end = net.now + Duration::from_secs(60);
        assert!(net.run_until(end, Network::all_up), "seed {seed}");
        net.run_for(SECOND * 10);
        for i in 0..1000u32 {
            net.send(0, 0, &frame(host(1), host(0), None, &i.to_be_bytes()));
            net.run_for(millis(1));
        }
        net.run_for(SECOND);
        let got = net.member(1).frames();
        let distinct: std::collections::BTreeSet<_> = got.iter().collect();
        assert_eq!(distinct.len(), got.len(), "seed {seed}: delivered twice");
        assert!(
            (600..=800).contains(&got.len()),
            "seed {seed}: {}",
            got.len()
        );
        assert!(net.member(1).drops(DropReason::Replay) > 0);
    }
}

#[test]
fn reordering_within_the_window_loses_nothing() {
    let mut net = connected(7);
    net.weather.jitter = millis(200);
    for i in 0..2000u32 {
        net.send(0, 0, &frame(host(1), host(0), None, &i.to_be_bytes()));
        net.run_for(Duration::from_micros(100));
    }
    net.run_for(SECOND);
    assert_eq!(net.member(1).delivered.len(), 2000);
}

#[test]
fn big_frames_cross_small_paths_whole() {
    for mtu in [1280, 1400, 1500] {
        let mut net = Network::of(vec![Recipe::new(0), Recipe::new(1)], 8);
        net.mtu = mtu;
        (0..2).for_each(|n| net.rebuild(n));
        net.introduce(0, 1);
        net.run_for(millis(20));
        for len in [46, 1186, 1200, 1430, 1436, 1437, 1500, 4000, 9000, 60_000] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let bytes = frame(host(1), host(0), Some([0x81, 0, 0xe0, 20]), &payload);
            net.send(0, 0, &bytes);
            net.run_for(millis(10));
            assert_eq!(
                net.member(1).frames().last(),
                Some(&bytes),
                "mtu {mtu} length {len}"
            );
        }
    }
}

#[test]
fn a_peer_that_moves_is_followed_after_it_answered_a_challenge() {
    let mut net = connected(9);
    let elsewhere = "10.9.9.9:1234".parse().unwrap();
    net.member(0).address = elsewhere;
    net.send(0, 0, &greeting(0, 1));
    net.run_for(millis(10));
    assert_eq!(net.member(1).frames(), [greeting(0, 1)]);
    let moved = Event::Moved(PeerId(0), elsewhere);
    assert!(net.member(1).events.iter().any(|(_, e)| *e == moved));
    net.send(1, 0, &greeting(1, 0));
    net.run_for(millis(10));
    assert_eq!(net.member(0).frames(), [greeting(1, 0)]);
}

#[test]
fn copies_from_another_address_divert_nothing() {
    let mut net = connected(10);
    let attacker = "10.66.6.6:666".parse().unwrap();
    // The attacker is faster: its copy arrives before the original.
    for i in 0..50u32 {
        let now = net.now;
        let bytes = frame(host(1), host(0), None, &i.to_be_bytes());
        net.recording.clear();
        net.weather.delay = millis(5);
        net.send(0, 0, &bytes);
        let copy = net.recording[0].bytes.clone();
        net.inject(1, attacker, &copy);
        net.send(1, 0, &greeting(1, 0));
        net.run_for(millis(100));
        assert!(net.now > now);
    }
    let diverted: Vec<_> = net.recording.iter().filter(|p| p.to == attacker).collect();
    assert!(diverted.len() <= 2, "only challenges: {}", diverted.len());
    assert_eq!(
        net.member(0).frames().len(),
        50,
        "all frames went the old way"
    );
}

#[test]
fn a_restarted_member_is_back_at_once() {
    let mut net = Network::new(2, 11);
    net.introduce_all();
    net.run_for(SECOND);
    for round in 0..3 {
        // Killed without a goodbye, and up again within the second.
        net.rebuild(0);
        net.introduce(0, 1);
        net.run_for(millis(20));
        assert!(net.all_up(), "round {round}");
        net.send(1, 0, &greeting(1, 0));
        net.run_for(millis(5));
        assert_eq!(net.member(0).frames(), [greeting(1, 0)], "round {round}");
        net.run_for(SECOND);
    }
}

#[test]
fn a_member_whose_clock_went_back_is_let_in() {
    let mut net = Network::new(2, 12);
    net.introduce(0, 1);
    net.run_for(SECOND);
    net.recipes[0].wall = 5;
    net.rebuild(0);
    net.introduce(0, 1);
    net.run_for(SECOND * 2);
    assert!(net.is_up(0, 1), "proves its address with a cookie");
    assert!(net.member(1).drops(DropReason::Stale) >= 1);
}

#[test]
fn a_goodbye_takes_the_peer_and_its_macs_down_at_once() {
    let mut net = connected(13);
    net.send(0, 0, &broadcast(0));
    net.run_for(millis(5));
    assert_eq!(net.member(1).plane.switch.table.len(), 1);
    let now = net.now;
    net.member(0).node.close(now);
    net.collect(0);
    net.members[0] = None;
    net.run_for(millis(5));
    let gone = Event::Down(PeerId(0), Gone::Closed);
    assert!(net.member(1).events.iter().any(|(_, e)| *e == gone));
    assert!(net.member(1).plane.switch.table.is_empty());
    let carrier = Event::Carrier(segment(1), 0);
    assert!(net.member(1).events.iter().any(|(_, e)| *e == carrier));
    assert_eq!(net.member(1).node.indices_in_use(), 0);
}

#[test]
fn a_peer_that_falls_silent_under_traffic_is_noticed() {
    let mut net = connected(14);
    net.members[0] = None;
    for _ in 0..40 {
        net.send(1, 0, &greeting(1, 0));
        net.run_for(SECOND);
    }
    let gone = Event::Down(PeerId(0), Gone::Silent);
    let at = net
        .member(1)
        .events
        .iter()
        .find(|(_, e)| *e == gone)
        .map(|(at, _)| *at);
    let after = at
        .expect("noticed")
        .since(l2vpn::time::Instant::from_micros(1_000_000));
    assert!(after < Duration::from_secs(25), "{after:?}");
}

#[test]
fn wrong_pre_shared_keys_never_connect_and_right_ones_do() {
    let mut net = Network::new(2, 15);
    net.set_psk(0, 1, [1; 32]);
    net.set_psk(1, 0, [2; 32]);
    (0..2).for_each(|n| net.rebuild(n));
    net.introduce_all();
    net.run_for(Duration::from_secs(300));
    assert!(!net.is_up(0, 1) && !net.is_up(1, 0));
    let why = [0, 1].map(|n| net.member(n).drops(DropReason::PskMismatch));
    assert!(why.iter().any(|n| *n > 0), "{why:?}");
    let mut net = Network::new(2, 15);
    net.set_psk(0, 1, [1; 32]);
    net.set_psk(1, 0, [1; 32]);
    (0..2).for_each(|n| net.rebuild(n));
    net.introduce_all();
    net.run_for(SECOND);
    assert!(net.all_up());
}

#[test]
fn a_stranger_hears_nothing() {
    let mut net = Network::new(2, 16);
    let stranger = Recipe::new(77);
    let target = net.recipes[0].public();
    let mut outside = Member::new(&stranger, "10.5.5.5:5".parse().unwrap(), 3, net.now);
    let settings = |key| l2vpn::mesh::peer::PeerSettings {
        kind: l2vpn::mesh::peer::Kind::Member,
        name: "target".into(),
        key: l2vpn::keys::PublicKey::into(key),
        psks: l2vpn::keys::Psks::default(),
        keepalive: None,
        relay: Default::default(),
        pass: Default::default(),
        mtu: None,
        segments: None,
        vlans: None,
        roles: Services::NONE,
        claims: Default::default(),
        serves: false,
    };
    let id = outside.node.add_peer(settings(target));
    let now = net.now;
    outside.node.set_endpoints(id, vec![address(0)], now);
    let datagrams: Vec<_> = outside
        .node
        .outgoing()
        .iter()
        .map(|(_, b)| b.to_vec())
        .collect();
    assert!(!datagrams.is_empty());
    for bytes in datagrams {
        net.recording.clear();
        net.inject(0, outside.address, &bytes);
        assert!(net.recording.is_empty(), "an answer to a stranger");
    }
    assert_eq!(net.member(0).drops(DropReason::Stranger), 1);
    assert_eq!(net.member(0).node.indices_in_use(), 0);
}

#[test]
fn junk_of_every_kind_and_length_gets_no_answer() {
    let mut net = connected(17);
    let mut dice = Dice(99);
    net.recording.clear();
    for kind in 0..=255u8 {
        for len in (0..200).chain([400, 1232, 1233, 1472, 65_507]) {
            let mut bytes = vec![0; len];
            l2vpn::keys::Entropy::fill(&mut dice, &mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Some(header) = bytes.get_mut(1..4)
                && kind % 2 == 0
            {
                header.copy_from_slice(&[1, 0, 0]);
            }
            net.inject(1, address(0), &bytes);
        }
    }
    assert!(net.recording.is_empty());
    net.send(0, 0, &greeting(0, 1));
    net.run_for(millis(5));
    assert_eq!(
        net.member(1).frames(),
        [greeting(0, 1)],
        "the session lives"
    );
}

#[test]
fn a_replayed_capture_changes_nothing() {
    let mut net = Network::new(2, 18);
    net.introduce_all();
    net.run_for(SECOND);
    for i in 0..100u32 {
        net.send(0, 0, &frame(host(1), host(0), None, &i.to_be_bytes()));
        net.run_for(millis(1));
    }
    net.run_for(SECOND);
    let capture = net.recording.clone();
    let before = net.member(1).delivered.len();
    let sessions = net.member(1).node.indices_in_use();
    let attacker = "10.66.6.6:666".parse().unwrap();
    for pause in [0, 1, 1000, 10_000] {
        net.run_for(millis(pause));
        net.recording.clear();
        for packet in capture.iter().filter(|p| p.to == address(1)) {
            net.inject(1, attacker, &packet.bytes);
        }
        let (asked, answered) = (
            capture.iter().map(|p| p.bytes.len()).sum::<usize>(),
            net.recording.iter().map(|p| p.bytes.len()).sum::<usize>(),
        );
        assert!(answered <= asked, "amplified");
        assert_eq!(net.member(1).delivered.len(), before);
        assert_eq!(net.member(1).node.indices_in_use(), sessions);
    }
    net.send(1, 0, &greeting(1, 0));
    net.run_for(millis(5));
    assert_eq!(
        net.member(0).frames(),
        [greeting(1, 0)],
        "the path did not move"
    );
}

#[test]
fn no_answer_is_longer_than_what_it_answers() {
    let many: Vec<_> = (1..=64)
        .map(|s| (segment(s), PortRule::TRANSPARENT))
        .collect();
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    recipes[1].ports = many;
    let mut net = Network::of(recipes, 19);
    net.introduce(0, 1);
    net.run_for(millis(1000));
    assert!(net.all_up());
    let at = net.recording.iter().position(|p| p.bytes[0] == 9).unwrap();
    let response = &net.recording[at];
    let mut before = net.recording[..at].iter().rev();
    let initiation = before.find(|p| p.bytes[0] == 8).unwrap();
    assert!(response.bytes.len() <= initiation.bytes.len());
    assert!(initiation.bytes.len() + 48 <= 1280);
}

#[test]
fn under_load_only_proven_addresses_get_through() {
    let mut net = Network::new(2, 20);
    let key = net.recipes[1].public();
    // Initiations with a valid mac1 from many addresses, as somebody who knows the public key can make them.
    let mut asked = 0;
    for n in 0..300u32 {
        let mut flooder = Member::new(
            &Recipe::new(100),
            "10.7.0.1:1".parse().unwrap(),
            u64::from(n),
            net.now,
        );
        let id = flooder.node.add_peer(l2vpn::mesh::peer::PeerSettings {
            kind: l2vpn::mesh::peer::Kind::Member,
            name: String::new(),
            key: key.into(),
            psks: l2vpn::keys::Psks::default(),
            keepalive: None,
            relay: Default::default(),
            pass: Default::default(),
            mtu: None,
            segments: None,
            vlans: None,
            roles: Services::NONE,
            claims: Default::default(),
            serves: false,
        });
        let now = net.now;
        flooder.node.set_endpoints(id, vec![address(1)], now);
        let bytes = flooder.node.outgoing().iter().next().unwrap().1.to_vec();
        asked += bytes.len();
        let from = std::net::SocketAddr::from(([10, 8, (n / 200) as u8, (n % 200) as u8], 9));
        net.inject(1, from, &bytes);
    }
    assert!(net.member(1).drops(DropReason::AddressUnproven) >= 150);
    let answered: usize = net.recording.iter().map(|p| p.bytes.len()).sum();
    assert!(
        net.recording.iter().all(|p| p.bytes[0] == 10),
        "only cookies"
    );
    assert!(answered < asked / 2);
    net.introduce(0, 1);
    net.run_for(SECOND);
    assert!(
        net.is_up(0, 1),
        "an honest peer proves its address and gets in"
    );
}

#[test]
fn nothing_is_delivered_before_the_initiator_proved_itself() {
    let mut net = Network::new(2, 21);
    net.introduce(0, 1);
    net.run_for(millis(1));
    // Member 1 has answered; nobody has proven anything to it yet.
    assert!(!net.is_up(1, 0));
    let initiation = net.recording[0].bytes.clone();
    for n in 0..1000u32 {
        let from = std::net::SocketAddr::from(([10, 8, (n / 200) as u8, (n % 200) as u8], 9));
        net.inject(1, from, &initiation);
    }
    assert!(net.member(1).node.indices_in_use() <= 2);
    assert!(net.member(1).node.peers()[0].path.endpoint().is_none());
    assert!(net.member(1).frames().is_empty());
}

#[test]
fn segments_with_equal_macs_do_not_meet() {
    let both = vec![
        (segment(1), PortRule::TRANSPARENT),
        (segment(2), PortRule::TRANSPARENT),
    ];
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    recipes.iter_mut().for_each(|r| r.ports = both.clone());
    let mut net = Network::of(recipes, 22);
    net.introduce(0, 1);
    net.run_for(millis(20));
    net.send(0, 0, &broadcast(0));
    net.send(0, 1, &greeting(0, 1));
    net.run_for(millis(5));
    let got: Vec<_> = net
        .member(1)
        .delivered
        .iter()
        .map(|(_, p, f)| (p.0, f.clone()))
        .collect();
    assert_eq!(got, [(0, broadcast(0)), (1, greeting(0, 1))]);
}

#[test]
fn floods_go_only_to_members_of_the_segment() {
    let mut recipes = vec![Recipe::new(0).untold(), Recipe::new(1), Recipe::new(2)];
    recipes[2].ports = vec![(segment(9), PortRule::TRANSPARENT)];
    let mut net = Network::of(recipes, 23);
    net.introduce_all();
    net.run_for(SECOND);
    net.recording.clear();
    net.send(0, 0, &broadcast(0));
    net.run_for(millis(5));
    assert_eq!(net.recording.len(), 1);
    assert_eq!(net.recording[0].to, address(1));
}

#[test]
fn an_access_port_meets_a_trunk() {
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    let vid = Vid::new(20).unwrap();
    recipes[0].ports = vec![(segment(1), PortRule::Access(vid))];
    let mut net = Network::of(recipes, 24);
    net.introduce(0, 1);
    net.run_for(millis(20));
    net.send(0, 0, &broadcast(0));
    net.run_for(millis(5));
    let tagged = frame(Mac::BROADCAST, host(0), Some([0x81, 0, 0, 20]), b"who has");
    assert_eq!(net.member(1).frames(), [tagged]);
    let answer = frame(host(0), host(1), Some([0x81, 0, 0x60, 20]), b"me");
    net.send(1, 0, &answer);
    net.send(
        1,
        0,
        &frame(
            Mac::BROADCAST,
            host(1),
            Some([0x81, 0, 0, 30]),
            b"other VLAN",
        ),
    );
    net.run_for(millis(5));
    assert_eq!(
        net.member(0).frames(),
        [frame(host(0), host(1), None, b"me")]
    );
    // Member 1 knows that 0 has no port in VLAN 30.
    assert_eq!(net.member(0).drops(DropReason::VlanNotAllowed), 0);
}

/// A broadcast in a VLAN; `None` for an untagged one.
fn broadcast_in(from: usize, vid: Option<u8>) -> Vec<u8> {
    let tag = vid.map(|v| [0x81, 0, 0, v]);
    frame(Mac::BROADCAST, host(from), tag, b"who has")
}

fn list(vids: &[u16]) -> VlanSet {
    VlanSet::of_list(&vids.iter().filter_map(|v| Vid::new(*v)).collect())
}

#[test]
fn floods_go_only_to_members_with_a_port_in_the_vlan() {
    let mut recipes: Vec<Recipe> = (0..4).map(|n| Recipe::new(n).untold()).collect();
    let vid = |n| Vid::new(n).unwrap();
    let trunk = |vids: &[u16]| PortRule::Trunk {
        allowed: Some(vids.iter().map(|v| vid(*v)).collect()),
        native: None,
    };
    recipes[1].ports = vec![(segment(1), PortRule::Access(vid(20)))];
    recipes[2].ports = vec![(segment(1), trunk(&[20, 30]))];
    recipes[3].ports = vec![
        (segment(1), PortRule::Qinq(vid(20))),
        (segment(1), PortRule::Access(vid(40))),
    ];
    let mut net = Network::of(recipes, 31);
    net.introduce_all();
    net.run_for(SECOND);
    for (tag, expected) in [
        (None, vec![]),
        (Some(20), vec![1, 2]),
        (Some(30), vec![2]),
        (Some(40), vec![3]),
        (Some(50), vec![]),
    ] {
        net.recording.clear();
        net.send(0, 0, &broadcast_in(0, tag));
        net.run_for(millis(5));
        let mut to: Vec<_> = net.recording.iter().map(|r| r.to).collect();
        to.sort_unstable();
        let expected: Vec<_> = expected.into_iter().map(address).collect();
        assert_eq!(to, expected, "{tag:?}");
    }
    net.recording.clear();
    net.send(
        0,
        0,
        &frame(Mac::BROADCAST, host(0), Some([0x88, 0xa8, 0, 20]), b"s"),
    );
    net.run_for(millis(5));
    let to: Vec<_> = net.recording.iter().map(|r| r.to).collect();
    assert_eq!(
        to.len(),
        2,
        "the service VLAN of member 3, and 2's list: {to:?}"
    );
    // Nothing came that was not carried on.
    for n in 1..4 {
        assert_eq!(net.member(n).drops(DropReason::VlanNotAllowed), 0, "{n}");
    }
}

#[test]
fn what_passes_between_peers_is_what_both_allow() {
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    recipes[0].peer_vlans = Some(list(&[10, 20]));
    recipes[1].peer_vlans = Some(list(&[20, 30]));
    let mut net = Network::of(recipes, 32);
    net.introduce(0, 1);
    net.run_for(SECOND);
    for tag in [None, Some(10), Some(20), Some(30)] {
        net.send(0, 0, &broadcast_in(0, tag));
        net.send(1, 0, &broadcast_in(1, tag));
    }
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames(), [broadcast_in(0, Some(20))]);
    assert_eq!(net.member(0).frames(), [broadcast_in(1, Some(20))]);
    // 10 was sent, since the sender may, and 30 the other way: the receivers refused them, and learned nothing of them.
    for n in 0..2 {
        assert_eq!(net.member(n).drops(DropReason::VlanNotAllowed), 1, "{n}");
        let now = net.now;
        let known = net.member(n).plane.switch.table.entries(now);
        let from_peer = known.iter().filter(|e| matches!(e.place, Place::Peer(_)));
        assert_eq!(from_peer.count(), 1);
    }
}

/// Hosts take a tag of VID 0 off and look at the next one, so a frame with both belongs to the VLAN behind it.
#[test]
fn a_tag_of_vid_0_opens_no_vlan() {
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    recipes[1].peer_vlans = Some(VlanSet::default().with(VlanClass::UNTAGGED));
    let mut net = Network::of(recipes, 39);
    net.introduce(0, 1);
    net.run_for(SECOND);
    let frame = |tags: &[u8]| {
        let mut f = broadcast(0);
        f.splice(12..12, tags.iter().copied());
        f
    };
    net.send(0, 0, &frame(&[0x81, 0, 0, 0, 0x81, 0, 0, 20]));
    net.send(0, 0, &frame(&[0x88, 0xa8, 0, 0, 0x81, 0, 0, 20]));
    net.send(
        0,
        0,
        &frame(&[0x91, 0, 0, 0, 0x81, 0, 0, 0, 0x81, 0, 0, 20]),
    );
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames().len(), 0);
    assert_eq!(net.member(1).drops(DropReason::VlanNotAllowed), 3);
    net.send(0, 0, &frame(&[]));
    net.send(0, 0, &frame(&[0x81, 0, 0xa0, 0]));
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames().len(), 2);
}

#[test]
fn a_host_known_in_a_vlan_that_its_member_may_not_have_any_more_gets_nothing() {
    let mut recipes = vec![Recipe::new(0).untold(), Recipe::new(1)];
    let vid = |n| Vid::new(n).unwrap();
    let mut net = Network::of(recipes.clone(), 33);
    net.introduce(0, 1);
    net.run_for(SECOND);
    net.send(1, 0, &broadcast_in(1, Some(20)));
    net.run_for(millis(5));
    recipes[1].ports = vec![(segment(1), PortRule::Access(vid(30)))];
    net.recipes = recipes;
    net.rebuild(1);
    net.introduce(1, 0);
    net.run_for(SECOND);
    net.recording.clear();
    net.send(
        0,
        0,
        &frame(host(1), host(0), Some([0x81, 0, 0, 20]), b"still there?"),
    );
    net.run_for(millis(5));
    assert_eq!(net.recording.len(), 0);
}

#[test]
fn a_mac_of_two_members_is_held_at_one_and_both_are_named() {
    let mut net = Network::new(3, 38);
    net.introduce_all();
    net.run_for(SECOND);
    net.member(2).events.clear();
    // Two hosts with one MAC, behind 0 and 1, talk in turn.
    for _ in 0..20 {
        for n in 0..2 {
            net.send(n, 0, &frame(Mac::BROADCAST, host(0), None, b"me"));
            net.run_for(millis(50));
        }
    }
    net.run_for(SECOND);
    let frozen: Vec<_> = net
        .member(2)
        .events
        .iter()
        .filter_map(|(_, e)| match e {
            Event::Frozen(frozen) => Some(*frozen),
            _ => None,
        })
        .collect();
    assert_eq!(frozen.len(), 1, "told once: {frozen:?}");
    let of = |n| Place::Peer(PeerId(Network::peer_of(2, n)));
    let named = [frozen[0].held, frozen[0].other];
    assert!(
        named.contains(&of(0)) && named.contains(&of(1)),
        "{named:?}"
    );
    // It goes on: frames for it reach the one where it is held.
    let held = if frozen[0].held == of(0) { 0 } else { 1 };
    net.member(held).delivered.clear();
    net.send(2, 0, &frame(host(0), host(2), None, b"you"));
    net.run_for(millis(5));
    assert_eq!(net.member(held).frames().len(), 1);
}

#[test]
fn a_storm_of_one_member_costs_nobody_else() {
    let mut recipes: Vec<Recipe> = (0..3).map(Recipe::new).collect();
    // Its own switch does not hold it back.
    recipes[0].storms = StormLimits {
        broadcast: 0,
        multicast: 0,
        unknown: 0,
    };
    let mut net = Network::of(recipes, 34);
    net.introduce_all();
    net.run_for(SECOND);
    net.learn_hosts();
    for n in 0..3 {
        net.member(n).delivered.clear();
    }
    for _ in 0..30 {
        for _ in 0..100 {
            net.send(0, 0, &broadcast(0));
        }
        net.run_for(millis(1));
    }
    let came = net.member(1).frames().len();
    assert!((1000..1100).contains(&came), "{came}");
    let dropped = net.member(1).drops(DropReason::StormBroadcast);
    assert_eq!(dropped as usize, 3000 - came);
    net.member(1).delivered.clear();
    // Its unicast, other kinds of frames, and other members go on.
    net.send(0, 0, &greeting(0, 1));
    net.send(
        0,
        0,
        &frame(Mac([0x33, 0x33, 0, 0, 0, 1]), host(0), None, b"group"),
    );
    net.send(2, 0, &broadcast(2));
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames().len(), 3);
    net.member(1).delivered.clear();
    net.run_for(SECOND);
    net.send(0, 0, &broadcast(0));
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames().len(), 1, "calm again");
}

#[test]
fn a_port_that_storms_is_held_back_where_it_is() {
    let mut net = connected(35);
    net.recording.clear();
    for _ in 0..20 {
        for _ in 0..100 {
            net.send(0, 0, &broadcast(0));
        }
        net.run_for(millis(1));
    }
    let dropped = net.member(0).drops(DropReason::StormBroadcast);
    assert!((900..1001).contains(&dropped), "{dropped}");
    assert_eq!(net.member(1).drops(DropReason::StormBroadcast), 0);
}

#[test]
fn frames_for_unknown_hosts_can_be_dropped_instead_of_flooded() {
    let mut recipes = vec![Recipe::new(0).untold(), Recipe::new(1).untold()];
    recipes[1].drops_unknown = Some(segment(1));
    let mut net = Network::of(recipes, 36);
    net.introduce(0, 1);
    net.run_for(SECOND);
    net.send(0, 0, &frame(host(7), host(0), None, b"who?"));
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames().len(), 0);
    assert_eq!(net.member(1).drops(DropReason::UnknownUnicast), 1);
    net.recording.clear();
    net.send(1, 0, &frame(host(7), host(1), None, b"who?"));
    assert_eq!(net.recording.len(), 0);
    // Broadcasts and known hosts are as ever.
    net.send(1, 0, &broadcast(1));
    net.send(1, 0, &greeting(1, 0));
    net.run_for(millis(5));
    assert_eq!(net.member(0).frames().len(), 2);
}

#[test]
fn frames_for_the_next_bridge_pass_a_cable_and_no_bridge() {
    let bpdu = |last| {
        let to = Mac([1, 0x80, 0xc2, 0, 0, last]);
        frame(to, host(0), None, &[0x42, 0x42, 3, 0, 0, 0, 0])
    };
    for (link_local, passes) in [(LinkLocal::Transparent, true), (LinkLocal::Bridge, false)] {
        let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
        recipes[1].link_local = link_local;
        let mut net = Network::of(recipes, 37);
        net.introduce(0, 1);
        net.run_for(SECOND);
        for last in [0, 2, 3, 0xe, 0xf] {
            net.send(0, 0, &bpdu(last));
        }
        net.send(0, 0, &bpdu(0x10));
        // PAUSE is for the other end of a real cable.
        net.send(0, 0, &bpdu(1));
        net.run_for(millis(5));
        assert_eq!(net.member(0).drops(DropReason::LinkLocal), 1);
        let (came, dropped) = if passes { (6, 0) } else { (1, 5) };
        assert_eq!(net.member(1).frames().len(), came);
        assert_eq!(net.member(1).drops(DropReason::LinkLocal), dropped);
    }
}

#[test]
fn a_hardware_difference_chooses_the_suite_that_both_have() {
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    recipes[1].suites = l2vpn::noise::aead::Suite::offered(false);
    let mut net = Network::of(recipes, 25);
    net.introduce(0, 1);
    net.run_for(millis(20));
    for n in 0..2 {
        let suite = net.member(n).node.peers()[0]
            .keyring
            .current()
            .unwrap()
            .suite;
        assert_eq!(suite, l2vpn::noise::aead::Suite::ChaCha20Poly1305);
    }
}

#[test]
fn a_quiet_receiver_keeps_the_sender_calm() {
    let mut net = connected(26);
    for _ in 0..100 {
        net.send(0, 0, &greeting(0, 1));
        net.run_for(SECOND);
    }
    let downs = net
        .member(0)
        .events
        .iter()
        .filter(|(_, e)| matches!(e, Event::Down(..)));
    assert_eq!(downs.count(), 0);
    let now = net.now;
    let age = net.member(0).node.peers()[0]
        .keyring
        .current()
        .unwrap()
        .age(now);
    assert!(
        age > Duration::from_secs(90),
        "no needless handshake: {age:?}"
    );
}

#[test]
fn a_hidden_host_that_moves_is_followed_by_its_first_frame() {
    let mut net = Network::new(3, 27);
    net.introduce_all();
    net.run_for(SECOND);
    let roamer = Mac([2, 0, 0, 0, 9, 9]);
    let says = |text: &[u8]| frame(Mac::BROADCAST, roamer, None, text);
    net.send(0, 0, &says(b"here"));
    net.run_for(millis(5));
    net.send(1, 0, &says(b"now here"));
    net.run_for(millis(5));
    net.member(1).delivered.clear();
    let to_roamer = frame(roamer, host(2), None, b"found you");
    net.send(2, 0, &to_roamer);
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames(), [to_roamer]);
    assert_eq!(net.member(2).plane.switch.table.moves_and_evictions().0, 1);
}

#[test]
fn an_echo_is_answered_by_the_far_daemon() {
    let mut net = connected(28);
    let now = net.now;
    net.member(0)
        .node
        .echo(PeerId(0), 7, b"are you there", now)
        .unwrap();
    net.collect(0);
    net.run_for(millis(5));
    let echo = Event::Echo(PeerId(0), 7, b"are you there".to_vec());
    assert!(net.member(0).events.iter().any(|(_, e)| *e == echo));
    assert!(net.member(1).frames().is_empty(), "hosts see nothing of it");
}

#[test]
fn a_used_up_session_is_replaced_before_it_is_refused() {
    use l2vpn::noise::schedule::{REJECT_AFTER_PACKETS, REKEY_AFTER_PACKETS};
    let mut net = connected(29);
    let send = |net: &mut Network| {
        let keyring = &net.member(0).node.peers()[0].keyring;
        keyring.current().expect("a session").send.clone()
    };
    send(&mut net).skip_to(REKEY_AFTER_PACKETS);
    net.send(0, 0, &greeting(0, 1));
    net.run_for(SECOND * 2);
    assert!(send(&mut net).packets() < 10, "a new session");
    assert_eq!(net.member(1).frames(), [greeting(0, 1)]);
    // Used up within one heartbeat: the frame waits for the new session.
    send(&mut net).skip_to(REJECT_AFTER_PACKETS);
    net.send(0, 0, &greeting(0, 1));
    net.run_for(SECOND);
    assert!(send(&mut net).packets() < 10);
    assert_eq!(net.member(1).frames().len(), 2);
}

#[test]
fn own_datagrams_are_not_wrapped_again() {
    let mut net = connected(30);
    let to = match address(1).ip() {
        std::net::IpAddr::V4(ip) => ip.octets(),
        other => panic!("{other}"),
    };
    let mut packet = vec![0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1];
    packet.extend_from_slice(&to);
    packet.extend_from_slice(&7656u16.to_be_bytes());
    packet.extend_from_slice(&7656u16.to_be_bytes());
    packet.extend_from_slice(&[0; 12]);
    let mut own = frame(host(1), host(0), None, &packet);
    own[12..14].copy_from_slice(&[8, 0]);
    net.send(0, 0, &own);
    net.run_for(millis(5));
    assert_eq!(net.member(0).drops(DropReason::OwnDatagram), 1);
    assert!(net.member(1).frames().is_empty());
    // The same from another port is somebody's business.
    own[14 + 20] ^= 1;
    net.send(0, 0, &own);
    net.run_for(millis(5));
    assert_eq!(net.member(1).frames(), [own]);
}

#[test]
fn a_key_of_low_order_makes_no_packet_and_no_busy_loop() {
    let mut net = Network::new(1, 31);
    let mut one = [0; 32];
    one[0] = 1;
    let now = net.now;
    let node = &mut net.member(0).node;
    let id = node.add_peer(l2vpn::mesh::peer::PeerSettings {
        kind: l2vpn::mesh::peer::Kind::Member,
        name: "nobody".into(),
        key: l2vpn::keys::PublicKey::from_bytes(one).into(),
        psks: l2vpn::keys::Psks::default(),
        keepalive: None,
        relay: Default::default(),
        pass: Default::default(),
        mtu: None,
        segments: None,
        vlans: None,
        roles: Services::NONE,
        claims: Default::default(),
        serves: false,
    });
    node.set_endpoints(id, vec![address(7)], now);
    net.run_for(SECOND * 200);
    let (now, node) = (net.now, &net.member(0).node);
    assert!(node.deadline() > now);
    assert!(net.recording.is_empty());
}

/// Whatever happens, the node asks to be called later, not now: a deadline in the past is a daemon at full load.
#[test]
fn the_deadline_moves_on_in_every_state() {
    let mut net = Network::new(2, 32);
    net.introduce_all();
    for step in 0..3000 {
        match step {
            500 => net.members[1] = None,
            1500 => net.rebuild(1),
            1600 => net.introduce(1, 0),
            2000 => {
                let now = net.now;
                net.member(1).node.close(now);
                net.collect(1);
            }
            _ => {}
        }
        if step % 7 == 0 && net.members[1].is_some() {
            net.send(0, 0, &greeting(0, 1));
        }
        net.run_for(millis(250));
        let now = net.now;
        for member in net.members.iter_mut().flatten() {
            member.node.handle_timeout(now);
            assert!(member.node.deadline() > now, "step {step}");
        }
        (0..2)
            .filter(|n| net.members[*n].is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|n| net.collect(n));
    }
}

#[test]
fn a_full_control_message_makes_few_answers() {
    let mut net = connected(40);
    let mut body = vec![l2vpn::wire::control::CONTROL_VERSION];
    for n in 0..60u8 {
        body.extend_from_slice(&[1, 8, 0, n, n, n, n, n, n, n, n]);
        body.extend_from_slice(&[3, 5, 0, n, n, n, n, n]);
    }
    let now = net.now;
    net.recording.clear();
    for _ in 0..300 {
        let member = net.member(0);
        let link = member.node.peers()[0].link.clone();
        let out = member.node.outgoing();
        let kind = l2vpn::wire::inner::TYPE_CONTROL;
        link.send_message(kind, &body, None, out, now).unwrap();
    }
    net.collect(0);
    net.run_for(millis(20));
    let answers = net
        .recording
        .iter()
        .filter(|p| p.from == address(1))
        .count();
    assert!(
        answers <= 210,
        "two for each of 100 messages a second: {answers}"
    );
}

#[test]
fn copies_at_a_rekey_do_not_take_the_path() {
    let mut net = connected(41);
    let attacker = "10.66.6.6:666".parse().unwrap();
    net.run_for(SECOND * 118);
    let mut delivered = 0;
    for i in 0..400u32 {
        net.recording.clear();
        net.weather.delay = millis(5);
        let before = net.recording.len();
        net.run_for(millis(20));
        net.send(0, 0, &frame(host(1), host(0), None, &i.to_be_bytes()));
        let copies: Vec<_> = net.recording[before..]
            .iter()
            .filter(|p| p.from == address(0))
            .map(|p| p.bytes.clone())
            .collect();
        copies.iter().for_each(|c| net.inject(1, attacker, c));
        net.member(0).delivered.clear();
        net.send(1, 0, &frame(host(0), host(1), None, &i.to_be_bytes()));
        net.run_for(millis(20));
        delivered += net.member(0).delivered.len();
    }
    assert!(delivered >= 396, "{delivered} of 400");
}

#[test]
fn a_copied_response_costs_nothing() {
    let mut net = Network::new(2, 42);
    net.introduce(0, 1);
    net.run_for(millis(1));
    let response = net
        .recording
        .iter()
        .find(|p| p.bytes[0] == 9)
        .unwrap()
        .bytes
        .clone();
    net.inject(0, "10.66.6.6:666".parse().unwrap(), &response);
    net.run_for(millis(200));
    assert!(net.all_up());
    assert_eq!(
        net.member(0).node.peers()[0]
            .path
            .endpoint()
            .unwrap()
            .remote,
        address(1)
    );
}

#[test]
fn fragments_of_two_lives_do_not_mix() {
    let mut net = connected(43);
    let big = |byte: u8| frame(host(1), host(0), None, &[byte; 1500]);
    net.blocked = vec![(0, 1)];
    net.recording.clear();
    net.send(0, 0, &big(0xaa));
    let first = net.recording[0].bytes.clone();
    net.inject(1, address(0), &first);
    net.blocked.clear();
    net.rebuild(0);
    net.introduce(0, 1);
    net.run_for(millis(50));
    net.blocked = vec![(0, 1)];
    net.recording.clear();
    net.send(0, 0, &big(0xbb));
    let second = net.recording[1].bytes.clone();
    net.inject(1, address(0), &second);
    assert!(
        net.member(1).frames().is_empty(),
        "a frame that nobody sent"
    );
}

#[test]
fn a_crossing_leaves_no_chatter_behind() {
    for seed in 0..6 {
        let mut net = Network::new(2, seed);
        net.introduce_all();
        net.run_for(SECOND * 10);
        net.recording.clear();
        net.run_for(SECOND * 3600);
        let packets = net.recording.len();
        assert!(packets < 3600 / 120 * 6, "seed {seed}: {packets}");
    }
}

#[test]
fn a_lost_note_is_told_again() {
    let mut net = Network::new(2, 44);
    net.introduce(0, 1);
    net.member(1).captured.lose_notes = 1;
    // The initiation itself is a note too: the second one is the first packet.
    net.run_for(millis(51));
    net.member(1).captured.lose_notes = 1;
    net.run_for(SECOND);
    assert!(net.all_up());
}

#[test]
fn the_end_of_a_long_outage_is_noticed_in_seconds() {
    let mut net = connected(45);
    net.blocked = vec![(0, 1), (1, 0)];
    for _ in 0..300 {
        net.send(0, 0, &greeting(0, 1));
        net.run_for(SECOND);
    }
    assert!(!net.is_up(0, 1) && !net.is_up(1, 0));
    net.blocked.clear();
    let end = net.now + SECOND * 11;
    assert!(net.run_until(end, Network::all_up));
}

#[test]
fn a_keepalive_notices_that_the_passive_side_restarted() {
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    recipes[0].keepalive = Some(SECOND * 10);
    let mut net = Network::of(recipes, 46);
    net.introduce(0, 1);
    net.run_for(SECOND);
    // The passive side has no address of the other one.
    net.rebuild(1);
    let end = net.now + SECOND * 35;
    assert!(net.run_until(end, Network::all_up));
}

/// Both begin at once, and one answer is lost: who has the other's answer counts as connected, and what it sends at once arrives.
#[test]
fn where_handshakes_cross_and_an_answer_is_lost_nothing_that_is_sent_is_lost() {
    for loser in [0, 1] {
        let mut net = Network::new(2, 300 + loser as u64);
        net.weather.delay = millis(20);
        net.introduce_all();
        net.run_for(millis(19));
        assert!(net.recording.iter().filter(|p| p.bytes[0] == 8).count() >= 2);
        net.blocked.push((loser, 1 - loser));
        net.run_for(millis(2));
        net.blocked.clear();
        let end = net.now + millis(25);
        assert!(net.run_until(end, |net| net.is_up(loser, 1 - loser)));
        assert!(!net.is_up(1 - loser, loser), "it has no answer");
        net.send(loser, 0, &greeting(loser, 1 - loser));
        net.run_for(millis(25));
        assert_eq!(net.member(1 - loser).frames(), [greeting(loser, 1 - loser)]);
        net.run_for(millis(500));
        assert!(net.all_up());
        net.send(1 - loser, 0, &greeting(1 - loser, loser));
        net.run_for(millis(25));
        assert_eq!(net.member(loser).frames(), [greeting(1 - loser, loser)]);
    }
}

#[test]
fn forged_cookies_do_not_hold_a_handshake_up() {
    let mut net = Network::new(2, 47);
    net.weather.delay = millis(40);
    net.introduce(0, 1);
    let key = net.recipes[1].public();
    let dialects = l2vpn::noise::dialect::Dialects::new(None);
    let (mut dice, now) = (Dice(1), net.now);
    let meant = l2vpn::noise::cookie::Meant {
        which: Which::Current,
        labels: l2vpn::noise::dialect::Labels::Listed,
    };
    let mut keeper =
        l2vpn::noise::cookie::CookieKeeper::new(&dialects, &key.into(), &mut dice, now);
    net.blocked = vec![(0, 1)];
    let mut answered = 0;
    let began = net.now;
    while !net.is_up(0, 1) && net.now.since(began) < SECOND * 20 {
        if net.now.since(began) > millis(1700) {
            net.blocked.clear();
        }
        net.run_for(millis(5));
        for packet in net.recording.split_off(answered.min(net.recording.len())) {
            net.recording.push(packet.clone());
            answered += 1;
            if let Ok(l2vpn::wire::datagram::Datagram::Initiation(m)) =
                l2vpn::wire::datagram::Datagram::parse(&packet.bytes)
            {
                let now = net.now;
                let reply = keeper.reply((m.sender, meant), &m.macs, packet.from, (&mut dice, now));
                net.inject(0, address(1), &reply.unwrap());
            }
        }
    }
    let took = net.now.since(began);
    assert!(took < SECOND * 8, "{took:?}");
    let initiations = net.recording.iter().filter(|p| p.bytes[0] == 8).count();
    assert!(initiations < 30, "{initiations}");
}

#[test]
fn a_goodbye_during_a_rekey_and_one_after_a_restart_do_what_they_should() {
    // During the round trip of a rekey: the responder says goodbye on the session before.
    let mut net = connected(48);
    net.weather.delay = millis(20);
    net.run_for(SECOND * 119);
    let session = |net: &mut Network| {
        net.member(0).node.peers()[0]
            .keyring
            .current()
            .unwrap()
            .index
    };
    let before = session(&mut net);
    while session(&mut net) == before {
        net.run_for(millis(1));
    }
    let now = net.now;
    net.member(1).node.close(now);
    net.collect(1);
    net.members[1] = None;
    net.run_for(millis(50));
    assert!(!net.is_up(0, 1), "the goodbye was not heard");
    // A goodbye that the next life's handshake has overtaken.
    let mut net = Network::new(2, 49);
    net.introduce_all();
    net.run_for(SECOND);
    let now = net.now;
    net.member(0).node.close(now);
    let goodbye = net.harvest(0)[0].1.clone();
    net.rebuild(0);
    net.introduce(0, 1);
    net.run_for(millis(1));
    net.inject(1, address(0), &goodbye);
    net.run_for(millis(50));
    assert!(net.all_up());
}
