//! TLS over TCP: the last resort. Datagrams follow each other, each behind two bytes of length.
//!
//! # Why
//! TCP delays what comes after a loss, and a queue before it would delay everything for ever: so the queue is ours, short,
//! and loses its oldest first; the kernel is given no more than it can send soon.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{Protocol, SockRef, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::guests::{Guest, Guests};
use super::identity::Identity;
use super::leg::Near;
use super::{Binding, CONNECT_WITHIN, Leg, bound};
use crate::carrier::Carrier;
use crate::io::udp::set_option;
use crate::wire::stream;

/// Datagrams that wait for TCP, and their bytes.
const QUEUE: usize = 64;
const QUEUE_BYTES: usize = 256 << 10;
/// Bytes that the kernel may hold that are not sent yet.
const UNSENT: libc::c_int = 64 << 10;
/// The longest datagram; a long one costs TCP no more than a short one.
const ROOM: usize = 8972;
/// What is written at once.
const WRITE: usize = 32 << 10;
/// Datagrams that are read from the leg before TCP has its turn.
const TURN: usize = 16;
/// Unacknowledged data ends a connection after so many milliseconds (RFC 5482).
const USER_TIMEOUT: Duration = Duration::from_secs(8);
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Calls and takes calls by TLS.
pub(super) struct TlsPort {
    listener: Option<TcpListener>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl TlsPort {
    pub(super) fn open(listen: Option<SocketAddr>, identity: &Identity) -> io::Result<Self> {
        let listener = match listen {
            Some(address) => Some(listener(address)?),
            None => None,
        };
        Ok(TlsPort {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(identity.server.clone())),
            connector: TlsConnector::from(Arc::new(identity.client.clone())),
        })
    }

    pub(super) async fn call(&self, to: SocketAddr, member: SocketAddr) -> io::Result<Leg> {
        let stream = TcpStream::connect(to).await?;
        tune(&stream)?;
        let name = ServerName::IpAddress(to.ip().into());
        let stream = self.connector.connect(name, stream).await?;
        start(stream.into(), to, member)
    }

    pub(super) async fn answer(&self, member: SocketAddr, taken: &impl Fn(Leg)) {
        let Some(listener) = &self.listener else {
            return;
        };
        let guests = Guests::default();
        let mut greetings = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        if let Some(guest) = guests.admit(from.ip()) {
                            greetings.spawn(greet(self.acceptor.clone(), stream, from, guest));
                        }
                    }
                    // Out of descriptors, or a connection that ended before it began.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(greeted) = greetings.join_next() => {
                    let Ok(Some((stream, from, guest))) = greeted else {
                        continue;
                    };
                    let Ok(leg) = start(stream, from, member) else {
                        continue;
                    };
                    guest.stays_with(&leg);
                    taken(leg);
                }
            }
        }
    }
}

async fn greet(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    from: SocketAddr,
    guest: Guest,
) -> Option<(TlsStream<TcpStream>, SocketAddr, Guest)> {
    tune(&stream).ok()?;
    let greeting = tokio::time::timeout(CONNECT_WITHIN, acceptor.accept(stream));
    let stream = greeting.await.ok()?.ok()?;
    Some((stream.into(), from, guest))
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, (Type::STREAM, Protocol::TCP))?;
    socket.listen(256)?;
    TcpListener::from_std(socket.into())
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    let option = (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT);
    set_option(stream.as_raw_fd(), option, &UNSENT)
}

fn start(stream: TlsStream<TcpStream>, remote: SocketAddr, member: SocketAddr) -> io::Result<Leg> {
    let mut binding = Binding::default();
    let label = b"EXPORTER-l2vpn-carrier";
    let exported = match &stream {
        TlsStream::Client(s) => s
            .get_ref()
            .1
            .export_keying_material(&mut binding, label, None),
        TlsStream::Server(s) => s
            .get_ref()
            .1
            .export_keying_material(&mut binding, label, None),
    };
    exported.map_err(super::tls_error)?;
    let (leg, near) = Leg::open((Carrier::Tls, remote), binding, ROOM, member)?;
    tokio::spawn(carry(stream, near));
    Ok(leg)
}

/// Carries until one end has enough.
async fn carry(stream: TlsStream<TcpStream>, near: Near) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let queue = Queue::default();
    let ended = tokio::select! {
        ended = fill(&near, &queue) => ended,
        ended = empty(&queue, &mut writer) => ended,
        ended = deliver(&mut reader, &near) => ended,
        () = near.is_dropped() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!("a TLS carrier ended: {error}");
    }
    let _ = tokio::time::timeout(Duration::from_millis(100), writer.shutdown()).await;
}

/// What waits for TCP; the oldest goes when there is too much.
#[derive(Default)]
struct Queue {
    waiting: Mutex<(VecDeque<Vec<u8>>, usize)>,
    more: Notify,
}

impl Queue {
    fn push(&self, datagram: &[u8]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (queue, bytes) = &mut *waiting;
        while queue.len() >= QUEUE || *bytes + datagram.len() > QUEUE_BYTES {
            let Some(oldest) = queue.pop_front() else {
                break;
            };
            *bytes -= oldest.len();
        }
        *bytes += datagram.len();
        queue.push_back(datagram.to_vec());
        self.more.notify_one();
    }

    /// Moves what waits behind each other into `into`, up to about [`WRITE`] bytes.
    fn take(&self, into: &mut Vec<u8>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (queue, bytes) = &mut *waiting;
        while into.len() < WRITE
            && let Some(datagram) = queue.pop_front()
        {
            *bytes -= datagram.len();
            stream::put(into, &datagram);
        }
    }
}

async fn fill(near: &Near, queue: &Queue) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        near.socket.readable().await?;
        for _ in 0..TURN {
            match near.socket.try_recv(&mut buffer) {
                Ok(len) if len <= ROOM => queue.push(buffer.get(..len).unwrap_or_default()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // The member's port is closed for a moment, or has just been opened.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(e) => return Err(e),
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn empty(queue: &Queue, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(WRITE + ROOM);
    loop {
        buffer.clear();
        queue.take(&mut buffer);
        if buffer.is_empty() {
            queue.more.notified().await;
            continue;
        }
        writer.write_all(&buffer).await?;
        writer.flush().await?;
    }
}

async fn deliver(reader: &mut (impl AsyncRead + Unpin), near: &Near) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut filled = 0;
    loop {
        let place = buffer.get_mut(filled..).unwrap_or_default();
        match reader.read(place).await? {
            0 => return Ok(()),
            count => filled += count,
        }
        let used = deliver_whole(buffer.get(..filled).unwrap_or_default(), near).await?;
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Hands on the datagrams that are complete; gives how many bytes they were.
async fn deliver_whole(bytes: &[u8], near: &Near) -> io::Result<usize> {
    let mut rest = bytes;
    let too_long = |_| io::Error::other("a datagram is longer than any");
    while let Some((datagram, after)) = stream::take(rest, ROOM).map_err(too_long)? {
        match near.socket.send(datagram).await {
            Err(e) if e.kind() != io::ErrorKind::ConnectionRefused => return Err(e),
            _ => rest = after,
        }
    }
    Ok(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_its_oldest() {
        let queue = Queue::default();
        (0..QUEUE + 3).for_each(|n| queue.push(&[n as u8; 10]));
        let mut out = Vec::new();
        queue.take(&mut out);
        assert_eq!(&out[..3], [10, 0, 3]);
        assert_eq!(out.len(), QUEUE * 12);
        (0..60).for_each(|_| queue.push(&[1; ROOM]));
        assert!(queue.waiting.lock().unwrap().1 <= QUEUE_BYTES);
    }
}
