//! `key`: make keys and look at them. A private key is printed only where it was just made and has no file.

use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::args::{KeyArgs, KeyVerb, Words};
use super::exit::{Exit, Failure};
use super::render::{print, print_all, say};
use super::sealing::{self, new_passphrase};
use crate::io::clock::{self, OsEntropy};
use crate::keys::{self, Cost, Kept, MAX_FILE_LEN, Opener, PrivateKey, Psk, PublicKey, Stored};

pub(super) fn run(args: &KeyArgs) -> Result<Exit, Failure> {
    match &args.verb {
        KeyVerb::New {
            output,
            encrypt,
            words,
        } => new(output.as_deref(), for_encrypting(*encrypt, *words)?)?,
        KeyVerb::Psk {
            output,
            encrypt,
            words,
        } => {
            let key = Psk::generate(&mut OsEntropy);
            match output {
                Some(file) => write(file, &key, for_encrypting(*encrypt, *words)?)?,
                None => print_secret(&key.to_text())?,
            }
        }
        KeyVerb::Public { file } => print(&format!("{}\n", public_key(file)?))?,
        KeyVerb::Rotate { file, words } => rotate(file, *words)?,
        KeyVerb::Check { .. }
        | KeyVerb::Encrypt { .. }
        | KeyVerb::Passphrase { .. }
        | KeyVerb::Decrypt { .. } => sealing::run(&args.verb)?,
    }
    Ok(Exit::Ok)
}

/// Puts a new key in the place of another.
fn rotate(file: &Path, words: Words) -> Result<(), Failure> {
    let (old, passphrase) = match keys::read_stored(file)? {
        Stored::Plain(key) => (key, None),
        Stored::Sealed(envelope) => {
            let passphrase = words.opener().passphrase(file).map_err(Failure::failed)?;
            let key = keys::opened(&envelope, &passphrase, file)?;
            (key, Some(passphrase))
        }
    };
    let new = PrivateKey::generate(&mut OsEntropy);
    let now = clock::wall();
    let sealed = passphrase.as_ref().map(|p| (p, Cost::DEFAULT));
    let aside = keys::rotate(file, (&old, &new), (now, sealed), &mut OsEntropy)?;
    say(&format!(
        "l2vpn: the key before is in {} and stays good for a while; now `l2vpn reload`, then on the peers\n  \
         public_key = \"{}\"\n  accept_old = \"{}\"\n",
        aside.display(),
        new.public(),
        old.public()
    ));
    print(&format!("{}\n", new.public()))
}

fn new(output: Option<&Path>, encrypted: Option<Words>) -> Result<(), Failure> {
    let key = PrivateKey::generate(&mut OsEntropy);
    let Some(file) = output else {
        return print_secret(&key.to_text());
    };
    write(file, &key, encrypted)?;
    print(&format!("{}\n", key.public()))
}

/// Where a passphrase comes from, if there is to be one.
fn for_encrypting(encrypt: bool, words: Words) -> Result<Option<Words>, Failure> {
    if !encrypt && words.passphrase_fd.is_some() {
        let message = "a passphrase was given for a key that is not to be encrypted";
        return Err(Failure::with(Exit::Config, message, "say --encrypt"));
    }
    Ok(encrypt.then_some(words))
}

/// Makes a new file for a key, encrypted if there is somewhere to take a passphrase from.
fn write<K: Kept>(file: &Path, key: &K, encrypted: Option<Words>) -> Result<(), Failure> {
    let passphrase = encrypted.map(|words| new_passphrase(file, words));
    let passphrase = passphrase.transpose()?;
    let sealed = passphrase.as_ref().map(|p| (p, Cost::DEFAULT));
    Ok(keys::write_new(file, key, sealed, &mut OsEntropy)?)
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

/// The public key of a private one, which may stay encrypted.
fn public_key(file: &Path) -> Result<PublicKey, Failure> {
    if file != Path::new("-") {
        let stored = keys::read_stored::<PrivateKey>(file)?;
        return Ok(PublicKey::from_bytes(stored.shown()));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_LEN as usize + 1));
    std::io::stdin()
        .take(MAX_FILE_LEN)
        .read_to_string(&mut text)?;
    let key = PrivateKey::from_text(&text).map(|key| key.public());
    key.map_err(|e| {
        let hint = "pipe one in: `l2vpn key new | l2vpn key public`";
        Failure::with(
            Exit::Config,
            format!("stdin holds no private key: {e}"),
            hint,
        )
    })
}
