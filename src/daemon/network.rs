//! The network that a member is in: what the node is told of it, and the revocations that must survive a restart.

use std::fs;

use super::assemble::Member;
use super::state;
use crate::api::NetworkView;
use crate::config::{Config, NetworkConfig};
use crate::io::clock;
use crate::keys::Armor;
use crate::node::Node;
use crate::node::network::NetworkSettings;

/// Tells the node of the network in a configuration: its authorities, our record, and who is revoked.
pub(super) fn enter(config: &Config, node: &mut Node) {
    let Some(NetworkConfig {
        network,
        record,
        revocations,
    }) = &config.network
    else {
        return node.leave_network(clock::now());
    };
    let settings = NetworkSettings {
        id: network.id,
        authorities: network.authorities.clone(),
        own: record.as_ref().map(|(_, bytes)| bytes.clone()),
    };
    // The checker has looked at the record.
    node.set_network(settings);
    for list in [kept(config).as_ref(), revocations.as_ref()]
        .into_iter()
        .flatten()
    {
        // One that is no news is refused, and that is all.
        let _ = node.revoke(list, clock::now());
    }
    if let Some((record, _)) = record
        && record.not_after <= clock::wall().as_secs()
    {
        tracing::warn!(
            "the time of this member's record is over: nobody lets it in; `l2vpn ca renew` makes another"
        );
    }
}

/// Keeps a list of revocations for the time after a restart.
pub(super) fn keep(config: &Config, list: &[u8]) {
    let file = state::revoked_file(&config.state_dir, &config.name);
    if let Err(error) = state::write(&file, &Armor::Revocations.to_text(list)) {
        let file = file.display();
        tracing::warn!(
            "cannot write {file}: {error}; after a restart an older list of revocations may be taken"
        );
    }
}

/// The list that was kept before the restart.
fn kept(config: &Config) -> Option<Vec<u8>> {
    let file = state::revoked_file(&config.state_dir, &config.name);
    let text = fs::read_to_string(&file).ok()?;
    let list = Armor::Revocations.from_text(&text);
    if list.is_none() {
        tracing::warn!("{} is damaged: it is not used", file.display());
    }
    list
}

impl Member {
    /// What `show` says of the network.
    pub(super) fn network_view(&self) -> Option<NetworkView> {
        let network = self.config.network.as_ref()?;
        let record = network.record.as_ref().map(|(record, _)| record);
        let now = clock::wall().as_secs();
        Some(NetworkView {
            name: network.network.name.clone(),
            epoch: self.node.revocation_epoch(),
            serial: record.map(|r| r.serial),
            expires_s: record.map(|r| r.not_after.saturating_sub(now)),
        })
    }
}
