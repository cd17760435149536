//! Who this member is, and what it knows beside: its key and the one before, and the network's pre-shared key.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::checker::Checker;
use super::peers::psks;
use super::raw::RawNode;
use super::secrets::KeySource;
use crate::keys::{self, OwnKeys, PrivateKey, Psks, PublicKey};
use crate::time::Duration;

/// For how long a key that was rotated is as good as the new one.
const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// How short and how long that may be.
const OVERLAPS: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(90 * 24 * 3600));

/// Who a member is.
#[derive(Clone)]
pub struct Identity {
    /// Its keys. The former one counts until [`Retiring::until`].
    pub keys: OwnKeys,
    /// Where the key comes from.
    pub source: KeySource,
    /// Where the former one is.
    pub retiring: Option<Retiring>,
    /// What all members of the network know besides.
    pub network: Psks,
}

impl Identity {
    /// The key that counts.
    pub fn key(&self) -> &PrivateKey {
        &self.keys.current
    }

    /// The name that goes with it.
    pub fn public(&self) -> PublicKey {
        self.keys.current.public()
    }
}

/// A key that `key rotate` has put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retiring {
    /// Its file.
    pub file: PathBuf,
    /// Since when it is aside: time since 1970.
    pub since: Duration,
    /// Until when it is good: time since 1970.
    pub until: Duration,
}

impl Checker<'_> {
    /// Who this member is.
    pub(super) fn identity(&mut self, node: &mut RawNode, at: &Range<usize>) -> Option<Identity> {
        let overlap = self.duration(node.key_overlap.take(), "key_overlap", OVERLAPS);
        let files = (
            node.network_psk_file.take(),
            node.old_network_psk_file.take(),
        );
        // First, as its passphrase may open the others.
        let own = self.own_key(node, at);
        let network = psks(self, files, ("network_psk_file", "old_network_psk_file"));
        let (current, source) = own?;
        let (former, retiring) = match &source {
            KeySource::File(file) => {
                self.former(file, &current, overlap.unwrap_or(DEFAULT_OVERLAP))
            }
            _ => None,
        }
        .unzip();
        Some(Identity {
            keys: OwnKeys { current, former },
            source,
            retiring,
            network,
        })
    }

    /// The key that `key rotate` has put aside, beside the one that it made.
    fn former(
        &mut self,
        file: &Path,
        current: &PrivateKey,
        overlap: Duration,
    ) -> Option<(PrivateKey, Retiring)> {
        // It lies beside the file itself, not beside a link to it.
        let old = keys::retired(&file.canonicalize().ok()?);
        let rotated = std::fs::metadata(&old).and_then(|m| m.modified()).ok()?;
        let since = rotated.duration_since(UNIX_EPOCH).unwrap_or_default();
        let key: PrivateKey = match self.key_in_file(&old) {
            Ok(key) => key,
            Err((message, hint)) => {
                let warning = format!("the key before the last rotation is not used: {message}");
                self.findings.warning(&(0..0), warning).hint(hint);
                return None;
            }
        };
        let until = since + overlap;
        // A rotation that was broken off has both names for one key.
        (key.public() != current.public()).then_some((
            key,
            Retiring {
                file: old,
                since,
                until,
            },
        ))
    }
}
