//! `[node] listen`: where this member can be reached, by UDP and by other carriers.

use std::net::SocketAddr;
use std::ops::Range;

use super::checker::Checker;
use super::raw::{Field, RawNode};
use super::{DEFAULT_PORT, Reach};
use crate::carrier::Carrier;

/// What a build without them says of carriers.
pub(super) const NOT_BUILT: &str =
    "this build has no QUIC and TLS: build it with the feature `quic`";

/// The UDP address, and what else there is.
pub(super) fn check(checker: &mut Checker<'_>, node: &mut RawNode) -> (Option<SocketAddr>, Reach) {
    let on_lan = checker.switch_of(node.lan_discovery.take()).unwrap_or(true);
    let mapping = node.port_mapping.take();
    let maps_port = checker.switch_of(mapping).unwrap_or(true);
    let hard = node.hard_nats.take();
    let scatters = scatters(checker, hard);
    let (udp, carried) = addresses(checker, node.listen.take());
    let excluded = node.exclude_interfaces.take();
    let reach = Reach {
        carried,
        on_lan,
        maps_port,
        scatters,
        excluded: interfaces(checker, excluded),
    };
    (udp, reach)
}

fn scatters(checker: &mut Checker<'_>, field: Option<Field<bool>>) -> bool {
    let Some((wanted, at)) = checker.take(field) else {
        return false;
    };
    if wanted && cfg!(not(feature = "quic")) {
        checker.findings.error(&at, NOT_BUILT.to_string());
    }
    wanted
}

fn interfaces(checker: &mut Checker<'_>, field: Option<Field<Vec<String>>>) -> Vec<String> {
    let Some((names, at)) = checker.take(field) else {
        return Vec::new();
    };
    for name in &names {
        if name.is_empty() || name.len() > 15 {
            let message = format!("\"{}\" is no interface's name", name.escape_debug());
            checker
                .findings
                .error(&at, message)
                .hint("1 to 15 characters, as `ip link` has them");
        }
    }
    names
}

type Listening = (Option<SocketAddr>, Vec<(Carrier, SocketAddr)>);

/// One address, or a list with one for each carrier.
fn addresses(checker: &mut Checker<'_>, field: Option<Field<toml::Value>>) -> Listening {
    let default = SocketAddr::from(([0u16; 8], DEFAULT_PORT));
    let Some((value, at)) = checker.take(field) else {
        return (Some(default), Vec::new());
    };
    let texts: Vec<String> = match value {
        toml::Value::String(text) => vec![text],
        toml::Value::Array(list) => list
            .into_iter()
            .filter_map(|v| match v {
                toml::Value::String(text) => Some(text),
                other => {
                    let message = format!("{other} is not an address with a port");
                    checker.findings.error(&at, message);
                    None
                }
            })
            .collect(),
        other => {
            let message = format!("invalid type: {}, expected a string", other.type_str());
            checker.findings.error(&at, message);
            return (None, Vec::new());
        }
    };
    let (mut udp, mut carried) = (None, Vec::new());
    let mut has_udp = false;
    for text in texts {
        let (carrier, text) = Carrier::split(&text);
        let address = address(checker, text, &at);
        match carrier {
            None if has_udp => {
                let message = "listen has two UDP addresses: a member has one";
                checker.findings.error(&at, message).hint(format!(
                    "\"[::]:{DEFAULT_PORT}\" listens on all addresses, IPv4 too"
                ));
            }
            None => (udp, has_udp) = (address, true),
            Some(_) if cfg!(not(feature = "quic")) => {
                checker.findings.error(&at, NOT_BUILT);
            }
            Some(carrier) if carried.iter().any(|(c, _)| *c == carrier) => {
                let message = format!("listen has two addresses for {carrier}");
                checker.findings.error(&at, message);
            }
            Some(carrier) => carried.extend(address.map(|a| (carrier, a))),
        }
    }
    (if has_udp { udp } else { Some(default) }, carried)
}

fn address(checker: &mut Checker<'_>, text: &str, at: &Range<usize>) -> Option<SocketAddr> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_multicast() => {
            let message = format!("\"{text}\" is a multicast address");
            checker.findings.error(at, message);
            None
        }
        Ok(address) if address.ip().to_canonical() != address.ip() => {
            checker
                .findings
                .error(at, format!("\"{text}\" is IPv4 in the clothes of IPv6"))
                .hint(format!(
                    "write \"{}\"",
                    SocketAddr::new(address.ip().to_canonical(), address.port())
                ));
            None
        }
        Ok(address) => Some(address),
        Err(_) => {
            checker
                .findings
                .error(at, format!("\"{text}\" is not an address with a port"))
                .hint(format!(
                    "\"[::]:{DEFAULT_PORT}\" listens on all addresses, IPv4 too"
                ));
            None
        }
    }
}
