//! `paths`: how peers are reached, and where else they may be; `netcheck`: the network that this member is in.

use super::args::ShowArgs;
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, NetView, PathView, Verb};

pub(super) fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let Answer::Paths(paths) = member::ask(&args.member, Verb::Paths)? else {
        return Err(member::unexpected());
    };
    if args.json {
        render::json(&paths)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = paths.into_iter().map(row).collect();
    let header = [
        "PEER", "BY", "ADDRESS", "STATE", "RTT", "LOSS", "MTU", "SINCE",
    ];
    render::print(&render::table(&header, &rows))?;
    Ok(Exit::Ok)
}

fn row(path: PathView) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or("-".into());
    vec![
        path.peer,
        path.by,
        path.address,
        path.state,
        or_dash(path.rtt_us.map(render::millis)),
        or_dash(
            path.loss_ppm
                .map(|ppm| format!("{:.2} %", ppm as f64 / 1e4)),
        ),
        or_dash(path.mtu.map(|mtu| mtu.to_string())),
        or_dash(path.since_s.map(render::span)),
    ]
}

pub(super) fn netcheck(args: &ShowArgs) -> Result<Exit, Failure> {
    let Answer::Net(net) = member::ask(&args.member, Verb::NetCheck)? else {
        return Err(member::unexpected());
    };
    if args.json {
        render::json(&net)?;
    } else {
        render::print(&text(&net))?;
    }
    // Relays that are configured and out of reach are what this verb is asked for.
    let is_cut_off = !net.relays.is_empty() && net.relays.iter().all(|r| r.state != "up");
    Ok(if is_cut_off { Exit::Degraded } else { Exit::Ok })
}

fn text(net: &NetView) -> String {
    let mut out = format!(
        "udp passes: {}\nnat: {}\nport mapping: {}\nown addresses: {}\n",
        net.udp,
        net.nat,
        net.mapped.as_deref().unwrap_or("none"),
        match net.addresses.is_empty() {
            true => "none".into(),
            false => net.addresses.join(", "),
        }
    );
    if net.relays.is_empty() {
        out.push_str("relays: none is configured\n");
        return out;
    }
    let or_dash = |text: Option<String>| text.unwrap_or("-".into());
    let rows: Vec<Vec<String>> = net
        .relays
        .iter()
        .map(|relay| {
            vec![
                relay.name.clone(),
                relay.state.clone(),
                or_dash(relay.endpoint.clone()),
                or_dash(relay.rtt_us.map(render::millis)),
                or_dash(relay.mtu.map(|mtu| mtu.to_string())),
                or_dash(relay.observed.clone()),
                relay.peers.to_string(),
            ]
        })
        .collect();
    let header = [
        "RELAY",
        "STATE",
        "ENDPOINT",
        "RTT",
        "MTU",
        "SEES US AT",
        "PEERS",
    ];
    out.push('\n');
    out.push_str(&render::table(&header, &rows));
    out
}
