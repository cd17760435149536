//! `ca`: an authority in a directory, which signs records of members and says who is none any more. It needs no network.

pub(super) mod args;
mod store;

use super::exit::{Exit, Failure};
use super::render::{print, say, span};
use crate::io::clock::{self, OsEntropy};
use crate::keys::{
    Armor, Authority, AuthorityKey, Cost, NetworkFile, PublicKey, Signs, write_authority,
};
use crate::wire::proof::Proof;
use crate::wire::record::{MemberId, Record, Roles};
use crate::wire::segment::SegmentId;
use crate::wire::vlans::VlanSet;
use args::{CaArgs, CaVerb, Grant, InitCa, RenewArgs, RevokeArgs, SignArgs};
use store::{Signed, Store, write_new};

/// Records begin a little before they are signed: clocks differ.
const BACKDATED: u64 = 600;
const DAY: u64 = 24 * 3600;

pub(super) fn run(args: &CaArgs) -> Result<Exit, Failure> {
    match &args.verb {
        CaVerb::Init(args) => init(args)?,
        CaVerb::Sign(args) => sign(args)?,
        CaVerb::Renew(args) => renew(args)?,
        CaVerb::Revoke(args) => revoke(args)?,
        CaVerb::List { dir } => list(&Store::open(dir)?)?,
        CaVerb::Show { file } => show(file)?,
        CaVerb::Export { dir, output } => {
            let store = Store::open(dir)?;
            write_new(output, &store.network.to_text())?;
            print(&format!(
                "{}: network {}\n",
                output.display(),
                store.network.name
            ))?;
        }
    }
    Ok(Exit::Ok)
}

fn init(args: &InitCa) -> Result<(), Failure> {
    let key = AuthorityKey::generate(&mut OsEntropy);
    let passphrase = match args.no_passphrase {
        true => None,
        false => {
            let file = args.dir.join(store::KEY);
            let new = args.words.opener().new_passphrase(&file);
            Some(new.map_err(Failure::failed)?)
        }
    };
    let network = NetworkFile::new(&args.name, key.authority(), &mut OsEntropy);
    if NetworkFile::from_text(&network.to_text()).is_err() {
        let message = format!("\"{}\" is no name for a network", args.name.escape_debug());
        let hint = "letters, digits, '-', '_' and '.', 63 at most";
        return Err(Failure::with(Exit::Config, message, hint));
    }
    let sealed = passphrase.as_ref().map(|p| (p, Cost::DEFAULT));
    let store = Store::make(&args.dir, network, |file| {
        write_authority(file, &key, sealed, &mut OsEntropy)
    })?;
    store.log(
        "authority made",
        &[("authority", key.authority().to_string())],
    )?;
    say(&format!(
        "l2vpn: {} is the authority of network {}; keep it off the machines that are in it\n",
        args.dir.display(),
        args.name
    ));
    print(&format!("{}\n", key.authority()))
}

fn sign(args: &SignArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.dir)?;
    let key: PublicKey = args.key.parse().map_err(|error| {
        let hint = "on the member: `l2vpn key public FILE` prints it";
        Failure::with(Exit::Config, format!("not a public key: {error}"), hint)
    })?;
    if store.find(&args.name)?.is_some() {
        let message = format!("{} has a record already", args.name);
        let hint = "`l2vpn ca renew` gives it another, with another key if need be";
        return Err(Failure::with(Exit::Failed, message, hint));
    }
    let mut member = [0; 16];
    crate::keys::Entropy::fill(&mut OsEntropy, &mut member);
    let authority = store.authority(args.words)?;
    let now = clock::wall().as_secs();
    let record = Record {
        network: store.network.id,
        member: MemberId(member),
        serial: 1,
        key: *key.as_bytes(),
        not_before: now.saturating_sub(BACKDATED),
        not_after: now + u64::from(args.days) * DAY,
        roles: args.grant.roles(),
        mac_limit: 0,
        name: args.name.clone(),
        segments: segments(&args.grant)?,
        macs: Vec::new(),
        prefixes: Vec::new(),
        issuer: *authority.authority().as_bytes(),
    };
    issue(
        &mut store,
        (&authority, record),
        "signed",
        args.output.as_deref(),
    )
}

fn renew(args: &RenewArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.dir)?;
    let before = store.member(&args.name)?.record;
    let revoked = store.revocations()?;
    if revoked.has((&before.member, before.serial), &before.issuer) {
        let message = format!("{} is revoked", args.name);
        let hint = "sign a new record, under another name or after `rm` of its file in records/";
        return Err(Failure::with(Exit::Failed, message, hint));
    }
    let key = match &args.key {
        None => before.key,
        Some(text) => {
            let key = text.parse::<PublicKey>();
            *key.map_err(|e| Failure::failed(format!("not a public key: {e}")))?
                .as_bytes()
        }
    };
    let authority = store.authority(args.words)?;
    let (now, earlier) = (clock::wall().as_secs(), before.serial);
    let segments = match args.grant.segment.is_empty() {
        true => before.segments.clone(),
        false => segments(&args.grant)?,
    };
    let record = Record {
        serial: earlier.saturating_add(1),
        key,
        not_before: now.saturating_sub(BACKDATED),
        not_after: now + u64::from(args.days) * DAY,
        roles: match args.grant.role.is_empty() {
            true => before.roles,
            false => args.grant.roles(),
        },
        segments,
        issuer: *authority.authority().as_bytes(),
        ..before
    };
    if args.revoke_earlier {
        let (name, serial) = (args.name.clone(), earlier.to_string());
        let of = [("name", name), ("up to serial", serial)];
        revoke_up_to(&mut store, &authority, (record.member, earlier), &of)?;
    }
    let output = args.output.as_deref();
    issue(&mut store, (&authority, record), "renewed", output)
}

/// Signs a record, keeps it, and gives it away.
fn issue(
    store: &mut Store,
    (authority, record): (&AuthorityKey, Record),
    what: &str,
    output: Option<&std::path::Path>,
) -> Result<(), Failure> {
    let mut bytes = record.signed().map_err(|error| {
        let hint = "a name as a host has it, 64 segments at most, 24 ranges of VLANs in each";
        Failure::with(
            Exit::Config,
            format!("no record can say that: {error}"),
            hint,
        )
    })?;
    let signature = authority.sign(Signs::Record, &bytes);
    bytes.extend_from_slice(&signature);
    let text = Armor::Record.to_text(&bytes);
    let key = PublicKey::from_bytes(record.key);
    // What is signed is in the log, whatever becomes of it.
    store.log(
        what,
        &[
            ("name", record.name.clone()),
            ("serial", record.serial.to_string()),
            ("key", key.to_string()),
            ("until", record.not_after.to_string()),
        ],
    )?;
    store.keep(&record.name, &text)?;
    match output {
        Some(file) => {
            write_new(file, &text)?;
            print(&format!(
                "{}: record of {}, serial {}\n",
                file.display(),
                record.name,
                record.serial
            ))
        }
        None => print(&text),
    }
}

fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.dir)?;
    let Signed { record, .. } = store.member(&args.name)?;
    let authority = store.authority(args.words)?;
    let of = [
        ("name", record.name.clone()),
        ("reason", args.reason.clone()),
    ];
    let epoch = revoke_up_to(&mut store, &authority, (record.member, u64::MAX), &of)?;
    print(&format!("{}: revoked, epoch {epoch}\n", record.name))
}

/// Signs and keeps a list by which a member's records up to a serial count no more; gives its epoch.
fn revoke_up_to(
    store: &mut Store,
    authority: &AuthorityKey,
    (member, serial): (MemberId, u64),
    of: &[(&str, String)],
) -> Result<u64, Failure> {
    let mut list = store.revocations()?;
    list.network = store.network.id;
    list.epoch = list.epoch.saturating_add(1);
    list.revoke(member, serial);
    list.issuer = *authority.authority().as_bytes();
    let signed = list.signed();
    let mut bytes = signed.map_err(|e| Failure::failed(format!("the list of revocations: {e}")))?;
    let signature = authority.sign(Signs::Revocations, &bytes);
    bytes.extend_from_slice(&signature);
    let with_epoch = [of, &[("epoch", list.epoch.to_string())]].concat();
    store.log("revoked", &with_epoch)?;
    let file = store.keep_revocations(&Armor::Revocations.to_text(&bytes))?;
    say(&format!(
        "l2vpn: give {} to one member, as [network] revocations, and `l2vpn reload` there: it tells the others\n",
        file.display()
    ));
    Ok(list.epoch)
}

fn list(store: &Store) -> Result<(), Failure> {
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

fn show(file: &std::path::Path) -> Result<(), Failure> {
    let text = store::read(file)?;
    if let Ok(network) = NetworkFile::from_text(&text) {
        return print(&network.to_text());
    }
    if let Some(Ok((list, _))) = Armor::Revocations
        .from_text(&text)
        .map(|b| crate::wire::revocation::Revocations::parse(&b))
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
    let proof = Armor::Record.from_text(&text).map(|b| Proof::parse(&b));
    let Some(Ok(Proof { record, .. })) = proof else {
        let message = format!(
            "{} is no record, network or list of revocations",
            file.display()
        );
        return Err(Failure::with(
            Exit::Config,
            message,
            "`l2vpn ca sign` makes records",
        ));
    };
    print(&record_text(&record))
}

fn record_text(record: &Record) -> String {
    let roles: Vec<&str> = record.roles.names().collect();
    let segments = record
        .segments
        .iter()
        .map(|(id, vlans)| match vlans.is_everything() {
            true => format!("{id}"),
            false => format!("{id} (vlans {vlans})"),
        });
    let segments: Vec<String> = segments.collect();
    let now = clock::wall().as_secs();
    let time = match record.not_after.checked_sub(now) {
        Some(left) => format!("good for {} more", span(left)),
        None => "over".into(),
    };
    format!(
        "record of {}, serial {}\n  member: {}\n  public key: {}\n  time: {time} (until {} s since 1970)\n  \
         segments: {}\n  roles: {}\n  signed by: {}\n",
        record.name,
        record.serial,
        hex(&record.member.0),
        PublicKey::from_bytes(record.key),
        record.not_after,
        if segments.is_empty() {
            "none".into()
        } else {
            segments.join(", ")
        },
        if roles.is_empty() {
            "none".into()
        } else {
            roles.join(", ")
        },
        Authority::from_bytes(record.issuer),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The segments of a grant, each with its VLANs.
fn segments(grant: &Grant) -> Result<Vec<(SegmentId, VlanSet)>, Failure> {
    let vlans = match grant.vlan.is_empty() {
        true => VlanSet::everything(),
        false => grant.vlans()?,
    };
    let mut segments: Vec<(SegmentId, VlanSet)> = Vec::new();
    for number in &grant.segment {
        let id = SegmentId::new(*number);
        let id = id.ok_or_else(|| Failure::failed("a segment's id is 1 to 16777215"))?;
        if !segments.iter().any(|(known, _)| *known == id) {
            segments.push((id, vlans.clone()));
        }
    }
    segments.sort_by_key(|(id, _)| *id);
    Ok(segments)
}

impl Grant {
    fn roles(&self) -> Roles {
        let named = |name: &str| Roles::NAMED.into_iter().find(|(n, _)| *n == name);
        let roles = self.role.iter().filter_map(|name| named(name));
        roles.fold(Roles::NONE, |all, (_, role)| all.and(role))
    }
}
