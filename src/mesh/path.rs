//! Where a peer is and how much fits into one datagram to it.
//!
//! # Why
//! An address becomes a peer's path only by proof: the response to our initiation came from it, a session's first packet
//! did, or it answered a challenge inside the session (RFC 9000 section 8.2 has the same idea). A packet from a new
//! address moves nothing by itself, since anybody on the way can send a copy from elsewhere; until the challenge is
//! answered, data stays on the old path and only the challenge goes to the new one.

use std::net::{IpAddr, SocketAddr};

use super::mtu::{MtuSearch, Step};
use super::rtt::RoundTrip;
use crate::time::{Duration, Instant};
use crate::wire::relayed::{Channel, RELAYED_HEADER_LEN};

/// A way to a peer: its address and, where known, the local address that it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The peer's address and port; IPv4 is never written as IPv4-mapped IPv6.
    pub remote: SocketAddr,
    /// The source address that packets to it should carry.
    pub local: Option<IpAddr>,
    /// The channel through the relay at that address; `None` when the peer itself is there.
    pub channel: Option<Channel>,
}

impl Endpoint {
    /// A way to an address, from whatever source address the kernel picks.
    pub fn to(remote: SocketAddr) -> Self {
        Endpoint::between(remote, None)
    }

    /// A way between two addresses.
    pub fn between(remote: SocketAddr, local: Option<IpAddr>) -> Self {
        Endpoint {
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            local: local.map(|ip| ip.to_canonical()),
            channel: None,
        }
    }

    /// A way to the other end of a channel through the relay that is at this one.
    pub fn through(self, channel: Channel) -> Self {
        let channel = Some(channel);
        Endpoint { channel, ..self }
    }

    /// Whether another is the same way, from whatever address of ours.
    pub fn is_same_way(&self, other: &Endpoint) -> bool {
        (self.remote, self.channel) == (other.remote, other.channel)
    }

    /// Whom handshakes from there are counted for: an address, or what stands for a channel, since all that come through one
    /// relay have its address. Such addresses are of no network (RFC 6666 discards them).
    pub fn origin(&self) -> SocketAddr {
        let Some(channel) = self.channel else {
            return self.remote;
        };
        let [a, b, c, d] = channel.get().to_be_bytes();
        let ip = [1, 0, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
        SocketAddr::new(IpAddr::from(ip), self.remote.port())
    }

    /// What goes before each datagram on this way.
    pub fn lead(&self) -> Option<[u8; RELAYED_HEADER_LEN]> {
        self.channel.map(|channel| channel.header(1))
    }

    /// The bytes of IP and UDP headers on this way, and of what goes before each datagram.
    pub fn headers_len(&self) -> usize {
        let lead = self.channel.map_or(0, |_| RELAYED_HEADER_LEN);
        lead + match self.remote {
            SocketAddr::V4(_) => 28,
            SocketAddr::V6(_) => IPV6_HEADERS,
        }
    }
}

/// The MTU until the route's is known, and the smallest of an IPv6 path (RFC 8200 section 5).
pub const MIN_MTU: u16 = 1280;
/// Bytes of the headers of UDP and IPv6.
const IPV6_HEADERS: usize = 48;
/// The smallest MTU that is believed of an IPv4 path (RFC 791 section 3.1).
const MIN_MTU_V4: u16 = 576;
/// What every way through a relay carries of UDP payload behind the channel's header: the other half may be IPv6.
///
/// A client of the relay may be there by QUIC, whose datagrams take 1162 bytes at least.
const RELAYED_ROOM: u16 = 1162 - RELAYED_HEADER_LEN as u16;
/// A challenge is repeated no sooner than this.
const CHALLENGE_EVERY: Duration = Duration::from_secs(1);
/// A challenge unanswered for this long is forgotten.
const CHALLENGE_KEPT: Duration = Duration::from_secs(5);

struct Challenge {
    to: Endpoint,
    token: [u8; 8],
    since: Instant,
}

/// The path to one peer.
#[derive(Default)]
pub struct Path {
    endpoint: Option<Endpoint>,
    since: Instant,
    /// From the configuration; wins over what a direct way seems to carry.
    fixed_mtu: Option<u16>,
    mtu: MtuSearch,
    round_trip: RoundTrip,
    /// A question that was sent once, and when.
    asked: Option<([u8; 8], Instant)>,
    challenge: Option<Challenge>,
}

impl Path {
    /// No path yet; `fixed_mtu` overrides what the route says, in bytes of an IP packet.
    pub fn new(fixed_mtu: Option<u16>) -> Self {
        Path {
            fixed_mtu,
            ..Path::default()
        }
    }

    /// The proven way to the peer.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Takes a way that was proven; gives whether it is another one.
    pub fn prove(&mut self, endpoint: Endpoint, now: Instant) -> bool {
        let moved = self.endpoint.is_none_or(|e| !e.is_same_way(&endpoint));
        if moved {
            // What the old way carried, and how long it took, says nothing about the new one.
            self.mtu.restart(match (endpoint.channel, self.fixed_mtu) {
                (None, Some(fixed)) => fixed,
                (None, None) => MIN_MTU,
                // What lies behind the relay is not known, nor which IP is spoken there.
                (Some(_), _) => RELAYED_ROOM + endpoint.headers_len() as u16,
            });
            self.round_trip = RoundTrip::default();
            self.asked = None;
            self.since = now;
        }
        self.endpoint = Some(endpoint);
        moved
    }

    /// We are somewhere else: the way is another one, though it leads to the same address.
    pub fn renew(&mut self, now: Instant) {
        if let Some(endpoint) = self.endpoint.take() {
            let back = Endpoint {
                local: None,
                ..endpoint
            };
            self.prove(back, now);
        }
    }

    /// The way is gone, and there is none.
    pub fn leave(&mut self) {
        self.endpoint = None;
    }

    /// Since when the peer is reached on this way.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// How long a question and its answer take.
    pub fn round_trip(&self) -> RoundTrip {
        self.round_trip
    }

    /// The largest IP packet that the path takes, in bytes.
    pub fn mtu(&self) -> u16 {
        match self.endpoint {
            Some(_) => self.mtu.get(),
            None => self.fixed_mtu.unwrap_or(MIN_MTU),
        }
    }

    /// Notes what the kernel says about the route; gives whether the size in use changes.
    pub fn set_route_mtu(&mut self, mtu: u16, now: Instant) -> bool {
        let Some(endpoint) = self.endpoint else {
            return false;
        };
        let least = match endpoint.remote.is_ipv4() {
            true => MIN_MTU_V4,
            false => MIN_MTU,
        };
        match (self.fixed_mtu, endpoint.channel) {
            (Some(_), None) => false,
            (fixed, _) => {
                let ceiling = fixed.map_or(mtu, |f| mtu.min(f)).max(least);
                self.mtu.set_ceiling(ceiling, now)
            }
        }
    }

    /// Notes what a carrier takes, whatever the configuration says; gives whether the size in use changes.
    pub fn set_carried_mtu(&mut self, mtu: u16, now: Instant) -> bool {
        self.endpoint.is_some() && self.mtu.set_ceiling(mtu, now)
    }

    /// The bytes of one datagram's payload on the way.
    pub fn room(&self, endpoint: &Endpoint) -> usize {
        usize::from(self.mtu()).saturating_sub(endpoint.headers_len())
    }

    /// The bytes of one datagram's payload on any way, by IPv6, when the configuration says how large packets may be.
    pub fn told_room(&self) -> Option<usize> {
        let mtu = self.fixed_mtu?;
        Some(usize::from(mtu).saturating_sub(IPV6_HEADERS))
    }

    /// When [`Path::step_mtu`] is due.
    pub fn mtu_deadline(&self) -> Option<Instant> {
        self.mtu.deadline()
    }

    /// What is to be done to know how much the way carries; the size is that of an IP packet.
    pub fn step_mtu(&mut self, token: [u8; 8], now: Instant) -> Step {
        self.mtu.step(token, self.round_trip.patience(), now)
    }

    /// So many bytes have gone out in all; to be called about once a second.
    pub fn confirm_mtu(&mut self, sent: u64, now: Instant) {
        self.mtu.confirm(sent, now);
    }

    /// A question with this token goes out, once.
    pub fn note_question(&mut self, token: [u8; 8], now: Instant) {
        self.asked = Some((token, now));
    }

    /// An answer came from there: measures the round trip; gives whether the size in use has grown, and `None` when it
    /// answers no question of this kind.
    pub fn measure(&mut self, from: &Endpoint, token: [u8; 8], now: Instant) -> Option<bool> {
        if self.endpoint.is_none_or(|e| !e.is_same_way(from)) {
            return None;
        }
        if let Some((_, at)) = self.asked.take_if(|(t, _)| *t == token) {
            self.round_trip.sample(now.since(at));
            return Some(false);
        }
        let (took, has_grown) = self.mtu.answered(token, now)?;
        self.round_trip.sample(took);
        Some(has_grown)
    }

    /// Begins to prove a new way; `None` when that is not needed or was just tried.
    pub fn challenge(&mut self, to: Endpoint, token: [u8; 8], now: Instant) -> Option<[u8; 8]> {
        if self.endpoint.is_some_and(|e| e.is_same_way(&to)) {
            return None;
        }
        if let Some(running) = &self.challenge {
            let age = now.since(running.since);
            if age < CHALLENGE_EVERY {
                return None;
            }
        }
        self.challenge = Some(Challenge {
            to,
            token,
            since: now,
        });
        Some(token)
    }

    /// Takes the answer to a challenge; gives the way that it proves.
    pub fn answer(&mut self, from: Endpoint, token: [u8; 8], now: Instant) -> Option<Endpoint> {
        let fits = self.challenge.as_ref().is_some_and(|c| {
            c.token == token && c.to.is_same_way(&from) && now.since(c.since) < CHALLENGE_KEPT
        });
        if !fits {
            return None;
        }
        self.challenge = None;
        Some(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(text: &str) -> Endpoint {
        Endpoint::to(text.parse().unwrap())
    }

    #[test]
    fn mapped_addresses_are_plain_ipv4() {
        assert_eq!(way("[::ffff:192.0.2.1]:7"), way("192.0.2.1:7"));
        assert_eq!(way("192.0.2.1:7").headers_len(), 28);
        assert_eq!(way("[2001:db8::1]:7").headers_len(), 48);
    }

    #[test]
    fn only_an_answer_from_the_challenged_address_proves_it() {
        let (old, new, other) = (way("192.0.2.1:1"), way("192.0.2.2:1"), way("192.0.2.3:1"));
        let mut path = Path::default();
        let at = |s: u64| Instant::from_micros(s * 1_000_000);
        assert!(path.prove(old, at(0)));
        assert_eq!(path.challenge(old, [1; 8], at(1)), None, "nothing to prove");
        assert_eq!(path.challenge(new, [1; 8], at(1)), Some([1; 8]));
        assert_eq!(path.challenge(other, [2; 8], at(1)), None, "one a second");
        assert_eq!(path.answer(other, [1; 8], at(1)), None);
        assert_eq!(path.answer(new, [9; 8], at(1)), None);
        assert_eq!(path.answer(new, [1; 8], at(7)), None, "too late");
        assert_eq!(path.answer(new, [1; 8], at(2)), Some(new));
        assert_eq!(path.answer(new, [1; 8], at(2)), None, "once");
    }

    #[test]
    fn the_size_is_safe_until_known_and_after_a_move() {
        let (mut path, now) = (Path::default(), Instant::from_micros(1_000_000));
        assert_eq!(path.mtu(), MIN_MTU);
        let [here, there, v6] = ["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1"].map(way);
        assert!(path.prove(here, now));
        assert!(!path.set_route_mtu(1500, now), "nobody has answered yet");
        assert_eq!(path.step_mtu([1; 8], now), Step::Ask(1500));
        assert_eq!(path.measure(&there, [1; 8], now), None, "from elsewhere");
        assert_eq!(path.measure(&here, [1; 8], now), Some(true));
        assert_eq!(path.room(&here), 1472);
        path.prove(there, now);
        assert_eq!(path.mtu(), MIN_MTU);
        assert!(path.set_route_mtu(600, now), "IPv4 may be smaller");
        assert_eq!(path.mtu(), 600);
        path.prove(v6, now);
        path.set_route_mtu(600, now);
        assert_eq!(path.mtu(), MIN_MTU);
        let mut fixed = Path::new(Some(1400));
        fixed.prove(here, now);
        assert!(!fixed.set_route_mtu(9000, now));
        assert_eq!((fixed.mtu(), fixed.mtu_deadline()), (1400, None));
    }

    #[test]
    fn what_fits_through_every_relay_fits_behind_ipv6() {
        let channel = Channel::new(7).unwrap();
        for (relay, fixed) in [("192.0.2.1:1", None), ("[2001:db8::1]:1", Some(9000))] {
            let mut path = Path::new(fixed);
            let relayed = way(relay).through(channel);
            path.prove(relayed, Instant::ZERO);
            assert_eq!(path.room(&relayed), 1154);
        }
    }
}
