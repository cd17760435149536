//! `[network]`: whose word makes a member, and the record of this one.

use std::path::Path;

use super::checker::{Checker, parse_duration};
use super::paths::resolve;
use super::raw::{Field, RawNetwork, Section};
use super::signing;
use crate::keys::{Armor, Names, NetworkFile};
use crate::time::Duration;
use crate::trust::{Realm, Refusal, Signer};
use crate::wire::proof::Proof;
use crate::wire::record::Record;
use crate::wire::revocation::Revocations;

/// The longest time that a record counts after its end, unless it counts for ever.
const MOST_GRACE: Duration = Duration::from_secs(366 * 24 * 3600);
/// Bytes of the longest file that is read here.
const MAX_LEN: u64 = 1 << 20;

/// A network that this member is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// What is known of it.
    pub network: NetworkFile,
    /// The record of this member, with its signature.
    pub record: Option<(Record, Vec<u8>)>,
    /// Who is revoked, with the signature, as the configuration has it.
    pub revocations: Option<Vec<u8>>,
    /// What becomes of those whose record is over.
    pub on_expiry: OnExpiry,
    /// What this member signs with, if it is an admin.
    pub signer: Option<Signer>,
}

/// What becomes of members whose record is over. Revocations count at once, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExpiry {
    /// They are let go.
    #[default]
    Drop,
    /// They are let go so long after.
    Grace(Duration),
    /// They stay.
    Warn,
}

impl OnExpiry {
    /// For how long a record counts after its end.
    pub const fn grace(self) -> Duration {
        match self {
            OnExpiry::Drop => Duration::ZERO,
            OnExpiry::Grace(grace) => grace,
            // Longer than anybody waits, and short enough to be added to a time.
            OnExpiry::Warn => Duration::from_secs(u32::MAX as u64 * 64),
        }
    }
}

pub(super) fn check(
    checker: &mut Checker<'_>,
    raw: Option<Section<RawNetwork>>,
    own: Option<Names>,
) -> Option<NetworkConfig> {
    let (raw, at) = checker.section(raw)?;
    let has_file = raw.file.is_some();
    let network = raw.file.and_then(|f| network(checker, f));
    if !has_file {
        checker
            .findings
            .error(&at, "[network] names no file")
            .hint("file = \"lab.network\": `l2vpn ca export DIR -o lab.network` makes it");
    }
    let network = network?;
    let record = raw.record.and_then(|f| record(checker, f, (&network, own)));
    let revocations = raw
        .revocations
        .and_then(|f| revocations(checker, f, &network));
    let on_expiry = raw.on_expiry.and_then(|f| on_expiry(checker, f));
    let signer = signing::check(checker, (raw.signer, raw.delegation), &network);
    Some(NetworkConfig {
        network,
        record,
        revocations,
        on_expiry: on_expiry.unwrap_or_default(),
        signer,
    })
}

fn network(checker: &mut Checker<'_>, field: Field<String>) -> Option<NetworkFile> {
    let (text, at) = text(checker, field)?;
    match NetworkFile::from_text(&text) {
        Ok(network) => Some(network),
        Err(line) => {
            checker
                .findings
                .error(
                    &at,
                    format!("this is no network's file: line {line} is damaged"),
                )
                .hint("`l2vpn ca export DIR -o FILE` makes one");
            None
        }
    }
}

fn record(
    checker: &mut Checker<'_>,
    field: Field<String>,
    (network, own): (&NetworkFile, Option<Names>),
) -> Option<(Record, Vec<u8>)> {
    let (text, at) = text(checker, field)?;
    let bytes = Armor::Record.from_text(&text);
    let read = bytes.and_then(|b| Some((Proof::parse(&b).ok()?, b)));
    let Some((proof, bytes)) = read else {
        checker
            .findings
            .error(&at, "this is no member's record")
            .hint("`l2vpn ca sign` makes one");
        return None;
    };
    let record = &proof.record;
    let wrong = match Realm::of(network).believe(&proof) {
        Err(refusal @ Refusal::OtherNetwork) => Some((
            format!("this record {refusal}"),
            "[network] file and record go together".to_string(),
        )),
        Err(refusal) => Some((
            format!("this record {refusal}"),
            "an authority's successor has to stand in the network's file".to_string(),
        )),
        Ok(_) => own
            .filter(|own| own.current.as_bytes() != &record.key)
            .map(|own| {
                let (name, key) = (&record.name, own.current);
                (
                    "this record is for another key than this member's".to_string(),
                    format!("`l2vpn ca renew DIR {name} --key {key}` makes one for this key"),
                )
            }),
    };
    if let Some((message, hint)) = wrong {
        checker.findings.error(&at, message).hint(hint);
        return None;
    }
    Some((proof.record, bytes))
}

fn revocations(
    checker: &mut Checker<'_>,
    field: Field<String>,
    network: &NetworkFile,
) -> Option<Vec<u8>> {
    let (text, at) = text(checker, field)?;
    let bytes = Armor::Revocations.from_text(&text);
    let read = bytes.and_then(|b| Some((Revocations::parse(&b).ok()?, b)));
    let Some(((list, signature), bytes)) = read else {
        checker
            .findings
            .error(&at, "this is no list of revocations")
            .hint("`l2vpn ca revoke` makes one: the file \"revoked\" in the authority's directory");
        return None;
    };
    if let Err(refusal) = Realm::of(network).believe_list(&list, &signature) {
        checker
            .findings
            .error(&at, format!("this list of revocations {refusal}"))
            .hint("[network] file and revocations go together");
        return None;
    }
    Some(bytes)
}

fn on_expiry(checker: &mut Checker<'_>, field: Field<String>) -> Option<OnExpiry> {
    let (text, at) = checker.take(Some(field))?;
    let grace = text.strip_prefix("grace ").map(str::trim);
    let read = match (text.as_str(), grace.map(parse_duration)) {
        ("drop", _) => Some(OnExpiry::Drop),
        ("warn", _) => Some(OnExpiry::Warn),
        (_, Some(Some(grace))) if grace <= MOST_GRACE => Some(OnExpiry::Grace(grace)),
        _ => None,
    };
    if read.is_none() {
        checker
            .findings
            .error(
                &at,
                format!("on_expiry \"{}\" is unknown", text.escape_debug()),
            )
            .hint("\"drop\", \"grace 24h\" (a year at most) or \"warn\"");
    }
    read
}

/// What a named file says.
pub(super) fn text(
    checker: &mut Checker<'_>,
    field: Field<String>,
) -> Option<(String, std::ops::Range<usize>)> {
    let (file, at) = checker.take(Some(field))?;
    match read(&resolve(checker.path, &file)) {
        Ok(text) => Some((text, at)),
        Err(error) => {
            checker
                .findings
                .error(&at, format!("{file}: {error}"))
                .hint("paths are relative to this file");
            None
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() || meta.len() > MAX_LEN {
        return Err(std::io::Error::other("not a file of this kind"));
    }
    std::fs::read_to_string(path)
}
