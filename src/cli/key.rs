//! `key`: make keys and look at them. A private key is printed only where it was just made and has no file.

use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::args::{KeyArgs, KeyVerb};
use super::exit::{Exit, Failure};
use super::render::{print, print_all, say};
use crate::io::clock::OsEntropy;
use crate::keys::{self, MAX_FILE_LEN, PrivateKey, Psk, is_demo};

pub(super) fn run(args: &KeyArgs) -> Result<Exit, Failure> {
    match &args.verb {
        KeyVerb::New { output } => {
            let key = PrivateKey::generate(&mut OsEntropy);
            match output {
                Some(file) => {
                    keys::write_private(file, &key)?;
                    print(&format!("{}\n", key.public()))?;
                }
                None => print_secret(&key.to_text())?,
            }
        }
        KeyVerb::Psk { output } => {
            let key = Psk::generate(&mut OsEntropy);
            match output {
                Some(file) => keys::write_psk(file, &key)?,
                None => print_secret(&key.to_text())?,
            }
        }
        KeyVerb::Public { file } => print(&format!("{}\n", private_key(file)?.public()))?,
        KeyVerb::Check { file } => {
            let key = keys::read_private(file)?;
            if is_demo(&key.public()) {
                let message = format!("{} is a published demo key", file.display());
                let hint = "make your own: l2vpn key new -o FILE";
                return Err(Failure::with(Exit::Config, message, hint));
            }
            print(&format!(
                "{}: ok, public key {}\n",
                file.display(),
                key.public()
            ))?;
        }
    }
    Ok(Exit::Ok)
}

/// Prints a secret, and says where it should not go.
fn print_secret(text: &str) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        say("l2vpn: this is a secret; -o FILE keeps it off the screen\n");
    } else if let Some(mode) = loose_mode_of_stdout() {
        say(&format!(
            "l2vpn: this is a secret, and the file that it goes to has mode {mode:04o}; -o FILE makes a private one\n"
        ));
    }
    print_all(&Zeroizing::new(format!("{text}\n")))
        .map_err(|e| Failure::failed(format!("the key was not written: {e}")))
}

/// The mode of the file behind stdout, when others can read it.
fn loose_mode_of_stdout() -> Option<u32> {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().ok()?;
    let meta = std::fs::File::from(stdout).metadata().ok()?;
    let mode = meta.mode() & 0o7777;
    (meta.is_file() && mode & 0o077 != 0).then_some(mode)
}

fn private_key(file: &Path) -> Result<PrivateKey, Failure> {
    if file != Path::new("-") {
        return Ok(keys::read_private(file)?);
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_LEN as usize + 1));
    std::io::stdin()
        .take(MAX_FILE_LEN)
        .read_to_string(&mut text)?;
    PrivateKey::from_text(&text).map_err(|e| {
        let hint = "pipe one in: `l2vpn key new | l2vpn key public`";
        Failure::with(
            Exit::Config,
            format!("stdin holds no private key: {e}"),
            hint,
        )
    })
}
