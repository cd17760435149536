//! Ports that come, go or change while the member runs.
//!
//! # Why
//! What we have ports in is announced in the handshake, so that it is authenticated, ordered and repeated until it has
//! come, like everything else there. A change therefore makes a new session with every peer at once: it costs a round
//! trip and no frame, since the sessions before it go on until then. Each session knows with which edition of the
//! announcement it was made; a handshake that was under way when the ports changed ends with an old one, and is followed
//! by another.

use super::{Event, Node};
use crate::place::{PeerId, Place};
use crate::switch::layout::Layout;
use crate::time::Instant;

impl Node {
    /// Puts a layout of other ports and other rules in the place of the one in use; who is connected stays so.
    ///
    /// What was learned behind a port that is gone or does something else now is forgotten.
    pub fn set_ports(&mut self, mut layout: Layout, now: Instant) {
        let before = self.plane.switch.layout();
        let changed = layout.succeed(&before);
        let is_news = layout.announcement() != before.announcement();
        drop(before);
        let counts = self.publish(layout);
        for port in changed {
            // One that does with frames what it did stays closed while the loop is there.
            let layout = self.plane.switch.layout();
            if layout.port(port).is_none_or(|p| !p.is_blocked) {
                self.lan.loops.forget(port);
            }
            self.plane.switch.forget(Place::Port(port));
        }
        // Ports that are new have no carrier yet.
        let carriers = counts.into_iter().map(|(id, n)| Event::Carrier(id, n));
        self.events.extend(carriers);
        // A new port may be the other half of a loop.
        self.lan.loops.next_at = now;
        self.tell_news(now);
        if is_news {
            self.life.edition = self.life.edition.saturating_add(1);
            for index in 0..self.peers.len() {
                let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
                self.hurry_announcement(id, now);
            }
        }
        self.send_adverts(now);
    }

    fn hurry_announcement(&mut self, id: PeerId, now: Instant) {
        let peer = self.peers.get(id.0 as usize);
        if peer.is_some_and(|p| p.attempt.is_some()) {
            // The initiation that is on its way announces what was before.
            self.drop_attempt(id);
            self.start_attempt(id, now);
        }
        self.announce_again(id, now);
    }

    /// Begins a new session with a peer that has another edition of our announcement than the last.
    pub(super) fn announce_again(&mut self, id: PeerId, now: Instant) {
        let peer = self.peers.get(id.0 as usize);
        // One that answered with nothing of use is not asked every second.
        let peer = peer.filter(|p| p.retry_at.is_none());
        let session = peer.and_then(|p| p.keyring.current());
        if session.is_some_and(|s| s.told < self.life.edition) {
            self.start_attempt(id, now);
        }
    }
}
