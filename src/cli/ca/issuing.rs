//! `ca sign` and `ca renew`: records of members.

use std::path::Path;

use super::super::exit::{Exit, Failure};
use super::super::render::{print, say};
use super::args::{Grant, RenewArgs, SignArgs};
use super::revoking::revoke_up_to;
use super::store::{Store, read, write_new};
use crate::io::clock::{self, OsEntropy};
use crate::keys::{Armor, AuthorityKey, Entropy, PublicKey};
use crate::trust::signer::next_serial;
use crate::trust::{Signer, grant};
use crate::wire::proof::Proof;
use crate::wire::record::{MemberId, NoRecord, Record, Roles};
use crate::wire::segment::SegmentId;
use crate::wire::vlans::VlanSet;

pub(super) const DAY: u64 = 24 * 3600;
/// How far the serial of a record that revokes the earlier ones is ahead of what admins give meanwhile: they go by the time.
const AHEAD: u64 = 366 * DAY;
/// Bytes of a record in a handshake beside which there is room for an encapsulation key of ML-KEM-512, and some segments.
const ROOMY: usize = 380;

pub(super) fn sign(args: &SignArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.dir)?;
    let key = public_key(&args.key)?;
    let new = New {
        name: &args.name,
        key,
        days: args.days,
        roles: args.grant.roles()?,
        segments: args.grant.segments()?,
    };
    let mut record = new_record(&store, new)?;
    args.grant.limit(&mut record);
    let authority = store.authority(args.words)?;
    let bytes = issue(&mut store, (&authority, record), "signed")?;
    hand_over(&bytes, args.output.as_deref())
}

/// A public key, or the one in a file.
pub(super) fn public_key(text: &str) -> Result<PublicKey, Failure> {
    let file = Path::new(text);
    let content = match file.is_file() {
        true => read(file)?,
        false => text.to_string(),
    };
    content.trim().parse().map_err(|error| {
        let hint = "on the member: `l2vpn key public FILE` prints it";
        Failure::with(Exit::Config, format!("not a public key: {error}"), hint)
    })
}

/// Somebody that has no record yet.
pub(super) struct New<'a> {
    pub(super) name: &'a str,
    pub(super) key: PublicKey,
    pub(super) days: u32,
    pub(super) roles: Roles,
    pub(super) segments: Vec<(SegmentId, VlanSet)>,
}

/// Its first record.
pub(super) fn new_record(store: &Store, new: New<'_>) -> Result<Record, Failure> {
    if store.find(new.name)?.is_some() {
        let message = format!("{} has a record already", new.name);
        let hint = "`l2vpn ca renew` gives it another, with another key if need be";
        return Err(Failure::with(Exit::Failed, message, hint));
    }
    let mut member = [0; 16];
    OsEntropy.fill(&mut member);
    let member = MemberId(member);
    refuse_others_key(store, &new.key, &member)?;
    let now = clock::wall().as_secs();
    Ok(Record {
        network: store.network.id,
        member,
        serial: next_serial(0, now).unwrap_or(1),
        key: *new.key.as_bytes(),
        not_before: Signer::begins(now),
        not_after: now + u64::from(new.days) * DAY,
        roles: new.roles,
        mac_limit: 0,
        name: new.name.into(),
        segments: new.segments,
        macs: Vec::new(),
        prefixes: Vec::new(),
        issuer: [0; 32],
    })
}

/// Two members with one key would keep each other out.
fn refuse_others_key(store: &Store, key: &PublicKey, member: &MemberId) -> Result<(), Failure> {
    let now = clock::wall().as_secs();
    let revoked = store.revocations()?;
    let all = store.all()?;
    let other = all.iter().find(|other| {
        let record = &other.record;
        let counts = !revoked.has((&record.member, record.serial), &record.issuer);
        record.key == *key.as_bytes()
            && record.member != *member
            && record.not_after > now
            && counts
    });
    match other {
        None => Ok(()),
        Some(other) => {
            let name = &other.record.name;
            let message = format!("this is the key of {name}, which has a good record");
            let hint =
                format!("`l2vpn ca revoke DIR {name}` first, if it is nobody's key any more");
            Err(Failure::with(Exit::Failed, message, hint))
        }
    }
}

pub(super) fn renew(args: &RenewArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.dir)?;
    let before = store.member(&args.name)?.record;
    let revoked = store.revocations()?;
    if revoked.has((&before.member, before.serial), &[0; 32]) {
        let message = format!("{} is revoked", args.name);
        let hint = "sign a new record, under another name or after `rm` of its file in records/";
        return Err(Failure::with(Exit::Failed, message, hint));
    }
    let key = match &args.key {
        None => PublicKey::from_bytes(before.key),
        Some(text) => public_key(text)?,
    };
    let is_moved = before.key != *key.as_bytes();
    refuse_others_key(&store, &key, &before.member)?;
    let authority = store.authority(args.words)?;
    let (now, member) = (clock::wall().as_secs(), before.member);
    let serial = next_serial(before.serial, now).ok_or_else(|| {
        Failure::failed("there is no greater serial: sign a record under another name")
    })?;
    // An admin may make an earlier record longer before it hears of this: that must not be greater.
    let serial = match args.revoke_earlier {
        true => serial.saturating_add(AHEAD),
        false => serial,
    };
    let mut record = Record {
        serial,
        key: *key.as_bytes(),
        not_before: Signer::begins(now),
        not_after: now + u64::from(args.days) * DAY,
        roles: match args.grant.role.is_empty() {
            true => before.roles,
            false => args.grant.roles()?,
        },
        segments: match args.grant.segment.is_empty() {
            true => before.segments.clone(),
            false => args.grant.segments()?,
        },
        ..before
    };
    args.grant.limit(&mut record);
    let what = match is_moved {
        true => "moved to another key",
        false => "renewed",
    };
    let bytes = issue(&mut store, (&authority, record), what)?;
    if args.revoke_earlier {
        // Not before there is one that counts; and those, too, that an admin has given meanwhile.
        let earlier = serial - 1;
        let of = [
            ("name", args.name.clone()),
            ("up to serial", earlier.to_string()),
        ];
        revoke_up_to(&mut store, &authority, (member, earlier), &of)?;
    }
    hand_over(&bytes, args.output.as_deref())
}

/// Signs a record and keeps it; gives the proof.
pub(super) fn issue(
    store: &mut Store,
    (authority, record): (&AuthorityKey, Record),
    what: &str,
) -> Result<Vec<u8>, Failure> {
    let refused = |error: NoRecord| {
        let hint = "a name as a host has it; 64 segments, MACs and prefixes at most, 24 ranges of VLANs in a segment; MACs of hosts; \
                    prefixes with nothing behind their bits";
        let message = format!("no record can say that: {error}");
        Failure::with(Exit::Config, message, hint)
    };
    let (name, serial, until) = (record.name.clone(), record.serial, record.not_after);
    let key = PublicKey::from_bytes(record.key);
    let signer = Signer::authority(authority.clone());
    let bytes = signer.issue(record).map_err(refused)?;
    if Proof::shortened(&bytes).is_none_or(|short| short.len() > ROOMY) {
        say(
            "l2vpn: the record is long: a handshake that shows it has no room for ML-KEM; name fewer segments or VLANs\n",
        );
    }
    // What is signed is in the log, whatever becomes of it.
    store.log(
        what,
        &[
            ("name", name.clone()),
            ("serial", serial.to_string()),
            ("key", key.to_string()),
            ("until", until.to_string()),
        ],
    )?;
    store.keep(&name, &Armor::Record.to_text(&bytes))?;
    Ok(bytes)
}

fn hand_over(bytes: &[u8], output: Option<&Path>) -> Result<(), Failure> {
    let text = Armor::Record.to_text(bytes);
    let Some(file) = output else {
        return print(&text);
    };
    write_new(file, &text)?;
    let record = Proof::parse(bytes).map(|proof| proof.record);
    let of = record.map(|r| format!("{}, serial {}", r.name, r.serial));
    print(&format!(
        "{}: record of {}\n",
        file.display(),
        of.unwrap_or_default()
    ))
}

impl Grant {
    /// What the hosts behind the member may call themselves, where that was said.
    fn limit(&self, record: &mut Record) {
        if let Some(most) = self.mac_limit {
            record.mac_limit = most;
        }
        if !self.mac.is_empty() {
            record.macs = self.mac.clone();
            record.macs.sort_unstable();
            record.macs.dedup();
        }
        if !self.prefix.is_empty() {
            record.prefixes = self.prefix.clone();
            record.prefixes.sort_unstable();
            record.prefixes.dedup();
        }
    }

    fn roles(&self) -> Result<Roles, Failure> {
        grant::roles(&self.role)
            .map_err(|e| Failure::with(Exit::Config, e.to_string(), "see --help"))
    }

    /// The segments, each with its VLANs.
    fn segments(&self) -> Result<Vec<(SegmentId, VlanSet)>, Failure> {
        let vlans = grant::vlans(&self.vlan)
            .map_err(|e| Failure::with(Exit::Config, e.to_string(), "--vlan 10,20-29"))?;
        let ids = self.segment.iter().map(|number| {
            let id = SegmentId::new(*number);
            id.ok_or_else(|| Failure::failed("a segment's id is 1 to 16777215"))
        });
        let ids: Vec<SegmentId> = ids.collect::<Result<_, _>>()?;
        Ok(grant::segments(ids, &vlans))
    }
}
