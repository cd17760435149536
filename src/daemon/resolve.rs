//! Names to addresses, beside the traffic: a slow resolver delays nobody.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::{EndpointName, PeerConfig};
use crate::place::PeerId;

/// Names are looked up again this often: an address behind a name may change at any time.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The first retry after a failure, or for a peer that does not answer; doubled up to [`AGAIN_AFTER`].
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What was found for a peer.
pub(super) struct Resolved {
    /// Of which resolvers: those before a reload say what the configuration said then.
    pub(super) generation: u64,
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

/// The tasks that keep resolving; they end with this.
pub(super) struct Resolvers {
    _tasks: JoinSet<()>,
    hurries: HashMap<PeerId, Arc<Notify>>,
    found: Sender<Resolved>,
    pub(super) generation: u64,
}

impl Resolvers {
    /// The same for these peers, anew.
    pub(super) fn again<'a>(&self, peers: impl Iterator<Item = (PeerId, &'a PeerConfig)>) -> Self {
        start(peers, (&self.found, self.generation + 1))
    }

    /// A peer does not answer: its names are looked up again soon.
    pub(super) fn hurry(&self, peer: PeerId) {
        if let Some(hurry) = self.hurries.get(&peer) {
            hurry.notify_one();
        }
    }
}

/// Keeps resolving the names of all peers that have some.
pub(super) fn start<'a>(
    peers: impl Iterator<Item = (PeerId, &'a PeerConfig)>,
    (found, generation): (&Sender<Resolved>, u64),
) -> Resolvers {
    let mut tasks = JoinSet::new();
    let mut hurries = HashMap::new();
    for (id, peer) in peers {
        let has_names = peer
            .endpoints
            .iter()
            .any(|e| matches!(e, EndpointName::Name(..)));
        if has_names {
            let hurry = Arc::new(Notify::new());
            hurries.insert(id, hurry.clone());
            let names = (id, peer.endpoints.clone());
            let tell = (found.clone(), generation);
            tasks.spawn(keep_resolving(names, hurry, tell));
        }
    }
    Resolvers {
        _tasks: tasks,
        hurries,
        found: found.clone(),
        generation,
    }
}

async fn keep_resolving(
    (peer, endpoints): (PeerId, Vec<EndpointName>),
    hurry: Arc<Notify>,
    (found, generation): (Sender<Resolved>, u64),
) {
    let mut pause = RETRY_AFTER;
    let mut least = RETRY_AFTER;
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
            generation,
            peer,
            addresses,
            failures,
        };
        if found.send(resolved).await.is_err() {
            return;
        }
        // A peer may be away for long: its resolver is asked more and more rarely.
        sleep(least.min(pause)).await;
        let hurried = timeout(pause.saturating_sub(least), hurry.notified()).await;
        least = match hurried {
            Ok(()) => (least * 2).min(AGAIN_AFTER),
            Err(_) => RETRY_AFTER,
        };
    }
}
