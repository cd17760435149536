//! The control thread: one wait for whatever comes first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::assemble::{Member, StartError};
use super::bridging;
use super::chronicle::Chronicle;
use super::control::Call;
use super::ears::Ears;
use super::journal::Gate;
use super::resolve::{Resolved, Resolvers};
use super::state;
use super::{joining, network};
use crate::api::{Answer, Pong, Verb};
use crate::dataplane::workers::Workers;
use crate::drops::DropReason;
use crate::io::clock;
use crate::io::lanes::Lane;
use crate::io::udp::{Sending, UdpSocket};
use crate::keys::{Passphrase, wipe_stack};
use crate::mesh::path::Endpoint;
use crate::mesh::peer::{Kind, Peer};
use crate::node::Event;
use crate::place::PeerId;
use crate::time::Instant;

/// Routes are asked for their MTU again this often.
const ROUTES_AGAIN: Duration = Duration::from_secs(5);
/// A peer that has not answered an initiation for so long may be somewhere else.
const MISSED: Duration = Duration::from_secs(2);
/// Notes that are taken before anything is sent.
const NOTES_AT_ONCE: usize = 64;
/// Handshakes that are taken beside them.
const HANDSHAKES_BESIDE: usize = 8;
/// Routers that a packet may pass which shall open our own NAT and no more.
const SHORT_HOPS: u8 = 2;
/// Bytes of the longest beacon.
const MAX_BEACON: usize = 1500;
/// The most echoes that wait for their answer.
const MAX_ECHOES: usize = 1024;

/// An echo on its way.
struct Echo {
    sent: Instant,
    answer: oneshot::Sender<Answer>,
    peer: PeerId,
}

/// What the loop waits for beside the node.
pub(super) struct Inputs {
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) resolved: mpsc::Receiver<Resolved>,
    pub(super) mapped: mpsc::Receiver<Option<SocketAddr>>,
    pub(super) signals: Signals,
}

/// The signals that end a member, and the one that has it read its configuration again.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, StartError> {
        let catch = |kind| {
            signal(kind).map_err(|source| StartError::System {
                what: "catch signals",
                source,
            })
        };
        Ok(Signals {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: catch(SignalKind::hangup())?,
        })
    }
}

/// The loop and what only it knows.
pub(super) struct EventLoop {
    pub(super) member: Member,
    pub(super) resolvers: Resolvers,
    workers: Workers,
    started: Instant,
    pub(super) gate: Gate,
    chronicle: Chronicle,
    echoes: HashMap<u32, Echo>,
    next_echo: u32,
    mark_file: PathBuf,
    ending: bool,
    /// What is heard beside the lanes.
    pub(super) ears: Ears,
    /// Where each peer is by UDP, as the configuration and the resolver say.
    pub(super) addresses: HashMap<PeerId, Vec<SocketAddr>>,
}

impl EventLoop {
    pub(super) fn new(
        (member, resolvers): (Member, Resolvers),
        workers: Workers,
        mark_file: PathBuf,
    ) -> Self {
        let ears = Ears::open(&member);
        EventLoop {
            member,
            resolvers,
            workers,
            started: clock::now(),
            gate: Gate::default(),
            chronicle: Chronicle::default(),
            echoes: HashMap::new(),
            next_echo: 0,
            mark_file,
            ending: false,
            ears,
            addresses: HashMap::new(),
        }
    }

    /// Runs until a signal or `down`, and says goodbye.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> (Member, Workers) {
        self.start_reaching().await;
        let mut routes = tokio::time::interval(ROUTES_AGAIN);
        routes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut notes = Vec::with_capacity(NOTES_AT_ONCE);
        let mut beacon = vec![0; MAX_BEACON];
        let mut asking = tokio::time::interval(joining::AGAIN);
        while !self.ending {
            self.settle();
            let wait = self.member.node.deadline().since(clock::now());
            tokio::select! {
                // In this order: what authenticated peers and the clock want comes before what anybody may send.
                biased;
                _ = inputs.signals.interrupt.recv() => self.ending = true,
                _ = inputs.signals.terminate.recv() => self.ending = true,
                _ = inputs.signals.hang_up.recv() => {
                    self.reload(None).await;
                }
                () = tokio::time::sleep(wait) => self.timeout(),
                count = self.member.notes.recv_many(&mut notes, NOTES_AT_ONCE) => {
                    self.ending |= count == 0;
                    let now = clock::now();
                    notes.drain(..).for_each(|n| self.member.node.handle_note(n, now));
                    self.some_handshakes(now);
                }
                Some(call) = inputs.calls.recv() => {
                    if let Some(Call { verb, answer }) = self.call(call) {
                        let _ = answer.send(self.reload(words(&verb)).await);
                    }
                }
                Some(found) = inputs.resolved.recv() => self.resolved(found),
                Some(mapped) = inputs.mapped.recv() => {
                    self.member.node.set_mapped(mapped, clock::now());
                }
                news = self.member.carriers.next() => self.carrier_news(news),
                () = self.member.changes.next() => self.look_at_addresses().await,
                _ = asking.tick(), if self.member.joining.is_some() => self.ask_again(),
                _ = routes.tick() => {
                    self.look_at_routes();
                    self.look_at_addresses().await;
                    self.look_at_queues().await;
                    self.dismiss_strangers();
                    self.missed().for_each(|peer| self.resolvers.hurry(peer));
                    self.member.retire_key();
                    self.member.node.set_clock(clock::wall(), clock::now());
                }
                Some(handshake) = self.member.handshakes.recv() => {
                    self.member.node.handle_note(handshake, clock::now());
                }
                heard = self.ears.listen(&mut beacon) => self.heard(heard, &beacon),
            }
        }
        self.settle();
        tracing::info!("ending: saying goodbye to the peers");
        self.member.node.close(clock::now());
        self.send();
        (self.member, self.workers)
    }

    /// Asks to be a member again, or ends.
    fn ask_again(&mut self) {
        let now = clock::now();
        let Member { node, joining, .. } = &mut self.member;
        if let Some(joining) = joining {
            joining.again(node, now);
            self.ending |= joining.is_over(now);
        }
    }

    /// Takes up what has changed of the configuration, and says so.
    async fn reload(&mut self, passphrase: Option<Passphrase>) -> Answer {
        let (answer, peers) = self.member.reload(&self.workers, passphrase).await;
        wipe_stack();
        if !peers.is_empty() {
            self.look_anew(&peers).await;
        }
        match &answer {
            Answer::Reloaded(changes) => {
                tracing::info!("reloaded: {changes}");
                let text = changes.to_string();
                self.chronicle.add(clock::wall(), ("reloaded", text));
            }
            Answer::Rejected(why) => tracing::error!("not reloaded: {why}"),
            _ => {}
        }
        answer
    }

    /// Tells what happened and sends what is outgoing.
    fn settle(&mut self) {
        // Events first: a port has its carrier before the peer hears that it may send.
        while let Some(event) = self.member.node.poll_event() {
            self.event(event);
        }
        self.send();
        self.member.carriers.look(&self.member.node);
    }

    fn send(&mut self) {
        let Member { node, outside, .. } = &mut self.member;
        let outgoing = node.outgoing();
        let Some(Lane { bulk: socket, .. }) = outside.lanes.first() else {
            return;
        };
        let mut refused = Vec::new();
        for (to, mark, bytes) in outgoing.marked() {
            let sending = Sending {
                to: to.remote,
                from: to.local,
                bytes,
                size: bytes.len(),
                traffic_class: 0,
                hops: mark.is_short.then_some(SHORT_HOPS),
            };
            if let Err(error) = socket.send(&sending) {
                let there = (to.remote, bytes.len());
                refused.push((there, crate::io::process::send_failure(&error)));
            }
        }
        outgoing.clear();
        for (there, reason) in refused {
            let is_long = reason == DropReason::SendTooLarge;
            if !is_long || !node.refuse_large(there, clock::now()) {
                outside.plane.drops.count(reason);
            }
        }
    }

    /// A few handshakes beside each batch of notes, so that no member keeps the others from connecting.
    fn some_handshakes(&mut self, now: Instant) {
        for _ in 0..HANDSHAKES_BESIDE {
            match self.member.handshakes.try_recv() {
                Ok(handshake) => self.member.node.handle_note(handshake, now),
                Err(_) => return,
            }
        }
    }

    fn timeout(&mut self) {
        let now = clock::now();
        self.member.node.handle_timeout(now);
        // Their callers have given up: the answers' other ends are closed.
        self.echoes.retain(|_, echo| !echo.answer.is_closed());
    }

    fn event(&mut self, event: Event) {
        let now = clock::now();
        if let Some((kind, message)) = self.member.describe(&event) {
            self.log(&event, (kind, &message), now);
            self.chronicle.add(clock::wall(), (kind, message));
        }
        let Member { node, joining, .. } = &mut self.member;
        if let Some(joining) = joining {
            joining.event(&event, node, now);
        }
        match event {
            Event::Beacon(bytes) => {
                if let Some(beacons) = &self.ears.beacons {
                    let sent = beacons.send(&bytes);
                    tracing::debug!(sent, "a beacon for peers on the LAN");
                }
            }
            Event::Scatter(_, to, datagram) => self.member.carriers.scatter(to, datagram),
            Event::LegRefused(address) => {
                self.member.carriers.end(address);
            }
            Event::RouteWanted(peer, to) => self.look_at_route(peer, to),
            Event::Carrier(segment, peers) => self.carrier(segment, peers > 0),
            Event::Echo(peer, token, bytes) => self.echo_answered(peer, token, bytes.len(), now),
            Event::Emit(port, frame) => self.member.emit(port, &frame),
            Event::Revocations => {
                let epoch = self.member.node.revocation_epoch();
                tracing::info!("revocations of epoch {epoch}");
                network::keep_lists(&self.member.config, &self.member.node);
            }
            Event::Asked(peer, ask) => self.member.asked(peer, ask),
            Event::Renewed(record) => network::keep_record(&self.member.config, &record),
            Event::Mark(mark) => {
                if let Err(error) = state::write_mark(&self.mark_file, mark) {
                    let file = self.mark_file.display();
                    tracing::warn!("cannot write {file}: {error}; going on without");
                }
            }
            _ => {}
        }
    }

    /// Says what happened, unless the same was said of the same peer a short while ago.
    fn log(&mut self, event: &Event, (kind, message): (&'static str, &str), now: Instant) {
        match event {
            Event::Up(peer)
            | Event::Down(peer, _)
            | Event::Moved(peer, _)
            | Event::Relayed(peer) => {
                if self.gate.opens(*peer, kind, now) {
                    let endpoint = self.endpoint(*peer);
                    tracing::info!(endpoint, "{message}");
                }
            }
            Event::Unreachable(peer) => {
                if self.gate.opens(*peer, kind, now) {
                    tracing::warn!("{message}; trying again later");
                }
            }
            Event::MacMoved(_) => tracing::debug!("{message}"),
            // Hosts can make these as fast as they like.
            _ if self.gate.admits(kind, now) => tracing::warn!("{message}"),
            _ => tracing::debug!("{message}"),
        }
    }

    fn carrier(&self, segment: crate::wire::segment::SegmentId, up: bool) {
        for (_, port) in self.member.ports.iter() {
            if port.config.segment == segment
                && let Err(error) = port.tap.set_carrier(up)
            {
                tracing::debug!(tap = port.config.tap, "carrier: {error}");
            }
        }
    }

    /// The peers that do not answer.
    fn missed(&self) -> impl Iterator<Item = PeerId> {
        let now = clock::now();
        let peers = self.member.node.peers().iter();
        let is_missed = move |p: &&Peer| p.attempt.as_ref().is_some_and(|a| a.lasts(now) > MISSED);
        peers.filter(is_missed).map(|p| p.id)
    }

    fn look_at_routes(&mut self) {
        let peers = self.member.node.peers().iter();
        let paths: Vec<_> = peers
            // A relay sends its clients nothing that could be cut smaller.
            .filter(|p| p.settings.kind != Kind::Client)
            .filter_map(|p| Some((p.id, p.path.endpoint()?.remote)))
            .collect();
        for (peer, to) in paths {
            self.look_at_route(peer, to);
        }
    }

    async fn look_at_queues(&mut self) {
        let Member { links, ports, .. } = &mut self.member;
        for port in ports.iter_mut() {
            let drops = links.queue_drops(&port.config.tap).await;
            port.queue_drops = drops.unwrap_or(port.queue_drops);
            let Some(bridge) = &port.config.bridge else {
                continue;
            };
            let state = links.bridge_state(bridge).await;
            let now = bridging::warnings(&port.config, state.as_ref());
            let known = &port.bridge_warnings;
            for warning in now.iter().filter(|w| !known.contains(w)) {
                tracing::warn!(tap = port.config.tap, bridge, "{warning}");
            }
            port.bridge_warnings = now;
        }
    }

    fn look_at_route(&mut self, peer: PeerId, to: std::net::SocketAddr) {
        let carried = self.member.carriers.mtu(&to);
        match carried.map_or_else(|| UdpSocket::route_mtu(to), Ok) {
            Ok(mtu) => self.member.node.set_route_mtu(peer, mtu, clock::now()),
            Err(error) => tracing::debug!(endpoint = %to, "no route: {error}"),
        }
    }

    fn endpoint(&self, peer: PeerId) -> String {
        let peer = self.member.node.peers().get(peer.0 as usize);
        let endpoint = peer.and_then(|p| p.path.endpoint());
        let name = |e: Endpoint| self.member.carriers.name(e.remote);
        endpoint.map(name).unwrap_or_default()
    }

    /// Answers; gives back what waits for the system.
    fn call(&mut self, call: Call) -> Option<Call> {
        let now = clock::now();
        let answer = match call.verb {
            Verb::Show => Answer::Snapshot(Box::new(self.member.snapshot(self.started, now))),
            Verb::Macs(filter) => self.member.mac_views(&filter, now),
            Verb::Flush(filter) => self.member.flush(&filter, now),
            Verb::Vlans => Answer::Vlans(self.member.vlan_views(now)),
            Verb::Neighbors => Answer::Neighbors(self.member.neighbor_views(now)),
            Verb::Paths => Answer::Paths(self.member.path_views(now)),
            Verb::NetCheck => Answer::Net(self.member.net_view()),
            Verb::Events { after } => Answer::Events(self.chronicle.after(after)),
            Verb::Ping {
                target,
                size,
                timeout_ms,
                vlan,
            } => {
                let target = (&target[..], vlan.as_deref());
                self.ping(target, size, timeout_ms, call.answer);
                return None;
            }
            Verb::Invite(order) => self.member.invite(*order),
            Verb::Invites => self.member.invites(),
            Verb::Uninvite(named) => self.member.uninvite(&named),
            Verb::Reload | Verb::ReloadWith(_) => return Some(call),
            Verb::Down => {
                self.ending = true;
                Answer::Ending
            }
        };
        let _ = call.answer.send(answer);
        None
    }

    fn ping(
        &mut self,
        target: (&str, Option<&str>),
        size: usize,
        timeout_ms: u64,
        answer: oneshot::Sender<Answer>,
    ) {
        let now = clock::now();
        let peer = match self.member.find_peer(target, now) {
            Ok(peer) => peer,
            Err(message) => {
                let _ = answer.send(Answer::Error(message));
                return;
            }
        };
        let size = size.min(crate::wire::control::MAX_ECHO);
        self.next_echo = self.next_echo.wrapping_add(1);
        let token = self.next_echo;
        let bytes = vec![0x5a; size];
        if self.echoes.len() >= MAX_ECHOES
            || self.member.node.echo(peer, token, &bytes, now).is_err()
        {
            let name = self.member.peer_name(peer);
            let _ = answer.send(Answer::Error(format!("{name} is not connected")));
            return;
        }
        let (late, caller) = oneshot::channel();
        let echo = Echo {
            sent: now,
            answer: late,
            peer,
        };
        self.echoes.insert(token, echo);
        let no_answer = self.pong(peer, None, 0);
        let patience = Duration::from_millis(timeout_ms.clamp(1, 20_000));
        tokio::spawn(async move {
            let result = tokio::time::timeout(patience, caller).await;
            let _ = answer.send(match result {
                Ok(Ok(pong)) => pong,
                _ => no_answer,
            });
        });
    }

    fn echo_answered(&mut self, peer: PeerId, token: u32, size: usize, now: Instant) {
        // Only the peer that was asked may answer.
        if self.echoes.get(&token).is_none_or(|e| e.peer != peer) {
            return;
        }
        if let Some(echo) = self.echoes.remove(&token) {
            let rtt = now.since(echo.sent).as_micros();
            let pong = self.pong(peer, u64::try_from(rtt).ok(), size);
            let _ = echo.answer.send(pong);
        }
    }

    fn pong(&self, peer: PeerId, rtt_us: Option<u64>, size: usize) -> Answer {
        Answer::Pong(Pong {
            peer: self.member.peer_name(peer),
            endpoint: self.endpoint(peer),
            rtt_us,
            size,
        })
    }
}

/// The passphrase that came with an order.
fn words(verb: &Verb) -> Option<Passphrase> {
    match verb {
        Verb::ReloadWith(words) => Passphrase::new(words.expose()),
        _ => None,
    }
}
