//! Words that open a key, and where they and keys come from that are in no plain file.

use std::path::Path;

use zeroize::Zeroizing;

use super::kept::Kept;
use super::{OwnKeys, PrivateKey, Psk, PublicKey};

/// The longest passphrase, in bytes.
pub const MAX_PASSPHRASE: usize = 1024;

/// Words that open an encrypted key; wiped when dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// A passphrase as it was typed or read: the first line, so that it can be typed as well as read. `None` when nothing is left, or
    /// too much.
    pub fn new(text: &str) -> Option<Self> {
        let words = text.split('\n').next().unwrap_or_default();
        let words = words.strip_suffix('\r').unwrap_or(words);
        let fits = !words.is_empty() && words.len() <= MAX_PASSPHRASE;
        fits.then(|| Passphrase(Zeroizing::new(words.as_bytes().to_vec())))
    }

    /// The words, for whoever has to hand them on.
    pub(crate) fn words(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// How secrets are come by that are not simply in a file. A failure is told in words, for whoever named the secret.
pub trait Opener {
    /// The passphrase of an encrypted key.
    ///
    /// # Errors
    /// When there is nobody to ask.
    fn passphrase(&mut self, file: &Path) -> Result<Passphrase, String>;

    /// What a command prints.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    fn output_of(&mut self, command: &[String]) -> Result<Zeroizing<String>, String>;

    /// What the service manager hands over under a name.
    ///
    /// # Errors
    /// When it hands over nothing.
    fn credential(&mut self, name: &str) -> Result<Zeroizing<String>, String>;

    /// A key that stands for what a command would print, where none is run.
    fn instead_of_running(&self) -> Option<PrivateKey> {
        None
    }

    /// A key that is at hand already, so that nobody is asked again: that with this public key, or with any.
    fn known(&self, _public: Option<&PublicKey>) -> Option<PrivateKey> {
        None
    }

    /// The same for a pre-shared key, by its fingerprint.
    fn known_psk(&self, _shown: &[u8; 32]) -> Option<Psk> {
        None
    }
}

/// Asks nobody: what is encrypted stays closed.
pub struct Nobody;

impl Opener for Nobody {
    fn passphrase(&mut self, _: &Path) -> Result<Passphrase, String> {
        Err("nobody is asked for a passphrase here".into())
    }

    fn output_of(&mut self, _: &[String]) -> Result<Zeroizing<String>, String> {
        Err("no command is run here".into())
    }

    fn credential(&mut self, _: &str) -> Result<Zeroizing<String>, String> {
        Err("nobody hands over anything here".into())
    }
}

/// The keys that are at hand already, and nobody is asked for others.
pub struct AtHand {
    /// The member's keys.
    pub keys: OwnKeys,
    /// Pre-shared keys.
    pub psks: Vec<Psk>,
    /// What opens others, if it was given along.
    pub passphrase: Option<Passphrase>,
    /// Whether it may stand for any other: where no key is used, and none has to be opened.
    pub stands_in: bool,
}

impl Opener for AtHand {
    fn passphrase(&mut self, _: &Path) -> Result<Passphrase, String> {
        let given = self.passphrase.clone();
        given.ok_or_else(|| "it is another one than that in use: no passphrase was given".into())
    }

    fn output_of(&mut self, command: &[String]) -> Result<Zeroizing<String>, String> {
        Nobody.output_of(command)
    }

    fn credential(&mut self, name: &str) -> Result<Zeroizing<String>, String> {
        Nobody.credential(name)
    }

    fn known(&self, public: Option<&PublicKey>) -> Option<PrivateKey> {
        let OwnKeys { current, former } = &self.keys;
        if public.is_none() || self.stands_in {
            return Some(current.clone());
        }
        let mut both = std::iter::once(current).chain(former);
        both.find(|key| public == Some(&key.public())).cloned()
    }

    fn known_psk(&self, shown: &[u8; 32]) -> Option<Psk> {
        if self.stands_in {
            // Another one for each file.
            return Some(Psk::from_bytes(*shown));
        }
        self.psks.iter().find(|psk| psk.shown() == *shown).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_no_part_of_a_passphrase() {
        for (text, words) in [
            ("a b", "a b"),
            ("a b\n", "a b"),
            ("a\r\n", "a"),
            (" a\n\n", " a"),
            ("a\nb\n", "a"),
        ] {
            let passphrase = Passphrase::new(text).unwrap();
            assert_eq!(passphrase.expose(), words.as_bytes());
        }
        for text in ["", "\n", "\r\n", &"x".repeat(MAX_PASSPHRASE + 1)] {
            assert!(Passphrase::new(text).is_none());
        }
    }
}
