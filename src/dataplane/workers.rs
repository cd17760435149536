//! The threads that drive both directions.
//!
//! # Why
//! A worker is one thread that runs to completion: it takes a batch from its socket or its ports without blocking, works
//! on it, sends what resulted as trains, and waits only when there is nothing. Both directions share it, because the one
//! often has work from the other: what is written to a TAP is answered within that call, and the answer is read next,
//! without a thread to be woken. Measured against a thread for each direction: the same rate of TCP, a tenth more small
//! packets, half the latency under load. A TAP that is down or gone does not stop the others.
//!
//! Worker `n` owns queue `n` of every TAP and pair `n` of sockets, and marks its packets with lanes of pair `n`, which the
//! other end's sockets are chosen by ([`crate::io::lanes`]). The kernel keeps a flow on the queue that its answers are written to, so a flow stays with one
//! worker at both ends, and nothing is reordered.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::Sender;

use super::Exits;
use super::backlog::{Backlog, Held};
use super::decap::Decap;
use super::encap::Encap;
use super::intake::Intake;
use super::shares::TICK;
use super::template::{Workbench, packets};
use crate::drops::DropReason;
use crate::io::lanes::Lane;
use crate::io::process::EINVAL;
use crate::io::tap::Tap;
use crate::io::udp::{Sending, UdpSocket};
use crate::io::wake::{Waker, wait_readable, wait_writable};
use crate::io::{clock, process};
use crate::mesh::outgoing::{Mark, Outgoing, Train};
use crate::mesh::path::Endpoint;
use crate::node::plane::{Note, Plane};
use crate::place::PortId;
use crate::time::Instant;
use crate::wire::ethernet::{MAX_FRAME_LEN, Parts};
use crate::wire::offload::Offload;

/// How many notes may wait for the control thread in each of the two queues; more are dropped and counted.
pub const NOTES: usize = 512;
/// Frames that one port may bring before the others are looked at and everything is sent.
const DRAIN: usize = 64;
/// Bytes that one port may send before the socket has its turn: the answers that wait there must not wait for a whole
/// queue of bulk.
const TURN: usize = 128 * 1024;
/// Bytes that are ready to go before they are sent in the middle of a drain: about a train, so that the other end works
/// on the first while we work on the next.
const FLUSH_AT: usize = 16 * 1024;
/// Room for what can be ready to go: a super-frame on top of that, flooded to a few.
const OUTGOING: usize = 256 * 1024;
/// How often a socket is looked at before what has come is delivered.
const MAX_LOOKS: usize = 3;
/// How often the urgent queue is looked at, while it has something, before bulk has its turn.
const MAX_URGENT: usize = 512;
/// How long a port that is down is left alone.
const REST: Duration = Duration::from_millis(200);
/// How long a full send buffer is waited for before the datagram is dropped.
const SEND_PATIENCE: Duration = Duration::from_millis(5);

/// The TAPs of the ports, by number; a port that was closed leaves a gap.
pub type Taps = Vec<Option<Arc<Tap>>>;

/// What the threads work on.
#[derive(Clone)]
pub struct Outside {
    /// What all threads share.
    pub plane: Arc<Plane>,
    /// The ports, by number; a new list takes effect at the next [`Workers::wake`].
    pub taps: Arc<ArcSwap<Taps>>,
    /// The underlay: a pair of sockets for each worker.
    pub lanes: Arc<Vec<Lane>>,
    /// How long a worker looks for more before it sleeps.
    pub busy_poll: Duration,
    /// Whether frames' priorities are shown on the outside.
    pub shows_priority: bool,
    /// To the control thread, from authenticated peers and ports of ours.
    pub notes: Sender<Note>,
    /// To the control thread, from anybody: a flood of these must not keep the others out.
    pub handshakes: Sender<Note>,
}

/// The running threads; they end when this is dropped.
pub struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<(Arc<Waker>, Option<JoinHandle<()>>)>,
}

impl Workers {
    /// Starts a thread for each pair of sockets.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left.
    pub fn start(outside: &Outside) -> io::Result<Workers> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Workers {
            stop: stop.clone(),
            threads: Vec::new(),
        };
        for number in 0..outside.lanes.len() {
            let waker = Arc::new(Waker::new()?);
            let hands = Hands::new(outside, number);
            let (stop, theirs) = (stop.clone(), waker.clone());
            let thread = std::thread::Builder::new()
                .name(format!("l2vpn-{number}"))
                .spawn(move || Worker::new(hands).run(&stop, &theirs))?;
            workers.threads.push((waker, Some(thread)));
        }
        Ok(workers)
    }
}

impl Workers {
    /// Has all threads look at what has changed.
    pub fn wake(&self) {
        self.threads.iter().for_each(|(waker, _)| waker.wake());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for (waker, thread) in &mut self.threads {
            waker.wake();
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// One thread's access to the outside and its buffers.
struct Hands {
    outside: Outside,
    /// The ports at the last look.
    taps: Arc<Taps>,
    /// Which worker.
    number: usize,
    outgoing: Outgoing,
    scratch: Vec<u8>,
    bench: Workbench,
}

impl Hands {
    fn new(outside: &Outside, number: usize) -> Self {
        let mut outgoing = Outgoing::with_capacity(OUTGOING, 4 * DRAIN);
        outgoing.worker = u8::try_from(number).unwrap_or(0);
        Hands {
            outside: outside.clone(),
            taps: outside.taps.load_full(),
            number,
            outgoing,
            scratch: Vec::with_capacity(MAX_FRAME_LEN),
            bench: Workbench::default(),
        }
    }

    fn socket(&self) -> Option<&UdpSocket> {
        self.outside.lanes.get(self.number).map(|l| &l.bulk)
    }

    /// Sends everything that is ready.
    fn flush(&mut self) {
        if let Some(socket) = self.socket() {
            for train in self.outgoing.trains(socket.max_train()) {
                send_train(&self.outside, socket, &train);
            }
        }
        self.outgoing.clear();
    }

    fn tap(&self, port: PortId) -> Option<&Arc<Tap>> {
        self.taps.get(usize::from(port.0))?.as_ref()
    }

    fn write(&mut self, port: PortId, frame: &Parts<'_>, offload: &Offload) -> io::Result<()> {
        match self.tap(port) {
            Some(tap) => {
                let tap = tap.clone();
                tap.send(self.number, (frame, offload), &mut self.scratch)
            }
            None => Ok(()),
        }
    }
}

impl Exits for Hands {
    fn takes(&self, port: PortId, offload: &Offload) -> bool {
        self.tap(port).is_some_and(|t| t.takes(offload))
    }

    fn deliver(&mut self, port: PortId, frame: &Parts<'_>, offload: &Offload) {
        let result = match self.write(port, frame, offload) {
            // The kernel refuses super-frames: packet by packet then.
            Err(e) if offload.is_super() && e.raw_os_error() == Some(EINVAL) => {
                let mut bench = std::mem::take(&mut self.bench);
                let mut result = Ok(());
                packets(frame, offload, usize::MAX, &mut bench, |packet| {
                    let written = self.write(port, packet, &Offload::NONE);
                    result = std::mem::replace(&mut result, Ok(())).and(written);
                });
                self.bench = bench;
                result
            }
            other => other,
        };
        if let Err(error) = result {
            let reason = process::port_failure(&error);
            self.outside.plane.drops.count(reason);
        }
    }

    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    fn relieve(&mut self) {
        if self.outgoing.total_bytes() >= OUTGOING / 2 {
            self.flush();
        }
    }

    fn note(&mut self, note: Note) -> bool {
        let queue = match &note {
            Note::Handshake { .. } => &self.outside.handshakes,
            _ => &self.outside.notes,
        };
        let taken = queue.try_send(note).is_ok();
        if !taken {
            self.outside.plane.drops.count(DropReason::QueueFull);
        }
        taken
    }
}

/// Sends a train; when the kernel refuses it as one, each datagram by itself.
fn send_train(outside: &Outside, socket: &UdpSocket, train: &Train<'_>) {
    let sending = Sending {
        to: train.to.remote,
        from: train.to.local,
        bytes: train.bytes,
        size: train.size,
        traffic_class: train.mark.traffic_class(),
        hops: None,
    };
    let Err(error) = send_patiently(socket, &sending) else {
        return;
    };
    if train.count < 2 || process::send_failure(&error) == DropReason::SendBufferFull {
        return count_failure(outside, &train.to, (&error, train.count));
    }
    let mut sent = 0;
    let mut told = false;
    for datagram in train.bytes.chunks(train.size) {
        let alone = Sending {
            bytes: datagram,
            size: datagram.len(),
            ..sending
        };
        match send_patiently(socket, &alone) {
            Ok(()) => sent += 1,
            // The control side hears of a size once for each train.
            Err(error) if told => {
                let reason = process::send_failure(&error);
                outside.plane.drops.count(reason);
            }
            Err(error) => {
                count_failure(outside, &train.to, (&error, 1));
                told = true;
            }
        }
    }
    // Only then was it the train, and not the route, the size or the source.
    if sent == train.count {
        socket.note_refusal();
    }
}

fn send_patiently(socket: &UdpSocket, sending: &Sending<'_>) -> io::Result<()> {
    match socket.send(sending) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            wait_writable(socket.as_fd(), SEND_PATIENCE)?;
            socket.send(sending)
        }
        other => other,
    }
}

fn count_failure(outside: &Outside, to: &Endpoint, (error, many): (&io::Error, usize)) {
    let reason = process::send_failure(error);
    outside.plane.drops.add(reason, many as u64);
    if reason == DropReason::SendTooLarge {
        // A full queue loses only the hurry: routes are looked at regularly anyway.
        let _ = outside.notes.try_send(Note::TooLarge(to.remote));
    }
}

/// What a port is good for at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PortState {
    Up,
    Resting,
    Gone,
}

/// What ports are good for at first. All workers read one that has a queue for each, one does that has fewer.
fn states(taps: &Taps, number: usize) -> Vec<PortState> {
    let state = |tap: &Option<Arc<Tap>>| match tap {
        Some(tap) if number < tap.queues() && !tap.is_gone() => PortState::Up,
        _ => PortState::Gone,
    };
    taps.iter().map(state).collect()
}

/// One worker: both directions, its queue of every port, its socket.
struct Worker {
    hands: Hands,
    encap: Encap,
    decap: Decap,
    states: Vec<PortState>,
    backlog: Backlog,
    bulk: Intake,
    urgent: Intake,
}

impl Worker {
    fn new(hands: Hands) -> Worker {
        let own_port = hands.socket().and_then(|s| s.local_address().ok());
        let plane = &hands.outside.plane;
        Worker {
            encap: Encap::new(plane.clone(), own_port.map_or(0, |a| a.port()))
                .showing_priority(hands.outside.shows_priority),
            decap: Decap::new(plane.clone()),
            states: states(&hands.taps, hands.number),
            backlog: Backlog::default(),
            bulk: Intake::new(clock::now()),
            urgent: Intake::new(clock::now()),
            hands,
        }
    }

    fn run(mut self, stop: &AtomicBool, waker: &Waker) {
        let (lanes, number) = (self.hands.outside.lanes.clone(), self.hands.number);
        let Some(lane) = lanes.get(number) else {
            return;
        };
        let mut idle_since = None;
        loop {
            self.look_at_ports();
            if stop.load(Ordering::Acquire) {
                return;
            }
            let came = self.out_of_lane(lane);
            let went = self.out_of_ports();
            if came || went {
                idle_since = None;
            } else if is_idle(&mut idle_since, self.hands.outside.busy_poll) {
                idle_since = None;
                self.wait(lane, waker);
            }
        }
    }

    /// Takes up a new list of ports, if there is one.
    fn look_at_ports(&mut self) {
        let hands = &mut self.hands;
        if Arc::ptr_eq(&hands.outside.taps.load(), &hands.taps) {
            return;
        }
        let before = std::mem::replace(&mut hands.taps, hands.outside.taps.load_full());
        self.states = states(&hands.taps, hands.number);
        let stays = |port: PortId| {
            let at = |taps: &Taps| taps.get(usize::from(port.0)).cloned().flatten();
            matches!((at(&before), at(&hands.taps)), (Some(a), Some(b)) if Arc::ptr_eq(&a, &b))
        };
        // What another port with this number brings later has nothing to do with these.
        self.backlog.retain(stays);
    }

    fn wait(&self, lane: &Lane, waker: &Waker) {
        let taps = &self.hands.taps;
        let resting = self.states.contains(&PortState::Resting);
        let mut files: Vec<BorrowedFd<'_>> =
            vec![waker.as_fd(), lane.urgent.as_fd(), lane.bulk.as_fd()];
        let up = taps.iter().zip(&self.states);
        files.extend(
            up.filter(|(_, s)| **s == PortState::Up)
                .filter_map(|(t, _)| t.as_ref()?.descriptor(self.hands.number).ok()),
        );
        let holds_back = self.bulk.holds_back() || self.urgent.holds_back();
        let patience = match (holds_back, resting) {
            (true, _) => Some(TICK),
            (false, resting) => resting.then_some(REST),
        };
        match wait_readable(&files, patience) {
            // What it was woken for is looked at after this.
            Ok(true) => waker.reset(),
            Ok(false) => {}
            Err(_) => std::thread::sleep(REST),
        }
    }

    /// Works on what the ports have; gives whether there was anything.
    fn out_of_ports(&mut self) -> bool {
        let taps = self.hands.taps.clone();
        let mut frames = 0;
        for ((index, tap), state) in taps.iter().enumerate().zip(&mut self.states) {
            let Some(tap) = tap.as_ref().filter(|_| *state != PortState::Gone) else {
                continue;
            };
            let port = PortId(u16::try_from(index).unwrap_or(u16::MAX));
            let (some, after) = drain(
                port,
                tap,
                (&mut self.encap, &mut self.backlog),
                &mut self.hands,
            );
            frames += some;
            *state = after;
        }
        frames > 0
    }

    /// Works on a batch of what the network has; gives whether there was anything.
    fn out_of_lane(&mut self, lane: &Lane) -> bool {
        let now = clock::now();
        let mut looks = 0;
        let mut came = false;
        loop {
            let bulk = self.bulk.take(&lane.bulk, now);
            // What was sent before that bulk is here by now.
            if self.out_of_urgent(&lane.urgent, now) {
                came = true;
                // Between two looks, parts of a super-frame wait for the rest.
                if looks == 0 {
                    self.decap.flush(now, &mut self.hands);
                }
            }
            came |= bulk;
            if !bulk {
                break;
            }
            let (decap, hands) = (&mut self.decap, &mut self.hands);
            self.bulk.batch.for_each(|from, to, bytes| {
                decap.datagram(Endpoint::between(from, to), bytes, now, hands);
            });
            looks += 1;
            // The rest of a super-frame came as a second train while we worked on the first.
            if !self.decap.lacks_more() || looks >= MAX_LOOKS {
                break;
            }
        }
        if came {
            self.decap.flush(now, &mut self.hands);
            self.hands.flush();
        }
        came
    }

    /// Delivers what shall not wait behind bulk; gives whether there was anything.
    fn out_of_urgent(&mut self, socket: &UdpSocket, now: Instant) -> bool {
        let Worker {
            hands,
            decap,
            urgent,
            ..
        } = self;
        let mut looks = 0;
        while looks < MAX_URGENT && urgent.take(socket, now) {
            urgent.batch.for_each(|from, to, bytes| {
                decap.datagram(Endpoint::between(from, to), bytes, now, hands);
            });
            looks += 1;
            if !urgent.batch.is_full() {
                break;
            }
        }
        looks > 0
    }
}

/// Whether nothing has come for as long as a worker shall look.
fn is_idle(since: &mut Option<Instant>, busy_poll: Duration) -> bool {
    if busy_poll.is_zero() {
        return true;
    }
    let now = clock::now();
    now.since(*since.get_or_insert(now)) >= busy_poll
}

/// Reads what a port has and sends what results: small frames at once, bulk in its order, until at most [`DRAIN`] frames
/// went.
fn drain(
    port: PortId,
    tap: &Tap,
    (encap, backlog): (&mut Encap, &mut Backlog),
    hands: &mut Hands,
) -> (usize, PortState) {
    let now = clock::now();
    let mut frames = 0;
    let mut state = PortState::Up;
    let mut dry = false;
    let mut sent = 0;
    while frames < DRAIN && sent < TURN {
        let next = match !dry && backlog.has_room() && !backlog.is_due() {
            false => backlog.oldest(),
            true => match read((port, tap), backlog, hands, now) {
                Ok(Some(small)) => Some(small),
                Ok(None) => continue,
                Err(after) => {
                    (state, dry) = (after, true);
                    continue;
                }
            },
        };
        let Some(mut held) = next else {
            break;
        };
        frames += 1;
        let (port, header) = (held.port, held.header);
        hands.outgoing.mark.is_urgent = held.is_urgent();
        encap.frame(port, (header, held.frame()), now, hands);
        backlog.done(held);
        if hands.outgoing.total_bytes() >= FLUSH_AT {
            sent += hands.outgoing.total_bytes();
            hands.flush();
            // More may have come meanwhile, small frames among it.
            dry = state != PortState::Up;
        }
    }
    hands.outgoing.mark = Mark::default();
    encap.flush(now, hands);
    hands.flush();
    (frames, state)
}

/// Reads one frame; gives it when it may go at once, and `None` when it waits in the backlog. No frame is an error that
/// says what the port is good for.
fn read(
    (port, tap): (PortId, &Tap),
    backlog: &mut Backlog,
    hands: &Hands,
    now: Instant,
) -> Result<Option<Held>, PortState> {
    let mut buffer = backlog.buffer();
    loop {
        match tap.recv(hands.number, &mut buffer) {
            Ok(read) => return Ok(backlog.take(port, read, buffer, now)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                backlog.give_back(buffer);
                return Err(after_failure(tap, &error, hands));
            }
        }
    }
}

/// What a port is good for after it gave no frame.
fn after_failure(tap: &Tap, error: &io::Error, hands: &Hands) -> PortState {
    if error.kind() == io::ErrorKind::WouldBlock {
        return PortState::Up;
    }
    hands.outside.plane.drops.count(DropReason::PortDown);
    if !process::is_gone(error) {
        return PortState::Resting;
    }
    if !tap.is_gone() {
        tap.mark_gone();
        tracing::error!(tap = tap.name(), "the TAP was removed: {error}");
    }
    PortState::Gone
}
