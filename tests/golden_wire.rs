//! The wire format, byte for byte: a small conversation with fixed dice against `keys/vectors/wire_v1.txt`.
//!
//! A difference means that members of two versions no longer understand each other. If that is meant, the version goes
//! up; `UPDATE_GOLDEN=1 cargo test --test golden_wire` writes the new bytes.

#[path = "support/frames.rs"]
mod frames;
#[path = "support/simulator.rs"]
mod simulator;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use l2vpn::noise::aead::Suite;
use l2vpn::place::PeerId;
use l2vpn::time::Duration;
use l2vpn::wire::datagram::Datagram;
use l2vpn::wire::kem::PostQuantum;
use simulator::*;

fn conversation() -> Vec<(&'static str, Vec<u8>)> {
    let mut recipes = vec![Recipe::new(0).untold(), Recipe::new(1).untold()];
    recipes.iter_mut().for_each(|r| {
        r.suites = Suite::offered(false);
        // Its bytes are never the same.
        r.post_quantum = PostQuantum::Off;
    });
    let mut net = Network::of(recipes, 4711);
    net.mtu = 1280;
    (0..2).for_each(|n| net.rebuild(n));
    let mut said = Vec::new();
    let mut take = |net: &mut Network, names: &[&'static str]| {
        net.run_for(Duration::from_millis(20));
        let packets: Vec<_> = net.recording.drain(..).collect();
        assert_eq!(packets.len(), names.len(), "{names:?}");
        said.extend(
            names
                .iter()
                .copied()
                .zip(packets.into_iter().map(|p| p.bytes)),
        );
    };
    net.introduce(0, 1);
    take(
        &mut net,
        &["initiation", "response", "first-packet", "its-answer"],
    );
    net.send(
        0,
        0,
        &frame(host(1), host(0), Some([0x81, 0, 0xa0, 42]), b"golden frame"),
    );
    take(&mut net, &["frame"]);
    let payload: Vec<u8> = (0..1300).map(|i| i as u8).collect();
    net.send(0, 0, &frame(host(1), host(0), None, &payload));
    take(&mut net, &["fragment-1", "fragment-2"]);
    net.send_all(0, 0, &[frames::udp(1, 10), frames::udp(2, 12)]);
    take(&mut net, &["bundle"]);
    net.send_all(0, 0, &[frames::tcp_super(1, 1400, 700)]);
    take(&mut net, &["whole-piece-1", "whole-piece-2"]);
    net.make_lossy(0, 1);
    net.send_all(0, 0, &[frames::tcp_super(1, 1400, 700)]);
    take(&mut net, &["aligned-piece-1", "aligned-piece-2"]);
    let now = net.now;
    net.member(0)
        .node
        .echo(PeerId(0), 7, b"golden echo", now)
        .unwrap();
    net.collect(0);
    take(&mut net, &["echo-request", "echo-reply"]);
    net.member(0).node.close(now);
    net.collect(0);
    take(&mut net, &["close", "close-again", "close-once-more"]);
    said
}

#[test]
fn the_bytes_are_those_of_version_1() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/vectors/wire_v1.txt");
    let mut text = String::from(
        "# One datagram a line: name, bytes in hexadecimal. Written by tests/golden_wire.rs.\n",
    );
    for (name, bytes) in conversation() {
        assert!(Datagram::parse(&bytes).is_ok(), "{name}");
        let hex = bytes.iter().fold(String::new(), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        });
        let _ = writeln!(text, "{name} {hex}");
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn the_same_dice_tell_the_same_story() {
    assert_eq!(conversation(), conversation());
}
