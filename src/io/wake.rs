//! Waiting for files to become readable, and waking who waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Wakes a thread that waits in [`wait_readable`]. Clones wake the same thread.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// A waker that nobody has used yet.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; a non-negative result is a new descriptor that nobody else owns.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and is owned by nobody else.
        Ok(Waker(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes the thread, now or the next time that it waits. The waker stays set until it is [reset](Waker::reset).
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is 8 valid bytes, which is what an eventfd takes. A full counter is as good as a wake-up.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl Waker {
    /// Lets the thread wait again. What it was woken for is to be looked at afterwards, or a wake-up could be lost.
    pub fn reset(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is 8 valid bytes, which is what an eventfd gives. Nothing to read is as good.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of the files is readable or broken; `None` waits for ever. Gives whether the first one is.
///
/// # Errors
/// Those of poll(2), but for an interruption, which counts as nothing readable.
pub fn wait_readable(files: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<bool> {
    let mut polled: [libc::pollfd; MAX_FILES] = [libc::pollfd {
        fd: -1,
        events: libc::POLLIN,
        revents: 0,
    }; MAX_FILES];
    for (slot, file) in polled.iter_mut().zip(files) {
        slot.fd = file.as_raw_fd();
    }
    let count = files.len().min(MAX_FILES);
    let millis = timeout.map_or(-1, |t| i32::try_from(t.as_millis()).unwrap_or(i32::MAX));
    // SAFETY: `polled` has at least `count` initialised entries and lives through the call.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), count as libc::nfds_t, millis) };
    if result >= 0 {
        return Ok(polled.first().is_some_and(|first| first.revents != 0));
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::Interrupted => Ok(false),
        e => Err(e),
    }
}

/// Waits until a file takes more, or the time is up.
///
/// # Errors
/// Those of poll(2).
pub fn wait_writable(file: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let mut polled = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer is to one live pollfd.
    if unsafe { libc::poll(&raw mut polled, 1, millis) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The most files that one thread waits for: all ports, a waker and two sockets.
pub const MAX_FILES: usize = 256 + 3;
