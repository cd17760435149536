//! `l2vpn metrics`: the running member's or relay's numbers in the text format that Prometheus reads.

use std::fmt::Write;

use super::args::MetricsArgs;
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, PeerView, Snapshot, Verb};

pub(super) fn run(args: &MetricsArgs) -> Result<Exit, Failure> {
    let Answer::Snapshot(snapshot) = member::ask(&args.member, Verb::Show)? else {
        return Err(member::unexpected());
    };
    render::print(&text(&snapshot))?;
    Ok(Exit::Ok)
}

/// One number with its labels.
type Sample = (String, f64);

/// The numbers as text: version 0.0.4 of the exposition format.
fn text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    let one = |value: f64| vec![(String::new(), value)];
    let mut put = |name: &str, (kind, help): (&str, &str), samples: Vec<Sample>| {
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "# HELP l2vpn_{name} {help}\n# TYPE l2vpn_{name} {kind}"
        );
        for (labels, value) in samples {
            let _ = writeln!(out, "l2vpn_{name}{labels} {value}");
        }
    };
    let uptime = ("gauge", "For how long it has run.");
    put("uptime_seconds", uptime, one(snapshot.uptime_s as f64));
    put(
        "macs",
        ("gauge", "MACs that are known."),
        one(snapshot.table.entries as f64),
    );
    put(
        "channels",
        ("gauge", "Channels that it relays."),
        one(snapshot.channels as f64),
    );
    // Absent until there is a record: a 0 would say that it is over.
    let left = snapshot.network.as_ref().and_then(|n| n.expires_s);
    if let Some(left) = left {
        let help = ("gauge", "For how long the member's record holds.");
        put("record_expires_seconds", help, one(left as f64));
    }
    let drops = snapshot.drops.iter();
    let drops = drops.map(|(reason, n)| (labels(&[("reason", reason)]), *n as f64));
    let help = ("counter", "Dropped frames and datagrams.");
    put("drops_total", help, drops.collect());
    for (name, kind, help, of) in PEER {
        let samples = snapshot
            .peers
            .iter()
            .filter_map(|p| Some((peer(p), of(p)?)));
        put(name, (kind, help), samples.collect());
    }
    out
}

/// What there is of each peer: the name, the kind, what it is, and how it is had.
type OfPeer = (
    &'static str,
    &'static str,
    &'static str,
    fn(&PeerView) -> Option<f64>,
);

const PEER: &[OfPeer] = &[
    ("peer_up", "gauge", "Whether it is connected.", |p| {
        Some(f64::from(p.state == "up"))
    }),
    (
        "peer_relayed",
        "gauge",
        "Whether it is reached through a relay.",
        |p| (p.state == "up").then(|| f64::from(p.way.via.is_some())),
    ),
    (
        "peer_rtt_seconds",
        "gauge",
        "The smoothed round trip.",
        |p| p.way.rtt_us.map(|us| us as f64 / 1e6),
    ),
    (
        "peer_loss_ratio",
        "gauge",
        "What part of our datagrams is lost.",
        |p| (p.state == "up").then(|| p.bulk.loss_ppm as f64 / 1e6),
    ),
    (
        "peer_mtu_bytes",
        "gauge",
        "The largest IP packet of the path.",
        |p| (p.state == "up").then(|| f64::from(p.mtu)),
    ),
    (
        "peer_received_frames_total",
        "counter",
        "Frames from it.",
        |p| Some(p.transfer.rx_frames as f64),
    ),
    (
        "peer_received_bytes_total",
        "counter",
        "Bytes of these frames.",
        |p| Some(p.transfer.rx_bytes as f64),
    ),
    ("peer_sent_frames_total", "counter", "Frames to it.", |p| {
        Some(p.transfer.tx_frames as f64)
    }),
    (
        "peer_sent_bytes_total",
        "counter",
        "Bytes of these frames.",
        |p| Some(p.transfer.tx_bytes as f64),
    ),
    (
        "peer_throttled_total",
        "counter",
        "Datagrams that were more than this relay carries for us.",
        |p| (p.way.kind == "relay").then_some(p.way.throttled as f64),
    ),
    (
        "carried_datagrams_total",
        "counter",
        "Datagrams of it that were carried to others.",
        |p| p.way.carried.as_ref().map(|c| c.packets as f64),
    ),
    ("carried_bytes_total", "counter", "Bytes of these.", |p| {
        p.way.carried.as_ref().map(|c| c.bytes as f64)
    }),
    (
        "carried_too_much_total",
        "counter",
        "Datagrams of it that were too much.",
        |p| p.way.carried.as_ref().map(|c| c.over as f64),
    ),
];

fn peer(peer: &PeerView) -> String {
    labels(&[
        ("peer", &peer.name),
        ("key", &peer.public_key),
        ("kind", &peer.way.kind),
    ])
}

fn labels(all: &[(&str, &str)]) -> String {
    let one = |(name, value): &(&str, &str)| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    };
    format!("{{{}}}", all.iter().map(one).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CarriedView, NetworkView, TransferView, WayView};

    #[test]
    fn each_number_has_its_help_its_type_and_its_labels() {
        let client = PeerView {
            name: "b \"quoted\"".into(),
            public_key: "BBBB=".into(),
            state: "up".into(),
            mtu: 1280,
            way: WayView {
                kind: "client".into(),
                rtt_us: Some(1500),
                carried: Some(CarriedView {
                    packets: 7,
                    bytes: 900,
                    over: 2,
                    ..CarriedView::default()
                }),
                ..WayView::default()
            },
            transfer: TransferView {
                rx_bytes: 5,
                ..TransferView::default()
            },
            ..PeerView::default()
        };
        let snapshot = Snapshot {
            uptime_s: 61,
            network: Some(NetworkView {
                expires_s: Some(7_000_000),
                ..NetworkView::default()
            }),
            channels: 3,
            peers: vec![client, PeerView::default()],
            drops: [("replay".to_string(), 4)].into(),
            ..Snapshot::default()
        };
        let text = text(&snapshot);
        let who = r#"{peer="b \"quoted\"",key="BBBB=",kind="client"}"#;
        for line in [
            "l2vpn_uptime_seconds 61".to_string(),
            "l2vpn_channels 3".into(),
            "l2vpn_record_expires_seconds 7000000".into(),
            "l2vpn_drops_total{reason=\"replay\"} 4".into(),
            "# TYPE l2vpn_drops_total counter".into(),
            format!("l2vpn_peer_up{who} 1"),
            format!("l2vpn_peer_rtt_seconds{who} 0.0015"),
            format!("l2vpn_peer_received_bytes_total{who} 5"),
            format!("l2vpn_carried_bytes_total{who} 900"),
            format!("l2vpn_carried_too_much_total{who} 2"),
            r#"l2vpn_peer_up{peer="",key="",kind=""} 0"#.into(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        // Each family once, with its type before it.
        let types: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let mut names = types.clone();
        names.dedup();
        assert_eq!(types, names);
        assert_eq!(text.matches("l2vpn_carried_bytes_total{").count(), 1);
    }
}
