//! What an attacker may try against members and their keys, and the test that shows what comes of it: an index that cannot rot, and the
//! attacks that have no better place.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/simulator.rs"]
mod simulator;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use l2vpn::drops::DropReason;
use l2vpn::keys::{AuthorityKey, PublicKey, Signs};
use l2vpn::mesh::peer::Pass;
use l2vpn::node::Event;
use l2vpn::node::network::NetworkSettings;
use l2vpn::noise::cookie::mac1_holds;
use l2vpn::noise::dialect::Dialect;
use l2vpn::time::Duration;
use l2vpn::trust::Realm;
use l2vpn::wire::datagram::{Datagram, KIND_INITIATION, KIND_RESPONSE};
use l2vpn::wire::ethernet::Mac;
use l2vpn::wire::record::{MemberId, Record, Roles};
use l2vpn::wire::relayed::{RELAYED_HEADER_LEN, Relayed};
use l2vpn::wire::segment::SegmentId;
use l2vpn::wire::vlans::VlanSet;
use simulator::*;
use zeroize::Zeroizing;

/// What is tried, and where it is shown.
const SHOWN: &[(&str, &[&str])] = &[
    (
        "handshakes are replayed",
        &[
            "a_replayed_capture_changes_nothing",
            "an_initiation_that_is_replayed_a_thousand_times_changes_nothing",
        ],
    ),
    (
        "a weaker suite is forced",
        &[
            "every_flipped_bit_of_an_initiation_is_refused",
            "who_takes_it_out_on_the_way_gets_no_session",
        ],
    ),
    (
        "a member's key is stolen",
        &[
            "who_is_revoked_or_over_delivers_nothing_after_a_second",
            "a_revocation_is_everywhere_in_a_moment",
            "the_key_of_an_earlier_record_counts_no_longer_than_that",
            "a_key_that_was_withdrawn_delivers_nothing_more",
            "two_machines_with_one_key_are_noticed",
            "hosts_are_called_what_the_record_says_and_nothing_else",
        ],
    ),
    (
        "an authority's or an admin's key is stolen",
        &[
            "who_is_revoked_or_over_delivers_nothing_after_a_second",
            "a_delegate_signs_what_it_may_and_as_long_as_it_may",
            "of_two_that_retire_each_other_the_first_one_stays",
            "an_authority_is_replaced_and_retired",
        ],
    ),
    (
        "somebody is impersonated to the holder of a stolen key",
        &[
            "nothing_is_delivered_before_the_initiator_proved_itself",
            "every_flipped_bit_of_an_initiation_is_refused",
        ],
    ),
    (
        "traffic is recorded for a quantum computer",
        &[
            "each_part_of_the_second_secret_changes_the_handshake_key",
            "who_takes_it_out_on_the_way_gets_no_session",
            "another_implementation_opens_what_we_hide_and_hides_what_we_open",
        ],
    ),
    (
        "somebody with a list of public keys hears who calls whom",
        &["nobody_outside_recognises_the_handshakes_of_a_network"],
    ),
    (
        "a revocation is evaded by another form of a record",
        &[
            "a_record_has_one_form_and_reads_back",
            "the_other_form_of_a_signature_is_refused",
        ],
    ),
    (
        "a revoked issuer goes on",
        &["who_is_revoked_or_over_delivers_nothing_after_a_second"],
    ),
    (
        "a revocation is delivered and not applied, or to new sessions only",
        &[
            "who_has_a_record_needs_no_list_until_it_is_revoked",
            "one_that_is_listed_and_let_in_by_its_record_is_let_go_with_it",
        ],
    ),
    (
        "revocations are withheld, or drowned in others",
        &[
            "a_liar_keeps_nobody_from_genuine_revocations",
            "revocations_arrive_where_much_is_lost",
            "revocations_only_ever_grow",
        ],
    ),
    (
        "somebody on the LAN announces members",
        &["announcements_are_believed_for_their_signature_and_cost_little"],
    ),
    (
        "an invitation's name is used to get at others, or to keep them out",
        &[
            "a_visitor_is_let_through_to_its_host_alone",
            "a_crowd_of_visitors_keeps_nobody_out",
        ],
    ),
    (
        "a one-time invitation is used by many at once",
        &[
            "of_a_hundred_that_come_by_one_invitation_one_gets_in",
            "an_invitation_is_used_as_often_as_it_may_be_and_no_more",
        ],
    ),
    (
        "a secret is guessed by the time that it takes",
        &["secrets_are_compared_in_constant_time"],
    ),
    (
        "handshakes race and leave half a tunnel",
        &[
            "simultaneous_starts_settle_on_one_session",
            "where_handshakes_cross_and_an_answer_is_lost_nothing_that_is_sent_is_lost",
        ],
    ),
    (
        "a goodbye is forged, or does not end both sides",
        &[
            "a_goodbye_takes_the_peer_and_its_macs_down_at_once",
            "a_goodbye_during_a_rekey_and_one_after_a_restart_do_what_they_should",
        ],
    ),
    (
        "a clock is wrong, goes back, or stands still",
        &[
            "a_member_whose_clock_went_back_is_let_in",
            "a_dead_clock_keeps_nobody_out",
        ],
    ),
    ("a log is flooded", &["each_kind_and_peer_has_its_minute"]),
    (
        "a changed key does not count until a restart",
        &[
            "another_pre_shared_key_counts_without_a_restart",
            "keys_are_rotated_at_ten_thousand_frames_a_second",
        ],
    ),
    (
        "a fresh install joins somebody's network",
        &["a_fresh_configuration_knows_nobody"],
    ),
    (
        "memory is searched for old keys",
        &[
            "keys_of_ended_sessions_are_gone",
            "the_own_key_is_there_once",
        ],
    ),
];

fn sources(dir: &Path, into: &mut String) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("threats.rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn what_is_said_to_be_shown_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    let own = fs::read_to_string(root.join("tests/threats.rs")).unwrap();
    let missing: Vec<_> = SHOWN
        .iter()
        .flat_map(|(what, tests)| tests.iter().map(move |test| (what, test)))
        .filter(|(_, test)| {
            let is_test = |text: &str| text.contains(&format!("fn {test}()"));
            // A story has its name as a string.
            !is_test(&all) && !is_test(&own) && !all.contains(&format!("\"{test}\""))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

const NOW: u64 = 1_800_000_000;

fn settings(key: PublicKey, member: u8) -> NetworkSettings {
    let authority = AuthorityKey::from_seed(&Zeroizing::new([1; 32]));
    let record = Record {
        network: [7; 32],
        member: MemberId([member; 16]),
        serial: 1,
        key: *key.as_bytes(),
        not_before: NOW - 600,
        not_after: NOW + 90 * 24 * 3600,
        roles: Roles::NONE,
        mac_limit: 0,
        name: format!("m{member}"),
        segments: vec![(SegmentId::new(1).unwrap(), VlanSet::everything())],
        macs: Vec::new(),
        prefixes: Vec::new(),
        issuer: *authority.authority().as_bytes(),
    };
    let mut own = record.signed().unwrap();
    own.extend_from_slice(&authority.sign(Signs::Record, &record.signed().unwrap()));
    NetworkSettings {
        realm: Realm {
            id: [7; 32],
            authorities: vec![authority.authority()],
        },
        own: Some(own),
        grace: Duration::ZERO,
    }
}

/// The initiation by which a member was let in, with its record in it: from its own address and from another, while it is connected and
/// when it is gone.
#[test]
fn an_initiation_that_is_replayed_a_thousand_times_changes_nothing() {
    let mut net = Network::of(vec![Recipe::new(0).untold(), Recipe::new(1).untold()], 5);
    net.weather.delay = Duration::from_millis(5);
    for n in [0, 1] {
        let own = settings(net.recipes[n].public(), n as u8);
        let now = net.now;
        if n == 1 {
            net.member(1).node.remove_peer(l2vpn::place::PeerId(0), now);
        }
        assert!(net.member(n).node.set_network(own, now));
        net.collect(n);
    }
    net.introduce(0, 1);
    net.run_for(Duration::from_secs(3));
    let initiation = net.recording.iter().find(|p| p.bytes[0] == KIND_INITIATION);
    let initiation = initiation.unwrap().clone();
    let key = net.recipes[0].public();
    let state = |net: &Network| {
        let node = &net.members[1].as_ref().unwrap().node;
        let peer = &node.peers()[node.find(&key).unwrap().0 as usize];
        let session = peer.keyring.current().map(|s| s.index);
        (
            node.peers().len(),
            peer.settings.pass,
            peer.path.endpoint().map(|e| e.remote),
            session,
        )
    };
    let before = state(&net);
    assert!(before.3.is_some());
    let elsewhere = "10.66.6.6:666".parse().unwrap();
    net.recording.clear();
    for n in 0..1000 {
        let from = if n % 2 == 0 {
            elsewhere
        } else {
            initiation.from
        };
        net.inject(1, from, &initiation.bytes);
        if n % 10 == 0 {
            net.run_for(Duration::from_millis(1));
        }
    }
    assert_eq!(state(&net), before);
    let answered = net.recording.iter().filter(|p| p.to == elsewhere).count();
    assert!(answered <= 500, "{answered}");
    // It says goodbye, and the copies do not bring it back.
    let now = net.now;
    net.member(0).node.close(now);
    net.collect(0);
    net.members[0] = None;
    net.run_for(Duration::from_secs(1));
    for _ in 0..1000 {
        net.inject(1, elsewhere, &initiation.bytes);
        net.run_for(Duration::from_millis(20));
    }
    let node = &net.members[1].as_ref().unwrap().node;
    assert!(node.peers().iter().all(|p| p.up_since.is_none()));
    assert!(net.member(1).delivered.is_empty());
}

/// A key was copied: both machines call, and those that they call say so. A machine that starts anew is none of that.
#[test]
fn two_machines_with_one_key_are_noticed() {
    let mut recipes: Vec<Recipe> = (0..3).map(|n| Recipe::new(n).untold()).collect();
    recipes[2].key = recipes[1].key;
    let mut net = Network::of(recipes, 9);
    net.weather.delay = Duration::from_millis(5);
    let doubled = |net: &Network| {
        let events = &net.members[0].as_ref().unwrap().events;
        let is_it = |e: &Event| matches!(e, Event::Doubled(_));
        events.iter().filter(|(_, e)| is_it(e)).count()
    };
    net.introduce(1, 0);
    net.run_for(Duration::from_secs(2));
    net.rebuild(1);
    net.introduce(1, 0);
    net.run_for(Duration::from_secs(30));
    assert_eq!(doubled(&net), 0, "it has started anew");
    net.introduce(2, 0);
    net.run_for(Duration::from_secs(600));
    assert!(doubled(&net) > 0);
}

/// What can be compared with `==` stops at the first byte that differs: secrets cannot.
#[test]
fn secrets_are_compared_in_constant_time() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (file, types) in [
        ("keys/key.rs", &["PrivateKey", "Psk"][..]),
        ("keys/authority.rs", &["AuthorityKey"]),
        ("keys/passphrase.rs", &["Passphrase"]),
        ("trust/invitation.rs", &["Invitation"]),
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        for name in types {
            let at = text.find(&format!("pub struct {name}")).unwrap();
            let head = text[..at].rsplit("\n\n").next().unwrap();
            let derives = head.lines().filter(|l| l.starts_with("#[derive"));
            assert!(derives.clone().all(|d| !d.contains("PartialEq")), "{name}");
            assert!(!text.contains(&format!("PartialEq for {name} ")), "{name}");
        }
    }
    // MACs, cookies, tickets and tags of pre-shared keys.
    for file in ["noise/cookie.rs", "keys/ticket.rs", "noise/psks.rs"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains("ct_eq"), "{file}");
    }
}

/// Neither the first configuration nor an empty one names a network, a peer or a relay, and without a configuration nothing starts.
#[test]
fn a_fresh_configuration_knows_nobody() {
    let text = l2vpn::config::template::first_config("a", "a.key");
    let bare: Vec<&str> = text
        .lines()
        .filter(|l| !l.trim_start().starts_with('#'))
        .collect();
    let bare = bare.join("\n");
    for table in ["[[peer]]", "[[relay]]", "[network]", "[admission]"] {
        assert!(!bare.contains(table), "{table}");
    }
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let mut up = std::process::Command::new(env!("CARGO_BIN_EXE_l2vpn"));
    let output = up.arg("up").arg(&missing).output().unwrap();
    assert!(!output.status.success());
    assert!(!missing.exists());
}

/// Handshakes in what was sent, also those inside of what a relay carries, with the two ends of the wire.
fn handshakes(net: &Network) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
    let inner = |bytes: &[u8]| match Relayed::is_one(bytes) {
        true => bytes[RELAYED_HEADER_LEN..].to_vec(),
        false => bytes.to_vec(),
    };
    let all = net
        .recording
        .iter()
        .map(|p| (p.from, p.to, inner(&p.bytes)));
    let is_one = |bytes: &[u8]| matches!(bytes[0], KIND_INITIATION | KIND_RESPONSE);
    all.filter(|(_, _, bytes)| is_one(bytes)).collect()
}

/// Whether a handshake is for the holder of one of these keys, as somebody sees who knows the labels.
fn is_recognised(bytes: &[u8], dialect: &Dialect, keys: &[PublicKey]) -> bool {
    let macs = match Datagram::parse(bytes) {
        Ok(Datagram::Initiation(m)) => m.macs,
        Ok(Datagram::Response(m)) => m.macs,
        other => panic!("{other:?}"),
    };
    keys.iter()
        .any(|key| mac1_holds(&dialect.mac1_key(key), &macs))
}

/// Somebody hears all that is sent and has a list of all public keys, but nothing of the network: its members' handshakes are noise to
/// him, directly and through a relay that is not in the network. What listed members send to each other he recognises.
#[test]
fn nobody_outside_recognises_the_handshakes_of_a_network() {
    const RELAY: usize = 3;
    let mut recipes: Vec<Recipe> = (0..4).map(|n| Recipe::new(n).untold()).collect();
    recipes[RELAY].relays = true;
    let mut net = Network::of(recipes, 23);
    net.weather.delay = Duration::from_millis(5);
    for n in 0..RELAY {
        let own = settings(net.recipes[n].public(), n as u8);
        let now = net.now;
        assert!(net.member(n).node.set_network(own, now));
        for other in (0..RELAY).filter(|o| *o != n) {
            let mut awaited = net.settings_of(n, other);
            awaited.pass = Pass::Awaited;
            awaited.segments = Some(Vec::new());
            net.change_peer(n, other, awaited);
        }
    }
    net.blocked = vec![(0, 1), (1, 0)];
    for n in 0..RELAY {
        net.introduce(n, RELAY);
    }
    net.run_for(Duration::from_secs(2));
    net.introduce(2, 0);
    net.introduce(1, 2);
    // Long enough for sessions to be made anew, while there is something to be sent.
    for _ in 0..150 {
        for n in 0..RELAY {
            net.send(n, 0, &frame(Mac::BROADCAST, host(n), None, b"to all"));
        }
        net.run_for(Duration::from_secs(1));
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        assert!(
            net.is_up(one, other) && net.is_up(other, one),
            "{one} {other}"
        );
    }
    let keys: Vec<_> = net.recipes.iter().map(Recipe::public).collect();
    let [listed, network] = [[0; 32], [7; 32]].map(|id| Dialect::of_network(&id));
    let all = handshakes(&net);
    let relay = address(RELAY);
    let is_inner = |bytes: &[u8]| !is_recognised(bytes, &listed, &keys);
    let with_relay = |from: &SocketAddr, to: &SocketAddr| *from == relay || *to == relay;
    let direct: Vec<_> = all.iter().filter(|(f, t, _)| !with_relay(f, t)).collect();
    assert!(direct.len() >= 4, "{}", direct.len());
    assert!(direct.iter().all(|(_, _, bytes)| is_inner(bytes)));
    // With the relay itself as with anybody that is listed; what it carries, not.
    let (carried, own): (Vec<_>, Vec<_>) = all
        .iter()
        .filter(|(f, t, _)| with_relay(f, t))
        .partition(|(_, _, bytes)| is_inner(bytes));
    assert!(
        carried.len() >= 8 && own.len() >= 6,
        "{} {}",
        carried.len(),
        own.len()
    );
    // Whoever knows the network does recognise them: they are what they seem to be.
    for (_, _, bytes) in direct.into_iter().chain(carried) {
        assert!(is_recognised(bytes, &network, &keys));
    }
    assert_eq!(net.member(RELAY).drops(DropReason::BadMac1), 0);
}
