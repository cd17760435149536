//! Finding the running member that is meant.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::MemberArgs;
use super::exit::{Exit, Failure};
use crate::api::{Answer, Verb};
use crate::config::paths::Places;
use crate::config::{DemoKeys, load_with};
use crate::daemon::{CallError, call};
use crate::io::clock::OsEntropy;
use crate::keys::{AtHand, PrivateKey};

const PATIENCE: Duration = Duration::from_secs(25);

/// The control socket that is meant: named, of a configuration, of a name, or the only one there is.
pub(super) fn socket(args: &MemberArgs) -> Result<PathBuf, Failure> {
    if let Some(socket) = &args.socket {
        return Ok(socket.clone());
    }
    let places = Places::default_for_user();
    match &args.member {
        Some(member) if member.contains('/') || member.ends_with(".toml") => {
            // Only the socket is wanted: no key has to be opened for that.
            let mut opener = AtHand {
                keys: PrivateKey::generate(&mut OsEntropy).into(),
                psks: Vec::new(),
                passphrase: None,
                stands_in: true,
            };
            let (config, report) = load_with(Path::new(member), DemoKeys::Allow, &mut opener);
            config
                .map(|c| c.socket)
                .ok_or_else(|| Failure::config(&report))
        }
        Some(name) => Ok(places.socket(name)),
        None => only_socket(&places.run),
    }
}

fn only_socket(dir: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_socket = |p: &PathBuf| p.extension().is_some_and(|e| e == "sock");
    let mut alive: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(is_socket)
        .filter(|p| std::os::unix::net::UnixStream::connect(p).is_ok())
        .collect();
    alive.sort();
    match alive.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::with(
            Exit::NoDaemon,
            format!("no daemon listens in {}", dir.display()),
            "start one with `l2vpn up`, or name its socket with --socket",
        )),
        several => {
            let names = several.iter().filter_map(|p| p.file_stem()?.to_str());
            let names: Vec<&str> = names.collect();
            Err(Failure::with(
                Exit::Failed,
                "several members are running",
                format!("name one of: {}", names.join(", ")),
            ))
        }
    }
}

/// Asks the member that is meant.
pub(super) fn ask(args: &MemberArgs, verb: Verb) -> Result<Answer, Failure> {
    Ok(call(&socket(args)?, verb, PATIENCE)?)
}

/// Asks a socket.
pub(super) fn ask_at(socket: &Path, verb: Verb) -> Result<Answer, CallError> {
    call(socket, verb, PATIENCE)
}

/// An answer of another kind than the question.
pub(super) fn unexpected() -> Failure {
    Failure::failed("the daemon gave an unexpected answer: is it another version?")
}
