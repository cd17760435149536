//! TAP devices: Ethernet interfaces of the host whose other end is this program.
//!
//! Two forms. The *fast* one is opened here: a virtio header before each frame, so that one call moves a super-frame of up
//! to 64 KiB whose checksum is only begun, and several queues. The *plain* one is tun-tap's: one queue, one frame for each
//! call; it serves where offloads are switched off or the kernel refuses them. tun-tap cuts long names silently, so
//! names are checked before. What a device takes (TUNSETOFFLOAD) belongs to the device and survives in a persistent one,
//! so it is set at every start, to nothing for the plain form.

mod queue;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tun_tap::{Iface, Mode};

use crate::wire::ethernet::Parts;
use crate::wire::layers::Transport;
use crate::wire::offload::{Offload, VirtioHeader};
use queue::{Queue, TUN_F_CSUM, TUN_F_TSO, TUN_F_USO};

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

/// What a TAP shall take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Super-frames of TCP and UDP.
    Everything,
    /// Super-frames of TCP only: some old devices behind a TAP lose those of UDP.
    Tcp,
    /// One complete frame for each call.
    Nothing,
}

/// An open TAP. Dropping it removes the device, unless somebody made it persistent before.
pub struct Tap {
    name: String,
    queues: Vec<Queue>,
    /// What it takes, as TUN_F_* bits.
    takes: libc::c_uint,
    /// Why it does not take more.
    limits: Vec<String>,
    gone: AtomicBool,
    /// Super-frames that it refused before it took one; `u32::MAX` once it has taken one.
    refusals: AtomicU32,
}

/// After so many refused super-frames, and none taken, a TAP gets no more: some kernels accept the setting and not the
/// frames.
const MAX_REFUSALS: u32 = 8;

impl Tap {
    /// Opens or makes a TAP with up to so many queues, without carrier. Its owner is left as it is: a device that goes
    /// with this process needs none, and one that somebody made persistent has its own.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn open(name: &str, wish: Wish, queues: usize) -> Result<Tap, TapError> {
        let valid = (1..=MAX_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'/' && b != b'%');
        if !valid {
            return Err(TapError::Name(name.escape_debug().to_string()));
        }
        let tap = match wish {
            Wish::Nothing => Tap::open_plain(name, "switched off in the configuration")?,
            wish => Tap::open_fast(name, wish, queues)?,
        };
        let fail = |source| TapError::Io {
            name: name.to_string(),
            source,
        };
        tap.set_carrier(false).map_err(fail)?;
        Ok(tap)
    }

    fn open_plain(name: &str, why: &str) -> Result<Tap, TapError> {
        let iface = match Iface::without_packet_info(name, Mode::Tap) {
            Ok(iface) => iface,
            // A persistent device with several queues: one of them, and nothing left to it.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let queue = Queue::open_fast(name, true).map_err(|_| explain(name, error))?;
                let _ = queue.set_offload(0);
                return Ok(Tap::of(name, vec![queue], 0, vec![why.to_string()]));
            }
            Err(error) => return Err(explain(name, error)),
        };
        if iface.name() != name {
            return Err(TapError::Name(iface.name().to_string()));
        }
        iface.set_non_blocking().map_err(|source| TapError::Io {
            name: name.to_string(),
            source,
        })?;
        let queue = Queue::Plain(iface);
        // A former owner of a persistent device may have left something switched on; without the right to change that
        // there is nothing to be done.
        let _ = queue.set_offload(0);
        Ok(Tap::of(name, vec![queue], 0, vec![why.to_string()]))
    }

    fn open_fast(name: &str, wish: Wish, wanted: usize) -> Result<Tap, TapError> {
        let mut limits = Vec::new();
        let many = wanted > 1;
        // A persistent device has one queue or several; the kernel refuses the other way of opening it.
        let first = Queue::open_fast(name, many).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Queue::open_fast(name, !many),
            _ => Err(error),
        });
        let first = match first {
            Ok(queue) => queue,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                return Tap::open_plain(name, "refused by the kernel");
            }
            Err(error) => return Err(explain(name, error)),
        };
        let all = TUN_F_CSUM | TUN_F_TSO | TUN_F_USO;
        let steps: &[(libc::c_uint, &str)] = match wish {
            Wish::Everything => &[
                (all, ""),
                (TUN_F_CSUM | TUN_F_TSO, "UDP: refused by the kernel"),
            ],
            _ => &[(
                TUN_F_CSUM | TUN_F_TSO,
                "UDP: switched off in the configuration",
            )],
        };
        let step = steps
            .iter()
            .find(|(bits, _)| first.set_offload(*bits).is_ok());
        let Some((takes, why)) = step else {
            drop(first);
            return Tap::open_plain(name, "refused by the kernel");
        };
        limits.extend((!why.is_empty()).then(|| why.to_string()));
        let mut queues = vec![first];
        while queues.len() < wanted {
            match Queue::open_fast(name, true) {
                Ok(queue) => queues.push(queue),
                Err(_) => {
                    limits.push("several queues: the device has one".into());
                    break;
                }
            }
        }
        Ok(Tap::of(name, queues, *takes, limits))
    }

    fn of(name: &str, queues: Vec<Queue>, takes: libc::c_uint, limits: Vec<String>) -> Tap {
        Tap {
            name: name.to_string(),
            queues,
            takes,
            limits,
            gone: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many queues it has; at least one.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    fn queue(&self, number: usize) -> io::Result<&Queue> {
        self.queues
            .get(number.min(self.queues.len() - 1))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A queue's descriptor, to wait for frames on it.
    ///
    /// # Errors
    /// When there is no such queue.
    pub fn descriptor(&self, queue: usize) -> io::Result<BorrowedFd<'_>> {
        Ok(self.queue(queue)?.as_fd())
    }

    /// Reads one frame or super-frame to `buffer[VIRTIO_LEN..]`; gives its header and its length.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; EIO while the device is down.
    pub fn recv(&self, queue: usize, buffer: &mut [u8]) -> io::Result<(VirtioHeader, usize)> {
        self.queue(queue)?.recv(buffer)
    }

    /// Writes one frame or, where [`Tap::takes`] it, super-frame.
    ///
    /// # Errors
    /// EIO while the device is down, EINVAL for a frame shorter than its header or a super-frame that the kernel refuses.
    pub fn send(
        &self,
        queue: usize,
        (frame, offload): (&Parts<'_>, &Offload),
        scratch: &mut Vec<u8>,
    ) -> io::Result<()> {
        let sent = self.queue(queue)?.send(frame, offload, scratch);
        if offload.is_super() && self.refusals.load(Ordering::Relaxed) != u32::MAX {
            match &sent {
                Ok(()) => self.refusals.store(u32::MAX, Ordering::Relaxed),
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    self.refusals.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        }
        sent
    }

    /// Whether it takes this without that being finished or cut before.
    pub fn takes(&self, offload: &Offload) -> bool {
        if !offload.is_super() {
            return self.takes & TUN_F_CSUM != 0;
        }
        let is_udp = offload
            .layers
            .is_some_and(|l| l.transport == Transport::Udp);
        let bits = if is_udp { TUN_F_USO } else { TUN_F_TSO };
        self.takes & bits != 0 && !self.is_refusing()
    }

    fn is_refusing(&self) -> bool {
        (MAX_REFUSALS..u32::MAX).contains(&self.refusals.load(Ordering::Relaxed))
    }

    /// What it takes, in words, and why not more.
    pub fn offloads(&self) -> (Vec<&'static str>, Vec<String>) {
        let words = [
            (TUN_F_CSUM, "checksum"),
            (TUN_F_TSO, "tcp"),
            (TUN_F_USO, "udp"),
        ];
        let mut limits = self.limits.clone();
        if self.is_refusing() {
            limits.push("super-frames: refused by the kernel".into());
        }
        let taken = words.iter().filter(|(bits, word)| {
            self.takes & bits != 0 && (*word == "checksum" || !self.is_refusing())
        });
        (taken.map(|(_, word)| *word).collect(), limits)
    }

    /// Plugs the cable in or out, as the host sees it.
    ///
    /// # Errors
    /// When the device is gone, or the kernel older than 5.0.
    pub fn set_carrier(&self, up: bool) -> io::Result<()> {
        self.queue(0)?.set_carrier(up)
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
