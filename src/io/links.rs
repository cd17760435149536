//! The host's interfaces, by netlink: bring up, MTU, MAC, addresses, bridges, and for the laboratory veth pairs.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_core::Nla;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, LinkAttribute, LinkInfo, LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder,
    new_connection,
};
use tokio::task::JoinHandle;

use super::beacon::Near;
use crate::wire::ethernet::Mac;

/// The attribute of a TAP that counts its queues (linux/if_link.h).
const IFLA_TUN_NUM_QUEUES: u16 = 8;

/// Why an interface was not changed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is none of that name.
    #[error("there is no interface \"{0}\"")]
    Missing(String),
    /// It is something else than asked for.
    #[error("\"{0}\" is not a bridge")]
    NotABridge(String),
    /// The kernel refused.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl LinkError {
    /// Whether it is a matter of permission.
    pub fn is_permission(&self) -> bool {
        matches!(self, LinkError::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// A netlink socket in the network namespace of the thread that opened it.
pub struct Links {
    pub(super) handle: Handle,
    connection: JoinHandle<()>,
}

/// What an interface shall be.
#[derive(Clone, Debug, Default)]
pub struct LinkSettings {
    /// Bytes of the largest IP packet.
    pub mtu: Option<u16>,
    /// The MAC.
    pub mac: Option<Mac>,
    /// Addresses and prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The bridge to join.
    pub bridge: Option<String>,
    /// How many frames it may queue.
    pub queue: Option<u32>,
}

/// Interfaces, and those that are made on top of them, as VLAN devices are; `links` have an index and what they are on.
fn with_those_above(mut all: Vec<u32>, links: &[(u32, Option<u32>)]) -> Vec<u32> {
    let mut at = 0;
    while let Some(below) = all.get(at).copied() {
        let above = links.iter().filter(|(_, parent)| *parent == Some(below));
        for (index, _) in above {
            if !all.contains(index) {
                all.push(*index);
            }
        }
        at += 1;
    }
    all
}

impl Links {
    /// Opens the socket; needs a tokio runtime.
    ///
    /// # Errors
    /// As the system says.
    pub fn open() -> io::Result<Links> {
        let (connection, handle, _) = new_connection()?;
        Ok(Links {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// Sets an interface up as wished: MAC first, addresses last, up in between.
    ///
    /// # Errors
    /// The first thing that could not be done.
    pub async fn configure(&self, name: &str, settings: &LinkSettings) -> Result<(), LinkError> {
        let index = self.index(name).await?;
        if let Some(mac) = settings.mac {
            // A MAC changes only while the interface is down.
            let change = LinkUnspec::new_with_index(index).address(mac.0.to_vec());
            self.set(change, || format!("give \"{name}\" the MAC {mac}"))
                .await?;
        }
        if let Some(mtu) = settings.mtu {
            let change = LinkUnspec::new_with_index(index).mtu(u32::from(mtu));
            self.set(change, || format!("give \"{name}\" an MTU of {mtu}"))
                .await?;
        }
        if let Some(queue) = settings.queue {
            let change = LinkUnspec::new_with_index(index)
                .append_extra_attribute(LinkAttribute::TxQueueLen(queue));
            self.set(change, || {
                format!("give \"{name}\" a queue of {queue} frames")
            })
            .await?;
        }
        if let Some(bridge) = &settings.bridge {
            self.join(index, name, bridge).await?;
        }
        let change = LinkUnspec::new_with_index(index).up();
        self.set(change, || format!("bring \"{name}\" up")).await?;
        for (ip, prefix) in &settings.addresses {
            self.add_address(index, name, (*ip, *prefix)).await?;
        }
        Ok(())
    }

    async fn join(&self, index: u32, name: &str, bridge: &str) -> Result<(), LinkError> {
        let link = self.find(bridge).await?;
        if !is_bridge(&link) {
            return Err(LinkError::NotABridge(bridge.to_string()));
        }
        let change = LinkUnspec::new_with_index(index).controller(link.header.index);
        self.set(change, || {
            format!("let \"{name}\" join bridge \"{bridge}\"")
        })
        .await
    }

    /// Checks that a bridge is there and is one.
    ///
    /// # Errors
    /// [`LinkError::Missing`] or [`LinkError::NotABridge`].
    pub async fn require_bridge(&self, name: &str) -> Result<(), LinkError> {
        match is_bridge(&self.find(name).await?) {
            true => Ok(()),
            false => Err(LinkError::NotABridge(name.to_string())),
        }
    }

    async fn add_address(
        &self,
        index: u32,
        name: &str,
        (ip, prefix): (IpAddr, u8),
    ) -> Result<(), LinkError> {
        let request = self.handle.address().add(index, ip, prefix).replace();
        refused(request.execute().await, || {
            format!("give \"{name}\" the address {ip}/{prefix}")
        })
    }

    /// Sends what is for one IPv4 host through a gateway.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn add_host_route(&self, to: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), LinkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, 32)
            .gateway(gateway)
            .build();
        refused(self.handle.route().add(route).execute().await, || {
            format!("route {to} through {gateway}")
        })
    }

    /// The router of the IPv4 default route, if there is one.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn gateway(&self) -> Result<Option<Ipv4Addr>, LinkError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes = self.handle.route().get(all).execute();
        let failed = |e| LinkError::Refused {
            what: "list the routes".into(),
            source: as_io(e),
        };
        let routes: Vec<RouteMessage> = routes.try_collect().await.map_err(failed)?;
        let mut defaults = routes
            .iter()
            .filter(|r| r.header.destination_prefix_length == 0);
        Ok(defaults.find_map(|route| {
            route.attributes.iter().find_map(|a| match a {
                RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(*ip),
                _ => None,
            })
        }))
    }

    /// Takes addresses away again; those that are gone already are no trouble.
    pub async fn remove_addresses(&self, name: &str, addresses: &[(IpAddr, u8)]) {
        let Ok(index) = self.index(name).await else {
            return;
        };
        let mut all = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute();
        while let Ok(Some(message)) = all.try_next().await {
            use rtnetlink::packet_route::address::AddressAttribute;
            let ours = message.attributes.iter().any(|a| {
                matches!(a, AddressAttribute::Address(ip)
                    if addresses.contains(&(*ip, message.header.prefix_len)))
            });
            if ours {
                let _ = self.handle.address().del(message).execute().await;
            }
        }
    }

    /// The index of an interface.
    ///
    /// # Errors
    /// [`LinkError::Missing`].
    pub async fn index(&self, name: &str) -> Result<u32, LinkError> {
        self.find(name).await.map(|link| link.header.index)
    }

    /// The names of all interfaces.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn names(&self) -> Result<Vec<String>, LinkError> {
        let links: Result<Vec<LinkMessage>, _> =
            self.handle.link().get().execute().try_collect().await;
        let links = links.map_err(|e| LinkError::Refused {
            what: "list the interfaces".into(),
            source: as_io(e),
        })?;
        Ok(links.iter().filter_map(name_of).collect())
    }

    /// Whether an interface has carrier; `None` when it is not there.
    pub async fn carrier(&self, name: &str) -> Option<bool> {
        let link = self.find(name).await.ok()?;
        link.attributes.iter().find_map(|a| match a {
            LinkAttribute::Carrier(up) => Some(*up != 0),
            _ => None,
        })
    }

    /// Whether an interface is in operation (RFC 2863), which is some time after its carrier; `None` when there is none.
    pub async fn operational(&self, name: &str) -> Option<bool> {
        let link = self.find(name).await.ok()?;
        link.attributes.iter().find_map(|a| match a {
            LinkAttribute::OperState(state) => Some(*state == State::Up),
            _ => None,
        })
    }

    /// The addresses that hosts elsewhere may reach: no loopback, no link-local ones, and none of interfaces of our own, of those
    /// made on top of them, and of the others that are named.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn addresses(&self, own: &[String], but: &[String]) -> Result<Vec<Near>, LinkError> {
        let failed = |e| LinkError::Refused {
            what: "list the addresses".into(),
            source: as_io(e),
        };
        let (mut others, mut excluded) = (Vec::new(), Vec::new());
        for name in own {
            others.extend(self.index(name).await.ok());
        }
        for name in but {
            excluded.extend(self.index(name).await.ok());
        }
        let links = self.handle.link().get().execute();
        let links: Vec<LinkMessage> = links.try_collect().await.map_err(failed)?;
        let parents = links.iter().map(|link| {
            let is_far = |a: &LinkAttribute| matches!(a, LinkAttribute::LinkNetNsId(_));
            // A number of another namespace's says nothing here.
            let parent = match link.attributes.iter().any(is_far) {
                true => None,
                false => link.attributes.iter().find_map(|a| match a {
                    LinkAttribute::Link(parent) => Some(*parent),
                    _ => None,
                }),
            };
            (link.header.index, parent)
        });
        let mut others = with_those_above(others, &parents.collect::<Vec<_>>());
        others.extend(excluded);
        let found = self.handle.address().get().execute();
        let found: Vec<AddressMessage> = found.try_collect().await.map_err(failed)?;
        let there = found.iter().filter(|m| !others.contains(&m.header.index));
        let near = there.filter_map(|m| {
            let address = m.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            Some(Near {
                interface: m.header.index,
                address: address?,
            })
        });
        let is_far = |near: &Near| match near.address {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
        };
        Ok(near.filter(is_far).collect())
    }

    /// The MAC of an interface.
    pub async fn mac(&self, name: &str) -> Option<Mac> {
        let link = self.find(name).await.ok()?;
        link.attributes.iter().find_map(|a| match a {
            LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok().map(Mac),
            _ => None,
        })
    }

    /// How many programs' queues hang on a TAP that takes several; `None` for any other interface.
    pub async fn tap_queues(&self, name: &str) -> Option<u32> {
        let link = self.find(name).await.ok()?;
        let infos = link.attributes.iter().find_map(|a| match a {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        })?;
        let tun = infos.iter().find_map(|i| match i {
            LinkInfo::Data(InfoData::Tun(attributes)) => Some(attributes),
            _ => None,
        })?;
        let queues = tun.iter().find(|a| a.kind() == IFLA_TUN_NUM_QUEUES)?;
        let mut value = [0u8; 4];
        if queues.value_len() == value.len() {
            queues.emit_value(&mut value);
        }
        Some(u32::from_ne_bytes(value))
    }

    /// How many frames an interface has dropped because its queue towards us was full.
    pub async fn queue_drops(&self, name: &str) -> Option<u64> {
        let link = self.find(name).await.ok()?;
        link.attributes.iter().find_map(|a| match a {
            LinkAttribute::Stats64(stats) => Some(stats.tx_dropped),
            _ => None,
        })
    }

    /// Makes a pair of connected interfaces.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn add_veth(&self, name: &str, other: &str) -> Result<(), LinkError> {
        let request = self.handle.link().add(LinkVeth::new(name, other).build());
        refused(request.execute().await, || {
            format!("make the veth pair \"{name}\"")
        })
    }

    /// Makes a bridge that floods and learns at once.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn add_bridge(&self, name: &str) -> Result<(), LinkError> {
        let request = self.handle.link().add(LinkBridge::new(name).build());
        refused(request.execute().await, || {
            format!("make the bridge \"{name}\"")
        })
    }

    /// Makes a VXLAN interface towards one peer, without encryption: what figures are compared with.
    ///
    /// # Errors
    /// As the kernel says; kernels without VXLAN are common.
    pub async fn add_vxlan(
        &self,
        name: &str,
        id: u32,
        peer: Ipv4Addr,
        below: &str,
    ) -> Result<(), LinkError> {
        let below = self.index(below).await?;
        let link = LinkVxlan::new(name, id)
            .dev(below)
            .group(peer)
            .port(4789)
            .build();
        refused(self.handle.link().add(link).execute().await, || {
            format!("make the VXLAN \"{name}\"")
        })
    }

    /// Moves an interface into the network namespace of a process.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn give_to(&self, name: &str, pid: u32) -> Result<(), LinkError> {
        let index = self.index(name).await?;
        let change = LinkUnspec::new_with_index(index).setns_by_pid(pid);
        self.set(change, || format!("move \"{name}\" to process {pid}"))
            .await
    }

    /// Takes an interface down.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn set_down(&self, name: &str) -> Result<(), LinkError> {
        let index = self.index(name).await?;
        let change = LinkUnspec::new_with_index(index).down();
        self.set(change, || format!("take \"{name}\" down")).await
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn remove(&self, name: &str) -> Result<(), LinkError> {
        let index = self.index(name).await?;
        let request = self.handle.link().del(index);
        refused(request.execute().await, || format!("remove \"{name}\""))
    }

    async fn set(
        &self,
        change: LinkMessageBuilder<LinkUnspec>,
        what: impl FnOnce() -> String,
    ) -> Result<(), LinkError> {
        refused(self.handle.link().set(change.build()).execute().await, what)
    }

    pub(super) async fn find(&self, name: &str) -> Result<LinkMessage, LinkError> {
        let mut found = self
            .handle
            .link()
            .get()
            .match_name(name.to_string())
            .execute();
        match found.try_next().await {
            Ok(Some(link)) => Ok(link),
            _ => Err(LinkError::Missing(name.to_string())),
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

pub(super) fn name_of(link: &LinkMessage) -> Option<String> {
    debug_assert_eq!(link.header.interface_family, AddressFamily::Unspec);
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|a| match a {
        LinkAttribute::LinkInfo(infos) => infos
            .iter()
            .any(|i| matches!(i, LinkInfo::Kind(InfoKind::Bridge))),
        _ => false,
    })
}

fn as_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

pub(super) fn refused(
    result: Result<(), rtnetlink::Error>,
    what: impl FnOnce() -> String,
) -> Result<(), LinkError> {
    result.map_err(|e| LinkError::Refused {
        what: what(),
        source: as_io(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_on_top_of_an_interface_belongs_to_it() {
        // 7 is a VLAN of 3, 8 one of 7; 9 and 10 are each on the other, as a veth's ends are.
        let links = [
            (1, None),
            (3, None),
            (7, Some(3)),
            (8, Some(7)),
            (9, Some(10)),
            (10, Some(9)),
        ];
        assert_eq!(with_those_above(vec![3], &links), [3, 7, 8]);
        assert_eq!(with_those_above(vec![10], &links), [10, 9]);
        assert!(with_those_above(Vec::new(), &links).is_empty());
    }
}
