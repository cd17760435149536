//! `key`: make keys and look at them. A private key is printed only where it was just made and has no file.

use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::args::{KeyArgs, KeyVerb, Words};
use super::exit::{Exit, Failure};
use super::render::{print, print_all, say};
use crate::io::clock::{self, OsEntropy};
use crate::keys::{
    self, Cost, MAX_FILE_LEN, Opener, Passphrase, PrivateKey, Psk, PublicKey, Stored, is_demo,
};

pub(super) fn run(args: &KeyArgs) -> Result<Exit, Failure> {
    match &args.verb {
        KeyVerb::New {
            output,
            encrypt,
            words,
        } => new(output.as_deref(), encrypt.then_some(*words))?,
        KeyVerb::Psk { output } => {
            let key = Psk::generate(&mut OsEntropy);
            match output {
                Some(file) => keys::write_psk(file, &key)?,
                None => print_secret(&key.to_text())?,
            }
        }
        KeyVerb::Public { file } => print(&format!("{}\n", public_key(file)?))?,
        KeyVerb::Check { file, words } => check(file, *words)?,
        KeyVerb::Encrypt { file, words } => {
            let key = match keys::read_stored(file)? {
                Stored::Plain(key) => key,
                Stored::Sealed(_) => {
                    let message = format!("{} is encrypted already", file.display());
                    let hint = "`l2vpn key passphrase` gives it another passphrase";
                    return Err(Failure::with(Exit::Failed, message, hint));
                }
            };
            seal_again(file, &key, *words)?;
            print(&format!("{}: encrypted\n", file.display()))?;
        }
        KeyVerb::Passphrase { file, words, new } => {
            let (key, before) = unsealed_by(file, *words)?;
            let words = Words {
                passphrase_fd: new.new_passphrase_fd,
            };
            let passphrase = new_passphrase(file, words)?;
            let sealed = Some((&passphrase, Cost::DEFAULT));
            keys::replace(file, &key, sealed, &mut OsEntropy)?;
            print(&format!("{}: has the new passphrase\n", file.display()))?;
            // The key before the last rotation goes with it: a member opens both by the same words.
            let aside = keys::retired(&file.canonicalize()?);
            if let Ok(Stored::Sealed(envelope)) = keys::read_stored(&aside) {
                let former = keys::opened(&envelope, &before, &aside)?;
                keys::replace(&aside, &former, sealed, &mut OsEntropy)?;
                print(&format!("{}: has it, too\n", aside.display()))?;
            }
        }
        KeyVerb::Rotate { file, words } => rotate(file, *words)?,
        KeyVerb::Decrypt {
            file,
            output,
            words,
        } => {
            let key = unsealed(file, *words)?;
            match output {
                Some(output) => keys::write_private(output, &key)?,
                None => keys::replace(file, &key, None, &mut OsEntropy)?,
            }
            let there = output.as_ref().unwrap_or(file);
            print(&format!("{}: decrypted\n", there.display()))?;
        }
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

/// Encrypts a key in its file, with a new passphrase.
fn seal_again(file: &Path, key: &PrivateKey, words: Words) -> Result<(), Failure> {
    let passphrase = new_passphrase(file, words)?;
    let sealed = Some((&passphrase, Cost::DEFAULT));
    Ok(keys::replace(file, key, sealed, &mut OsEntropy)?)
}

fn new_passphrase(file: &Path, words: Words) -> Result<Passphrase, Failure> {
    words.opener().new_passphrase(file).map_err(Failure::failed)
}

/// The key in an encrypted file.
fn unsealed(file: &Path, words: Words) -> Result<PrivateKey, Failure> {
    Ok(unsealed_by(file, words)?.0)
}

/// The same, with what has opened it.
fn unsealed_by(file: &Path, words: Words) -> Result<(PrivateKey, Passphrase), Failure> {
    let Stored::Sealed(envelope) = keys::read_stored(file)? else {
        let message = format!("{} is not encrypted", file.display());
        return Err(Failure::failed(message));
    };
    let passphrase = words.opener().passphrase(file).map_err(Failure::failed)?;
    let key = keys::opened(&envelope, &passphrase, file)?;
    Ok((key, passphrase))
}

fn new(output: Option<&Path>, encrypted: Option<Words>) -> Result<(), Failure> {
    let key = PrivateKey::generate(&mut OsEntropy);
    let Some(file) = output else {
        return print_secret(&key.to_text());
    };
    match encrypted {
        Some(words) => {
            let passphrase = words
                .opener()
                .new_passphrase(file)
                .map_err(Failure::failed)?;
            let sealed = (&passphrase, Cost::DEFAULT);
            keys::write_encrypted(file, &key, sealed, &mut OsEntropy)?;
        }
        None => keys::write_private(file, &key)?,
    }
    print(&format!("{}\n", key.public()))
}

fn check(file: &Path, words: Words) -> Result<(), Failure> {
    let (public, how) = match keys::read_stored(file)? {
        Stored::Plain(key) => (key.public(), "ok"),
        Stored::Sealed(envelope) => match words.opener().given().map_err(Failure::failed)? {
            Some(passphrase) => {
                let key = keys::opened(&envelope, &passphrase, file)?;
                (key.public(), "ok, encrypted, and the passphrase opens it")
            }
            None => (
                PublicKey::from_bytes(*envelope.public()),
                "ok, encrypted, not opened",
            ),
        },
    };
    if is_demo(&public) {
        let message = format!("{} is a published demo key", file.display());
        let hint = "make your own: l2vpn key new -o FILE";
        return Err(Failure::with(Exit::Config, message, hint));
    }
    print(&format!("{}: {how}, public key {public}\n", file.display()))
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
        return Ok(match keys::read_stored(file)? {
            Stored::Plain(key) => key.public(),
            Stored::Sealed(envelope) => PublicKey::from_bytes(*envelope.public()),
        });
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
