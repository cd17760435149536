//! Networks with an authority: who shows a record of it is let in as far as the record goes, and for as long as it holds.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/simulator.rs"]
mod simulator;

use l2vpn::drops::DropReason;
use l2vpn::keys::{AuthorityKey, OwnKeys, PrivateKey, Psk, Psks, PublicKey, Signs};
use l2vpn::mesh::peer::{Kind, Pass};
use l2vpn::node::network::NetworkSettings;
use l2vpn::node::{Event, Gone};
use l2vpn::noise::announcement;
use l2vpn::place::PeerId;
use l2vpn::time::Duration;
use l2vpn::trust::Realm;
use l2vpn::trust::Signer;
use l2vpn::wire::asking::{Answer, Ask, Gift};
use l2vpn::wire::control::{self, Element, ListName, Part};
use l2vpn::wire::delegation::Delegation;
use l2vpn::wire::inner::TYPE_CONTROL;
use l2vpn::wire::kem::ParameterSet;
use l2vpn::wire::proof::Proof;
use l2vpn::wire::record::{MemberId, Record, Roles};
use l2vpn::wire::revocation::Revocations;
use l2vpn::wire::segment::SegmentId;
use l2vpn::wire::vlan::{Vid, VlanClass};
use l2vpn::wire::vlans::VlanSet;
use simulator::*;
use zeroize::Zeroizing;

const MS: fn(u64) -> Duration = Duration::from_millis;
const SECOND: Duration = Duration::from_secs(1);
const ID: [u8; 32] = [0x77; 32];
/// What the simulator's clocks show at its start.
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

fn authority(n: u8) -> AuthorityKey {
    AuthorityKey::from_seed(&Zeroizing::new([n; 32]))
}

fn segment(id: u32) -> SegmentId {
    SegmentId::new(id).unwrap()
}

fn record(key: PublicKey, member: u8) -> Record {
    Record {
        network: ID,
        member: MemberId([member; 16]),
        serial: 1,
        key: *key.as_bytes(),
        not_before: NOW - 600,
        not_after: NOW + 90 * DAY,
        roles: Roles::NONE,
        mac_limit: 0,
        name: format!("m{member}"),
        segments: vec![(segment(1), VlanSet::everything())],
        macs: Vec::new(),
        prefixes: Vec::new(),
        issuer: *authority(1).authority().as_bytes(),
    }
}

fn signed(record: &Record, by: &AuthorityKey) -> Vec<u8> {
    let mut bytes = record.signed().unwrap();
    let signature = by.sign(Signs::Record, &bytes);
    bytes.extend_from_slice(&signature);
    bytes
}

fn settings(own: Option<Vec<u8>>) -> NetworkSettings {
    NetworkSettings {
        realm: Realm {
            id: ID,
            authorities: vec![authority(1).authority()],
        },
        own,
        grace: Duration::ZERO,
    }
}

fn revocations(epoch: u64, change: impl FnOnce(&mut Revocations), by: &AuthorityKey) -> Vec<u8> {
    let mut list = Revocations {
        network: ID,
        epoch,
        issuer: *by.authority().as_bytes(),
        ..Revocations::default()
    };
    change(&mut list);
    let mut bytes = list.signed().unwrap();
    let signature = by.sign(Signs::Revocations, &bytes);
    bytes.extend_from_slice(&signature);
    bytes
}

fn enter(net: &mut Network, n: usize, settings: NetworkSettings) -> bool {
    let now = net.now;
    let is_in = net.member(n).node.set_network(settings, now);
    net.collect(n);
    is_in
}

/// Two members: 0 lists 1, which lists nobody and is in the network.
fn pair(seed: u64) -> Network {
    let mut net = Network::of(vec![Recipe::new(0).untold(), Recipe::new(1).untold()], seed);
    net.record = false;
    net.weather.delay = MS(5);
    let now = net.now;
    net.member(1).node.remove_peer(PeerId(0), now);
    let own = record(net.recipes[1].public(), 1);
    let own = signed(&own, &authority(1));
    assert!(enter(&mut net, 1, settings(Some(own))));
    net
}

/// Member 0 shows this record from now on.
fn show(net: &mut Network, bytes: Vec<u8>) -> bool {
    enter(net, 0, settings(Some(bytes)))
}

fn call(net: &mut Network) {
    net.introduce(0, 1);
    net.run_for(SECOND * 3);
}

/// The number that 1 has for 0, while it is connected.
fn seen(net: &Network) -> Option<PeerId> {
    let peers = net.members[1].as_ref().unwrap().node.peers().iter();
    let mut up = peers.filter(|p| p.up_since.is_some());
    up.next().map(|p| p.id)
}

fn voice(tags: &[u8]) -> Vec<u8> {
    let tag = tags.first().map(|vid| [0x81, 0, 0, *vid]);
    frame(host(1), host(0), tag, b"a voice")
}

#[test]
fn who_shows_a_record_is_let_in_without_being_listed() {
    let mut net = pair(1);
    call(&mut net);
    assert_eq!(seen(&net), None, "without a record");
    assert!(net.member(1).drops(DropReason::Stranger) > 0);
    let mut net = pair(1);
    let own = record(net.recipes[0].public(), 0);
    assert!(show(&mut net, signed(&own, &authority(1))));
    call(&mut net);
    let id = seen(&net).expect("connected");
    assert!(net.is_up(0, 1));
    let peer = &net.member(1).node.peers()[id.0 as usize];
    assert_eq!(peer.settings.name, "m0");
    // The first session has the smaller set beside the record, the next one the larger: the record is known by then.
    let kem = |net: &Network| {
        let member = net.members[0].as_ref().unwrap();
        member.node.peers()[0].keyring.current().unwrap().kem
    };
    assert_eq!(kem(&net), Some(ParameterSet::MlKem512));
    for n in 0..200u32 {
        net.send(0, 0, &frame(host(1), host(0), None, &n.to_be_bytes()));
        net.send(1, 0, &frame(host(0), host(1), None, &n.to_be_bytes()));
        net.run_for(SECOND);
    }
    assert_eq!(kem(&net), Some(ParameterSet::MlKem768));
    assert_eq!(net.member(1).delivered.len(), 200);
    assert_eq!(net.member(0).delivered.len(), 200);
    // It has forgotten everything: the record is shown again.
    net.rebuild(1);
    let now = net.now;
    net.member(1).node.remove_peer(PeerId(0), now);
    let own = signed(&record(net.recipes[1].public(), 1), &authority(1));
    enter(&mut net, 1, settings(Some(own)));
    net.run_for(SECOND * 40);
    assert!(seen(&net).is_some());
}

/// Wrong in one way each: none is let in, and why has a name.
#[test]
fn records_that_are_not_right_let_nobody_in() {
    type Make = fn(PublicKey) -> Vec<u8>;
    let cases: [(&str, Make, DropReason); 9] = [
        (
            "another authority",
            |key| {
                let mut r = record(key, 0);
                r.issuer = *authority(2).authority().as_bytes();
                signed(&r, &authority(2))
            },
            DropReason::RecordRefused,
        ),
        (
            "signed by another in its name",
            |key| signed(&record(key, 0), &authority(2)),
            DropReason::RecordRefused,
        ),
        (
            "signed as something else",
            |key| {
                let mut bytes = record(key, 0).signed().unwrap();
                let signature = authority(1).sign(Signs::Revocations, &bytes);
                bytes.extend_from_slice(&signature);
                bytes
            },
            DropReason::RecordRefused,
        ),
        (
            "over",
            |key| {
                let mut r = record(key, 0);
                (r.not_before, r.not_after) = (NOW - 90 * DAY, NOW - 1);
                signed(&r, &authority(1))
            },
            DropReason::RecordNotNow,
        ),
        (
            "of the future",
            |key| {
                let mut r = record(key, 0);
                r.not_before = NOW + 3600;
                signed(&r, &authority(1))
            },
            DropReason::RecordNotNow,
        ),
        (
            "a bit of the signature",
            |key| {
                let mut bytes = signed(&record(key, 0), &authority(1));
                *bytes.last_mut().unwrap() ^= 1;
                bytes
            },
            DropReason::RecordRefused,
        ),
        (
            "a bit of the serial",
            |key| {
                let mut bytes = signed(&record(key, 0), &authority(1));
                bytes[49] ^= 2;
                bytes
            },
            DropReason::RecordRefused,
        ),
        (
            "more roles",
            |key| {
                let mut bytes = signed(&record(key, 0), &authority(1));
                bytes[1 + 32 + 16 + 8 + 32 + 16] |= 8;
                bytes
            },
            DropReason::RecordRefused,
        ),
        (
            "something behind it",
            |key| {
                let mut bytes = signed(&record(key, 0), &authority(1));
                let end = bytes.len() - 64;
                bytes.insert(end, 0);
                bytes
            },
            DropReason::RecordRefused,
        ),
    ];
    for (what, make, reason) in cases {
        let mut net = pair(2);
        let key = net.recipes[0].public();
        if !show(&mut net, make(key)) {
            // A member does not even show what it cannot read itself.
            assert_eq!(what, "something behind it");
            continue;
        }
        call(&mut net);
        assert_eq!(seen(&net), None, "{what}");
        assert!(net.member(1).drops(reason) > 0, "{what}: {reason:?}");
        assert!(net.member(1).delivered.is_empty());
    }
    // A record is of use to the holder of its key alone.
    let mut net = pair(2);
    let other = PrivateKey::from_bytes([5; 32]).public();
    assert!(!show(&mut net, signed(&record(other, 0), &authority(1))));
}

/// A member says that it has ports in all segments and VLANs, and sends in them: what its record does not grant is not delivered.
#[test]
fn what_a_record_grants_is_what_those_who_receive_enforce() {
    let mut recipes = vec![Recipe::new(0).untold(), Recipe::new(1).untold()];
    for recipe in &mut recipes {
        let both = [1, 2].map(|id| (segment(id), l2vpn::switch::port::PortRule::TRANSPARENT));
        recipe.ports = both.to_vec();
    }
    let mut net = Network::of(recipes, 3);
    let now = net.now;
    net.member(1).node.remove_peer(PeerId(0), now);
    let own = signed(&record(net.recipes[1].public(), 1), &authority(1));
    enter(&mut net, 1, settings(Some(own)));
    let mut own = record(net.recipes[0].public(), 0);
    let ten = VlanSet::default().with(VlanClass::customer(Vid::new(10).unwrap()));
    own.segments = vec![(segment(1), ten)];
    assert!(show(&mut net, signed(&own, &authority(1))));
    call(&mut net);
    assert!(seen(&net).is_some());
    let sent = [(0, 10), (0, 20), (0, 0), (1, 10), (1, 0)];
    for (port, vid) in sent {
        let tags: &[u8] = if vid == 0 { &[] } else { &[vid] };
        net.send(0, port, &voice(tags));
    }
    net.run_for(SECOND);
    let delivered = &net.member(1).delivered;
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0].2, voice(&[10]));
    // And nothing of other VLANs is sent to it.
    for (port, vid) in sent {
        let tags: &[u8] = if vid == 0 { &[] } else { &[vid] };
        net.send(1, port, &voice(tags));
    }
    net.run_for(SECOND);
    assert_eq!(net.member(0).delivered.len(), 1);
}

/// While frames flow: the time is over, the member is revoked, its authority is. The last frame comes within 1.1 s, however the member
/// goes on; it does not come back.
#[test]
fn who_is_revoked_or_over_delivers_nothing_after_a_second() {
    type Change = fn(&mut Network);
    let revoke: Change = |net| {
        let list = revocations(1, |l| l.revoke(MemberId([0; 16]), 1), &authority(1));
        let now = net.now;
        net.member(1).node.revoke(&list, now).unwrap();
        net.collect(1);
    };
    let retire: Change = |net| {
        let mut both = settings(Some(signed(
            &record(net.recipes[1].public(), 1),
            &authority(1),
        )));
        both.realm.authorities.push(authority(2).authority());
        let list = revocations(
            1,
            |l| l.retire(*authority(1).authority().as_bytes()),
            &authority(2),
        );
        let now = net.now;
        enter(net, 1, both);
        net.member(1).node.revoke(&list, now).unwrap();
        net.collect(1);
    };
    let forget: Change = |net| {
        let mut none = settings(None);
        none.realm.authorities.clear();
        enter(net, 1, none);
    };
    for (what, change, limit) in [
        ("over", (|_| {}) as Change, 3100),
        ("revoked", revoke, 100),
        ("its authority retired", retire, 100),
        ("its authority forgotten", forget, 1100),
    ] {
        let mut net = pair(4);
        let mut own = record(net.recipes[0].public(), 0);
        own.not_after = NOW + if what == "over" { 5 } else { DAY };
        assert!(show(&mut net, signed(&own, &authority(1))));
        call(&mut net);
        assert!(seen(&net).is_some(), "{what}");
        net.send(0, 0, &voice(&[]));
        net.run_for(MS(20));
        assert_eq!(net.member(1).delivered.len(), 1);
        change(&mut net);
        let began = net.now;
        while net.now.since(began) < SECOND * 130 {
            net.send(0, 0, &voice(&[]));
            net.run_for(MS(100));
        }
        let last = net.member(1).delivered.last().unwrap().0;
        assert!(
            last.since(began) < MS(limit),
            "{what}: {:?}",
            last.since(began)
        );
        assert_eq!(seen(&net), None, "{what}");
        let told = net.member(1).events.iter();
        let lapsed = told.filter(|(_, e)| matches!(e, Event::Lapsed(..))).count();
        assert_eq!(lapsed, 1, "{what}");
        let downs = net.member(1).events.iter();
        let why = downs.filter_map(|(_, e)| match e {
            Event::Down(_, why) => Some(*why),
            _ => None,
        });
        assert_eq!(why.collect::<Vec<_>>(), [Gone::Removed], "{what}");
    }
}

/// Lists of revocations grow: an older or equal one is refused, as is one of another network or of nobody's.
#[test]
fn revocations_only_ever_grow() {
    let mut net = pair(5);
    let now = net.now;
    let node = &mut net.member(1).node;
    let a = authority(1);
    let nothing = |_: &mut Revocations| {};
    assert_eq!(node.revoke(&revocations(2, nothing, &a), now), Ok(()));
    for (what, list) in [
        ("older", revocations(1, nothing, &a)),
        ("the same", revocations(2, nothing, &a)),
        ("nobody's", revocations(3, nothing, &authority(9))),
        (
            "another network's",
            revocations(3, |l| l.network = [1; 32], &a),
        ),
        ("cut off", revocations(3, nothing, &a)[..80].to_vec()),
    ] {
        assert_eq!(
            node.revoke(&list, now),
            Err(DropReason::RecordRefused),
            "{what}"
        );
        assert_eq!(node.revocation_epoch(), 2);
    }
    assert_eq!(node.revoke(&revocations(3, nothing, &a), now), Ok(()));
}

/// A newer record takes the place of an older one, with another key and with other rights; an older one never comes back.
#[test]
fn a_newer_record_takes_the_place_of_an_older_one() {
    let mut net = pair(6);
    let old_key = PrivateKey::from_bytes(net.recipes[0].key);
    let first = signed(&record(old_key.public(), 0), &authority(1));
    assert!(show(&mut net, first.clone()));
    call(&mut net);
    let id = seen(&net).unwrap();
    let new_key = PrivateKey::from_bytes([0x31; 32]);
    let mut second = record(new_key.public(), 0);
    second.serial = 2;
    let keys = l2vpn::keys::OwnKeys {
        current: new_key.clone(),
        former: Some(old_key.clone()),
    };
    let mut sent = 0usize;
    let mut talk = |net: &mut Network, span: Duration| {
        let end = net.now + span;
        while net.now < end {
            net.send(0, 0, &voice(&[]));
            sent += 1;
            net.run_for(MS(10));
        }
    };
    talk(&mut net, SECOND);
    net.set_keys(0, keys, Default::default());
    assert!(show(&mut net, signed(&second, &authority(1))));
    talk(&mut net, SECOND * 130);
    net.run_for(SECOND);
    assert_eq!(net.member(1).delivered.len(), sent, "no frame is lost");
    let peer = &net.member(1).node.peers()[id.0 as usize];
    assert_eq!(peer.settings.key.current, new_key.public());
    assert!(matches!(peer.settings.pass, Pass::Record(r) if r.term.serial == 2));
    assert_eq!(peer.known_as(), new_key.public());
    // The thief of the old key and record.
    net.set_keys(0, old_key.into(), Default::default());
    assert!(show(&mut net, first));
    net.run_for(SECOND * 400);
    let peer = &net.member(1).node.peers()[id.0 as usize];
    assert!(matches!(peer.settings.pass, Pass::Record(r) if r.term.serial == 2));
}

/// A member that boots in 1970 takes the records of today, and is let in: its own record says what time it is at least.
#[test]
fn a_dead_clock_keeps_nobody_out() {
    let mut recipes = vec![Recipe::new(0).untold(), Recipe::new(1).untold()];
    recipes[0].wall = 5;
    recipes[1].wall = 5;
    let mut net = Network::of(recipes, 7);
    let now = net.now;
    net.member(1).node.remove_peer(PeerId(0), now);
    let own = signed(&record(net.recipes[1].public(), 1), &authority(1));
    enter(&mut net, 1, settings(Some(own)));
    let own = signed(&record(net.recipes[0].public(), 0), &authority(1));
    assert!(show(&mut net, own));
    let began = net.now;
    net.introduce(0, 1);
    assert!(net.run_until(began + SECOND * 2, |net| seen(net).is_some()
        && net.is_up(0, 1)));
}

/// Twenty members, all connected; the authority's list is given to one of them while the one that it revokes sends to all. How long it
/// takes until the last frame of that one is delivered anywhere: a round trip from member to member, and no more.
#[test]
fn a_revocation_is_everywhere_in_a_moment() {
    for size in [1usize, 4000] {
        let mut recipes: Vec<Recipe> = (0..20).map(|n| Recipe::new(n).untold()).collect();
        recipes[0].post_quantum = l2vpn::wire::kem::PostQuantum::Off;
        let mut net = Network::of(recipes, 31);
        net.record = false;
        net.weather.delay = MS(20);
        // Nobody lists the first one: it is let in by its record.
        for n in 1..20 {
            let now = net.now;
            net.member(n).node.remove_peer(PeerId(0), now);
        }
        for n in 0..20u8 {
            let own = signed(
                &record(net.recipes[usize::from(n)].public(), n),
                &authority(1),
            );
            assert!(enter(&mut net, usize::from(n), settings(Some(own))));
        }
        for n in 0..20 {
            for other in (1..20).filter(|o| *o != n) {
                net.introduce(n, other);
            }
        }
        net.run_for(SECOND * 6);
        let up = |net: &Network, n: usize| {
            let peers = net.members[n].as_ref().unwrap().node.peers().iter();
            peers.filter(|p| p.up_since.is_some()).count()
        };
        assert!((0..20).all(|n| up(&net, n) == 19), "all are connected");
        let count = |net: &Network| {
            let members = (1..20).map(|n| net.members[n].as_ref().unwrap());
            members.map(|m| m.delivered.len()).sum::<usize>()
        };
        net.send(
            0,
            0,
            &frame(
                l2vpn::wire::ethernet::Mac::BROADCAST,
                host(0),
                None,
                b"to all",
            ),
        );
        net.run_for(MS(100));
        assert_eq!(count(&net), 19);
        let many = |l: &mut Revocations| {
            for n in 1..size {
                let mut id = [0xee; 16];
                id[..8].copy_from_slice(&(n as u64).to_be_bytes());
                l.revoke(MemberId(id), 1);
            }
            l.revoke(MemberId([0; 16]), u64::MAX);
        };
        let list = revocations(1, many, &authority(1));
        let now = net.now;
        net.member(7).node.revoke(&list, now).unwrap();
        net.collect(7);
        let began = net.now;
        while net.now.since(began) < SECOND * 10 {
            net.send(
                0,
                0,
                &frame(
                    l2vpn::wire::ethernet::Mac::BROADCAST,
                    host(0),
                    None,
                    b"to all",
                ),
            );
            net.run_for(MS(10));
        }
        let members = (1..20).map(|n| net.members[n].as_ref().unwrap());
        let last = members
            .filter_map(|m| m.delivered.last())
            .map(|(at, ..)| *at)
            .max();
        let last = last.unwrap().since(began);
        println!(
            "{} bytes of revocations: the last frame after {} ms",
            list.len(),
            last.as_millis()
        );
        assert!(
            last < if size == 1 { MS(150) } else { SECOND * 5 },
            "{last:?}"
        );
        assert!((1..20).all(|n| net.members[n].as_ref().unwrap().node.revocation_epoch() == 1));
        // Who comes later hears of it with its session.
        net.rebuild(3);
        let own = signed(&record(net.recipes[3].public(), 3), &authority(1));
        assert!(enter(&mut net, 3, settings(Some(own))));
        let now = net.now;
        net.member(3).node.remove_peer(PeerId(0), now);
        net.introduce(3, 9);
        net.run_for(SECOND * 6);
        assert_eq!(net.member(3).node.revocation_epoch(), 1);
    }
}

/// Eight members, of whom each knows one and where it is: all find each other. One that comes later is known to all in a moment, one that is
/// revoked is introduced to nobody.
#[test]
fn one_that_is_known_is_enough_to_find_all() {
    let mut net = Network::of((0..9).map(|n| Recipe::new(n).untold()).collect(), 41);
    net.record = false;
    net.weather.delay = MS(20);
    for n in 0..9u8 {
        let me = usize::from(n);
        let own = signed(&record(net.recipes[me].public(), n), &authority(1));
        assert!(enter(&mut net, me, settings(Some(own))));
        for other in (0..9).filter(|o| *o != me && (*o != 0 || me == 0)) {
            let (now, id) = (net.now, PeerId(Network::peer_of(me, other)));
            net.member(me).node.remove_peer(id, now);
        }
    }
    let up = |net: &Network, n: usize| {
        let peers = net.members[n].as_ref().unwrap().node.peers().iter();
        peers.filter(|p| p.up_since.is_some()).count()
    };
    (1..8).for_each(|n| net.introduce(n, 0));
    let began = net.now;
    assert!(net.run_until(began + SECOND * 4, |net| (0..8).all(|n| up(net, n) == 7)));
    println!(
        "eight members are all connected after {} ms",
        net.now.since(began).as_millis()
    );
    let began = net.now;
    net.introduce(8, 0);
    assert!(net.run_until(began + SECOND * 2, |net| (0..9).all(|n| up(net, n) == 8)));
    println!(
        "a ninth is connected to all after {} ms",
        net.now.since(began).as_millis()
    );
    // A frame from each to all, and it is not passed on.
    for n in 0..9 {
        net.send(
            n,
            0,
            &frame(
                l2vpn::wire::ethernet::Mac::BROADCAST,
                host(n),
                None,
                b"to all",
            ),
        );
    }
    net.run_for(SECOND);
    assert!((0..9).all(|n| net.members[n].as_ref().unwrap().delivered.len() == 8));
    // One is revoked, and knocks at everybody whom it knows.
    let list = revocations(1, |l| l.revoke(MemberId([4; 16]), u64::MAX), &authority(1));
    let now = net.now;
    net.member(0).node.revoke(&list, now).unwrap();
    net.collect(0);
    net.run_for(SECOND * 200);
    assert_eq!(up(&net, 4), 0);
    for n in (0..9).filter(|n| *n != 4) {
        assert_eq!(up(&net, n), 7, "{n}");
        let peers = net.members[n].as_ref().unwrap().node.peers().len();
        assert!(peers <= 17, "{peers} numbers at {n}");
    }
}

/// What another key may sign, for the authority.
fn delegation(delegate: &AuthorityKey) -> (Delegation, [u8; 64]) {
    let delegation = Delegation {
        network: ID,
        delegate: *delegate.authority().as_bytes(),
        not_before: NOW - DAY,
        not_after: NOW + 365 * DAY,
        days: 90,
        roles: Roles::NONE,
        segments: vec![(segment(1), VlanSet::everything())],
        issuer: *authority(1).authority().as_bytes(),
    };
    let signature = authority(1).sign(Signs::Delegation, &delegation.signed().unwrap());
    (delegation, signature)
}

/// A record that a delegate has signed is as good as one of the authority's, as far as the delegate may go, and as long as it may.
#[test]
fn a_delegate_signs_what_it_may_and_as_long_as_it_may() {
    let delegate = authority(7);
    let by = |change: fn(&mut Record), key| {
        let mut r = record(key, 0);
        r.issuer = *delegate.authority().as_bytes();
        change(&mut r);
        let signature = delegate.sign(Signs::Record, &r.signed().unwrap());
        let proof = Proof {
            record: r,
            signature,
            delegation: Some(delegation(&delegate)),
        };
        proof.to_bytes().unwrap()
    };
    type Change = fn(&mut Record);
    let cases: [(&str, Change); 3] = [
        ("a role", |r| r.roles = Roles::RELAY),
        ("too long", |r| r.not_after += 400 * DAY),
        ("another segment", |r| {
            r.segments = vec![(segment(2), VlanSet::everything())];
        }),
    ];
    for (what, change) in cases {
        let mut net = pair(51);
        let key = net.recipes[0].public();
        assert!(show(&mut net, by(change, key)));
        call(&mut net);
        assert_eq!(seen(&net), None, "{what}");
        assert!(net.member(1).drops(DropReason::RecordRefused) > 0, "{what}");
    }
    let mut net = pair(51);
    let key = net.recipes[0].public();
    assert!(show(&mut net, by(|_| {}, key)));
    call(&mut net);
    assert!(seen(&net).is_some());
    let list = revocations(
        1,
        |l| l.retire(*delegate.authority().as_bytes()),
        &authority(1),
    );
    let now = net.now;
    net.member(1).node.revoke(&list, now).unwrap();
    net.collect(1);
    net.run_for(SECOND * 130);
    assert_eq!(seen(&net), None, "the delegate signs no more");
}

/// Says something to a peer that no honest member says.
fn say(net: &mut Network, (from, to): (usize, usize), element: Element<'_>) {
    let key = net.recipes[to].public();
    let now = net.now;
    let member = net.member(from);
    let id = member.node.find(&key).unwrap();
    let link = member.node.peers()[id.0 as usize].link.clone();
    let body = control::write(element);
    link.send_message(TYPE_CONTROL, &body, None, member.node.outgoing(), now)
        .unwrap();
    net.collect(from);
}

/// One announces a list that is greater than all others, and brings nothing, or rubbish, or a byte at a time.
#[test]
fn a_liar_keeps_nobody_from_genuine_revocations() {
    let issuer = *authority(1).authority().as_bytes();
    for lie in ["nothing", "rubbish", "crumbs"] {
        let mut net = Network::of((0..3).map(|n| Recipe::new(n).untold()).collect(), 61);
        net.record = false;
        net.weather.delay = MS(10);
        for n in 0..3u8 {
            let own = signed(
                &record(net.recipes[usize::from(n)].public(), n),
                &authority(1),
            );
            assert!(enter(&mut net, usize::from(n), settings(Some(own))));
        }
        for (a, b) in [(0, 1), (1, 2)] {
            net.introduce(a, b);
        }
        net.run_for(SECOND * 3);
        let name = ListName {
            issuer,
            epoch: u64::MAX,
        };
        say(&mut net, (0, 1), Element::Epoch(name));
        for n in 0..20u32 {
            let bytes: &[u8] = if lie == "rubbish" { &[7; 500] } else { &[7] };
            let part = Part {
                list: name,
                total: 500,
                offset: n,
                bytes,
            };
            if lie != "nothing" && (n == 0 || lie == "crumbs") {
                say(&mut net, (0, 1), Element::Part(part));
            }
            net.run_for(MS(50));
        }
        let list = revocations(1, |l| l.revoke(MemberId([9; 16]), 1), &authority(1));
        let now = net.now;
        net.member(2).node.revoke(&list, now).unwrap();
        net.collect(2);
        net.run_for(SECOND);
        assert_eq!(net.member(1).node.revocation_epoch(), 1, "{lie}");
        net.run_for(SECOND * 10);
        assert_eq!(net.member(0).node.revocation_epoch(), 1, "and the liar's");
    }
}

/// A key was stolen and the member has another: the old one is let in while its record counts, and not a second longer.
#[test]
fn the_key_of_an_earlier_record_counts_no_longer_than_that() {
    let mut net = pair(71);
    let old_key = PrivateKey::from_bytes(net.recipes[0].key);
    assert!(show(
        &mut net,
        signed(&record(old_key.public(), 0), &authority(1))
    ));
    call(&mut net);
    let new_key = PrivateKey::from_bytes([0x31; 32]);
    let mut second = record(new_key.public(), 0);
    second.serial = 2;
    net.set_keys(0, new_key.into(), Default::default());
    assert!(show(&mut net, signed(&second, &authority(1))));
    net.run_for(SECOND * 5);
    // The thief has the key, and shows nothing: it is known by that.
    net.set_keys(0, old_key.into(), Default::default());
    let now = net.now;
    net.member(0).node.leave_network(now);
    net.run_for(SECOND * 200);
    let id = seen(&net).expect("for a while");
    let list = revocations(1, |l| l.revoke(MemberId([0; 16]), 1), &authority(1));
    let now = net.now;
    net.member(1).node.revoke(&list, now).unwrap();
    net.collect(1);
    net.run_for(MS(100));
    assert_eq!(seen(&net), None);
    net.run_for(SECOND * 400);
    assert_eq!(seen(&net), None);
    let peer = &net.member(1).node.peers()[id.0 as usize];
    assert_eq!(peer.settings.key.former, None);
    assert!(matches!(peer.settings.pass, Pass::Record(r) if r.term.serial == 2));
}

/// Two thirds of a record's time are over: the member asks an admin, and the others know the new one at once; nothing is lost by it.
#[test]
fn records_are_renewed_by_admins_before_their_time_is_over() {
    let mut net = pair(81);
    let delegate = authority(7);
    let signer = Signer::delegate(delegate.clone(), delegation(&delegate)).unwrap();
    let now = net.now;
    let mut admin = record(net.recipes[1].public(), 1);
    admin.roles = Roles::ADMIN;
    let admin = signed(&admin, &authority(1));
    assert!(enter(&mut net, 1, settings(Some(admin))));
    net.member(1).node.set_invites([]);
    let mut own = record(net.recipes[0].public(), 0);
    (own.not_before, own.not_after) = (NOW - 600, NOW + 600);
    assert!(show(&mut net, signed(&own, &authority(1))));
    call(&mut net);
    let id = seen(&net).unwrap();
    let (mut sent, mut renewed_at) = (0, None);
    while net.now.since(now) < SECOND * 900 {
        net.send(0, 0, &voice(&[]));
        sent += 1;
        net.run_for(SECOND);
        let asked = net
            .member(1)
            .events
            .iter()
            .any(|(_, e)| matches!(e, Event::Asked(_, Ask::Renew(key)) if *key == own.key));
        if asked && renewed_at.is_none() {
            renewed_at = Some(net.now.since(now).as_secs());
            let mut next = own.clone();
            next.serial = 2;
            next.not_after = NOW + 90 * DAY - 600;
            let proof = signer.issue(next).unwrap();
            let now = net.now;
            let answer = Answer::Given(Gift::Record, &proof);
            net.member(1).node.answer_ask(id, answer, now);
            net.collect(1);
        }
    }
    assert!((195..=240).contains(&renewed_at.unwrap()), "{renewed_at:?}");
    assert_eq!(net.member(1).delivered.len(), sent);
    let until = net.member(0).node.own_record_until();
    assert_eq!(until, Some((2, NOW + 90 * DAY - 600)));
    let peer = &net.member(1).node.peers()[id.0 as usize];
    assert!(matches!(peer.settings.pass, Pass::Record(r) if r.term.serial == 2));
    let asks = net.member(1).events.iter();
    let asks = asks.filter(|(_, e)| matches!(e, Event::Asked(..))).count();
    assert!(asks <= 2, "{asks}");
}

/// A member says that its hosts have other MACs and addresses than its record names, by frames of its own making; and another says that
/// it has the MAC that the record names.
#[test]
fn hosts_are_called_what_the_record_says_and_nothing_else() {
    let mut net = Network::of((0..3).map(|n| Recipe::new(n).untold()).collect(), 91);
    net.record = false;
    net.weather.delay = MS(5);
    for n in 0..3u8 {
        let me = usize::from(n);
        let mut own = record(net.recipes[me].public(), n);
        if n == 0 {
            own.macs = vec![host(0)];
            own.prefixes = vec![("10.0.0.0".parse().unwrap(), 24)];
        }
        let own = signed(&own, &authority(1));
        assert!(enter(&mut net, me, settings(Some(own))));
        for other in (0..3).filter(|o| *o != me && (*o != 1 || me == 1)) {
            let (now, id) = (net.now, PeerId(Network::peer_of(me, other)));
            net.member(me).node.remove_peer(id, now);
        }
    }
    for n in [0, 2] {
        net.introduce(n, 1);
    }
    net.run_for(SECOND * 3);
    let delivered = |net: &Network, n: usize| net.members[n].as_ref().unwrap().delivered.len();
    let arp = |from, sender: [u8; 4]| {
        let head = [0, 1, 8, 0, 6, 4, 0, 2];
        let from: l2vpn::wire::ethernet::Mac = from;
        let packet = [
            &head[..],
            &from.0,
            &sender,
            &[0; 6],
            &[10, 0, 0, 9],
            &[0; 18],
        ]
        .concat();
        let mut bytes = [&host(1).0[..], &from.0, &[0x08, 0x06]].concat();
        bytes.extend_from_slice(&packet);
        bytes
    };
    let mut expected = 0;
    for (bytes, comes) in [
        (frame(host(1), host(0), None, b"its own"), true),
        (frame(host(1), host(7), None, b"another's"), false),
        (arp(host(0), [10, 0, 0, 1]), true),
        (arp(host(0), [10, 0, 1, 1]), false),
    ] {
        net.send(0, 0, &bytes);
        net.run_for(MS(100));
        expected += usize::from(comes);
        assert_eq!(delivered(&net, 1), expected, "{bytes:02x?}");
    }
    assert!(net.member(1).drops(DropReason::SourceNotGranted) > 0);
    assert!(net.member(1).drops(DropReason::AddressNotGranted) > 0);
    // The MAC of the record is nobody else's, and its owner goes on undisturbed.
    net.send(2, 0, &frame(host(1), host(0), None, b"stolen"));
    net.run_for(MS(100));
    assert_eq!(delivered(&net, 1), expected);
    net.send(1, 0, &frame(host(0), host(1), None, b"an answer"));
    net.run_for(MS(100));
    assert_eq!(delivered(&net, 0), 1);
    // What no record limits is as free as before.
    net.send(2, 0, &arp(host(2), [10, 9, 9, 9]));
    net.run_for(MS(100));
    assert_eq!(delivered(&net, 1), expected + 1);
}

/// A record says that three MACs are behind a member: of a hundred the last three are remembered, and another's are left alone.
#[test]
fn as_many_macs_are_remembered_as_the_record_says() {
    let mut net = pair(95);
    let mut own = record(net.recipes[0].public(), 0);
    own.mac_limit = 3;
    assert!(show(&mut net, signed(&own, &authority(1))));
    call(&mut net);
    let id = seen(&net).unwrap();
    for n in 10..110 {
        net.send(0, 0, &frame(host(1), host(n), None, b"one of many"));
        net.run_for(MS(10));
    }
    let place = l2vpn::place::Place::Peer(id);
    let table = &net.member(1).plane.switch.table;
    assert_eq!(table.count(place), 3);
}

/// A member lists another by its key and lets it in by its record alone: what that grants counts, and a revocation ends it. The other, which
/// is called and shows no record in its answer, shows it inside the session.
#[test]
fn one_that_is_listed_and_let_in_by_its_record_is_let_go_with_it() {
    let mut net = pair(101);
    let own = signed(&record(net.recipes[0].public(), 0), &authority(1));
    let key = net.recipes[1].public();
    let id = net.member(0).node.find(&key).unwrap();
    let now = net.now;
    let mut awaited = net.member(0).node.peers()[id.0 as usize].settings.clone();
    awaited.pass = Pass::Awaited;
    awaited.segments = Some(Vec::new());
    awaited.name = "known here".into();
    awaited.keepalive = Some(SECOND * 25);
    net.member(0).node.change_peer(id, awaited, now);
    // Before it has shown anything it has a part in nothing.
    assert!(show(&mut net, own));
    call(&mut net);
    let pass = |net: &Network| {
        net.members[0].as_ref().unwrap().node.peers()[id.0 as usize]
            .settings
            .pass
    };
    assert!(matches!(pass(&net), Pass::Record(r) if r.member == MemberId([1; 16])));
    net.send(1, 0, &frame(host(0), host(1), None, b"by its record"));
    net.run_for(MS(100));
    assert_eq!(net.member(0).delivered.len(), 1);
    // A longer record changes nothing of what the configuration says.
    let mut longer = record(key, 1);
    longer.serial = 2;
    assert!(enter(
        &mut net,
        1,
        settings(Some(signed(&longer, &authority(1))))
    ));
    net.run_for(SECOND);
    assert!(matches!(pass(&net), Pass::Record(r) if r.term.serial == 2));
    let settings = &net.member(0).node.peers()[id.0 as usize].settings;
    assert_eq!(settings.name, "known here");
    assert_eq!(settings.keepalive, Some(SECOND * 25));
    let list = revocations(1, |l| l.revoke(MemberId([1; 16]), u64::MAX), &authority(1));
    let now = net.now;
    net.member(0).node.revoke(&list, now).unwrap();
    net.collect(0);
    let rights = &net.member(0).node.peers()[id.0 as usize].settings.segments;
    assert_eq!(rights.as_deref(), Some(&[][..]));
    for _ in 0..400 {
        net.send(1, 0, &frame(host(0), host(1), None, b"revoked"));
        net.run_for(MS(500));
    }
    assert_eq!(net.member(0).delivered.len(), 1);
    assert_eq!(pass(&net), Pass::Awaited);
    let places = &net.member(0).node.peers()[id.0 as usize].places;
    assert!(!places.known.is_empty(), "where it is stays known");
}

/// What becomes of a record that is over is for those to say who let its member in; what was taken back counts at once whatever they say.
#[test]
fn a_record_that_is_over_counts_for_the_grace_and_no_longer() {
    let cases = [
        (Duration::ZERO, 1, false),
        (SECOND * 3600, 1, true),
        (SECOND * 3600, 3601, false),
        (SECOND * u32::MAX, 3601, true),
    ];
    for (grace, over, comes) in cases {
        let mut net = pair(111);
        let own = signed(&record(net.recipes[1].public(), 1), &authority(1));
        let policy = NetworkSettings {
            grace,
            ..settings(Some(own))
        };
        assert!(enter(&mut net, 1, policy));
        let mut own = record(net.recipes[0].public(), 0);
        (own.not_before, own.not_after) = (NOW - 90 * DAY, NOW - over);
        assert!(show(&mut net, signed(&own, &authority(1))));
        call(&mut net);
        assert_eq!(seen(&net).is_some(), comes, "{grace:?} {over}");
        let list = revocations(1, |l| l.revoke(MemberId([0; 16]), 1), &authority(1));
        let now = net.now;
        net.member(1).node.revoke(&list, now).unwrap();
        net.collect(1);
        net.run_for(SECOND * 5);
        assert_eq!(seen(&net), None);
    }
}

/// Members of a network that have heard of nobody, on one LAN with others.
fn strangers_on_a_lan(count: u8, seed: u64) -> Network {
    let mut net = Network::of((0..count).map(|n| Recipe::new(n).untold()).collect(), seed);
    net.is_lan = true;
    net.record = false;
    net.weather.delay = MS(1);
    for n in 0..count {
        let me = usize::from(n);
        for other in (0..usize::from(count)).filter(|o| *o != me) {
            let (now, id) = (net.now, PeerId(Network::peer_of(me, other)));
            net.member(me).node.remove_peer(id, now);
        }
        let own = signed(&record(net.recipes[me].public(), n), &authority(1));
        assert!(enter(&mut net, me, settings(Some(own))));
    }
    net
}

fn connected_to(net: &Network, n: usize) -> usize {
    let peers = net.members[n].as_ref().unwrap().node.peers().iter();
    peers.filter(|p| p.up_since.is_some()).count()
}

fn with_psk(net: &mut Network, n: usize, current: u8, former: Option<u8>) {
    let keys = OwnKeys {
        current: PrivateKey::from_bytes(net.recipes[n].key),
        former: None,
    };
    let psk = |n: u8| Psk::from_bytes([n; 32]);
    let psks = Psks {
        current: Some(psk(current)),
        former: former.map(psk),
    };
    net.set_keys(n, keys, psks);
}

/// Nobody names anybody: those of the network find each other, with nobody else's help, and nobody else finds them.
#[test]
fn members_that_have_heard_of_nobody_meet_on_a_lan() {
    let mut net = strangers_on_a_lan(6, 131);
    // One is in another network of the same authority, one in none.
    let mut elsewhere = record(net.recipes[4].public(), 4);
    elsewhere.network = [0x55; 32];
    let mut other = settings(Some(signed(&elsewhere, &authority(1))));
    other.realm.id = [0x55; 32];
    assert!(enter(&mut net, 4, other));
    let now = net.now;
    net.member(5).node.leave_network(now);
    net.start_beacons();
    let began = net.now;
    assert!(net.run_until(began + SECOND * 2, |net| {
        (0..4).all(|n| connected_to(net, n) == 3)
    }));
    println!(
        "four strangers are connected after {} ms",
        net.now.since(began).as_millis()
    );
    net.run_for(SECOND * 120);
    for n in [4, 5] {
        assert_eq!(connected_to(&net, n), 0);
        assert!(net.member(n).node.peers().iter().all(|p| p.is_vacant()));
    }
    // Names and keys are nobody else's to read.
    for (_, text) in &net.beacons {
        for n in 0..4 {
            let (key, name) = (net.recipes[n].public(), format!("m{n}"));
            let shows = |part: &[u8]| text.windows(part.len()).any(|w| w == part);
            assert!(!shows(&key.as_bytes()[..8]) && !shows(format!("{name}{name}").as_bytes()));
        }
    }
}

/// The network has a pre-shared key, and changes it: those that have either meet those that have both.
#[test]
fn a_network_that_changes_its_key_is_found_on_the_lan_meanwhile() {
    let mut net = strangers_on_a_lan(4, 132);
    with_psk(&mut net, 0, 1, None);
    with_psk(&mut net, 1, 2, Some(1));
    with_psk(&mut net, 2, 2, None);
    with_psk(&mut net, 3, 9, None);
    net.start_beacons();
    let met = |net: &Network| [0, 1, 2].map(|n| connected_to(net, n)) == [1, 2, 1];
    let began = net.now;
    assert!(net.run_until(began + SECOND * 5, met));
    net.run_for(SECOND * 60);
    assert!(met(&net), "those with no key in common do not meet");
    assert_eq!(connected_to(&net, 3), 0);
}

/// What is announced makes nobody a peer who is none, costs little whoever repeats it, and never takes a peer's place.
#[test]
fn announcements_are_believed_for_their_signature_and_cost_little() {
    let mut net = strangers_on_a_lan(3, 133);
    net.is_lan = false;
    net.start_beacons();
    net.run_for(MS(10));
    let own: Vec<_> = net.beacons.iter().map(|(n, b)| (*n, b.clone())).collect();
    let of = |n: usize| own.iter().find(|(m, _)| *m == n).unwrap().1.clone();
    // Sealed by who knows the network, and signed by nobody.
    let mut short = Proof::shortened(&signed(&record(net.recipes[2].public(), 2), &authority(1)));
    *short.as_mut().unwrap().last_mut().unwrap() ^= 1;
    let text = [&net.recipes[2].public().as_bytes()[..], &short.unwrap()].concat();
    let forged = announcement::seal((&ID, None), (7656, [1; 24]), text).unwrap();
    let now = net.now;
    let node = &mut net.member(0).node;
    node.handle_beacon(address(2), &forged, now);
    for len in 0..forged.len() {
        node.handle_beacon(address(2), &forged[..len], now);
    }
    assert!(node.peers().iter().all(|p| p.is_vacant()));
    assert!(net.member(0).drops(DropReason::RecordRefused) > 0);
    // A copy, from two hundred places: each second a few calls at most, and to the places alone.
    net.record = true;
    for n in 0..1000u32 {
        let (now, place) = (net.now, [198, 51, 100, (n % 200) as u8]);
        net.member(0)
            .node
            .handle_beacon((place, 7656).into(), &of(1), now);
        net.collect(0);
        net.run_for(MS(10));
    }
    assert!(net.recording.len() <= 60, "{}", net.recording.len());
    let living = |net: &mut Network| {
        let peers = net.member(0).node.peers().iter();
        peers.filter(|p| !p.is_vacant()).count()
    };
    assert_eq!(living(&mut net), 1);
    // A flood is not looked at.
    let now = net.now;
    for _ in 0..1000 {
        net.member(0).node.handle_beacon(address(9), &of(2), now);
    }
    assert!(net.member(0).drops(DropReason::RateLimited) >= 800);
    // Who is revoked is nobody, whoever announces it.
    let list = revocations(1, |l| l.revoke(MemberId([1; 16]), u64::MAX), &authority(1));
    net.member(0).node.revoke(&list, now).unwrap();
    net.run_for(SECOND * 2);
    let now = net.now;
    let before = living(&mut net);
    net.member(0).node.handle_beacon(address(1), &of(1), now);
    assert_eq!(living(&mut net), before);
    assert!(net.member(0).drops(DropReason::Revoked) > 0);
}

/// Nobody reaches anybody but one member that relays, and nobody names anybody else: they find each other by it and talk through it.
#[test]
fn a_relay_of_the_network_is_enough_to_find_all() {
    found_by_a_relay(Pass::Awaited);
}

/// The same with a relay that has no record and is listed as a relay: it knows the network, and who comes to it by a record.
#[test]
fn a_relay_that_is_named_brings_the_members_of_a_network_together() {
    found_by_a_relay(Pass::Listed);
}

fn found_by_a_relay(pass: Pass) {
    const RELAY: usize = 3;
    let is_named = pass == Pass::Listed;
    let mut recipes: Vec<Recipe> = (0..4).map(|n| Recipe::new(n).untold()).collect();
    recipes[RELAY].relays = true;
    recipes[RELAY].is_member = !is_named;
    let mut net = Network::of(recipes, 151);
    net.record = false;
    net.weather.delay = MS(10);
    for n in 0..4 {
        let mut own = record(net.recipes[n].public(), n as u8);
        if n == RELAY {
            own.roles = Roles::RELAY;
        }
        let own = signed(&own, &authority(1));
        let own = Some(own).filter(|_| n != RELAY || !is_named);
        assert!(enter(&mut net, n, settings(own)));
        for other in (0..4).filter(|o| *o != n) {
            let mut awaited = net.settings_of(n, other);
            let (now, id) = (net.now, PeerId(Network::peer_of(n, other)));
            if n == RELAY || other != RELAY {
                net.member(n).node.remove_peer(id, now);
                continue;
            }
            if !is_named {
                awaited.pass = pass;
                awaited.segments = Some(Vec::new());
                awaited.serves = false;
                net.change_peer(n, other, awaited);
            }
        }
    }
    net.blocked = (0..3)
        .flat_map(|a| (0..3).map(move |b| (a, b)))
        .filter(|(a, b)| a != b)
        .collect();
    (0..3).for_each(|n| net.introduce(n, RELAY));
    let began = net.now;
    let all = |net: &Network| (0..4).all(|n| connected_to(net, n) == 3);
    assert!(net.run_until(began + SECOND * 5, all));
    println!(
        "three are connected by a relay after {} ms",
        net.now.since(began).as_millis()
    );
    net.send(0, 0, &frame(host(1), host(0), None, b"by the relay"));
    net.run_for(MS(200));
    assert!((1..3).all(|n| net.members[n].as_ref().unwrap().delivered.len() == 1));
    // Whose record ends is carried no more.
    let list = revocations(1, |l| l.revoke(MemberId([0; 16]), u64::MAX), &authority(1));
    let now = net.now;
    net.member(2).node.revoke(&list, now).unwrap();
    net.collect(2);
    net.run_for(SECOND * 2);
    net.send(0, 0, &frame(host(1), host(0), None, b"revoked"));
    net.run_for(SECOND * 60);
    assert!((1..3).all(|n| net.members[n].as_ref().unwrap().delivered.len() == 1));
    assert_eq!(connected_to(&net, 0), 0);
}

/// One in three datagrams is lost: everybody hears of everybody all the same, and who is in no network is left in peace.
#[test]
fn introductions_arrive_where_much_is_lost() {
    for seed in 0..4 {
        let mut net = Network::of(
            (0..9).map(|n| Recipe::new(n).untold()).collect(),
            171 + seed,
        );
        net.record = false;
        net.weather.delay = MS(20);
        net.weather.loss = 33;
        for n in 0..9usize {
            for other in (0..9).filter(|o| *o != n) {
                let (now, id) = (net.now, PeerId(Network::peer_of(n, other)));
                let mut awaited = net.settings_of(n, other);
                if n == 0 || other != 0 {
                    net.member(n).node.remove_peer(id, now);
                    continue;
                }
                awaited.pass = Pass::Awaited;
                awaited.segments = Some(Vec::new());
                net.change_peer(n, other, awaited);
            }
            let own = signed(&record(net.recipes[n].public(), n as u8), &authority(1));
            assert!(enter(&mut net, n, settings(Some(own))));
        }
        (1..9).for_each(|n| net.introduce(n, 0));
        let knows_all = |net: &Network| {
            net.members.iter().flatten().all(|m| {
                let peers = m.node.peers().iter();
                let known = peers.filter(|p| matches!(p.settings.pass, Pass::Record(_)));
                known.count() == 8
            })
        };
        let began = net.now;
        assert!(net.run_until(began + SECOND * 120, knows_all), "{seed}");
        println!("all know all after {} ms", net.now.since(began).as_millis());
    }
    // A listed member that is in no network is told a few times, and then no more.
    let mut net = pair(181);
    let own = signed(&record(net.recipes[0].public(), 0), &authority(1));
    let key = net.recipes[1].public();
    assert!(show(&mut net, own));
    let now = net.now;
    net.member(1).node.leave_network(now);
    let mut listed = net.settings_of(1, 0);
    listed.pass = Pass::Listed;
    net.member(1).node.add_peer(listed);
    net.introduce(0, 1);
    net.run_for(SECOND * 300);
    assert!(net.member(0).node.find(&key).is_some() && connected_to(&net, 0) == 1);
    let refused = net.member(1).drops(DropReason::UnknownControl);
    assert!(refused > 0 && refused < 80, "{refused}");
    // From then on it is shown our record with each session, and no more.
    net.run_for(SECOND * 600);
    let later = net.member(1).drops(DropReason::UnknownControl);
    assert!(later <= refused + 6, "{refused} {later}");
}

const INVITE: [u8; 8] = [5; 8];

/// An admin (0) and somebody that it has invited (2), who reach a relay of the network (1) and not each other. The relay is the one that
/// the invitation names.
fn invited_by_a_relay(seed: u64, count: usize) -> Network {
    let recipes = (0..count).map(|n| Recipe::new(n as u8).untold());
    let mut recipes: Vec<Recipe> = recipes.collect();
    recipes[1].relays = true;
    recipes[1].is_member = true;
    let mut net = Network::of(recipes, seed);
    net.record = false;
    net.weather.delay = MS(10);
    net.blocked = (2..count).flat_map(|n| [(0, n), (n, 0)]).collect();
    for (n, roles) in [(0, Roles::ADMIN), (1, Roles::RELAY)] {
        let mut own = record(net.recipes[n].public(), n as u8);
        own.roles = roles;
        let own = signed(&own, &authority(1));
        assert!(enter(&mut net, n, settings(Some(own))));
    }
    let now = net.now;
    let strangers = (2..count).flat_map(|n| [(0, n), (1, n)]);
    for (n, other) in strangers.chain([(1, 0)]) {
        let id = PeerId(Network::peer_of(n, other));
        net.member(n).node.remove_peer(id, now);
    }
    let mut relay = net.settings_of(0, 1);
    relay.pass = Pass::Awaited;
    relay.segments = Some(Vec::new());
    relay.serves = false;
    net.change_peer(0, 1, relay);
    let secret = Psk::from_bytes([9; 32]);
    net.member(0)
        .node
        .set_invites([(INVITE, (secret.clone(), u64::MAX))]);
    // The machine that joins is in no network yet.
    let now = net.now;
    net.member(2).node.answer_to(Some(&ID), now);
    for other in [0, 1] {
        let mut host = net.settings_of(2, other);
        host.pass = Pass::Invite(INVITE);
        if other == 0 {
            host.psks = Psks::of(Some(secret.clone()));
        } else {
            (host.kind, host.serves) = (Kind::Relay, false);
        }
        net.change_peer(2, other, host);
    }
    net
}

fn asked(net: &Network) -> Option<PeerId> {
    let events = net.members[0].as_ref().unwrap().events.iter();
    let mut asked = events.filter_map(|(_, event)| match event {
        Event::Asked(id, Ask::Join(ID, INVITE)) => Some(*id),
        _ => None,
    });
    asked.next()
}

/// Nobody reaches the admin directly: by a relay of the network somebody that it has invited comes to it, and to nobody else.
#[test]
fn one_that_is_invited_comes_by_a_relay() {
    let mut net = invited_by_a_relay(191, 3);
    net.introduce(0, 1);
    net.run_for(SECOND * 2);
    let began = net.now;
    net.introduce(2, 1);
    assert!(net.run_until(began + SECOND * 5, |net| net.is_up(2, 0)));
    println!(
        "one that is invited is there after {} ms",
        net.now.since(began).as_millis()
    );
    let now = net.now;
    net.member(2)
        .node
        .ask(PeerId(0), Ask::Join(ID, INVITE), now);
    net.collect(2);
    net.run_for(SECOND);
    let id = asked(&net).expect("asked");
    let now = net.now;
    let record = signed(&record(net.recipes[2].public(), 2), &authority(1));
    let answer = Answer::Given(Gift::Record, &record);
    net.member(0).node.answer_ask(id, answer, now);
    net.collect(0);
    net.run_for(MS(200));
    let events = net.member(2).events.iter();
    let given = events.filter(|(_, e)| matches!(e, Event::Answered(PeerId(0), _)));
    assert_eq!(given.count(), 1);
    // As a visitor it is nobody's peer, and gone a minute later, at both.
    let visitor = net.recipes[2].public();
    for n in [0, 1] {
        let node = &net.members[n].as_ref().unwrap().node;
        let id = node.find(&visitor).unwrap();
        let peer = &node.peers()[id.0 as usize];
        assert_eq!(peer.settings.kind, Kind::Client);
        assert_eq!(peer.settings.pass, Pass::Invited(INVITE));
        assert_eq!(peer.settings.segments, Some(Vec::new()));
    }
    let now = net.now;
    net.member(2).node.close(now);
    net.collect(2);
    net.members[2] = None;
    net.run_for(SECOND * 70);
    for n in [0, 1] {
        assert!(
            net.members[n]
                .as_ref()
                .unwrap()
                .node
                .find(&visitor)
                .is_none()
        );
    }
    // Its channel is gone, too, and the next one comes as well.
    assert_eq!(net.member(1).node.channels_of(PeerId(0)), 0);
}

/// What one that is invited cannot do at a relay, and what those can who know less.
#[test]
fn a_visitor_is_let_through_to_its_host_alone() {
    // An invitation that nobody has told of, or whose admin is none by its record: silence.
    for is_told in [true, false] {
        let mut net = invited_by_a_relay(192, 3);
        if is_told {
            let mut own = record(net.recipes[0].public(), 0);
            own.serial = 2;
            assert!(show(&mut net, signed(&own, &authority(1))));
        } else {
            net.member(0).node.end_signing();
        }
        net.introduce(0, 1);
        net.run_for(SECOND * 2);
        net.introduce(2, 1);
        net.run_for(SECOND * 20);
        assert!(!net.is_up(2, 1) && !net.is_up(2, 0));
        assert!(net.member(1).drops(DropReason::Stranger) > 0);
        assert!(asked(&net).is_none());
    }
    // Taken back: the relay forgets it, and the admin has never heard of it.
    let mut net = invited_by_a_relay(193, 3);
    net.introduce(0, 1);
    net.run_for(SECOND * 2);
    net.member(0).node.set_invites([]);
    net.run_for(SECOND * 70);
    net.introduce(2, 1);
    net.run_for(SECOND * 20);
    assert!(!net.is_up(2, 1) && !net.is_up(2, 0));
    // A wrong secret: it comes as far as the admin's door.
    let mut net = invited_by_a_relay(194, 3);
    let mut host = net.settings_of(2, 0);
    host.pass = Pass::Invite(INVITE);
    host.psks = Psks::of(Some(Psk::from_bytes([8; 32])));
    net.change_peer(2, 0, host);
    net.introduce(0, 1);
    net.run_for(SECOND * 2);
    net.introduce(2, 1);
    net.run_for(SECOND * 20);
    assert!(net.is_up(2, 1) && !net.is_up(2, 0));
    assert!(net.member(0).drops(DropReason::PskMismatch) > 0);
    // It asks for channels to others: there are none for it.
    let mut third = record(PublicKey::from_bytes([3; 32]), 3);
    third.roles = Roles::NONE;
    let other = *net.recipes[1].public().as_bytes();
    let before = net.member(1).node.channels_of(PeerId(0));
    say(&mut net, (2, 1), Element::Open(other));
    say(&mut net, (2, 1), Element::Open(third.key));
    say(&mut net, (2, 1), Element::Expected(&[1; 8]));
    say(
        &mut net,
        (2, 1),
        Element::Candidates(control::Addresses::new(&[]).unwrap()),
    );
    net.run_for(SECOND);
    assert_eq!(net.member(1).node.channels_of(PeerId(0)), before);
    assert!(net.member(1).drops(DropReason::UnknownControl) >= 2);
}

/// A list goes to all where one in three datagrams is lost, and every member hears of it from one alone.
#[test]
fn revocations_arrive_where_much_is_lost() {
    let mut longest = Duration::ZERO;
    for seed in 0..8 {
        let count = 8u8;
        let mut net = strangers_on_a_lan(count, 201 + seed);
        net.blocked = (1..8usize)
            .flat_map(|a| (1..8usize).map(move |b| (a, b)))
            .collect();
        net.is_lan = true;
        net.start_beacons();
        let began = net.now;
        assert!(net.run_until(began + SECOND * 5, |net| connected_to(net, 0) == 7));
        net.run_for(SECOND * 3);
        net.weather.loss = 33;
        let list = revocations(1, |l| l.revoke(MemberId([9; 16]), u64::MAX), &authority(1));
        let (now, began) = (net.now, net.now);
        net.member(0).node.revoke(&list, now).unwrap();
        net.collect(0);
        let known = |net: &Network| {
            let mut members = net.members.iter().flatten();
            members.all(|m| m.node.revocation_epoch() == 1)
        };
        assert!(net.run_until(began + SECOND * 60, known), "{seed}");
        longest = longest.max(net.now.since(began));
    }
    println!("after {} ms all know it", longest.as_millis());
    assert!(longest <= SECOND * 10, "{longest:?}");
}

/// A crowd knows the name of an invitation and not its secret: one that does know it comes all the same, and the relay's room is not theirs.
#[test]
fn a_crowd_of_visitors_keeps_nobody_out() {
    let mut net = invited_by_a_relay(221, 43);
    net.introduce(0, 1);
    net.run_for(SECOND * 2);
    for n in 3..43 {
        let now = net.now;
        net.member(n).node.answer_to(Some(&ID), now);
        for (other, kind) in [(0, Kind::Member), (1, Kind::Relay)] {
            let mut host = net.settings_of(n, other);
            (host.pass, host.kind, host.serves) = (Pass::Invite(INVITE), kind, false);
            net.change_peer(n, other, host);
        }
        net.introduce(n, 1);
        net.run_for(MS(20));
    }
    net.run_for(SECOND * 5);
    let visitors = |net: &Network| {
        let peers = net.members[1].as_ref().unwrap().node.peers().iter();
        let is_one = |p: &&l2vpn::mesh::peer::Peer| matches!(p.settings.pass, Pass::Invited(_));
        peers.filter(is_one).count()
    };
    assert!(
        visitors(&net) > 20 && visitors(&net) <= 32,
        "{}",
        visitors(&net)
    );
    let began = net.now;
    net.introduce(2, 1);
    assert!(net.run_until(began + SECOND * 20, |net| net.is_up(2, 0)));
    // Nor does one keep the relay busy by saying every time that it is called by another label.
    let before = net.member(1).drops(DropReason::RateLimited);
    for n in 0..100u8 {
        say(&mut net, (2, 1), Element::Label([n; 32]));
        net.run_for(MS(5));
    }
    assert!(net.member(1).drops(DropReason::RateLimited) >= before + 95);
}
