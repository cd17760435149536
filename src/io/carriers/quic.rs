//! QUIC datagrams: no head-of-line blocking, a short queue that loses its oldest, and no second congestion control.
//!
//! # Why
//! What goes through has congestion control of its own. Another one below would queue what it should lose, so the window here
//! is fixed; QUIC does not repeat a lost datagram, so the losses are those that the flows inside have to see.

use std::any::Any;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::congestion::{Controller, ControllerFactory};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig};
use quinn::{SendDatagramError, TokioRuntime, TransportConfig, VarInt};
use socket2::{Protocol, Type};

use super::guests::Guests;
use super::identity::Identity;
use super::leg::Near;
use super::{Binding, CONNECT_WITHIN, Leg, bound, tls_error};
use crate::carrier::Carrier;

/// Bytes that may be on their way.
const WINDOW: u64 = 4 << 20;
/// Bytes that wait to be sent; the oldest goes when there are more.
const SEND_QUEUE: usize = 128 << 10;
const RECEIVE_QUEUE: usize = 1 << 20;
/// The UDP payload that every IPv6 path carries; QUIC finds out itself what more there is.
const FIRST_MTU: u16 = 1232;
const IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How often the room in a datagram is looked at.
const ROOM_EVERY: Duration = Duration::from_secs(1);
/// How long the ends of connections are waited for.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Datagrams that are read from the leg before QUIC has its turn.
const TURN: usize = 32;

/// Calls and takes calls by QUIC.
pub(super) struct QuicPort {
    /// Takes calls.
    listener: Option<Endpoint>,
    /// Makes calls, to whatever family this host has.
    caller: Endpoint,
    is_v6: bool,
}

impl QuicPort {
    pub(super) fn open(listen: Option<SocketAddr>, identity: &Identity) -> io::Result<Self> {
        let server = QuicServerConfig::try_from(identity.server.clone()).map_err(tls_error)?;
        let client = QuicClientConfig::try_from(identity.client.clone()).map_err(tls_error)?;
        let transport = Arc::new(transport());
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(transport.clone());
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(transport);
        let open = |address, server| {
            let socket = bound(address, (Type::DGRAM, Protocol::UDP))?.into();
            let config = EndpointConfig::default();
            Endpoint::new(config, server, socket, Arc::new(TokioRuntime))
        };
        let listener = match listen {
            Some(address) => Some(open(address, Some(server))?),
            None => None,
        };
        let mut caller = open((Ipv6Addr::UNSPECIFIED, 0).into(), None)?;
        caller.set_default_client_config(client);
        Ok(QuicPort {
            is_v6: caller.local_addr()?.is_ipv6(),
            listener,
            caller,
        })
    }

    pub(super) async fn close(&self) {
        let both = self.listener.iter().chain([&self.caller]);
        for endpoint in both {
            endpoint.close(VarInt::from_u32(0), b"");
            let idle = endpoint.wait_idle();
            let _ = tokio::time::timeout(LAST_WORDS, idle).await;
        }
    }

    pub(super) async fn call(&self, to: SocketAddr, member: SocketAddr) -> io::Result<Leg> {
        let to = match to {
            SocketAddr::V4(v4) if self.is_v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            other => other,
        };
        // The name goes nowhere: it is not sent, and nothing is proven by it.
        let connecting = self.caller.connect(to, "l2vpn").map_err(tls_error)?;
        start(connecting.await?, member)
    }

    pub(super) async fn answer(&self, member: SocketAddr, taken: &impl Fn(Leg)) {
        let Some(listener) = &self.listener else {
            return;
        };
        let guests = Guests::default();
        let mut greetings = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                Some(incoming) = listener.accept() => {
                    // An address is proven first: the answer to that is no longer than the question.
                    if !incoming.remote_address_validated() {
                        let _ = incoming.retry();
                        continue;
                    }
                    match guests.admit(incoming.remote_address().ip()) {
                        Some(guest) => {
                            greetings.spawn(async move {
                                let greeting = async { incoming.await };
                                let greeted = tokio::time::timeout(CONNECT_WITHIN, greeting);
                                (greeted.await, guest)
                            });
                        }
                        None => incoming.ignore(),
                    }
                }
                Some(greeted) = greetings.join_next() => {
                    let Ok((Ok(Ok(connection)), guest)) = greeted else {
                        continue;
                    };
                    let Ok(leg) = start(connection, member) else {
                        continue;
                    };
                    guest.stays_with(&leg);
                    taken(leg);
                }
                else => return,
            }
        }
    }
}

fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(RECEIVE_QUEUE))
        .datagram_send_buffer_size(SEND_QUEUE)
        .initial_mtu(FIRST_MTU)
        .max_idle_timeout(IDLE.try_into().ok())
        .keep_alive_interval(Some(KEEPALIVE))
        .congestion_controller_factory(Arc::new(FixedWindow));
    config
}

fn start(connection: Connection, member: SocketAddr) -> io::Result<Leg> {
    let mut binding = Binding::default();
    let exported = connection.export_keying_material(&mut binding, b"EXPORTER-l2vpn-carrier", b"");
    exported.map_err(|_| io::Error::other("nothing can be exported"))?;
    let room = connection
        .max_datagram_size()
        .ok_or_else(|| io::Error::other("the other end takes no datagrams"))?;
    let remote = connection.remote_address();
    let (leg, near) = Leg::open((Carrier::Quic, remote), binding, room, member)?;
    tokio::spawn(carry(connection, near));
    Ok(leg)
}

/// Carries until one end has enough.
async fn carry(connection: Connection, near: Near) {
    let ended = tokio::select! {
        ended = send(&connection, &near) => ended,
        ended = deliver(&connection, &near) => ended,
        () = keep_room(&connection, &near) => Ok(()),
        () = near.is_dropped() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!("a QUIC carrier ended: {error}");
    }
    connection.close(VarInt::from_u32(0), b"");
}

async fn send(connection: &Connection, near: &Near) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        near.socket.readable().await?;
        for _ in 0..TURN {
            let len = match near.socket.try_recv(&mut buffer) {
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(e) => return Err(e),
            };
            let datagram = Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default());
            match connection.send_datagram(datagram) {
                // Sizes are searched for from the session inside: this one was too large.
                Ok(()) | Err(SendDatagramError::TooLarge) => {}
                Err(error) => return Err(tls_error(error)),
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn deliver(connection: &Connection, near: &Near) -> io::Result<()> {
    loop {
        let datagram = connection.read_datagram().await?;
        match near.socket.send(&datagram).await {
            Err(e) if e.kind() != io::ErrorKind::ConnectionRefused => return Err(e),
            _ => {}
        }
    }
}

async fn keep_room(connection: &Connection, near: &Near) {
    while let Some(room) = connection.max_datagram_size() {
        near.set_room(room);
        tokio::time::sleep(ROOM_EVERY).await;
    }
}

/// No congestion control, see above.
#[derive(Clone)]
struct FixedWindow;

impl ControllerFactory for FixedWindow {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
        Box::new(FixedWindow)
    }
}

impl Controller for FixedWindow {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(FixedWindow)
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
