//! A wire that loses: a relay between two members that drops single datagrams out of trains.
//!
//! # Why
//! A packet filter on a virtual wire sees a whole train as one packet and would drop all of it, which no real network does.
//! This one receives trains, throws its dice for each datagram, and sends what is left as trains again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::orders::Impair;
use crate::io::udp::{Received, Sending, UdpSocket};
use crate::io::wake::wait_readable;

/// The running relay; it ends when this is dropped.
pub(super) struct Impairment {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Dice that are good enough to lose packets by: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, million: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % 1_000_000 < million
    }
}

impl Impairment {
    pub(super) fn start(order: &Impair) -> io::Result<Impairment> {
        let outer = UdpSocket::bind(order.listen)?;
        let inner = UdpSocket::bind(SocketAddr::new(order.listen.ip(), 0))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (ending, to, ppm) = (stop.clone(), order.to, order.loss_ppm);
        let thread = std::thread::spawn(move || run((&outer, &inner), to, ppm, &ending));
        Ok(Impairment {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Impairment {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Carries what comes to `outer` to the member at `to`, and what comes back to where the last came from.
fn run((outer, inner): (&UdpSocket, &UdpSocket), to: SocketAddr, ppm: u64, stop: &AtomicBool) {
    let mut received = Received::default();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut caller: Option<(SocketAddr, Option<IpAddr>)> = None;
    let mut train = Vec::with_capacity(1 << 16);
    while !stop.load(Ordering::Relaxed) {
        let mut idle = true;
        while outer.receive(&mut received).is_ok() {
            idle = false;
            received.for_each_train(|from, at, size, bytes| {
                caller = Some((from, at));
                carry(&mut dice, ppm, (size, bytes), &mut train);
                pass(inner, (to, None), size, &train);
            });
        }
        while inner.receive(&mut received).is_ok() {
            idle = false;
            received.for_each_train(|_, _, size, bytes| {
                carry(&mut dice, ppm, (size, bytes), &mut train);
                if let Some(caller) = caller {
                    pass(outer, caller, size, &train);
                }
            });
        }
        if idle {
            let files = [outer.as_fd(), inner.as_fd()];
            let _ = wait_readable(&files, Some(Duration::from_millis(100)));
        }
    }
}

/// Copies what is not lost.
fn carry(dice: &mut Dice, ppm: u64, (size, bytes): (usize, &[u8]), train: &mut Vec<u8>) {
    train.clear();
    for datagram in bytes.chunks(size) {
        if !dice.below(ppm) {
            train.extend_from_slice(datagram);
        }
    }
}

fn pass(socket: &UdpSocket, (to, from): (SocketAddr, Option<IpAddr>), size: usize, bytes: &[u8]) {
    // The kernel takes no more than this in one call.
    let most = (65_000 / size.max(1)).clamp(1, 64) * size;
    for part in bytes.chunks(most.max(1)) {
        let sending = Sending {
            traffic_class: 0,
            hops: None,
            to,
            from,
            bytes: part,
            size,
        };
        // A full buffer loses, as wires do.
        let _ = socket.send(&sending);
    }
}
