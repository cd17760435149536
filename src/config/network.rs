//! `[network]`: whose word makes a member, and the record of this one.

use std::path::Path;

use super::checker::Checker;
use super::paths::resolve;
use super::raw::{Field, RawNetwork, Section};
use crate::keys::{Armor, Authority, Names, NetworkFile, Signs};
use crate::wire::record::Record;
use crate::wire::revocation::Revocations;

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
    Some(NetworkConfig {
        network,
        record,
        revocations,
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
    let read = bytes.and_then(|b| Some((Record::parse(&b).ok()?, b)));
    let Some(((record, signature), bytes)) = read else {
        checker
            .findings
            .error(&at, "this is no member's record")
            .hint("`l2vpn ca sign` makes one");
        return None;
    };
    let signed = record.signed().unwrap_or_default();
    let is_for_us = own.is_none_or(|own| own.current.as_bytes() == &record.key);
    let wrong = if record.network != network.id {
        Some((
            "this record is of another network",
            "[network] file and record go together".into(),
        ))
    } else if !is_signed(
        network,
        (&record.issuer, Signs::Record),
        &signed,
        &signature,
    ) {
        let hint = "an authority's successor has to stand in the network's file";
        Some((
            "this record is signed by no authority of the network",
            hint.to_string(),
        ))
    } else if !is_for_us {
        let own = own.map(|own| own.current.to_string()).unwrap_or_default();
        let hint = format!(
            "`l2vpn ca renew DIR {} --key {own}` makes one for this key",
            record.name
        );
        Some(("this record is for another key than this member's", hint))
    } else {
        None
    };
    if let Some((message, hint)) = wrong {
        checker.findings.error(&at, message).hint(hint);
        return None;
    }
    Some((record, bytes))
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
    let signed = list.signed().unwrap_or_default();
    let fits = list.network == network.id
        && is_signed(
            network,
            (&list.issuer, Signs::Revocations),
            &signed,
            &signature,
        );
    if !fits {
        checker
            .findings
            .error(
                &at,
                "this list of revocations is of another network, or signed by no authority of it",
            )
            .hint("[network] file and revocations go together");
        return None;
    }
    Some(bytes)
}

fn is_signed(
    network: &NetworkFile,
    (issuer, what): (&[u8; 32], Signs),
    message: &[u8],
    signature: &[u8; 64],
) -> bool {
    let authority = Authority::from_bytes(*issuer);
    network.authorities.contains(&authority) && authority.verifies(what, message, signature)
}

/// What a named file says.
fn text(
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
