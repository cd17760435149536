//! Our cutting and joining against the kernel's: a bridge between a TAP with offloads and one without.
//!
//! What is written to the one with a virtio header comes out of the other as the kernel cut it: complete packets.

use std::time::{Duration, Instant};

use l2vpn::dataplane::coalesce::{Coalescer, Joined};
use l2vpn::dataplane::template::{Workbench, packets};
use l2vpn::io::links::{LinkSettings, Links};
use l2vpn::io::tap::{Tap, Wish};
use l2vpn::place::PeerId;
use l2vpn::wire::ethernet::{Frame, Parts};
use l2vpn::wire::offload::{Checksum, Offload, VIRTIO_LEN};
use l2vpn::wire::segment::SegmentId;

use super::frames::{self, Recipe};

/// A TAP that takes super-frames, and one that takes none, in one bridge.
struct Bridge {
    fast: Tap,
    plain: Tap,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

impl Bridge {
    fn new() -> Result<Bridge, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let fast = Tap::open("kfast", Wish::Everything, 1).map_err(|e| e.to_string())?;
        let plain = Tap::open("kplain", Wish::Nothing, 1).map_err(|e| e.to_string())?;
        let (taken, limits) = fast.offloads();
        if taken != ["checksum", "tcp", "udp"] {
            return Err(format!("this kernel does not take everything: {limits:?}"));
        }
        runtime
            .block_on(async {
                let links = Links::open().map_err(|e| e.to_string())?;
                let add = links.add_bridge("kbr").await;
                add.map_err(|e| e.to_string())?;
                for (name, bridge) in [
                    ("kbr", None),
                    ("kfast", Some("kbr")),
                    ("kplain", Some("kbr")),
                ] {
                    let settings = LinkSettings {
                        bridge: bridge.map(Into::into),
                        ..LinkSettings::default()
                    };
                    let set = links.configure(name, &settings).await;
                    set.map_err(|e| e.to_string())?;
                }
                Ok::<(), String>(())
            })
            .map_err(|e| format!("bridge: {e}"))?;
        for tap in [&fast, &plain] {
            tap.set_carrier(true).map_err(|e| e.to_string())?;
        }
        let mut bridge = Bridge {
            fast,
            plain,
            buffer: vec![0; VIRTIO_LEN + 70_000],
            scratch: Vec::new(),
        };
        // The bridge forwards when its ports have come up.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let probe = Recipe {
                payload: frames::payload(50),
                ..Recipe::default()
            };
            let frame = probe.whole();
            let sent = bridge.cross(
                &Frame::parse(&frame).map_err(|e| e.name())?.parts,
                &Offload::NONE,
            );
            if sent.is_ok_and(|out| out == [frame]) {
                return Ok(bridge);
            }
        }
        Err("the bridge does not forward".into())
    }

    /// Writes a frame to the one TAP; gives what comes out of the other.
    fn cross(&mut self, frame: &Parts<'_>, offload: &Offload) -> Result<Vec<Vec<u8>>, String> {
        self.fast
            .send(0, (frame, offload), &mut self.scratch)
            .map_err(|e| format!("the kernel refuses it: {e}"))?;
        let mut out = Vec::new();
        let began = Instant::now();
        // Forwarding happens within the call; what comes later is the host's own chatter.
        while began.elapsed() < Duration::from_millis(20) {
            match self.plain.recv(0, &mut self.buffer) {
                Ok((_, len)) => {
                    let bytes = &self.buffer[VIRTIO_LEN..VIRTIO_LEN + len];
                    if bytes.starts_with(&frames::TO) {
                        out.push(bytes.to_vec());
                    }
                }
                Err(_) if !out.is_empty() => break,
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        Ok(out)
    }
}

/// Frames of all kinds, each with the size of its packets.
fn recipes() -> Vec<(Recipe, u16)> {
    let mut all = Vec::new();
    let tags: [&[u8]; 3] = [
        &[],
        &[0x81, 0, 0x60, 20],
        &[0x88, 0xa8, 0, 7, 0x81, 0, 0x60, 20],
    ];
    for tags in tags {
        for v6 in [false, true] {
            for udp in [false, true] {
                for (len, size) in [
                    (60_000usize, 1448u16),
                    (5000, 1000),
                    (2897, 1448),
                    (1449, 1448),
                ] {
                    for (network_options, tcp_options) in [(0, 12), (8, 40)] {
                        // The kernel's own cut of UDP behind extension headers is not ours to test: it refuses it.
                        if v6 && network_options > 0 {
                            continue;
                        }
                        let recipe = Recipe {
                            tags: tags.to_vec(),
                            v6,
                            udp,
                            network_options,
                            tcp_options,
                            // ACK and PSH, and FIN for some.
                            flags: if len % 2 == 0 { 0x18 } else { 0x19 },
                            seq: 0xffff_f000,
                            id: 0xfff0,
                            payload: frames::payload(len),
                            ..Recipe::default()
                        };
                        all.push((recipe, size));
                    }
                }
            }
        }
    }
    all
}

/// A super-frame cut by us.
fn cut(parts: &Parts<'_>, offload: &Offload) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut bench = Workbench::default();
    packets(parts, offload, usize::MAX, &mut bench, |p| {
        let mut bytes = Vec::new();
        p.write(&mut bytes);
        out.push(bytes);
    });
    out
}

/// Every byte and checksum of every packet that we cut is that of the kernel.
pub fn cuts_alike() -> Result<(), String> {
    let mut bridge = Bridge::new()?;
    let mut compared = 0;
    for (recipe, size) in recipes() {
        let case = Recipe {
            payload: Vec::new(),
            ..recipe.clone()
        };
        let case = format!("{case:?}, {} bytes by {size}", recipe.payload.len());
        let (header, mut bytes) = recipe.begun(size);
        let offload = Offload::of_port(header, &mut bytes).map_err(|e| e.name())?;
        let frame = Frame::parse(&bytes).map_err(|e| e.name())?;
        let ours = cut(&frame.parts, &offload);
        let theirs = bridge
            .cross(&frame.parts, &offload)
            .map_err(|e| format!("{case}: {e}"))?;
        if ours != theirs {
            let at = ours.iter().zip(&theirs).position(|(a, b)| a != b);
            let pair = at.map(|n| (&ours[n][..70], &theirs[n][..70]));
            let (a, b) = (ours.len(), theirs.len());
            return Err(format!(
                "{case}: {a} and {b} packets, first other {at:?}: {pair:02x?}"
            ));
        }
        compared += ours.len();
    }
    // One packet whose checksum is begun.
    let (header, mut bytes) = frames::udp(1, 100);
    let offload = Offload::of_port(header, &mut bytes).map_err(|e| e.name())?;
    let frame = Frame::parse(&bytes).map_err(|e| e.name())?;
    let theirs = bridge.cross(&frame.parts, &offload)?;
    let whole = Recipe {
        udp: true,
        id: 1,
        payload: frames::payload(100),
        ..Recipe::default()
    };
    match theirs == [whole.whole()] && compared > 500 {
        true => Ok(()),
        false => Err(format!("{compared} packets, {theirs:02x?}")),
    }
}

/// Packets that we join come out of the kernel as they were.
pub fn joins_alike() -> Result<(), String> {
    let mut bridge = Bridge::new()?;
    for (recipe, size) in recipes() {
        if recipe.network_options > 0 || recipe.flags & 1 != 0 {
            continue;
        }
        let (header, mut bytes) = recipe.begun(size);
        let offload = Offload::of_port(header, &mut bytes).map_err(|e| e.name())?;
        let frame = Frame::parse(&bytes).map_err(|e| e.name())?;
        let train = cut(&frame.parts, &offload);
        let origin = (PeerId(0), SegmentId::LOWEST);
        let mut coalescer = Coalescer::default();
        let (mut out, mut written) = (Vec::new(), 0);
        let mut each = |_, parts: &Parts<'_>, offload: &Offload| {
            written += 1;
            out.push(bridge.cross(parts, offload));
        };
        for packet in &train {
            let frame = Frame::parse(packet).map_err(|e| e.name())?;
            let parts = (&frame.parts, Checksum::Unverified);
            if coalescer.add(origin, parts, &mut each) == Joined::Alone {
                coalescer.flush(&mut each);
                each(origin, &frame.parts, &Offload::NONE);
            }
        }
        coalescer.flush(&mut each);
        let out: Vec<Vec<u8>> = out.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        if out != train || written > 2 {
            let (a, b) = (train.len(), out.len());
            return Err(format!("{a} packets, {b} came out of {written} writes"));
        }
    }
    Ok(())
}
