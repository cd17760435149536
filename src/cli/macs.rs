//! `macs`: what was learned, one MAC a line.

use super::args::ShowArgs;
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, Verb};

pub(super) fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let Answer::Macs(macs) = member::ask(&args.member, Verb::Macs)? else {
        return Err(member::unexpected());
    };
    if args.json {
        render::json(&macs)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = macs
        .into_iter()
        .map(|m| {
            let place = format!("{} {}", m.kind, m.place);
            let idle = format!("{} ago", render::span(m.idle_s));
            let held = if m.held { " (held)" } else { "" };
            let moves = format!("{}{held}", m.moves);
            vec![m.segment, m.vlan, m.mac, place, idle, moves]
        })
        .collect();
    let header = ["SEGMENT", "VLAN", "MAC", "BEHIND", "HEARD", "MOVES"];
    render::print(&render::table(&header, &rows))?;
    Ok(Exit::Ok)
}
