//! What survives a restart: the mark below which no stamp of ours falls.
//!
//! Losing it costs little (a peer asks for a proof of address once), so trouble with the disk is a warning.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    writeln!(new, "{mark}")?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
