//! What carries datagrams where UDP does not pass.

use std::fmt;

/// A carrier beside UDP, the better one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// UDP from another port of ours, the one of many that a peer has found.
    Port,
    /// QUIC datagrams (RFC 9221).
    Quic,
    /// Datagrams one behind the other in TLS over TCP.
    Tls,
}

impl Carrier {
    /// What is written before an address, in the configuration and elsewhere; the configuration knows no `port:`.
    pub const fn prefix(self) -> &'static str {
        match self {
            Carrier::Port => "port:",
            Carrier::Quic => "quic:",
            Carrier::Tls => "tls:",
        }
    }

    /// Takes the prefix off a text, if there is one.
    pub fn split(text: &str) -> (Option<Carrier>, &str) {
        let both = [Carrier::Quic, Carrier::Tls];
        let found = both
            .into_iter()
            .find_map(|c| Some((Some(c), text.strip_prefix(c.prefix())?)));
        found.unwrap_or((None, text))
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Carrier::Port => "port",
            Carrier::Quic => "quic",
            Carrier::Tls => "tls",
        })
    }
}
