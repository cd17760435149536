//! The sockets of beacons: a group of the link on each interface, IPv4 and IPv6.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// The port of beacons; far from 7656, where second members of a host like to be.
pub const PORT: u16 = 17_656;
/// A group of the organization-local scope (RFC 2365 section 6.2), never sent further than the link.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 76, 56);
/// A transient group of the link (RFC 4291 section 2.7).
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x7656, 1);

/// An address of ours and its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// The interface's number.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
}

/// Receives beacons, and sends them from each address.
pub struct BeaconSocket {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    near: Vec<Near>,
}

impl BeaconSocket {
    /// Opens what this host has; other members on it may do the same.
    ///
    /// # Errors
    /// As the system says, when there is neither IPv4 nor IPv6.
    pub fn open() -> io::Result<BeaconSocket> {
        // Bound to the group: what is sent to this host alone is no beacon.
        let v4 = receiver((GROUP_V4, PORT).into());
        let v6 = receiver((Ipv6Addr::UNSPECIFIED, PORT).into());
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(BeaconSocket {
                v4: v4.ok(),
                v6: v6.ok(),
                near: Vec::new(),
            }),
        }
    }

    /// Listens on the interfaces of these addresses, and on no others.
    pub fn set_near(&mut self, near: Vec<Near>) {
        let is_same = |a: &Near, b: &Near| {
            a.interface == b.interface && a.address.is_ipv4() == b.address.is_ipv4()
        };
        for gone in self
            .near
            .iter()
            .filter(|n| !near.iter().any(|o| is_same(n, o)))
        {
            let _ = self.membership(gone, false);
        }
        for new in near
            .iter()
            .filter(|n| !self.near.iter().any(|o| is_same(n, o)))
        {
            // A second address of an interface is a member already; an interface that is down has no group.
            let _ = self.membership(new, true);
        }
        self.near = near;
    }

    fn membership(&self, near: &Near, joins: bool) -> io::Result<()> {
        match (near.address, &self.v4, &self.v6) {
            (IpAddr::V4(_), Some(socket), _) => {
                let socket = socket2::SockRef::from(socket);
                let index = socket2::InterfaceIndexOrAddress::Index(near.interface);
                match joins {
                    true => socket.join_multicast_v4_n(&GROUP_V4, &index),
                    false => socket.leave_multicast_v4_n(&GROUP_V4, &index),
                }
            }
            (IpAddr::V6(_), _, Some(socket)) => match joins {
                true => socket.join_multicast_v6(&GROUP_V6, near.interface),
                false => socket.leave_multicast_v6(&GROUP_V6, near.interface),
            },
            _ => Ok(()),
        }
    }

    fn is_near(&self, from: SocketAddr) -> bool {
        match from.ip() {
            IpAddr::V4(_) => true,
            IpAddr::V6(ip) => self.near.iter().any(|near| match near.address {
                IpAddr::V6(own) => prefix(own) == prefix(ip),
                IpAddr::V4(_) => false,
            }),
        }
    }

    /// Sends a beacon from each address; gives how many left.
    pub fn send(&self, bytes: &[u8]) -> usize {
        let sent = self.near.iter().filter(|near| send(near, bytes).is_ok());
        sent.count()
    }

    /// The next beacon, and where it came from.
    pub async fn receive(&self, into: &mut [u8]) -> (usize, SocketAddr) {
        let (mut one, mut other) = (vec![0; into.len()], vec![0; into.len()]);
        let (received, bytes) = tokio::select! {
            received = next(self.v4.as_ref(), &mut one) => (received, &one),
            received = next(self.v6.as_ref(), &mut other) => (received, &other),
        };
        let (len, from) = received;
        // IPv6 takes the group's address with an interface only: there the sender has to be of a network of ours.
        let len = match self.is_near(from) {
            true => len.min(into.len()),
            false => 0,
        };
        if let (Some(to), Some(bytes)) = (into.get_mut(..len), bytes.get(..len)) {
            to.copy_from_slice(bytes);
        }
        (len, from)
    }
}

/// The network of an IPv6 address.
fn prefix(ip: Ipv6Addr) -> u128 {
    u128::from(ip) >> 64
}

async fn next(socket: Option<&UdpSocket>, into: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket {
            None => std::future::pending::<()>().await,
            Some(socket) => match socket.recv_from(into).await {
                Ok(received) => return received,
                Err(_) => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
            },
        }
    }
}

fn receiver(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address)?;
    socket.set_reuse_address(true)?;
    match address {
        // What no membership of ours brings is not for us.
        SocketAddr::V4(_) => socket.set_multicast_all_v4(false)?,
        SocketAddr::V6(_) => socket.set_multicast_all_v6(false)?,
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn send(near: &Near, bytes: &[u8]) -> io::Result<()> {
    let from = SocketAddr::new(near.address, 0);
    let socket = open(from)?;
    let group = match near.address {
        IpAddr::V4(ip) => {
            socket.set_multicast_if_v4(&ip)?;
            socket.set_multicast_ttl_v4(1)?;
            SocketAddr::from((GROUP_V4, PORT))
        }
        IpAddr::V6(_) => {
            socket.set_multicast_if_v6(near.interface)?;
            socket.set_multicast_hops_v6(1)?;
            SocketAddrV6::new(GROUP_V6, PORT, 0, near.interface).into()
        }
    };
    socket.bind(&from.into())?;
    socket.send_to(bytes, &group.into())?;
    Ok(())
}
