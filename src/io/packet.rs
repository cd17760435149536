//! Raw Ethernet frames on an interface of the host, as a host's own program would see them: for the laboratory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// All protocols, in network byte order.
const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// A packet socket bound to one interface.
pub struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// Opens one on the interface with this index; it sees every frame in and out.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when there is no such interface.
    pub fn open(interface: u32) -> io::Result<PacketSocket> {
        let socket = Socket::new(
            Domain::PACKET,
            Type::RAW,
            Some(Protocol::from(i32::from(ALL))),
        )?;
        socket.set_nonblocking(true)?;
        let on: libc::c_int = 1;
        // SAFETY: the option reads one int through the pointer, whose size is given.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_AUXDATA,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        socket.bind(&address(interface))?;
        Ok(PacketSocket { socket })
    }

    /// Sends a frame as it stands.
    ///
    /// # Errors
    /// As the system says.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(|_| ())
    }

    /// Receives a frame, with the outermost tag that the kernel had taken off put back.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn receive(&self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0u8; 65_600];
        let mut control = [0u64; 16];
        let mut part = libc::iovec {
            iov_base: frame.as_mut_ptr().cast(),
            iov_len: frame.len(),
        };
        // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: the message points to a live iovec, whose buffer is live and of the given length, and to a live,
        // aligned control buffer of the given length.
        let len = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        frame.truncate(len);
        if let Some((tpid, tci)) = stripped_tag(&message)
            && frame.len() >= 12
        {
            let [a, b] = tpid.to_be_bytes();
            let [c, d] = tci.to_be_bytes();
            frame.splice(12..12, [a, b, c, d]);
        }
        Ok(frame)
    }
}

/// The tag that the kernel moved from the frame into ancillary data.
fn stripped_tag(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: `message` was filled by recvmsg and its control buffer is alive; the CMSG functions stay within the length
    // that the kernel wrote, and the payload of PACKET_AUXDATA is a tpacket_auxdata.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(this) = header.as_ref() {
            if this.cmsg_level == libc::SOL_PACKET && this.cmsg_type == libc::PACKET_AUXDATA {
                let data = libc::CMSG_DATA(this).cast::<libc::tpacket_auxdata>();
                let data = data.read_unaligned();
                if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    let has_tpid = data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
                    let tpid = if has_tpid { data.tp_vlan_tpid } else { 0x8100 };
                    return Some((tpid, data.tp_vlan_tci));
                }
            }
            header = libc::CMSG_NXTHDR(message, this);
        }
    }
    None
}

fn address(interface: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is smaller than sockaddr_storage, valid for any bytes, and is what the length says.
    unsafe {
        let place = storage.view_as::<libc::sockaddr_ll>();
        place.sll_family = libc::AF_PACKET as u16;
        place.sll_protocol = ALL;
        place.sll_ifindex = interface as i32;
        SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
