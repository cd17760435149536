//! `ca`: an authority in a directory, which signs records of members and says who is none any more. It needs no network.

pub(super) mod args;
mod first;
mod issuing;
mod listing;
mod revoking;
mod store;

use super::exit::{Exit, Failure};
use super::render::{print, say};
use crate::io::clock::OsEntropy;
use crate::keys::{self, AuthorityKey, Cost, NetworkFile, Passphrase};
use args::{CaArgs, CaVerb, InitCa};
use store::{Store, write_new};

pub(super) fn run(args: &CaArgs) -> Result<Exit, Failure> {
    match &args.verb {
        CaVerb::Init(args) => init(args)?,
        CaVerb::Admin(args) => first::admin(args)?,
        CaVerb::Delegate(args) => first::again(args)?,
        CaVerb::Sign(args) => issuing::sign(args)?,
        CaVerb::Renew(args) => issuing::renew(args)?,
        CaVerb::Revoke(args) => revoking::revoke(args)?,
        CaVerb::Retire(args) => revoking::retire(args)?,
        CaVerb::List { dir } => listing::list(&Store::open(dir)?)?,
        CaVerb::Show { file } => listing::show(file)?,
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
    let before = args.successor_of.as_ref();
    let before = before.map(|dir| Store::open(dir)).transpose()?;
    let key = AuthorityKey::generate(&mut OsEntropy);
    let passphrase = new_passphrase(args)?;
    let network = match &before {
        None => NetworkFile::new(&args.name, key.authority(), &mut OsEntropy),
        Some(before) => before.network.with(key.authority()).ok_or_else(|| {
            Failure::failed("the network has as many authorities as it can: retire one first")
        })?,
    };
    if NetworkFile::from_text(&network.to_text()).is_err() {
        let message = format!("\"{}\" is no name for a network", args.name.escape_debug());
        let hint = "letters, digits, '-', '_' and '.', 63 at most";
        return Err(Failure::with(Exit::Config, message, hint));
    }
    let existed = args.dir.exists();
    let made = make(args, (&key, passphrase.as_ref()), network, before.as_ref());
    if made.is_err() && !existed {
        // Half an authority is none, and would be in the way of a whole one.
        let _ = std::fs::remove_dir_all(&args.dir);
    }
    made?;
    print(&format!("{}\n", key.authority()))
}

fn make(
    args: &InitCa,
    (key, passphrase): (&AuthorityKey, Option<&Passphrase>),
    network: NetworkFile,
    before: Option<&Store>,
) -> Result<(), Failure> {
    let sealed = passphrase.map(|p| (p, Cost::DEFAULT));
    let name = network.name.clone();
    let mut store = Store::make(&args.dir, network, |file| {
        keys::write_new(file, key, sealed, &mut OsEntropy)
    })?;
    store.log(
        "authority made",
        &[("authority", key.authority().to_string())],
    )?;
    if let Some(before) = before {
        store.follow(before)?;
        // What the one before has taken back stays taken back.
        revoking::take_over(&mut store, key, before)?;
        say(&format!(
            "l2vpn: give `l2vpn ca export {}` to all members and `l2vpn reload` there; then sign their records again, and \
             `l2vpn ca retire`\n",
            args.dir.display(),
        ));
    }
    say(&format!(
        "l2vpn: {} is the authority of network {name}; keep it off the machines that are in it\n",
        args.dir.display(),
    ));
    Ok(())
}

fn new_passphrase(args: &InitCa) -> Result<Option<Passphrase>, Failure> {
    if args.no_passphrase {
        return Ok(None);
    }
    let file = args.dir.join(store::KEY);
    let new = args.words.opener().new_passphrase(&file);
    new.map(Some).map_err(Failure::failed)
}
