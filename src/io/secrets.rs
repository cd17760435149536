//! Where passphrases and keys come from that are in no file: a descriptor, the service manager, a terminal, a program.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::clock::OsEntropy;
use crate::keys::{MAX_FILE_LEN, MAX_PASSPHRASE, Opener, Passphrase, PrivateKey};

/// What the service manager names the directory of what it hands over (systemd.exec(5)).
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// The name of a passphrase there.
const PASSPHRASE: &str = "l2vpn-passphrase";

/// Asks whoever can be asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asking {
    /// The descriptor that the passphrase is read from, if one was named.
    pub descriptor: Option<u32>,
    /// Whether nothing is run: another key stands for what a command would print.
    pub only_looks: bool,
}

impl Asking {
    /// A new passphrase: at a terminal it is asked for twice.
    ///
    /// # Errors
    /// When there is nobody to ask, or the two differ.
    pub fn new_passphrase(&mut self, file: &Path) -> Result<Passphrase, String> {
        // What the service manager hands over opens keys; it is not chosen anew.
        if let Some(descriptor) = self.descriptor {
            return from_descriptor(descriptor);
        }
        let first = asked(&format!("new passphrase for {}: ", file.display()))?;
        let again = asked("the same again: ")?;
        match *first == *again {
            true => passphrase(&first),
            false => Err("the two passphrases differ".into()),
        }
    }

    /// The passphrase of a file if it is there without asking anybody.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn given(&self) -> Result<Option<Passphrase>, String> {
        if let Some(descriptor) = self.descriptor {
            return from_descriptor(descriptor).map(Some);
        }
        match credential_path(PASSPHRASE) {
            Some(path) if path.exists() => {
                let file = File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                passphrase(&all_of(file, MAX_PASSPHRASE)?).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Opener for Asking {
    fn passphrase(&mut self, file: &Path) -> Result<Passphrase, String> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        passphrase(&asked(&format!("passphrase for {}: ", file.display()))?)
    }

    fn output_of(&mut self, command: &[String]) -> Result<Zeroizing<String>, String> {
        let (program, arguments) = command.split_first().ok_or("it names no program")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("it cannot be run: {e}"))?;
        let text = child
            .stdout
            .take()
            .map(|out| all_of(out, MAX_FILE_LEN as usize));
        let status = child.wait().map_err(|e| e.to_string())?;
        match status.success() {
            true => text.unwrap_or_else(|| Err("it printed nothing".into())),
            false => Err(format!("it failed: {status}")),
        }
    }

    fn instead_of_running(&self) -> Option<PrivateKey> {
        self.only_looks
            .then(|| PrivateKey::generate(&mut OsEntropy))
    }

    fn credential(&mut self, name: &str) -> Result<Zeroizing<String>, String> {
        let path = credential_path(name)
            .ok_or_else(|| format!("there are none: {DIRECTORY} is not set"))?;
        // The service manager guards it: its mode is not what decides who reads it.
        let file = File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        all_of(file, MAX_FILE_LEN as usize)
    }
}

/// The next line of a descriptor that this process was started with.
fn from_descriptor(descriptor: u32) -> Result<Passphrase, String> {
    let failed = |e: std::io::Error| format!("descriptor {descriptor}: {e}");
    let mut file = inherited(descriptor).map_err(failed)?;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE + 2));
    let mut byte = Zeroizing::new([0]);
    // Byte by byte: what comes after the line is for others, or for the next.
    while line.len() <= MAX_PASSPHRASE && file.read(byte.as_mut()).map_err(failed)? == 1 {
        if byte[0] == b'\n' {
            break;
        }
        line.extend_from_slice(byte.as_ref());
    }
    if line.is_empty() && byte[0] != b'\n' {
        return Err(format!("descriptor {descriptor} has no further line"));
    }
    passphrase(std::str::from_utf8(&line).map_err(|e| e.to_string())?)
}

/// A descriptor that this process was started with; not opened by its name, which who made it may forbid.
fn inherited(descriptor: u32) -> std::io::Result<File> {
    let number = i32::try_from(descriptor).map_err(std::io::Error::other)?;
    // SAFETY: no memory is handed over; a number that is no open descriptor makes the call fail.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the call above has just made it, and nobody else knows of it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(copy) }))
}

fn credential_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(|dir| Path::new(&dir).join(name))
}

fn passphrase(text: &str) -> Result<Passphrase, String> {
    Passphrase::new(text)
        .ok_or_else(|| format!("a passphrase has 1 to {MAX_PASSPHRASE} bytes, this one has not"))
}

/// Asks at the terminal, without an echo.
fn asked(question: &str) -> Result<Zeroizing<String>, String> {
    if !std::io::stderr().is_terminal() {
        return Err("there is no passphrase and no terminal to ask at".into());
    }
    rpassword::prompt_password(question)
        .map(Zeroizing::new)
        .map_err(|e| format!("nobody can be asked: {e}"))
}

/// A text of so many bytes at most, with a line end; in one place of memory.
fn all_of(from: impl Read, most: usize) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::with_capacity(most + 3));
    let read = from.take(most as u64 + 2).read_to_string(&mut text);
    read.map_err(|e| e.to_string())?;
    Ok(text)
}
