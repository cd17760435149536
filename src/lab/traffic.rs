//! Traffic for figures: TCP streams at full speed, paced UDP packets, series of pings. Nothing is checked here but counted;
//! [`super::transfer`] checks every byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::orders::{Babble, Flood, Stream, Traffic};
use crate::io::packet::PacketSocket;

const BLOCK: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// The beginning of a stream is not measured: slow start is not what is asked for.
const WARM_UP: Duration = Duration::from_millis(300);
/// What UDP sockets may queue.
const BUFFER: usize = 4 << 20;

/// What all connections of a sink have received.
#[derive(Default)]
struct Received {
    bytes: AtomicU64,
    first: OnceLock<Instant>,
    warm: OnceLock<(Instant, u64)>,
    last: AtomicU64,
}

/// Takes TCP connections and throws away what comes.
pub(super) struct Sink {
    received: Arc<Received>,
    connections: JoinHandle<io::Result<()>>,
}

impl Sink {
    /// Listens for so many connections.
    pub(super) fn start(address: SocketAddr, connections: usize) -> io::Result<Sink> {
        let listener = TcpListener::bind(address)?;
        let received = Arc::new(Received::default());
        let shared = received.clone();
        let connections = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for _ in 0..connections {
                let (stream, _) = listener.accept()?;
                let shared = shared.clone();
                threads.push(std::thread::spawn(move || drain(stream, &shared)));
            }
            for thread in threads {
                thread.join().map_err(|_| io::Error::other("panicked"))??;
            }
            Ok(())
        });
        Ok(Sink {
            received,
            connections,
        })
    }

    /// Waits for the ends of all connections.
    pub(super) fn finish(self) -> io::Result<Traffic> {
        let joined = self.connections.join();
        joined.unwrap_or_else(|_| Err(io::Error::other("the sink ended early")))?;
        let bytes = self.received.bytes.load(Ordering::Relaxed);
        let first = self.received.first.get().copied();
        let began = first.ok_or_else(|| io::Error::other("nothing came"))?;
        let (since, before) = self.received.warm.get().copied().unwrap_or((began, 0));
        let last = Duration::from_nanos(self.received.last.load(Ordering::Relaxed));
        Ok(Traffic {
            bytes: bytes - before,
            total: bytes,
            seconds: (began + last)
                .saturating_duration_since(since)
                .as_secs_f64(),
        })
    }
}

fn drain(mut stream: TcpStream, received: &Received) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0u8; BLOCK];
    loop {
        let len = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => len as u64,
            // A path that lost everything: what came, came.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let total = received.bytes.fetch_add(len, Ordering::Relaxed) + len;
        let now = Instant::now();
        let began = *received.first.get_or_init(|| now);
        let since = now.duration_since(began);
        if since >= WARM_UP {
            received.warm.get_or_init(|| (now, total));
        }
        let nanos = since.as_nanos() as u64;
        received.last.fetch_max(nanos, Ordering::Relaxed);
    }
}

/// TCP streams that run in the background.
pub(super) struct Streams(Vec<JoinHandle<io::Result<u64>>>);

impl Streams {
    pub(super) fn start(order: &Stream) -> io::Result<Streams> {
        let mut threads = Vec::new();
        for _ in 0..order.streams {
            let socket = connect(order)?;
            let end = Instant::now() + Duration::from_millis(order.millis);
            threads.push(std::thread::spawn(move || pour(socket, end)));
        }
        Ok(Streams(threads))
    }

    /// Waits for their end; gives how many bytes were handed to the kernel.
    pub(super) fn finish(self) -> io::Result<u64> {
        let mut bytes = 0;
        for thread in self.0 {
            let sent = thread.join();
            bytes += sent.unwrap_or_else(|_| Err(io::Error::other("panicked")))?;
        }
        Ok(bytes)
    }
}

fn connect(order: &Stream) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(order.to),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let Some(control) = &order.control {
        socket.set_tcp_congestion(control.as_bytes())?;
    }
    socket.connect_timeout(&order.to.into(), PATIENCE)?;
    Ok(socket.into())
}

fn pour(mut stream: TcpStream, end: Instant) -> io::Result<u64> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let buffer = vec![0x5au8; BLOCK / 2];
    let mut bytes = 0;
    while Instant::now() < end {
        match stream.write(&buffer) {
            Ok(len) => bytes += len as u64,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(e) => return Err(e),
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    Ok(bytes)
}

/// Counts UDP packets.
pub(super) struct Counter {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Some(Protocol::UDP);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, kind)?;
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl Counter {
    pub(super) fn start(address: SocketAddr) -> io::Result<Counter> {
        let socket = udp(address)?;
        socket.set_nonblocking(true)?;
        let count = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, ending) = (count.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0u8; 2048];
            while !ending.load(Ordering::Relaxed) {
                let mut got = 0;
                while socket.recv(&mut buffer).is_ok() {
                    got += 1;
                }
                shared.fetch_add(got, Ordering::Relaxed);
                // Not woken for each packet: that would be the limit of what is measured.
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Ok(Counter {
            count,
            stop,
            thread,
        })
    }

    pub(super) fn finish(self) -> u64 {
        std::thread::sleep(Duration::from_millis(50));
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.count.load(Ordering::Relaxed)
    }
}

/// Sends packets at a rate; gives how many, and in how many seconds.
pub(super) fn flood(order: &Flood) -> io::Result<(u64, f64)> {
    let any: SocketAddr = match order.to {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = udp(any)?;
    socket.connect(order.to)?;
    let payload = vec![0x5au8; order.size];
    Ok(at_rate((order.rate, order.millis), |_| {
        // A full buffer counts as sent and lost.
        let _ = socket.send(&payload);
    }))
}

/// The same with frames from many MACs.
pub(super) fn babble(socket: &PacketSocket, order: &Babble) -> (u64, f64) {
    let mut frame = vec![0u8; 60];
    if let Some((head, _)) = frame.split_first_chunk_mut::<14>() {
        head[..6].copy_from_slice(&order.to);
        head[12..].copy_from_slice(&[0x88, 0xb5]);
    }
    at_rate((order.rate, order.millis), |n| {
        // Spread as dice would, and no number twice in a turn.
        let voice = (n % order.voices.max(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let Some((_, source)) = frame.split_first_chunk_mut::<6>() {
            let [a, b, c, d, e, ..] = voice.to_be_bytes();
            source[..6].copy_from_slice(&[2, a, b, c, d, e]);
        }
        let _ = socket.send(&frame);
    })
}

/// Does something so many times a second for so many milliseconds (as often as possible for a rate of 0); gives how often,
/// and in how many seconds.
fn at_rate((rate, millis): (u64, u64), mut send: impl FnMut(u64)) -> (u64, f64) {
    let began = Instant::now();
    let span = Duration::from_millis(millis);
    let mut sent = 0u64;
    loop {
        let elapsed = began.elapsed();
        if elapsed >= span {
            return (sent, elapsed.as_secs_f64());
        }
        let due = match rate {
            0 => sent + 64,
            rate => (elapsed.as_secs_f64() * rate as f64) as u64,
        };
        // A burst that was missed is not made up for: the sender did not get the CPU.
        for _ in 0..due.saturating_sub(sent).min(256) {
            send(sent);
            sent += 1;
        }
        if rate != 0 && due.saturating_sub(sent) == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}
