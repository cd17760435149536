//! What survives a restart: the mark below which no stamp of ours falls, and the name that our ports' MACs are made of.
//!
//! Losing them costs little (a peer asks for a proof of address once; after a rotation of the key, ports that have no `mac` of their
//! own get others), so trouble with the disk is a warning.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::keys::{Names, PublicKey};

/// The file of one member's mark.
pub(super) fn mark_file(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join(format!("{name}.mark"))
}

/// Reads the mark: seconds since 1970, 0 when there is none or it is damaged.
pub(super) fn read_mark(file: &Path) -> u64 {
    // A mark is a few digits in a regular file; anything else is none.
    let small = fs::metadata(file).is_ok_and(|m| m.is_file() && m.len() < 64);
    let text = match small {
        true => fs::read_to_string(file).unwrap_or_default(),
        false => String::new(),
    };
    // A mark far in the future would be kept for ever; one that no clock of this century shows is damage.
    text.trim()
        .parse()
        .ok()
        .filter(|m| *m < 1 << 33)
        .unwrap_or(0)
}

/// Writes the mark: whole or not at all.
///
/// # Errors
/// As the system says; the old mark stays.
pub(super) fn write_mark(file: &Path, mark: u64) -> io::Result<()> {
    write(file, &format!("{mark}\n"))
}

/// The file of the key that a member had first.
pub(super) fn origin_file(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join(format!("{name}.origin"))
}

/// The key that a member had first: the MACs of its ports are made of it, and stay as they are when the key is rotated.
///
/// The file names it beside the key that the member had last; it says nothing of a member with other keys.
pub(super) fn read_origin(file: &Path, own: &Names) -> PublicKey {
    let small = fs::metadata(file).is_ok_and(|m| m.is_file() && m.len() < 256);
    let text = small.then(|| fs::read_to_string(file).ok()).flatten();
    let text = text.unwrap_or_default();
    let mut keys = text.split_whitespace().map(str::parse::<PublicKey>);
    match (keys.next(), keys.next()) {
        (Some(Ok(origin)), Some(Ok(last))) if own.has(&last) => origin,
        _ => own.oldest(),
    }
}

/// Writes it, beside the key that the member has now.
///
/// # Errors
/// As the system says; the old file stays.
pub(super) fn write_origin(file: &Path, origin: &PublicKey, now: &PublicKey) -> io::Result<()> {
    write(file, &format!("{origin} {now}\n"))
}

/// The file of the revocations that a member has seen.
pub(super) fn revoked_file(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join(format!("{name}.revoked"))
}

/// The file of the invitations that an admin has made: it holds secrets.
pub(super) fn invites_file(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join(format!("{name}.invites"))
}

/// The log of what an admin has given.
pub(super) fn audit_file(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join(format!("{name}.audit.log"))
}

/// The file of the record that an admin has given a member.
pub(super) fn record_file(state_dir: &Path, name: &str) -> PathBuf {
    state_dir.join(format!("{name}.record"))
}

/// Writes a file of the state: whole or not at all.
///
/// # Errors
/// As the system says; the old file stays.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|e| e.error)?;
    // The new name has to outlive a loss of power, too.
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_outlives_rotations_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let file = origin_file(dir.path(), "a");
        let [a, b, c] = [1, 2, 3].map(|n| PublicKey::from_bytes([n; 32]));
        let names = |current, former| Names { current, former };
        assert_eq!(read_origin(&file, &names(a, None)), a);
        // The first rotation: nothing was written yet.
        assert_eq!(read_origin(&file, &names(b, Some(a))), a);
        write_origin(&file, &a, &b).unwrap();
        assert_eq!(read_origin(&file, &names(b, None)), a);
        assert_eq!(read_origin(&file, &names(c, Some(b))), a);
        write_origin(&file, &a, &c).unwrap();
        assert_eq!(read_origin(&file, &names(c, None)), a);
        // Another member's configuration beside the same state.
        assert_eq!(read_origin(&file, &names(b, None)), b);
        fs::write(&file, "junk").unwrap();
        assert_eq!(read_origin(&file, &names(c, None)), c);
    }

    #[test]
    fn marks_are_kept_and_damage_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = mark_file(&dir.path().join("new"), "a");
        assert_eq!(read_mark(&file), 0);
        write_mark(&file, 1_800_000_000).unwrap();
        assert_eq!(read_mark(&file), 1_800_000_000);
        for damage in ["", "x", "-1", "99999999999999"] {
            fs::write(&file, damage).unwrap();
            assert_eq!(read_mark(&file), 0);
        }
    }
}
