//! A way in use may not work any more: it is asked, what goes out takes a second one meanwhile, and a worse one is taken when
//! nothing answers.

use super::legs::Rank;
use super::{Event, Gone, Node, publish_route, settle};
use crate::mesh::link::Second;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Peer, RelayUse};
use crate::mesh::places::Doubt;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element};

/// Data went out on a direct way and nothing came back for this long: it is asked whether it still works.
const DOUBT_AFTER: Duration = Duration::from_millis(150);

impl Node {
    /// The way in use may not work any more: asks.
    pub(super) fn doubt(&mut self, id: PeerId, now: Instant) {
        let mut token = [0u8; 8];
        self.entropy.fill(&mut token);
        if let Some(peer) = self.peers.get_mut(id.0 as usize)
            && peer.places.doubt.is_none()
            && peer.up_since.is_some()
        {
            peer.places.doubt = Some(Doubt {
                asked: 0,
                next_at: now,
                token,
            });
            self.step_doubt(id, now);
        }
    }

    pub(super) fn step_doubt(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Some(doubt) = peer.places.doubt.as_mut().filter(|d| now >= d.next_at) else {
            return;
        };
        let has_asked = doubt.asked > 0;
        if doubt.asked < Doubt::MOST {
            doubt.asked += 1;
            let trip = peer.path.round_trip().get().unwrap_or_default();
            doubt.next_at = now + peer.places.patience.get().max(trip * 3 / 2);
            let body = control::write(Element::PathChallenge(doubt.token));
            if has_asked && self.leave_behind(id, now) {
                return;
            }
            if has_asked {
                self.send_twice(id);
            }
            return self.send_control(id, &body, None, now);
        }
        let (worse, serves) = (peer.places.in_doubt.worse.take(), peer.serves());
        settle(peer);
        match (worse, serves) {
            // The other end speaks from there.
            (Some(way), _) => self.ask_there(id, way, now),
            (None, _) if self.fall_back(id, now) => {}
            (None, true) => {
                if let Some(peer) = self.peers.get_mut(id.0 as usize) {
                    peer.retry_at.get_or_insert(now);
                }
                self.take_down(id, Gone::Silent, now);
            }
            _ => {}
        }
    }

    /// The way in use may not work any more: what goes out takes a worse one as well, if there is one, until that is known.
    fn send_twice(&mut self, id: PeerId) {
        let way = self.worse_way(id);
        if let (Some(way), Some(peer)) = (way, self.peers.get_mut(id.0 as usize))
            && peer.places.in_doubt.second.is_none()
            && (way.channel.is_none() || peer.settings.relay == RelayUse::Allow)
        {
            peer.places.in_doubt.second = Some(Second::new(way));
            publish_route(peer);
        }
    }

    /// The best of those ways that are worse than the one in use.
    fn worse_way(&self, id: PeerId) -> Option<Endpoint> {
        let here = self.peers.get(id.0 as usize)?.path.endpoint()?;
        let is_worse = |way: &Endpoint| self.rank(&here) < self.rank(way);
        let others = self.ways(id).into_iter().filter(is_worse);
        others.min_by_key(|way| self.rank(way))
    }

    /// The way does not work any more: goes on by a worse one, if there is one, and looks for a better.
    pub(super) fn fall_back(&mut self, id: PeerId, now: Instant) -> bool {
        let other = self.worse_way(id);
        let (Some(way), Some(peer)) = (other, self.peers.get_mut(id.0 as usize)) else {
            return false;
        };
        if peer.up_since.is_none() {
            return false;
        }
        peer.path.prove(way, now);
        peer.places.patience.give_up(now);
        peer.places.search.resume(now);
        publish_route(peer);
        self.events.push_back(match way.channel {
            Some(_) => Event::Relayed(id),
            None => Event::Moved(id, way.remote),
        });
        self.events.push_back(Event::RouteWanted(id, way.remote));
        self.tell_binding(id, now);
        self.follow_relay(id, now);
        if self.serves(id) {
            // Reached through another relay, it is none.
            (0..self.peers.len()).for_each(|n| self.leave_lost_way(PeerId(n as u32), now));
        }
        true
    }

    /// A packet came through a relay while there is a direct way: the other end has doubts, and so have we now.
    pub(super) fn came_relayed(&mut self, id: PeerId, from: Endpoint, now: Instant) -> bool {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return false;
        };
        // A way without a session is not defended.
        let way = peer.path.endpoint().filter(|_| peer.up_since.is_some());
        let Some(way) = way.filter(|w| !w.is_same_way(&from)) else {
            return false;
        };
        let (here, there) = (self.rank(&way), self.rank(&from));
        // Of two carriers alike, the first is kept while it works: both ends may have called.
        let is_alike = here == there && matches!(here, Rank::Carried(_));
        let is_worse = here < there || is_alike;
        if is_worse {
            if let Some(peer) = self.peers.get_mut(id.0 as usize) {
                peer.places.in_doubt.worse = Some(from).filter(|w| w.channel.is_none());
            }
            self.doubt(id, now);
        }
        is_worse
    }
}

/// Whether data has gone out for a while, and nothing has come back, on a way that could be given up for another.
pub(super) fn is_doubtful(peer: &mut Peer, has_legs: bool, now: Instant) -> bool {
    let activity = &peer.link.activity;
    let (sent, heard) = (activity.sent_data.get(), activity.heard.get());
    let way = peer.path.endpoint().filter(|_| peer.up_since.is_some());
    let others = &peer.places.channels;
    let has_others = !others.is_empty() || (has_legs && peer.places.known.len() > 1);
    let could_change = way.is_some_and(|w| w.channel.is_some() || has_others);
    if !could_change || sent <= heard {
        peer.places.in_doubt.waiting_since = None;
        return false;
    }
    // From the first look that saw it: what was heard before is no measure, hosts may have been silent.
    let since = *peer.places.in_doubt.waiting_since.get_or_insert(now);
    let patience = match way.and_then(|w| w.channel) {
        None => DOUBT_AFTER,
        Some(_) => 3 * DOUBT_AFTER,
    };
    now.since(since) >= patience
}
