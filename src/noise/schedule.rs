//! When things happen: the protocol's constants, each with its reason, and the initiation ladder.
//!
//! WireGuard's values where nothing speaks against them (whitepaper section 6.1).

use crate::time::Duration;

/// A session is replaced when it is this old.
pub const REKEY_AFTER: Duration = Duration::from_secs(120);
/// The responder of a session replaces it this much later when the initiator has not: before it is refused, with room for
/// a retry.
pub const RESPONDER_PATIENCE: Duration = Duration::from_secs(45);
/// A session is refused when it is this old.
pub const REJECT_AFTER: Duration = Duration::from_secs(180);
/// A session is replaced after this many packets. Below AES-GCM's bound for frames up to 9 KB with a margin of 2^-57.
pub const REKEY_AFTER_PACKETS: u64 = 1 << 26;
/// A session is refused after this many packets.
pub const REJECT_AFTER_PACKETS: u64 = 1 << 27;
/// A peer that heard something and had nothing to say says so after this time.
pub const KEEPALIVE_PASSIVE: Duration = Duration::from_secs(10);
/// Data was sent and nothing came back for this long: the peer may have lost the session (keepalive + one attempt).
pub const SUSPECT_AFTER: Duration = Duration::from_secs(15);
/// A series of attempts ends after this time.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(90);
/// The next series of attempts begins this much later: the end of an outage is noticed in seconds, with or without
/// traffic.
pub const REST_AFTER_GIVING_UP: Duration = Duration::from_secs(5);
/// The answer to an initiation is repeated for identical bytes this long.
pub const ANSWER_CACHED: Duration = Duration::from_secs(10);
/// An unconfirmed session of a responder is forgotten after this time: longer than the initiator repeats itself.
pub const UNCONFIRMED_KEPT: Duration = Duration::from_secs(30);
/// The cookie secret changes this often.
pub const COOKIE_SECRET_AFTER: Duration = Duration::from_secs(120);
/// The previous cookie secret is honoured this much longer.
pub const COOKIE_SECRET_KEPT: Duration = Duration::from_secs(5);
/// The last rung of the ladder is repeated with up to this much jitter, so that two ends do not stay in step.
pub const LADDER_JITTER: Duration = Duration::from_millis(333);

/// Pauses between copies of an initiation. The first are short because a lost datagram should cost a lost datagram's
/// time; a host that is down sees six packets and then one in five seconds.
const LADDER_MS: [u64; 7] = [50, 50, 100, 200, 400, 800, 1600];
const LAST_RUNG: Duration = Duration::from_secs(5);

/// The pause after the `sent`-th copy (1 is the first), with jitter from 0 to `u32::MAX` on the last rung.
pub fn ladder(sent: u32, jitter: u32) -> Duration {
    let index = sent.saturating_sub(1) as usize;
    match LADDER_MS.get(index) {
        Some(ms) => Duration::from_millis(*ms),
        None => LAST_RUNG + LADDER_JITTER.mul_f64(f64::from(jitter) / f64::from(u32::MAX)),
    }
}

/// Whether the `sent`-th copy should be a new message: the ladder's copies are identical, later ones are fresh so that
/// a peer that has restarted in between is not answered from an old cache.
pub fn is_fresh_attempt(sent: u32) -> bool {
    sent as usize >= LADDER_MS.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_climbs_and_then_stays() {
        let total: Duration = (1..=7).map(|n| ladder(n, 0)).sum();
        assert_eq!(total, Duration::from_millis(3200));
        assert_eq!(ladder(8, 0), LAST_RUNG);
        assert_eq!(ladder(1000, u32::MAX), LAST_RUNG + LADDER_JITTER);
        assert!(!is_fresh_attempt(6) && is_fresh_attempt(7));
    }
}
