//! The carriers of a build without them: there are none.

use std::net::SocketAddr;

use super::assemble::StartError;
use crate::config::{Config, PeerConfig};
use crate::node::Node;
use crate::place::PeerId;

/// What cannot happen.
pub(super) enum News {}

/// No legs.
pub(super) struct Carriers;

impl Carriers {
    pub(super) async fn start(
        _: &Config,
        _: SocketAddr,
        _: &[(PeerId, PeerConfig)],
    ) -> Result<Self, StartError> {
        Ok(Carriers)
    }

    pub(super) async fn call_only(&mut self, _: Vec<(PeerId, PeerConfig)>, _: &Config) {}

    pub(super) fn scatter(&self, _: SocketAddr, _: Vec<u8>) {}

    pub(super) async fn next(&mut self) -> News {
        std::future::pending().await
    }

    pub(super) fn legs_to(&self, _: PeerId) -> impl Iterator<Item = SocketAddr> + '_ {
        std::iter::empty()
    }

    pub(super) fn end(&mut self, _: SocketAddr) -> Option<PeerId> {
        None
    }

    pub(super) fn mtu(&self, _: &SocketAddr) -> Option<u16> {
        None
    }

    pub(super) fn name(&self, address: SocketAddr) -> String {
        address.to_string()
    }

    pub(super) fn look(&self, _: &Node) {}

    pub(super) fn strangers(&mut self, _: &Node) -> Vec<SocketAddr> {
        Vec::new()
    }
}
