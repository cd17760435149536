//! How much a way carries: questions as long as the packets that are to be sent.

use super::{Node, publish_route};
use crate::mesh::mtu::Step;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Kind, Peer};
use crate::noise::session::SEAL_OVERHEAD;
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::control::{self, Element};
use crate::wire::inner::TYPE_CONTROL;

/// When [`Node::probe_size`] is due for a peer. Relays are sent nothing large themselves.
pub(super) fn probing_deadline(peer: &Peer) -> Option<Instant> {
    let is_one = peer.settings.kind == Kind::Member && peer.up_since.is_some();
    peer.path.mtu_deadline().filter(|_| is_one)
}

impl Node {
    /// Asks whether the way to a peer carries more than is known, or still what it did.
    pub(super) fn probe_size(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        if probing_deadline(peer).is_none_or(|at| now < at) {
            return;
        }
        let mut token = [0u8; 8];
        self.entropy.fill(&mut token);
        match peer.path.step_mtu(token, now) {
            Step::Wait => {}
            Step::Shrunk => publish_route(peer),
            Step::Ask(mtu) => self.ask_size(id, (mtu, token), now),
        }
    }

    fn ask_size(&mut self, id: PeerId, (mtu, token): (u16, [u8; 8]), now: Instant) {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        let Some(way) = peer.path.endpoint() else {
            return;
        };
        let overhead = way.headers_len() + SEAL_OVERHEAD;
        let len = usize::from(mtu).saturating_sub(overhead);
        let body = control::write_padded(Element::PathChallenge(token), len);
        // Named as elsewhere: it may be too large to arrive, and is no sign of life that an answer is owed to.
        let out = &mut self.outgoing;
        let sent = peer
            .link
            .send_message(TYPE_CONTROL, &body, Some(way), out, now);
        if let Err(reason) = sent {
            self.drop_one(reason);
        }
    }

    /// While bulk goes out, the size in use is asked for again.
    pub(super) fn confirm_size(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            let (_, bytes) = peer.link.activity.tx.get();
            peer.path.confirm_mtu(bytes, now);
        }
    }

    /// Takes an answer that tells a size or a round trip; gives whether it was one.
    pub(super) fn size_answered(
        &mut self,
        id: PeerId,
        from: Endpoint,
        token: [u8; 8],
        now: Instant,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return false;
        };
        let measured = peer.path.measure(&from, token, now);
        if measured == Some(true) {
            publish_route(peer);
        }
        measured.is_some()
    }
}
