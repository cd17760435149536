//! What happens because time passes.

use super::probing::probing_deadline;
use super::{Event, Gone, Node, publish_route};
use crate::drops::DropReason;
use crate::mesh::attempt::Step;
use crate::mesh::peer::{Keepalive, Watch};
use crate::noise::schedule::{REST_AFTER_GIVING_UP, ladder};
use crate::place::{PeerId, Place};
use crate::time::{Duration, Instant};
use crate::wire::control::{self, Element, Received};
use crate::wire::neighbor::Answer;
use crate::wire::offer::Abilities;

/// Keepalives, ages and silence are looked at this often: the workers only leave marks, nobody calls us per packet.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A suspect peer whose new handshake is not answered for this long is gone.
const SUSPECT_ATTEMPT: Duration = Duration::from_secs(5);
/// A peer with hosts behind it that is silent for this long is asked whether it is there,
const WATCH_AFTER: Duration = Duration::from_millis(1250);
/// this often,
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// so many times. Silence for 4 to 5 seconds is the end; where every second packet is lost, one of 11 answers comes
/// in 24 of 25 cases.
const WATCH_QUESTIONS: u32 = 11;
/// Who breaks rules for long is told of this often.
const OFFENCES_EVERY: Duration = Duration::from_secs(10);
/// So many packets of the peer are worth a report.
const REPORT_AFTER: u64 = 512;

impl Node {
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let beat = now >= self.heartbeat_at;
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            self.step_attempt(id, now);
            self.repeat_first_packet(id, now);
            self.retry(id, now);
            if beat {
                self.heartbeat(id, now);
            }
            self.watch(id, now);
            self.probe_size(id, now);
        }
        if beat {
            self.heartbeat_at = now + HEARTBEAT;
            self.sweep(now);
            self.plane.let_go();
            self.end_records(now);
            self.go_on_fetching(now);
            self.go_on_introducing(now);
            self.go_on_renewing(now);
            self.end_joining(now);
            self.go_on_expecting(now);
            self.end_awaiting(now);
            self.tidy_adverts(now);
            self.count_active();
            self.tell_news(now);
            self.tell_offences(now);
            self.tell_throttled(now);
        }
        self.take_due_news(now);
        self.look_for_ways(now);
        self.send_beacon(now);
        self.guard_loops(now);
        self.send_adverts(now);
    }

    /// Says who broke rules, every ten seconds at most.
    fn tell_offences(&mut self, now: Instant) {
        if now >= self.lan.offences_at {
            let offences = self.plane.switch.offences.take();
            if !offences.is_empty() {
                self.lan.offences_at = now + OFFENCES_EVERY;
            }
            self.events.extend(offences.into_iter().map(Event::Offence));
        }
    }

    /// Forgets what is too old, and asks hosts of ours whether they are still there.
    fn sweep(&mut self, now: Instant) {
        let plane = self.plane.clone();
        plane.switch.table.sweep(now);
        plane.switch.groups.sweep(now);
        let layout = plane.switch.layout();
        for (address, binding, port) in plane.switch.neighbors.sweep(now) {
            if let Some(port) = layout.port(port) {
                let probe = Answer::probe(&binding, port.asking_mac());
                self.emit((port, address.class), &probe);
            }
        }
    }

    /// When [`Node::handle_timeout`] should be called next.
    pub fn deadline(&self) -> Instant {
        let mut next = self.heartbeat_at.min(self.lan.loops.next_at);
        next = self
            .lan
            .adverts
            .deadline()
            .into_iter()
            .fold(next, Instant::min);
        next = self.ways_deadline().into_iter().fold(next, Instant::min);
        next = self.beacon_deadline().into_iter().fold(next, Instant::min);
        for peer in &self.peers {
            let times = [
                peer.attempt.as_ref().map(|a| a.next_at()),
                peer.unheard.as_ref().map(|u| u.next_at),
                peer.retry_at.filter(|_| peer.is_reachable()),
                peer.debts.watch.as_ref().map(|w| w.next_at),
                probing_deadline(peer),
            ];
            next = times.into_iter().flatten().fold(next, Instant::min);
        }
        next
    }

    /// Whether a silent peer with hosts behind it is still there is asked often: its hosts may be elsewhere by now, and
    /// bridges wait for a carrier to go.
    fn watch(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let heard = peer.link.activity.heard.get();
        let Some(watch) = &mut peer.debts.watch else {
            return;
        };
        if heard > watch.since {
            peer.debts.watch = None;
        } else if now >= watch.next_at {
            watch.asked += 1;
            watch.next_at = now + WATCH_EVERY;
            if watch.asked <= WATCH_QUESTIONS {
                self.send_first_packet(id, now);
            } else {
                peer.retry_at.get_or_insert(now);
                self.take_down(id, Gone::Silent, now);
            }
        }
    }

    fn retry(&mut self, id: PeerId, now: Instant) {
        let peer = self.peers.get_mut(id.0 as usize);
        // Taken whatever comes of it: a time in the past would keep the deadline there.
        if peer.is_some_and(|p| p.retry_at.take_if(|at| now >= *at).is_some()) {
            self.start_attempt(id, now);
        }
    }

    fn step_attempt(&mut self, id: PeerId, now: Instant) {
        let step = self
            .peers
            .get(id.0 as usize)
            .and_then(|p| p.attempt.as_ref())
            .map_or(Step::Wait, |a| a.step(now));
        match step {
            Step::Wait => {}
            Step::Repeat => self.send_initiation(id, now),
            Step::Renew => {
                self.renew_attempt(id, now);
                self.send_initiation(id, now);
            }
            Step::GiveUp => {
                self.drop_attempt(id);
                if let Some(peer) = self.peers.get_mut(id.0 as usize) {
                    peer.retry_at = Some(now + REST_AFTER_GIVING_UP);
                    // The next beacon tells whether it is still there.
                    peer.places.beaconing.near = None;
                }
                self.events.push_back(Event::Unreachable(id));
            }
        }
    }

    /// The responder may have lost our first packet; without another one it would never use the session.
    fn repeat_first_packet(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Some(unheard) = &mut peer.unheard else {
            return;
        };
        if !peer.keyring.is_current(unheard.index) {
            peer.unheard = None;
            return;
        }
        if now < unheard.next_at {
            return;
        }
        unheard.sent += 1;
        unheard.next_at = now + ladder(unheard.sent, 0);
        self.send_first_packet(id, now);
    }

    fn heartbeat(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let expired = peer.staging.expire(now);
        self.plane.drops.add(DropReason::StagedExpired, expired);
        let had_session = peer.keyring.current().is_some();
        let retired = peer.keyring.expire(now);
        self.plane.remove_inlets(&retired);
        if had_session && peer.keyring.current().is_none() {
            publish_route(peer);
            peer.retry_at.get_or_insert(now);
            self.take_down(id, Gone::Expired, now);
            return;
        }
        let needs = peer.needs(self.settings.rekey_after, now);
        let lost = needs.suspect
            && peer
                .attempt
                .as_ref()
                .is_some_and(|a| a.age(now) >= SUSPECT_ATTEMPT);
        if lost {
            peer.retry_at.get_or_insert(now + HEARTBEAT);
            self.take_down(id, Gone::Silent, now);
            return;
        }
        if needs.handshake {
            self.start_attempt(id, now);
        }
        self.announce_again(id, now);
        match needs.keepalive {
            Some(Keepalive::Question) => self.send_first_packet(id, now),
            Some(Keepalive::Sign) => self.send_keepalive(id, now),
            None => {}
        }
        self.report_received(id, now);
        self.confirm_size(id, now);
        self.ask_for_adverts(id, now);
        self.begin_watch(id, now);
    }

    fn begin_watch(&mut self, id: PeerId, now: Instant) {
        let has_hosts = self.plane.switch.table.count(Place::Peer(id)) > 0;
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let since = peer.link.activity.heard.get();
        let is_silent = now.since(since) >= WATCH_AFTER;
        if has_hosts && is_silent && peer.up_since.is_some() && peer.debts.watch.is_none() {
            peer.debts.watch = Some(Watch {
                since,
                asked: 0,
                next_at: now,
            });
        }
    }

    /// Tells the peer how much of its packets has come, while packets come in number.
    fn report_received(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else {
            return;
        };
        let Some(session) = peer.keyring.current() else {
            return;
        };
        let index = session.index;
        let (next, count) = self
            .plane
            .inlet(index)
            .map_or((0, 0), |inlet| inlet.recv.received());
        let told = &mut peer.told;
        let is_new = told.index != index;
        let grown = next.saturating_sub(if is_new { 0 } else { told.next });
        // The peer's own threshold; less would be overhead on quiet links.
        if grown < REPORT_AFTER || !session.abilities.has(Abilities::PIECES) {
            return;
        }
        let report = Received { index, next, count };
        *told = report;
        let body = control::write(Element::Received(report));
        self.send_control(id, &body, None, now);
    }
}
