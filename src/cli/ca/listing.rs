//! `ca list` and `ca show`: what an authority has signed.

use std::path::Path;

use super::super::exit::{Exit, Failure};
use super::super::render::{print, span};
use super::store::{Signed, Store, read};
use crate::io::clock;
use crate::keys::{Armor, Authority, NetworkFile, PublicKey};
use crate::wire::delegation::Delegation;
use crate::wire::proof::Proof;
use crate::wire::record::Record;
use crate::wire::revocation::Revocations;
use crate::wire::segment::SegmentId;
use crate::wire::vlans::VlanSet;

pub(super) fn list(store: &Store) -> Result<(), Failure> {
    let now = clock::wall().as_secs();
    let revoked = store.revocations()?;
    let mut text = format!(
        "network {}, revocations of epoch {}\n",
        store.network.name, revoked.epoch
    );
    for Signed { record, .. } in store.all()? {
        let is_revoked = revoked.has((&record.member, record.serial), &record.issuer);
        let state = match (is_revoked, record.not_after.checked_sub(now)) {
            (true, _) => "revoked".to_string(),
            (false, None) => "over".to_string(),
            (false, Some(left)) => format!("good for {} more", span(left)),
        };
        let key = PublicKey::from_bytes(record.key);
        text += &format!(
            "{}  serial {}  {key}  {state}\n",
            record.name, record.serial
        );
    }
    print(&text)
}

pub(super) fn show(file: &Path) -> Result<(), Failure> {
    let text = read(file)?;
    if let Ok(network) = NetworkFile::from_text(&text) {
        return print(&network.to_text());
    }
    if let Some(Ok((list, _))) = Armor::Revocations
        .from_text(&text)
        .map(|b| Revocations::parse(&b))
    {
        let mut out = format!(
            "revocations, epoch {}, by {}\n",
            list.epoch,
            Authority::from_bytes(list.issuer)
        );
        for (member, serial) in &list.members {
            let up_to = if *serial == u64::MAX {
                "all records".into()
            } else {
                format!("up to serial {serial}")
            };
            out += &format!("  member {}: {up_to}\n", hex(&member.0));
        }
        for authority in &list.authorities {
            out += &format!("  authority {}\n", Authority::from_bytes(*authority));
        }
        return print(&out);
    }
    let delegation = Armor::Delegation.from_text(&text);
    if let Some(Ok((delegation, _))) = delegation.map(|b| Delegation::parse(&b)) {
        return print(&delegation_text(&delegation));
    }
    let proof = Armor::Record.from_text(&text).map(|b| Proof::parse(&b));
    let Some(Ok(proof)) = proof else {
        let message = format!(
            "{} is no record, network, delegation or list of revocations",
            file.display()
        );
        return Err(Failure::with(
            Exit::Config,
            message,
            "`l2vpn ca sign` makes records",
        ));
    };
    print(&record_text(&proof))
}

fn record_text(proof: &Proof) -> String {
    let record = &proof.record;
    let roles: Vec<&str> = record.roles.names().collect();
    let by = match &proof.delegation {
        None => Authority::from_bytes(record.issuer).to_string(),
        Some((delegation, _)) => format!(
            "{}, for {}",
            Authority::from_bytes(record.issuer),
            Authority::from_bytes(delegation.issuer)
        ),
    };
    format!(
        "record of {}, serial {}\n  member: {}\n  public key: {}\n  time: {} (until {} s since 1970)\n  \
         segments: {}\n  roles: {}\n  hosts: {}\n  signed by: {by}\n",
        record.name,
        record.serial,
        hex(&record.member.0),
        PublicKey::from_bytes(record.key),
        left(record.not_after),
        record.not_after,
        listed(&record.segments),
        or_none(roles.join(", ")),
        hosts(record),
    )
}

/// What the hosts behind a member may call themselves.
fn hosts(record: &Record) -> String {
    let macs = record.macs.iter().map(ToString::to_string);
    let prefixes = record.prefixes.iter();
    let prefixes = prefixes.map(|(ip, bits)| format!("{ip}/{bits}"));
    let mut all: Vec<String> = macs.chain(prefixes).collect();
    if record.mac_limit > 0 {
        all.push(format!("{} MACs at most", record.mac_limit));
    }
    match all.is_empty() {
        true => "any".into(),
        false => all.join(", "),
    }
}

fn delegation_text(delegation: &Delegation) -> String {
    let roles: Vec<&str> = delegation.roles.names().collect();
    format!(
        "delegation to {}\n  time: {} (until {} s since 1970)\n  may sign: records of {} days at most\n  \
         segments: {}\n  roles: {}\n  signed by: {}\n",
        Authority::from_bytes(delegation.delegate),
        left(delegation.not_after),
        delegation.not_after,
        delegation.days,
        listed(&delegation.segments),
        or_none(roles.join(", ")),
        Authority::from_bytes(delegation.issuer),
    )
}

fn left(until: u64) -> String {
    match until.checked_sub(clock::wall().as_secs()) {
        Some(left) => format!("good for {} more", span(left)),
        None => "over".into(),
    }
}

fn listed(segments: &[(SegmentId, VlanSet)]) -> String {
    let one = |(id, vlans): &(SegmentId, VlanSet)| match vlans.is_everything() {
        true => format!("{id}"),
        false => format!("{id} (vlans {vlans})"),
    };
    or_none(segments.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn or_none(text: String) -> String {
    match text.is_empty() {
        true => "none".into(),
        false => text,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
