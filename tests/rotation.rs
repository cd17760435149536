//! Keys that change while frames flow, peers that come and go, and whoever is no peer any more.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/simulator.rs"]
mod simulator;

use l2vpn::drops::DropReason;
use l2vpn::keys::{Names, OwnKeys, PrivateKey, Psk, Psks, PublicKey};
use l2vpn::node::{Event, Gone};
use l2vpn::place::PeerId;
use l2vpn::time::Duration;
use simulator::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
const SECOND: Duration = Duration::from_secs(1);

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes([n; 32])
}

fn connected(recipes: Vec<Recipe>, seed: u64) -> Network {
    let mut net = Network::of(recipes, seed);
    net.record = false;
    net.weather.delay = MS(5);
    net.introduce_all();
    net.run_for(SECOND * 3);
    net
}

fn two(seed: u64) -> Network {
    connected(vec![Recipe::new(0).untold(), Recipe::new(1).untold()], seed)
}

/// Frames each way, `per_second` of them, for so long.
fn frames_for(net: &mut Network, sent: &mut u32, per_second: u64, span: Duration) {
    let end = net.now + span;
    while net.now < end {
        let bytes = sent.to_be_bytes();
        net.send(0, 0, &frame(host(1), host(0), None, &bytes));
        net.send(1, 0, &frame(host(0), host(1), None, &bytes));
        *sent += 1;
        net.run_for(Duration::from_micros(1_000_000 / per_second));
    }
}

/// Between which keys the session of a member with its first peer is.
fn between(net: &Network, n: usize) -> (PublicKey, PublicKey) {
    let member = net.members[n].as_ref().unwrap();
    let session = member.node.peers()[0].keyring.current().expect("a session");
    (session.between.ours, session.between.theirs)
}

fn downs(net: &Network, n: usize) -> Vec<Gone> {
    let events = &net.members[n].as_ref().unwrap().events;
    let downs = events.iter().filter_map(|(_, event)| match event {
        Event::Down(_, why) => Some(*why),
        _ => None,
    });
    downs.collect()
}

fn psks(current: Option<u8>, former: Option<u8>) -> Psks {
    let psk = |n: u8| Psk::from_bytes([n; 32]);
    Psks {
        current: current.map(psk),
        former: former.map(psk),
    }
}

/// All steps of a change of a pre-shared key, at both ends, of a pair and of a network: two connect when they have a key in
/// common or neither has one, and otherwise the reason has a name.
#[test]
fn any_pre_shared_key_in_common_connects_and_none_is_named() {
    let states = [
        (None, None),
        (Some(1), None),
        (Some(2), Some(1)),
        (Some(2), None),
    ];
    for of_network in [false, true] {
        for ours in states {
            for theirs in states {
                let mut net = Network::new(2, 3);
                net.record = false;
                for (n, (current, former)) in [(0, ours), (1, theirs)] {
                    let keys = psks(current, former);
                    if of_network {
                        let own = PrivateKey::from_bytes(net.recipes[n].key);
                        net.set_keys(n, own.into(), keys);
                    } else {
                        let mut settings = net.settings_of(n, 1 - n);
                        settings.psks = keys;
                        net.change_peer(n, 1 - n, settings);
                    }
                }
                net.introduce(0, 1);
                net.run_for(SECOND * 5);
                let list = |(a, b): (Option<u8>, Option<u8>)| [a, b].into_iter().flatten();
                let common = list(ours).any(|n| list(theirs).any(|other| other == n));
                let fits = common || list(ours).chain(list(theirs)).next().is_none();
                let case = format!("network {of_network}: {ours:?} calls {theirs:?}");
                assert_eq!(net.is_up(0, 1) && net.is_up(1, 0), fits, "{case}");
                let named = net.member(1).drops(DropReason::PskMismatch) > 0;
                assert_eq!(named, !fits, "{case}");
            }
        }
    }
}

/// A member has a new key, then the other hears of it, then the old one is forgotten at both ends: with 10,000 frames a second each
/// way around each step and a rekey after it, none is lost and nobody is ever taken for gone.
#[test]
fn a_key_is_rotated_without_losing_a_frame() {
    for heard_first in [false, true] {
        let mut net = two(5);
        let old = PrivateKey::from_bytes(net.recipes[0].key);
        let new = key(77);
        let other = net.recipes[1].public();
        let mut sent = 0;
        frames_for(&mut net, &mut sent, 10_000, MS(50));
        let rotates = |net: &mut Network| {
            let keys = OwnKeys {
                current: new.clone(),
                former: Some(old.clone()),
            };
            net.set_keys(0, keys, Psks::default());
        };
        let hears = |net: &mut Network| {
            let mut settings = net.settings_of(1, 0);
            settings.key = Names {
                current: new.public(),
                former: Some(old.public()),
            };
            net.change_peer(1, 0, settings);
        };
        let step = |net: &mut Network, sent: &mut u32| {
            frames_for(net, sent, 10_000, MS(1500));
            // One session after the other until every key in use is one of now.
            frames_for(net, sent, 10, Duration::from_secs(260));
            frames_for(net, sent, 10_000, MS(50));
        };
        match heard_first {
            true => hears(&mut net),
            false => rotates(&mut net),
        }
        step(&mut net, &mut sent);
        // Who has not heard of the new key goes on with the old one.
        assert_eq!(between(&net, 0), (old.public(), other), "{heard_first}");
        match heard_first {
            true => rotates(&mut net),
            false => hears(&mut net),
        }
        step(&mut net, &mut sent);
        assert_eq!(between(&net, 0), (new.public(), other), "{heard_first}");
        assert_eq!(between(&net, 1), (other, new.public()), "{heard_first}");
        net.set_keys(0, new.clone().into(), Psks::default());
        step(&mut net, &mut sent);
        let mut settings = net.settings_of(1, 0);
        settings.key = new.public().into();
        net.change_peer(1, 0, settings);
        step(&mut net, &mut sent);
        net.run_for(SECOND);
        for n in 0..2 {
            let delivered = net.member(n).delivered.len();
            assert_eq!(delivered, sent as usize, "{heard_first}: lost at {n}");
            assert_eq!(downs(&net, n), [], "{heard_first}: {n}");
        }
    }
}

/// The same of a network's pre-shared key, of three members that change one after the other.
#[test]
fn a_networks_key_is_rotated_without_losing_a_frame() {
    let recipes = (0..3).map(|n| Recipe::new(n).untold()).collect();
    let mut net = connected(recipes, 8);
    let keys = |net: &Network, n: usize| OwnKeys::from(PrivateKey::from_bytes(net.recipes[n].key));
    let mut sent = 0;
    let steps = [
        psks(Some(1), None),
        psks(Some(1), Some(2)),
        psks(Some(2), Some(1)),
        psks(Some(2), None),
    ];
    for (step, state) in steps.iter().enumerate() {
        for n in 0..3 {
            let own = keys(&net, n);
            net.set_keys(n, own, state.clone());
            frames_for(&mut net, &mut sent, 10_000, MS(300));
        }
        let rest = if step == 0 { 1 } else { 260 };
        frames_for(&mut net, &mut sent, 10, Duration::from_secs(rest));
    }
    for n in 0..2 {
        assert_eq!(net.member(n).delivered.len(), sent as usize, "lost at {n}");
    }
    assert!(net.all_up());
    assert!((0..3).all(|n| downs(&net, n).is_empty()));
}

/// During the overlap a member that has not heard of anything restarts: it is there again in a second.
#[test]
fn who_knows_only_the_old_key_comes_back_at_once() {
    for caller in [0, 1] {
        let mut net = two(6);
        let keys = OwnKeys {
            current: key(77),
            former: Some(PrivateKey::from_bytes(net.recipes[0].key)),
        };
        net.set_keys(0, keys, Psks::default());
        net.rebuild(1);
        net.run_for(MS(20));
        net.introduce(caller, 1 - caller);
        let began = net.now;
        // The rotated one is silent until it notices; who calls is answered.
        net.introduce(1, 0);
        assert!(net.run_until(began + SECOND, |net| net.is_up(0, 1) && net.is_up(1, 0)));
    }
}

/// A new pre-shared key counts for the next handshake, which comes at once; the session in use lives on until then.
#[test]
fn another_pre_shared_key_counts_without_a_restart() {
    let mut net = two(9);
    for n in [0, 1] {
        let mut settings = net.settings_of(n, 1 - n);
        settings.psks = psks(Some(4), None);
        net.change_peer(n, 1 - n, settings);
        net.run_for(MS(300));
    }
    net.run_for(SECOND);
    let now = net.now;
    let session = net.member(0).node.peers()[0].keyring.current().unwrap();
    assert!(session.age(now) < MS(1500), "{:?}", session.age(now));
    assert!(downs(&net, 0).is_empty() && downs(&net, 1).is_empty());
    // One end alone: nothing new comes up, and the session ends with its age.
    let mut settings = net.settings_of(0, 1);
    settings.psks = psks(Some(5), None);
    net.change_peer(0, 1, settings);
    net.run_for(Duration::from_secs(100));
    assert!(net.all_up());
    net.run_for(Duration::from_secs(200));
    assert!(!net.is_up(0, 1) && !net.is_up(1, 0));
}

/// A key that is not a peer's any more: the session that was made with it ends at once, on both sides, and none comes after.
#[test]
fn a_key_that_was_withdrawn_delivers_nothing_more() {
    let mut net = two(10);
    let mut settings = net.settings_of(1, 0);
    settings.key = key(50).public().into();
    net.change_peer(1, 0, settings);
    net.run_for(MS(20));
    assert_eq!(downs(&net, 1), [Gone::Removed]);
    assert_eq!(downs(&net, 0), [Gone::Closed]);
    let before = net.member(1).delivered.len();
    for _ in 0..200 {
        net.send(0, 0, &frame(host(1), host(0), None, b"not yours"));
        net.run_for(MS(500));
    }
    assert_eq!(net.member(1).delivered.len(), before);
    assert!(!net.is_up(0, 1) && !net.is_up(1, 0));
    assert!(net.member(1).drops(DropReason::Stranger) > 0);
}

/// A peer is removed, another takes its number later, and the first comes back: each is only ever itself.
#[test]
fn peers_come_and_go_and_numbers_are_used_again() {
    let mut net = connected((0..3).map(|n| Recipe::new(n).untold()).collect(), 11);
    net.learn_hosts();
    let gone = PeerId(Network::peer_of(0, 2));
    let settings = net.settings_of(0, 2);
    let now = net.now;
    net.member(0).node.remove_peer(gone, now);
    net.collect(0);
    net.run_for(MS(20));
    assert_eq!(downs(&net, 0), [Gone::Removed]);
    assert_eq!(downs(&net, 2), [Gone::Closed]);
    assert!(net.member(0).node.peers()[gone.0 as usize].is_vacant());
    let before = net.member(0).delivered.len();
    for _ in 0..40 {
        net.send(2, 0, &frame(host(0), host(2), None, b"still me"));
        net.run_for(MS(500));
    }
    assert_eq!(net.member(0).delivered.len(), before, "a frame of nobody's");
    // Another has the number now; none of what was known of the first is known of it.
    let now = net.now;
    let mut other = net.settings_of(0, 2);
    other.key = key(60).public().into();
    let another = net.member(0).node.welcome(other, now);
    assert_eq!(another, gone);
    let peer = &net.member(0).node.peers()[gone.0 as usize];
    assert!(peer.keyring.is_empty() && !peer.is_reachable() && peer.up_since.is_none());
    // The first one is welcome again, by another number.
    let again = net.member(0).node.welcome(settings, now);
    assert_ne!(again, gone);
    net.run_for(SECOND * 12);
    let came = net.member(0).node.peers()[again.0 as usize].up_since;
    assert!(came.is_some(), "its own attempts bring it back");
    let indices = net.member(0).node.indices_in_use();
    assert!(indices <= 6, "{indices}");
}

/// A thousand come and go one after the other, eleven seconds apart: the tables do not grow.
#[test]
fn numbers_do_not_grow_with_those_who_were_here() {
    let mut net = two(12);
    for n in 0..1000u32 {
        let mut settings = net.settings_of(0, 1);
        let mut bytes = [9; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        settings.key = PrivateKey::from_bytes(bytes).public().into();
        let now = net.now;
        let id = net.member(0).node.welcome(settings, now);
        net.member(0)
            .node
            .set_endpoints(id, vec!["10.9.9.9:9".parse().unwrap()], now);
        net.collect(0);
        net.run_for(SECOND * 11);
        let now = net.now;
        net.member(0).node.remove_peer(id, now);
    }
    let node = &net.member(0).node;
    assert!(node.peers().len() <= 3, "{}", node.peers().len());
    assert!(node.indices_in_use() <= 6);
}

/// A relay and two members that reach each other by it alone: the relay hears of a new key, a member has it, and the old one goes.
/// The relayed frames go on.
#[test]
fn what_a_relay_carries_goes_on_while_it_hears_of_a_new_key() {
    let mut recipes = vec![
        Recipe::new(0).untold(),
        Recipe::new(1).untold(),
        Recipe::new(2),
    ];
    recipes[2].relays = true;
    recipes[2].ports.clear();
    let mut net = Network::of(recipes, 21);
    net.record = false;
    net.weather.delay = MS(5);
    net.blocked = vec![(0, 1), (1, 0)];
    net.introduce(0, 2);
    net.introduce(1, 2);
    net.run_for(SECOND * 10);
    assert!(net.is_up(0, 1), "by the relay");
    let old = PrivateKey::from_bytes(net.recipes[0].key);
    let new = key(78);
    let both = Names {
        current: new.public(),
        former: Some(old.public()),
    };
    let mut sent = 0;
    frames_for(&mut net, &mut sent, 100, SECOND);
    for n in [2, 1] {
        let mut settings = net.settings_of(n, 0);
        settings.key = both;
        net.change_peer(n, 0, settings);
        frames_for(&mut net, &mut sent, 100, SECOND * 10);
    }
    let keys = OwnKeys {
        current: new.clone(),
        former: Some(old),
    };
    net.set_keys(0, keys, Psks::default());
    frames_for(&mut net, &mut sent, 20, Duration::from_secs(250));
    net.run_for(SECOND);
    for n in 0..2 {
        assert_eq!(net.member(n).delivered.len(), sent as usize, "lost at {n}");
        assert_eq!(downs(&net, n), [], "{n}");
    }
    // The old key goes: the member is known to the relay by the new one at the latest after the next rekey.
    net.set_keys(0, new.clone().into(), Psks::default());
    frames_for(&mut net, &mut sent, 20, Duration::from_secs(250));
    for n in [2, 1] {
        let mut settings = net.settings_of(n, 0);
        settings.key = new.public().into();
        net.change_peer(n, 0, settings);
        frames_for(&mut net, &mut sent, 100, SECOND * 10);
    }
    net.run_for(SECOND);
    for n in 0..2 {
        let lost = sent as usize - net.member(n).delivered.len();
        assert!(lost <= 40, "{lost} lost at {n}");
    }
    assert!(net.is_up(0, 1) && net.is_up(1, 0));
}

/// The thief of the old key is connected when the member comes with the new one: what it holds of the session before ends with the key.
#[test]
fn the_session_before_ends_with_its_key() {
    let mut net = two(22);
    let old = PrivateKey::from_bytes(net.recipes[0].key);
    let stolen = old.public();
    let new = key(79);
    let mut settings = net.settings_of(1, 0);
    settings.key = Names {
        current: new.public(),
        former: Some(old.public()),
    };
    net.change_peer(1, 0, settings);
    let keys = OwnKeys {
        current: new.clone(),
        former: Some(old),
    };
    // One session in between, and no more: the one before it is the thief's.
    net.set_keys(0, keys, Psks::default());
    net.run_until(net.now + SECOND * 2, |net| {
        between(net, 1).1 == new.public()
    });
    assert_eq!(between(&net, 1).1, new.public());
    let made_with_old = |net: &Network| {
        let member = net.members[1].as_ref().unwrap();
        let names = member.node.peers()[0].keyring.names();
        names.filter(|key| *key == stolen).count()
    };
    assert!(made_with_old(&net) > 0, "the one before is there");
    let mut settings = net.settings_of(1, 0);
    settings.key = new.public().into();
    net.change_peer(1, 0, settings);
    assert_eq!(made_with_old(&net), 0);
    assert!(net.is_up(1, 0));
}
