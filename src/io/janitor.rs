//! Removing what has a name in the file system even when the program is killed: a control socket, a demo's directory.
//!
//! # Why
//! TAPs, addresses and UDP sockets vanish with the process; names stay. A small child waits at the other end of a pipe:
//! when the program is gone, by whatever signal, the pipe closes and the child removes the name. It is forked before any
//! thread exists and shares the program's pages, so it costs next to nothing.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Holds the pipe; the janitor works when it is dropped or the process dies.
#[derive(Debug)]
pub struct Janitor {
    pipe: OwnedFd,
    path: PathBuf,
}

impl Janitor {
    /// Starts a janitor for one path. To be called before the process has a second thread.
    ///
    /// It removes nothing until [`Janitor::point_out`] has told it which file or directory of that name is meant.
    ///
    /// # Errors
    /// When the system has no process or descriptor left.
    pub fn hire(path: &Path) -> io::Result<Janitor> {
        let mut ends = [0; 2];
        // SAFETY: the pointer is to two valid ints, which the call fills.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both descriptors were just made and belong to nobody else.
        let (read, write) =
            unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // Twice, so that the janitor is nobody's child that somebody would wait for.
        // SAFETY: the process has one thread, so no lock is held by another and the child's heap is in order: it may
        // run ordinary code. It never returns from `wait_and_remove`.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(write);
                // SAFETY: as above; the child in between ends at once.
                match unsafe { libc::fork() } {
                    0 => wait_and_remove(&read, path),
                    // SAFETY: ends the child without running the program's destructors.
                    _ => unsafe { libc::_exit(0) },
                }
            }
            child => {
                // SAFETY: a null status pointer is permitted; the child was just made by us.
                unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                Ok(Janitor {
                    pipe: write,
                    path: path.into(),
                })
            }
        }
    }

    /// Tells the janitor which file it is, now that it exists: a file that somebody else has put under the same name
    /// later is not removed.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn point_out(&self) -> io::Result<()> {
        let inode = std::fs::symlink_metadata(&self.path)?.ino().to_ne_bytes();
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
fn wait_and_remove(read: &OwnedFd, path: &Path) -> ! {
    let mut inode = [0u8; 8];
    let pipe = read.as_raw_fd();
    let keep = libc::c_uint::try_from(pipe).unwrap_or(0);
    // SAFETY: the calls take integers, but for read, whose buffer is valid for its length. Descriptors other than the
    // pipe are closed so that the child keeps nothing of the program's open, its lock and its output least of all; no
    // value of this process that owns one is used again.
    unsafe {
        libc::setsid();
        if keep > 0 {
            libc::syscall(libc::SYS_close_range, 0, keep - 1, 0);
        }
        if libc::syscall(libc::SYS_close_range, keep + 1, libc::c_uint::MAX, 0) < 0 {
            // Linux before 5.9.
            (0..1024).filter(|fd| *fd != pipe).for_each(|fd| {
                libc::close(fd);
            });
        }
        loop {
            let got = libc::read(pipe, inode.as_mut_ptr().cast(), inode.len());
            let interrupted = got < 0 && *libc::__errno_location() == libc::EINTR;
            if got <= 0 && !interrupted {
                break;
            }
        }
    }
    remove(path, u64::from_ne_bytes(inode));
    // SAFETY: ends the child without running the destructors and exit handlers of the program that it was forked from.
    unsafe { libc::_exit(0) }
}

fn remove(path: &Path, inode: u64) {
    // Processes that die with the program may write a last time.
    for _ in 0..20 {
        match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.ino() == inode => {
                let removed = match meta.is_dir() {
                    true => std::fs::remove_dir_all(path),
                    false => std::fs::remove_file(path),
                };
                if removed.is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => return,
        }
    }
}
