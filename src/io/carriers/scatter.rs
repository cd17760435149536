//! Many ports towards one address, of which one is found by who asks from there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::leg::Near;
use super::{Binding, Leg};
use crate::carrier::Carrier;
use crate::io::udp::set_option;

/// So many ports: a thousand questions at ports drawn by dice find one of them in 98 of 100 cases.
const PORTS: usize = 256;
/// How long they stay open: NATs forget a port that nothing came to after 30 s.
const OPEN_FOR: Duration = Duration::from_secs(12);
/// The longest datagram, in bytes. What is longer than the way takes is lost, as [`crate::mesh::mtu`] expects: the sockets cut
/// nothing, and believe nobody who says what would fit.
const ROOM: usize = 1472;
/// What is waited after an error that somebody's router may send.
const BREATH: Duration = Duration::from_millis(10);
/// How long the member has to take the leg before it hears what came first.
const TAKEN_WITHIN: Duration = Duration::from_millis(30);

/// A port that was found, before anything of it was handed on.
pub struct Found {
    leg: Option<Leg>,
    near: Near,
    socket: UdpSocket,
    first: Vec<u8>,
}

/// Opens many ports towards an address by a datagram, and waits until something comes back to one of them.
///
/// # Errors
/// As the system says; `TimedOut` when nothing came.
pub async fn open(to: SocketAddr, datagram: &[u8], member: SocketAddr) -> io::Result<Found> {
    let mut waiting = JoinSet::new();
    for _ in 0..PORTS {
        // A port that cannot be opened is one less, and so are those after it.
        match port_to(to).await {
            Ok(socket) => {
                let _ = socket.send(datagram).await;
                waiting.spawn(first(socket));
            }
            Err(error) if waiting.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    let any = async {
        loop {
            match waiting.join_next().await {
                Some(Ok(found)) => return Some(found),
                Some(_) => {}
                None => return None,
            }
        }
    };
    let found = tokio::time::timeout(OPEN_FOR, any).await.ok().flatten();
    let (socket, first) = found.ok_or(io::ErrorKind::TimedOut)?;
    let (leg, near) = Leg::open((Carrier::Port, to), Binding::default(), ROOM, member)?;
    Ok(Found {
        leg: Some(leg),
        near,
        socket,
        first,
    })
}

async fn port_to(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let option = (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
    set_option(socket.as_raw_fd(), option, &libc::IP_PMTUDISC_PROBE)?;
    socket.connect(to).await?;
    Ok(socket)
}

/// Waits for the first datagram.
async fn first(socket: UdpSocket) -> (UdpSocket, Vec<u8>) {
    let mut bytes = vec![0; 2048];
    let len = receive(&socket, &mut bytes).await;
    bytes.truncate(len);
    (socket, bytes)
}

/// The next datagram. Errors are what somebody on the way says of others: they end nothing.
async fn receive(socket: &UdpSocket, into: &mut [u8]) -> usize {
    loop {
        match socket.recv(into).await {
            Ok(len) => return len,
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}

impl Found {
    /// The leg for the member, once.
    pub fn leg(&mut self) -> Option<Leg> {
        self.leg.take()
    }

    /// Carries until the leg is dropped.
    pub async fn carry(self) {
        let Found {
            near,
            socket,
            first,
            ..
        } = self;
        tokio::time::sleep(TAKEN_WITHIN).await;
        let _ = near.socket.send(&first).await;
        tokio::select! {
            () = pass(&near.socket, &socket) => {}
            () = pass(&socket, &near.socket) => {}
            () = near.is_dropped() => {}
        }
    }
}

/// Hands on what comes, in its order.
async fn pass(from: &UdpSocket, to: &UdpSocket) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let len = receive(from, &mut bytes).await;
        // What cannot go is lost, as on any wire.
        let _ = to.send(bytes.get(..len).unwrap_or_default()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_port_that_is_found_becomes_a_leg() {
        let words = |text: &str| text.as_bytes().to_vec();
        let member = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (at, to) = (member.local_addr().unwrap(), peer.local_addr().unwrap());
        let asking = async {
            let mut bytes = [0; 100];
            let mut ports = std::collections::HashSet::new();
            while ports.len() < PORTS {
                let (len, from) = peer.recv_from(&mut bytes).await.unwrap();
                assert_eq!(&bytes[..len], b"open");
                ports.insert(from);
            }
            let one = *ports.iter().nth(77).unwrap();
            peer.send_to(b"found", one).await.unwrap();
            one
        };
        let (found, one) = tokio::join!(open(to, b"open", at), asking);
        let mut found = found.unwrap();
        let leg = found.leg().unwrap();
        assert_eq!((leg.carrier, leg.remote), (Carrier::Port, to));
        let carrying = tokio::spawn(found.carry());
        let mut bytes = [0; 100];
        let (len, from) = member.recv_from(&mut bytes).await.unwrap();
        assert_eq!((bytes[..len].to_vec(), from), (words("found"), leg.address));
        member.send_to(b"answer", leg.address).await.unwrap();
        let (len, from) = peer.recv_from(&mut bytes).await.unwrap();
        assert_eq!((bytes[..len].to_vec(), from), (words("answer"), one));
        drop(leg);
        tokio::time::timeout(Duration::from_secs(5), carrying)
            .await
            .unwrap()
            .unwrap();
    }
}
