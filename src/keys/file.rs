//! Key files: one line of text, readable by their owner only, made whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::kept::Kept;
use super::{AuthorityKey, Cost, Entropy, Envelope, EnvelopeError, Holds};
use super::{KeyTextError, Passphrase, PrivateKey, Psk};

/// The longest file that is read as a key, in bytes.
pub const MAX_FILE_LEN: u64 = 4096;

/// Why a key file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be opened, read or made.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of that name is there already.
    #[error("{0} exists already; it is left as it is")]
    Exists(PathBuf),
    /// Others than the owner may read or write the file.
    #[error("{path} has mode {mode:04o}: others than its owner can use the key")]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to somebody else.
    #[error("{path} belongs to user {owner}, not to the user that runs this program")]
    Owner {
        /// Which file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// A member runs with the key.
    #[error("{0}: a member runs with this key")]
    InUse(PathBuf),
    /// Something else is there than what was read before.
    #[error("{0} was changed meanwhile; it is left as it is")]
    Changed(PathBuf),
    /// The file has another name, too.
    #[error("{0} has another name, a hard link, by which it would stay as it is")]
    Linked(PathBuf),
    /// The key before the last rotation is still there.
    #[error("{0} is there: the key before the last rotation is still good")]
    Rotating(PathBuf),
    /// The key is encrypted, and was wanted plain.
    #[error("{0}: the key is encrypted")]
    Sealed(PathBuf),
    /// The file holds an encrypted key that cannot be read or opened.
    #[error("{path}: {source}")]
    Envelope {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: EnvelopeError,
    },
    /// The file holds no key.
    #[error("{path} holds no key: {source}")]
    Text {
        /// Which file.
        path: PathBuf,
        /// What is wrong with the text.
        source: KeyTextError,
    },
}

impl KeyFileError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            KeyFileError::Permissions { path, .. } => format!("chmod 600 {}", path.display()),
            KeyFileError::Owner { path, .. } => {
                format!(
                    "chown it to that user, or make a new key: l2vpn key new -o {}",
                    path.display()
                )
            }
            KeyFileError::Exists(_) => "choose another name, or move the old file away".into(),
            KeyFileError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
                let missing = path
                    .parent()
                    .filter(|p| !p.as_os_str().is_empty() && !p.exists());
                match missing {
                    Some(dir) => format!("there is no directory {}", dir.display()),
                    None => format!("make one: l2vpn key new -o {}", path.display()),
                }
            }
            KeyFileError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "the disk is full: make room, or choose another place".into()
            }
            KeyFileError::Io { .. } => "check that the path is right and the file readable".into(),
            KeyFileError::InUse(_) => "end it first: `l2vpn down`".into(),
            KeyFileError::Rotating(path) => format!(
                "a running member erases it when its time is over; without it at once: rm {}",
                path.display()
            ),
            KeyFileError::Changed(_) => "look at it, and try again".into(),
            KeyFileError::Linked(_) => "remove the other name".into(),
            KeyFileError::Sealed(path) => {
                format!("l2vpn key decrypt {}", path.display())
            }
            KeyFileError::Envelope { source, .. } => match source {
                EnvelopeError::Closed => "try again, or take the file from a copy".into(),
                EnvelopeError::Memory => "free some memory, or open it elsewhere".into(),
                EnvelopeError::Other(Holds::NodeKey, Holds::Psk) => {
                    "if it is one, `l2vpn key decrypt` and `l2vpn key encrypt --psk` say so".into()
                }
                EnvelopeError::Other(Holds::Psk, Holds::NodeKey) => {
                    "if it is none, `l2vpn key decrypt` and `l2vpn key encrypt` say so".into()
                }
                EnvelopeError::Other(..) => "name the file that does".into(),
                _ => "take the file from a copy; `l2vpn key encrypt` writes such files".into(),
            },
            KeyFileError::Text { .. } => {
                "a key file holds one line as `l2vpn key new` or `wg genkey` prints it".into()
            }
        }
    }
}

/// A key as it is stored.
pub enum Stored<K = PrivateKey> {
    /// As it is: a member's and a pre-shared key as `wg` prints them.
    Plain(K),
    /// Encrypted.
    Sealed(Envelope),
}

impl<K: Kept> Stored<K> {
    /// The public half, or the fingerprint of what has none.
    pub fn shown(&self) -> [u8; 32] {
        match self {
            Stored::Plain(key) => key.shown(),
            Stored::Sealed(envelope) => *envelope.public(),
        }
    }
}

/// Reads a key that may be encrypted, and checks that nobody else can.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_stored<K: Kept>(path: &Path) -> Result<Stored<K>, KeyFileError> {
    stored_in(&read_secret(path)?, path)
}

/// The key in a text; `path` is where it comes from, for messages.
///
/// # Errors
/// See [`KeyFileError`].
pub fn stored_in<K: Kept>(text: &str, path: &Path) -> Result<Stored<K>, KeyFileError> {
    if Envelope::is_meant(text) {
        let envelope = Envelope::from_text(text);
        let envelope = envelope.and_then(|envelope| match envelope.holds() {
            holds if holds == K::HOLDS => Ok(envelope),
            holds => Err(EnvelopeError::Other(holds, K::HOLDS)),
        });
        return envelope.map(Stored::Sealed).map_err(closed(path));
    }
    K::from_plain(text).map(Stored::Plain).map_err(|source| {
        // One kind looks like no other, also in plain.
        match AuthorityKey::from_plain(text) {
            Ok(_) => closed(path)(EnvelopeError::Other(Holds::Authority, K::HOLDS)),
            Err(_) => KeyFileError::Text {
                path: path.into(),
                source,
            },
        }
    })
}

/// What kind of key is in a file, as it says itself; `None` for a text that a private key and a pre-shared one may have.
///
/// # Errors
/// See [`KeyFileError`].
pub fn kind_in(path: &Path) -> Result<Option<Holds>, KeyFileError> {
    let text = read_secret(path)?;
    if Envelope::is_meant(&text) {
        let envelope = Envelope::from_text(&text).map_err(closed(path))?;
        return Ok(Some(envelope.holds()));
    }
    let is_authority = AuthorityKey::from_plain(&text).is_ok();
    Ok(is_authority.then_some(Holds::Authority))
}

fn closed(path: &Path) -> impl FnOnce(EnvelopeError) -> KeyFileError {
    move |source| KeyFileError::Envelope {
        path: path.into(),
        source,
    }
}

/// Opens an encrypted key.
///
/// # Errors
/// [`KeyFileError::Envelope`], also when what it shows is another's.
pub fn opened<K: Kept>(
    envelope: &Envelope,
    passphrase: &Passphrase,
    path: &Path,
) -> Result<K, KeyFileError> {
    let key = envelope.open(passphrase).map(|key| K::of_secret(&key));
    match key {
        Ok(key) if key.shown() == *envelope.public() => Ok(key),
        other => Err(closed(path)(other.err().unwrap_or(EnvelopeError::Closed))),
    }
}

/// Makes a new file for a key with mode 0600, with a passphrase encrypted; an existing file is never touched.
///
/// # Errors
/// See [`KeyFileError`].
pub fn write_new<K: Kept>(
    path: &Path,
    key: &K,
    sealed: Option<(&Passphrase, Cost)>,
    entropy: &mut dyn Entropy,
) -> Result<(), KeyFileError> {
    write_secret(path, &text_of(path, key, sealed, entropy)?, false)
}

/// Reads a private key that is not encrypted, and checks that nobody else can.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_private(path: &Path) -> Result<PrivateKey, KeyFileError> {
    plain(read_stored(path)?, path)
}

fn plain<K>(stored: Stored<K>, path: &Path) -> Result<K, KeyFileError> {
    match stored {
        Stored::Plain(key) => Ok(key),
        Stored::Sealed(_) => Err(KeyFileError::Sealed(path.into())),
    }
}

/// Locks a file that is about to be replaced, as a running member does, if it still holds the key and has one name.
fn lock_unchanged<K: Kept>(path: &Path, key: &K) -> Result<File, KeyFileError> {
    let fail = |source| KeyFileError::Io {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(KeyFileError::InUse(path.into()));
    }
    if read_stored::<K>(path)?.shown() != key.shown() {
        return Err(KeyFileError::Changed(path.into()));
    }
    match file.metadata().map_err(fail)?.nlink() {
        1 => Ok(file),
        0 => Err(KeyFileError::Changed(path.into())),
        _ => Err(KeyFileError::Linked(path.into())),
    }
}

/// What the file of a key says: with a passphrase the envelope.
fn text_of<K: Kept>(
    path: &Path,
    key: &K,
    sealed: Option<(&Passphrase, Cost)>,
    entropy: &mut dyn Entropy,
) -> Result<Zeroizing<String>, KeyFileError> {
    let Some((passphrase, cost)) = sealed else {
        return Ok(key.to_plain());
    };
    let content = (K::HOLDS, key.shown(), key.secret());
    let envelope = Envelope::seal(content, passphrase, cost, entropy).map_err(closed(path))?;
    Ok(Zeroizing::new(envelope.to_text()))
}

/// Puts a key's file in another form, in one step: with a passphrase encrypted, without one plain. The file is whole in one form
/// or the other whatever happens.
///
/// # Errors
/// See [`KeyFileError`].
pub fn replace<K: Kept>(
    path: &Path,
    key: &K,
    sealed: Option<(&Passphrase, Cost)>,
    entropy: &mut dyn Entropy,
) -> Result<(), KeyFileError> {
    // Where it is, not where a link to it is: the old form must go.
    let path = &fs::canonicalize(path).map_err(|source| KeyFileError::Io {
        path: path.into(),
        source,
    })?;
    // The lock of a running member goes with the old file.
    let _lock = lock_unchanged(path, key)?;
    write_secret(path, &text_of(path, key, sealed, entropy)?, true)
}

/// Puts a new key in the place of another, which is put aside as [`retired`] says; gives where. With a passphrase the new one is
/// encrypted; the old one stays as it was, and has `now`, the time since 1970, as the time of its last change. There is a whole key
/// under the name at any moment.
///
/// # Errors
/// See [`KeyFileError`].
pub fn rotate(
    path: &Path,
    (old, new): (&PrivateKey, &PrivateKey),
    (now, sealed): (Duration, Option<(&Passphrase, Cost)>),
    entropy: &mut dyn Entropy,
) -> Result<PathBuf, KeyFileError> {
    let fail = |source| KeyFileError::Io {
        path: path.into(),
        source,
    };
    let path = &fs::canonicalize(path).map_err(fail)?;
    if read_stored::<PrivateKey>(path)?.shown() != old.shown() {
        return Err(KeyFileError::Changed(path.into()));
    }
    let text = text_of(path, new, sealed, entropy)?;
    let aside = retired(path);
    // From this moment its time runs.
    let file = File::open(path).map_err(fail)?;
    let inode = file.metadata().map_err(fail)?.ino();
    match fs::hard_link(path, &aside) {
        Ok(()) => {}
        // A rotation that was broken off between the two steps goes on.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = fs::symlink_metadata(&aside).map_err(fail)?;
            if there.ino() != inode {
                return Err(KeyFileError::Rotating(aside));
            }
        }
        Err(error) => return Err(fail(error)),
    }
    file.set_modified(UNIX_EPOCH + now).map_err(fail)?;
    write_secret(path, &text, true)?;
    Ok(aside)
}

/// Where the key before is put aside, when the one in this file is rotated.
pub fn retired(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

/// Reads a pre-shared key that is not encrypted, and checks that nobody else can.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_psk(path: &Path) -> Result<Psk, KeyFileError> {
    plain(read_stored(path)?, path)
}

/// Makes a new private key file with mode 0600; an existing file is never touched.
///
/// # Errors
/// See [`KeyFileError`].
pub fn write_private(path: &Path, key: &PrivateKey) -> Result<(), KeyFileError> {
    write_secret(path, &key.to_text(), false)
}

/// Makes a new pre-shared key file with mode 0600; an existing file is never touched.
///
/// # Errors
/// See [`KeyFileError`].
pub fn write_psk(path: &Path, key: &Psk) -> Result<(), KeyFileError> {
    write_secret(path, &key.to_text(), false)
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let fail = |source| KeyFileError::Io {
        path: path.into(),
        source,
    };
    let irregular = || fail(io::Error::other("not a regular file"));
    // Asked first, because opening a FIFO waits for somebody who writes into it.
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(irregular());
    }
    let file = File::open(path).map_err(fail)?;
    // The open file is asked, not the name: the name may point elsewhere a moment later.
    let meta = file.metadata().map_err(fail)?;
    if !meta.is_file() {
        return Err(irregular());
    }
    if meta.mode() & 0o077 != 0 {
        return Err(KeyFileError::Permissions {
            path: path.into(),
            mode: meta.mode() & 0o7777,
        });
    }
    let me = fs::metadata("/proc/self").map(|m| m.uid()).unwrap_or(0);
    if meta.uid() != me {
        return Err(KeyFileError::Owner {
            path: path.into(),
            owner: meta.uid(),
        });
    }
    // Room for the longest file, so that the string never moves and leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_LEN as usize + 1));
    match file.take(MAX_FILE_LEN).read_to_string(&mut text) {
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(KeyFileError::Text {
            path: path.into(),
            source: KeyTextError::NotBase64,
        })?,
        other => other.map_err(fail)?,
    };
    Ok(text)
}

fn write_secret(path: &Path, text: &str, replaces: bool) -> Result<(), KeyFileError> {
    let fail = |source| KeyFileError::Io {
        path: path.into(),
        source,
    };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // tempfile opens with O_EXCL and mode 0600; the name appears only when the content is on disk.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    file.write_all(b"\n").map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    let named = match replaces {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    named.map_err(|e| {
        if e.error.kind() == io::ErrorKind::AlreadyExists {
            KeyFileError::Exists(path.into())
        } else {
            fail(e.error)
        }
    })?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_private_exclusive_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let key = PrivateKey::from_bytes([3; 32]);
        write_private(&path, &key).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_private(&path).unwrap().expose(), key.expose());
        assert!(matches!(
            write_private(&path, &PrivateKey::from_bytes([4; 32])),
            Err(KeyFileError::Exists(_))
        ));
        assert_eq!(read_private(&path).unwrap().expose(), key.expose());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    struct NoDice;

    impl Entropy for NoDice {
        fn fill(&mut self, _: &mut [u8]) {}
    }

    #[test]
    fn a_rotation_keeps_both_keys_and_goes_on_where_it_was_broken_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let [a, b, c] = [3, 4, 5].map(|n| PrivateKey::from_bytes([n; 32]));
        write_private(&path, &a).unwrap();
        let at = Duration::from_secs;
        let turn = |old: &PrivateKey, new: &PrivateKey, secs| {
            rotate(&path, (old, new), (at(secs), None), &mut NoDice)
        };
        // Broken off after the first step.
        fs::hard_link(&path, retired(&path)).unwrap();
        let aside = turn(&a, &b, 1_800_000_000).unwrap();
        assert_eq!(aside, retired(&path));
        assert_eq!(read_private(&path).unwrap().expose(), b.expose());
        assert_eq!(read_private(&aside).unwrap().expose(), a.expose());
        let modified = fs::metadata(&aside).unwrap().modified().unwrap();
        assert_eq!(modified, UNIX_EPOCH + at(1_800_000_000));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        // Not twice at a time: the first key would be lost.
        assert!(matches!(turn(&b, &c, 1), Err(KeyFileError::Rotating(_))));
        assert_eq!(read_private(&path).unwrap().expose(), b.expose());
        fs::remove_file(&aside).unwrap();
        assert!(matches!(turn(&a, &c, 1), Err(KeyFileError::Changed(_))));
        turn(&b, &c, 1).unwrap();
        assert_eq!(read_private(&aside).unwrap().expose(), b.expose());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn files_that_others_can_read_or_that_hold_no_key_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        write_private(&path, &PrivateKey::from_bytes([3; 32])).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_private(&path).err().unwrap();
            assert!(
                matches!(error, KeyFileError::Permissions { .. }),
                "{mode:o}"
            );
            assert!(error.hint().starts_with("chmod 600"));
        }
        let junk = dir.path().join("junk");
        for text in ["", "short\n", &"A".repeat(5000)] {
            let _ = fs::remove_file(&junk);
            fs::write(&junk, text).unwrap();
            fs::set_permissions(&junk, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(read_psk(&junk), Err(KeyFileError::Text { .. })));
        }
        assert!(matches!(
            read_private(dir.path()),
            Err(KeyFileError::Io { .. } | KeyFileError::Permissions { .. })
        ));
    }
}
