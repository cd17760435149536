//! `[[peer]]`: who the others are and where.

use std::ops::Range;

use super::checker::Checker;
use super::listening::NOT_BUILT;
use super::paths::resolve;
use super::pins;
use super::raw::{Field, RawPeer, Sections};
use super::vlans::peer_vlans;
use super::{EndpointName, PeerConfig, PeerKind, RelayPolicy, Word};
use crate::carrier::Carrier;
use crate::keys::{Names, Psk, Psks, PublicKey, is_demo};
use crate::time::Duration;
use crate::wire::segment::SegmentId;
use crate::wire::service::Services;

/// Keeps the mapping of a NAT: Linux forgets a fresh UDP flow after 30 s.
pub(super) const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(25);
const MAX_ENDPOINTS: usize = 16;

/// Addresses for UDP, and those for other carriers.
pub(super) type Endpoints = (Vec<EndpointName>, Vec<(Carrier, EndpointName)>);

pub(super) fn check(
    checker: &mut Checker<'_>,
    raw: Option<Sections<RawPeer>>,
    (own, relays): (Option<Names>, bool),
) -> Vec<PeerConfig> {
    let raw = checker.sections(raw, "peer");
    if raw.is_empty() && !relays {
        checker
            .findings
            .warning(&(0..0), "there is no [[peer]]: this member is alone");
    }
    let mut peers: Vec<PeerConfig> = Vec::new();
    for (peer, at) in raw {
        if let Some(peer) = one(checker, peer, &at, (own, &peers)) {
            peers.push(peer);
        }
    }
    peers
}

fn one(
    checker: &mut Checker<'_>,
    raw: RawPeer,
    at: &Range<usize>,
    (own, others): (Option<Names>, &[PeerConfig]),
) -> Option<PeerConfig> {
    let key = names(checker, (raw.public_key, raw.accept_old), at, (own, others));
    let files = (raw.psk_file, raw.old_psk_file);
    let psks = psks(checker, files, ("psk_file", "old_psk_file"));
    let (endpoints, carried) = checker
        .take(raw.endpoints)
        .map(|(list, at)| endpoints(checker, list, &at))
        .unwrap_or_default();
    let relay = relay_policy(checker, raw.relay);
    let keepalive = keepalive(checker, raw.keepalive);
    let by_record = checker.take(raw.by_record).map(|(by_record, _)| by_record);
    let mtu = checker.number(raw.mtu, "mtu", 1280..=65_535);
    let segments = checker
        .take(raw.segments)
        .map(|(list, at)| segments(checker, list, &at));
    let vlans = checker
        .take(raw.vlans)
        .map(|(list, at)| peer_vlans(checker, list, &at));
    let (serves, roles) = roles(checker, raw.roles);
    let home = pins::Home {
        segment: checker.only_segment(),
        rule: None,
    };
    let pinned = pins::check(checker, raw.pinned, &home);
    let name = own_name(checker, raw.name, others);
    let key = key?;
    let peer = PeerConfig {
        kind: PeerKind::Member,
        name: name.unwrap_or_else(|| key.current.short()),
        key,
        psks,
        endpoints,
        carried,
        relay,
        word: match by_record {
            Some(true) => Word::Record,
            _ => Word::Listed,
        },
        keepalive,
        mtu,
        segments,
        vlans,
        roles,
        serves,
        pinned,
    };
    check_by_record(checker, &peer, at);
    Some(peer)
}

/// What a record says is not said here again.
fn check_by_record(checker: &mut Checker<'_>, peer: &PeerConfig, at: &Range<usize>) {
    let has_limits = peer.segments.is_some() || peer.vlans.is_some();
    let has_roles = peer.serves || peer.roles != Services::NONE;
    let says_more = has_limits || has_roles || peer.key.former.is_some();
    if peer.word == Word::Record && says_more {
        checker
            .findings
            .error(
                at,
                "a peer that is let in by its record has what that says, and nothing else",
            )
            .hint("take segments, vlans, roles and accept_old out, or by_record");
    }
}

/// What a peer's roles name it by that relays for us, too.
const RELAY: &str = "relay";

/// Whether it relays for us, and what the hosts behind it may offer.
fn roles(checker: &mut Checker<'_>, mut field: Option<Field<Vec<String>>>) -> (bool, Services) {
    let mut serves = false;
    if let Some(Field {
        value: Ok(list), ..
    }) = &mut field
    {
        let all = list.len();
        list.retain(|role| role != RELAY);
        serves = list.len() < all;
    }
    (serves, checker.services("role", field))
}

/// The name of a peer or relay, which no other has.
pub(super) fn own_name(
    checker: &mut Checker<'_>,
    field: Option<Field<String>>,
    others: &[PeerConfig],
) -> Option<String> {
    let (name, at) = checker.take(field)?;
    if checker.name(&name, &at) && others.iter().any(|p| p.name == name) {
        checker
            .findings
            .error(&at, format!("peer \"{name}\" stands twice"))
            .hint("give each peer a name of its own");
    }
    Some(name)
}

/// A peer's key, and the one that it had before.
pub(super) fn names(
    checker: &mut Checker<'_>,
    (current, former): (Option<Field<String>>, Option<Field<String>>),
    at: &Range<usize>,
    (own, others): (Option<Names>, &[PeerConfig]),
) -> Option<Names> {
    let old_at = former.as_ref().map(|f| f.span.clone());
    let former = former.and_then(|f| public_key(checker, Some(f), at, (own, others)));
    let current = public_key(checker, current, at, (own, others))?;
    if let (true, Some(at)) = (former == Some(current), old_at) {
        checker
            .findings
            .error(&at, "accept_old is the same key as public_key")
            .hint("public_key is the new key, accept_old the one before");
    }
    Some(Names { current, former })
}

fn public_key(
    checker: &mut Checker<'_>,
    field: Option<Field<String>>,
    at: &Range<usize>,
    (own, others): (Option<Names>, &[PeerConfig]),
) -> Option<PublicKey> {
    if field.is_none() {
        checker
            .findings
            .error(at, "a peer needs a public_key")
            .hint("on the peer: `l2vpn key public its.key` prints it");
    }
    let (text, at) = checker.take(field)?;
    let key = match text.parse::<PublicKey>() {
        Ok(key) => key,
        Err(error) => {
            checker
                .findings
                .error(&at, format!("not a public key: {error}"))
                .hint("`l2vpn key public FILE` prints one: 44 characters, the last is '='");
            return None;
        }
    };
    if own.is_some_and(|own| own.has(&key)) {
        checker
            .findings
            .error(&at, "this is this member's own public key")
            .hint("a peer has the key of another member");
    }
    if let Some(other) = others.iter().find(|p| p.key.has(&key)) {
        let message = format!("this key is that of peer \"{}\" already", other.name);
        checker
            .findings
            .error(&at, message)
            .hint("one [[peer]] for each member; list all its endpoints there");
    }
    if is_demo(&key) {
        checker.demo_key(&at, "the private key of this public key is published");
    }
    Some(key)
}

/// A pre-shared key and the one before.
pub(super) fn psks(
    checker: &mut Checker<'_>,
    (current, former): (Option<Field<String>>, Option<Field<String>>),
    (name, old_name): (&str, &str),
) -> Psks {
    if let (None, Some(former)) = (&current, &former) {
        checker
            .findings
            .error(&former.span, format!("{old_name} without {name}"))
            .hint(format!("{name} is the new key, {old_name} the one before"));
    }
    let at = former.as_ref().map(|f| f.span.clone());
    let psks = Psks {
        current: current.and_then(|f| psk(checker, f)),
        former: former.and_then(|f| psk(checker, f)),
    };
    let [new, old] = [&psks.current, &psks.former].map(|p| Psks::of(p.clone()));
    if let (true, true, Some(at)) = (psks.former.is_some(), new == old, at) {
        checker
            .findings
            .error(&at, format!("{old_name} holds the same key as {name}"))
            .hint("make a new one with `l2vpn key psk -o FILE`");
    }
    psks
}

pub(super) fn psk(checker: &mut Checker<'_>, field: Field<String>) -> Option<Psk> {
    let (file, at) = checker.take(Some(field))?;
    if checker.is_a_key_itself(&file, &at) {
        return None;
    }
    let path = resolve(checker.path, &file);
    let is_missing = !path.exists();
    match checker.key_in_file(&path) {
        Ok(psk) => Some(psk),
        Err((message, hint)) => {
            let hint = match is_missing {
                true => "make one with `l2vpn key psk -o FILE`, and give it to the peer too".into(),
                false => hint,
            };
            checker.findings.error(&at, message).hint(hint);
            None
        }
    }
}

pub(super) fn endpoints(
    checker: &mut Checker<'_>,
    list: Vec<String>,
    at: &Range<usize>,
) -> Endpoints {
    if list.len() > MAX_ENDPOINTS {
        checker
            .findings
            .error(at, format!("more than {MAX_ENDPOINTS} endpoints"));
    }
    let (mut good, mut carried) = (Vec::new(), Vec::new());
    for text in list {
        let (carrier, rest) = Carrier::split(&text);
        match (carrier, rest.parse::<EndpointName>()) {
            (Some(_), Ok(_)) if cfg!(not(feature = "quic")) => {
                checker.findings.error(at, NOT_BUILT);
            }
            (Some(carrier), Ok(endpoint)) if carried.contains(&(carrier, endpoint.clone())) => {
                checker
                    .findings
                    .warning(at, format!("endpoint \"{text}\" stands twice"));
            }
            (Some(carrier), Ok(endpoint)) => carried.push((carrier, endpoint)),
            (None, Ok(endpoint)) if good.contains(&endpoint) => {
                checker
                    .findings
                    .warning(at, format!("endpoint \"{text}\" stands twice"));
            }
            (None, Ok(endpoint)) => good.push(endpoint),
            (_, Err(error)) => checker
                .findings
                .error(at, format!("endpoint {error}"))
                .hint("\"192.0.2.1:7656\", \"[2001:db8::1]:7656\" or \"a.example.net:7656\""),
        }
    }
    (good, carried)
}

fn relay_policy(checker: &mut Checker<'_>, field: Option<Field<String>>) -> RelayPolicy {
    let Some((text, at)) = checker.take(field) else {
        return RelayPolicy::default();
    };
    match text.as_str() {
        "allow" => RelayPolicy::Allow,
        "control-only" => RelayPolicy::ControlOnly,
        "never" => RelayPolicy::Never,
        other => {
            let message = format!("relay \"{other}\" is no policy");
            checker.findings.error(&at, message).hint(
                "\"allow\"; \"control-only\": no frames go through a relay; \"never\": not even the handshake",
            );
            RelayPolicy::default()
        }
    }
}

fn keepalive(checker: &mut Checker<'_>, field: Option<Field<String>>) -> Option<Duration> {
    let off = field
        .as_ref()
        .is_some_and(|f| f.value.as_deref() == Ok("off"));
    if off {
        return None;
    }
    let range = (Duration::from_secs(1), Duration::from_secs(3600));
    checker
        .duration(field, "keepalive", range)
        .or(Some(DEFAULT_KEEPALIVE))
}

fn segments(checker: &mut Checker<'_>, list: Vec<String>, at: &Range<usize>) -> Vec<SegmentId> {
    list.iter()
        .filter_map(|name| checker.named_segment(name, at))
        .collect()
}
