//! The descriptors of a TAP, and the ioctls on them.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use tun_tap::Iface;

use crate::wire::ethernet::Parts;
use crate::wire::offload::{Offload, VIRTIO_LEN, VirtioHeader};

/// Checksums that are only begun.
pub(super) const TUN_F_CSUM: libc::c_uint = 1;
/// TCP super-frames: over IPv4, over IPv6, with ECN.
pub(super) const TUN_F_TSO: libc::c_uint = 2 | 4 | 8;
/// UDP super-frames over IPv4 and IPv6; since Linux 6.2.
pub(super) const TUN_F_USO: libc::c_uint = 32 | 64;

/// `_IOW('T', 202, int)`
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
/// `_IOW('T', 208, unsigned int)`
const TUNSETOFFLOAD: libc::Ioctl = 0x4004_54d0;
/// `_IOW('T', 216, int)`
const TUNSETVNETHDRSZ: libc::Ioctl = 0x4004_54d8;
/// `_IOW('T', 226, int)`
const TUNSETCARRIER: libc::Ioctl = 0x4004_54e2;

/// One queue of a TAP: what is read and written.
pub(super) enum Queue {
    /// One frame for each call, without a header, by tun-tap.
    Plain(Iface),
    /// A virtio header before each frame.
    Fast(OwnedFd),
}

impl Queue {
    /// Opens a queue with virtio headers of the device of this name.
    pub(super) fn open_fast(name: &str, many: bool) -> io::Result<Queue> {
        // SAFETY: the path is a terminated string; a non-negative result is a new descriptor that nobody else owns.
        let fd = unsafe {
            libc::open(
                c"/dev/net/tun".as_ptr(),
                libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an all-zero ifreq is valid: a name of NULs and a union of integers and pointers that is not read.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let many = if many { libc::IFF_MULTI_QUEUE } else { 0 };
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | many;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq through the pointer, which is valid for the call.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
        // A persistent device may have kept another length.
        let len = VIRTIO_LEN as libc::c_int;
        // SAFETY: TUNSETVNETHDRSZ reads one int through the pointer, which is valid for the call.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ, &raw const len) })?;
        Ok(Queue::Fast(fd))
    }

    /// Says what this end takes; the setting belongs to the whole device.
    pub(super) fn set_offload(&self, bits: libc::c_uint) -> io::Result<()> {
        // SAFETY: TUNSETOFFLOAD takes its bits by value.
        check(unsafe { libc::ioctl(self.raw(), TUNSETOFFLOAD, libc::c_ulong::from(bits)) })
    }

    /// Plugs the cable in or out, as the host sees it.
    pub(super) fn set_carrier(&self, up: bool) -> io::Result<()> {
        let carrier = libc::c_int::from(up);
        // SAFETY: TUNSETCARRIER reads one int through the pointer, which is valid for the call.
        check(unsafe { libc::ioctl(self.raw(), TUNSETCARRIER, &raw const carrier) })
    }

    /// Reads one frame to `buffer[VIRTIO_LEN..]`; gives its header and length.
    pub(super) fn recv(&self, buffer: &mut [u8]) -> io::Result<(VirtioHeader, usize)> {
        match self {
            Queue::Plain(iface) => {
                let room = buffer.get_mut(VIRTIO_LEN..).unwrap_or_default();
                Ok((VirtioHeader::default(), iface.recv(room)?))
            }
            Queue::Fast(fd) => {
                // SAFETY: the buffer is valid for writes of its whole length.
                let len =
                    unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
                let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
                let (head, _) = buffer
                    .split_first_chunk::<VIRTIO_LEN>()
                    .ok_or(io::ErrorKind::InvalidInput)?;
                let len = len.saturating_sub(VIRTIO_LEN);
                Ok((VirtioHeader::from_bytes(head), len))
            }
        }
    }

    /// Writes one frame; `scratch` is where a plain queue needs it in one piece.
    pub(super) fn send(
        &self,
        frame: &Parts<'_>,
        offload: &Offload,
        scratch: &mut Vec<u8>,
    ) -> io::Result<()> {
        match (self, frame.whole()) {
            (Queue::Plain(iface), Some(whole)) => iface.send(whole).map(|_| ()),
            (Queue::Plain(iface), None) => {
                scratch.clear();
                frame.write(scratch);
                iface.send(scratch).map(|_| ())
            }
            (Queue::Fast(fd), _) => {
                let head = offload.to_virtio(frame.before_rest()).to_bytes();
                let tags = frame.tags();
                let parts = [
                    IoSlice::new(&head),
                    IoSlice::new(frame.addresses()),
                    IoSlice::new(&tags),
                    IoSlice::new(frame.after_tag()),
                    IoSlice::new(frame.tail()),
                ];
                // SAFETY: IoSlice has the layout of iovec; the five of them and what they point to live until the call
                // has ended, which only reads.
                let len = unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr().cast(), 5) };
                match len < 0 {
                    true => Err(io::Error::last_os_error()),
                    false => Ok(()),
                }
            }
        }
    }

    fn raw(&self) -> RawFd {
        match self {
            Queue::Plain(iface) => iface.as_raw_fd(),
            Queue::Fast(fd) => fd.as_raw_fd(),
        }
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the queue, which lives at least as long as the borrow of it.
        unsafe { BorrowedFd::borrow_raw(self.raw()) }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
