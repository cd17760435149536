//! Whether handshakes come faster than they should.

use crate::time::{Duration, Instant};

/// Initiations with a valid mac1 in one second from which on senders have to prove their address.
pub(super) const BUSY: u32 = 100;

/// Counts initiations by the second.
#[derive(Debug, Default)]
pub(super) struct Load {
    since: Instant,
    count: u32,
    busy_until: Instant,
}

impl Load {
    /// Counts one initiation and tells whether the member is under load.
    pub(super) fn count(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        if self.count > BUSY {
            self.busy_until = now + Duration::from_secs(1);
        }
        now < self.busy_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_begins_above_the_limit_and_ends_a_second_later() {
        let mut load = Load::default();
        let now = Instant::from_micros(10_000_000);
        assert!((0..BUSY).all(|_| !load.count(now)));
        assert!(load.count(now));
        assert!(load.count(now + Duration::from_millis(900)));
        assert!(!load.count(now + Duration::from_millis(2000)));
    }
}
