//! NATs of all kinds for the simulator: RFC 4787's two properties, how ports are mapped and what is let in.

#![allow(dead_code)]

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use l2vpn::time::{Duration, Instant};

use super::Dice;

/// What a mapping or a permission depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depends {
    /// On nothing but the inside.
    Nothing,
    /// On the remote address.
    Address,
    /// On the remote address and port.
    Port,
}

/// A kind of NAT.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub mapping: Depends,
    pub filtering: Depends,
    /// Whether the outside port is the inside one where that is free.
    pub keeps_ports: bool,
    /// Whether outside ports are drawn by dice; otherwise one after the other.
    pub is_random: bool,
}

/// No NAT, and the kinds that are met most.
pub const KINDS: [Option<Kind>; 7] = [
    None,
    Some(Kind {
        name: "full cone",
        mapping: Depends::Nothing,
        filtering: Depends::Nothing,
        keeps_ports: true,
        is_random: false,
    }),
    Some(Kind {
        name: "address-restricted",
        filtering: Depends::Address,
        mapping: Depends::Nothing,
        keeps_ports: true,
        is_random: false,
    }),
    Some(PORT_RESTRICTED),
    Some(Kind {
        name: "port-restricted, other ports",
        keeps_ports: false,
        ..PORT_RESTRICTED
    }),
    Some(Kind {
        name: "symmetric, in sequence",
        mapping: Depends::Port,
        keeps_ports: false,
        ..PORT_RESTRICTED
    }),
    Some(Kind {
        name: "symmetric, at random",
        mapping: Depends::Port,
        keeps_ports: false,
        is_random: true,
        ..PORT_RESTRICTED
    }),
];

pub const PORT_RESTRICTED: Kind = Kind {
    name: "port-restricted",
    mapping: Depends::Nothing,
    filtering: Depends::Port,
    keeps_ports: true,
    is_random: false,
};

/// How long a mapping lives without a packet from inside.
const LIFETIME: Duration = Duration::from_secs(30);

type Remote = (Option<IpAddr>, Option<u16>);

fn key(depends: Depends, remote: SocketAddr) -> Remote {
    match depends {
        Depends::Nothing => (None, None),
        Depends::Address => (Some(remote.ip()), None),
        Depends::Port => (Some(remote.ip()), Some(remote.port())),
    }
}

/// A NAT and what it remembers.
pub struct Nat {
    pub kind: Kind,
    pub outside: IpAddr,
    pub hairpins: bool,
    /// The NAT that it is behind itself.
    pub parent: Option<usize>,
    /// Whether it notes what comes in unasked, as Linux does that drops nothing by rule: what comes first takes the place of
    /// the mapping that its own side would get towards there.
    pub traps: bool,
    taken: HashSet<(u16, SocketAddr)>,
    /// Whether it lets no UDP through.
    pub blocks: bool,
    mappings: HashMap<(SocketAddr, Remote), (u16, Instant)>,
    owners: HashMap<u16, SocketAddr>,
    permits: HashMap<(u16, Remote), Instant>,
    next: u16,
    dice: Dice,
}

impl Nat {
    pub fn new(kind: Kind, outside: IpAddr, seed: u64) -> Nat {
        Nat {
            kind,
            outside,
            hairpins: false,
            parent: None,
            traps: false,
            taken: HashSet::new(),
            blocks: false,
            mappings: HashMap::new(),
            owners: HashMap::new(),
            permits: HashMap::new(),
            next: 30_000,
            dice: Dice(seed),
        }
    }

    /// A packet leaves; gives how it looks outside.
    pub fn out(&mut self, from: SocketAddr, to: SocketAddr, now: Instant) -> Option<SocketAddr> {
        if self.blocks {
            return None;
        }
        let mapping = (from, key(self.kind.mapping, to));
        let known = self.mappings.get(&mapping).copied();
        let port = match known.filter(|(_, at)| now.since(*at) < LIFETIME) {
            Some((port, _)) => port,
            None => self.fresh_port(from.port()),
        };
        let is_taken = self.taken.contains(&(port, to));
        let (mapping, port) = match is_taken {
            // Another one, for this destination alone.
            true => {
                let mapping = (from, key(Depends::Port, to));
                let known = self.mappings.get(&mapping).map(|(port, _)| *port);
                (mapping, known.unwrap_or_else(|| self.other_port()))
            }
            false => (mapping, port),
        };
        self.mappings.insert(mapping, (port, now));
        self.owners.insert(port, from);
        self.permits
            .insert((port, key(self.kind.filtering, to)), now);
        Some(SocketAddr::new(self.outside, port))
    }

    /// A packet comes to an outside port; gives where it goes inside.
    pub fn inward(&mut self, from: SocketAddr, port: u16, now: Instant) -> Option<SocketAddr> {
        if self.blocks {
            return None;
        }
        let Some(at) = self.permits.get(&(port, key(self.kind.filtering, from))) else {
            if self.traps {
                self.taken.insert((port, from));
            }
            return None;
        };
        let owner = self.owners.get(&port).copied();
        owner.filter(|_| now.since(*at) < LIFETIME)
    }

    /// Others inside take so many ports.
    pub fn give(&mut self, others: u16) {
        self.next += others;
    }

    /// It forgets everything, as after a loss of power.
    pub fn reboot(&mut self) {
        self.mappings.clear();
        self.owners.clear();
        self.permits.clear();
        self.next += 1000;
    }

    fn fresh_port(&mut self, wish: u16) -> u16 {
        if self.kind.keeps_ports && !self.owners.contains_key(&wish) {
            return wish;
        }
        self.other_port()
    }

    fn other_port(&mut self) -> u16 {
        loop {
            let port = match self.kind.is_random {
                true => 1024 + (self.dice.next() % 60_000) as u16,
                false => {
                    self.next += 1;
                    self.next
                }
            };
            if !self.owners.contains_key(&port) {
                return port;
            }
        }
    }
}
