//! A port on the router's outside that leads to ours: PCP (RFC 6887), and NAT-PMP (RFC 6886) where that is not spoken.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType,
    TimeoutConfig, natpmp,
};
use tokio::sync::mpsc::Sender;

use super::links::Links;

/// How long a mapping lives that is not renewed, in seconds: so long it outlives us.
const LIFETIME: u32 = 1800;
/// A router that has refused, or said nothing, is asked again after this.
const AGAIN: Duration = Duration::from_secs(300);
/// Whether the router is another one is looked at this often.
const LOOK: Duration = Duration::from_secs(20);
/// Requests and the pauses between: 250 ms, doubled (RFC 6886 section 3.1), four times.
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: None,
};

/// Keeps a mapping to a UDP port of ours for as long as somebody wants to hear of it, and tells its outside whenever that
/// changes.
pub async fn keep(port: NonZeroU16, tell: Sender<Option<SocketAddr>>) {
    let Ok(links) = Links::open() else {
        return;
    };
    let mut told = None;
    loop {
        let router = links.gateway().await;
        let own = router.and_then(own_address).filter(Ipv4Addr::is_private);
        let mapped = match (router, own) {
            (Some(router), Some(own)) => map(router, own, port).await,
            _ => None,
        };
        let outside = mapped.map(|(outside, _)| outside);
        if outside != told {
            told = outside;
            if tell.send(outside).await.is_err() {
                return;
            }
        }
        let renew = mapped.map_or(AGAIN, |(_, lifetime)| lifetime / 2);
        // Another router is asked at once.
        let mut left = renew.max(LOOK);
        while left >= LOOK && !tell.is_closed() {
            tokio::time::sleep(LOOK).await;
            left -= LOOK;
            if links.gateway().await != router {
                break;
            }
        }
    }
}

/// The address that a host on our own network sees us at.
fn own_address(router: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((router, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

/// Asks a router for a mapping; gives its outside and how long it lives.
async fn map(router: Ipv4Addr, own: Ipv4Addr, port: NonZeroU16) -> Option<(SocketAddr, Duration)> {
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LIFETIME),
        timeout_config: Some(PATIENCE),
    };
    let gateway = GatewayAddress::IpV4(router);
    let udp = InternetProtocol::Udp;
    let mapping = PortMapping::new(gateway, own.into(), udp, port, options).await;
    let mapping = match mapping {
        Ok(mapping) => mapping,
        Err(error) => {
            tracing::debug!(%router, "no port mapping: {error}");
            return None;
        }
    };
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip.to_canonical(),
        PortMappingType::NatPmp => {
            let outside = natpmp::external_address(gateway, Some(PATIENCE)).await;
            outside.ok()?.into()
        }
    };
    let outside = SocketAddr::new(ip, mapping.external_port().get());
    let lifetime = Duration::from_secs(u64::from(mapping.lifetime()));
    // A router behind another one gives an outside that is none: others cannot reach it, but may be beside it.
    (!ip.is_unspecified() && !ip.is_loopback()).then_some((outside, lifetime))
}
