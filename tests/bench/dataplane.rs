//! What a frame costs in memory, step by step: `cargo bench --bench dataplane`.
//!
//! Ciphers by size, cutting and joining, coalescing, the table, and a whole member on both sides of a wire that is a vector.

#[path = "../support/simulator.rs"]
mod simulator;

#[path = "../support/frames.rs"]
mod frames;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use l2vpn::dataplane::coalesce::Coalescer;
use l2vpn::dataplane::template::{Workbench, packets};
use l2vpn::noise::aead::{AeadKey, Suite};
use l2vpn::place::{PeerId, Place};
use l2vpn::switch::table::{ForwardingTable, Home, Key, Limits};
use l2vpn::time::{Duration, Instant};
use l2vpn::wire::checksum;
use l2vpn::wire::ethernet::{Frame, Mac};
use l2vpn::wire::offload::{Checksum, Offload};
use l2vpn::wire::vlan::VlanClass;
use simulator::*;
use zeroize::Zeroizing;

fn main() {
    divan::main();
}

const SIZES: [usize; 4] = [64, 256, 1420, 8192];

fn seal(bencher: Bencher<'_, '_>, suite: Suite, size: usize) {
    let Some(key) = AeadKey::new(suite, &Zeroizing::new([7; 32])) else {
        return;
    };
    let text = vec![0x5a; size];
    let mut out = vec![0; size + 16];
    let mut counter = 0;
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        counter += 1;
        key.seal_to(counter, &[1; 16], &text, &mut out)
    });
}

fn open(bencher: Bencher<'_, '_>, suite: Suite, size: usize) {
    let Some(key) = AeadKey::new(suite, &Zeroizing::new([7; 32])) else {
        return;
    };
    let mut sealed = vec![0; size + 16];
    key.seal_to(1, &[1; 16], &vec![0x5a; size], &mut sealed);
    let mut text = vec![0; size];
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| key.open_to(1, &[1; 16], &sealed, &mut text));
}

#[divan::bench(args = SIZES)]
fn seal_aes_256_gcm(bencher: Bencher<'_, '_>, size: usize) {
    seal(bencher, Suite::Aes256Gcm, size);
}

#[divan::bench(args = SIZES)]
fn open_aes_256_gcm(bencher: Bencher<'_, '_>, size: usize) {
    open(bencher, Suite::Aes256Gcm, size);
}

#[divan::bench(args = SIZES)]
fn seal_chacha20_poly1305(bencher: Bencher<'_, '_>, size: usize) {
    seal(bencher, Suite::ChaCha20Poly1305, size);
}

#[divan::bench(args = SIZES)]
fn open_chacha20_poly1305(bencher: Bencher<'_, '_>, size: usize) {
    open(bencher, Suite::ChaCha20Poly1305, size);
}

#[divan::bench(args = SIZES)]
fn internet_checksum(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = vec![0x5a; size];
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| checksum::fold(checksum::add(0, &bytes)));
}

/// A super-frame of 45 packets into packets with complete checksums.
#[divan::bench]
fn segment_a_super_frame(bencher: Bencher<'_, '_>) {
    let (header, mut bytes) = frames::tcp_super(1, 64_000, 1448);
    let offload = Offload::of_port(header, &mut bytes).expect("good");
    let frame = Frame::parse(&bytes).expect("good");
    let mut bench = Workbench::default();
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| {
            let mut total = 0;
            packets(&frame.parts, &offload, usize::MAX, &mut bench, |p| {
                total += p.len()
            });
            total
        });
}

/// Forty-four packets into one super-frame.
#[divan::bench]
fn coalesce_a_train(bencher: Bencher<'_, '_>) {
    let train = frames::tcp_train(44, 1448);
    let bytes: usize = train.iter().map(Vec::len).sum();
    let mut coalescer = Coalescer::default();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let mut total = 0;
        let mut each = |_, frame: &l2vpn::wire::ethernet::Parts<'_>, _: &Offload| {
            total += frame.len();
        };
        for packet in &train {
            let frame = Frame::parse(packet).expect("good");
            let origin = (PeerId(0), segment(1));
            coalescer.add(origin, (&frame.parts, Checksum::Unverified), &mut each);
        }
        coalescer.flush(&mut each);
        total
    });
}

const PEER: Home = Home::heard(Place::Peer(PeerId(1)));

fn key(n: u64) -> Key {
    Key::new(segment(1), VlanClass::UNTAGGED, Mac::from_u64(n * 2))
}

fn full_table(entries: u64) -> ForwardingTable {
    let limits = Limits {
        total: 200_000,
        per_place: 200_000,
        ..Limits::default()
    };
    let table = ForwardingTable::new(limits, (1, 2), &[]);
    let now = Instant::from_micros(1);
    (0..entries).for_each(|n| {
        let _ = table.learn(key(n), PEER, now);
    });
    table
}

#[divan::bench(args = [100, 10_000, 100_000])]
fn look_up_a_mac(bencher: Bencher<'_, '_>, entries: u64) {
    let table = full_table(entries);
    let now = Instant::from_micros(1);
    let mut n = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        n = (n + 7919) % entries;
        table.look_up(key(n), now)
    });
}

/// From one member's port to another's, the wire being memory: what the program itself costs.
fn cross(bencher: Bencher<'_, '_>, batch: Vec<(l2vpn::wire::offload::VirtioHeader, Vec<u8>)>) {
    let mut net = Network::new(2, 1);
    net.introduce(0, 1);
    net.run_for(Duration::from_millis(100));
    net.record = false;
    net.weather.delay = Duration::ZERO;
    net.learn_hosts();
    let bytes: usize = batch.iter().map(|(_, f)| f.len()).sum();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        net.cross(0, 1, &batch);
    });
}

#[divan::bench]
fn member_to_member_a_super_frame(bencher: Bencher<'_, '_>) {
    cross(bencher, vec![frames::tcp_super(1, 64_000, 1448)]);
}

#[divan::bench]
fn member_to_member_64_small_frames(bencher: Bencher<'_, '_>) {
    cross(bencher, (0..64).map(|n| frames::udp(n, 22)).collect());
}

#[divan::bench]
fn member_to_member_one_full_frame(bencher: Bencher<'_, '_>) {
    cross(bencher, vec![frames::udp(1, 1472)]);
}
