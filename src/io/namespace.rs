//! Hosts that are not there: network namespaces, with or without root.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How a child gets a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A new network namespace: for who may administer the network.
    Network,
    /// A new user namespace, in which the child is root, and a network namespace in it.
    UserAndNetwork,
}

/// The isolation that works here.
///
/// # Errors
/// Why none does, as a sentence.
pub fn available() -> Result<Isolation, String> {
    for isolation in [Isolation::Network, Isolation::UserAndNetwork] {
        let mut probe = Command::new("/proc/self/exe");
        probe.arg("--version");
        probe.stdout(std::process::Stdio::null());
        probe.stderr(std::process::Stdio::null());
        if isolate(&mut probe, isolation)
            .and_then(|p| p.status())
            .is_ok()
        {
            return Ok(isolation);
        }
    }
    Err(
        "this system allows neither network namespaces (not root) nor user namespaces \
         (see the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and \
         kernel.apparmor_restrict_unprivileged_userns)"
            .into(),
    )
}

/// Lets a command run in namespaces of its own.
///
/// # Errors
/// When this process cannot be described to the child.
pub fn isolate(command: &mut Command, isolation: Isolation) -> io::Result<&mut Command> {
    // Prepared here, because the child may not allocate between fork and exec.
    // SAFETY: geteuid and getegid have no preconditions and cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let users = CString::new(format!("0 {user} 1"))?;
    let groups = CString::new(format!("0 {group} 1"))?;
    // SAFETY: the closure runs between fork and exec and calls only async-signal-safe functions: unshare, open, write,
    // close. The strings were made before.
    unsafe {
        command.pre_exec(move || {
            let flags = match isolation {
                Isolation::Network => libc::CLONE_NEWNET,
                Isolation::UserAndNetwork => libc::CLONE_NEWUSER | libc::CLONE_NEWNET,
            };
            if libc::unshare(flags) < 0 {
                return Err(io::Error::last_os_error());
            }
            if isolation == Isolation::UserAndNetwork {
                write_all(c"/proc/self/setgroups", c"deny")?;
                write_all(c"/proc/self/gid_map", &groups)?;
                write_all(c"/proc/self/uid_map", &users)?;
            }
            Ok(())
        });
    }
    Ok(command)
}

/// Lets a command run in the network namespace of a process that we started.
///
/// # Errors
/// When the process is gone.
pub fn enter(command: &mut Command, pid: u32) -> io::Result<&mut Command> {
    let file = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
    // SAFETY: the closure runs between fork and exec and calls only setns, which is async-signal-safe, on a descriptor
    // that the closure owns.
    unsafe {
        command.pre_exec(move || {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            if libc::setns(fd, libc::CLONE_NEWNET) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    Ok(command)
}

/// Writes a short string to a file in one call; async-signal-safe.
fn write_all(path: &std::ffi::CStr, text: &std::ffi::CStr) -> io::Result<()> {
    let bytes = text.to_bytes();
    // SAFETY: both pointers are to live, terminated strings; the descriptor is closed before it is forgotten.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        let written = libc::write(file, bytes.as_ptr().cast(), bytes.len());
        let error = io::Error::last_os_error();
        libc::close(file);
        if written < 0 {
            return Err(error);
        }
    }
    Ok(())
}
