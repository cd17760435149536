//! What one thread takes from one socket, and the watch over that socket's queue.

use std::io;

use super::shares::{Shares, WHOLE};
use crate::io::sieve;
use crate::io::udp::{Received, UdpSocket};
use crate::time::Instant;

/// Room for a batch, and who filled the queue that it comes from.
pub struct Intake {
    /// The batch that was taken last.
    pub batch: Received,
    shares: Shares,
}

impl Intake {
    /// An empty one.
    pub fn new(now: Instant) -> Intake {
        Intake {
            batch: Received::default(),
            shares: Shares::new(now),
        }
    }

    /// Takes a batch; gives whether there was one. An ICMP error of some destination, or a passing shortage, is an empty one.
    pub fn take(&mut self, socket: &UdpSocket, now: Instant) -> bool {
        let taken = match socket.receive(&mut self.batch) {
            Ok(()) => true,
            Err(e) => {
                // Who is held back has nothing here, and is let go.
                if self.holds_back() && self.shares.is_due(now) {
                    self.look(socket, now);
                }
                return e.kind() != io::ErrorKind::WouldBlock;
            }
        };
        let shares = &mut self.shares;
        self.batch
            .lengths()
            .for_each(|(from, len)| shares.note(from, len));
        if shares.is_due(now) {
            self.look(socket, now);
        }
        taken
    }

    /// Whether anybody is held back: then the socket is to be looked at although nothing comes.
    pub fn holds_back(&self) -> bool {
        !self.shares.kept().is_empty()
    }

    fn look(&mut self, socket: &UdpSocket, now: Instant) {
        if self.shares.look(socket.fill().unwrap_or(0), now) {
            let kept = self.shares.kept().iter();
            let kept: Vec<_> = kept.map(|k| (k.from, k.share)).collect();
            // Without a filter everything goes on as before; a system that refuses one is asked again at the next look.
            let _ = sieve::set(socket, &kept, WHOLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::udp::Sending;
    use crate::time::Duration;

    #[test]
    fn who_has_flooded_and_stopped_is_let_in_again_though_nothing_comes() {
        let socket = |n: u8| UdpSocket::bind(([127, 0, 9, n], 0).into()).unwrap();
        let (here, flooder, other) = (socket(1), socket(2), socket(3));
        let to = here.local_address().unwrap();
        let send = |from: &UdpSocket| {
            let sending = Sending {
                to,
                from: None,
                bytes: &[7; 1400],
                size: 1400,
                traffic_class: 0,
                hops: None,
            };
            let _ = from.send(&sending);
        };
        let mut now = Instant::from_micros(1_000_000);
        let mut intake = Intake::new(now);
        for _ in 0..6 {
            // Until the queue is full; then a little of it is taken.
            for _ in 0..2000 {
                (0..9).for_each(|_| send(&flooder));
                send(&other);
            }
            (0..20).for_each(|_| assert!(intake.take(&here, now)));
            now = now + Duration::from_millis(25);
        }
        assert!(intake.holds_back(), "{:?}", here.fill());
        let mut looks = 0;
        while intake.holds_back() && looks < 5000 {
            now = now + Duration::from_millis(25);
            intake.take(&here, now);
            looks += 1;
        }
        assert!(!intake.holds_back());
        send(&flooder);
        assert!(intake.take(&here, now), "and heard");
    }
}
