//! What the fuzzer drives, one function for each target. `tests/fuzz_regressions.rs` drives the same functions with the
//! committed corpora and crashes, so every crash that was ever found is tried by `cargo test`.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use l2vpn::config::DemoKeys;
use l2vpn::config::check::check;
use l2vpn::dataplane::coalesce::{Coalescer, Joined};
use l2vpn::dataplane::joiner::{Joiner, MAX_SLOTS};
use l2vpn::dataplane::reassembly::{MAX_BYTES, MAX_FRAMES, Reassembly};
use l2vpn::dataplane::template::{Template, Workbench, packets};
use l2vpn::drops::{DropReason, Drops};
use l2vpn::keys::{self, PrivateKey, PublicKey};
use l2vpn::noise::dialect::{Dialect, STATIC_NETWORK};
use l2vpn::noise::replay::{COUNTER_LIMIT, Mark, ReplayWindow, WINDOW};
use l2vpn::place::PeerId;
use l2vpn::switch::port::PortRule;
use l2vpn::switch::translation::VidMap;
use l2vpn::time::{Duration, Instant};
use l2vpn::wire::bundle::{self, Entries};
use l2vpn::wire::control;
use l2vpn::wire::datagram::{Datagram, INITIATION_HEADER, Piece};
use l2vpn::wire::ethernet::{Frame, Mac, Parts};
use l2vpn::wire::fragment::Fragment;
use l2vpn::wire::inner::Inner;
use l2vpn::wire::layers::Layers;
use l2vpn::wire::offer::{self, Offer};
use l2vpn::wire::offload::{Checksum, Offload, VirtioHeader};
use l2vpn::wire::piece::PieceNote;
use l2vpn::wire::segment::SegmentId;
use l2vpn::wire::service::Service;
use l2vpn::wire::vlan::{Vid, VlanClass};
use l2vpn::wire::vlans::VidSet;

use super::frames;
use super::simulator::*;

#[path = "fuzzing_lan.rs"]
mod lan;
#[path = "fuzzing_paths.rs"]
mod paths;
#[path = "fuzzing_ways.rs"]
mod ways;

pub use lan::*;
pub use paths::*;
pub use ways::*;

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
    ("records", records),
    ("network_texts", network_texts),
    ("two_nodes", two_nodes),
    ("offload_header", offload_header),
    ("segmentation", segmentation),
    ("coalescing", coalescing),
    ("pieces", pieces),
    ("bundles", bundles),
    ("snooping", snooping),
    ("adverts", adverts),
    ("journal", journal),
    ("forwarding_table", forwarding_table),
    ("full_table", full_table),
    ("port_rules", port_rules),
    ("relayed", relayed),
    ("beacons", beacons),
    ("relay_framing", relay_framing),
    ("path_states", path_states),
    ("mapping_answers", mapping_answers),
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
    let rule = match (kind % 6, vid) {
        (0, Some(vid)) => PortRule::Access(vid),
        (1, vid) => PortRule::Trunk {
            allowed: Some(other.into_iter().collect::<VidSet>()),
            native: vid,
        },
        (2, vid) => PortRule::Trunk {
            allowed: None,
            native: vid,
        },
        (3, Some(vid)) => PortRule::Qinq(vid),
        (4, Some(vid)) => {
            let mut map = VidMap::default();
            map.insert(vid, other.unwrap_or(vid));
            PortRule::Translate(map)
        }
        _ => PortRule::TRANSPARENT,
    };
    let Ok(frame) = Frame::parse(input.0) else {
        return;
    };
    let mut written = Vec::new();
    frame.parts.write(&mut written);
    assert_eq!(written, input.0);
    // A guard is not passed by one more tag of VID 0.
    let rest = frame.parts.after_tag();
    let plain = Service::of(rest);
    let tagged = Service::of(&[&[0x81, 0, 0, 0], rest].concat());
    assert!(tagged == plain || tagged == Service::Unclear);
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
        PortRule::Qinq(vid) => assert_eq!(class, VlanClass::service(*vid)),
        PortRule::Translate(_) => assert_eq!(class.vid(), Some(other.or(vid).expect("a pair"))),
    }
    assert!(
        rule.vlans().contains(class),
        "what a port brings is what it announces"
    );
    let probes = [vid, other].into_iter().flatten();
    for probe in probes.flat_map(|v| [VlanClass::customer(v), VlanClass::service(v)]) {
        assert_eq!(rule.vlans().contains(probe), rule.carries(probe));
    }
    // What came in by a port may go out by it, and is then what it was but for a tag of the native or access VLAN.
    let out = rule.egress(canonical).expect("a port carries what it took");
    assert!(out.len() <= frame.parts.len());
    if matches!(rule, PortRule::Qinq(_) | PortRule::Translate(_)) || rule == PortRule::TRANSPARENT {
        written.clear();
        out.write(&mut written);
        assert_eq!(written, input.0);
    }
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
                    let bytes = control::write_bare(element);
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
        // VLANs that have no room are told as more than they are, never as less.
        let again = Offer::read(&offer.write()).expect("our own form");
        for ((id, told), (own, vlans)) in again.segments.iter().zip(&offer.segments) {
            assert_eq!((id, &vlans.clone().and(told)), (own, vlans));
        }
        let segments = offer.segments.clone();
        assert_eq!(Offer { segments, ..again }, offer);
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
    // It is not opened: that takes long on purpose.
    let text = String::from_utf8_lossy(data);
    if let Ok(envelope) = keys::Envelope::from_text(&text) {
        let written = envelope.to_text();
        assert_eq!(text.strip_suffix('\n').unwrap_or(&text), written);
        assert_eq!(keys::Envelope::from_text(&written), Ok(envelope));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = text.parse::<PublicKey>()
    {
        assert_eq!(key.to_string(), text.trim());
    }
}

/// Records and lists of revocations: what is read is written as it was, whole and as handshakes have it.
pub fn records(data: &[u8]) {
    use l2vpn::wire::asking;
    use l2vpn::wire::delegation::Delegation;
    use l2vpn::wire::proof::Proof;
    use l2vpn::wire::record::Record;
    use l2vpn::wire::revocation::Revocations;
    if let Ok((record, signature)) = Record::parse(data) {
        let again = record.signed().expect("its own form");
        assert_eq!([&again[..], &signature].concat(), data);
    }
    if let Ok(proof) = Proof::parse(data) {
        assert_eq!(proof.to_bytes().as_deref(), Ok(data), "its own form");
        let short = Proof::shortened(data).expect("a whole one");
        let whole = Proof::completed(&short, &proof.record.network, &proof.record.key);
        assert_eq!(whole.as_deref(), Some(data));
    }
    if let Ok((delegation, signature)) = Delegation::parse(data) {
        let again = delegation.signed().expect("its own form");
        assert_eq!([&again[..], &signature].concat(), data);
    }
    if let Some(ask) = asking::Ask::parse(data) {
        assert_eq!(ask.to_bytes(), data);
    }
    if let Some(answer) = asking::Answer::parse(data) {
        assert_eq!(answer.to_bytes(), data);
        if let asking::Answer::Given(asking::Gift::Segments, names) = answer {
            let _ = asking::read_segment_notes(names);
        }
    }
    if let Ok((list, signature)) = Revocations::parse(data) {
        let again = list.signed().expect("its own form");
        assert_eq!([&again[..], &signature].concat(), data);
        for (member, serial) in &list.members {
            assert!(list.has((member, *serial), &[0; 32]));
        }
    }
    let _ = Proof::completed(data, &[1; 32], &[2; 32]).map(|whole| Proof::parse(&whole));
}

/// The texts of records, networks and logs have one form each.
pub fn network_texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for armor in [
        keys::Armor::Record,
        keys::Armor::Revocations,
        keys::Armor::Delegation,
    ] {
        if let Some(bytes) = armor.from_text(&text) {
            assert_eq!(armor.to_text(&bytes), text);
        }
        if let Some(all) = armor.all_from_text(&text) {
            let again: String = all.iter().map(|bytes| armor.to_text(bytes)).collect();
            assert_eq!(again, text);
        }
    }
    if let Ok(network) = keys::NetworkFile::from_text(&text) {
        assert_eq!(network.to_text(), text);
    }
    if let Ok(invitation) = l2vpn::trust::Invitation::from_text(&text) {
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        assert_eq!(*invitation.to_text(), plain);
    }
    if let Ok(book) = l2vpn::trust::invites::from_text(&text) {
        let again = l2vpn::trust::invites::to_text(&book).expect("a book");
        assert!(l2vpn::trust::invites::from_text(&again).is_ok());
        let _ = book.psks(&[1; 32]);
    }
    if let Ok(chain) = keys::verify_audit(&text) {
        assert_eq!(chain.entries, text.lines().count() as u64);
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

/// A virtio header: ten bytes.
fn virtio(input: &mut Input<'_>) -> VirtioHeader {
    let bytes: [u8; 10] = std::array::from_fn(|_| input.u8());
    let mut header = VirtioHeader::from_bytes(&bytes);
    // Sensible kinds more often than chance would have it.
    header.flags &= 3;
    header.gso_type = [0, 1, 4, 5, 0x81, bytes[1]][usize::from(bytes[1]) % 6];
    header
}

/// Any header before any frame is refused, or describes it: what is written back for a TAP lies within the frame, and
/// each packet of it is a frame whose checksum holds.
pub fn offload_header(data: &[u8]) {
    let mut input = Input(data);
    let header = virtio(&mut input);
    let mut frame = input.0.to_vec();
    let Ok(offload) = Offload::of_port(header, &mut frame) else {
        return;
    };
    check_offload(&frame, &offload);
    let told = (header.gso_size, offload.checksum, offload.ecn);
    let Ok(parsed) = Frame::parse(&frame) else {
        return;
    };
    let rest = parsed.parts.after_tag();
    if let Ok(offload) = Offload::of_peer(told, rest, rest.len()) {
        check_offload(&frame, &offload);
    }
}

fn check_offload(frame: &[u8], offload: &Offload) {
    let Ok(parsed) = Frame::parse(frame) else {
        assert_eq!(*offload, Offload::NONE);
        return;
    };
    let parts = parsed.parts;
    let header = offload.to_virtio(parts.before_rest());
    assert_eq!(VirtioHeader::from_bytes(&header.to_bytes()), header);
    if header.flags & 1 != 0 {
        let place = usize::from(header.csum_start) + usize::from(header.csum_offset);
        assert!(place + 2 <= frame.len() && usize::from(header.hdr_len) <= frame.len());
    }
    assert!(header.gso_type == 0 || header.gso_size > 0 && header.flags & 1 != 0);
    let mut carried = 0;
    packets(
        &parts,
        offload,
        usize::MAX,
        &mut Workbench::default(),
        |p| {
            let mut bytes = Vec::new();
            p.write(&mut bytes);
            let packet = Frame::parse(&bytes).expect("a packet");
            let rest = packet.parts.after_tag();
            if offload.checksum == Checksum::Begun {
                let layers = Layers::read(rest).expect("layers");
                assert!(layers.checksum_holds(rest));
                carried += rest.len() - layers.payload;
            }
        },
    );
    if let (Checksum::Begun, Some(layers)) = (offload.checksum, offload.layers) {
        assert_eq!(carried, parts.after_tag().len() - layers.payload);
    }
}

/// A frame of a recipe that the input chooses, as a host would make it.
fn recipe(input: &mut Input<'_>) -> (frames::Recipe, u16) {
    let shape = input.u8();
    let len = usize::from(input.u16()) % 20_000 + 33;
    let size = (input.u16() % 3000).max(32);
    let recipe = frames::Recipe {
        tags: match shape % 3 {
            0 => vec![],
            1 => vec![0x81, 0, 0xa0, 20],
            _ => vec![0x88, 0xa8, 0, 7, 0x81, 0, 0xa0, 20],
        },
        v6: shape & 4 != 0,
        udp: shape & 8 != 0,
        network_options: usize::from(shape >> 4 & 1) * 8,
        tcp_options: usize::from(shape >> 5 & 7) * 4,
        flags: 0x10 | (input.u8() & 0x89),
        seq: u32::from(input.u16()) << 16,
        id: input.u16(),
        payload: frames::payload(len),
        ..frames::Recipe::default()
    };
    let size = match recipe.udp {
        true => size.max(len.div_ceil(64) as u16),
        false => size,
    };
    (recipe, size)
}

/// A super-frame cut to any size holds its bytes in order, and so does one whose headers were damaged, if it is one still.
pub fn segmentation(data: &[u8]) {
    let mut input = Input(data);
    let (recipe, size) = recipe(&mut input);
    let (header, mut frame) = recipe.begun(size);
    while input.0.len() > 2 {
        let at = usize::from(input.u16()) % frame.len().min(150);
        frame[at] ^= input.u8();
    }
    if let Ok(offload) = Offload::of_port(header, &mut frame) {
        check_offload(&frame, &offload);
    }
}

/// Frames of any kind in any order: each flow comes out of the coalescer as it went in.
pub fn coalescing(data: &[u8]) {
    let mut input = Input(data);
    let mut coalescer = Coalescer::default();
    let (mut came, mut went): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    let origin = (PeerId(1), SegmentId::LOWEST);
    let mut seqs = [1000u32; 4];
    let mut steps = 0;
    while !input.is_empty() && steps < 100 {
        steps += 1;
        let (kind, len) = (input.u8(), usize::from(input.u8()) * 6 + 1);
        let flow = usize::from(kind & 3);
        let packet = frames::Recipe {
            udp: flow > 1,
            v6: flow % 2 == 1,
            seq: seqs[flow],
            id: steps,
            flags: if kind & 0x40 != 0 { 0x18 } else { 0x10 },
            tcp_options: usize::from(kind >> 2 & 1) * 12,
            payload: frames::payload(len),
            ..frames::Recipe::default()
        };
        seqs[flow] = seqs[flow].wrapping_add(len as u32);
        let mut bytes = packet.whole();
        if kind & 0x80 != 0 {
            let at = usize::from(input.u8()) % bytes.len();
            bytes[at] ^= input.u8();
        }
        let Ok(frame) = Frame::parse(&bytes) else {
            continue;
        };
        came.push(bytes.clone());
        let mut each = |_, parts: &Parts<'_>, offload: &Offload| {
            let mut bench = Workbench::default();
            packets(parts, offload, usize::MAX, &mut bench, |p| {
                let mut bytes = Vec::new();
                p.write(&mut bytes);
                went.push(bytes);
            });
        };
        let parts = (&frame.parts, Checksum::Unverified);
        if coalescer.add(origin, parts, &mut each) == Joined::Alone {
            coalescer.flush(&mut each);
            each(origin, &frame.parts, &Offload::NONE);
        }
    }
    coalescer.flush(&mut |_, parts: &Parts<'_>, offload: &Offload| {
        packets(parts, offload, usize::MAX, &mut Workbench::default(), |p| {
            let mut bytes = Vec::new();
            p.write(&mut bytes);
            went.push(bytes);
        });
    });
    assert_eq!(came.len(), went.len());
    // The order among flows may change, that within one may not; the identification of IPv4 is not looked at.
    let key = |f: &Vec<u8>| {
        let mut f = f.clone();
        if f.len() > 26 && f[12..15] == [8, 0, 0x45] {
            f[18..20].fill(0);
            f[24..26].fill(0);
        }
        f
    };
    let sorted = |all: &[Vec<u8>]| {
        let mut all: Vec<_> = all.iter().map(key).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&came), sorted(&went));
}

/// Pieces of anything in any order: nothing panics, memory is bounded, and what comes out lies within what was said.
pub fn pieces(data: &[u8]) {
    let mut input = Input(data);
    let mut joiner = Joiner::default();
    let drops = Drops::default();
    let (recipe, size) = recipe(&mut input);
    let (_, frame) = recipe.begun(size);
    let head_len = frame.len() - recipe.payload.len();
    let mut head = frame[..head_len].to_vec();
    let mut steps = 0;
    while !input.is_empty() && steps < 200 {
        steps += 1;
        let kind = input.u8();
        let number = u16::from(input.u8());
        let piece = Piece {
            index: number % 66,
            is_last: kind & 1 != 0,
            is_aligned: kind & 2 != 0,
        };
        let base = u64::from(kind >> 2 & 3) * 100;
        let offset = input.u16();
        let note = PieceNote {
            segment: SegmentId::LOWEST,
            size,
            checksum: Checksum::Begun,
            ecn: kind & 0x10 != 0,
            total: recipe.payload.len() as u16,
            offset: if piece.is_aligned { offset } else { 0 },
            head: &head,
        };
        let mut text = Vec::new();
        let part = usize::from(input.u16()) % 1500;
        if piece.is_aligned {
            text.extend_from_slice(&recipe.payload[..part.min(recipe.payload.len())]);
            note.write_back(&mut text);
        } else {
            if piece.index == 0 {
                note.write_front(&mut text);
            }
            text.resize(text.len().max(600) + usize::from(kind & 0x20), 0x5a);
        }
        if kind & 0x40 != 0 && !text.is_empty() {
            let at = text.len() - 1 - usize::from(input.u16()) % text.len().min(300);
            text[at] ^= input.u8();
        }
        let counter = base + u64::from(piece.index);
        let authentic = kind & 0x80 == 0;
        let _ = joiner.add(
            (1, PeerId(1)),
            (counter, piece),
            text.len(),
            &drops,
            |place| {
                place.copy_from_slice(&text);
                if authentic {
                    Ok(())
                } else {
                    Err(DropReason::AuthFailed)
                }
            },
        );
        if kind & 0x08 != 0 {
            joiner.flush(&drops, |run| {
                assert!(
                    run.range.end <= usize::from(run.note.total),
                    "{:?} {:?}",
                    run.range,
                    run.note
                );
                assert_eq!(run.range.len(), run.payload.len());
                let template = Template::new(run.note.head, &run.offload, run.note.total.into());
                let template = template.expect("a run has layers");
                let mut out = Vec::new();
                template.write_head(&run.range, None, &mut out);
                assert_eq!(out.len(), run.note.head.len());
            });
        }
        assert!(joiner.len() <= MAX_SLOTS);
        if kind & 0x04 != 0 && head.len() > 20 {
            let at = usize::from(input.u16()) % head.len();
            head[at] ^= input.u8() & 0x0f;
        }
    }
}

/// A bundle and frames of it: all entries or none, and they fill it.
pub fn bundles(data: &[u8]) {
    let Ok(entries) = Entries::parse(data) else {
        return;
    };
    let mut again = Vec::new();
    for (frame, checksum) in entries {
        bundle::write_header(frame.len(), checksum, &mut again);
        again.extend_from_slice(frame);
        let Ok(parsed) = Frame::parse(frame) else {
            continue;
        };
        let rest = parsed.parts.after_tag();
        if let Ok(offload) = Offload::of_peer((0, checksum, false), rest, rest.len()) {
            check_offload(frame, &offload);
        }
    }
    assert_eq!(again, data);
}
