//! `[[relay]]`: who helps to reach peers; `[admission]`: for whom this one does.

use std::ops::Range;

use super::checker::Checker;
use super::peers::{DEFAULT_KEEPALIVE, Endpoints, endpoints, names, own_name, psk};
use super::raw::{RawAdmission, RawRelay, Section, Sections};
use super::{NetworkConfig, PeerConfig, PeerKind, RelayPolicy, Relaying, Word};
use crate::keys::{Names, Psks, PublicKey, Ticket};
use crate::wire::record::Roles;
use crate::wire::service::Services;

/// The most members that one relay lists.
const MAX_CLIENTS: usize = 10_000;
/// Rates, in million bits a second.
const MEGABITS: std::ops::RangeInclusive<i64> = 1..=1_000_000;

/// Adds relays and clients to the peers; gives what this one carries for others, if it does.
pub(super) fn check(
    checker: &mut Checker<'_>,
    (relays, admission): (Option<Sections<RawRelay>>, Option<Section<RawAdmission>>),
    (own, network): (Option<Names>, Option<&NetworkConfig>),
    peers: &mut Vec<PeerConfig>,
) -> Option<Relaying> {
    for (relay, at) in checker.sections(relays, "relay") {
        if let Some(relay) = one(checker, relay, &at, (own, peers)) {
            peers.push(relay);
        }
    }
    let admission = checker.section(admission);
    check_record(checker, network, admission.as_ref().map(|(_, at)| at));
    let (admission, at) = admission?;
    let has_secret = admission.secret_file.is_some();
    let secret = admission.secret_file.and_then(|f| psk(checker, f));
    let relaying = Relaying {
        secret,
        rate: checker.number(admission.rate, "rate", MEGABITS),
        total_rate: checker.number(admission.total_rate, "total_rate", MEGABITS),
        second_port: checker.number(admission.second_port, "second_port", 0..=65_535),
    };
    let members = checker.take(admission.members);
    // Those of the network come by their records.
    let has_others = has_secret || network.is_some();
    let members = members.or(has_others.then(|| (Vec::new(), at.clone())));
    let Some((members, at)) = members else {
        checker
            .findings
            .error(
                &at,
                "[admission] needs members, the public keys of those that may use this relay, or a secret_file for tickets",
            )
            .hint("members = [\"...\", \"...\"]; `l2vpn key public FILE` prints a key");
        return Some(relaying);
    };
    if members.len() > MAX_CLIENTS {
        let message = format!("more than {MAX_CLIENTS} members");
        checker.findings.error(&at, message);
    }
    if members.is_empty() && !has_others && peers.is_empty() {
        checker
            .findings
            .warning(&at, "nobody may use this relay: members is empty");
    }
    let mut clients = listed(checker, members, &at);
    // Who is a peer may use it, too.
    clients.retain(|key| !peers.iter().any(|p| p.key.has(key)));
    peers.extend(clients.into_iter().map(|key| {
        let client = PeerKind::Client;
        bare(key.short(), key.into(), (client, Default::default()))
    }));
    Some(relaying)
}

/// Whether a member's record says that it relays, where it does, and the other way round.
fn check_record(
    checker: &mut Checker<'_>,
    network: Option<&NetworkConfig>,
    admission: Option<&Range<usize>>,
) {
    let Some((record, _)) = network.and_then(|n| n.record.as_ref()) else {
        return;
    };
    let (at, message, hint) = match (record.roles.has(Roles::RELAY), admission) {
        (true, None) => (
            &(0..0),
            "this member's record says that it relays, and there is no [admission]",
            "write [admission]: with a [network] all of its members may use it",
        ),
        (false, Some(at)) => (
            at,
            "members of the network do not use this relay: its record does not say that it is one",
            "`l2vpn ca sign` and `l2vpn ca admin` take --role relay; who names it in a [[relay]] uses it",
        ),
        _ => return,
    };
    checker.findings.warning(at, message).hint(hint);
}

/// The keys of those that are listed.
fn listed(checker: &mut Checker<'_>, members: Vec<String>, at: &Range<usize>) -> Vec<PublicKey> {
    let mut clients: Vec<PublicKey> = Vec::new();
    for text in members {
        match text.parse::<PublicKey>() {
            Ok(key) if clients.contains(&key) => {
                let message = format!("member {} stands twice", key.short());
                checker.findings.warning(at, message);
            }
            Ok(key) => clients.push(key),
            Err(error) => checker
                .findings
                .error(
                    at,
                    format!("\"{}\" is not a public key: {error}", text.escape_debug()),
                )
                .hint("`l2vpn key public FILE` prints one: 44 characters, the last is '='"),
        }
    }
    clients
}

fn one(
    checker: &mut Checker<'_>,
    raw: RawRelay,
    at: &Range<usize>,
    (own, others): (Option<Names>, &[PeerConfig]),
) -> Option<PeerConfig> {
    let key = names(checker, (raw.public_key, raw.accept_old), at, (own, others));
    let list = checker.take(raw.endpoints);
    let places = list
        .map(|(list, at)| endpoints(checker, list, &at))
        .unwrap_or_default();
    if places.0.is_empty() && places.1.is_empty() {
        checker
            .findings
            .error(at, "a relay needs endpoints")
            .hint("endpoints = [\"relay.example.net:7656\"]");
    }
    let name = own_name(checker, raw.name, others);
    let key = key?;
    let name = name.unwrap_or_else(|| key.current.short());
    let ticket = checker.take(raw.ticket).and_then(|(text, at)| {
        let read = Ticket::from_text(&text);
        read.map_err(|e| {
            let hint =
                "at the relay: `l2vpn relay ticket --secret FILE YOUR_PUBLIC_KEY` prints one";
            checker.findings.error(&at, e.to_string()).hint(hint);
        })
        .ok()
    });
    Some(PeerConfig {
        word: ticket.map_or(Word::Listed, Word::Ticket),
        ..bare(name, key, (PeerKind::Relay, places))
    })
}

/// A peer that has no part in any segment.
fn bare(
    name: String,
    key: Names,
    (kind, (endpoints, carried)): (PeerKind, Endpoints),
) -> PeerConfig {
    PeerConfig {
        kind,
        name,
        key,
        psks: Psks::default(),
        endpoints,
        carried,
        relay: RelayPolicy::default(),
        word: Word::Listed,
        // A NAT keeps the way from a relay open for as long as something passes.
        keepalive: (kind == PeerKind::Relay).then_some(DEFAULT_KEEPALIVE),
        mtu: None,
        segments: Some(Vec::new()),
        vlans: None,
        roles: Services::NONE,
        serves: false,
        pinned: Vec::new(),
    }
}
