//! What one relay carries, for members that cost next to nothing: `cargo bench --bench carry`.
//!
//! The relay is the program as it is installed. Its members are in this process: they meet through it by real handshakes, and
//! then send datagrams that were made before, since a relay cannot look into them. All of it is on this machine's cores.

#[path = "../support/exits.rs"]
mod exits;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant as Clock};

use exits::Out;
use l2vpn::dataplane::decap::Decap;
use l2vpn::io::clock::{self, OsEntropy};
use l2vpn::io::udp::{Received, Sending, UdpSocket};
use l2vpn::io::{process, wake};
use l2vpn::keys::{PrivateKey, PublicKey, write_private};
use l2vpn::mesh::path::Endpoint;
use l2vpn::mesh::peer::{Kind, Pass, PeerSettings, RelayUse};
use l2vpn::node::plane::Plane;
use l2vpn::node::{Node, NodeSettings, WallClock};
use l2vpn::noise::aead::Suite;
use l2vpn::noise::schedule::REKEY_AFTER;
use l2vpn::place::PeerId;
use l2vpn::switch::decide::Switch;
use l2vpn::switch::layout::Layout;
use l2vpn::switch::storm::StormLimits;
use l2vpn::switch::table::{ForwardingTable, Limits};
use l2vpn::wire::datagram::DataHeader;
use l2vpn::wire::offer::Abilities;
use l2vpn::wire::service::Services;

const ROUNDS: usize = 5;
const LASTS: Duration = Duration::from_secs(2);
/// A relayed datagram of bulk, in bytes of UDP payload; and as many as make a train.
const BULK: (usize, usize) = (1400, 46);
/// A small one, alone.
const SMALL: (usize, usize) = (100, 1);

type Anyhow<T> = Result<T, Box<dyn std::error::Error>>;

/// A member until it has met the other one.
struct Member {
    node: Node,
    decap: Decap,
    out: Out,
    socket: UdpSocket,
    other: PeerId,
}

impl Member {
    fn new(
        key: PrivateKey,
        other: PublicKey,
        (relay, at): (PublicKey, SocketAddr),
    ) -> Anyhow<Member> {
        let table = ForwardingTable::new(Limits::default(), (1, 2), &[]);
        let switch = Switch::new(table, StormLimits::default(), Layout::new(Vec::new()));
        let plane = Arc::new(Plane::new(switch));
        let now = clock::now();
        let settings = NodeSettings {
            keys: key.into(),
            network: l2vpn::keys::Psks::default(),
            suites: Suite::offered(true),
            abilities: Abilities::NONE,
            post_quantum: l2vpn::wire::kem::PostQuantum::Off,
            rekey_after: REKEY_AFTER,
            wall: WallClock::new(clock::wall(), now, 0),
        };
        let mut node = Node::new(settings, plane.clone(), Box::new(OsEntropy), now);
        let mut add = |kind, key| {
            node.add_peer(PeerSettings {
                kind,
                name: "another".into(),
                key: PublicKey::into(key),
                psks: l2vpn::keys::Psks::default(),
                relay: RelayUse::Allow,
                pass: Pass::Listed,
                keepalive: None,
                mtu: None,
                segments: None,
                vlans: None,
                roles: Services::NONE,
                claims: Default::default(),
                serves: false,
            })
        };
        let relay = add(Kind::Relay, relay);
        let other = add(Kind::Member, other);
        node.set_endpoints(relay, vec![at], now);
        Ok(Member {
            node,
            decap: Decap::new(plane),
            out: Out::default(),
            socket: UdpSocket::bind(([127, 0, 0, 1], 0).into())?,
            other,
        })
    }

    /// Does what is to be done now; gives the way to the other one, once there is one.
    fn turn(&mut self, room: &mut Received) -> Option<Endpoint> {
        let now = clock::now();
        while self.socket.receive(room).is_ok() {
            let (decap, out) = (&mut self.decap, &mut self.out);
            room.for_each(|from, to, bytes| {
                decap.datagram(Endpoint::between(from, to), bytes, now, out);
            });
            decap.flush(now, out);
        }
        for note in std::mem::take(&mut self.out.notes) {
            self.node.handle_note(note, now);
        }
        self.node.handle_timeout(now);
        while self.node.poll_event().is_some() {}
        for (to, bytes) in self.node.outgoing().iter() {
            let _ = self.socket.send(&sending(to.remote, bytes, bytes.len()));
        }
        self.node.outgoing().clear();
        let other = self
            .node
            .peers()
            .iter()
            .find(|p| p.link.peer == self.other)?;
        let way = other.link.route().as_ref()?.endpoint;
        way.channel.map(|_| way)
    }
}

fn sending(to: SocketAddr, bytes: &[u8], size: usize) -> Sending<'_> {
    Sending {
        to,
        from: None,
        bytes,
        size,
        traffic_class: 0,
        hops: None,
    }
}

/// Two that met: one's socket and way, the other's socket.
struct Pair {
    from: UdpSocket,
    way: Endpoint,
    to: UdpSocket,
}

fn meet([a, b]: [PrivateKey; 2], relay: (PublicKey, SocketAddr)) -> Anyhow<Pair> {
    let keys = [a.public(), b.public()];
    let mut a = Member::new(a, keys[1], relay)?;
    let mut b = Member::new(b, keys[0], relay)?;
    let mut room = Received::default();
    let until = Clock::now() + Duration::from_secs(5);
    while Clock::now() < until {
        if let (Some(way), Some(_)) = (a.turn(&mut room), b.turn(&mut room)) {
            return Ok(Pair {
                from: a.socket,
                way,
                to: b.socket,
            });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err("two members did not meet".into())
}

struct Relay {
    child: Child,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Relay {
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks = |i: usize| {
            fields
                .get(i)
                .and_then(|f| f.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        (ticks(11) + ticks(12)) / 100.0
    }
}

fn start(keys: &[PrivateKey]) -> Anyhow<(Relay, tempfile::TempDir, (PublicKey, SocketAddr))> {
    let dir = tempfile::tempdir()?;
    let key = PrivateKey::generate(&mut OsEntropy);
    write_private(&dir.path().join("node.key"), &key)?;
    let port = UdpSocket::bind(([127, 0, 0, 1], 0).into())?
        .local_address()?
        .port();
    let members: Vec<String> = keys.iter().map(|k| format!("\"{}\"", k.public())).collect();
    let text = format!(
        "[node]\nkey = \"node.key\"\nlisten = \"127.0.0.1:{port}\"\n[control]\nsocket = \"l2vpn.sock\"\n\
         [admission]\nmembers = [{}]\n",
        members.join(", ")
    );
    let path = dir.path().join("relay.toml");
    std::fs::write(&path, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2vpn"));
    command
        .arg("relay")
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = process::die_with_parent(&mut command).spawn()?;
    Ok((
        Relay { child },
        dir,
        (key.public(), ([127, 0, 0, 1], port).into()),
    ))
}

/// Datagrams for the other end, one behind the other.
fn train(way: &Endpoint, (size, count): (usize, usize)) -> Vec<u8> {
    let one = |n: usize| {
        let mut bytes = way.lead().unwrap_or_default().to_vec();
        bytes.extend(DataHeader::new(7, n as u64).to_bytes());
        bytes.resize(size, 0x5a);
        bytes
    };
    (0..count).flat_map(one).collect()
}

/// Sends until told to stop: as much as possible, or so many bytes a second; counts what was sent.
fn send(
    pair: &Pair,
    shape: (usize, usize),
    rate: Option<f64>,
    (stop, sent): (&AtomicBool, &AtomicU64),
) {
    let train = train(&pair.way, shape);
    let began = Clock::now();
    let mut bytes = 0;
    while !stop.load(Ordering::Relaxed) {
        if rate.is_some_and(|rate| began.elapsed().as_secs_f64() * rate < bytes as f64) {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        match pair.from.send(&sending(pair.way.remote, &train, shape.0)) {
            Ok(()) => {
                bytes += train.len();
                sent.fetch_add(train.len() as u64, Ordering::Relaxed);
            }
            Err(_) => {
                let _ = wake::wait_writable(pair.from.as_fd(), Duration::from_millis(5));
            }
        }
    }
}

fn count(pair: &Pair, (stop, got): (&AtomicBool, &AtomicU64)) {
    let mut room = Received::default();
    while !stop.load(Ordering::Relaxed) {
        let _ = wake::wait_readable(&[pair.to.as_fd()], Some(Duration::from_millis(20)));
        while !stop.load(Ordering::Relaxed) && pair.to.receive(&mut room).is_ok() {
            let bytes: usize = room.lengths().map(|(_, len)| len).sum();
            got.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// Bytes a second that were sent and that came, of each pair; and the relay's CPU seconds a second.
fn run(relay: &Relay, all: &[(&Pair, (usize, usize), Option<f64>)]) -> (Vec<(f64, f64)>, f64) {
    let stop = AtomicBool::new(false);
    let counters: Vec<_> = all
        .iter()
        .map(|_| [AtomicU64::new(0), AtomicU64::new(0)])
        .collect();
    let look = || {
        counters
            .iter()
            .map(|c| [&c[0], &c[1]].map(|n| n.load(Ordering::Relaxed)))
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        for ((pair, shape, rate), [sent, got]) in all.iter().zip(&counters) {
            let stop = &stop;
            scope.spawn(move || send(pair, *shape, *rate, (stop, sent)));
            scope.spawn(move || count(pair, (stop, got)));
        }
        // What is measured is how it goes on.
        std::thread::sleep(Duration::from_millis(500));
        let (before, cpu, began) = (look(), relay.cpu(), Clock::now());
        std::thread::sleep(LASTS);
        let (after, cpu, took) = (look(), relay.cpu() - cpu, began.elapsed().as_secs_f64());
        stop.store(true, Ordering::Relaxed);
        let rates = before.iter().zip(&after).map(|(b, a)| {
            let rate = |i: usize| (a[i] - b[i]) as f64 / took;
            (rate(0), rate(1))
        });
        (rates.collect(), cpu / took)
    })
}

#[derive(Default)]
struct Figures(Vec<(&'static str, Vec<f64>)>);

impl Figures {
    fn add(&mut self, what: &'static str, value: f64) {
        match self.0.iter_mut().find(|(w, _)| *w == what) {
            Some((_, values)) => values.push(value),
            None => self.0.push((what, vec![value])),
        }
    }

    fn print(&mut self) {
        println!("medians of {ROUNDS} rounds (smallest-largest)");
        for (what, values) in &mut self.0 {
            values.sort_by(f64::total_cmp);
            let (low, high) = (values[0], values[values.len() - 1]);
            println!(
                "{what:<58} {:>8.1} ({low:.1}-{high:.1})",
                values[values.len() / 2]
            );
        }
    }
}

fn measure() -> Anyhow<()> {
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        let keys: Vec<_> = (0..4)
            .map(|_| PrivateKey::generate(&mut OsEntropy))
            .collect();
        let (relay, _dir, at) = start(&keys)?;
        let mut keys = keys.into_iter();
        let mut two = || {
            keys.next()
                .zip(keys.next())
                .ok_or("keys")
                .map(|(a, b)| [a, b])
        };
        let (light, heavy) = (meet(two()?, at)?, meet(two()?, at)?);
        let megabits = |rate: f64| rate * 8.0 / 1e6;

        let (rates, cpu) = run(&relay, &[(&heavy, BULK, None)]);
        let packets = rates[0].1 / BULK.0 as f64;
        figures.add("bulk, one pair, Mbit/s that arrive", megabits(rates[0].1));
        figures.add(
            "  the relay's CPU for each 1400 bytes, ns",
            cpu * 1e9 / packets,
        );
        let (rates, _) = run(&relay, &[(&heavy, BULK, None), (&light, BULK, None)]);
        figures.add(
            "bulk, two pairs, Mbit/s that arrive",
            megabits(rates[0].1 + rates[1].1),
        );
        let (rates, cpu) = run(&relay, &[(&heavy, SMALL, None)]);
        let packets = rates[0].1 / SMALL.0 as f64;
        figures.add(
            "100 bytes alone, thousand packets/s that arrive",
            packets / 1e3,
        );
        figures.add("  the relay's CPU for each, ns", cpu * 1e9 / packets);
        let rate = Some(200e6 / 8.0);
        for (what, shape) in [
            ("200 Mbit/s beside a flood of bulk, % that arrive", BULK),
            (
                "200 Mbit/s beside a flood of small ones, % that arrive",
                SMALL,
            ),
        ] {
            let (rates, _) = run(&relay, &[(&light, (1400, 8), rate), (&heavy, shape, None)]);
            figures.add(what, rates[0].1 / (200e6 / 8.0) * 100.0);
            figures.add("  of the flood arrive, %", rates[1].1 / rates[1].0 * 100.0);
        }
    }
    figures.print();
    Ok(())
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts it, too.
    if !std::env::args().any(|a| a == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
