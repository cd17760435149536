//! `[network] signer` and `delegation`: what an admin signs with, and what it may sign.

use super::checker::Checker;
use super::network::text;
use super::paths::resolve;
use super::raw::Field;
use crate::keys::{Armor, AuthorityKey, NetworkFile, Stored, read_stored};
use crate::trust::{Realm, Signer};
use crate::wire::delegation::Delegation;

pub(super) fn check(
    checker: &mut Checker<'_>,
    (signer, delegation): (Option<Field<String>>, Option<Field<String>>),
    network: &NetworkFile,
) -> Option<Signer> {
    let (signer, delegation) = match (signer, delegation) {
        (None, None) => return None,
        (Some(signer), Some(delegation)) => (signer, delegation),
        (Some(one), None) | (None, Some(one)) => {
            checker
                .findings
                .error(&one.span, "signer and delegation go together")
                .hint("`l2vpn ca admin DIR` makes both");
            return None;
        }
    };
    let key = key(checker, signer)?;
    let (text, at) = text(checker, delegation)?;
    let bytes = Armor::Delegation.from_text(&text);
    let Some((delegation, signature)) = bytes.and_then(|b| Delegation::parse(&b).ok()) else {
        checker
            .findings
            .error(&at, "this is no delegation")
            .hint("`l2vpn ca admin DIR` makes one");
        return None;
    };
    let is_ours = Realm::of(network)
        .believe_delegation(&delegation, &signature)
        .is_ok();
    let signer = Signer::delegate(key, (delegation, signature)).filter(|_| is_ours);
    if signer.is_none() {
        checker
            .findings
            .error(
                &at,
                "this delegation is of another network or key, or signed by no authority of the network",
            )
            .hint("`l2vpn ca admin DIR` makes a signer and its delegation, which go together");
    }
    signer
}

fn key(checker: &mut Checker<'_>, signer: Field<String>) -> Option<AuthorityKey> {
    let (file, at) = checker.take(Some(signer))?;
    let (message, hint) = match read_stored(&resolve(checker.path, &file)) {
        Ok(Stored::Plain(key)) => return Some(key),
        Ok(Stored::Sealed(_)) => (
            format!("{file}: the key is encrypted"),
            "an admin signs when nobody is there: leave the authority's key where it is, and name one that \
             `l2vpn ca admin` has made"
                .to_string(),
        ),
        Err(error) => (error.to_string(), error.hint()),
    };
    checker.findings.error(&at, message).hint(hint);
    None
}
