//! An authority's directory: its key, its network, a record of each member, who is revoked, and the log of all that.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::args::Words;
use super::super::exit::{Exit, Failure};
use super::super::render::say;
use super::super::sealing;
use crate::io::clock;
use crate::keys::{Armor, Authority, AuthorityKey, KeyFileError, NetworkFile, append_audit};
use crate::trust::Realm;
use crate::wire::delegation::Delegation;
use crate::wire::proof::Proof;
use crate::wire::record::Record;
use crate::wire::revocation::Revocations;

/// The authority's key.
pub(super) const KEY: &str = "authority.key";
const NETWORK: &str = "network";
const RECORDS: &str = "records";
const DELEGATIONS: &str = "delegations";
const REVOKED: &str = "revoked";
const LOG: &str = "audit.log";
/// Bytes of the longest file that is read here.
const MAX_LEN: u64 = 1 << 20;

/// A record, and its text.
pub(super) struct Signed {
    pub(super) record: Record,
}

/// An authority's directory, which nobody else works in meanwhile.
pub(super) struct Store {
    dir: PathBuf,
    pub(super) network: NetworkFile,
    _lock: File,
}

impl Store {
    /// Makes one where nothing is yet.
    pub(super) fn make(
        dir: &Path,
        network: NetworkFile,
        write_key: impl FnOnce(&Path) -> Result<(), KeyFileError>,
    ) -> Result<Store, Failure> {
        let new = fs::DirBuilder::new().mode(0o700).create(dir);
        new.map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AlreadyExists => {
                    "choose another name: an authority is never overwritten"
                }
                _ => "check that the path is right",
            };
            Failure::with(Exit::Failed, format!("{}: {error}", dir.display()), hint)
        })?;
        write_key(&dir.join(KEY))?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(dir.join(RECORDS))?;
        write_new(&dir.join(NETWORK), &network.to_text())?;
        Store::open(dir)
    }

    /// Opens one.
    pub(super) fn open(dir: &Path) -> Result<Store, Failure> {
        let file = dir.join(NETWORK);
        let lock = File::open(&file).map_err(|error| {
            let message = format!("{}: {error}", file.display());
            let hint = "an authority's directory is made by `l2vpn ca init DIR`";
            Failure::with(Exit::Failed, message, hint)
        })?;
        lock.lock()?;
        let network = NetworkFile::from_text(&read(&file)?).map_err(|line| {
            Failure::failed(format!("{}: line {line} is damaged", file.display()))
        })?;
        Ok(Store {
            dir: dir.into(),
            network,
            _lock: lock,
        })
    }

    /// The authority's key, opened with a passphrase if it needs one.
    pub(super) fn authority(&self, words: Words) -> Result<AuthorityKey, Failure> {
        sealing::key_in(&self.dir.join(KEY), words)
    }

    /// The record of a member, if it has one.
    pub(super) fn find(&self, name: &str) -> Result<Option<Signed>, Failure> {
        // A name is part of a file's name: nothing but names as records have them.
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_name) {
            let message = format!("\"{}\" is no member's name", name.escape_debug());
            let hint = "letters, digits, '-', '_' and '.', 63 at most";
            return Err(Failure::with(Exit::Config, message, hint));
        }
        let file = self.record_file(name);
        match file.exists() {
            true => self.record_in(&file).map(Some),
            false => Ok(None),
        }
    }

    /// The record of a member that has one.
    pub(super) fn member(&self, name: &str) -> Result<Signed, Failure> {
        self.find(name)?.ok_or_else(|| {
            let message = format!("there is no record of {name}");
            Failure::with(Exit::Failed, message, "`l2vpn ca list DIR` lists them")
        })
    }

    /// All records, by name.
    pub(super) fn all(&self) -> Result<Vec<Signed>, Failure> {
        let files = fs::read_dir(self.dir.join(RECORDS))?
            .flatten()
            .map(|e| e.path());
        let mut files: Vec<PathBuf> = files
            .filter(|p| p.extension().is_some_and(|e| e == "record"))
            .collect();
        files.sort();
        let mut all = Vec::new();
        for file in files {
            match self.record_in(&file) {
                Ok(signed) => all.push(signed),
                // One of an authority that is retired, perhaps; nothing is signed by it.
                Err(failure) => say(&format!("l2vpn: left out: {failure}\n")),
            }
        }
        Ok(all)
    }

    /// Keeps a record in the place of the one before.
    pub(super) fn keep(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        replace(&self.record_file(name), text)
    }

    /// Who is revoked so far.
    pub(super) fn revocations(&self) -> Result<Revocations, Failure> {
        let file = self.dir.join(REVOKED);
        if !file.exists() {
            return Ok(Revocations::default());
        }
        let bytes = Armor::Revocations.from_text(&read(&file)?);
        let list = bytes.and_then(|b| Revocations::parse(&b).ok());
        let realm = Realm::of(&self.network);
        let is_ours = |(list, signature): &(Revocations, [u8; 64])| {
            realm.believe_list(list, signature).is_ok()
        };
        let damaged = || {
            let message = format!("{} is damaged, or not of this authority", file.display());
            Failure::with(Exit::Failed, message, "take it from a copy")
        };
        let list = list.filter(is_ours).map(|(list, _)| list);
        list.ok_or_else(damaged)
    }

    /// Keeps the list; gives its file.
    pub(super) fn keep_revocations(&mut self, text: &str) -> Result<PathBuf, Failure> {
        let file = self.dir.join(REVOKED);
        replace(&file, text)?;
        Ok(file)
    }

    /// Keeps what an admin may sign: who revokes it has to know by which key.
    pub(super) fn keep_delegation(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let dir = self.dir.join(DELEGATIONS);
        fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&dir)?;
        replace(&dir.join(format!("{name}.delegation")), text)
    }

    /// The key that a member signs with, if it is an admin.
    pub(super) fn delegate_of(&self, name: &str) -> Result<Option<Authority>, Failure> {
        let file = self
            .dir
            .join(DELEGATIONS)
            .join(format!("{name}.delegation"));
        if !file.exists() {
            return Ok(None);
        }
        let bytes = Armor::Delegation.from_text(&read(&file)?);
        let delegation = bytes.and_then(|bytes| Delegation::parse(&bytes).ok());
        let key = delegation.map(|(d, _)| Authority::from_bytes(d.delegate));
        key.map(Some).ok_or_else(|| {
            let message = format!("{} is damaged", file.display());
            Failure::with(Exit::Failed, message, "take it from a copy")
        })
    }

    /// The admin that signs with a key, as far as is known here.
    pub(super) fn admin_with(&self, key: &[u8; 32]) -> Result<Option<String>, Failure> {
        for Signed { record } in self.all()? {
            let own = self.delegate_of(&record.name)?;
            if own.is_some_and(|own| own.as_bytes() == key) {
                return Ok(Some(record.name));
            }
        }
        Ok(None)
    }

    /// Takes over the records of the authority before.
    pub(super) fn follow(&mut self, before: &Store) -> Result<(), Failure> {
        for Signed { record } in before.all()? {
            let text = read(&before.record_file(&record.name))?;
            self.keep(&record.name, &text)?;
            let file = before.dir.join(DELEGATIONS);
            let file = file.join(format!("{}.delegation", record.name));
            if file.exists() {
                self.keep_delegation(&record.name, &read(&file)?)?;
            }
        }
        Ok(())
    }

    /// The names of members whose good records a key has signed.
    pub(super) fn signed_by(&self, key: &Authority) -> Result<Vec<String>, Failure> {
        let now = clock::wall().as_secs();
        let revoked = self.revocations()?;
        let all = self.all()?.into_iter().map(|signed| signed.record);
        let is_its = |r: &Record| {
            let counts = !revoked.has((&r.member, r.serial), &[0; 32]) && r.not_after > now;
            r.issuer == *key.as_bytes() && counts
        };
        Ok(all.filter(is_its).map(|r| r.name).collect())
    }

    /// An authority is none of the network any more.
    pub(super) fn forget_authority(&mut self, key: &Authority) -> Result<(), Failure> {
        let network = self.network.without(key);
        if network != self.network && !network.authorities.is_empty() {
            replace(&self.dir.join(NETWORK), &network.to_text())?;
            self.network = network;
            say(
                "l2vpn: the network's file has one authority less: export it again for new members\n",
            );
        }
        Ok(())
    }

    /// Notes what was done.
    pub(super) fn log(&self, what: &str, of: &[(&str, String)]) -> Result<(), Failure> {
        let file = self.dir.join(LOG);
        append_audit(&file, clock::wall().as_secs(), (what, of)).map_err(|error| {
            let message = format!("{}: {error}", file.display());
            Failure::with(
                Exit::Failed,
                message,
                "nothing was signed; see `l2vpn audit verify`",
            )
        })
    }

    fn record_file(&self, name: &str) -> PathBuf {
        self.dir.join(RECORDS).join(format!("{name}.record"))
    }

    /// A record as this authority has signed it: what somebody else has put there is not signed anew.
    fn record_in(&self, file: &Path) -> Result<Signed, Failure> {
        let bytes = Armor::Record.from_text(&read(file)?);
        let proof = bytes.and_then(|b| Proof::parse(&b).ok());
        let realm = Realm::of(&self.network);
        let is_ours = |proof: &Proof| realm.believe(proof).is_ok();
        let damaged = || {
            let message = format!("{} is damaged, or not of this authority", file.display());
            Failure::with(Exit::Failed, message, "take it from a copy")
        };
        let record = proof.filter(is_ours).map(|p| Signed { record: p.record });
        record.ok_or_else(damaged)
    }
}

/// A text file that is not too long.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let fail = |error: std::io::Error| Failure::failed(format!("{}: {error}", file.display()));
    let meta = fs::metadata(file).map_err(fail)?;
    if !meta.is_file() || meta.len() > MAX_LEN {
        return Err(Failure::failed(format!(
            "{} is no such file",
            file.display()
        )));
    }
    fs::read_to_string(file).map_err(fail)
}

/// Makes a new file; an existing one is left alone.
pub(super) fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    let fail = |error: std::io::Error| {
        let hint = "choose another name, or move the old file away";
        Failure::with(Exit::Failed, format!("{}: {error}", file.display()), hint)
    };
    let mut options = OpenOptions::new();
    let mut new = options
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(file)
        .map_err(fail)?;
    new.write_all(text.as_bytes())
        .and_then(|()| new.sync_all())
        .map_err(fail)
}

/// Puts a text in the place of another, whole or not at all.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()?;
    Ok(())
}
