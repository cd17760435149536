//! One subject, measured once.

use std::net::SocketAddr;
use std::time::Duration;

use super::figures::{Figures, Kind};
use super::world::{Subject, World};
use crate::cli::args::BenchArgs;
use crate::lab::orders::{Flood, Order, Report, Stream, Traffic};

/// Clock ticks of /proc in a second.
const TICKS: f64 = 100.0;
/// Packets a second that are asked of the fastest sender.
const UDP_CEILING: u64 = 600_000;
/// How exactly the highest rate is looked for.
const UDP_STEPS: u32 = 6;
const UDP_MILLIS: u64 = 500;
const UDP_PAYLOAD: usize = 64;

pub(super) struct Measure<'w> {
    world: &'w mut World,
    subject: Subject,
    seconds: u32,
    losses: &'w [f64],
}

/// What a TCP test shall be.
struct Tcp {
    from: usize,
    streams: usize,
    control: Option<&'static str>,
}

impl<'w> Measure<'w> {
    pub(super) fn new(world: &'w mut World, subject: Subject, args: &'w BenchArgs) -> Self {
        Measure {
            world,
            subject,
            seconds: args.seconds,
            losses: &args.loss,
        }
    }

    /// Everything that the table shows.
    pub(super) fn everything(&mut self, figures: &mut Figures) -> Result<(), String> {
        let daemons = self.world.start(self.subject, 0)?;
        let subject = self.subject;
        let (median, p99) = self.pings(1000)?;
        figures.add(subject, Kind::IdlePing, median);
        figures.add(subject, Kind::IdlePing99, p99);
        let tests = [
            (Kind::Tcp1, 0, 1, None),
            (Kind::Tcp1Back, 1, 1, None),
            (Kind::Tcp1Cubic, 0, 1, Some("cubic")),
            (Kind::Tcp4, 0, 4, None),
            (Kind::Tcp4Back, 1, 4, None),
        ];
        for (kind, from, streams, control) in tests {
            let before = cpu_seconds(&daemons);
            let tcp = Tcp {
                from,
                streams,
                control,
            };
            let traffic = self.tcp(&tcp, self.seconds)?;
            figures.add(subject, kind, traffic.megabits());
            if kind == Kind::Tcp1 && subject.is_l2vpn() {
                let used = cpu_seconds(&daemons) - before;
                let gigabytes = traffic.total as f64 / 1e9;
                figures.add(subject, Kind::CpuPerGb, used / gigabytes);
            }
        }
        let (median, p99) = self.loaded_pings()?;
        figures.add(subject, Kind::LoadedPing, median);
        figures.add(subject, Kind::LoadedPing99, p99);
        figures.add(subject, Kind::Udp, self.udp()?);
        if subject.is_l2vpn() {
            let peaks = daemons.iter().map(|pid| peak_mib(*pid));
            figures.add(subject, Kind::Memory, peaks.fold(0.0, f64::max));
        }
        self.world.stop()
    }

    /// One stream over wires that lose.
    pub(super) fn losses(&mut self, figures: &mut Figures) -> Result<(), String> {
        for percent in self.losses {
            let ppm = (percent * 10_000.0) as u64;
            self.world.start(self.subject, ppm.max(1))?;
            for control in ["bbr", "cubic"] {
                let tcp = Tcp {
                    from: 0,
                    streams: 1,
                    control: Some(control),
                };
                let traffic = self.tcp(&tcp, self.seconds)?;
                let kind = Kind::Lossy(ppm, control == "cubic");
                figures.add(self.subject, kind, traffic.megabits());
            }
            self.world.stop()?;
        }
        Ok(())
    }

    fn tcp(&mut self, tcp: &Tcp, seconds: u32) -> Result<Traffic, String> {
        let to = 1 - tcp.from;
        let address = SocketAddr::new(self.subject.address(to as u8), 5001);
        self.world.ask(to, &Order::Sink(address, tcp.streams))?;
        let stream = Stream {
            to: address,
            streams: tcp.streams,
            millis: u64::from(seconds) * 1000,
            control: tcp.control.map(Into::into),
        };
        self.world.ask(tcp.from, &Order::Stream(stream))?;
        self.world.ask(tcp.from, &Order::StreamResult)?;
        match self.world.ask(to, &Order::SinkResult)? {
            Report::Traffic(traffic) => Ok(traffic),
            other => Err(format!("{other:?}")),
        }
    }

    /// Median and 99th percentile, in microseconds.
    fn pings(&mut self, count: u32) -> Result<(f64, f64), String> {
        let series = Order::PingSeries(self.subject.address(1), count, 2000);
        match self.world.ask(0, &series)? {
            Report::Trips(mut trips, _) if !trips.is_empty() => {
                trips.sort_unstable();
                let at = |share: f64| {
                    let index = (trips.len() as f64 * share) as usize;
                    let last = trips.len() - 1;
                    trips.get(index.min(last)).map_or(f64::NAN, |t| *t as f64)
                };
                Ok((at(0.5) / 1000.0, at(0.99) / 1000.0))
            }
            other => Err(format!("no ping was answered: {other:?}")),
        }
    }

    /// Pings beside four streams at full speed.
    fn loaded_pings(&mut self) -> Result<(f64, f64), String> {
        let address = SocketAddr::new(self.subject.address(1), 5002);
        self.world.ask(1, &Order::Sink(address, 4))?;
        let stream = Stream {
            to: address,
            streams: 4,
            millis: u64::from(self.seconds) * 1000 + 500,
            control: None,
        };
        self.world.ask(0, &Order::Stream(stream))?;
        std::thread::sleep(Duration::from_millis(500));
        let pings = self.pings(self.seconds * 200);
        self.world.ask(0, &Order::StreamResult)?;
        self.world.ask(1, &Order::SinkResult)?;
        pings
    }

    /// The highest rate of small packets of which less than one in a hundred is lost, in thousands a second.
    fn udp(&mut self) -> Result<f64, String> {
        let (mut low, mut high) = (10_000, UDP_CEILING);
        let mut best = 0.0;
        for _ in 0..UDP_STEPS {
            let rate = (low + high) / 2;
            let (sent, got, seconds) = self.udp_at(rate)?;
            let delivered = got / seconds / 1000.0;
            // A sender that cannot keep up sends what it can; that is a result, too.
            if got >= 0.99 * sent {
                best = f64::max(best, delivered);
                low = rate;
            } else {
                high = rate;
            }
        }
        Ok(best)
    }

    fn udp_at(&mut self, rate: u64) -> Result<(f64, f64, f64), String> {
        let address = SocketAddr::new(self.subject.address(1), 5003);
        self.world.ask(1, &Order::Count(address))?;
        let flood = Flood {
            to: address,
            size: UDP_PAYLOAD,
            rate,
            millis: UDP_MILLIS,
        };
        let sent = self.world.ask(0, &Order::Flood(flood))?;
        let got = self.world.ask(1, &Order::CountResult)?;
        match (sent, got) {
            (Report::Packets(sent, seconds), Report::Packets(got, _)) => {
                Ok((sent as f64, got as f64, seconds))
            }
            other => Err(format!("{other:?}")),
        }
    }
}

/// CPU time of processes so far, in seconds.
fn cpu_seconds(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        // User and system time are fields 14 and 15; the first behind the name is field 3.
        let fields = after_name.split_whitespace().skip(11).take(2);
        fields.filter_map(|f| f.parse::<f64>().ok()).sum::<f64>()
    };
    pids.iter().map(of).sum::<f64>() / TICKS
}

/// The most memory that a process had, in MiB.
fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}
