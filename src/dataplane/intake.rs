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
            Err(e) => return e.kind() != io::ErrorKind::WouldBlock,
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

    fn look(&mut self, socket: &UdpSocket, now: Instant) {
        if self.shares.look(socket.fill().unwrap_or(0), now) {
            let kept = self.shares.kept().iter();
            let kept: Vec<_> = kept.map(|k| (k.from, k.share)).collect();
            // Without a filter everything goes on as before; a system that refuses one is asked again at the next look.
            let _ = sieve::set(socket, &kept, WHOLE);
        }
    }
}
