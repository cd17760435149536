//! Removing the control socket even when the daemon is killed.
//!
//! # Why
//! TAPs, addresses and UDP sockets vanish with the process; a unix socket's name stays. A small child waits at the other
//! end of a pipe: when the daemon is gone, by whatever signal, the pipe closes and the child removes the name. It is
//! forked before any thread exists and shares the daemon's pages, so it costs next to nothing.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Holds the pipe; the janitor works when it is dropped or the process dies.
#[derive(Debug)]
pub struct Janitor {
    pipe: OwnedFd,
    file: PathBuf,
}

impl Janitor {
    /// Starts a janitor for one file. To be called before the process has a second thread.
    ///
    /// # Errors
    /// When the system has no process or descriptor left.
    pub fn hire(file: &Path) -> io::Result<Janitor> {
        let name = CString::new(file.as_os_str().as_bytes())?;
        let mut ends = [0; 2];
        // SAFETY: the pointer is to two valid ints, which the call fills.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both descriptors were just made and belong to nobody else.
        let (read, write) =
            unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: the process has one thread, and the child calls only async-signal-safe functions until it exits.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => wait_and_remove(&read, write, &name),
            _ => Ok(Janitor {
                pipe: write,
                file: file.into(),
            }),
        }
    }

    /// Tells the janitor which file it is, now that it exists: a file that a later daemon has put under the same name
    /// is not removed.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn point_out(&self) -> io::Result<()> {
        let inode = std::fs::symlink_metadata(&self.file)?.ino().to_ne_bytes();
        // SAFETY: the buffer is 8 valid bytes; a pipe takes so few in one piece.
        let written =
            unsafe { libc::write(self.pipe.as_raw_fd(), inode.as_ptr().cast(), inode.len()) };
        match written {
            8 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The child's whole life.
fn wait_and_remove(read: &OwnedFd, write: OwnedFd, name: &CString) -> ! {
    drop(write);
    let mut inode = [0u8; 8];
    // SAFETY: setsid, close_range, read, lstat, unlink and _exit are async-signal-safe; the buffers are valid for their
    // lengths; the name is a valid C string; an all-zero stat is a valid one; _exit runs no destructors. Descriptors
    // other than the pipe are closed so that the child keeps nothing of the daemon's open, its lock and TAPs least.
    unsafe {
        libc::setsid();
        let keep = read.as_raw_fd() as libc::c_uint;
        if keep > 0 {
            libc::syscall(libc::SYS_close_range, 0, keep - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, keep + 1, libc::c_uint::MAX, 0);
        loop {
            let got = libc::read(read.as_raw_fd(), inode.as_mut_ptr().cast(), inode.len());
            if got == 0 {
                break;
            }
            if got < 0 && *libc::__errno_location() != libc::EINTR {
                break;
            }
        }
        let mut stat: libc::stat = std::mem::zeroed();
        let there = libc::lstat(name.as_ptr(), &raw mut stat) == 0;
        if there && stat.st_ino == u64::from_ne_bytes(inode) {
            libc::unlink(name.as_ptr());
        }
        libc::_exit(0)
    }
}
