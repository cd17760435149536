//! `ca revoke` and `ca retire`: who is no member any more, and which keys sign no more.

use super::super::exit::{Exit, Failure};
use super::super::render::{print, say};
use super::args::{RetireArgs, RevokeArgs};
use super::store::{Store, read};
use crate::io::clock;
use crate::keys::{Armor, Authority, AuthorityKey, Signs};
use crate::trust::signer::next_serial;
use crate::wire::delegation::Delegation;
use crate::wire::proof::Proof;
use crate::wire::record::MemberId;
use crate::wire::revocation::Revocations;

pub(super) fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.dir)?;
    let (name, member) = meant(&store, &args.member)?;
    let authority = store.authority(args.words)?;
    let of = [("name", name.clone()), ("reason", args.reason.clone())];
    let mut list = store.revocations()?;
    list.revoke(member, u64::MAX);
    if let Some(key) = store.delegate_of(&name)?.filter(|_| !args.keep_signed) {
        list.retire(*key.as_bytes());
        say(
            "l2vpn: it was an admin: what it has signed counts no more, and those members need other records\n",
        );
    }
    let epoch = publish(&mut store, &authority, list, ("revoked", &of))?;
    print(&format!("{name}: revoked, epoch {epoch}\n"))
}

/// Who is meant: by its name, by the file of its record, or by its id, since an admin's members are in no directory.
fn meant(store: &Store, text: &str) -> Result<(String, MemberId), Failure> {
    let file = std::path::Path::new(text);
    if file.is_file() {
        let bytes = read(file)
            .ok()
            .and_then(|text| Armor::Record.from_text(&text));
        let proof = bytes.and_then(|bytes| Proof::parse(&bytes).ok());
        let is_ours = |proof: &Proof| proof.record.network == store.network.id;
        let Some(proof) = proof.filter(is_ours) else {
            let message = format!("{text} is no record of this network");
            return Err(Failure::with(
                Exit::Config,
                message,
                "name the member, or its id",
            ));
        };
        return Ok((proof.record.name, proof.record.member));
    }
    let Some(member) = id_of(text) else {
        let record = store.member(text)?.record;
        return Ok((record.name, record.member));
    };
    let all = store.all()?;
    let known = all.iter().find(|signed| signed.record.member == member);
    if known.is_none() {
        say("l2vpn: no record here has this id: it is an admin's to know\n");
    }
    let name = known.map_or(text.to_string(), |signed| signed.record.name.clone());
    Ok((name, member))
}

/// A member by its id, as `show` prints it: an admin's are in no directory.
fn id_of(text: &str) -> Option<MemberId> {
    let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    Some(MemberId(number.to_be_bytes()))
}

/// Signs and keeps a list by which a member's records up to a serial count no more; gives its epoch.
pub(super) fn revoke_up_to(
    store: &mut Store,
    authority: &AuthorityKey,
    (member, serial): (MemberId, u64),
    of: &[(&str, String)],
) -> Result<u64, Failure> {
    let mut list = store.revocations()?;
    list.revoke(member, serial);
    publish(store, authority, list, ("revoked", of))
}

pub(super) fn retire(args: &RetireArgs) -> Result<(), Failure> {
    let mut store = Store::open(&args.dir)?;
    let key = retired_key(&args.key)?;
    let authority = store.authority(args.words)?;
    if key == authority.authority() {
        let message = "an authority does not retire itself: nobody would be left";
        let hint = "`l2vpn ca init NEW --successor-of DIR` makes another, which retires this one";
        return Err(Failure::with(Exit::Failed, message, hint));
    }
    let mut list = store.revocations()?;
    if store.network.authorities.contains(&key) {
        add_list_of(&mut list, &store, args)?;
        let left = store.signed_by(&key)?;
        if !left.is_empty() && !args.anyway {
            let message = format!("records that only it has signed: {}", left.join(", "));
            let hint =
                "`l2vpn ca renew` them first, and give them out; --anyway lets their members go";
            return Err(Failure::with(Exit::Failed, message, hint));
        }
    } else {
        say(
            "l2vpn: whoever has a record that this key has signed is let in no more, and needs another\n",
        );
    }
    list.retire(*key.as_bytes());
    let of = [("key", key.to_string()), ("reason", args.reason.clone())];
    let epoch = publish(&mut store, &authority, list, ("retired", &of))?;
    store.forget_authority(&key)?;
    print(&format!("{key}: signs no more, epoch {epoch}\n"))
}

/// What the retired authority has taken back stays taken back.
fn add_list_of(list: &mut Revocations, store: &Store, args: &RetireArgs) -> Result<(), Failure> {
    let Some(dir) = &args.directory else {
        if args.anyway {
            return Ok(());
        }
        let message = "what it has revoked would count no more";
        let hint =
            "--directory names the directory of the one that is retired; --anyway goes on without";
        return Err(Failure::with(Exit::Failed, message, hint));
    };
    let other = Store::open(dir)?;
    if other.network.id != store.network.id {
        let message = format!("{} is an authority of another network", dir.display());
        return Err(Failure::with(
            Exit::Config,
            message,
            "see `l2vpn ca show` of both networks",
        ));
    }
    for (member, serial) in other.revocations()?.members {
        list.revoke(member, serial);
    }
    Ok(())
}

/// A key: as it is, or the one that a delegation is for.
fn retired_key(text: &str) -> Result<Authority, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let file = std::path::Path::new(text);
    let delegation = read(file)
        .ok()
        .and_then(|text| Armor::Delegation.from_text(&text));
    let delegation = delegation.and_then(|bytes| Delegation::parse(&bytes).ok());
    let key = delegation.map(|(delegation, _)| Authority::from_bytes(delegation.delegate));
    key.ok_or_else(|| {
        let message = format!("{text} is no key that signs, and no delegation");
        let hint = "`l2vpn ca show` of a network's file or of a delegation names it";
        Failure::with(Exit::Config, message, hint)
    })
}

/// The list of an authority whose successor this is goes on.
pub(super) fn take_over(
    store: &mut Store,
    authority: &AuthorityKey,
    before: &Store,
) -> Result<(), Failure> {
    let list = before.revocations()?;
    if list == Revocations::default() {
        return Ok(());
    }
    let of = [("of", Authority::from_bytes(list.issuer).to_string())];
    publish(store, authority, list, ("taken over", &of)).map(|_| ())
}

/// Signs a list, keeps it, and says what to do with it; gives its epoch.
fn publish(
    store: &mut Store,
    authority: &AuthorityKey,
    mut list: Revocations,
    (what, of): (&str, &[(&str, String)]),
) -> Result<u64, Failure> {
    let now = clock::wall().as_secs();
    list.network = store.network.id;
    list.epoch =
        next_serial(list.epoch, now).ok_or_else(|| Failure::failed("there is no greater epoch"))?;
    list.issuer = *authority.authority().as_bytes();
    let signed = list.signed();
    let mut bytes = signed.map_err(|e| Failure::failed(format!("the list of revocations: {e}")))?;
    let signature = authority.sign(Signs::Revocations, &bytes);
    bytes.extend_from_slice(&signature);
    let with_epoch = [of, &[("epoch", list.epoch.to_string())]].concat();
    store.log(what, &with_epoch)?;
    let file = store.keep_revocations(&Armor::Revocations.to_text(&bytes))?;
    say(&format!(
        "l2vpn: give {} to one member, as [network] revocations, and `l2vpn reload` there: it tells the others\n",
        file.display()
    ));
    Ok(list.epoch)
}
