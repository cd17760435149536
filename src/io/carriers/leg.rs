//! One connection as the member sees it: an address on the loopback interface.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::carrier::Carrier;

/// What both ends of one connection know and nobody else.
pub type Binding = [u8; 16];

/// A connection and where the member reaches it; it ends when this is dropped.
#[derive(Debug)]
pub struct Leg {
    /// Where the member sends what shall go through it.
    pub address: SocketAddr,
    /// What carries.
    pub carrier: Carrier,
    /// The other end.
    pub remote: SocketAddr,
    /// What both ends of the connection know.
    pub binding: Binding,
    shared: Arc<Shared>,
}

/// What a leg and the task that carries for it share.
#[derive(Debug)]
struct Shared {
    /// The largest packet to the leg, in bytes of an IP packet.
    mtu: AtomicU16,
    /// Whether one of both has ended.
    ended: watch::Sender<bool>,
}

/// A leg's end at the task that carries.
pub(super) struct Near {
    pub(super) socket: UdpSocket,
    shared: Arc<Shared>,
}

/// IPv4 and UDP headers on the loopback interface.
const HEADERS: u16 = 28;
const HEADERS_V6: u16 = 48;

impl Leg {
    /// Opens a leg to the member's own port for a connection whose datagrams may have so many bytes.
    pub(super) fn open(
        (carrier, remote): (Carrier, SocketAddr),
        binding: Binding,
        room: usize,
        member: SocketAddr,
    ) -> io::Result<(Leg, Near)> {
        let socket = std::net::UdpSocket::bind((own_address(remote, member), 0))?;
        socket.connect(member)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let socket = UdpSocket::from_std(socket)?;
        let shared = Arc::new(Shared {
            mtu: AtomicU16::new(0),
            ended: watch::Sender::new(false),
        });
        let near = Near {
            socket,
            shared: shared.clone(),
        };
        near.set_room(room);
        let leg = Leg {
            address,
            carrier,
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            binding,
            shared,
        };
        Ok((leg, near))
    }

    /// The largest packet to it, in bytes of an IP packet, as it would be with UDP.
    pub fn mtu(&self) -> u16 {
        self.shared.mtu.load(Ordering::Relaxed)
    }

    /// Waits until the connection has ended; the leg may be dropped meanwhile.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.shared.ended.subscribe();
        async move {
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.shared.ended.send_replace(true);
    }
}

impl Near {
    /// The connection takes datagrams of so many bytes now.
    pub(super) fn set_room(&self, room: usize) {
        let headers = match self.socket.local_addr() {
            Ok(SocketAddr::V6(_)) => HEADERS_V6,
            _ => HEADERS,
        };
        let mtu = u16::try_from(room).unwrap_or(u16::MAX);
        let mtu = mtu.saturating_add(headers);
        self.shared.mtu.store(mtu, Ordering::Relaxed);
    }

    /// Waits until the leg is not wanted any more.
    pub(super) async fn is_dropped(&self) {
        let mut ended = self.shared.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.shared.ended.send_replace(true);
    }
}

/// The network that limits count: an IPv4 address, or the first half of an IPv6 one.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let prefix = u128::from(ip) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
    }
}

/// An address of ours that stands for the other end's network. Two networks may have the same one: then they share a limit.
fn own_address(remote: SocketAddr, member: SocketAddr) -> IpAddr {
    if member.is_ipv6() {
        return Ipv6Addr::LOCALHOST.into();
    }
    // Drawn at the start, so that nobody can find a network that shares another's address.
    static KEY: OnceLock<RandomState> = OnceLock::new();
    let key = KEY.get_or_init(RandomState::new);
    let [a, b, c, ..] = key.hash_one(network(remote.ip())).to_le_bytes();
    // 127.0.0.0 to 127.0.0.255 are for people.
    Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_addresses_of_their_own_on_the_loopback() {
        let member = "127.0.0.1:7656".parse().unwrap();
        let of = |text: &str| own_address(text.parse().unwrap(), member);
        assert_eq!(of("192.0.2.1:1"), of("192.0.2.1:2"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
        assert_eq!(of("192.0.2.1:1"), of("[::ffff:192.0.2.1]:1"));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::2]:1"));
        assert!(of("192.0.2.1:1").is_loopback());
        let v6 = "[::1]:7656".parse().unwrap();
        assert_eq!(
            own_address(member, v6),
            "::1".parse::<IpAddr>().unwrap(),
            "a member that has no IPv4"
        );
    }
}
