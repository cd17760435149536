//! What was measured: medians with their ranges, as a table or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::world::Subject;
use crate::cli::args::BenchArgs;
use crate::cli::render;

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Tcp1,
    Tcp1Back,
    Tcp1Cubic,
    Tcp4,
    Tcp4Back,
    Udp,
    IdlePing,
    IdlePing99,
    LoadedPing,
    LoadedPing99,
    CpuPerGb,
    Memory,
    /// One stream over a wire with this loss in a million; whether by CUBIC rather than BBR.
    Lossy(u64, bool),
}

impl Kind {
    const USUAL: [Kind; 12] = [
        Kind::Tcp1,
        Kind::Tcp1Back,
        Kind::Tcp1Cubic,
        Kind::Tcp4,
        Kind::Tcp4Back,
        Kind::Udp,
        Kind::IdlePing,
        Kind::IdlePing99,
        Kind::LoadedPing,
        Kind::LoadedPing99,
        Kind::CpuPerGb,
        Kind::Memory,
    ];

    /// Title, unit and decimals.
    fn words(self) -> (String, &'static str, usize) {
        let (title, unit, decimals) = match self {
            Kind::Tcp1 => ("TCP 1 stream A>B", "Mbit/s", 0),
            Kind::Tcp1Back => ("TCP 1 stream B>A", "Mbit/s", 0),
            Kind::Tcp1Cubic => ("TCP 1 stream CUBIC", "Mbit/s", 0),
            Kind::Tcp4 => ("TCP 4 streams A>B", "Mbit/s", 0),
            Kind::Tcp4Back => ("TCP 4 streams B>A", "Mbit/s", 0),
            Kind::Udp => ("UDP 64 B, loss < 1 %", "kpps", 0),
            Kind::IdlePing => ("ping idle, median", "us", 0),
            Kind::IdlePing99 => ("ping idle, p99", "us", 0),
            Kind::LoadedPing => ("ping loaded, median", "us", 0),
            Kind::LoadedPing99 => ("ping loaded, p99", "us", 0),
            Kind::CpuPerGb => ("CPU of both daemons", "s/GB", 2),
            Kind::Memory => ("peak memory", "MiB", 1),
            Kind::Lossy(ppm, cubic) => {
                let control = if cubic { "CUBIC" } else { "BBR" };
                let percent = ppm as f64 / 10_000.0;
                let title = format!("TCP, {percent} % loss, {control}");
                return (title, "Mbit/s", 0);
            }
        };
        (title.into(), unit, decimals)
    }

    /// The name in JSON.
    fn key(self) -> String {
        match self {
            Kind::Tcp1 => "tcp_1_ab_mbit_s".into(),
            Kind::Tcp1Back => "tcp_1_ba_mbit_s".into(),
            Kind::Tcp1Cubic => "tcp_1_cubic_mbit_s".into(),
            Kind::Tcp4 => "tcp_4_ab_mbit_s".into(),
            Kind::Tcp4Back => "tcp_4_ba_mbit_s".into(),
            Kind::Udp => "udp_64_kpps".into(),
            Kind::IdlePing => "ping_idle_median_us".into(),
            Kind::IdlePing99 => "ping_idle_p99_us".into(),
            Kind::LoadedPing => "ping_loaded_median_us".into(),
            Kind::LoadedPing99 => "ping_loaded_p99_us".into(),
            Kind::CpuPerGb => "cpu_s_per_gb".into(),
            Kind::Memory => "peak_mib".into(),
            Kind::Lossy(ppm, cubic) => {
                let control = if cubic { "cubic" } else { "bbr" };
                format!("tcp_1_loss_{ppm}_ppm_{control}_mbit_s")
            }
        }
    }

    /// Whether more is better, so that a ratio to another subject says something.
    fn is_rate(self) -> bool {
        matches!(
            self,
            Kind::Tcp1 | Kind::Tcp1Back | Kind::Tcp1Cubic | Kind::Tcp4 | Kind::Tcp4Back | Kind::Udp
        )
    }
}

/// Smallest, median and largest of several values.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

/// All figures of a run.
pub(super) struct Figures {
    values: BTreeMap<Subject, BTreeMap<Kind, Vec<f64>>>,
    control: String,
    rounds: u32,
    mtu: (u16, u16),
    workers: u8,
}

impl Figures {
    pub(super) fn new(args: &BenchArgs, control: String) -> Self {
        Figures {
            values: BTreeMap::new(),
            control,
            rounds: args.rounds,
            mtu: (args.mtu, args.underlay_mtu),
            workers: args.workers,
        }
    }

    pub(super) fn add(&mut self, subject: Subject, kind: Kind, value: f64) {
        let of = self.values.entry(subject).or_default();
        of.entry(kind).or_default().push(value);
    }

    pub(super) fn has(&self, subject: Subject, kind: Kind) -> bool {
        self.values
            .get(&subject)
            .is_some_and(|v| v.contains_key(&kind))
    }

    fn spread(&self, subject: Subject, kind: Kind) -> Option<Spread> {
        let mut values = self.values.get(&subject)?.get(&kind)?.clone();
        values.sort_by(f64::total_cmp);
        Some(Spread {
            min: *values.first()?,
            median: *values.get(values.len() / 2)?,
            max: *values.last()?,
        })
    }

    fn conditions(&self) -> String {
        format!(
            "medians of {} rounds (smallest-largest); host's TCP: {}; MTU {} in {}; workers: {}",
            self.rounds, self.control, self.mtu.0, self.mtu.1, self.workers
        )
    }

    /// A table with a column for each subject, and ratios to one of them.
    pub(super) fn table(&self, base: Subject) -> String {
        let kinds: std::collections::BTreeSet<Kind> = self
            .values
            .values()
            .flat_map(|v| v.keys().copied())
            .collect();
        let mut header = vec!["".to_string()];
        header.extend(self.values.keys().map(|s| s.title().to_string()));
        let mut rows = Vec::new();
        let order = Kind::USUAL.into_iter().chain(
            kinds
                .iter()
                .copied()
                .filter(|k| matches!(k, Kind::Lossy(..))),
        );
        for kind in order.filter(|k| kinds.contains(k)) {
            let (title, unit, _) = kind.words();
            let mut row = vec![format!("{title}, {unit}")];
            row.extend(self.values.keys().map(|s| self.cell(*s, kind)));
            rows.push(row);
            if kind.is_rate() && self.has(base, kind) {
                let mut row = vec![format!("  of {}", base.title())];
                row.extend(self.values.keys().map(|s| self.ratio(*s, kind, base)));
                rows.push(row);
            }
        }
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut text = self.conditions();
        let _ = write!(text, "\n\n{}", render::table(&header, &rows));
        text
    }

    fn cell(&self, subject: Subject, kind: Kind) -> String {
        let (_, _, d) = kind.words();
        self.spread(subject, kind).map_or("-".into(), |s| {
            format!("{:.d$} ({:.d$}-{:.d$})", s.median, s.min, s.max)
        })
    }

    fn ratio(&self, subject: Subject, kind: Kind, base: Subject) -> String {
        match (self.spread(subject, kind), self.spread(base, kind)) {
            (Some(this), Some(base)) => format!("{:.3}", this.median / base.median),
            _ => String::new(),
        }
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("program", env!("CARGO_PKG_VERSION"))?;
        map.serialize_entry("rounds", &self.rounds)?;
        map.serialize_entry("congestion_control", &self.control)?;
        map.serialize_entry("mtu_inside", &self.mtu.0)?;
        map.serialize_entry("mtu_outside", &self.mtu.1)?;
        map.serialize_entry("workers", &self.workers)?;
        for (subject, kinds) in &self.values {
            let figures: BTreeMap<String, Option<Spread>> = kinds
                .keys()
                .map(|kind| (kind.key(), self.spread(*subject, *kind)))
                .collect();
            map.serialize_entry(subject.name(), &figures)?;
        }
        map.end()
    }
}
