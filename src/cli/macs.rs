//! `macs`: what is known of hosts, one MAC a line; `macs flush` forgets it; `neighbors`: their addresses.

use super::args::{FilterArgs, FlushArgs, MacsArgs, MacsVerb, ShowArgs};
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, MacFilter, MacView, Verb};

pub(super) fn run(args: &MacsArgs) -> Result<Exit, Failure> {
    if let Some(MacsVerb::Flush(args)) = &args.verb {
        return flush(args);
    }
    let Answer::Macs(mut macs) = member::ask(&args.show.member, Verb::Macs)? else {
        return Err(member::unexpected());
    };
    macs.retain(|m| fits(m, &args.filter));
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

/// Whether a MAC is one of those that are meant.
fn fits(m: &MacView, filter: &FilterArgs) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
    let is_behind = |wanted: &Option<String>, kind: &str| {
        wanted.is_none() || m.kind == kind && is(wanted, &m.place)
    };
    let vlan = filter.vlan.as_ref().map(|v| v.replace("untagged", "-"));
    is(&filter.segment, &m.segment)
        && is(&vlan, &m.vlan)
        && is_behind(&filter.peer, "peer")
        && is_behind(&filter.port, "port")
}

fn flush(args: &FlushArgs) -> Result<Exit, Failure> {
    let FilterArgs {
        segment,
        vlan,
        peer,
        port,
    } = &args.filter;
    let filter = MacFilter {
        segment: segment.clone(),
        vlan: vlan.clone(),
        peer: peer.clone(),
        port: port.clone(),
    };
    match member::ask(&args.member, Verb::Flush(filter))? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_what_fits_all_of_it() {
        let m = MacView {
            segment: "lan".into(),
            vlan: "-".into(),
            kind: "peer".into(),
            place: "b".into(),
            ..MacView::default()
        };
        let filter = |segment: &str, vlan: &str, peer: &str, port: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
            FilterArgs {
                segment: some(segment),
                vlan: some(vlan),
                peer: some(peer),
                port: some(port),
            }
        };
        assert!(fits(&m, &filter("", "", "", "")));
        assert!(fits(&m, &filter("lan", "untagged", "b", "")));
        assert!(!fits(&m, &filter("lan", "20", "b", "")));
        assert!(!fits(&m, &filter("", "", "", "b")), "b is no port");
    }
}
