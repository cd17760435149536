//! What the fuzzer drives, one function for each target. `tests/fuzz_regressions.rs` drives the same functions with the
//! committed corpora and crashes, so every crash that was ever found is tried by `cargo test`.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use l2vpn::config::DemoKeys;
use l2vpn::config::check::check;
use l2vpn::dataplane::reassembly::{MAX_BYTES, MAX_FRAMES, Reassembly};
use l2vpn::drops::{DropReason, Drops};
use l2vpn::keys::{self, PrivateKey, PublicKey};
use l2vpn::noise::dialect::{Dialect, STATIC_NETWORK};
use l2vpn::noise::replay::{COUNTER_LIMIT, Mark, ReplayWindow, WINDOW};
use l2vpn::switch::port::{PortRule, VidSet};
use l2vpn::time::{Duration, Instant};
use l2vpn::wire::control;
use l2vpn::wire::datagram::{Datagram, INITIATION_HEADER};
use l2vpn::wire::ethernet::{Frame, Mac};
use l2vpn::wire::fragment::Fragment;
use l2vpn::wire::inner::Inner;
use l2vpn::wire::offer::{self, Offer};
use l2vpn::wire::segment::SegmentId;
use l2vpn::wire::vlan::{Vid, VlanClass};

use super::simulator::*;

pub type Target = fn(&[u8]);

pub const TARGETS: &[(&str, Target)] = &[
    ("ethernet_vlan", ethernet_vlan),
    ("outer_datagram", outer_datagram),
    ("init_responder", init_responder),
    ("inner_messages", inner_messages),
    ("reassembly", reassembly),
    ("replay_window", replay_window),
    ("config", config),
    ("key_file", key_file),
    ("two_nodes", two_nodes),
];

/// Takes numbers off the front; zeros when there is nothing left.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, &[][..]), |(f, r)| (*f, r));
        self.0 = rest;
        first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A frame is written back as it was, whatever port rules make of it in between.
pub fn ethernet_vlan(data: &[u8]) {
    let mut input = Input(data);
    let (kind, vid, other) = (input.u8(), input.u16() % 4096, input.u16() % 4096);
    let (vid, other) = (Vid::new(vid), Vid::new(other));
    let rule = match (kind % 4, vid) {
        (0, Some(vid)) => PortRule::Access(vid),
        (1, vid) => PortRule::Trunk {
            allowed: Some(other.into_iter().collect::<VidSet>()),
            native: vid,
        },
        (2, vid) => PortRule::Trunk {
            allowed: None,
            native: vid,
        },
        _ => PortRule::TRANSPARENT,
    };
    let Ok(frame) = Frame::parse(input.0) else {
        return;
    };
    let mut written = Vec::new();
    frame.parts.write(&mut written);
    assert_eq!(written, input.0);
    let Ok(canonical) = rule.ingress(frame.parts) else {
        return;
    };
    written.clear();
    canonical.write(&mut written);
    let again = Frame::parse(&written).expect("a canonical frame is a frame");
    assert_eq!(again.parts.tag(), canonical.tag());
    let class = VlanClass::of(canonical.tag());
    match &rule {
        PortRule::Access(vid) => assert_eq!(class, VlanClass::customer(*vid)),
        PortRule::Trunk {
            allowed: Some(allowed),
            native,
        } => {
            let vid = class
                .vid()
                .expect("a listed trunk carries no untagged frames");
            assert!(allowed.contains(vid) || *native == Some(vid));
        }
        PortRule::Trunk { .. } => {}
    }
    // What came in by a port may go out by it, and is then what it was but for a tag of the native or access VLAN.
    let out = rule.egress(canonical).expect("a port carries what it took");
    assert!(out.len() <= frame.parts.len());
}

/// A member with a session takes any datagram: no answer to it is longer, and the session lives on.
pub fn outer_datagram(data: &[u8]) {
    let _ = Datagram::parse(data);
    let mut net = Network::new(2, 1);
    net.introduce(0, 1);
    net.run_for(Duration::from_millis(10));
    net.recording.clear();
    net.inject(1, address(0), data);
    let answered: usize = net.recording.iter().map(|p| p.bytes.len()).sum();
    assert!(answered <= data.len());
    net.send(0, 0, &frame(host(1), host(0), None, b"still here"));
    net.run_for(Duration::from_millis(10));
    assert_eq!(net.member(1).delivered.len(), 1);
}

/// An initiation with a valid mac1 and anything behind it: made up, or a genuine one with changes.
pub fn init_responder(data: &[u8]) {
    let mut net = Network::new(2, 2);
    let receiver = net.recipes[1].public();
    let mut input = Input(data);
    let mut body = match input.u8() % 2 {
        0 => {
            let mut body = INITIATION_HEADER.to_vec();
            body.extend_from_slice(input.0);
            body.resize(body.len().clamp(104, 1100), 0);
            body
        }
        _ => {
            net.introduce(0, 1);
            let genuine = &net.recording[0].bytes;
            let mut body = genuine[..genuine.len() - 32].to_vec();
            while !input.is_empty() {
                let at = usize::from(input.u16()) % body.len();
                body[at] ^= input.u8();
            }
            body
        }
    };
    // The sender's index is covered by mac1 only, as in WireGuard: who can change it can as well drop the packet.
    let bound = |b: &[u8]| [&b[..4], &b[8..]].concat();
    let genuine = net.recording.first();
    let genuine = genuine.map(|g| bound(&g.bytes[..g.bytes.len() - 32]));
    let changed = genuine.is_none_or(|g| g != bound(&body));
    let mac1 = Dialect::of_network(&STATIC_NETWORK).mac1(&receiver, &body);
    body.extend_from_slice(&mac1);
    body.extend_from_slice(&[0; 16]);
    net.recording.clear();
    net.inject(1, address(0), &body);
    let answered: usize = net.recording.iter().map(|p| p.bytes.len()).sum();
    assert!(answered <= body.len());
    assert!(
        !changed || answered == 0,
        "a forged initiation was answered"
    );
    assert!(net.member(1).node.indices_in_use() <= 1 && !net.is_up(1, 0));
}

/// Inner messages, control messages and offers.
pub fn inner_messages(data: &[u8]) {
    match Inner::parse(data) {
        Ok(Inner::Control(body)) => {
            if let Ok(elements) = control::read(body) {
                for element in elements.flatten() {
                    let bytes = control::write(element);
                    let again: Vec<_> = control::read(&bytes).expect("our own").collect();
                    assert_eq!(again, [Ok(element)]);
                }
            }
        }
        Ok(Inner::Frame(_, bytes)) => assert_eq!(bytes, &data[4..]),
        Ok(Inner::Fragment(_, f)) => {
            assert!(usize::from(f.offset) + f.bytes.len() <= usize::from(f.total));
        }
        Ok(Inner::Bundle(_, entries)) => {
            let total: usize = entries.map(|(frame, _)| frame.len() + 2).sum();
            assert_eq!(total, data.len() - 4);
        }
        Ok(Inner::Padding | Inner::Close) | Err(_) => {}
    }
    if let Some(offer) = Offer::read(data) {
        assert_eq!(Offer::read(&offer.write()), Some(offer));
    }
    let _ = offer::read_first(data);
}

/// Pieces against a model that keeps each frame's bytes in a map: a frame comes out when every byte was given once.
pub fn reassembly(data: &[u8]) {
    let mut input = Input(data);
    let mut real = Reassembly::default();
    let drops = Drops::default();
    let segment = SegmentId::new(1).expect("not zero");
    type Bytes = BTreeMap<u16, u8>;
    let mut model: BTreeMap<u32, (u16, Bytes)> = BTreeMap::new();
    let mut dead: BTreeSet<u32> = BTreeSet::new();
    // Few ids, so that the bounds are not met and the model needs none.
    while !input.is_empty() {
        let id = u32::from(input.u8() % 8);
        let total = 1 + input.u16() % 40;
        let offset = input.u16() % 40;
        let len = usize::from(1 + input.u8() % 40);
        let bytes: Vec<u8> = (0..len)
            .map(|i| (id as u8) ^ (offset as u8).wrapping_add(i as u8))
            .collect();
        let body = [&Fragment::header(id, offset, total)[..], &bytes].concat();
        let Ok(piece) = Fragment::parse(&body) else {
            assert!(usize::from(offset) + len > usize::from(total));
            continue;
        };
        let got = real
            .add((1, segment), &piece, (Instant::ZERO, &drops))
            .map(|w| w.map(Vec::from));
        if dead.contains(&id) {
            assert_eq!(got, Err(DropReason::FragmentConflict));
            continue;
        }
        let (known, have) = model.entry(id).or_insert((total, Bytes::new()));
        let places = offset..offset + len as u16;
        if *known != total || places.clone().any(|p| have.contains_key(&p)) {
            assert_eq!(got, Err(DropReason::FragmentConflict));
            model.remove(&id);
            dead.insert(id);
            continue;
        }
        have.extend(places.zip(bytes));
        if have.len() == usize::from(total) {
            let whole: Vec<u8> = have.values().copied().collect();
            assert_eq!(got, Ok(Some(whole)));
            model.remove(&id);
        } else {
            assert_eq!(got, Ok(None));
        }
        let (frames, bytes) = real.size();
        assert!(frames <= MAX_FRAMES && bytes <= MAX_BYTES && frames == model.len());
    }
}

/// The window against a set.
pub fn replay_window(data: &[u8]) {
    let mut input = Input(data);
    let window = ReplayWindow::default();
    let (mut seen, mut next) = (BTreeSet::new(), 0u64);
    let mut counter = match input.u8() % 3 {
        0 => 0,
        1 => u64::from(input.u16()) << 20,
        _ => COUNTER_LIMIT - u64::from(input.u16()),
    };
    while !input.is_empty() {
        let step = u64::from(input.u16() & 0x7fff);
        counter = match input.u8() % 4 {
            0 => counter.saturating_add(step % 70),
            1 => counter.saturating_sub(step % 70),
            2 => counter.saturating_add(step),
            _ => counter.saturating_sub(step),
        };
        let fresh = counter < COUNTER_LIMIT && counter + WINDOW >= next && seen.insert(counter);
        let marked = window.mark(counter);
        assert_eq!(marked != Mark::Refused, fresh, "{counter}");
        if fresh {
            assert_eq!(marked == Mark::Newest, counter >= next);
            next = next.max(counter + 1);
        }
    }
}

/// Any text: a configuration, or findings with places inside the text.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (config, report) = check(Path::new("fuzz.toml"), &text, DemoKeys::Refuse);
    assert_eq!(config.is_none(), report.has_errors());
    let lines = text.matches('\n').count() + 1;
    for finding in &report.findings {
        let (line, column) = finding.place.expect("a place");
        assert!((1..=lines).contains(&line) && column >= 1);
        assert!(!finding.message.contains('\n'), "{}", finding.message);
    }
}

/// Any key file: a key whose text is the file's, or an error.
pub fn key_file(data: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("k");
    let mut file = std::fs::OpenOptions::new();
    let mut file = file
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .expect("a file");
    std::io::Write::write_all(&mut file, data).expect("written");
    if let Ok(key) = keys::read_private(&path) {
        let text = String::from_utf8_lossy(data);
        let again = PrivateKey::from_text(&key.to_text()).expect("its own text");
        assert_eq!(again.public(), key.public());
        assert_eq!(text.trim(), key.to_text().as_str());
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = text.parse::<PublicKey>()
    {
        assert_eq!(key.to_string(), text.trim());
    }
}

/// Two members under an arbitrary schedule of frames, losses, copies, delays, restarts, moves and goodbyes.
///
/// Nothing is delivered twice, nothing that was not sent; no counter is used twice with a key; memory stays bounded;
/// and when the storm is over they find each other again.
pub fn two_nodes(data: &[u8]) {
    let mut input = Input(data);
    let mut net = Network::new(2, u64::from(input.u16()));
    net.weather.delay = Duration::from_millis(u64::from(input.u8() % 40));
    let mut sent: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut delivered: [BTreeSet<Vec<u8>>; 2] = Default::default();
    let mut counters: BTreeSet<(u32, u64)> = BTreeSet::new();
    let mut number = 0u32;
    let mut checked = 0;
    net.introduce_all();
    let mut steps = 0;
    while !input.is_empty() && steps < 200 {
        steps += 1;
        let n = usize::from(input.u8() % 2);
        match input.u8() % 11 {
            0..=3 => {
                number += 1;
                let size = usize::from(input.u16() % 3000);
                let mut payload = number.to_be_bytes().to_vec();
                payload.resize(4 + size, n as u8);
                let bytes = frame(Mac::BROADCAST, host(n), None, &payload);
                net.send(n, 0, &bytes);
                sent.insert(bytes);
            }
            4 => net.run_for(Duration::from_millis(u64::from(input.u16() % 500))),
            5 => net.run_for(Duration::from_secs(u64::from(input.u8() % 200))),
            6 => net.weather.loss = u64::from(input.u8() % 80),
            7 => net.weather.jitter = Duration::from_millis(u64::from(input.u8())),
            8 => {
                // A copy of something that was on the wire, from anywhere.
                let packets = net.recording.len();
                if packets > 0 {
                    let packet = net.recording[usize::from(input.u16()) % packets].clone();
                    let from = if input.u8() % 2 == 0 {
                        packet.from
                    } else {
                        address(9)
                    };
                    let to = usize::from(packet.to == net.member(1).address);
                    net.inject(to, from, &packet.bytes);
                }
            }
            9 => {
                absorb(&mut net, &mut delivered, &sent);
                net.rebuild(n);
                net.introduce(n, 1 - n);
            }
            _ => {
                let port = 7000 + u16::from(input.u8());
                net.member(n).address.set_port(port);
            }
        }
        check_counters(&net, &mut counters, &mut checked);
        absorb(&mut net, &mut delivered, &sent);
        for n in 0..2 {
            assert!(net.member(n).node.indices_in_use() <= 5, "indices");
        }
    }
    net.weather = CALM;
    (0..2).for_each(|n| net.member(n).address = address(n));
    net.introduce_all();
    let end = net.now + Duration::from_secs(400);
    let found = net.run_until(end, Network::all_up);
    assert!(found, "they never found each other again");
}

/// Each datagram was recorded once when it was sent; a data packet's index and counter name its key and nonce.
fn check_counters(net: &Network, counters: &mut BTreeSet<(u32, u64)>, checked: &mut usize) {
    for packet in &net.recording[*checked..] {
        if let Ok(Datagram::Data(data)) = Datagram::parse(&packet.bytes) {
            let new = counters.insert((data.header.receiver, data.header.counter));
            assert!(new, "a counter was used twice");
        }
    }
    *checked = net.recording.len();
}

fn absorb(net: &mut Network, delivered: &mut [BTreeSet<Vec<u8>>; 2], sent: &BTreeSet<Vec<u8>>) {
    for (n, delivered) in delivered.iter_mut().enumerate() {
        for (_, _, frame) in std::mem::take(&mut net.member(n).delivered) {
            assert!(sent.contains(&frame), "delivered what nobody sent");
            assert!(delivered.insert(frame), "delivered twice");
        }
    }
}
