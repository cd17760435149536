//! `vlans`: what is in each VLAN, and what passed.

use super::args::ShowArgs;
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, Verb, VlanView};

pub(super) fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let Answer::Vlans(vlans) = member::ask(&args.member, Verb::Vlans)? else {
        return Err(member::unexpected());
    };
    if args.json {
        render::json(&vlans)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = vlans.into_iter().map(row).collect();
    let header = [
        "SEGMENT", "VLAN", "PORTS", "PEERS", "MACS", "GROUPS", "QUERIER", "IN", "OUT", "FLOODS",
        "DROPS",
    ];
    render::print(&render::table(&header, &rows))?;
    Ok(Exit::Ok)
}

fn row(v: VlanView) -> Vec<String> {
    let list = |names: &[String]| match names {
        [] => "-".to_string(),
        names => names.join(","),
    };
    vec![
        v.segment,
        v.vlan,
        list(&v.ports),
        list(&v.peers),
        v.macs.to_string(),
        v.groups.to_string(),
        list(&v.queriers),
        format!("{} ({})", v.peer_frames, render::size(v.peer_bytes)),
        format!("{} ({})", v.port_frames, render::size(v.port_bytes)),
        v.floods.to_string(),
        v.drops.to_string(),
    ]
}
