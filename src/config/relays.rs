//! `[[relay]]`: who helps to reach peers; `[admission]`: for whom this one does.

use std::ops::Range;

use super::checker::Checker;
use super::peers::{DEFAULT_KEEPALIVE, Endpoints, endpoints, own_name, public_key};
use super::raw::{RawAdmission, RawRelay, Section, Sections};
use super::{PeerConfig, PeerKind, RelayPolicy, Relaying};
use crate::keys::PublicKey;
use crate::wire::service::Services;

/// The most members that one relay lists.
const MAX_CLIENTS: usize = 10_000;
/// Rates, in million bits a second.
const MEGABITS: std::ops::RangeInclusive<i64> = 1..=1_000_000;

/// Adds relays and clients to the peers; gives what this one carries for others, if it does.
pub(super) fn check(
    checker: &mut Checker<'_>,
    (relays, admission): (Option<Sections<RawRelay>>, Option<Section<RawAdmission>>),
    own: Option<PublicKey>,
    peers: &mut Vec<PeerConfig>,
) -> Option<Relaying> {
    for (relay, at) in checker.sections(relays, "relay") {
        if let Some(relay) = one(checker, relay, &at, (own, peers)) {
            peers.push(relay);
        }
    }
    let (admission, at) = checker.section(admission)?;
    let relaying = Relaying {
        rate: checker.number(admission.rate, "rate", MEGABITS),
        total_rate: checker.number(admission.total_rate, "total_rate", MEGABITS),
    };
    let Some((members, at)) = checker.take(admission.members) else {
        checker
            .findings
            .error(
                &at,
                "[admission] needs members: the public keys of those that may use this relay",
            )
            .hint("members = [\"...\", \"...\"]; `l2vpn key public FILE` prints a key");
        return Some(relaying);
    };
    if members.len() > MAX_CLIENTS {
        let message = format!("more than {MAX_CLIENTS} members");
        checker.findings.error(&at, message);
    }
    if members.is_empty() {
        checker
            .findings
            .warning(&at, "nobody may use this relay: members is empty");
    }
    let mut clients: Vec<PublicKey> = Vec::new();
    for text in members {
        match text.parse::<PublicKey>() {
            Ok(key) if clients.contains(&key) => {
                let message = format!("member {} stands twice", key.short());
                checker.findings.warning(&at, message);
            }
            Ok(key) => clients.push(key),
            Err(error) => checker
                .findings
                .error(
                    &at,
                    format!("\"{}\" is not a public key: {error}", text.escape_debug()),
                )
                .hint("`l2vpn key public FILE` prints one: 44 characters, the last is '='"),
        }
    }
    // Who is a peer may use it, too.
    clients.retain(|key| !peers.iter().any(|p| p.key == *key));
    peers.extend(clients.into_iter().map(|key| {
        let client = PeerKind::Client;
        bare(key.short(), key, (client, Default::default()))
    }));
    Some(relaying)
}

fn one(
    checker: &mut Checker<'_>,
    raw: RawRelay,
    at: &Range<usize>,
    (own, others): (Option<PublicKey>, &[PeerConfig]),
) -> Option<PeerConfig> {
    let key = public_key(checker, raw.public_key, at, (own, others));
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
    let name = name.unwrap_or_else(|| key.short());
    Some(bare(name, key, (PeerKind::Relay, places)))
}

/// A peer that has no part in any segment.
fn bare(
    name: String,
    key: PublicKey,
    (kind, (endpoints, carried)): (PeerKind, Endpoints),
) -> PeerConfig {
    PeerConfig {
        kind,
        name,
        key,
        psk: None,
        endpoints,
        carried,
        relay: RelayPolicy::default(),
        // A NAT keeps the way from a relay open for as long as something passes.
        keepalive: (kind == PeerKind::Relay).then_some(DEFAULT_KEEPALIVE),
        mtu: None,
        segments: Some(Vec::new()),
        vlans: None,
        roles: Services::NONE,
        pinned: Vec::new(),
    }
}
