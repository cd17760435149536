//! A wire that delays, loses, repeats, reorders and narrows: two TAPs, joined by a queue in virtual order. Same seed, same
//! weather. The kernel here has no netem.

#![allow(dead_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use l2vpn::io::tap::{Tap, Wish};
use l2vpn::io::wake::wait_readable;
use l2vpn::wire::ethernet::Frame;
use l2vpn::wire::offload::{Offload, VIRTIO_LEN};

/// What a wire does, each way. Chances in a million.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub delay: Duration,
    /// Up to this much more, which reorders.
    pub jitter: Duration,
    pub loss: u64,
    pub duplicate: u64,
    /// Frames that go at once, before those that wait.
    pub reorder: u64,
    /// Bytes a second; what does not fit 256 KiB of queue is lost.
    pub rate: Option<u64>,
    /// The largest frame that passes, in bytes with its Ethernet header.
    pub most: Option<usize>,
}

const QUEUE: u64 = 256 << 10;

/// Frames on their way, one direction.
pub struct Line {
    weather: Weather,
    dice: u64,
    seq: u64,
    /// When the last byte that was accepted has left, in microseconds.
    busy_until: u64,
    flying: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>>,
}

impl Line {
    pub fn new(weather: Weather, seed: u64) -> Line {
        Line {
            weather,
            dice: seed,
            seq: 0,
            busy_until: 0,
            flying: BinaryHeap::new(),
        }
    }

    /// SplitMix64.
    fn throw(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self, million: u64) -> bool {
        self.throw() % 1_000_000 < million
    }

    /// A frame enters at this time, in microseconds.
    pub fn push(&mut self, now: u64, frame: &[u8]) {
        let is_too_long = self.weather.most.is_some_and(|most| frame.len() > most);
        if self.chance(self.weather.loss) || is_too_long {
            return;
        }
        let mut at = now;
        if let Some(rate) = self.weather.rate {
            let waiting = self.busy_until.saturating_sub(now) * rate / 1_000_000;
            if waiting > QUEUE {
                return;
            }
            self.busy_until = self.busy_until.max(now) + frame.len() as u64 * 1_000_000 / rate;
            at = self.busy_until;
        }
        let copies = 1 + u64::from(self.chance(self.weather.duplicate));
        for _ in 0..copies {
            let jitter = self.weather.jitter.as_micros() as u64;
            let extra = self.throw().checked_rem(jitter).unwrap_or(0);
            let hurries = self.chance(self.weather.reorder);
            let delay = self.weather.delay.as_micros() as u64 + extra;
            self.seq += 1;
            let due = if hurries { at } else { at + delay };
            self.flying.push(Reverse((due, self.seq, frame.to_vec())));
        }
    }

    /// The next frame that comes out by this time.
    pub fn pop(&mut self, now: u64) -> Option<Vec<u8>> {
        let is_due = self.flying.peek().is_some_and(|f| f.0.0 <= now);
        if !is_due {
            return None;
        }
        self.flying.pop().map(|f| f.0.2)
    }

    /// When the next one comes out.
    pub fn next(&self) -> Option<u64> {
        self.flying.peek().map(|f| f.0.0)
    }
}

/// A running wire; it ends when this is dropped.
pub struct Wire {
    stop: Arc<AtomicBool>,
    /// The largest frame that passes.
    most: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Makes both TAPs, in the network namespace of this thread; they may be moved to others afterwards.
    pub fn new(names: [&str; 2], weather: Weather, seed: u64) -> Result<Wire, String> {
        let open = |name| Tap::open(name, Wish::Nothing, 1).map_err(|e| e.to_string());
        let ends = [open(names[0])?, open(names[1])?];
        let plugged = ends.iter().try_for_each(|end| end.set_carrier(true));
        plugged.map_err(|e| e.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let most = Arc::new(AtomicUsize::new(weather.most.unwrap_or(usize::MAX)));
        let (ending, limit) = (stop.clone(), most.clone());
        let thread = std::thread::spawn(move || run(&ends, weather, seed, (&ending, &limit)));
        Ok(Wire {
            stop,
            most,
            thread: Some(thread),
        })
    }
}

impl Wire {
    /// From now on frames of more bytes than this do not pass.
    pub fn narrow(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(ends: &[Tap; 2], weather: Weather, seed: u64, (stop, most): (&AtomicBool, &AtomicUsize)) {
    let start = Instant::now();
    let now = || start.elapsed().as_micros() as u64;
    let mut lines = [Line::new(weather, seed), Line::new(weather, !seed)];
    let (mut buffer, mut scratch) = (vec![0; 1 << 16], Vec::new());
    while !stop.load(Ordering::Relaxed) {
        for (n, line) in lines.iter_mut().enumerate() {
            line.weather.most = Some(most.load(Ordering::Relaxed));
            while let Ok((_, len)) = ends[n].recv(0, &mut buffer) {
                line.push(now(), &buffer[VIRTIO_LEN..VIRTIO_LEN + len]);
            }
            while let Some(frame) = line.pop(now()) {
                if let Ok(frame) = Frame::parse(&frame) {
                    let sent = (&frame.parts, &Offload::NONE);
                    let _ = ends[1 - n].send(0, sent, &mut scratch);
                }
            }
        }
        let next = lines.iter().filter_map(Line::next).min();
        let wait = next.map_or(20_000, |at| at.saturating_sub(now()).min(20_000));
        let files: Vec<_> = ends.iter().filter_map(|e| e.descriptor(0).ok()).collect();
        match wait {
            // poll counts in milliseconds: what is due sooner is waited for here.
            0..1000 => std::thread::sleep(Duration::from_micros(wait)),
            _ => {
                let _ = wait_readable(&files, Some(Duration::from_micros(wait - wait % 1000)));
            }
        }
    }
}
