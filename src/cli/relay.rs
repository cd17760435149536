//! `relay`: start a relay, or write its first configuration.

use std::path::Path;

use super::args::{InitArgs, RelayArgs, RelayVerb, ShowArgs, TicketArgs};
use super::exit::{Exit, Failure};
use super::{init, member, render, sealing};
use crate::api::{Answer, PeerView, Verb};
use crate::config::{DemoKeys, load_with};
use crate::daemon;
use crate::io::clock;
use crate::keys::{Psk, PublicKey, Ticket};

pub(super) fn run(args: &RelayArgs) -> Result<Exit, Failure> {
    match (&args.verb, &args.config) {
        (Some(RelayVerb::Show(args)), _) => show(args),
        (Some(RelayVerb::Ticket(args)), _) => ticket(args),
        (None, Some(config)) => start(args, config),
        (None, None) => Err(Failure::failed("a relay needs its configuration")),
    }
}

fn start(args: &RelayArgs, config: &Path) -> Result<Exit, Failure> {
    if args.init {
        let name = config.file_stem().and_then(|s| s.to_str());
        let args = InitArgs {
            config: Some(config.into()),
            name: name.map(Into::into),
        };
        return init::relay(&args);
    }
    let path = config;
    let (config, report) = load_with(path, DemoKeys::Refuse, &mut args.words.opener());
    let Some(config) = config else {
        return Err(Failure::config(&report));
    };
    render::say(&report.to_string());
    if config.relaying.is_none() {
        let message = format!("{}: a relay needs [admission]", path.display());
        let hint = "[admission] members = [\"...\"]: the public keys of those that may use it; \
                    a member with ports is started with `l2vpn up`";
        return Err(Failure::with(Exit::Config, message, hint));
    }
    daemon::run(config, &args.log)?;
    Ok(Exit::Ok)
}

/// Makes a ticket and prints it.
fn ticket(args: &TicketArgs) -> Result<Exit, Failure> {
    let secret: Psk = sealing::key_in(&args.secret, args.words)?;
    let holder = args.key.parse::<PublicKey>().map_err(|error| {
        let message = format!(
            "\"{}\" is not a public key: {error}",
            args.key.escape_debug()
        );
        let hint = "`l2vpn key public FILE` prints one: 44 characters, the last is '='";
        Failure::with(Exit::Failed, message, hint)
    })?;
    let until = clock::wall().as_secs() + u64::from(args.days) * 86_400;
    let ticket = Ticket::issue(&secret, &holder, until);
    render::print(&format!("{}\n", ticket.to_text()))?;
    Ok(Exit::Ok)
}

/// For whom a running relay carries how much.
fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let Answer::Snapshot(snapshot) = member::ask(&args.member, Verb::Show)? else {
        return Err(member::unexpected());
    };
    let served = |p: &&PeerView| p.way.carried.is_some();
    let served: Vec<&PeerView> = snapshot.peers.iter().filter(served).collect();
    if args.json {
        render::json(&served)?;
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = served.into_iter().map(row).collect();
    let header = [
        "MEMBER",
        "STATE",
        "ENDPOINT",
        "CHANNELS",
        "DATAGRAMS",
        "BYTES",
        "TOO MUCH",
    ];
    render::print(&render::table(&header, &rows))?;
    Ok(Exit::Ok)
}

fn row(peer: &PeerView) -> Vec<String> {
    let carried = peer.way.carried.clone().unwrap_or_default();
    vec![
        peer.name.clone(),
        peer.state.clone(),
        peer.endpoint.clone().unwrap_or("-".into()),
        carried.channels.to_string(),
        carried.packets.to_string(),
        render::size(carried.bytes),
        carried.over.to_string(),
    ]
}
