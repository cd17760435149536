//! Where the member's own key comes from.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::checker::Checker;
use super::paths::resolve;
use super::raw::{Field, RawNode};
use crate::keys::{self, Kept, KeyFileError, Opener, PrivateKey, Psk, PublicKey, Stored, is_demo};

/// Names what the service manager hands over, where a file's name could stand.
const CREDENTIAL: &str = "credential:";

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file, encrypted or not.
    File(PathBuf),
    /// What the service manager hands over under this name.
    Credential(String),
    /// What this program with these arguments prints.
    Command(Vec<String>),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => write!(f, "{}", path.display()),
            KeySource::Credential(name) => write!(f, "the credential \"{name}\""),
            // Its arguments are nobody's business.
            KeySource::Command(command) => write!(
                f,
                "the key_command \"{}\"",
                command.first().map_or("", String::as_str)
            ),
        }
    }
}

/// A key that may be at hand already.
pub(super) trait AtHandKey: Kept {
    /// The key of which an envelope shows this.
    fn known(opener: &dyn Opener, shown: &[u8; 32]) -> Option<Self>;
}

impl AtHandKey for PrivateKey {
    fn known(opener: &dyn Opener, shown: &[u8; 32]) -> Option<Self> {
        opener.known(Some(&PublicKey::from_bytes(*shown)))
    }
}

impl AtHandKey for Psk {
    fn known(opener: &dyn Opener, shown: &[u8; 32]) -> Option<Self> {
        opener.known_psk(shown)
    }
}

impl Checker<'_> {
    /// The member's key, and where it comes from.
    pub(super) fn own_key(
        &mut self,
        node: &mut RawNode,
        node_at: &Range<usize>,
    ) -> Option<(PrivateKey, KeySource)> {
        let (source, at) = self.key_source(node, node_at)?;
        let key = match &source {
            KeySource::File(path) => self.key_in_file(path),
            KeySource::Credential(name) => self.handed_over(&source, |c| c.opener.credential(name)),
            KeySource::Command(command) => match self.opener.instead_of_running() {
                Some(key) => {
                    self.findings
                        .warning(&at, "the key_command is not run by a check");
                    Ok(key)
                }
                None => self.handed_over(&source, |c| c.opener.output_of(command)),
            },
        };
        match key {
            Ok(key) => {
                if is_demo(&key.public()) {
                    self.demo_key(&at, "this private key is published: everybody has it");
                }
                Some((key, source))
            }
            Err((message, hint)) => {
                let finding = self.findings.error(&at, message);
                if !hint.is_empty() {
                    finding.hint(hint);
                }
                None
            }
        }
    }

    fn key_source(
        &mut self,
        node: &mut RawNode,
        node_at: &Range<usize>,
    ) -> Option<(KeySource, Range<usize>)> {
        let (key, command) = (node.key.take(), node.key_command.take());
        if let (Some(_), Some(command)) = (&key, &command) {
            self.findings
                .error(&command.span, "[node] has a key and a key_command")
                .hint("keep one of them");
            return None;
        }
        if let Some(command) = command {
            return self.command(command);
        }
        let missing = key.is_none();
        let Some((file, at)) = self.take(key) else {
            if missing {
                self.findings
                    .error(node_at, "[node] names no key")
                    .hint("make one with `l2vpn key new -o a.key` and write key = \"a.key\"");
            }
            return None;
        };
        if self.is_a_key_itself(&file, &at) {
            return None;
        }
        if let Some(name) = file.strip_prefix(CREDENTIAL) {
            if name.is_empty() || name.contains('/') || name.starts_with('.') {
                self.findings.error(&at, "this names no credential").hint(
                    "key = \"credential:node.key\", with LoadCredential=node.key:/path in the unit",
                );
                return None;
            }
            return Some((KeySource::Credential(name.into()), at));
        }
        Some((KeySource::File(resolve(self.path, &file)), at))
    }

    fn command(&mut self, field: Field<Vec<String>>) -> Option<(KeySource, Range<usize>)> {
        let (command, at) = self.take(Some(field))?;
        if command.first().is_none_or(String::is_empty) {
            self.findings
                .error(&at, "key_command names no program")
                .hint("key_command = [\"pass\", \"show\", \"l2vpn\"]: a program and its arguments");
            return None;
        }
        Some((KeySource::Command(command), at))
    }

    /// The key in a file, which is opened when it is encrypted; or what is wrong, and what to do. What has opened another key is tried
    /// before anybody is asked.
    pub(super) fn key_in_file<K: AtHandKey>(&mut self, path: &Path) -> Result<K, (String, String)> {
        let words = |error: KeyFileError| (error.to_string(), error.hint());
        let envelope = match keys::read_stored(path).map_err(words)? {
            Stored::Plain(key) => return Ok(key),
            Stored::Sealed(envelope) => envelope,
        };
        if let Some(key) = K::known(self.opener, envelope.public()) {
            return Ok(key);
        }
        let mut known = self.words.iter();
        if let Some(key) = known.find_map(|words| keys::opened(&envelope, words, path).ok()) {
            return Ok(key);
        }
        let passphrase = self.opener.passphrase(path);
        let passphrase = passphrase.map_err(|why| {
            let message = format!("{}: the key is encrypted, and {why}", path.display());
            let hint = "start it in a terminal, or with --passphrase-fd N, or with \
                        LoadCredential=l2vpn-passphrase:/path in the unit";
            (message, hint.to_string())
        })?;
        let key = keys::opened(&envelope, &passphrase, path).map_err(words)?;
        self.words.push(passphrase);
        Ok(key)
    }

    /// A key that is nobody's file.
    fn handed_over(
        &mut self,
        source: &KeySource,
        get: impl FnOnce(&mut Self) -> Result<zeroize::Zeroizing<String>, String>,
    ) -> Result<PrivateKey, (String, String)> {
        if let Some(key) = self.opener.known(None) {
            return Ok(key);
        }
        let text = get(self).map_err(|why| (format!("{source}: {why}"), String::new()))?;
        PrivateKey::from_text(&text).map_err(|why| {
            let hint = "it has to be one line as `l2vpn key new` or `wg genkey` prints it";
            (format!("{source} is no key: {why}"), hint.to_string())
        })
    }
}
