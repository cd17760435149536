//! What is heard beside the lanes: beacons of the LAN, and at a relay what comes to its second port.

use std::net::SocketAddr;

use super::assemble::Member;
use super::event_loop::EventLoop;
use crate::config::{Config, PeerKind};
use crate::io::beacon::BeaconSocket;
use crate::io::clock;
use crate::io::second::{Look, Second};

/// The sockets.
pub(super) struct Ears {
    /// Peers on the same LAN are found by these.
    pub(super) beacons: Option<BeaconSocket>,
    /// Where members show how they look from another port.
    pub(super) second: Option<Second>,
}

/// What was heard, and from where.
pub(super) enum Heard {
    /// A beacon of so many bytes.
    Beacon(usize, SocketAddr),
    /// A member that shows itself.
    Look(Look, SocketAddr),
}

impl Ears {
    /// Those that are of use by the configuration, as far as they can be had.
    pub(super) fn open(member: &Member) -> Ears {
        Ears {
            beacons: Ears::beacons(&member.config),
            second: second(member),
        }
    }

    /// The socket for peers on the same LAN, if there may be any.
    pub(super) fn beacons(config: &Config) -> Option<BeaconSocket> {
        let has_members = config.peers.iter().any(|p| p.kind == PeerKind::Member);
        if !config.reach.on_lan || !(has_members || config.network.is_some()) {
            return None;
        }
        let opened = BeaconSocket::open();
        opened
            .inspect_err(|e| tracing::warn!("peers on the same LAN are not looked for: {e}"))
            .ok()
    }

    /// Waits for the next thing that is heard; the bytes of a beacon are put into `beacon`.
    pub(super) async fn listen(&self, beacon: &mut [u8]) -> Heard {
        let near = async {
            match &self.beacons {
                Some(beacons) => beacons.receive(beacon).await,
                None => std::future::pending().await,
            }
        };
        let look = async {
            match &self.second {
                Some(second) => second.receive().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (len, from) = near => Heard::Beacon(len, from),
            (from, look) = look => Heard::Look(look, from),
        }
    }
}

/// A relay's second port is the next one after its first, where that is free and the configuration says nothing else.
fn second(member: &Member) -> Option<Second> {
    let wish = member.config.relaying.as_ref()?.second_port;
    let first = member.outside.lanes.first()?.bulk.local_address().ok()?;
    let port = wish.or_else(|| first.port().checked_add(1))?;
    if port == 0 {
        return None;
    }
    let opened = Second::open(SocketAddr::new(first.ip(), port));
    opened
        .inspect_err(|e| {
            tracing::warn!("members are not told of what kind their NATs are: UDP {port}: {e}");
        })
        .ok()
}

impl EventLoop {
    /// Takes what was heard; a beacon's bytes are in `beacon`.
    pub(super) fn heard(&mut self, heard: Heard, beacon: &[u8]) {
        let (node, now) = (&mut self.member.node, clock::now());
        match heard {
            Heard::Beacon(len, from) => {
                node.handle_beacon(from, beacon.get(..len).unwrap_or_default(), now);
            }
            Heard::Look(look, from) => node.handle_look(from, &look, now),
        }
    }
}
