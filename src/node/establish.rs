//! Sessions that begin, move and end, and the notes of the data plane about them.

use super::plane::Note;
use super::{Event, Gone, Node, publish_route};
use crate::drops::DropReason;
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Answered, Debts, Kind, Peer, Unheard};
use crate::noise::keyring::Session;
use crate::noise::schedule::ladder;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element, Received};
use crate::wire::ethernet::Frame;
use crate::wire::inner::{TYPE_CONTROL, TYPE_PADDING};

/// How soon a peer that said goodbye is tried again: it may be a restart.
const RETRY_AFTER_CLOSE: Duration = Duration::from_secs(1);

/// What a keepalive has inside: it is as long as the question that a copy of it from elsewhere is answered by.
const KEEPALIVE: [u8; control::QUESTION_LEN] = [0; control::QUESTION_LEN];
/// Initiations that cross are answered within this time.
const CROSSED: Duration = Duration::from_secs(1);

impl Node {
    /// Takes what the data plane saw.
    pub fn handle_note(&mut self, note: Note, now: Instant) {
        self.take_note(note, now);
        self.send_adverts(now);
    }

    fn take_note(&mut self, note: Note, now: Instant) {
        match note {
            Note::News => self.news(now),
            Note::Probe { place, vlan, probe } => self.take_probe(place, vlan, &probe, now),
            Note::Handshake { from, datagram } => self.handle_handshake(from, &datagram, now),
            Note::Heard { peer, index, from } => self.heard(peer, index, from, now),
            Note::Moved { peer, from } => self.moved(peer, from, now),
            Note::Control {
                peer,
                from,
                moved,
                body,
            } => self.control(peer, (from, moved), &body, now),
            Note::Close { peer, index } => self.closed(peer, index, now),
            Note::TooLarge(remote) => {
                if !self.relays.refusals.admit_most(20, now) {
                    return;
                }
                // What a relay carries for its clients cannot be cut smaller here.
                let is_sized = |p: &&Peer| p.settings.kind != Kind::Client;
                let is_at = |p: &Peer| p.path.endpoint().is_some_and(|e| e.remote == remote);
                let there = |p: &&Peer| is_sized(p) && is_at(p);
                let affected = self.peers.iter().filter(there);
                self.events
                    .extend(affected.map(|p| Event::RouteWanted(p.id, remote)));
            }
            Note::Wanted {
                peer,
                segment,
                frame,
            } => {
                if let Some(state) = self.peers.get_mut(peer.0 as usize) {
                    let dropped = state.staging.push(segment, frame, now);
                    self.plane.drops.add(DropReason::StagedOverflow, dropped);
                    self.start_attempt(peer, now);
                    self.flush(peer, now);
                }
            }
        }
    }

    /// A response came: the peer has this session, and its address is proven by the response.
    ///
    /// It counts as connected only when something was heard: the other end is ready to receive then, its ports have
    /// carrier, and the first broadcast of a host is not lost on them. Where both have begun at the same time, as they do when a
    /// relay brings them together, the other end has our answer by now, as we have its: that saves a one-way delay.
    pub(super) fn install(
        &mut self,
        id: PeerId,
        session: Session,
        (way, from): (Endpoint, Endpoint),
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let (index, boot) = (session.index, session.boot);
        let retired = peer.keyring.install(session);
        self.plane.remove_inlets(&retired);
        let answered = peer.initiations.answered.as_ref();
        let is_crossed = |a: &Answered| now.since(a.at) < CROSSED && a.boot == boot;
        let is_connected = answered.is_some_and(is_crossed);
        peer.unheard = Some(Unheard {
            index,
            sent: 1,
            next_at: now + ladder(1, 0),
        });
        self.take_up(id, way, now);
        if !way.is_same_way(&from) {
            self.moved(id, from, now);
        }
        self.send_first_packet(id, now);
        if is_connected {
            self.connected(id, now);
        }
    }

    /// The first packet of a session was opened.
    fn heard(&mut self, id: PeerId, index: u32, from: Endpoint, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        if peer.unheard.take_if(|u| u.index == index).is_some() {
            // Once more, if it was so early: what was said then may have come to nobody.
            self.connected(id, now);
        }
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Some(retired) = peer.keyring.confirm(index) else {
            return;
        };
        self.plane.remove_inlets(&retired);
        // There is a fresh session now; what we began ourselves would only make another.
        self.drop_attempt(id);
        if let Some(peer) = self.peers.get_mut(id.0 as usize)
            && peer.keyring.is_current(index)
        {
            // The peer sends on this one; what we began is not waited for any more.
            peer.unheard = None;
            self.take_up(id, from, now);
        }
        self.connected(id, now);
    }

    /// A new session is in use: publishes it and its path, and sends what waited.
    fn take_up(&mut self, id: PeerId, from: Endpoint, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        peer.debts = Debts::default();
        peer.retry_at = None;
        peer.link.activity.heard.mark(now);
        let elsewhere = peer.path.endpoint().is_some_and(|e| !e.is_same_way(&from));
        if elsewhere {
            // A handshake proves the key, not the address: a copy can come from anywhere. A known path is left only for
            // one that answers a challenge.
            publish_route(peer);
            self.moved(id, from, now);
        } else {
            let is_new = peer.path.prove(from, now);
            peer.places.settle();
            publish_route(peer);
            if is_new {
                self.events.push_back(Event::RouteWanted(id, from.remote));
            }
        }
        self.flush(id, now);
    }

    /// Both ends can receive: floods go to this peer from now on, and its segments have carrier.
    fn connected(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let life = peer.keyring.current().map(|s| s.boot);
        let before = std::mem::replace(&mut peer.places.acquaintance.life, life);
        let is_doubled =
            before != life && peer.places.acquaintance.former_life == life && life.is_some();
        if before != life {
            peer.places.acquaintance.former_life = before;
        }
        let was_up = peer.up_since.is_some();
        let name = peer.keyring.current().map(|s| s.between.ours);
        let is_renamed =
            std::mem::replace(&mut peer.places.acquaintance.called, name) != name && was_up;
        // A restart that we have not missed it for: it remembers nothing of what it was told, and of channels.
        let is_anew = was_up && before != life;
        peer.up_since.get_or_insert(now);
        if is_renamed && !is_anew && self.serves(id) {
            // By another name we are somebody else to a relay that lists both: channels are asked for again.
            self.relay_down(id, now);
            self.relay_up(id, now);
        }
        if is_anew {
            self.relay_down(id, now);
            self.close_channels(id, now);
        }
        if is_doubled {
            self.events.push_back(Event::Doubled(id));
        }
        if !was_up {
            self.events.push_back(Event::Up(id));
        }
        if !was_up || is_anew {
            self.came_up(id, now);
        }
        self.introduce_ourselves(id, now);
        self.listen_again(id);
        self.renew_adverts(id, now);
        // What the peer announced for this session may differ from before.
        self.publish_layout();
        self.announce_again(id, now);
    }

    /// What is done once for each time that a peer is connected.
    fn came_up(&mut self, id: PeerId, now: Instant) {
        let kind = self.peers.get(id.0 as usize).map(|p| p.settings.kind);
        match kind {
            Some(Kind::Relay) => {
                self.relay_up(id, now);
                self.begin_search(id, Vec::new(), now);
            }
            Some(Kind::Client) => {}
            _ => {
                if self.serves(id) {
                    self.relay_up(id, now);
                }
                self.introduce(id, now);
                // A new member may be the other half of a loop.
                self.lan.loops.next_at = now;
                self.search_again(id, now);
            }
        }
    }

    /// Says with each session what may have been lost before: how the peer looks from here, and where we may be.
    fn introduce_ourselves(&mut self, id: PeerId, now: Instant) {
        self.tell_binding(id, now);
        self.tell_epochs(id, now);
        self.show_own_record(id, now);
        if !self.is_kind(id, Kind::Relay) {
            self.greet_client(id, now);
            self.send_candidates(id, now);
        }
    }

    /// Sends something that the peer has to answer: it confirms the session to the responder, and the answer tells us
    /// that it did.
    pub(super) fn send_first_packet(&mut self, id: PeerId, now: Instant) {
        let mut token = [0u8; 8];
        self.entropy.fill(&mut token);
        let body = control::write(Element::PathChallenge(token));
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            peer.path.note_question(token, now);
        }
        self.send_control(id, &body, None, now);
    }

    /// Sends the frames that waited for a session.
    fn flush(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let mut scratch = Vec::new();
        while let Some((segment, bytes)) = peer.staging.oldest() {
            let sent = Frame::parse(bytes).and_then(|frame| {
                let frame = (segment, &frame.parts);
                peer.link
                    .send_frame(frame, &mut scratch, &mut self.outgoing, now)
            });
            match sent {
                Ok(()) => {}
                // It goes on waiting: a handshake is on its way.
                Err(DropReason::NoSession | DropReason::SessionExpired) => return,
                Err(reason) => self.plane.drops.count(reason),
            }
            peer.staging.remove_oldest();
        }
    }

    pub(super) fn send_keepalive(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get(id.0 as usize) {
            // Without a session there is nothing to keep alive.
            let _ = peer
                .link
                .send_message(TYPE_PADDING, &KEEPALIVE, None, &mut self.outgoing, now);
        }
    }

    fn moved(&mut self, id: PeerId, from: Endpoint, now: Instant) {
        if let Some(token) = self.follow(id, from, now) {
            let body = control::write(Element::PathChallenge(token));
            self.send_control(id, &body, Some(from), now);
        }
    }

    /// A peer may be somewhere else: gives what to ask there, if it has to be asked.
    fn follow(&mut self, id: PeerId, from: Endpoint, now: Instant) -> Option<[u8; 8]> {
        if !self.leads_to(id, &from) || self.came_relayed(id, from, now) {
            return None;
        }
        let peer = self.peers.get_mut(id.0 as usize)?;
        if peer.path.endpoint().is_some_and(|e| e.is_same_way(&from)) {
            // The peer is where it was, and reaches us at another address of ours: answers come from there.
            peer.path.prove(from, now);
            publish_route(peer);
            return None;
        }
        let calm_until = peer.places.calm_until;
        let here = peer.path.endpoint();
        let is_equal = here.is_some_and(|e| self.rank(&e) == self.rank(&from));
        if is_equal && now < calm_until {
            // Both ends could follow each other for ever.
            return None;
        }
        self.challenge(id, from, now)
    }

    /// Asks for proof that a peer is there.
    pub(super) fn ask_there(&mut self, id: PeerId, there: Endpoint, now: Instant) {
        if let Some(token) = self.challenge(id, there, now) {
            let body = control::write(Element::PathChallenge(token));
            self.send_control(id, &body, Some(there), now);
        }
    }

    /// What a peer has to answer to prove that it is there.
    fn challenge(&mut self, id: PeerId, from: Endpoint, now: Instant) -> Option<[u8; 8]> {
        let mut token = [0u8; 8];
        self.entropy.fill(&mut token);
        let peer = self.peers.get_mut(id.0 as usize)?;
        peer.path.challenge(from, token, now)
    }

    pub(super) fn send_control(
        &mut self,
        id: PeerId,
        body: &[u8],
        to: Option<Endpoint>,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get(id.0 as usize) else {
            return;
        };
        let sent = peer
            .link
            .send_message(TYPE_CONTROL, body, to, &mut self.outgoing, now);
        if let Err(reason) = sent {
            self.plane.drops.count(reason);
        }
    }

    fn control(&mut self, id: PeerId, (from, moved): (Endpoint, bool), body: &[u8], now: Instant) {
        let elements = match control::read(body) {
            Ok(elements) => elements,
            Err(reason) => return self.drop_one(reason),
        };
        let [mut challenged, mut asked, mut told, mut wished, mut named] = [false; 5];
        for element in elements {
            // One of a kind for each message: a packet full of them must not become a packet for each.
            let again = match element {
                Ok(Element::PathChallenge(_)) => std::mem::replace(&mut challenged, true),
                Ok(Element::Advert(_) | Element::Receipt(_)) => std::mem::replace(&mut told, true),
                Ok(Element::Label(_)) => std::mem::replace(&mut named, true),
                Ok(
                    Element::Open(_)
                    | Element::Channel(..)
                    | Element::Observed(_)
                    | Element::Candidates(_)
                    | Element::Binding(_)
                    | Element::Moved
                    | Element::Throttled(_)
                    | Element::Look(..)
                    | Element::Seen(_)
                    | Element::Guesses(_)
                    | Element::Epoch(_)
                    | Element::Wanted(..)
                    | Element::Part(_)
                    | Element::Member(..)
                    | Element::Expected(_)
                    | Element::Told(_)
                    | Element::Heard(..)
                    | Element::Ask(_)
                    | Element::Answer(_)
                    | Element::Scatter(_),
                ) => std::mem::replace(&mut wished, true),
                Ok(Element::EchoRequest(..) | Element::EchoReply(..)) => {
                    std::mem::replace(&mut asked, true)
                }
                _ => false,
            };
            match element {
                _ if again => self.drop_one(DropReason::MalformedInner),
                Ok(Element::PathChallenge(token)) => {
                    // In one message, which is no longer than the question.
                    let mut body = control::write_bare(Element::PathResponse(token));
                    if let Some(token) = moved.then(|| self.follow(id, from, now)).flatten() {
                        control::append(&mut body, Element::PathChallenge(token));
                    }
                    control::pad(&mut body, control::QUESTION_LEN);
                    self.send_control(id, &body, Some(from), now);
                }
                Ok(element) => self.element(id, from, element, now),
                Err(reason) => self.drop_one(reason),
            }
        }
    }

    fn element(&mut self, id: PeerId, from: Endpoint, element: Element<'_>, now: Instant) {
        if !self.may_say(id, &element) {
            return self.drop_one(DropReason::UnknownControl);
        }
        match element {
            Element::PathResponse(token) => self.path_response(id, from, token, now),
            Element::Received(report) => self.received(id, report, now),
            Element::Advert(advert) => self.take_advert(id, &advert, now),
            Element::Receipt(receipt) => self.take_receipt(id, receipt, now),
            Element::EchoRequest(token, bytes) => {
                let body = control::write(Element::EchoReply(token, bytes));
                self.send_control(id, &body, None, now);
            }
            Element::Label(label) => self.take_label(id, label, now),
            Element::Open(key) => self.open_channel(id, key, now),
            Element::Channel(key, channel) => self.take_channel(id, (key, channel), now),
            Element::Observed(address) => self.take_observed(id, address, now),
            Element::Candidates(addresses) => self.take_candidates(id, addresses, now),
            Element::Binding(binding) => self.take_binding(&from, binding, now),
            Element::Moved => self.peer_moved(id, &from, now),
            Element::Throttled(over) => self.take_throttled(id, over),
            Element::Look(port, cookie) => self.take_look(id, (port, cookie), now),
            Element::Seen(address) => self.take_seen(id, address, now),
            Element::Guesses(guesses) => self.take_guesses(id, guesses),
            Element::Epoch(list) => self.take_epoch(id, list, now),
            Element::Wanted(list, from) => self.take_wanted(id, (list, from), now),
            Element::Part(part) => self.take_part(id, part, now),
            Element::Member(record, seen, place) => {
                self.take_member(id, (record, seen, place), now);
            }
            Element::Expected(names) => self.take_expected(id, names, now),
            Element::Told(batch) => self.take_told(id, batch, now),
            Element::Heard(batch, which) => self.take_heard(id, (batch, which), now),
            Element::Ask(ask) => self.take_ask(id, ask, now),
            Element::Answer(answer) => self.take_answer(id, answer, now),
            Element::Scatter(address) => self.take_scatter(id, address, now),
            // That was answered before.
            Element::Padding | Element::PathChallenge(_) => {}
            Element::EchoReply(token, bytes) => {
                let echo = Event::Echo(id, token, bytes.to_vec());
                self.events.push_back(echo);
            }
        }
    }

    /// The peer tells how much of the session that we send on has come.
    fn received(&mut self, id: PeerId, report: Received, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let is_current = peer
            .keyring
            .current()
            .is_some_and(|s| s.send.remote() == report.index && report.next <= s.send.packets());
        if is_current && peer.loss.report(report, now) {
            publish_route(peer);
        }
    }

    fn path_response(&mut self, id: PeerId, from: Endpoint, token: [u8; 8], now: Instant) {
        if self.size_answered(id, from, token, now) || self.way_answered(id, from, token, now) {
            return;
        }
        let calm = Duration::from_millis(200 + u64::from(self.entropy.next_u32()) % 1500);
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Some(proven) = peer.path.answer(from, token, now) else {
            return;
        };
        let has_moved = peer.path.prove(proven, now);
        peer.places.settle();
        if proven.channel.is_none() {
            peer.places.patience.works(now);
        }
        peer.places.calm_until = now + calm;
        publish_route(peer);
        if has_moved {
            self.events.push_back(Event::Moved(id, proven.remote));
            self.events.push_back(Event::RouteWanted(id, proven.remote));
            self.greet_client(id, now);
            self.tell_binding(id, now);
            self.follow_relay(id, now);
        }
        if self.is_best(id)
            && let Some(peer) = self.peers.get_mut(id.0 as usize)
        {
            peer.places.search.rest();
        }
    }

    fn closed(&mut self, id: PeerId, index: u32, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Some(boot) = peer.keyring.life_of(index) else {
            // A late goodbye of an earlier life does not end this one.
            let retired = peer.keyring.remove(index);
            self.plane.remove_inlets(&retired);
            return;
        };
        peer.retry_at = Some(now + RETRY_AFTER_CLOSE);
        // The goodbye may have been overtaken by the next life's handshake.
        let next_life = peer.keyring.take_pending_of_others(boot);
        self.take_down(id, Gone::Closed, now);
        if let Some(peer) = self.peers.get_mut(id.0 as usize) {
            for session in next_life {
                let retired = peer.keyring.add_pending(session);
                self.plane.remove_inlets(&retired);
            }
        }
    }

    /// Ends everything with a peer and says why.
    pub(super) fn take_down(&mut self, id: PeerId, why: Gone, now: Instant) {
        let was_up = self
            .peers
            .get(id.0 as usize)
            .is_some_and(|p| p.up_since.is_some());
        self.end_sessions(id, now);
        self.close_channels(id, now);
        if was_up {
            self.events.push_back(Event::Down(id, why));
        }
        self.publish_layout();
    }

    /// Ends all sessions with a peer and forgets the MACs behind it.
    pub(super) fn end_sessions(&mut self, id: PeerId, now: Instant) {
        self.drop_attempt(id);
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let retired = peer.keyring.clear();
        // The cached answer speaks of a session that is gone.
        if let Some(answered) = peer.initiations.answered.take() {
            self.answered.remove(&answered.digest);
        }
        peer.up_since = None;
        peer.unheard = None;
        peer.places.search.rest();
        peer.places.settle();
        peer.debts = Debts::default();
        publish_route(peer);
        self.plane.remove_inlets(&retired);
        self.close_adverts(id);
        self.relay_down(id, now);
    }
}
