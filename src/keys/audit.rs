//! The audit log: a line for each thing that was signed, each with the hash of the line before, so that none can be changed or taken
//! out without all that follow.
//!
//! A line is a JSON object: `n` counts from 1, `time` is in seconds since 1970, `what` names the event, `of` says of whom and how, and
//! `before` is BLAKE2s (RFC 7693) of the line before, in base64, or of nothing before the first. What is cut off at the end leaves no
//! trace in the file itself: who keeps the hash of the last line elsewhere sees that, too.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64ct::{Base64, Encoding};
use blake2::{Blake2s256, Digest};
use serde::{Deserialize, Serialize};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Which line it is, from 1.
    pub n: u64,
    /// When, in seconds since 1970.
    pub time: u64,
    /// What happened.
    pub what: String,
    /// Of whom, and how.
    pub of: BTreeMap<String, String>,
    /// The hash of the line before.
    pub before: String,
}

/// What a whole log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditChain {
    /// How many lines there are.
    pub entries: u64,
    /// The hash of the last one.
    pub last: String,
}

/// Why a log is not whole.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// This line is no entry, or does not follow from the one before.
    #[error(
        "line {0} does not follow from the line before: it or an earlier one was changed, added or taken out"
    )]
    Broken(u64),
}

fn hash(line: &str) -> String {
    Base64::encode_string(&Blake2s256::digest(line.as_bytes()))
}

/// Follows a log from its first line to its last.
///
/// # Errors
/// [`AuditError::Broken`] with the first line that does not follow.
pub fn verify_audit(text: &str) -> Result<AuditChain, AuditError> {
    let mut chain = AuditChain {
        entries: 0,
        last: hash(""),
    };
    for line in text.split_inclusive('\n') {
        let n = chain.entries + 1;
        let whole = line.strip_suffix('\n').ok_or(AuditError::Broken(n))?;
        let entry: AuditEntry = serde_json::from_str(whole).map_err(|_| AuditError::Broken(n))?;
        let again = serde_json::to_string(&entry).unwrap_or_default();
        if entry.n != n || entry.before != chain.last || again != whole {
            return Err(AuditError::Broken(n));
        }
        chain = AuditChain {
            entries: n,
            last: hash(whole),
        };
    }
    Ok(chain)
}

/// Adds an entry to a log, which is made if it is not there; whoever else adds one waits.
///
/// # Errors
/// [`AuditError::Broken`] when the log is not whole: nothing is added to such a one.
pub fn append_audit(
    path: &Path,
    time: u64,
    (what, of): (&str, &[(&str, String)]),
) -> Result<(), AuditError> {
    let mut file: File = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // Half a line was never acknowledged: who wrote it died of it.
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    if whole < text.len() {
        file.set_len(whole as u64)?;
        text.truncate(whole);
    }
    let chain = verify_audit(&text)?;
    let entry = AuditEntry {
        n: chain.entries + 1,
        time,
        what: what.into(),
        of: of.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
        before: chain.last,
    };
    let line = serde_json::to_string(&entry).map_err(io::Error::from)?;
    let written = file
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a line would be taken for damage for ever.
        file.set_len(text.len() as u64)?;
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_changed_added_or_taken_out_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        for n in 0..5u64 {
            let of = [("name", format!("m{n}"))];
            append_audit(&path, 1_800_000_000 + n, ("signed", &of)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let chain = verify_audit(&text).unwrap();
        assert_eq!(chain.entries, 5);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let without = |n: usize| {
            let kept = lines.iter().enumerate().filter(|(i, _)| *i != n);
            kept.map(|(_, l)| *l).collect::<String>()
        };
        for (n, line) in lines.iter().enumerate().take(4) {
            let broken = verify_audit(&without(n));
            assert!(matches!(broken, Err(AuditError::Broken(at)) if at == n as u64 + 1));
            let other = text.replace(&format!("m{n}"), "mx");
            assert!(verify_audit(&other).is_err(), "line {n}");
            let twice = text.replace(line, &line.repeat(2));
            assert!(verify_audit(&twice).is_err());
        }
        assert!(
            verify_audit(text.trim_end()).is_err(),
            "a line that is not whole"
        );
        // The last line alone can go unseen, but not by who knows its hash.
        assert_ne!(verify_audit(&without(4)).unwrap().last, chain.last);
        std::fs::write(&path, without(1)).unwrap();
        assert!(append_audit(&path, 1, ("signed", &[])).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), without(1));
    }
}
