//! What records cost: `cargo bench --bench records`. How many are verified in a second by one core, how much memory a member needs that
//! knows 10,000 others by their records, and how long it takes to look at them all once a second.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use l2vpn::io::clock::{self, OsEntropy};
use l2vpn::keys::{AuthorityKey, Entropy, PrivateKey, Psks, PublicKey, Signs};
use l2vpn::mesh::path::Endpoint;
use l2vpn::mesh::peer::{Kind, Pass, PeerSettings, RelayUse};
use l2vpn::node::network::NetworkSettings;
use l2vpn::node::plane::{Note, Plane};
use l2vpn::node::{Node, NodeSettings, WallClock};
use l2vpn::noise::aead::Suite;
use l2vpn::noise::schedule::REKEY_AFTER;
use l2vpn::switch::decide::Switch;
use l2vpn::switch::layout::Layout;
use l2vpn::switch::storm::StormLimits;
use l2vpn::switch::table::{ForwardingTable, Limits};
use l2vpn::trust::Realm;
use l2vpn::wire::control::{self, Element, InBatch};
use l2vpn::wire::kem::PostQuantum;
use l2vpn::wire::offer::Abilities;
use l2vpn::wire::record::{MemberId, Record, Roles};
use l2vpn::wire::segment::SegmentId;
use l2vpn::wire::service::Services;
use l2vpn::wire::vlans::VlanSet;

const RECORDS: usize = 10_000;
const RUNS: usize = 9;

fn main() {
    // `cargo test --all-targets` starts this too, without wanting figures.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let authority = AuthorityKey::generate(&mut OsEntropy);
    let records: Vec<Vec<u8>> = (0..RECORDS).map(|n| record(&authority, n)).collect();
    let mut rates: Vec<f64> = (0..RUNS).map(|_| verified(&authority, &records)).collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "records verified in a second: {:.0} ({:.0}-{:.0}), {} bytes each",
        rates[RUNS / 2],
        rates[0],
        rates[RUNS - 1],
        records[0].len()
    );
    let mut node = node(&authority);
    let before = resident();
    let began = Instant::now();
    let from = Endpoint::to("192.0.2.1:7656".parse().expect("an address"));
    let start = clock::now();
    for (n, record) in records.iter().enumerate() {
        // As fast as one member is listened to: the clock is ours here.
        let now = start + Duration::from_millis(n as u64 * 11);
        let note = Note::Control {
            peer: l2vpn::place::PeerId(0),
            from,
            moved: false,
            body: control::write(Element::Member(record, None, InBatch::NONE)),
        };
        node.handle_note(note, now);
    }
    let (spent, more) = (began.elapsed(), resident() - before);
    assert_eq!(node.peers().len(), RECORDS + 1);
    println!(
        "{RECORDS} of them taken up in {:.1} s; {:.1} MiB more in memory, {:.2} KiB each",
        spent.as_secs_f64(),
        more as f64 / 1024.0,
        more as f64 / RECORDS as f64
    );
    let mut ticks: Vec<Duration> = (1..=RUNS as u64)
        .map(|n| {
            let began = Instant::now();
            node.handle_timeout(start + Duration::from_secs(600 + n));
            node.outgoing().clear();
            while node.poll_event().is_some() {}
            began.elapsed()
        })
        .collect();
    ticks.sort();
    println!(
        "all looked at once a second: {:.1} ms",
        ticks[RUNS / 2].as_secs_f64() * 1e3
    );
}

fn record(authority: &AuthorityKey, n: usize) -> Vec<u8> {
    let mut member = [0; 16];
    member[..8].copy_from_slice(&(n as u64).to_be_bytes());
    let now = clock::wall().as_secs();
    let record = Record {
        network: [7; 32],
        member: MemberId(member),
        serial: 1,
        key: *PrivateKey::generate(&mut OsEntropy).public().as_bytes(),
        not_before: now - 600,
        not_after: now + 86_400,
        roles: Roles::NONE,
        mac_limit: 0,
        name: format!("member-{n}"),
        segments: vec![(SegmentId::LOWEST, VlanSet::everything())],
        macs: Vec::new(),
        prefixes: Vec::new(),
        issuer: *authority.authority().as_bytes(),
    };
    let mut bytes = record.signed().expect("a record");
    let signature = authority.sign(Signs::Record, &bytes);
    bytes.extend_from_slice(&signature);
    bytes
}

/// How many are read and verified in a second.
fn verified(authority: &AuthorityKey, records: &[Vec<u8>]) -> f64 {
    let (who, some) = (authority.authority(), &records[..2000]);
    let began = Instant::now();
    for bytes in some {
        let (record, signature) = Record::parse(bytes).expect("a record");
        let signed = &bytes[..bytes.len() - 64];
        assert!(who.verifies(Signs::Record, signed, &signature));
        black_box(record);
    }
    some.len() as f64 / began.elapsed().as_secs_f64()
}

fn node(authority: &AuthorityKey) -> Node {
    let table = ForwardingTable::new(Limits::default(), (1, 2), &[]);
    let switch = Switch::new(table, StormLimits::default(), Layout::new(Vec::new()));
    let plane = Arc::new(Plane::new(switch));
    let now = clock::now();
    let settings = NodeSettings {
        keys: PrivateKey::generate(&mut OsEntropy).into(),
        network: Psks::default(),
        suites: Suite::offered(true),
        abilities: Abilities::NONE,
        post_quantum: PostQuantum::Off,
        rekey_after: REKEY_AFTER,
        wall: WallClock::new(clock::wall(), now, 0),
    };
    let mut node = Node::new(settings, plane, Box::new(OsEntropy), now);
    let mut key = [0; 32];
    OsEntropy.fill(&mut key);
    node.add_peer(PeerSettings {
        kind: Kind::Member,
        name: "the one that tells".into(),
        key: PublicKey::from_bytes(key).into(),
        psks: Psks::default(),
        relay: RelayUse::Allow,
        pass: Pass::Listed,
        keepalive: None,
        mtu: None,
        segments: None,
        vlans: None,
        roles: Services::NONE,
        claims: Default::default(),
        serves: false,
    });
    let is_in = node.set_network(
        NetworkSettings {
            realm: Realm {
                id: [7; 32],
                authorities: vec![authority.authority()],
            },
            own: None,
            grace: Duration::ZERO,
        },
        now,
    );
    assert!(is_in);
    node
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = text.lines().find(|l| l.starts_with("VmRSS:"));
    let words = line.and_then(|l| l.split_whitespace().nth(1));
    words.and_then(|w| w.parse().ok()).expect("a number")
}
