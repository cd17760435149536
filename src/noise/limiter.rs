//! Token buckets for address prefixes, in memory of a fixed size.
//!
//! # Why
//! Handshakes are limited by /32 and /64, never by port: an attacker has 65,535 ports. The table does not grow: a keyed
//! hash picks one of 4,096 buckets, so somebody who wants to exhaust a victim's bucket has to guess the key.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use crate::time::Instant;

const BUCKETS: usize = 4096;
/// Handshakes per second and prefix in the long run.
pub const RATE: u64 = 20;
/// Handshakes at once.
pub const BURST: u64 = 5;
/// What one handshake costs, in microseconds of waiting.
const COST: u64 = 1_000_000 / RATE;

/// What is counted, each kind in buckets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// From an address that may be borrowed.
    Unproven,
    /// From an address that has sent back a cookie.
    Proven,
    /// A copy of an initiation that was answered.
    Copy,
    /// An initiation older than others, from a proven address.
    Stale,
}

/// Limits handshakes by where they come from.
pub struct Limiter {
    key: u64,
    /// When each bucket is full again, in microseconds; a bucket in the past is full.
    full_at: Box<[u64]>,
}

impl Limiter {
    /// A limiter with all buckets full; `key` is random.
    pub fn new(key: u64) -> Self {
        Limiter {
            key,
            full_at: vec![0; BUCKETS].into_boxed_slice(),
        }
    }

    /// Takes one token for the sender's prefix, if there is one.
    pub fn admit(&mut self, (from, class): (SocketAddr, Class), now: Instant) -> bool {
        let mut hasher = SipHasher13::new_with_keys(self.key, !self.key);
        hasher.write_u8(class as u8);
        match from.ip().to_canonical() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(ip.octets().get(..8).unwrap_or_default()),
        }
        let index = hasher.finish() as usize % BUCKETS;
        let Some(full_at) = self.full_at.get_mut(index) else {
            return false;
        };
        let now = now.as_micros();
        let next = (*full_at).max(now) + COST;
        if next > now + COST * BURST {
            return false;
        }
        *full_at = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn bursts_pass_and_floods_do_not_whatever_the_port() {
        let mut limiter = Limiter::new(1);
        let mut now = Instant::from_micros(5_000_000);
        let passed = (0..1000u16)
            .filter(|p| {
                limiter.admit(
                    (
                        SocketAddr::new("192.0.2.1".parse().unwrap(), *p),
                        Class::Unproven,
                    ),
                    now,
                )
            })
            .count();
        assert_eq!(passed as u64, BURST);
        assert!(
            limiter.admit((at("192.0.2.2:1"), Class::Unproven), now),
            "another address is not hurt"
        );
        let mut later = 0;
        for _ in 0..1000 {
            now = now + Duration::from_millis(10);
            later += u64::from(limiter.admit((at("192.0.2.1:9"), Class::Unproven), now));
        }
        assert!((RATE * 10 - 1..=RATE * 10 + 1).contains(&later), "{later}");
    }

    #[test]
    fn ipv6_counts_by_64_and_mapped_addresses_as_ipv4() {
        let mut limiter = Limiter::new(7);
        let now = Instant::from_micros(1);
        for i in 0..BURST {
            assert!(limiter.admit((at(&format!("[2001:db8::{i}]:1")), Class::Unproven), now));
        }
        assert!(!limiter.admit((at("[2001:db8::ffff]:1"), Class::Unproven), now));
        for _ in 0..BURST {
            assert!(limiter.admit((at("[::ffff:192.0.2.1]:1"), Class::Unproven), now));
        }
        assert!(!limiter.admit((at("192.0.2.1:2"), Class::Unproven), now));
    }
}
