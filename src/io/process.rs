//! What the process asks of the kernel about itself.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Keeps secrets out of core dumps and out of reach of debuggers of the same user.
pub fn harden() {
    // SAFETY: PR_SET_DUMPABLE takes an integer and has no memory effects.
    let _ = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit, which is only read.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
}

/// Makes the child die with the thread that starts it, even when that is killed.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only prctl and getppid are called, which are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) < 0 {
                return Err(io::Error::last_os_error());
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
/// SIGINT.
pub const SIGINT: i32 = libc::SIGINT;
/// SIGKILL.
pub const SIGKILL: i32 = libc::SIGKILL;
/// SIGSTOP.
pub const SIGSTOP: i32 = libc::SIGSTOP;
/// SIGCONT.
pub const SIGCONT: i32 = libc::SIGCONT;

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
