//! CARRIERS: connections that bring a member's datagrams through networks that let no UDP pass: QUIC, and TLS over TCP.
//!
//! # Why
//! A datagram of ours is the same on every carrier: what makes it safe is the session inside, and TLS proves nothing here.
//! So a connection is hidden behind a [`Leg`]: a UDP socket on the loopback interface that speaks to the member's own port.
//! What the member sends to the leg's address goes through the connection, what comes out of that is sent to the member.
//! Workers, paths and limits know nothing but an address, trains work up to the leg, and a member that has no carriers
//! pays nothing. The price is one more hop through the kernel, on ways that are the last resort.
//!
//! A leg's address is one of 127.0.0.0/8 that is made from the other end's network (a /32 or a /64), so that limits by
//! address count those behind a carrier as they would count them on UDP. Its socket is connected: the kernel lets nobody but
//! the member speak to it.
//!
//! TLS 1.3 runs with raw public keys (RFC 7250) that are drawn at the start and trusted by nobody; both ends tell each other
//! inside the session what the exporter of their connection gives (RFC 8446 section 7.5), so that one in the middle of the
//! carrier is found out.

mod guests;
mod identity;
mod leg;
mod quic;
pub mod scatter;
mod tls;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::carrier::Carrier;
pub use leg::{Binding, Leg};
use quic::QuicPort;
use tls::TlsPort;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(8);
/// What QUIC and TLS call this protocol among themselves (ALPN, RFC 7301).
const PROTOCOL: &[u8] = b"l2vpn/1";
/// Connections that others may have with us.
const MOST_CONNECTIONS: usize = 1024;
/// The same of one network (a /32 or a /64).
const MOST_OF_ONE: usize = 16;

/// Calls others and takes their calls; belongs to one thread with a runtime.
pub struct Exchange {
    quic: QuicPort,
    tls: TlsPort,
    member: SocketAddr,
}

impl Exchange {
    /// Opens what is listened on; `member` is where the member's own UDP port can be reached on this host.
    ///
    /// # Errors
    /// As the system says, with the carrier that it says it of.
    pub async fn open(
        listening: &[(Carrier, SocketAddr)],
        member: SocketAddr,
    ) -> Result<Exchange, (Carrier, io::Error)> {
        let at = |carrier| {
            listening
                .iter()
                .find(|(c, _)| *c == carrier)
                .map(|(_, at)| *at)
        };
        let identity = identity::Identity::draw().map_err(|e| (Carrier::Tls, e))?;
        let quic = QuicPort::open(at(Carrier::Quic), &identity).map_err(|e| (Carrier::Quic, e))?;
        let tls = TlsPort::open(at(Carrier::Tls), &identity).map_err(|e| (Carrier::Tls, e))?;
        Ok(Exchange { quic, tls, member })
    }

    /// Calls somebody; gives a leg to it.
    ///
    /// # Errors
    /// As the network says; `TimedOut` when nobody answers.
    pub async fn call(&self, carrier: Carrier, to: SocketAddr) -> io::Result<Leg> {
        let call = async {
            match carrier {
                Carrier::Quic => self.quic.call(to, self.member).await,
                Carrier::Tls => self.tls.call(to, self.member).await,
                // Nobody can be called there: see `scatter`.
                Carrier::Port => Err(io::ErrorKind::Unsupported.into()),
            }
        };
        let called = tokio::time::timeout(CONNECT_WITHIN, call).await;
        called.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends all connections, and tells the other ends.
    pub async fn close(&self) {
        self.quic.close().await;
    }

    /// Takes calls, and gives each as a leg to `taken`; ends when nothing is listened on.
    pub async fn answer(&self, taken: impl Fn(Leg)) {
        tokio::join!(
            self.quic.answer(self.member, &taken),
            self.tls.answer(self.member, &taken)
        );
    }
}

/// Binds a socket that waits for nothing; where there is no IPv6, all of its addresses mean all of IPv4.
fn bound(address: SocketAddr, kind: (Type, Protocol)) -> io::Result<Socket> {
    match bound_at(address, kind) {
        Err(e)
            if e.raw_os_error() == Some(libc::EAFNOSUPPORT)
                && address.ip() == Ipv6Addr::UNSPECIFIED =>
        {
            bound_at((Ipv4Addr::UNSPECIFIED, address.port()).into(), kind)
        }
        other => other,
    }
}

fn bound_at(address: SocketAddr, (kind, protocol): (Type, Protocol)) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A listener that ended a moment ago keeps its port from nobody; of UDP that would share it.
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn tls_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
