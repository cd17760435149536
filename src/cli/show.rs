//! `show`: the running member, in the manner of `wg show`; and `version`.

use std::fmt::Write as _;

use super::args::{ShowArgs, VersionArgs};
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, MannerView, NetworkView, PeerView, PortView, Snapshot, Verb};
use crate::noise::aead::Suite;

pub(super) fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let Answer::Snapshot(snapshot) = member::ask(&args.member, Verb::Show)? else {
        return Err(member::unexpected());
    };
    if args.json {
        render::json(&snapshot)?;
    } else {
        render::print(&text(&snapshot))?;
    }
    Ok(Exit::Ok)
}

/// The member as text.
fn text(snapshot: &Snapshot) -> String {
    let mut out = format!(
        "member {}\n  public key: {}\n  listening: {}  trains {}  workers {}\n  running for: {}\n",
        snapshot.name,
        snapshot.public_key,
        snapshot.listen,
        snapshot.trains,
        snapshot.workers,
        render::span(snapshot.uptime_s)
    );
    if let Some(old) = &snapshot.old_key {
        let left = render::span(old.left_s);
        let _ = writeln!(out, "  old key: {}, good for {left} more", old.public_key);
    }
    if let Some(network) = &snapshot.network {
        let _ = writeln!(out, "  network: {}", in_network(network));
    }
    let table = &snapshot.table;
    let _ = writeln!(out, "  macs: {} of at most {}", table.entries, table.limit);
    snapshot.ports.iter().for_each(|p| port(&mut out, p));
    snapshot.peers.iter().for_each(|p| peer(&mut out, p));
    if !snapshot.drops.is_empty() {
        let drops = snapshot.drops.iter();
        let drops: Vec<String> = drops.map(|(name, n)| format!("{name} {n}")).collect();
        let _ = writeln!(out, "\ndrops: {}", drops.join(", "));
    }
    out
}

/// The network that a member is in, in a line.
fn in_network(network: &NetworkView) -> String {
    let record = match (network.serial, network.expires_s) {
        (Some(serial), Some(0)) => format!("record {serial}, over"),
        (Some(serial), Some(left)) => {
            format!("record {serial}, good for {} more", render::span(left))
        }
        _ => "without a record".into(),
    };
    format!(
        "{}  {record}  revocations of epoch {}",
        network.name, network.epoch
    )
}

fn port(out: &mut String, port: &PortView) {
    let vlans = match (port.mode.as_str(), port.vlans.as_str()) {
        ("access", vlan) => format!("access vlan {vlan}"),
        (mode, "") => format!("{mode}, all vlans"),
        (mode, vlans) => format!("{mode}, vlans {vlans}"),
    };
    let native = port.native.map(|n| format!(", native {n}"));
    let bridge = port.bridge.as_ref().map(|b| format!("  bridge {b}"));
    let carrier = match (port.state.as_str(), port.carrier) {
        ("removed", _) => "removed by somebody: restart to have it back",
        (_, true) => "carrier",
        (_, false) => "no carrier",
    };
    let _ = writeln!(
        out,
        "\nport {}\n  segment: {} ({})  {vlans}{}\n  mac: {}  mtu {}  {carrier}{}",
        port.tap,
        port.segment,
        port.segment_id,
        native.unwrap_or_default(),
        port.mac,
        port.mtu,
        bridge.unwrap_or_default(),
    );
    let offloads = match port.offloads.is_empty() {
        true => "none".to_string(),
        false => port.offloads.join(", "),
    };
    let limits: String = port
        .offload_limits
        .iter()
        .map(|l| format!("; {l}"))
        .collect();
    let _ = writeln!(
        out,
        "  offloads: {offloads}{limits}  queues {}",
        port.queues
    );
    manner(out, &port.manner);
    if port.queue_drops > 0 {
        let _ = writeln!(
            out,
            "  dropped by the kernel, queue full: {}",
            port.queue_drops
        );
    }
}

/// What a port does beside VLANs, and what is wrong with it.
fn manner(out: &mut String, manner: &MannerView) {
    if manner.blocked {
        let _ = writeln!(out, "  closed: what it sends comes back, there is a loop");
    }
    let marks = [
        (manner.isolated, "isolated"),
        (manner.loop_guard, "loop guard"),
    ];
    let marks = marks.iter().filter(|(on, _)| *on).map(|(_, mark)| *mark);
    let marks: Vec<&str> = marks.collect();
    if !marks.is_empty() {
        let _ = writeln!(out, "  {}", marks.join(", "));
    }
    for warning in &manner.bridge_warnings {
        let _ = writeln!(out, "  bridge: {warning}");
    }
}

fn peer(out: &mut String, peer: &PeerView) {
    let _ = writeln!(out, "\npeer {}  {}", peer.name, peer.state);
    let _ = writeln!(out, "  public key: {}", peer.public_key);
    if let Some(left) = peer.way.record_s {
        let left = render::span(left);
        let member = peer.way.member.as_deref().unwrap_or("unknown");
        let _ = writeln!(
            out,
            "  let in by its record, good for {left} more (member {member})"
        );
    }
    match &peer.endpoint {
        Some(endpoint) => {
            let via = peer
                .way
                .via
                .as_ref()
                .map(|relay| format!("  via relay {relay}"));
            let via = via.unwrap_or_default();
            let rtt = peer
                .way
                .rtt_us
                .map(|us| format!("  rtt {}", render::millis(us)));
            let since = peer.way.way_s.map(|s| format!("  for {}", render::span(s)));
            let _ = writeln!(
                out,
                "  endpoint: {endpoint}{via}  mtu {}{}{}",
                peer.mtu,
                rtt.unwrap_or_default(),
                since.unwrap_or_default()
            );
            if peer.way.throttled > 0 {
                let count = peer.way.throttled;
                let _ = writeln!(
                    out,
                    "  carries less than is sent: {count} datagrams were too much"
                );
            }
            if let Some(why) = &peer.way.why_relayed {
                let _ = writeln!(out, "  not direct: {why}");
            }
        }
        None if peer.known.is_empty() => {
            let _ = writeln!(out, "  endpoint: none; waiting for it to call");
        }
        None => {
            let _ = writeln!(out, "  endpoint: trying {}", peer.known.join(", "));
        }
    }
    if let (Some(age), Some(suite)) = (peer.secrecy.handshake_s, &peer.secrecy.suite) {
        let kem = peer.secrecy.post_quantum.as_ref();
        let with_kem = kem.map(|set| format!(" + {set}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "  latest handshake: {} ago  {suite}{}{}",
            render::span(age),
            with_kem,
            framing(peer)
        );
        if let Some(whose) = &peer.secrecy.old_key {
            let whose = match whose.as_str() {
                "ours" => "ours: it does not know our new one yet",
                "its" => "its own: it does not use its new one yet",
                _ => "both ends'",
            };
            let _ = writeln!(out, "  made with an old key: {whose}");
        }
    }
    if !peer.segments.is_empty() {
        let with_vlans = |name: &String| match peer.vlans.get(name) {
            Some(vlans) if vlans.is_empty() => format!("{name} (no vlans)"),
            Some(vlans) => format!("{name} (vlans {vlans})"),
            None => name.clone(),
        };
        let segments: Vec<String> = peer.segments.iter().map(with_vlans).collect();
        let segments = segments.join(", ");
        let _ = writeln!(out, "  segments: {segments}  macs {}", peer.macs);
    }
    if let Some(carried) = &peer.way.carried {
        let over = match carried.over {
            0 => String::new(),
            over => format!(", {over} were too much"),
        };
        let _ = writeln!(
            out,
            "  carried: {} in {} datagrams{over}  channels {}",
            render::size(carried.bytes),
            carried.packets,
            carried.channels
        );
    }
    let _ = writeln!(
        out,
        "  transfer: {} received, {} sent",
        render::size(peer.transfer.rx_bytes),
        render::size(peer.transfer.tx_bytes)
    );
}

/// How bulk travels, and what is lost of it.
fn framing(peer: &PeerView) -> String {
    let framing = match peer.bulk.framing.as_deref() {
        Some("packets") => "  bulk in packets".to_string(),
        Some(kind) => format!("  bulk in {kind} pieces"),
        None => return String::new(),
    };
    match peer.bulk.loss_ppm {
        0 => framing,
        ppm => format!("{framing}  loss {:.2} %", ppm as f64 / 10_000.0),
    }
}

pub(super) fn version(args: &VersionArgs) -> Result<Exit, Failure> {
    let aes = crate::io::process::has_hardware_aes();
    let offered = Suite::offered(aes);
    let suites: Vec<&str> = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305]
        .into_iter()
        .filter(|s| offered & s.answer() != 0)
        .map(Suite::name)
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        render::json(&serde_json::json!({
            "version": version,
            "wire_version": crate::wire::datagram::VERSION,
            "suites": suites,
            "hardware_aes": aes,
        }))?;
    } else {
        render::print(&format!(
            "l2vpn {version}\nwire version: {}\nsuites: {}\nhardware AES: {}\n",
            crate::wire::datagram::VERSION,
            suites.join(", "),
            if aes { "yes" } else { "no" }
        ))?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BulkView, OldKeyView, SecrecyView, TransferView, WayView};

    /// The text is what people copy into bug reports: it changes on purpose only.
    #[test]
    fn the_text_is_as_it_was() {
        let snapshot = Snapshot {
            name: "a".into(),
            public_key: "AAAA=".into(),
            network: Some(NetworkView {
                name: "lab".into(),
                epoch: 3,
                serial: Some(2),
                expires_s: Some(7_000_000),
            }),
            old_key: Some(OldKeyView {
                public_key: "aaaa=".into(),
                left_s: 86_000,
            }),
            listen: "[::]:7656".into(),
            workers: 2,
            trains: "both ways".into(),
            uptime_s: 61,
            ports: vec![PortView {
                tap: "lan0".into(),
                segment: "lan".into(),
                segment_id: 1,
                mode: "trunk".into(),
                vlans: "10,20".into(),
                native: Some(10),
                mtu: 1500,
                mac: "02:00:00:00:00:01".into(),
                bridge: Some("br0".into()),
                offloads: vec!["checksum".into(), "tcp".into()],
                offload_limits: vec!["UDP: refused by the kernel".into()],
                queues: 2,
                queue_drops: 5,
                state: "open".into(),
                carrier: true,
                manner: MannerView {
                    isolated: true,
                    loop_guard: true,
                    blocked: true,
                    bridge_warnings: vec!["its MTU is 1400".into()],
                },
            }],
            peers: vec![
                PeerView {
                    name: "b".into(),
                    public_key: "BBBB=".into(),
                    state: "up".into(),
                    endpoint: Some("192.0.2.2:7656".into()),
                    way: WayView {
                        rtt_us: Some(1234),
                        record_s: Some(90 * 24 * 3600),
                        member: Some("0123456789abcdef0123456789abcdef".into()),
                        way_s: Some(600),
                        ..WayView::default()
                    },
                    secrecy: SecrecyView {
                        suite: Some("aes-256-gcm".into()),
                        post_quantum: Some("ml-kem-768".into()),
                        handshake_s: Some(41),
                        old_key: Some("ours".into()),
                    },
                    mtu: 1500,
                    bulk: BulkView {
                        framing: Some("aligned".into()),
                        loss_ppm: 1234,
                    },
                    segments: vec!["lan".into()],
                    vlans: [("lan".into(), "10,20".into())].into(),
                    macs: 4,
                    transfer: TransferView {
                        rx_bytes: 3_355_443,
                        tx_bytes: 12,
                        ..TransferView::default()
                    },
                    ..PeerView::default()
                },
                PeerView {
                    name: "c".into(),
                    public_key: "CCCC=".into(),
                    state: "down".into(),
                    ..PeerView::default()
                },
            ],
            drops: [("replay".to_string(), 3u64)].into(),
            ..Snapshot::default()
        };
        assert_eq!(text(&snapshot), include_str!("../../tests/golden/show.txt"));
    }
}
