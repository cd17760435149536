//! `ping`: is the peer's daemon there, and how far away?

use std::time::Duration;

use super::args::PingArgs;
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, Pong, Verb};

pub(super) fn run(args: &PingArgs) -> Result<Exit, Failure> {
    let socket = member::socket(&args.member)?;
    let mut trips: Vec<u64> = Vec::new();
    for number in 1..=args.count {
        if number > 1 {
            std::thread::sleep(Duration::from_millis(args.interval));
        }
        let verb = Verb::Ping {
            target: args.target.clone(),
            size: usize::from(args.size),
            timeout_ms: args.timeout,
            vlan: args.vlan.clone(),
        };
        let Answer::Pong(pong) = member::ask_at(&socket, verb)? else {
            return Err(member::unexpected());
        };
        trips.extend(pong.rtt_us);
        if args.json {
            render::json(&pong)?;
        } else {
            render::print(&line(number, &pong))?;
        }
    }
    if !args.json {
        render::print(&summary(args.count, &trips))?;
    }
    match trips.is_empty() {
        true => Err(Failure::failed(format!("{} does not answer", args.target))),
        false if trips.len() < args.count as usize => Ok(Exit::Degraded),
        false => Ok(Exit::Ok),
    }
}

fn line(number: u32, pong: &Pong) -> String {
    let (peer, endpoint) = (&pong.peer, &pong.endpoint);
    match pong.rtt_us {
        Some(rtt) => format!(
            "{} bytes from {peer} ({endpoint}): seq={number} time={} ms\n",
            pong.size,
            millis(rtt)
        ),
        None => format!("no answer from {peer} ({endpoint}): seq={number}\n"),
    }
}

fn summary(sent: u32, trips: &[u64]) -> String {
    let received = trips.len();
    let mut text = format!("{sent} sent, {received} answered");
    if let (Some(min), Some(max)) = (trips.iter().min(), trips.iter().max()) {
        let average = trips.iter().sum::<u64>() / received as u64;
        let (min, average, max) = (millis(*min), millis(average), millis(*max));
        text.push_str(&format!(
            ", round trip min/avg/max {min}/{average}/{max} ms"
        ));
    }
    text.push('\n');
    text
}

fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_summary_read_like_ping() {
        let mut pong = Pong {
            peer: "b".into(),
            endpoint: "192.0.2.2:7656".into(),
            rtt_us: Some(1042),
            size: 56,
        };
        let answered = "56 bytes from b (192.0.2.2:7656): seq=1 time=1.042 ms\n";
        assert_eq!(line(1, &pong), answered);
        pong.rtt_us = None;
        assert_eq!(line(2, &pong), "no answer from b (192.0.2.2:7656): seq=2\n");
        assert_eq!(
            summary(2, &[1042]),
            "2 sent, 1 answered, round trip min/avg/max 1.042/1.042/1.042 ms\n"
        );
        assert_eq!(summary(2, &[]), "2 sent, 0 answered\n");
    }
}
