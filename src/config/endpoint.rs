//! Addresses as people write them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where a peer may be found: an address, or a name to be resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointName {
    /// An address and a port.
    Address(SocketAddr),
    /// A DNS name and a port.
    Name(String, u16),
}

/// The text is no address or name with a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAnEndpoint(String);

impl FromStr for EndpointName {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let fail = |why: &str| Err(NotAnEndpoint(format!("\"{text}\" {why}")));
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return fail("has port 0");
            }
            if address.ip().is_unspecified() || address.ip().is_multicast() {
                return fail("is not the address of one host");
            }
            return Ok(EndpointName::Address(address));
        }
        if text.parse::<IpAddr>().is_ok() {
            return fail("has no port");
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return fail("has no port");
        };
        let Some(port) = port.parse::<u16>().ok().filter(|p| *p != 0) else {
            return fail("has no port between 1 and 65535");
        };
        if !is_host_name(host) {
            return fail("is neither an address nor a host name");
        }
        Ok(EndpointName::Name(host.to_string(), port))
    }
}

/// RFC 1123 section 2.1, with underscores, which resolvers accept.
fn is_host_name(host: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253
        && host.split('.').all(label)
        // All digits and dots is a mistyped address, not a name.
        && host.bytes().any(|b| b.is_ascii_alphabetic())
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointName::Address(address) => address.fmt(f),
            EndpointName::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart_and_nonsense_refused() {
        for good in [
            "192.0.2.1:7656",
            "[2001:db8::1]:1",
            "a.example.net:65535",
            "host-1:9",
        ] {
            assert_eq!(good.parse::<EndpointName>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            ":",
            "a",
            "192.0.2.1",
            "192.0.2.1:0",
            "192.0.2:99",
            "2001:db8::1",
            "a:99999",
            "0.0.0.0:7656",
            "[::]:7656",
            "-a:1",
            "a b:1",
            "224.0.0.1:1",
            "a..b:1",
        ] {
            assert!(bad.parse::<EndpointName>().is_err(), "{bad}");
        }
    }
}
