//! `macs`: what is known of hosts, one MAC a line; `macs flush` forgets it; `neighbors`: their addresses.

use super::args::{FilterArgs, FlushArgs, MacsArgs, MacsVerb, ShowArgs};
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, MacFilter, MacView, Verb};

pub(super) fn run(args: &MacsArgs) -> Result<Exit, Failure> {
    if let Some(MacsVerb::Flush(args)) = &args.verb {
        return flush(args);
    }
    let verb = Verb::Macs(filter(&args.filter));
    let Answer::Macs(macs) = member::ask(&args.show.member, verb)? else {
        return Err(member::unexpected());
    };
    if args.show.json {
        render::json(&macs)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = macs.into_iter().map(row).collect();
    let header = ["SEGMENT", "VLAN", "MAC", "BEHIND", "HEARD", "MOVES"];
    render::print(&render::table(&header, &rows))?;
    Ok(Exit::Ok)
}

fn row(m: MacView) -> Vec<String> {
    let marks = [(m.pinned, "pinned"), (m.told, "told"), (m.held, "held")];
    let marks = marks.iter().filter(|(on, _)| *on).map(|(_, mark)| *mark);
    let marks: Vec<&str> = marks.collect();
    let place = format!("{} {}", m.kind, m.place);
    let idle = match m.pinned {
        true => "-".to_string(),
        false => format!("{} ago", render::span(m.idle_s)),
    };
    let moves = match marks.is_empty() {
        true => m.moves.to_string(),
        false => format!("{} ({})", m.moves, marks.join(", ")),
    };
    vec![m.segment, m.vlan, m.mac, place, idle, moves]
}

/// What the member is told of which MACs are meant; it knows which names there are.
fn filter(args: &FilterArgs) -> MacFilter {
    MacFilter {
        segment: args.segment.clone(),
        vlan: args.vlan.clone(),
        peer: args.peer.clone(),
        port: args.port.clone(),
    }
}

fn flush(args: &FlushArgs) -> Result<Exit, Failure> {
    match member::ask(&args.member, Verb::Flush(filter(&args.filter)))? {
        Answer::Flushed(1) => render::print("1 MAC forgotten\n")?,
        Answer::Flushed(count) => render::print(&format!("{count} MACs forgotten\n"))?,
        _ => return Err(member::unexpected()),
    }
    Ok(Exit::Ok)
}

pub(super) fn neighbors(args: &ShowArgs) -> Result<Exit, Failure> {
    let Answer::Neighbors(all) = member::ask(&args.member, Verb::Neighbors)? else {
        return Err(member::unexpected());
    };
    if args.json {
        render::json(&all)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|n| {
            let place = format!("{} {}", n.kind, n.place);
            let idle = format!("{} ago", render::span(n.idle_s));
            let router = if n.router { "router" } else { "" };
            vec![n.segment, n.vlan, n.ip, n.mac, place, idle, router.into()]
        })
        .collect();
    let header = ["SEGMENT", "VLAN", "ADDRESS", "MAC", "BEHIND", "HEARD", ""];
    render::print(&render::table(&header, &rows))?;
    Ok(Exit::Ok)
}
