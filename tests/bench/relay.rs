//! What a relay carries: `cargo bench --bench relay`.
//!
//! Two members without a route between them and a relay, each in a namespace of its own, all on this machine's cores. TCP by
//! one stream and by four, and the CPU time that the relay uses for it; small packets; pings. Beside it, in the same run, the
//! same two members with a route.

#[path = "../support/isolated.rs"]
mod isolated;
#[path = "../support/relays.rs"]
mod relays;
#[path = "../support/world.rs"]
mod world;

use std::process::ExitCode;

use l2vpn::lab::orders::{Flood, Order, Report, Stream};
use relays::RELAY;
use world::*;

const ROUNDS: usize = 5;
const MILLIS: u64 = 3000;

fn main() -> ExitCode {
    isolated::bench("L2VPN_RELAY", relay)
}

struct Figures {
    one: f64,
    four: f64,
    packets: f64,
    ping: f64,
    /// CPU of the relay for each packet of the bulk, in ns.
    cost: f64,
}

fn stream(world: &mut World, streams: usize) -> Result<f64, String> {
    let sink = (v4(1), 5001).into();
    world.ask(1, &Order::Sink(sink, streams))?;
    let stream = Order::Stream(Stream {
        to: sink,
        streams,
        millis: MILLIS,
        control: None,
    });
    world.ask(0, &stream)?;
    world.ask(0, &Order::StreamResult)?;
    match world.ask(1, &Order::SinkResult)? {
        Report::Traffic(traffic) => Ok(traffic.megabits()),
        other => Err(format!("{other:?}")),
    }
}

/// Small packets that arrive in a second when as many as possible are sent.
fn packets(world: &mut World) -> Result<f64, String> {
    let to = (v4(1), 5002).into();
    world.ask(1, &Order::Count(to))?;
    let flood = Flood {
        to,
        size: 64,
        rate: 0,
        millis: MILLIS,
    };
    world.ask(0, &Order::Flood(flood))?;
    match world.ask(1, &Order::CountResult)? {
        Report::Packets(count, _) => Ok(count as f64 * 1000.0 / MILLIS as f64 / 1000.0),
        other => Err(format!("{other:?}")),
    }
}

fn measure(world: &mut World, relayed: bool) -> Result<Figures, String> {
    let cpu = |world: &mut World| {
        if relayed {
            world.cpu_millis(RELAY)
        } else {
            Ok(0)
        }
    };
    world.reach(0, v4(1))?;
    let before = cpu(world)?;
    let one = stream(world, 1)?;
    let used = cpu(world)? - before;
    let datagrams = one * 1e6 / 8.0 * MILLIS as f64 / 1000.0 / 1400.0;
    let four = stream(world, 4)?;
    let packets = packets(world)?;
    let ping = match world.ask(0, &Order::PingSeries(v4(1), 500, 1000))? {
        Report::Trips(mut trips, _) => {
            trips.sort_unstable();
            trips
                .get(trips.len() / 2)
                .map_or(f64::NAN, |t| *t as f64 / 1000.0)
        }
        other => return Err(format!("{other:?}")),
    };
    Ok(Figures {
        one,
        four,
        packets,
        ping,
        cost: used as f64 * 1e6 / datagrams,
    })
}

fn line(what: &str, all: [&[Figures]; 2], of: fn(&Figures) -> f64) {
    let shown = all.map(|figures| {
        let mut values: Vec<f64> = figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[0], values[values.len() - 1]);
        format!("{:>8.0} ({low:.0}-{high:.0})", values[values.len() / 2])
    });
    println!("{what:<34} {:<26} {}", shown[0], shown[1]);
}

fn relay() -> Result<(), String> {
    let mut all: [Vec<Figures>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (n, relayed) in [false, true].into_iter().enumerate() {
            let mut world = relays::world()?;
            if relayed {
                relays::separate(&mut world)?;
            }
            relays::start_relay(&mut world)?;
            world.start(0)?;
            world.start(1)?;
            world.reach(0, v4(1))?;
            let is_so = world.eventually(std::time::Duration::from_secs(5), |w| {
                Ok(w.show(0)?.peers[0].way.via.is_some() == relayed)
            })?;
            expect(is_so, || world.log(0))?;
            all[n].push(measure(&mut world, relayed)?);
        }
    }
    println!(
        "medians of {ROUNDS} rounds (smallest-largest)     direct                     through the relay"
    );
    let both = [&all[0][..], &all[1][..]];
    line("TCP, 1 stream, Mbit/s", both, |f| f.one);
    line("TCP, 4 streams, Mbit/s", both, |f| f.four);
    line("UDP, 64 bytes, 1000 packets/s", both, |f| f.packets);
    line("ping, us", both, |f| f.ping);
    line("relay's CPU for 1400 bytes, ns", both, |f| f.cost);
    Ok(())
}
