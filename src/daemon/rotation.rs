//! The member's own keys: which count now, and when the one before is erased.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::assemble::{Member, StartError};
use super::state;
use crate::config::{Config, Identity, KeySource};
use crate::io::clock;
use crate::keys::{OwnKeys, PrivateKey, PublicKey, read_stored};

/// The keys that count at this time of day: the former one as long as the configuration says.
pub(super) fn keys_at(own: &Identity, wall: Duration) -> OwnKeys {
    let is_over = own.retiring.as_ref().is_none_or(|r| wall >= r.until);
    OwnKeys {
        current: own.keys.current.clone(),
        former: own.keys.former.clone().filter(|_| !is_over),
    }
}

/// The public half of the key in a file.
fn public_in(file: &Path) -> Option<PublicKey> {
    let stored = read_stored::<PrivateKey>(file).ok()?;
    Some(PublicKey::from_bytes(stored.shown()))
}

/// A key that was put aside before any clock of today, or in the future, has been put aside now: the clock was wrong then, and
/// neither shall the key be over at once nor last for years.
pub(super) fn settle_time(own: &mut Identity) {
    /// 2020-01-01: this program is younger.
    const PAST: Duration = Duration::from_secs(1_577_836_800);
    let wall = clock::wall();
    let Some(retiring) = &mut own.retiring else {
        return;
    };
    let is_wrong = retiring.since < PAST || retiring.since > wall + Duration::from_secs(60);
    if !is_wrong {
        return;
    }
    let overlap = retiring.until.saturating_sub(retiring.since);
    (retiring.since, retiring.until) = (wall, wall + overlap);
    let now = std::time::UNIX_EPOCH + wall;
    let told = File::open(&retiring.file).and_then(|file| file.set_modified(now));
    if let Err(error) = told {
        let file = retiring.file.display();
        tracing::warn!("the time of {file} was wrong and stays so: {error}");
    }
}

/// Locks the file of the key, if it is in one: nobody else can open it, and the lock goes with the process, however it ends. Two
/// members with one key would take each other's packets.
///
/// # Errors
/// When a member runs with the key.
pub(super) fn lock(config: &Config) -> Result<Option<File>, StartError> {
    let system = |source: io::Error| StartError::System {
        what: "lock the key file",
        source,
    };
    // A key that is in no file has nothing to lie on: the control socket tells.
    let KeySource::File(path) = &config.own.source else {
        return Ok(None);
    };
    let file = File::open(path).map_err(system)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let key = path.display();
            Err(StartError::Running(format!("a member with {key}")))
        }
        // A file system without locks: the control socket still tells.
        Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// The key that the MACs of ports are made of.
pub(super) fn origin(config: &Config) -> PublicKey {
    let file = state::origin_file(&config.state_dir, &config.name);
    let origin = state::read_origin(&file, &config.own.keys.names());
    note_origin(config, &origin);
    origin
}

/// Keeps it for the time after a restart, when the key is another one by now.
pub(super) fn note_origin(config: &Config, origin: &PublicKey) {
    let now = config.own.public();
    let file = state::origin_file(&config.state_dir, &config.name);
    if now == *origin {
        return;
    }
    if let Err(error) = state::write_origin(&file, origin, &now) {
        let file = file.display();
        tracing::warn!(
            "cannot write {file}: {error}; after a restart ports without `mac` have other MACs"
        );
    }
}

impl Member {
    /// The key before the last rotation is not good any more: nobody is answered by it, and it is erased.
    pub(super) fn retire_key(&mut self) {
        let wall = clock::wall();
        let own = &mut self.config.own;
        let Some(retiring) = own.retiring.take_if(|r| wall >= r.until) else {
            return;
        };
        let former = own.keys.former.take().map(|key| key.public());
        let (keys, network) = (own.keys.clone(), own.network.clone());
        self.node.set_keys(keys, network, clock::now());
        let file = retiring.file.display();
        // Another key may lie there by now: one that is still in use elsewhere.
        let is_it = former.is_some() && public_in(&retiring.file) == former;
        if !is_it {
            tracing::warn!(
                "the key before the last rotation is over; {file} holds another one and stays"
            );
            return;
        }
        match fs::remove_file(&retiring.file) {
            Ok(()) => tracing::info!("the key before the last rotation is over: {file} is erased"),
            Err(error) => {
                tracing::warn!("the key before the last rotation is over: erase {file}: {error}")
            }
        }
    }
}
