//! `key check`, `encrypt`, `passphrase` and `decrypt`: what is the same for every kind of key that is kept in a file.

use std::path::Path;

use super::args::{KeyVerb, Words};
use super::exit::{Exit, Failure};
use super::render::print;
use crate::io::clock::OsEntropy;
use crate::keys::{
    self, Authority, AuthorityKey, Cost, Holds, Kept, Opener, Passphrase, PrivateKey, Psk,
    PublicKey, Stored, is_demo,
};

/// Does what a verb says to the key in a file, whatever kind of key it is.
pub(super) fn run(verb: &KeyVerb) -> Result<(), Failure> {
    let (file, is_psk) = match verb {
        KeyVerb::Check { file, psk, .. } | KeyVerb::Encrypt { file, psk, .. } => (file, *psk),
        KeyVerb::Passphrase { file, .. } | KeyVerb::Decrypt { file, .. } => (file, false),
        _ => return Ok(()),
    };
    let said = match is_psk {
        true => Holds::Psk,
        false => Holds::NodeKey,
    };
    present(file, said)?;
    let found = keys::kind_in(file)?;
    if let (true, Some(other)) = (is_psk, found.filter(|f| *f != Holds::Psk)) {
        let message = format!(
            "{} holds {}, no pre-shared key",
            file.display(),
            other.words()
        );
        return Err(Failure::with(Exit::Config, message, "leave out the --psk"));
    }
    match found.unwrap_or(said) {
        Holds::NodeKey => work::<PrivateKey>(file, verb),
        Holds::Psk => work::<Psk>(file, verb),
        Holds::Authority => work::<AuthorityKey>(file, verb),
    }
}

fn work<K: Kept>(file: &Path, verb: &KeyVerb) -> Result<(), Failure> {
    match verb {
        KeyVerb::Check { words, .. } => check::<K>(file, *words),
        KeyVerb::Encrypt { words, .. } => encrypt::<K>(file, *words),
        KeyVerb::Passphrase { words, new, .. } => {
            let new = Words {
                passphrase_fd: new.new_passphrase_fd,
            };
            change_passphrase::<K>(file, *words, new)
        }
        KeyVerb::Decrypt { output, words, .. } => decrypt::<K>(file, output.as_deref(), *words),
        _ => Ok(()),
    }
}

fn check<K: Kept>(file: &Path, words: Words) -> Result<(), Failure> {
    let stored = keys::read_stored::<K>(file)?;
    let how = match &stored {
        Stored::Plain(_) => "ok",
        Stored::Sealed(envelope) => match words.opener().given().map_err(Failure::failed)? {
            Some(passphrase) => {
                keys::opened::<K>(envelope, &passphrase, file)?;
                "ok, encrypted, and the passphrase opens it"
            }
            None => "ok, encrypted, not opened",
        },
    };
    let shown = stored.shown();
    let public = PublicKey::from_bytes(shown);
    if K::HOLDS == Holds::NodeKey && is_demo(&public) {
        let message = format!("{} is a published demo key", file.display());
        let hint = "make your own: l2vpn key new -o FILE";
        return Err(Failure::with(Exit::Config, message, hint));
    }
    let what = match K::HOLDS {
        Holds::NodeKey => format!("public key {public}"),
        Holds::Psk => format!("pre-shared key with the fingerprint {public}"),
        Holds::Authority => format!("authority {}", Authority::from_bytes(shown)),
    };
    print(&format!("{}: {how}, {what}\n", file.display()))
}

fn encrypt<K: Kept>(file: &Path, words: Words) -> Result<(), Failure> {
    let key = match keys::read_stored::<K>(file)? {
        Stored::Plain(key) => key,
        Stored::Sealed(_) => {
            let message = format!("{} is encrypted already", file.display());
            let hint = "`l2vpn key passphrase` gives it another passphrase";
            return Err(Failure::with(Exit::Failed, message, hint));
        }
    };
    let passphrase = new_passphrase(file, words)?;
    let sealed = Some((&passphrase, Cost::DEFAULT));
    keys::replace(file, &key, sealed, &mut OsEntropy)?;
    print(&format!("{}: encrypted\n", file.display()))
}

fn change_passphrase<K: Kept>(file: &Path, words: Words, new: Words) -> Result<(), Failure> {
    let (key, before) = unsealed::<K>(file, words)?;
    let passphrase = new_passphrase(file, new)?;
    let sealed = Some((&passphrase, Cost::DEFAULT));
    // The key before the last rotation goes with it, as a member opens both by the same words.
    let aside = keys::retired(&file.canonicalize()?);
    let former = match keys::read_stored::<K>(&aside) {
        Ok(Stored::Sealed(envelope)) if K::HOLDS == Holds::NodeKey => {
            Some(keys::opened::<K>(&envelope, &before, &aside).ok())
        }
        _ => None,
    };
    keys::replace(file, &key, sealed, &mut OsEntropy)?;
    print(&format!("{}: has the new passphrase\n", file.display()))?;
    match former {
        None => Ok(()),
        Some(None) => print(&format!("{}: keeps its own\n", aside.display())),
        Some(Some(former)) => {
            keys::replace(&aside, &former, sealed, &mut OsEntropy)?;
            print(&format!("{}: has it, too\n", aside.display()))
        }
    }
}

fn decrypt<K: Kept>(file: &Path, output: Option<&Path>, words: Words) -> Result<(), Failure> {
    let (key, _) = unsealed::<K>(file, words)?;
    match output {
        Some(output) => keys::write_new(output, &key, None, &mut OsEntropy)?,
        None => keys::replace(file, &key, None, &mut OsEntropy)?,
    }
    let there = output.unwrap_or(file);
    print(&format!("{}: decrypted\n", there.display()))
}

/// A new passphrase for a file.
pub(super) fn new_passphrase(file: &Path, words: Words) -> Result<Passphrase, Failure> {
    words.opener().new_passphrase(file).map_err(Failure::failed)
}

/// Who looks for a pre-shared key is told how one is made.
fn present(file: &Path, kind: Holds) -> Result<(), Failure> {
    if kind == Holds::Psk && !file.exists() {
        let message = format!("{}: there is no such file", file.display());
        let hint = format!("make one: l2vpn key psk -o {}", file.display());
        return Err(Failure::with(Exit::Config, message, hint));
    }
    Ok(())
}

/// The key in a file, opened with a passphrase if it needs one.
pub(super) fn key_in<K: Kept>(file: &Path, words: Words) -> Result<K, Failure> {
    present(file, K::HOLDS)?;
    match keys::read_stored(file)? {
        Stored::Plain(key) => Ok(key),
        Stored::Sealed(envelope) => {
            let passphrase = words.opener().passphrase(file).map_err(Failure::failed)?;
            Ok(keys::opened(&envelope, &passphrase, file)?)
        }
    }
}

/// The key in an encrypted file, with what has opened it.
fn unsealed<K: Kept>(file: &Path, words: Words) -> Result<(K, Passphrase), Failure> {
    let Stored::Sealed(envelope) = keys::read_stored::<K>(file)? else {
        let message = format!("{} is not encrypted", file.display());
        return Err(Failure::failed(message));
    };
    let passphrase = words.opener().passphrase(file).map_err(Failure::failed)?;
    let key = keys::opened(&envelope, &passphrase, file)?;
    Ok((key, passphrase))
}
