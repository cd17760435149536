//! Times that a user waits, with real daemons, TAPs and NATs: `cargo bench --bench laboratory`.
//!
//! Two homes behind NATs and a relay, 20 ms from each other. A host sends a hundred small datagrams a second to one in the other
//! home; what does not arrive is the time that an event costs. Printed are medians and the 95th of a hundred.

#[path = "../support/homes.rs"]
mod homes;
#[path = "../support/isolated.rs"]
mod isolated;
#[path = "../support/stage.rs"]
mod stage;
#[path = "../support/wire.rs"]
mod wire;
#[path = "../support/world.rs"]
mod world;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use homes::*;
use l2vpn::api::Snapshot;
use l2vpn::lab::orders::{Flood, Order, Report};
use world::*;

const ROUNDS: usize = 20;
/// Datagrams a second.
const RATE: u64 = 100;
const LASTS: u64 = 3500;
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    isolated::bench("L2VPN_LABORATORY", laboratory)
}

/// How long nothing arrives after something happens, on a host or in the Internet (`None`), in the middle of traffic.
fn gap(lab: &mut Lab, event: (Option<usize>, &str)) -> Result<Duration, String> {
    let to = (v4(1), 5003).into();
    lab.world.ask(1, &Order::Count(to))?;
    let line = format!("sleep 0.5; {}", event.1);
    let mut own = None;
    match event.0 {
        Some(host) => {
            let log = lab.world.dir().join("event.log");
            let command = ["sh", "-c", &line].map(String::from).to_vec();
            lab.world.ask(host, &Order::Spawn(command, log))?;
        }
        None => own = Some(std::thread::spawn(move || sh(&line))),
    }
    let flood = Flood {
        to,
        size: 64,
        rate: RATE,
        millis: LASTS,
    };
    let sent = match lab.world.ask(0, &Order::Flood(flood))? {
        Report::Packets(sent, _) => sent,
        other => return Err(format!("{other:?}")),
    };
    if let Some(Err(why)) = own.and_then(|o| o.join().ok()) {
        return Err(why);
    }
    std::thread::sleep(Duration::from_millis(200));
    match lab.world.ask(1, &Order::CountResult)? {
        Report::Packets(came, _) => Ok(Duration::from_millis(
            sent.saturating_sub(came) * 1000 / RATE,
        )),
        other => Err(format!("{other:?}")),
    }
}

fn direct(lab: &mut Lab) -> Result<Duration, String> {
    let found = lab.time_to_direct(PATIENCE)?;
    let logs = [0, 1].map(|n| lab.world.log(n)).join("\n");
    found.ok_or(format!("never direct: {logs}"))
}

/// The first ping between two hosts that have never spoken, with the question for the other's MAC.
fn first_ping(lab: &mut Lab) -> Result<Duration, String> {
    let began = Instant::now();
    while lab.state(0)?.is_none() || lab.state(1)?.is_none() {
        if began.elapsed() > PATIENCE {
            return Err("they do not meet".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Their ports have had their carriers for a moment.
    std::thread::sleep(Duration::from_millis(500));
    match lab.world.ask(0, &Order::PingSeries(v4(1), 1, 0))? {
        Report::Trips(trips, _) => trips.first().map(|t| Duration::from_nanos(*t)),
        other => return Err(format!("{other:?}")),
    }
    .ok_or("no answer to a ping".into())
}

/// The first frame that crosses when a member starts, while a host at the other end has been speaking for long: since the start of
/// the process, and since its relay is there.
fn first_frame(lab: &mut Lab) -> Result<[Duration; 2], String> {
    lab.world.start(0)?;
    lab.world.wait_socket(0)?;
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    lab.world.start(1)?;
    let mut relay = None;
    while relay.is_none() && began.elapsed() < PATIENCE {
        let there = |s: Snapshot| {
            s.peers
                .iter()
                .any(|p| p.way.kind == "relay" && p.state == "up")
        };
        relay = lab.world.show(1).is_ok_and(there).then(|| began.elapsed());
    }
    let relay = relay.ok_or("no relay")?;
    lab.world.ask(1, &Order::Watch(TAP.into()))?;
    let spoken = frame(
        [0xff; 6],
        [2, 0, 0, 0, 0, 9],
        &[],
        b"a host's first words, said again",
    );
    let end = spoken[spoken.len() - 20..].to_vec();
    let speaks = AtomicBool::new(true);
    let [one, other, ..] = &mut lab.world.network.hosts[..] else {
        return Err("no hosts".into());
    };
    let heard = std::thread::scope(|scope| {
        scope.spawn(|| {
            while speaks.load(Ordering::Relaxed) {
                let _ = one.ask(&Order::Inject(TAP.into(), spoken.clone()));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let heard = other.ask(&Order::Expect(end, 5000));
        let took = began.elapsed();
        speaks.store(false, Ordering::Relaxed);
        heard.map(|h| (h, took))
    });
    match heard.map_err(|e| e.to_string())? {
        (Report::Frame(Ok(_)), took) => Ok([took, took - relay]),
        (other, _) => Err(format!("{other:?}")),
    }
}

const HOME_TO_HOME: &str = "nft 'table ip cut { chain c { type filter hook forward priority 0; \
                            ip saddr 203.0.113.0/24 ip daddr 203.0.113.0/24 drop; }; }'";

fn with_one_relay(add: &mut impl FnMut(&'static str, Duration)) -> Result<(), String> {
    let mut lab = Lab::new(HOME)?;
    (0..2).try_for_each(|home| lab.set_nat(home, "BASE MASQUERADE"))?;
    lab.start()?;
    add("direct after both daemons answer", direct(&mut lab)?);
    let move_away = "ip address del 192.168.0.2/24 dev lan; ip address add 192.168.0.3/24 dev lan; \
                     ip route add default via 192.168.0.1";
    add(
        "moved to another address",
        gap(&mut lab, (Some(0), move_away))?,
    );
    direct(&mut lab)?;
    let text = format!(
        "flush ruleset\ntable ip nat {{\n{}\n}}\n",
        rules("BASE OTHER", &wan(0))
    );
    let file = lab.world.dir().join("other");
    std::fs::write(&file, text).map_err(|e| e.to_string())?;
    // What is masqueraded behind an address goes with it.
    let reboot = format!(
        "nft -f {}; ip address del {wan}/30 dev wan; ip address add {wan}/30 dev wan; \
         ip route add default via 203.0.113.1",
        file.display(),
        wan = wan(0)
    );
    add(
        "the router has forgotten, another port",
        gap(&mut lab, (Some(ROUTERS[0]), &reboot))?,
    );
    direct(&mut lab)?;
    add("direct to relay", gap(&mut lab, (None, HOME_TO_HOME))?);
    let restart = format!(
        "kill {0}; while [ -e /proc/{0}/exe ]; do sleep 0.01; done",
        lab.relays[0]
    );
    // It is started while the traffic runs, by the same shell.
    let config = lab.world.dir().join("relay0.toml");
    let again = format!(
        "{restart}; exec {} relay {}",
        exe().display(),
        config.display()
    );
    add(
        "the relay is started again",
        gap(&mut lab, (Some(RELAY), &again))?,
    );
    sh("nft flush ruleset")
}

fn with_two_relays(add: &mut impl FnMut(&'static str, Duration)) -> Result<(), String> {
    let mut lab = Lab::with_relays(HOME, 2)?;
    (0..2).try_for_each(|home| lab.set_nat(home, "BASE RANDOM"))?;
    lab.start()?;
    add("first ping of two hosts, by a relay", first_ping(&mut lab)?);
    // Both relays are there by then.
    std::thread::sleep(Duration::from_secs(1));
    let via = lab.via(0)?.ok_or("there is a direct way")?;
    let used = if via == "relay1" { 1 } else { 0 };
    let kill = format!("kill -9 {}", lab.relays[used]);
    add("relay to relay", gap(&mut lab, (None, &kill))?);
    Ok(())
}

fn laboratory() -> Result<(), String> {
    let mut all: Vec<(&'static str, Vec<Duration>)> = Vec::new();
    for _ in 0..ROUNDS {
        let mut add = |what, took| match all.iter_mut().find(|(w, _)| *w == what) {
            Some((_, times)) => times.push(took),
            None => all.push((what, vec![took])),
        };
        with_one_relay(&mut add)?;
        with_two_relays(&mut add)?;
        let mut lab = Lab::new(HOME)?;
        (0..2).try_for_each(|home| lab.set_nat(home, "BASE RANDOM"))?;
        let [start, relay] = first_frame(&mut lab)?;
        add("first frame after a member's start", start);
        add("first frame after its relay is there", relay);
    }
    for (what, times) in all {
        told(what, times);
    }
    Ok(())
}
