//! One UDP socket for everything, with trains (UDP_SEGMENT) out and in (UDP_GRO) by quinn-udp.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel may queue for us, in bytes; it grants what its limits allow.
const RECEIVE_BUFFER: usize = 4 << 20;
const SEND_BUFFER: usize = 4 << 20;
/// How many trains one receive call takes.
const BATCH: usize = 4;
/// The longest train, in bytes.
const TRAIN: usize = 65_536;

/// Datagrams for one destination in one buffer, all of `size` bytes but the last.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// From which of our addresses.
    pub from: Option<IpAddr>,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// The size of each but the last.
    pub size: usize,
}

/// The socket; any number of threads may send and receive.
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    is_v6: bool,
}

impl UdpSocket {
    /// Binds to an address; `[::]` takes IPv4 too, and falls back to it on a host without IPv6.
    ///
    /// # Errors
    /// As the system says; `AddrInUse` when somebody has the port.
    pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
        match UdpSocket::bind_one(address) {
            Err(e)
                if e.raw_os_error() == Some(libc::EAFNOSUPPORT)
                    && address.ip() == Ipv6Addr::UNSPECIFIED =>
            {
                UdpSocket::bind_one(SocketAddr::from(([0, 0, 0, 0], address.port())))
            }
            other => other,
        }
    }

    fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
        }
        // Without privilege the kernel cuts these to its limits, which is no reason to stop.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        socket.bind(&address.into())?;
        let socket: std::net::UdpSocket = socket.into();
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(UdpSocket {
            socket,
            state,
            is_v6: address.is_ipv6(),
        })
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// How many datagrams one send may take; 1 where the kernel or the device refuses trains.
    pub fn max_train(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends one train.
    ///
    /// A source address that the host has lost is left out and the train sent again.
    ///
    /// # Errors
    /// As the system says.
    pub fn send(&self, sending: &Sending<'_>) -> io::Result<()> {
        match self.send_once(sending, sending.from) {
            Err(e) if sending.from.is_some() && may_be_a_lost_source(&e) => {
                self.send_once(sending, None)
            }
            other => other,
        }
    }

    fn send_once(&self, sending: &Sending<'_>, from: Option<IpAddr>) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.reachable(sending.to),
            ecn: None,
            contents: sending.bytes,
            segment_size: (sending.bytes.len() > sending.size).then_some(sending.size),
            src_ip: from,
        };
        self.state
            .try_send(UdpSockRef::from(&self.socket), &transmit)
    }

    /// An address in the form that this socket's family takes.
    fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.is_v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            other => other,
        }
    }

    /// Receives what is there, at most [`Received::default`]'s room.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing.
    pub fn receive(&self, into: &mut Received) -> io::Result<()> {
        into.count = 0;
        let mut rooms = into.bytes.chunks_exact_mut(TRAIN);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
        into.count =
            self.state
                .recv(UdpSockRef::from(&self.socket), &mut slices, &mut into.meta)?;
        Ok(())
    }

    /// What the kernel takes for the MTU of the route to an address, in bytes of an IP packet.
    ///
    /// # Errors
    /// When there is no route.
    pub fn route_mtu(to: SocketAddr) -> io::Result<u16> {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        socket.connect(&to.into())?;
        let (level, name) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
        };
        let mut mtu: libc::c_int = 0;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: both pointers are to live locals, and `len` is the size of the one that is written.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                level,
                name,
                (&raw mut mtu).cast(),
                &raw mut len,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
    }
}

/// What the kernel says when the source address that was asked for is not its own (any more).
fn may_be_a_lost_source(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL)
    )
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for received trains: 256 KiB.
pub struct Received {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH],
    count: usize,
}

impl Default for Received {
    fn default() -> Self {
        Received {
            bytes: vec![0; TRAIN * BATCH],
            meta: [RecvMeta::default(); BATCH],
            count: 0,
        }
    }
}

impl Received {
    /// Calls `each` with every datagram: the sender's address, the address that it was sent to, and the bytes.
    pub fn for_each(&mut self, mut each: impl FnMut(SocketAddr, Option<IpAddr>, &mut [u8])) {
        let trains = self.bytes.chunks_exact_mut(TRAIN).zip(&self.meta);
        for (buffer, meta) in trains.take(self.count) {
            let Some(train) = buffer.get_mut(..meta.len) else {
                continue;
            };
            for datagram in train.chunks_mut(meta.stride.max(1)) {
                each(meta.addr, meta.dst_ip, datagram);
            }
        }
    }
}
