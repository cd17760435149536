//! UDP sockets for everything, with trains in (UDP_GRO, by quinn-udp) and out (UDP_SEGMENT).
//!
//! # Why
//! quinn-udp opens and receives. Sending is done here, because quinn-udp takes every EINVAL for a device without trains and
//! never tries one again: a source address that the host has lost, or a route whose MTU has shrunk, gives the same error.
//!
//! How the sockets of one member share a port: [`super::lanes`].

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use std::sync::atomic::{AtomicU32, Ordering};

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What the kernel may queue for us, in bytes; it grants what its limits allow.
const RECEIVE_BUFFER: usize = 4 << 20;
const SEND_BUFFER: usize = 4 << 20;
/// How many trains one receive call takes.
const BATCH: usize = 4;
/// The longest train, in bytes.
const TRAIN: usize = 65_536;
/// The most datagrams of a train that every kernel with trains takes.
const MAX_TRAIN: usize = 64;
/// After a device has refused trains so many are sent one by one before it is asked again.
const SINGLES: u32 = 10_000;

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
    /// The IPv4 TOS or IPv6 traffic class.
    pub traffic_class: u8,
    /// How many routers it may pass, where that is not for the kernel to say; IPv4 only.
    pub hops: Option<u8>,
}

/// A socket; any number of threads may send and receive.
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    is_v6: bool,
    /// Trains that are to be sent as single datagrams, because the device refused one.
    singles: AtomicU32,
}

impl UdpSocket {
    /// Binds a socket; `[::]` takes IPv4 too, and falls back to it on a host without IPv6.
    ///
    /// # Errors
    /// As the system says; `AddrInUse` when somebody has the port.
    pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
        match UdpSocket::bind_one(address, false) {
            Err(e)
                if e.raw_os_error() == Some(libc::EAFNOSUPPORT)
                    && address.ip() == Ipv6Addr::UNSPECIFIED =>
            {
                let v4 = SocketAddr::from(([0, 0, 0, 0], address.port()));
                UdpSocket::bind_one(v4, false)
            }
            other => other,
        }
    }

    /// Binds a socket that may share its port with others of the same user (SO_REUSEPORT).
    ///
    /// # Errors
    /// As the system says.
    pub(super) fn bind_shared(address: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind_one(address, true)
    }

    fn bind_one(address: SocketAddr, shares: bool) -> io::Result<UdpSocket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
        }
        socket.set_reuse_port(shares)?;
        // With privilege beyond the kernel's limits; without it they are cut, which is no reason to stop.
        if force_buffer(&socket, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER).is_err() {
            let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        }
        if force_buffer(&socket, libc::SO_SNDBUFFORCE, SEND_BUFFER).is_err() {
            let _ = socket.set_send_buffer_size(SEND_BUFFER);
        }
        socket.bind(&address.into())?;
        let socket: std::net::UdpSocket = socket.into();
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(UdpSocket {
            singles: AtomicU32::new(if state.max_gso_segments() > 1 {
                0
            } else {
                u32::MAX
            }),
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
        match self.singles.load(Ordering::Relaxed) {
            0 => MAX_TRAIN,
            _ => 1,
        }
    }

    /// Whether trains can be received.
    pub fn receives_trains(&self) -> bool {
        self.state.gro_segments() > 1
    }

    /// Notes that the kernel has refused a train whose datagrams it took one by one.
    pub fn note_refusal(&self) {
        let _ = self
            .singles
            .compare_exchange(0, SINGLES, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sends one train.
    ///
    /// A source address that the host has lost is left out and the train sent again.
    ///
    /// # Errors
    /// As the system says.
    pub fn send(&self, sending: &Sending<'_>) -> io::Result<()> {
        let left = self.singles.load(Ordering::Relaxed);
        if left != 0 && left != u32::MAX {
            self.singles.store(left - 1, Ordering::Relaxed);
        }
        match self.send_once(sending, sending.from) {
            Err(e) if sending.from.is_some() && may_be_a_lost_source(&e) => {
                self.send_once(sending, None)
            }
            other => other,
        }
    }

    fn send_once(&self, sending: &Sending<'_>, from: Option<IpAddr>) -> io::Result<()> {
        let to = SockAddr::from(self.reachable(sending.to));
        let mut part = libc::iovec {
            iov_base: sending.bytes.as_ptr().cast_mut().cast(),
            iov_len: sending.bytes.len(),
        };
        let mut control = Control([0; 128]);
        // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control.0) as _;
        let len = control_messages(&mut message, sending, from);
        message.msg_controllen = len as _;
        if len == 0 {
            message.msg_control = std::ptr::null_mut();
        }
        loop {
            // SAFETY: name, iovec, its buffer and the control messages live until the call has ended, with the lengths
            // given; the call writes to none of them.
            let sent = unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const message, 0) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
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

    /// How full the queue of what has come is, in percent; the kernel counts up to a quarter as filled that was read already.
    ///
    /// # Errors
    /// As the system says.
    pub fn fill(&self) -> io::Result<u32> {
        // SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_RCVBUF of linux/sock_diag.h come first.
        let mut info = [0_u32; 9];
        let mut len = size_of_val(&info) as libc::socklen_t;
        // SAFETY: both pointers are to live locals, and `len` is the size of the one that is written.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let [used, limit, ..] = info.map(u64::from);
        Ok(u32::try_from(used * 100 / limit.max(1)).unwrap_or(u32::MAX))
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

/// Room for control messages, aligned as they want it.
#[repr(align(8))]
struct Control([u8; 128]);

/// Writes the control messages of a train into the message's control buffer; gives their length.
fn control_messages(
    message: &mut libc::msghdr,
    sending: &Sending<'_>,
    from: Option<IpAddr>,
) -> usize {
    let mut len = 0;
    if sending.bytes.len() > sending.size {
        let size = u16::try_from(sending.size).unwrap_or(u16::MAX);
        len += put_control(message, len, (libc::SOL_UDP, libc::UDP_SEGMENT), &size);
    }
    if sending.traffic_class != 0 {
        let kind = match sending.to.ip().to_canonical() {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        len += put_control(
            message,
            len,
            kind,
            &libc::c_int::from(sending.traffic_class),
        );
    }
    if let (Some(hops), IpAddr::V4(_)) = (sending.hops, sending.to.ip().to_canonical()) {
        let kind = (libc::IPPROTO_IP, libc::IP_TTL);
        len += put_control(message, len, kind, &libc::c_int::from(hops));
    }
    match from {
        Some(IpAddr::V4(ip)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(ip.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            len += put_control(message, len, (libc::IPPROTO_IP, libc::IP_PKTINFO), &info);
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo {
                ipi6_ifindex: 0,
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
            };
            len += put_control(
                message,
                len,
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
                &info,
            );
        }
        None => {}
    }
    len
}

/// Writes one control message at an offset of the control buffer; gives its length with padding.
fn put_control<T: Copy>(
    message: &mut libc::msghdr,
    at: usize,
    (level, kind): (libc::c_int, libc::c_int),
    value: &T,
) -> usize {
    let size = size_of::<T>() as libc::c_uint;
    // SAFETY: CMSG_SPACE and CMSG_LEN only calculate.
    let (space, len) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
    if at + space as usize > size_of::<Control>() {
        return 0;
    }
    // SAFETY: the control buffer is a live Control of which `space` bytes from `at` are free, `at` is a sum of CMSG_SPACEs
    // and so aligned, and the value is written unaligned within CMSG_LEN bytes.
    unsafe {
        let header = message
            .msg_control
            .cast::<u8>()
            .add(at)
            .cast::<libc::cmsghdr>();
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = len as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(*value);
    }
    space as usize
}

fn force_buffer(socket: &Socket, option: libc::c_int, bytes: usize) -> io::Result<()> {
    let value = bytes as libc::c_int;
    set_option(socket.as_raw_fd(), (libc::SOL_SOCKET, option), &value)
}

/// Sets an option whose value is plain data.
pub(super) fn set_option<T: Copy>(
    fd: std::os::fd::RawFd,
    (level, name): (libc::c_int, libc::c_int),
    value: &T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to a live value whose size is given, which the call only reads.
    let result = unsafe { libc::setsockopt(fd, level, name, (value as *const T).cast(), len) };
    match result < 0 {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
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
    /// Whether there was no room for more, so that there may be more.
    pub fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// Who sent how many bytes, train by train.
    pub fn lengths(&self) -> impl Iterator<Item = (SocketAddr, usize)> {
        let taken = self.meta.iter().take(self.count);
        taken.map(|meta| (meta.addr, meta.len))
    }

    /// Calls `each` with every datagram: the sender's address, the address that it was sent to, and the bytes.
    pub fn for_each(&mut self, mut each: impl FnMut(SocketAddr, Option<IpAddr>, &mut [u8])) {
        self.for_each_train(|from, to, size, train| {
            train.chunks_mut(size).for_each(|d| each(from, to, d));
        });
    }

    /// Calls `each` with every train: the sender's address, the address that it was sent to, the size of each of its
    /// datagrams but the last, and the bytes.
    pub fn for_each_train(
        &mut self,
        mut each: impl FnMut(SocketAddr, Option<IpAddr>, usize, &mut [u8]),
    ) {
        let trains = self.bytes.chunks_exact_mut(TRAIN).zip(&self.meta);
        for (buffer, meta) in trains.take(self.count) {
            let Some(train) = buffer.get_mut(..meta.len) else {
                continue;
            };
            each(meta.addr, meta.dst_ip, meta.stride.max(1), train);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    fn sending<'a>(to: SocketAddr, bytes: &'a [u8], size: usize) -> Sending<'a> {
        Sending {
            to,
            from: None,
            bytes,
            size,
            traffic_class: 0,
            hops: None,
        }
    }

    fn receive(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut received = Received::default();
        let mut all = Vec::new();
        for _ in 0..100 {
            if socket.receive(&mut received).is_ok() {
                received.for_each(|_, _, d| all.push(d.to_vec()));
            } else if all.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        all
    }

    #[test]
    fn refused_trains_are_tried_again_after_a_while() {
        let socket = UdpSocket::bind(local()).unwrap();
        let to = socket.local_address().unwrap();
        if socket.max_train() == 1 {
            return;
        }
        socket.note_refusal();
        assert_eq!(socket.max_train(), 1);
        for _ in 0..SINGLES {
            let _ = socket.send(&sending(to, &[1], 1));
        }
        assert_eq!(socket.max_train(), MAX_TRAIN);
    }

    #[test]
    fn a_lost_source_address_does_not_cost_the_trains() {
        let socket = UdpSocket::bind(local()).unwrap();
        let lost = Sending {
            from: Some(std::net::Ipv4Addr::new(203, 0, 113, 9).into()),
            ..sending(socket.local_address().unwrap(), &[7; 64], 32)
        };
        socket.send(&lost).unwrap();
        assert_eq!(receive(&socket).len(), 2);
        assert!(socket.max_train() > 1);
    }
}
