//! `ca admin`: a member that invites others, with all that it needs in one directory.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::super::exit::{Exit, Failure};
use super::super::render::print;
use super::args::{AdminArgs, DelegateArgs};
use super::issuing::{DAY, New, issue, new_record};
use super::store::{Store, read, write_new};
use crate::config::joined::{NewMember, NewSegment};
use crate::io::clock::{self, OsEntropy};
use crate::keys::{self, Armor, Authority, AuthorityKey, PrivateKey, Signs, write_private};
use crate::trust::{Realm, Signer, grant};
use crate::wire::delegation::Delegation;
use crate::wire::record::{Record, Roles};
use crate::wire::segment::SegmentId;
use crate::wire::vlans::VlanSet;

pub(super) fn admin(args: &AdminArgs) -> Result<(), Failure> {
    if args.output.exists() {
        // Before anything is signed.
        return Err(taken(&args.output, "it is there already"));
    }
    let mut store = Store::open(&args.dir)?;
    let named = segments(args)?;
    let config = |e: grant::NoGrant| Failure::with(Exit::Config, e.to_string(), "see --help");
    let vlans = grant::vlans(&args.vlan).map_err(config)?;
    let granted = grant::segments(named.iter().map(|(id, _)| *id), &vlans);
    let roles = grant::roles(&args.role).map_err(config)?;
    let may = grant::roles(&args.grant_role).map_err(config)?;
    let key = PrivateKey::generate(&mut OsEntropy);
    let new = New {
        name: &args.name,
        key: key.public(),
        days: args.days,
        roles: roles.and(Roles::ADMIN),
        segments: granted.clone(),
    };
    let record = new_record(&store, new)?;
    let authority = store.authority(args.words)?;
    let signer = AuthorityKey::generate(&mut OsEntropy);
    let delegation = Delegation {
        network: store.network.id,
        delegate: *signer.authority().as_bytes(),
        not_before: 0,
        not_after: u64::MAX,
        days: args.grant_days,
        roles: may,
        segments: granted,
        issuer: [0; 32],
    };
    make_dir(&args.output)?;
    let files = Files { args };
    let made = files.write(
        &mut store,
        (&authority, record),
        (&key, &signer, delegation),
        (&named, &vlans),
    );
    if made.is_err() {
        // Nothing in it is of use to anybody, and the directory was made just now.
        let _ = fs::remove_dir_all(&args.output);
    }
    made?;
    let path = files.path("toml");
    print(&format!(
        "{} is an admin: wrote {}\nnext: l2vpn up {}\nthen: l2vpn invite create --name NAME --segment {}\n",
        args.name,
        args.output.display(),
        path.display(),
        named.first().map_or("", |(_, name)| name)
    ))
}

/// An admin may sign for longer.
pub(super) fn again(args: &DelegateArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.dir)?;
    let bytes = Armor::Delegation.from_text(&read(&args.file)?);
    let before = bytes.and_then(|bytes| Delegation::parse(&bytes).ok());
    let is_ours = |(delegation, signature): &(Delegation, [u8; 64])| {
        let realm = Realm::of(&store.network);
        realm.believe_delegation(delegation, signature).is_ok()
    };
    let Some((delegation, _)) = before.filter(is_ours) else {
        let message = format!("{} is no delegation of this network", args.file.display());
        return Err(Failure::with(
            Exit::Config,
            message,
            "`l2vpn ca admin` makes one",
        ));
    };
    if store
        .revocations()?
        .authorities
        .contains(&delegation.delegate)
    {
        let message = "this key signs no more: it is retired";
        return Err(Failure::with(
            Exit::Failed,
            message,
            "`l2vpn ca admin` makes another admin",
        ));
    }
    let authority = store.authority(args.words)?;
    let name = store.admin_with(&delegation.delegate)?;
    let text = delegate(&store, &authority, (delegation, args.days))?;
    if let Some(name) = name {
        store.keep_delegation(&name, &text)?;
    }
    write_new(&args.output, &text)?;
    print(&format!(
        "{}: put it in the place of {}, then `l2vpn reload` there\n",
        args.output.display(),
        args.file.display()
    ))
}

/// Signs what an admin may sign in the authority's place, from now on for so many days.
fn delegate(
    store: &Store,
    authority: &AuthorityKey,
    (delegation, days): (Delegation, u32),
) -> Result<String, Failure> {
    let now = clock::wall().as_secs();
    let delegation = Delegation {
        not_before: Signer::begins(now),
        not_after: now + u64::from(days) * DAY,
        issuer: *authority.authority().as_bytes(),
        ..delegation
    };
    let mut bytes = delegation.signed().map_err(|error| {
        let message = format!("no delegation can say that: {error}");
        Failure::with(Exit::Config, message, "name fewer segments or VLANs")
    })?;
    let to = Authority::from_bytes(delegation.delegate);
    let of = [
        ("to", to.to_string()),
        ("until", delegation.not_after.to_string()),
    ];
    store.log("delegated", &of)?;
    let signature = authority.sign(Signs::Delegation, &bytes);
    bytes.extend_from_slice(&signature);
    Ok(Armor::Delegation.to_text(&bytes))
}

/// The segments that were named: "lan=1", or "1".
fn segments(args: &AdminArgs) -> Result<Vec<(SegmentId, String)>, Failure> {
    let one = |text: &String| {
        let (name, id) = match text.split_once('=') {
            Some((name, id)) => (name.to_string(), id),
            None => (format!("segment-{text}"), text.as_str()),
        };
        let id = id.parse().ok().and_then(SegmentId::new);
        let id = id.filter(|_| crate::config::is_name(&name));
        id.map(|id| (id, name)).ok_or_else(|| {
            let message = format!("\"{}\" is no segment", text.escape_debug());
            Failure::with(Exit::Config, message, "--segment lan=1: a name and an id")
        })
    };
    args.segment.iter().map(one).collect()
}

fn make_dir(dir: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().mode(0o700).create(dir);
    made.map_err(|error| taken(dir, &error.to_string()))
}

fn taken(dir: &Path, why: &str) -> Failure {
    let message = format!("{}: {why}", dir.display());
    Failure::with(
        Exit::Failed,
        message,
        "name a directory that is not there yet",
    )
}

/// What lies in the directory, each file by its kind.
struct Files<'a> {
    args: &'a AdminArgs,
}

impl Files<'_> {
    fn named(&self, kind: &str) -> String {
        format!("{}.{kind}", self.args.name)
    }

    fn path(&self, kind: &str) -> std::path::PathBuf {
        self.args.output.join(self.named(kind))
    }

    /// Everything; what the authority notes for ever comes last.
    fn write(
        &self,
        store: &mut Store,
        (authority, record): (&AuthorityKey, Record),
        (key, signer, delegation): (&PrivateKey, &AuthorityKey, Delegation),
        (named, vlans): (&[(SegmentId, String)], &VlanSet),
    ) -> Result<(), Failure> {
        write_private(&self.path("key"), key)?;
        keys::write_new(&self.path("signer"), signer, None, &mut OsEntropy)?;
        write_new(&self.path("network"), &store.network.to_text())?;
        write_new(&self.path("toml"), &self.config(named, vlans))?;
        let delegation = delegate(store, authority, (delegation, self.args.delegation_days))?;
        write_new(&self.path("delegation"), &delegation)?;
        store.keep_delegation(&self.args.name, &delegation)?;
        let record = issue(store, (authority, record), "signed")?;
        write_new(&self.path("record"), &Armor::Record.to_text(&record))
    }

    fn config(&self, named: &[(SegmentId, String)], vlans: &VlanSet) -> String {
        let address = self.args.address.clone().unwrap_or_default();
        let segments: Vec<NewSegment> = named
            .iter()
            .enumerate()
            .map(|(n, (id, name))| NewSegment {
                id: *id,
                name: name.clone(),
                vlans: vlans.clone(),
                address: if n == 0 {
                    address.clone()
                } else {
                    String::new()
                },
            })
            .collect();
        NewMember {
            name: &self.args.name,
            key: &self.named("key"),
            network: &self.named("network"),
            record: &self.named("record"),
            signer: Some((&self.named("signer"), &self.named("delegation"))),
            psk: None,
            listen: self.args.listen.as_deref(),
            segments: &segments,
            relays: self.args.role.iter().any(|role| role == "relay"),
            knows: Vec::new(),
        }
        .to_text()
    }
}
