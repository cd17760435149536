//! A second secret by ML-KEM in handshakes: with whom, over which paths, and that nobody on the way can take it out.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/simulator.rs"]
mod simulator;

use l2vpn::drops::DropReason;
use l2vpn::time::Duration;
use l2vpn::wire::datagram::{KIND_INITIATION, KIND_RESPONSE};
use l2vpn::wire::kem::ParameterSet;
use l2vpn::wire::kem::PostQuantum::{self, Off, Prefer, Require};
use simulator::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn pair(choices: [PostQuantum; 2], seed: u64) -> Network {
    let mut recipes = vec![Recipe::new(0).untold(), Recipe::new(1).untold()];
    for (recipe, choice) in recipes.iter_mut().zip(choices) {
        recipe.post_quantum = choice;
    }
    Network::of(recipes, seed)
}

/// Whether the session of a member with the other is post-quantum, if there is one.
fn secrecy(net: &Network, n: usize) -> Option<bool> {
    let member = net.members[n].as_ref().unwrap();
    let session = member.node.peers()[0].keyring.current();
    session.map(|s| s.kem.is_some())
}

#[test]
fn two_have_a_second_secret_when_both_want_one() {
    for a in [Off, Prefer, Require] {
        for b in [Off, Prefer, Require] {
            let mut net = pair([a, b], 1);
            net.introduce(0, 1);
            net.run_for(MS(2000));
            let both = a != Off && b != Off;
            let fails = !both && (a == Require || b == Require);
            let expected = (!fails).then_some(both);
            let seen = [0, 1].map(|n| secrecy(&net, n));
            assert_eq!(seen, [expected; 2], "{a:?} calls {b:?}");
            let why = [0, 1].map(|n| net.member(n).drops(DropReason::NoPostQuantum));
            assert_eq!(why.iter().any(|n| *n > 0), fails, "{a:?} calls {b:?}");
            if fails {
                // Not one frame, however long it goes on.
                net.send(0, 0, &frame(host(1), host(0), None, b"a secret of today"));
                net.run_for(Duration::from_secs(200));
                assert!(net.member(1).delivered.is_empty());
            }
        }
    }
}

#[test]
fn it_costs_no_round_trip_and_no_answer_is_longer_than_its_question() {
    let mut net = pair([Prefer; 2], 2);
    net.weather.delay = MS(20);
    net.introduce(0, 1);
    net.run_for(MS(45));
    assert_eq!(secrecy(&net, 0), Some(true));
    let long = |kind| {
        let of_kind = net.recording.iter().filter(|p| p.bytes[0] == kind);
        of_kind.map(|p| p.bytes.len()).collect::<Vec<_>>()
    };
    let (asked, answered) = (long(KIND_INITIATION), long(KIND_RESPONSE));
    assert_eq!(asked.len(), 1, "nothing was repeated");
    assert!(answered.iter().max() <= asked.iter().min());
    // With headers of IPv4 it crosses a path of 1420 bytes.
    assert!(asked[0] + 28 <= 1420, "{asked:?}");
}

#[test]
fn small_paths_carry_it_too() {
    for seed in 0..20 {
        let mut net = pair([Require; 2], 100 + seed);
        net.weather.delay = MS(20);
        // The route says 1500.
        net.carries = Some(1280);
        (0..2).for_each(|n| net.rebuild(n));
        net.introduce(0, 1);
        let up = net.run_until(net.now + MS(1000), |net| net.is_up(0, 1) && net.is_up(1, 0));
        assert!(up, "seed {seed}");
        assert_eq!(secrecy(&net, 0), Some(true));
        // What replaces the session later is of the right size at once.
        net.recording.clear();
        net.run_for(Duration::from_secs(150));
        let large = net.recording.iter().filter(|p| p.bytes.len() + 28 > 1280);
        let large = large.filter(|p| [KIND_INITIATION, KIND_RESPONSE].contains(&p.bytes[0]));
        assert_eq!(large.count(), 0, "seed {seed}");
        assert!(net.is_up(0, 1) && secrecy(&net, 1) == Some(true));
    }
}

#[test]
fn who_takes_it_out_on_the_way_gets_no_session() {
    // Each bit of the flags, and each way to shorten or exchange the ciphertext.
    let changes: [fn(&mut Vec<u8>); 7] = [
        |response| response[2] = 0,
        |response| {
            response[2] = 0;
            response.drain(12..12 + 1088);
        },
        |response| response[2] = 2,
        |response| {
            response[2] = 2;
            response.drain(12..12 + 320);
        },
        |response| response[12] ^= 1,
        |response| response[12 + 1087] ^= 0x80,
        |response| response[2] = 0x81,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut net = pair([Prefer; 2], 200 + n as u64);
        net.weather.delay = MS(5);
        net.introduce(0, 1);
        net.run_for(MS(6));
        let response = net.recording.iter().find(|p| p.bytes[0] == KIND_RESPONSE);
        let mut response = response.unwrap().clone();
        change(&mut response.bytes);
        // mac1 is right: whoever knows the public key can make it.
        remake_mac1(&net, &mut response.bytes);
        let genuine = secrecy(&net, 0);
        net.inject(0, response.from, &response.bytes);
        assert_eq!((genuine, secrecy(&net, 0)), (None, None), "change {n}");
        // The genuine one still fits.
        net.run_for(MS(10));
        assert_eq!(secrecy(&net, 0), Some(true), "change {n}");
    }
}

fn remake_mac1(net: &Network, response: &mut [u8]) {
    let dialect =
        l2vpn::noise::dialect::Dialect::of_network(&l2vpn::noise::dialect::STATIC_NETWORK);
    let end = response.len() - 32;
    let mac1 = dialect.mac1(&net.recipes[0].public(), &response[..end]);
    response[end..end + 16].copy_from_slice(&mac1);
}

#[test]
fn members_with_many_segments_have_it_a_moment_later() {
    let many: Vec<_> = (1..=64)
        .map(|s| (segment(s), l2vpn::switch::port::PortRule::TRANSPARENT))
        .collect();
    let mut recipes = vec![Recipe::new(0), Recipe::new(1)];
    recipes[1].ports = many;
    let mut net = Network::of(recipes, 3);
    net.introduce(0, 1);
    net.run_for(MS(1000));
    assert_eq!([secrecy(&net, 0), secrecy(&net, 1)], [Some(true); 2]);
}

/// Two implementations that do not know of each other.
#[test]
fn another_implementation_opens_what_we_hide_and_hides_what_we_open() {
    use l2vpn::noise::kem::{KemKey, encapsulate};
    use ml_kem::{Decapsulate, DecapsulationKey, KeyExport, MlKem512, MlKem768};

    let seed: ml_kem::Seed = std::array::from_fn::<u8, 64, _>(|n| n as u8).into();
    let theirs = DecapsulationKey::<MlKem768>::from_seed(seed);
    let public = theirs.encapsulation_key().to_bytes();
    let (ours, set, ciphertext) = encapsulate(&public).unwrap();
    assert_eq!(set, ParameterSet::MlKem768);
    let opened = theirs.decapsulate_slice(&ciphertext).unwrap();
    assert_eq!(ours.secret(), opened.as_slice());

    let small = DecapsulationKey::<MlKem512>::from_seed(seed);
    let public = small.encapsulation_key().to_bytes();
    let (ours, set, ciphertext) = encapsulate(&public).unwrap();
    assert_eq!(set, ParameterSet::MlKem512);
    assert_eq!(
        ours.secret(),
        small.decapsulate_slice(&ciphertext).unwrap().as_slice()
    );

    for set in ParameterSet::ALL {
        let key = KemKey::generate(set).unwrap();
        let (shared, _, ciphertext) = encapsulate(key.public()).unwrap();
        assert_eq!(
            key.open(set, &ciphertext).unwrap().secret(),
            shared.secret()
        );
        assert!(key.open(set, &ciphertext[1..]).is_none());
    }
    for len in [0, 1, 799, 801, 1183, 1185] {
        assert!(encapsulate(&vec![7; len]).is_none());
    }
    // Coefficients beyond the modulus (FIPS 203 section 7.2).
    assert!(encapsulate(&[0xff; 1184]).is_none());
}

#[test]
fn on_a_long_way_the_answer_to_the_larger_key_counts() {
    let mut net = pair([Prefer; 2], 4);
    net.weather.delay = MS(300);
    net.introduce(0, 1);
    let up = net.run_until(net.now + MS(3000), |net| net.is_up(0, 1) && net.is_up(1, 0));
    assert!(up);
    let first = net
        .recording
        .iter()
        .position(|p| p.bytes[0] == KIND_RESPONSE);
    let asked = net
        .recording
        .iter()
        .filter(|p| p.bytes[0] == KIND_INITIATION);
    assert!(
        first.is_some() && asked.count() <= 7,
        "two initiations, repeated"
    );
    let session = net.member(0).node.peers()[0]
        .keyring
        .current()
        .map(|s| s.kem);
    assert_eq!(session, Some(Some(ParameterSet::MlKem768)));
    // Nothing is left of the other initiation.
    net.run_for(MS(1000));
    let sessions = net.member(0).plane.sessions();
    assert_eq!(net.member(0).node.indices_in_use(), sessions);
}

#[test]
fn who_may_send_little_at_once_goes_without_if_that_is_allowed() {
    for choice in [Prefer, Require] {
        let mut net = pair([choice; 2], 5);
        net.weather.delay = MS(20);
        net.introduce(0, 1);
        // The system takes neither the first nor the second.
        let mut lens = vec![net.recording.last().unwrap().bytes.len()];
        for _ in 0..2 {
            let (now, len) = (net.now, *lens.last().unwrap());
            let node = &mut net.member(0).node;
            assert!(!node.refuse_large((address(1), len - 1), now), "another's");
            assert!(node.refuse_large((address(1), len), now), "{choice:?}");
            node.handle_timeout(now);
            net.collect(0);
            lens.push(net.recording.last().unwrap().bytes.len());
        }
        let [large, small, least] = lens[..] else {
            panic!("{lens:?}");
        };
        let now = net.now;
        assert!(!net.member(0).node.refuse_large((address(1), least), now));
        assert!(large > 1154 && small <= 1154, "{lens:?}");
        assert_eq!(least < 700, choice == Prefer, "{lens:?}");
        // The wire took them all: the newest two may be answered, and with them only is a session made.
        net.recording.clear();
        net.run_for(MS(100));
        let answers = net.recording.iter().filter(|p| p.bytes[0] == KIND_RESPONSE);
        assert!(answers.count() > 0);
        assert!(secrecy(&net, 0) != Some(false), "{choice:?}");
    }
}
