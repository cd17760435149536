//! Properties of every parser: what was written is read back, and arbitrary bytes never panic.

use std::path::Path;

use etherparse::{EtherType, LinkExtSlice, SingleVlanSlice, SlicedPacket};
use l2vpn::config::DemoKeys;
use l2vpn::config::check::check;
use l2vpn::dataplane::reassembly::{MAX_BYTES, MAX_FRAMES, Reassembly};
use l2vpn::drops::{DropReason, Drops};
use l2vpn::keys::{PrivateKey, Psk, PublicKey};
use l2vpn::time::Instant;
use l2vpn::wire::control::{self, Element};
use l2vpn::wire::datagram::{Cookie, DataHeader, Datagram};
use l2vpn::wire::ethernet::{Frame, Mac};
use l2vpn::wire::fragment::{Fragment, piece_size};
use l2vpn::wire::inner::{self, Inner};
use l2vpn::wire::offer::{self, Abilities, Offer};
use l2vpn::wire::segment::SegmentId;
use l2vpn::wire::vlan::{TPID_CUSTOMER, TPID_SERVICE, TPID_STACKED, Tag, Vid, VlanClass};
use l2vpn::wire::vlans::VlanSet;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

fn segment() -> impl Strategy<Value = SegmentId> {
    (1..=SegmentId::MAX).prop_map(|n| SegmentId::new(n).unwrap())
}

/// Frames that are often tagged, sometimes cut off.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![
        Just(vec![]),
        (
            prop_oneof![Just(0x8100u16), Just(0x88a8), Just(0x9100)],
            any::<u16>()
        )
            .prop_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat()),
    ];
    (
        any::<[u8; 12]>(),
        vec(tag, 0..3),
        any::<u16>(),
        bytes(80),
        0..200usize,
    )
        .prop_map(|(addresses, tags, ethertype, payload, cut)| {
            let mut frame = addresses.to_vec();
            tags.iter().for_each(|t| frame.extend_from_slice(t));
            frame.extend_from_slice(&ethertype.to_be_bytes());
            frame.extend_from_slice(&payload);
            frame.truncate(cut);
            frame
        })
}

/// What an independent parser takes for the outermost tag.
fn oracle(bytes: &[u8]) -> Option<(Mac, Mac, Option<Tag>)> {
    let packet = SlicedPacket::from_ethernet(bytes).ok()?;
    let etherparse::LinkSlice::Ethernet2(ethernet) = packet.link? else {
        return None;
    };
    let tag = packet.link_exts.first().and_then(|ext| match ext {
        LinkExtSlice::Vlan(vlan) => Some(vlan_tag(vlan, ethernet.ether_type())),
        _ => None,
    });
    Some((Mac(ethernet.destination()), Mac(ethernet.source()), tag))
}

fn vlan_tag(vlan: &SingleVlanSlice<'_>, tpid: EtherType) -> Tag {
    let priority = u16::from(vlan.priority_code_point().value());
    let dei = u16::from(vlan.drop_eligible_indicator());
    let tci = priority << 13 | dei << 12 | vlan.vlan_identifier().value();
    Tag::new(tpid.0, tci)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn ethernet_agrees_with_an_independent_parser(bytes in frame()) {
        match Frame::parse(&bytes) {
            Ok(frame) => {
                let mut written = Vec::new();
                frame.parts.write(&mut written);
                prop_assert_eq!(&written, &bytes);
                prop_assert_eq!(frame.parts.len(), bytes.len());
                if let Some((destination, source, tag)) = oracle(&bytes) {
                    prop_assert_eq!((frame.destination, frame.source), (destination, source));
                    prop_assert_eq!(frame.parts.tag(), tag);
                }
            }
            Err(DropReason::Runt) => prop_assert!(bytes.len() < 14),
            Err(DropReason::TruncatedTag) => prop_assert!(oracle(&bytes).is_none_or(|o| o.2.is_none()) || bytes.len() < 18),
            Err(DropReason::ReservedVid) => prop_assert_eq!(bytes[15] as u16 | (bytes[14] as u16 & 15) << 8, 4095),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn tags_go_on_and_off_without_a_trace(bytes in frame(), vid in 1..4095u16, pcp in 0..8u8) {
        if let Ok(frame) = Frame::parse(&bytes) {
            let tag = Tag::customer(Vid::new(vid).unwrap(), pcp);
            let mut tagged = Vec::new();
            frame.parts.with_tag(Some(tag)).write(&mut tagged);
            let again = Frame::parse(&tagged).unwrap();
            prop_assert_eq!(again.parts.tag(), Some(tag));
            let mut back = Vec::new();
            again.parts.with_tag(frame.parts.tag()).write(&mut back);
            prop_assert_eq!(back, bytes);
        }
    }

    #[test]
    fn vlan_classes_fit_thirteen_bits(tpid in prop_oneof![Just(TPID_CUSTOMER), Just(TPID_SERVICE), Just(TPID_STACKED)], tci: u16) {
        let class = VlanClass::of(Some(Tag::new(tpid, tci)));
        prop_assert_eq!(VlanClass::from_bits(class.bits()), class);
    }

    #[test]
    fn macs_and_keys_round_trip_as_text(mac: [u8; 6], key: [u8; 32]) {
        let mac = Mac(mac);
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
        let public = PrivateKey::from_bytes(key).public();
        prop_assert_eq!(public.to_string().parse::<PublicKey>(), Ok(public));
        let private = PrivateKey::from_text(&PrivateKey::from_bytes(key).to_text()).unwrap();
        prop_assert_eq!(private.public(), public);
        let text = Psk::from_bytes(key).to_text();
        prop_assert_eq!(&*Psk::from_text(&text).unwrap().to_text(), &*text);
    }

    #[test]
    fn texts_never_panic(text in "\\PC{0,60}") {
        let _ = text.parse::<Mac>();
        let _ = text.parse::<PublicKey>();
        let _ = PrivateKey::from_text(&text);
        let _ = text.parse::<l2vpn::config::EndpointName>();
    }

    #[test]
    fn datagrams_never_panic_and_data_headers_round_trip(kind in 0..16u8, mut body in bytes(300), receiver: u32, counter: u64) {
        if let Some(first) = body.first_mut() {
            *first = kind;
        }
        let _ = Datagram::parse(&body);
        let mut data = DataHeader::new(receiver, counter).to_bytes().to_vec();
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&body);
        match Datagram::parse(&data) {
            Ok(Datagram::Data(d)) => {
                prop_assert_eq!(d.header, DataHeader::new(receiver, counter));
                prop_assert_eq!(d.sealed.len(), 16 + body.len());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn cookies_round_trip(receiver: u32, nonce: [u8; 24], sealed: [u8; 32]) {
        let bytes = Cookie { receiver, nonce, sealed: &sealed }.to_bytes().unwrap();
        match Datagram::parse(&bytes) {
            Ok(Datagram::Cookie(c)) => prop_assert_eq!((c.receiver, c.nonce, c.sealed), (receiver, nonce, &sealed[..])),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn inner_messages_never_panic_and_frames_round_trip(plain in bytes(100), segment in segment()) {
        let _ = Inner::parse(&plain);
        let mut bytes = inner::header(inner::TYPE_FRAME, segment).to_vec();
        bytes.extend_from_slice(&plain);
        prop_assert_eq!(Inner::parse(&bytes), Ok(Inner::Frame(segment, &plain)));
    }

    #[test]
    fn control_messages_round_trip(token: [u8; 8], id: u32, echo in bytes(1024), junk in bytes(60)) {
        for element in [
            Element::PathChallenge(token),
            Element::PathResponse(token),
            Element::EchoRequest(id, &echo),
            Element::EchoReply(id, &echo),
        ] {
            let bytes = control::write_bare(element);
            let read: Vec<_> = control::read(&bytes).unwrap().collect();
            prop_assert_eq!(read, vec![Ok(element)]);
        }
        if let Ok(elements) = control::read(&junk) {
            prop_assert!(elements.count() <= junk.len());
        }
    }

    #[test]
    fn offers_round_trip(
        suites: u8,
        segments in btree_map(segment(), vec(0u16..8192, 0..40), 0..64),
        boot: [u8; 8],
        edition: u32,
        crossing: bool,
        junk in bytes(80),
    ) {
        let vlans = |bits: Vec<u16>| bits.into_iter().fold(VlanSet::default(), |s, b| s.with(VlanClass::from_bits(b)));
        let segments: Vec<_> = segments.into_iter().map(|(id, bits)| (id, vlans(bits))).collect();
        let offer = Offer { suites, segments, boot, edition, crossing, abilities: Abilities::BUNDLES, ticket: None, invite: None, psk_tags: Default::default(), record: None, held: None, kem_key: None };
        let written = offer.write();
        prop_assert!(written.len() <= 470, "it fits an initiation: {}", written.len());
        let read = Offer::read(&written).unwrap();
        // What has no room is told as more than it is, never as less.
        for ((id, told), (own, vlans)) in read.segments.iter().zip(&offer.segments) {
            prop_assert_eq!(id, own);
            prop_assert_eq!(&vlans.clone().and(told), vlans);
        }
        prop_assert_eq!(Offer { segments: offer.segments.clone(), ..read }, offer);
        let _ = Offer::read(&junk);
        let _ = offer::read_first(&junk);
    }

    #[test]
    fn pieces_in_any_order_with_copies_make_the_frame_or_nothing(
        frame in vec(any::<u8>(), 1..4000),
        room in 1..1500usize,
        order in vec(any::<prop::sample::Index>(), 1..60),
        id: u32,
        segment in segment(),
    ) {
        let size = piece_size(frame.len(), room).unwrap();
        let pieces: Vec<_> = frame.chunks(size).enumerate().collect();
        let total = frame.len() as u16;
        let mut reassembly = Reassembly::default();
        let drops = Drops::default();
        let mut seen = std::collections::BTreeSet::new();
        let mut copied = false;
        let mut made = 0;
        // A random order with copies, and then all that were left out.
        let shuffled = order.iter().map(|i| i.index(pieces.len())).chain(0..pieces.len());
        for at in shuffled {
            if made == 0 && !copied && seen.len() == pieces.len() {
                break;
            }
            let fresh = seen.insert(at);
            if !fresh && made == 0 {
                // The same piece twice overlaps itself: the frame is gone, and stays so.
                copied = true;
            }
            if made > 0 {
                break;
            }
            let (number, bytes) = pieces[at];
            let header = Fragment::header(id, (number * size) as u16, total);
            let body = [&header, bytes].concat();
            let piece = Fragment::parse(&body).unwrap();
            if let Ok(Some(whole)) = reassembly.add((1, segment), &piece, (Instant::ZERO, &drops)) {
                prop_assert_eq!(whole, &frame[..]);
                made += 1;
            }
            let (frames, bytes) = reassembly.size();
            prop_assert!(frames <= MAX_FRAMES && bytes <= MAX_BYTES);
        }
        prop_assert_eq!(made, usize::from(!copied));
    }

    #[test]
    fn configurations_never_panic(text in "\\PC{0,200}") {
        let _ = check(Path::new("x.toml"), &text, DemoKeys::Refuse);
    }

    #[test]
    fn configurations_of_familiar_words_never_panic(words in vec(prop_oneof![
        Just("[node]\n"), Just("[[port]]\n"), Just("[[peer]]\n"), Just("[[segment]]\n"), Just("[switch]\n"),
        Just("key = "), Just("tap = "), Just("vlans = "), Just("mode = "), Just("id = "), Just("name = "),
        Just("\"access\"\n"), Just("[1, \"2-3\"]\n"), Just("7\n"), Just("{}\n"), Just("[]\n"), Just("\"\"\n"),
        Just("1979-05-27\n"), Just("-0.0\n"), Just("peer."), Just("port = ["), Just("]\n"), Just("mtu = "),
    ], 0..20)) {
        let text = words.concat();
        let (config, report) = check(Path::new("x.toml"), &text, DemoKeys::Refuse);
        prop_assert_eq!(config.is_none(), report.has_errors());
    }
}
