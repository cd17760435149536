//! The network that a member is in: what the node is told of it, and what must survive a restart: who is revoked, and a record that an
//! admin has made longer.

use std::fs;

use super::assemble::Member;
use super::state;
use crate::api::NetworkView;
use crate::config::{Config, NetworkConfig};
use crate::io::clock;
use crate::keys::Armor;
use crate::node::Node;
use crate::node::network::NetworkSettings;
use crate::trust::{Lists, Realm};
use crate::wire::proof::Proof;
use crate::wire::record::Record;
use crate::wire::revocation::Revocations;

/// Seconds by which the clock of whoever signs may be ahead.
const AHEAD: u64 = 24 * 3600;

/// Tells the node of the network in a configuration: its authorities, our record, and who is revoked.
pub(super) fn enter(config: &Config, node: &mut Node) {
    let Some(network) = &config.network else {
        return node.leave_network(clock::now());
    };
    let record = own_record(config, network);
    let settings = NetworkSettings {
        realm: Realm::of(&network.network),
        own: record.as_ref().map(|(_, bytes)| bytes.clone()),
        grace: network.on_expiry.grace(),
    };
    // The checker has looked at the record.
    node.set_network(settings, clock::now());
    for list in kept_lists(config) {
        // One that is no news is refused, and that is all.
        let _ = node.revoke(&list, clock::now());
    }
    if let Some(list) = &network.revocations
        && node.revoke(list, clock::now()).is_err()
        && !is_known(node, list)
    {
        tracing::warn!(
            "[network] revocations is not used: the authority that has signed it is retired"
        );
    }
    if record.is_some() {
        warn_of_time(node);
    }
}

/// Says what is wrong with the time of our record, or with the clock.
fn warn_of_time(node: &Node) {
    let Some((began, until)) = node.own_record_span() else {
        return;
    };
    let now = clock::wall().as_secs();
    if now < began {
        tracing::warn!(
            "this machine's clock shows a time before its record was made ({} hours before): set the clock; until then \
             the record's beginning is taken for the time",
            (began - now) / 3600
        );
    }
    if until <= now.max(began) {
        tracing::warn!(
            "the time of this member's record is over: nobody lets it in; an admin or `l2vpn ca renew` makes another"
        );
    } else if node.is_admin() && until - now.max(began) < 30 * 24 * 3600 {
        tracing::warn!(
            "this admin's record holds for less than 30 days: nobody but the authority renews it, by `l2vpn ca renew`"
        );
    }
}

/// Whether a list, or a newer one of the same authority, is in use.
fn is_known(node: &Node, bytes: &[u8]) -> bool {
    let Ok((list, _)) = Revocations::parse(bytes) else {
        return false;
    };
    let known = node
        .revocation_lists()
        .filter_map(|b| Revocations::parse(b).ok());
    let mut newer = known.filter(|(k, _)| k.issuer == list.issuer && k.epoch >= list.epoch);
    newer.next().is_some()
}

/// Keeps the lists of revocations for the time after a restart.
pub(super) fn keep_lists(config: &Config, node: &Node) {
    let text: String = node
        .revocation_lists()
        .map(|list| Armor::Revocations.to_text(list))
        .collect();
    let file = state::revoked_file(&config.state_dir, &config.name);
    if let Err(error) = state::write(&file, &text) {
        let file = file.display();
        tracing::warn!(
            "cannot write {file}: {error}; after a restart an older list of revocations may be taken"
        );
    }
}

/// The lists that were kept before the restart.
fn kept_lists(config: &Config) -> Vec<Vec<u8>> {
    let file = state::revoked_file(&config.state_dir, &config.name);
    let Ok(text) = fs::read_to_string(&file) else {
        return Vec::new();
    };
    let lists = Armor::Revocations.all_from_text(&text);
    if lists.is_none() {
        tracing::warn!(
            "{} is damaged and not used: until a member tells of them, nobody counts as revoked",
            file.display()
        );
    }
    lists.unwrap_or_default()
}

/// Keeps a record that an admin has given.
pub(super) fn keep_record(config: &Config, bytes: &[u8]) {
    let file = state::record_file(&config.state_dir, &config.name);
    if let Err(error) = state::write(&file, &Armor::Record.to_text(bytes)) {
        tracing::warn!(
            "cannot write {}: {error}; after a restart the record of the configuration is used again",
            file.display()
        );
    }
}

/// Our record: that of the configuration, or a later one of the same member and key that an admin has given.
fn own_record(config: &Config, network: &NetworkConfig) -> Option<(Record, Vec<u8>)> {
    let (record, bytes) = network.record.as_ref()?;
    let file = state::record_file(&config.state_dir, &config.name);
    let text = fs::read_to_string(&file).ok();
    let kept = text.and_then(|text| Armor::Record.from_text(&text));
    let kept = kept.and_then(|bytes| Some((Proof::parse(&bytes).ok()?, bytes)));
    let realm = Realm::of(&network.network);
    let lists = known_lists(config, network);
    let now = clock::wall().as_secs();
    let kept = kept.filter(|(proof, _)| {
        let (member, key) = (proof.record.member, proof.record.key);
        let is_good = realm.believe(proof).is_ok_and(|term| {
            let is_of_now = term.not_before <= now.saturating_add(AHEAD)
                || term.not_before <= record.not_before;
            is_of_now && !lists.has(&member, &term)
        });
        (member, key) == (record.member, record.key)
            && proof.record.serial > record.serial
            && is_good
    });
    let kept = kept.map(|(proof, bytes)| (proof.record, bytes));
    Some(kept.unwrap_or_else(|| (record.clone(), bytes.clone())))
}

/// What is known to be taken back, from both places.
fn known_lists(config: &Config, network: &NetworkConfig) -> Lists {
    let realm = Realm::of(&network.network);
    let mut lists = Lists::default();
    let kept = kept_lists(config);
    for bytes in kept.iter().chain(&network.revocations) {
        if let Ok((list, signature)) = Revocations::parse(bytes)
            && realm.believe_list(&list, &signature).is_ok()
        {
            lists.take(list, bytes, &realm);
        }
    }
    lists
}

impl Member {
    /// What `show` says of the network.
    pub(super) fn network_view(&self) -> Option<NetworkView> {
        let network = self.config.network.as_ref()?;
        let (serial, until) = self.node.own_record_until().unzip();
        let now = clock::wall().as_secs();
        Some(NetworkView {
            name: network.network.name.clone(),
            epoch: self.node.revocation_epoch(),
            serial,
            expires_s: until.map(|until| until.saturating_sub(now)),
        })
    }
}
