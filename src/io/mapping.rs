//! A port on the router's outside that leads to ours: PCP (RFC 6887), NAT-PMP (RFC 6886) where that is not spoken, and UPnP
//! where neither is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMappingOptions, PortMappingType, TimeoutConfig,
    VersionCode, natpmp, pcp,
};
use tokio::sync::mpsc::Sender;

use super::links::Links;

/// How long a mapping lives that is not renewed, in seconds: so long it outlives us.
const LIFETIME: u32 = 1800;
/// A router that has refused, or said nothing, is asked again after this.
const AGAIN: Duration = Duration::from_secs(300);
/// Whether the router is another one is looked at this often.
const LOOK: Duration = Duration::from_secs(20);
/// How long the first answer is waited for (RFC 6886 section 3.1), twice as long each time, and how often it is asked again.
const PATIENCE: Patience = (Duration::from_millis(250), 3);

/// How long an answer is waited for at first, and how often it is asked again.
pub type Patience = (Duration, usize);

/// What a router knows the owner of a mapping by (RFC 6887 section 11.2): the same after a restart.
pub type Nonce = [u32; 3];

/// Keeps a mapping to a UDP port of ours for as long as somebody wants to hear of it, and tells its outside whenever that
/// changes.
pub async fn keep(port: NonZeroU16, nonce: Nonce, tell: Sender<Option<SocketAddr>>) {
    let Ok(links) = Links::open() else {
        return;
    };
    let mut told = None;
    let mut place = None;
    while !tell.is_closed() {
        // What cannot be asked for is as it was.
        place = where_we_are(&links).await.unwrap_or(place);
        let mapped = match place {
            Some((router, own)) if own.is_private() => {
                // The port that it gave last is asked for again.
                let wish = told.and_then(|o: SocketAddr| NonZeroU16::new(o.port()));
                map((router, own), port, wish.unwrap_or(port), nonce).await
            }
            _ => None,
        };
        let outside = mapped.map(|(outside, _)| outside);
        if outside != told {
            told = outside;
            if tell.send(outside).await.is_err() {
                return;
            }
        }
        // A router that was asked for half an hour may give a day, and forget it when it starts anew.
        let lifetime = Duration::from_secs(u64::from(LIFETIME));
        let renew = mapped.map_or(AGAIN, |(_, given)| given.min(lifetime) / 2);
        let looks = renew.as_secs() / LOOK.as_secs();
        for _ in 0..looks.max(1) {
            tokio::time::sleep(LOOK).await;
            // Another router is asked at once, and the same for another address of ours.
            if where_we_are(&links)
                .await
                .is_some_and(|there| there != place)
            {
                break;
            }
        }
    }
}

/// The router, and the address that it sees us at; `None` when that cannot be asked for.
async fn where_we_are(links: &Links) -> Option<Option<(Ipv4Addr, Ipv4Addr)>> {
    let router = links.gateway().await.ok()?;
    Some(router.and_then(|router| Some((router, own_address(router)?))))
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

/// Asks a router for a mapping in all languages; gives its outside and how long it lives.
async fn map(
    (router, own): (Ipv4Addr, Ipv4Addr),
    port: NonZeroU16,
    wish: NonZeroU16,
    nonce: Nonce,
) -> Option<(SocketAddr, Duration)> {
    let first = match map_by_pcp(router, own, (port, nonce), PATIENCE).await {
        Ok(mapping) => Ok(mapping),
        Err(error) => {
            tracing::debug!(%router, "no port mapping by PCP or NAT-PMP: {error}");
            map_by_upnp((router, own), port, wish).await
        }
    };
    let (outside, lifetime) = match first {
        Ok(mapping) => mapping,
        Err(error) => {
            tracing::debug!(%router, "no port mapping by UPnP: {error}");
            return None;
        }
    };
    // A router behind another one gives an outside that is none: others cannot reach it, but may be beside it.
    let is_one = !outside.ip().is_unspecified() && !outside.ip().is_loopback();
    is_one.then_some((outside, lifetime))
}

#[cfg(feature = "upnp")]
async fn map_by_upnp(
    (router, own): (Ipv4Addr, Ipv4Addr),
    port: NonZeroU16,
    wish: NonZeroU16,
) -> Result<(SocketAddr, Duration), String> {
    let own = std::net::SocketAddrV4::new(own, port.get());
    let outside = super::upnp::map(router, own, wish, LIFETIME).await?;
    Ok((outside, Duration::from_secs(u64::from(LIFETIME))))
}

#[cfg(not(feature = "upnp"))]
async fn map_by_upnp(
    _: (Ipv4Addr, Ipv4Addr),
    _: NonZeroU16,
    _: NonZeroU16,
) -> Result<(SocketAddr, Duration), String> {
    Err("this program was built without it".into())
}

/// Asks a router by PCP, or by NAT-PMP where that is all it speaks, for a mapping to a port; gives its outside and how long it
/// lives.
///
/// # Errors
/// In words: nobody answered, or what the router said.
pub async fn map_by_pcp(
    router: Ipv4Addr,
    own: Ipv4Addr,
    (port, nonce): (NonZeroU16, Nonce),
    (first, again): Patience,
) -> Result<(SocketAddr, Duration), String> {
    let patience = TimeoutConfig {
        initial_timeout: first,
        max_retries: again,
        max_retry_timeout: None,
    };
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LIFETIME),
        timeout_config: Some(patience),
    };
    let gateway = GatewayAddress::IpV4(router);
    let udp = InternetProtocol::Udp;
    let request = pcp::BaseMapRequest::new(gateway, own.into(), udp, port);
    let mapping = match pcp::port_mapping(request, Some(nonce), None, options).await {
        Err(pcp::Failure::UnsupportedVersion(VersionCode::NatPmp)) => {
            let mapping = natpmp::port_mapping(gateway, udp, port, options).await;
            mapping.map_err(|e| e.to_string())
        }
        other => other.map_err(|e| e.to_string()),
    }?;
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip.to_canonical(),
        PortMappingType::NatPmp => {
            let outside = natpmp::external_address(gateway, Some(patience)).await;
            outside.map_err(|e| e.to_string())?.into()
        }
    };
    let outside = SocketAddr::new(ip, mapping.external_port().get());
    let lifetime = Duration::from_secs(u64::from(mapping.lifetime()));
    Ok((outside, lifetime))
}
