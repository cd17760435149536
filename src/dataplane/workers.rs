//! The threads that drive both directions: one reads the ports, one reads the socket.
//!
//! Each drains what is there without blocking, works on it to completion, sends what resulted as trains, and waits only
//! when there is nothing. A TAP that is down or gone does not stop the others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::Exits;
use super::decap::Decap;
use super::encap::Encap;
use crate::drops::DropReason;
use crate::io::tap::Tap;
use crate::io::udp::{Received, Sending, UdpSocket};
use crate::io::wake::{Waker, wait_readable, wait_writable};
use crate::io::{clock, process};
use crate::mesh::outgoing::{Outgoing, Train};
use crate::mesh::path::Endpoint;
use crate::node::plane::{Note, Plane};
use crate::place::PortId;
use crate::wire::ethernet::{MAX_FRAME_LEN, Parts};

/// How many notes may wait for the control thread in each of the two queues; more are dropped and counted.
pub const NOTES: usize = 512;
/// Frames that one port may bring before the others are looked at and everything is sent.
const DRAIN: usize = 64;
/// Bytes that are ready to go before they are sent in the middle of a drain.
const FLUSH_AT: usize = 128 * 1024;
/// How long a port that is down is left alone.
const REST: Duration = Duration::from_millis(200);
/// How long a full send buffer is waited for before the datagram is dropped.
const SEND_PATIENCE: Duration = Duration::from_millis(5);

/// What the threads work on.
#[derive(Clone)]
pub struct Outside {
    /// What all threads share.
    pub plane: Arc<Plane>,
    /// The ports, by number.
    pub taps: Arc<Vec<Tap>>,
    /// The underlay.
    pub socket: Arc<UdpSocket>,
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
    /// Starts both threads.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left.
    pub fn start(outside: &Outside) -> io::Result<Workers> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Workers {
            stop: stop.clone(),
            threads: Vec::new(),
        };
        let directions: [(&str, Direction); 2] =
            [("l2vpn-out", out_of_ports), ("l2vpn-in", out_of_socket)];
        for (name, run) in directions {
            let waker = Arc::new(Waker::new()?);
            let hands = Hands::new(outside);
            let (stop, theirs) = (stop.clone(), waker.clone());
            let thread = std::thread::Builder::new()
                .name(name.into())
                .spawn(move || run(hands, &stop, &theirs))?;
            workers.threads.push((waker, Some(thread)));
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for (waker, thread) in &mut self.threads {
            waker.wake();
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// What a thread does until it is told to stop.
type Direction = fn(Hands, &AtomicBool, &Waker);

/// One thread's access to the outside and its buffers.
struct Hands {
    outside: Outside,
    outgoing: Outgoing,
    scratch: Vec<u8>,
}

impl Hands {
    fn new(outside: &Outside) -> Self {
        Hands {
            outside: outside.clone(),
            outgoing: Outgoing::with_capacity(FLUSH_AT + 2 * MAX_FRAME_LEN, 4 * DRAIN),
            scratch: Vec::with_capacity(MAX_FRAME_LEN),
        }
    }

    /// Sends everything that is ready.
    fn flush(&mut self) {
        let socket = &self.outside.socket;
        for train in self.outgoing.trains(socket.max_train()) {
            send_train(&self.outside, &train);
        }
        self.outgoing.clear();
    }
}

impl Exits for Hands {
    fn deliver(&mut self, port: PortId, frame: &Parts<'_>) {
        let Some(tap) = self.outside.taps.get(usize::from(port.0)) else {
            return;
        };
        let sent = match frame.whole() {
            Some(bytes) => tap.send(bytes),
            None => {
                self.scratch.clear();
                frame.write(&mut self.scratch);
                tap.send(&self.scratch)
            }
        };
        if let Err(error) = sent {
            self.outside
                .plane
                .drops
                .count(process::port_failure(&error));
        }
    }

    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
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
fn send_train(outside: &Outside, train: &Train<'_>) {
    let sending = Sending {
        to: train.to.remote,
        from: train.to.local,
        bytes: train.bytes,
        size: train.size,
    };
    match send_patiently(&outside.socket, &sending) {
        Ok(()) => {}
        Err(_) if train.count > 1 => {
            for datagram in train.bytes.chunks(train.size) {
                let alone = Sending {
                    bytes: datagram,
                    size: datagram.len(),
                    ..sending
                };
                if let Err(error) = send_patiently(&outside.socket, &alone) {
                    count_failure(outside, &train.to, &error);
                }
            }
        }
        Err(error) => count_failure(outside, &train.to, &error),
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

fn count_failure(outside: &Outside, to: &Endpoint, error: &io::Error) {
    let reason = process::send_failure(error);
    outside.plane.drops.count(reason);
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

fn out_of_ports(mut hands: Hands, stop: &AtomicBool, waker: &Waker) {
    let taps = hands.outside.taps.clone();
    let own_port = hands.outside.socket.local_address().map_or(0, |a| a.port());
    let mut encap = Encap::new(hands.outside.plane.clone(), own_port);
    let mut buffer = vec![0u8; MAX_FRAME_LEN];
    let mut states = vec![PortState::Up; taps.len()];
    while !stop.load(Ordering::Relaxed) {
        let mut busy = false;
        for ((index, tap), state) in taps.iter().enumerate().zip(&mut states) {
            if *state == PortState::Gone {
                continue;
            }
            let port = PortId(u16::try_from(index).unwrap_or(u16::MAX));
            let (frames, after) = drain(port, tap, (&mut encap, &mut buffer), &mut hands);
            busy |= frames == DRAIN;
            *state = after;
        }
        if !busy {
            let resting = states.contains(&PortState::Resting);
            let mut files: Vec<BorrowedFd<'_>> = vec![waker.as_fd()];
            let up = taps.iter().zip(&states);
            files.extend(
                up.filter(|(_, s)| **s == PortState::Up)
                    .map(|(t, _)| t.as_fd()),
            );
            if wait_readable(&files, resting.then_some(REST)).is_err() {
                std::thread::sleep(REST);
            }
        }
    }
}

/// Reads what a port has, at most [`DRAIN`] frames, and sends what results.
fn drain(
    port: PortId,
    tap: &Tap,
    (encap, buffer): (&mut Encap, &mut [u8]),
    hands: &mut Hands,
) -> (usize, PortState) {
    let now = clock::now();
    let mut frames = 0;
    let mut state = PortState::Up;
    while frames < DRAIN {
        match tap.recv(buffer) {
            Ok(len) => {
                frames += 1;
                encap.frame(port, buffer.get(..len).unwrap_or_default(), now, hands);
                if hands.outgoing.total_bytes() >= FLUSH_AT {
                    hands.flush();
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                hands.outside.plane.drops.count(DropReason::PortDown);
                state = PortState::Resting;
                if process::is_gone(&error) {
                    tap.mark_gone();
                    tracing::error!(tap = tap.name(), "the TAP was removed: {error}");
                    state = PortState::Gone;
                }
                break;
            }
        }
    }
    hands.flush();
    (frames, state)
}

fn out_of_socket(mut hands: Hands, stop: &AtomicBool, waker: &Waker) {
    let socket = hands.outside.socket.clone();
    let mut decap = Decap::new(hands.outside.plane.clone());
    let mut received = Received::default();
    while !stop.load(Ordering::Relaxed) {
        match socket.receive(&mut received) {
            Ok(()) => {
                let now = clock::now();
                received.for_each(|from, to, bytes| {
                    let from = Endpoint::between(from, to);
                    decap.datagram(from, bytes, now, &mut hands);
                });
                hands.flush();
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if wait_readable(&[waker.as_fd(), socket.as_fd()], None).is_err() {
                    std::thread::sleep(REST);
                }
            }
            // An ICMP error of some destination, or a passing shortage: nothing was received.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
