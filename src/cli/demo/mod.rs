//! `demo`: three hosts on this machine, one Ethernet between them, and proof that it works.
//!
//! # Why two processes
//! The outer one owns the temporary directory and outlives the inner one, which lives in namespaces of its own with all
//! hosts as its children. However the inner one ends, by itself, by Ctrl-C or by a crash, its hosts end with it, their
//! namespaces and interfaces vanish, and the outer one removes the directory.

/// Writes a line to stdout; the demo goes on when nobody listens any more.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// The same without the end of the line, at once.
macro_rules! tell_part {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let mut stdout = std::io::stdout();
        let _ = write!(stdout, $($text)*).and_then(|()| stdout.flush());
    }};
}

mod picture;
mod progress;
mod steps;
mod world;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::args::DemoArgs;
use super::exit::{Exit, Failure};
use crate::io::janitor::Janitor;
use crate::io::{namespace, process};

pub(super) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    match &args.inside {
        Some(dir) => steps::run(dir, args.keep),
        None => outside(args.keep),
    }
}

fn outside(keep: bool) -> Result<Exit, Failure> {
    check_driver()?;
    let isolation = namespace::available().map_err(|why| {
        let hint = "run it as root, or let an administrator allow user namespaces";
        Failure::with(
            Exit::Permission,
            format!("the demo needs network namespaces: {why}"),
            hint,
        )
    })?;
    let dir = tempfile::Builder::new()
        .prefix("l2vpn-demo-")
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
    command.args(["demo", "--inside"]).arg(dir.path());
    if keep {
        command.arg("--keep");
    }
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
                // In a shell of --keep Ctrl-C belongs to the shell.
                _ = interrupt.recv(), if !keep => return stop(&mut child),
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
            "the demo ended by signal {}; nothing is left behind",
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
