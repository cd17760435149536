//! What a handshake costs each end, with and without ML-KEM: `cargo bench --bench handshake`.
//!
//! One thread makes messages and reads them, in turn, for each kind of handshake; each figure is the median of several runs, in
//! microseconds, with the smallest and the largest.

use std::hint::black_box;
use std::time::{Duration, Instant};

use l2vpn::io::clock::OsEntropy;
use l2vpn::keys::PrivateKey;
use l2vpn::noise::dialect::{Dialect, STATIC_NETWORK, handshake_psk};
use l2vpn::noise::handshake::Local;
use l2vpn::noise::kem::KemKey;
use l2vpn::noise::psks::Chosen;
use l2vpn::wire::datagram::{Datagram, INITIATION_HEADER, RESPONSE_HEADER};
use l2vpn::wire::kem::ParameterSet;

const RUNS: usize = 9;
const HANDSHAKES: u32 = 500;

/// What is spent in the three steps of a handshake: message 1, message 2, and its reading; and the bytes of both messages.
#[derive(Clone, Copy, Default)]
struct Spent {
    steps: [Duration; 3],
    bytes: [usize; 2],
}

fn main() {
    // `cargo test --all-targets` starts this too, without wanting figures.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    println!("us a handshake: median (smallest-largest) of {RUNS} runs of {HANDSHAKES}\n");
    let kinds = [
        ("X25519 alone", None),
        ("with ML-KEM-512", Some(ParameterSet::MlKem512)),
        ("with ML-KEM-768", Some(ParameterSet::MlKem768)),
    ];
    let mut runs = vec![Vec::new(); kinds.len()];
    // In turn, so that whatever else the machine does falls on all alike.
    for _ in 0..RUNS {
        for (all, (_, set)) in runs.iter_mut().zip(kinds) {
            all.push(many(set));
        }
    }
    for (all, (name, _)) in runs.iter().zip(kinds) {
        let [one, two] = all[0].bytes;
        let initiator = spread(all, |s| s.steps[0] + s.steps[2]);
        let responder = spread(all, |s| s.steps[1]);
        println!(
            "{name}: initiator {initiator}, responder {responder}; messages of {one} and {two} bytes"
        );
    }
}

fn spread(all: &[Spent], of: impl Fn(&Spent) -> Duration) -> String {
    let mut us: Vec<f64> = all
        .iter()
        .map(|s| of(s).as_secs_f64() * 1e6 / f64::from(HANDSHAKES))
        .collect();
    us.sort_by(f64::total_cmp);
    format!(
        "{:.0} ({:.0}-{:.0})",
        us[us.len() / 2],
        us[0],
        us[us.len() - 1]
    )
}

fn many(set: Option<ParameterSet>) -> Spent {
    let dialect = Dialect::of_network(&STATIC_NETWORK);
    let keys = [0, 1].map(|_| PrivateKey::generate(&mut OsEntropy));
    let [a, b] = [&keys[0], &keys[1]].map(|key| Local {
        dialect: &dialect,
        key,
    });
    let mut spent = Spent::default();
    for _ in 0..HANDSHAKES {
        one(&a, &b, set, &mut spent);
    }
    spent
}

fn one(a: &Local<'_>, b: &Local<'_>, set: Option<ParameterSet>, spent: &mut Spent) {
    let began = Instant::now();
    let kem = set.map(|set| KemKey::generate(set).expect("AWS-LC"));
    // The rest of an offer takes some bytes, too.
    let mut payload = vec![0; 52];
    payload.extend(kem.iter().flat_map(KemKey::public));
    let made = a.initiate(
        &b.key.public(),
        INITIATION_HEADER,
        1,
        &payload,
        &mut OsEntropy,
    );
    let (state, initiation) = made.expect("a message");
    let state = state.with(kem);
    spent.steps[0] += began.elapsed();

    let began = Instant::now();
    let Ok(Datagram::Initiation(message)) = Datagram::parse(&initiation) else {
        panic!("no initiation");
    };
    let mut answering = b
        .accept(INITIATION_HEADER, message.noise, &mut OsEntropy)
        .expect("it verifies");
    let key = answering.payload()[52..].to_vec();
    let shared = answering.encapsulate(&key);
    assert_eq!(shared.is_some(), set.is_some());
    let psk = handshake_psk(&Chosen::default(), shared.as_ref());
    let answered = answering.respond(b, RESPONSE_HEADER, (2, 1), &psk, &[0; 40]);
    let (secret, response) = answered.expect("an answer");
    black_box(secret);
    spent.steps[1] += began.elapsed();

    let began = Instant::now();
    let Ok(Datagram::Response(message)) = Datagram::parse(&response) else {
        panic!("no response");
    };
    let shared = message.ciphertext.and_then(|c| state.open(c));
    let psk = handshake_psk(&Chosen::default(), shared.as_ref());
    let (secret, _) = state.finish(message.noise, &psk).ok().expect("it verifies");
    black_box(secret);
    spent.steps[2] += began.elapsed();
    spent.bytes = [initiation.len(), response.len()];
}
