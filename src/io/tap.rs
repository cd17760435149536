//! TAP devices: Ethernet interfaces of the host whose other end is this program.
//!
//! tun-tap opens the plain device: one queue, one frame per call, no header. It cuts long names silently, so names are
//! checked before; and it says nothing about the carrier, which is an ioctl more on its descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use tun_tap::{Iface, Mode};

/// The longest interface name, in bytes.
const MAX_NAME: usize = 15;

/// Why a TAP was not opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name would be cut or misread.
    #[error("\"{0}\" cannot be the name of an interface")]
    Name(String),
    /// There is no /dev/net/tun, or no driver behind it.
    #[error("this system has no TUN/TAP driver (/dev/net/tun)")]
    NoDriver,
    /// The user may not make network devices.
    #[error("not permitted to open /dev/net/tun and make \"{0}\"")]
    NotPermitted(String),
    /// Somebody has the device.
    #[error("TAP \"{0}\" is in use by another program")]
    InUse(String),
    /// The name belongs to an interface of another kind.
    #[error("\"{0}\" is the name of an interface that is not a plain TAP")]
    OtherKind(String),
    /// Anything else.
    #[error("TAP \"{name}\": {source}")]
    Io {
        /// Which one.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl TapError {
    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            TapError::Name(_) => "use 1 to 15 letters, digits, '-', '_' and '.'",
            TapError::NoDriver => {
                "load it with `modprobe tun`; in a container, pass /dev/net/tun in"
            }
            TapError::NotPermitted(_) => {
                "run as root or with CAP_NET_ADMIN, or let root make it for you: \
                 `ip tuntap add NAME mode tap user YOU`"
            }
            TapError::InUse(_) => "stop the other program, or choose another name",
            TapError::OtherKind(_) => "choose another name",
            TapError::Io { .. } => "see the system's message",
        }
    }

    /// Whether it is a matter of permission.
    pub fn is_permission(&self) -> bool {
        matches!(self, TapError::NotPermitted(_) | TapError::NoDriver)
    }
}

/// An open TAP. Dropping it removes the device, unless somebody made it persistent before.
pub struct Tap {
    iface: Iface,
    gone: AtomicBool,
}

impl Tap {
    /// Opens or makes a TAP, without carrier. Its owner is left as it is: a device that goes with this process needs none,
    /// and one that somebody made persistent has its own.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn open(name: &str) -> Result<Tap, TapError> {
        let valid = (1..=MAX_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'/' && b != b'%');
        if !valid {
            return Err(TapError::Name(name.escape_debug().to_string()));
        }
        let iface = Iface::without_packet_info(name, Mode::Tap).map_err(|e| explain(name, e))?;
        if iface.name() != name {
            return Err(TapError::Name(iface.name().to_string()));
        }
        let tap = Tap {
            iface,
            gone: AtomicBool::new(false),
        };
        let fail = |source| TapError::Io {
            name: name.to_string(),
            source,
        };
        tap.iface.set_non_blocking().map_err(fail)?;
        tap.set_carrier(false).map_err(fail)?;
        Ok(tap)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.iface.name()
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; EIO while the device is down.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.iface.recv(buffer)
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// EIO while the device is down, EINVAL for a frame shorter than its header.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.iface.send(frame).map(|_| ())
    }

    /// Plugs the cable in or out, as the host sees it.
    ///
    /// # Errors
    /// When the device is gone, or the kernel older than 5.0.
    pub fn set_carrier(&self, up: bool) -> io::Result<()> {
        let carrier = libc::c_int::from(up);
        // SAFETY: TUNSETCARRIER reads one int through the pointer, which is valid for the call.
        let result =
            unsafe { libc::ioctl(self.iface.as_raw_fd(), TUNSETCARRIER, &raw const carrier) };
        check(result)
    }

    /// Notes that the device was removed by somebody else.
    pub fn mark_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Whether the device was removed by somebody else.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to `iface`, which lives at least as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.iface.as_raw_fd()) }
    }
}

/// `_IOW('T', 226, int)`
const TUNSETCARRIER: libc::Ioctl = 0x4004_54e2;

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn explain(name: &str, error: io::Error) -> TapError {
    let name = name.to_string();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TapError::NoDriver,
        Some(libc::EPERM | libc::EACCES) => TapError::NotPermitted(name),
        Some(libc::EBUSY) => TapError::InUse(name),
        Some(libc::EINVAL | libc::EEXIST) => TapError::OtherKind(name),
        _ => TapError::Io {
            name,
            source: error,
        },
    }
}
