//! Verbs that make hosts on this machine: `demo` and `bench`.
//!
//! # Why two processes
//! The outer one owns the temporary directory and outlives the inner one, which lives in namespaces of its own with all
//! hosts as its children. However the inner one ends, by itself, by Ctrl-C or by a crash, its hosts end with it, their
//! namespaces and interfaces vanish, and the outer one removes the directory.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure};
use crate::io::janitor::Janitor;
use crate::io::{namespace, process};

/// Runs `l2vpn VERB --inside DIRECTORY MORE...` in namespaces of its own; with `shell` Ctrl-C belongs to a shell in there.
pub(super) fn run(verb: &str, more: &[String], shell: bool) -> Result<Exit, Failure> {
    check_driver()?;
    let isolation = namespace::available().map_err(|why| {
        let hint = "run it as root, or let an administrator allow user namespaces";
        Failure::with(
            Exit::Permission,
            format!("the {verb} needs network namespaces: {why}"),
            hint,
        )
    })?;
    let dir = tempfile::Builder::new()
        .prefix(&format!("l2vpn-{verb}-"))
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir()
        .map_err(|e| {
            let hint = "set TMPDIR to a directory that you may write to";
            Failure::with(Exit::Failed, format!("no temporary directory: {e}"), hint)
        })?;
    // Whatever becomes of this process, its keys do not stay.
    let janitor = Janitor::hire(dir.path())?;
    janitor.point_out()?;
    process::adopt_orphans();
    let mut command = Command::new("/proc/self/exe");
    command.args([verb, "--inside"]).arg(dir.path()).args(more);
    namespace::isolate(&mut command, isolation)?;
    // The child must not see the half of a second without a catcher, so signals are caught before it starts.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut child = process::die_with_parent(&mut command).spawn()?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            tokio::select! {
                _ = interrupt.recv(), if !shell => return stop(&mut child),
                _ = terminate.recv() => return stop(&mut child),
                _ = hang_up.recv() => return stop(&mut child),
                _ = quit.recv() => return stop(&mut child),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    let status: std::io::Result<ExitStatus> = status;
    // The hosts die with the inner process, and their daemons with them; that takes a moment.
    process::wait_for_children(Duration::from_secs(5));
    let removed = dir.close();
    let status = status?;
    removed?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Exit::Ok),
        (Some(_), _) => Ok(Exit::Failed),
        (None, Some(process::SIGKILL)) => {
            Err(Failure::failed("interrupted; nothing is left behind"))
        }
        (None, signal) => Err(Failure::failed(format!(
            "the {verb} ended by signal {}; nothing is left behind",
            signal.unwrap_or(0)
        ))),
    }
}

/// Ends the inner process; its hosts die with it.
fn stop(child: &mut Child) -> std::io::Result<ExitStatus> {
    child.kill()?;
    child.wait()
}

/// Without a driver nothing works, and it is better said once than by three daemons.
fn check_driver() -> Result<(), Failure> {
    let device = Path::new("/dev/net/tun");
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
    {
        Ok(_) => Ok(()),
        Err(error) => {
            let (message, hint) = match error.kind() {
                std::io::ErrorKind::PermissionDenied => (
                    "not permitted to open /dev/net/tun",
                    "run it as root, or let an administrator `chmod 666 /dev/net/tun`",
                ),
                _ => (
                    "this system has no TUN/TAP driver (/dev/net/tun)",
                    "load it with `modprobe tun`; in a container, pass /dev/net/tun in",
                ),
            };
            Err(Failure::with(Exit::Permission, message, hint))
        }
    }
}
