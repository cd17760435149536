//! Names to addresses, beside the traffic: a slow resolver delays nobody.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use crate::config::{EndpointName, PeerConfig};
use crate::place::PeerId;

/// Names are looked up again this often: an address behind a name may change at any time.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The first retry after a failure; doubled up to [`AGAIN_AFTER`].
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What was found for a peer.
pub(super) struct Resolved {
    pub(super) peer: PeerId,
    pub(super) addresses: Vec<SocketAddr>,
    /// Names that could not be resolved, with the reason.
    pub(super) failures: Vec<String>,
}

/// The addresses that need no resolver.
pub(super) fn literal(peer: &PeerConfig) -> Vec<SocketAddr> {
    peer.endpoints
        .iter()
        .filter_map(|e| match e {
            EndpointName::Address(address) => Some(*address),
            EndpointName::Name(..) => None,
        })
        .collect()
}

/// Keeps resolving the names of all peers that have some.
pub(super) fn start(peers: &[PeerConfig], found: &Sender<Resolved>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (index, peer) in peers.iter().enumerate() {
        let has_names = peer
            .endpoints
            .iter()
            .any(|e| matches!(e, EndpointName::Name(..)));
        if has_names {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            tasks.spawn(keep_resolving(id, peer.endpoints.clone(), found.clone()));
        }
    }
    tasks
}

async fn keep_resolving(peer: PeerId, endpoints: Vec<EndpointName>, found: Sender<Resolved>) {
    let mut pause = RETRY_AFTER;
    loop {
        let mut addresses = Vec::new();
        let mut failures = Vec::new();
        for endpoint in &endpoints {
            match endpoint {
                EndpointName::Address(address) => addresses.push(*address),
                EndpointName::Name(host, port) => {
                    match tokio::net::lookup_host((host.as_str(), *port)).await {
                        Ok(all) => addresses.extend(all),
                        Err(error) => failures.push(format!("{host}: {error}")),
                    }
                }
            }
        }
        pause = match failures.is_empty() {
            true => AGAIN_AFTER,
            false => (pause * 2).min(AGAIN_AFTER),
        };
        let resolved = Resolved {
            peer,
            addresses,
            failures,
        };
        if found.send(resolved).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}
