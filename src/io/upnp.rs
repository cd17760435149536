//! A port on the router's outside by UPnP (Internet Gateway Device 1 and 2), which most routers at home speak and nothing else.
//!
//! # Why
//! The router itself is asked first; where it listens to its group only, all are asked. Who answers is asked for a description at
//! the address that it answered from, and for a mapping only if it is the router: that has to be believed anyway. A mapping is for a time or there is none: one that is for ever would
//! outlive us.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};

/// How long the answer to a search may take: routers wait up to three seconds with it (UPnP Device Architecture section 1.3.3).
const SEARCH: Duration = Duration::from_secs(5);
/// The same when it is asked alone.
const SEARCH_ALONE: Duration = Duration::from_secs(2);
/// Where searches go.
const SEARCH_PORT: u16 = 1900;
/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the mapping is for, as the router's owner reads it.
const DESCRIPTION: &str = "l2vpn";

/// Asks a router for a mapping to a UDP port of ours that lives so many seconds; gives its outside. `wish` is the outside port
/// that is asked for first.
///
/// # Errors
/// In words: nobody answered, or the router does not do it.
pub(super) async fn map(
    router: Ipv4Addr,
    own: SocketAddrV4,
    wish: NonZeroU16,
    lifetime: u32,
) -> Result<SocketAddr, String> {
    let asked = ask(router, own.into(), wish, lifetime);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err("the router takes too long".into()),
    }
}

async fn ask(
    router: Ipv4Addr,
    own: SocketAddr,
    wish: NonZeroU16,
    lifetime: u32,
) -> Result<SocketAddr, String> {
    let alone = SocketAddr::from((router, SEARCH_PORT));
    let gateway = match search(own, Some(alone), SEARCH_ALONE).await {
        Ok(gateway) => gateway,
        Err(_) => search(own, None, SEARCH).await?,
    };
    if gateway.addr.ip() != IpAddr::V4(router) {
        return Err(format!("{} is not the router", gateway.addr));
    }
    let udp = PortMappingProtocol::UDP;
    let same = gateway.add_port(udp, wish.get(), own, lifetime, DESCRIPTION);
    let port = match same.await {
        Ok(()) => wish.get(),
        Err(AddPortError::PortInUse) => {
            let any = gateway.add_any_port(udp, own, lifetime, DESCRIPTION);
            any.await.map_err(|e| e.to_string())?
        }
        Err(e) => return Err(e.to_string()),
    };
    let ip = gateway.get_external_ip().await.map_err(|e| e.to_string())?;
    Ok(SocketAddr::new(ip.to_canonical(), port))
}

async fn search(
    own: SocketAddr,
    to: Option<SocketAddr>,
    patience: Duration,
) -> Result<Gateway<Tokio>, String> {
    let mut options = SearchOptions::default();
    options.bind_addr = SocketAddr::new(own.ip(), 0);
    options.timeout = Some(patience);
    if let Some(to) = to {
        options.broadcast_address = to;
    }
    search_gateway(options).await.map_err(|e| e.to_string())
}
