//! What the process asks of the kernel about itself.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Keeps secrets out of core dumps.
pub fn forbid_core_dumps() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which is only read.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
}

/// Lets this process have as many files open as it may: connections of strangers must not use up those of the member.
pub fn raise_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which is only written.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live rlimit, which is only read.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

/// Keeps secrets out of reach of debuggers of the same user. Not for who starts user namespaces: the kernel takes the
/// right to map users from such a process's children.
pub fn forbid_debuggers() {
    // SAFETY: PR_SET_DUMPABLE takes an integer and has no memory effects.
    let _ = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// Makes orphaned descendants children of this process, so that [`wait_for_children`] meets them too.
pub fn adopt_orphans() {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes an integer and has no memory effects.
    let _ = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Waits until no child is left, or the time is up.
pub fn wait_for_children(patience: std::time::Duration) {
    let began = std::time::Instant::now();
    while began.elapsed() < patience {
        // SAFETY: a null status pointer is permitted; the call takes no other memory.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => std::thread::sleep(std::time::Duration::from_millis(2)),
            pid if pid < 0 => return,
            _ => {}
        }
    }
}

/// Makes the child die with the thread that starts it, even when that is killed.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl, getppid and _exit are called, which are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            // It may have died before the call.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                libc::_exit(1);
            }
            Ok(())
        })
    }
}

/// Whether the CPU has instructions for AES and carry-less multiplication.
pub fn has_hardware_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

/// Sends a signal to a process that we started.
///
/// # Errors
/// When it is gone.
pub fn signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill takes two integers; a stale pid gives an error, not undefined behaviour.
    if unsafe { libc::kill(pid, signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// SIGTERM, for who has no libc.
pub const SIGTERM: i32 = libc::SIGTERM;
/// Hang up: a daemon reads its configuration again.
pub const SIGHUP: i32 = libc::SIGHUP;
/// SIGINT.
pub const SIGINT: i32 = libc::SIGINT;
/// SIGKILL.
pub const SIGKILL: i32 = libc::SIGKILL;
/// SIGSTOP.
pub const SIGSTOP: i32 = libc::SIGSTOP;
/// SIGCONT.
pub const SIGCONT: i32 = libc::SIGCONT;

/// The kernel does not take something in this form.
pub const EINVAL: i32 = libc::EINVAL;

/// What an errno means for a datagram that was not sent.
pub fn send_failure(error: &io::Error) -> crate::drops::DropReason {
    use crate::drops::DropReason;
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => DropReason::SendTooLarge,
        Some(libc::EPERM | libc::EACCES) => DropReason::SendRefused,
        Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM) => DropReason::SendBufferFull,
        _ => DropReason::SendUnreachable,
    }
}

/// What an errno means for a frame that was not written to a TAP.
pub fn port_failure(error: &io::Error) -> crate::drops::DropReason {
    use crate::drops::DropReason;
    match error.raw_os_error() {
        Some(libc::EIO | libc::EBADFD | libc::ENXIO | libc::ENODEV) => DropReason::PortDown,
        _ => DropReason::PortRefused,
    }
}

/// Whether an error of a TAP means that the device is gone for good, rather than down.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADFD | libc::ENXIO | libc::ENODEV)
    )
}
