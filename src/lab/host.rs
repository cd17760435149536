//! One host: takes orders on stdin, one a line, and reports on stdout.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::impairment::Impairment;
use super::orders::{Interface, Order, Ping, Report};
use super::traffic::{self, Counter, Sink, Streams};
use super::transfer::{self, Server};
use crate::drops::DropReason;
use crate::io::links::{LinkSettings, Links};
use crate::io::packet::PacketSocket;
use crate::io::{icmp, process};
use crate::wire::ethernet::Mac;

/// Takes orders until stdin closes. Everything that the host is ends with it.
///
/// # Errors
/// When the host cannot even report.
pub fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut host = {
        let _guard = runtime.enter();
        Host {
            links: Links::open()?,
            daemon: None,
            server: None,
            watched: None,
            sink: None,
            streams: None,
            counter: None,
            impairment: None,
            spawned: Vec::new(),
            runtime,
        }
    };
    host.up("lo");
    let mut stdout = io::stdout();
    for line in io::stdin().lock().lines() {
        let report = match serde_json::from_str(&line?) {
            Ok(order) => host.obey(order),
            Err(error) => Report::Failed(format!("not an order: {error}")),
        };
        serde_json::to_writer(&mut stdout, &report)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    host.stop();
    Ok(())
}

struct Host {
    links: Links,
    daemon: Option<Child>,
    server: Option<Server>,
    watched: Option<PacketSocket>,
    sink: Option<Sink>,
    streams: Option<Streams>,
    counter: Option<Counter>,
    impairment: Option<Impairment>,
    /// Programs of the system that run in the background.
    spawned: Vec<Child>,
    runtime: Runtime,
}

fn report<E: std::fmt::Display>(result: Result<(), E>) -> Report {
    match result {
        Ok(()) => Report::Done,
        Err(error) => Report::Failed(error.to_string()),
    }
}

impl Host {
    fn obey(&mut self, order: Order) -> Report {
        let links = &self.links;
        match order {
            Order::Configure(interface) => self.configure(interface),
            Order::AddBridge(name) => report(self.runtime.block_on(links.add_bridge(&name))),
            Order::StartStp(name, timers) => {
                report(self.runtime.block_on(links.start_stp(&name, timers)))
            }
            Order::ForgetNeighbors(name) => {
                report(self.runtime.block_on(links.forget_neighbors(&name)))
            }
            Order::AddVeth(a, b) => report(self.runtime.block_on(links.add_veth(&a, &b))),
            Order::GiveTo(name, pid) => report(self.runtime.block_on(links.give_to(&name, pid))),
            Order::RemoveAddress(name, ip, prefix) => {
                self.runtime
                    .block_on(links.remove_addresses(&name, &[(ip, prefix)]));
                Report::Done
            }
            Order::AddHostRoute(to, gateway) => {
                report(self.runtime.block_on(links.add_host_route(to, gateway)))
            }
            Order::Remove(name) => report(self.runtime.block_on(links.remove(&name))),
            Order::SetDown(name) => report(self.runtime.block_on(links.set_down(&name))),
            Order::Interfaces => match self.runtime.block_on(links.names()) {
                Ok(names) => Report::Names(names),
                Err(error) => Report::Failed(error.to_string()),
            },
            Order::Carrier(name) => Report::Flag(self.runtime.block_on(links.carrier(&name))),
            Order::Operational(name) => {
                Report::Flag(self.runtime.block_on(links.operational(&name)))
            }
            Order::Mac(name) => Report::Mac(self.runtime.block_on(links.mac(&name)).map(|m| m.0)),
            Order::Sysctl(name, value) => {
                report(std::fs::write(format!("/proc/sys/{name}"), value))
            }
            Order::Start { config, log, args } => self.start(&config, &log, &args),
            Order::Signal { signal, wait } => self.signal(signal, wait),
            Order::Run(args) => run(&args),
            Order::Ping(order) => ping(&order),
            Order::TcpServe(address) => report(Server::start(address).map(|s| {
                self.server = Some(s);
            })),
            Order::TcpSend(to, bytes) => transferred(transfer::send(to, bytes)),
            Order::TcpResult => match self.server.take() {
                Some(server) => transferred(server.finish()),
                None => Report::Failed("no server was started".into()),
            },
            Order::Sink(address, many) => report(Sink::start(address, many).map(|s| {
                self.sink = Some(s);
            })),
            Order::SinkResult => match self.sink.take().map(Sink::finish) {
                Some(Ok(traffic)) => Report::Traffic(traffic),
                Some(Err(error)) => Report::Failed(error.to_string()),
                None => Report::Failed("no sink was started".into()),
            },
            Order::Stream(order) => report(Streams::start(&order).map(|s| {
                self.streams = Some(s);
            })),
            Order::StreamResult => match self.streams.take().map(Streams::finish) {
                Some(Ok(_)) => Report::Done,
                Some(Err(error)) => Report::Failed(error.to_string()),
                None => Report::Failed("no stream was started".into()),
            },
            Order::Count(address) => report(Counter::start(address).map(|c| {
                self.counter = Some(c);
            })),
            Order::CountResult => match self.counter.take() {
                Some(counter) => Report::Packets(counter.finish(), 0.0),
                None => Report::Failed("no counter was started".into()),
            },
            Order::Flood(order) => match traffic::flood(&order) {
                Ok((packets, seconds)) => Report::Packets(packets, seconds),
                Err(error) => Report::Failed(error.to_string()),
            },
            Order::Babble(order) => match self.socket(&order.interface) {
                Ok(socket) => {
                    let (packets, seconds) = traffic::babble(&socket, &order);
                    Report::Packets(packets, seconds)
                }
                Err(why) => Report::Failed(why),
            },
            Order::PingSeries(to, count, every) => {
                let every = Duration::from_micros(every);
                match icmp::series(to, count, every) {
                    Ok((trips, lost)) => Report::Trips(trips, lost),
                    Err(error) => Report::Failed(error.to_string()),
                }
            }
            Order::AddVxlan(name, id, peer, below) => {
                let made = links.add_vxlan(&name, id, peer, &below);
                report(self.runtime.block_on(made))
            }
            Order::Impair(order) => {
                self.impairment = None;
                report(Impairment::start(&order).map(|i| {
                    self.impairment = Some(i);
                }))
            }
            Order::Spawn(command, log) => self.spawn(&command, &log),
            Order::Execute(command) => execute(&command),
            Order::Watch(name) => self.watch(&name),
            Order::Inject(name, frame) => self.inject(&name, &frame),
            Order::Expect(end, millis) => self.expect(&end, Duration::from_millis(millis)),
        }
    }

    fn up(&mut self, name: &str) {
        let settings = LinkSettings::default();
        let _ = self.runtime.block_on(self.links.configure(name, &settings));
    }

    fn configure(&mut self, interface: Interface) -> Report {
        let settings = LinkSettings {
            mtu: interface.mtu,
            mac: interface.mac.map(Mac),
            addresses: interface.addresses,
            bridge: interface.bridge,
            queue: None,
        };
        report(
            self.runtime
                .block_on(self.links.configure(&interface.name, &settings)),
        )
    }

    fn start(
        &mut self,
        config: &std::path::Path,
        log: &std::path::Path,
        args: &[String],
    ) -> Report {
        let files = File::create(log).and_then(|out| Ok((out.try_clone()?, out)));
        let (out, err) = match files {
            Ok(files) => files,
            Err(error) => return Report::Failed(format!("{}: {error}", log.display())),
        };
        let mut command = Command::new("/proc/self/exe");
        command.arg("up").arg(config).args(args);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        match process::die_with_parent(&mut command).spawn() {
            Ok(child) => {
                let pid = child.id();
                self.daemon = Some(child);
                Report::Started(pid)
            }
            Err(error) => Report::Failed(error.to_string()),
        }
    }

    fn signal(&mut self, signal: i32, wait: bool) -> Report {
        let Some(daemon) = &mut self.daemon else {
            return Report::Failed("no daemon was started".into());
        };
        if let Err(error) = process::signal(daemon.id(), signal) {
            return Report::Failed(error.to_string());
        }
        if !wait {
            return Report::Done;
        }
        let ended = daemon.wait();
        self.daemon = None;
        match ended {
            Ok(status) => Report::Ended {
                code: status.code(),
                stdout: String::new(),
                stderr: String::new(),
            },
            Err(error) => Report::Failed(error.to_string()),
        }
    }

    fn spawn(&mut self, command: &[String], log: &std::path::Path) -> Report {
        let files = File::create(log).and_then(|out| Ok((out.try_clone()?, out)));
        let (Some((program, args)), Ok((out, err))) = (command.split_first(), files) else {
            return Report::Failed("no command, or no log".into());
        };
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        match process::die_with_parent(&mut command).spawn() {
            Ok(child) => {
                let pid = child.id();
                self.spawned.push(child);
                Report::Started(pid)
            }
            Err(error) => Report::Failed(format!("{program}: {error}")),
        }
    }

    fn stop(&mut self) {
        for child in &mut self.spawned {
            let _ = process::signal(child.id(), process::SIGTERM);
            let _ = child.wait();
        }
        if let Some(daemon) = &mut self.daemon {
            let _ = process::signal(daemon.id(), process::SIGTERM);
            let _ = daemon.wait();
        }
    }

    fn socket(&self, name: &str) -> Result<PacketSocket, String> {
        let index = self.runtime.block_on(self.links.index(name));
        let index = index.map_err(|e| e.to_string())?;
        PacketSocket::open(index).map_err(|e| format!("packet socket on {name}: {e}"))
    }

    fn watch(&mut self, name: &str) -> Report {
        report(self.socket(name).map(|s| self.watched = Some(s)))
    }

    fn inject(&mut self, name: &str, frame: &[u8]) -> Report {
        let socket = self.socket(name);
        report(socket.and_then(|s| s.send(frame).map_err(|e| e.to_string())))
    }

    fn expect(&mut self, end: &[u8], patience: Duration) -> Report {
        let Some(socket) = &self.watched else {
            return Report::Failed("no interface is watched".into());
        };
        let began = Instant::now();
        let mut others = Vec::new();
        while began.elapsed() < patience {
            match socket.receive() {
                Ok(frame) if frame.ends_with(end) => return Report::Frame(Ok(frame)),
                Ok(frame) => others.push(frame),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        Report::Frame(Err(others))
    }
}

fn transferred(result: io::Result<super::orders::Transfer>) -> Report {
    match result {
        Ok(transfer) => Report::Transfer(transfer),
        Err(error) => Report::Failed(error.to_string()),
    }
}

/// Runs this program.
fn run(args: &[String]) -> Report {
    let mut command = vec!["/proc/self/exe".to_string()];
    command.extend_from_slice(args);
    execute(&command)
}

/// Runs a program to its end.
fn execute(command: &[String]) -> Report {
    let Some((program, args)) = command.split_first() else {
        return Report::Failed("no command".into());
    };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    match process::die_with_parent(&mut command).output() {
        Ok(output) => Report::Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => Report::Failed(format!("{program}: {error}")),
    }
}

fn ping(order: &Ping) -> Report {
    let timeout = Duration::from_millis(order.timeout_ms);
    let id = std::process::id() as u16;
    let mut trips = Vec::new();
    for sequence in 0..order.count {
        let size = (order.size, order.whole);
        let way = (timeout, order.device.as_deref());
        match icmp::ping(order.to, (id, sequence), size, way) {
            Ok(trip) => trips.push(trip.map(|t| t.as_micros() as u64)),
            Err(e) if process::send_failure(&e) == DropReason::SendTooLarge => {
                return Report::Failed(format!("the packet does not fit the interface: {e}"));
            }
            // No route or no carrier yet: as good as no answer.
            Err(_) => {
                trips.push(None);
                std::thread::sleep(Duration::from_millis(5).min(timeout));
            }
        }
    }
    Report::RoundTrips(trips)
}
