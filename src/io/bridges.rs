//! The host's bridges, by netlink: made, looked at, and told which VLANs a port of ours carries.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{
    BridgePortState, BridgeStpState, BridgeVlanInfoFlags, InfoBridge, InfoBridgePort, InfoData,
    InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{LinkBridge, LinkBridgeVlan};

use super::links::{LinkError, Links, name_of, refused};

/// What makes bridged frames pass the host's IP firewall.
const FIREWALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// A bridge as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeState {
    /// Whether it is up.
    pub is_up: bool,
    /// Bytes of the largest IP packet.
    pub mtu: u32,
    /// Whether spanning tree runs on it.
    pub has_stp: bool,
    /// Whether it filters by VLAN.
    pub filters_vlans: bool,
    /// Whether frames that it forwards pass the host's IP firewall.
    pub passes_firewall: bool,
    /// The interfaces that joined it.
    pub ports: Vec<BridgePort>,
}

/// An interface that joined a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgePort {
    /// Its name.
    pub name: String,
    /// Bytes of the largest IP packet.
    pub mtu: u32,
    /// Whether it is up.
    pub is_up: bool,
    /// Whether frames pass.
    pub passage: Passage,
    /// Whether frames for unknown hosts go out by it.
    pub floods: bool,
}

/// Whether a port of a bridge lets frames pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Passage {
    /// They pass.
    #[default]
    Open,
    /// Spanning tree makes up its mind.
    Opening,
    /// Spanning tree closed it.
    Closed,
    /// It is down or has no carrier, as one of ours without peers.
    Off,
}

/// VLANs that a port carries as its bridge names them: first, last, and whether they are untagged on the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// Whether frames of it have no tag on the port, and those without a tag belong to it.
    pub is_untagged: bool,
}

impl Links {
    /// Makes a bridge and brings it up.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn create_bridge(&self, name: &str) -> Result<(), LinkError> {
        let link = LinkBridge::new(name).up().build();
        refused(self.handle.link().add(link).execute().await, || {
            format!("make the bridge \"{name}\"")
        })
    }

    /// Starts spanning tree on a bridge, with timers in seconds.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn start_stp(
        &self,
        name: &str,
        (hello, max_age, forward_delay): (u32, u32, u32),
    ) -> Result<(), LinkError> {
        // Hundredths of a second; the kernel checks each against the others of before.
        let change = LinkBridge::new(name)
            .append_info_data(InfoBridge::HelloTime(hello * 100))
            .append_info_data(InfoBridge::MaxAge(max_age * 100))
            .append_info_data(InfoBridge::ForwardDelay(forward_delay * 100))
            .append_info_data(InfoBridge::StpState(BridgeStpState::KernelStp))
            .build();
        // A bridge hears of its own settings by the message that would make it only.
        let request = self.handle.link().change(change);
        refused(request.execute().await, || {
            format!("start spanning tree on \"{name}\"")
        })
    }

    /// Forgets what the kernel knows of hosts on an interface's network.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn forget_neighbors(&self, name: &str) -> Result<(), LinkError> {
        let index = self.index(name).await?;
        let mut all = self.handle.neighbours().get().execute();
        while let Ok(Some(neighbor)) = all.try_next().await {
            let is_multicast = neighbor.header.kind == RouteType::Multicast;
            if neighbor.header.ifindex == index && !is_multicast {
                // One that went by itself meanwhile is as good.
                let _ = self.handle.neighbours().del(neighbor).execute().await;
            }
        }
        Ok(())
    }

    /// How a bridge is now; `None` when there is none of that name.
    pub async fn bridge_state(&self, name: &str) -> Option<BridgeState> {
        let bridge = self.find(name).await.ok()?;
        let data = bridge.attributes.iter().find_map(|a| match a {
            LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|i| match i {
                LinkInfo::Data(InfoData::Bridge(data)) => Some(data),
                _ => None,
            }),
            _ => None,
        })?;
        let index = bridge.header.index;
        let all: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .ok()?;
        let is_port = |l: &&LinkMessage| {
            let of = |a: &LinkAttribute| matches!(a, LinkAttribute::Controller(i) if *i == index);
            l.attributes.iter().any(of)
        };
        Some(BridgeState {
            is_up: bridge.header.flags.contains(LinkFlags::Up),
            mtu: mtu_of(&bridge),
            has_stp: data
                .iter()
                .any(|d| matches!(d, InfoBridge::StpState(s) if *s != BridgeStpState::Disabled)),
            filters_vlans: data.contains(&InfoBridge::VlanFiltering(true)),
            passes_firewall: data.contains(&InfoBridge::NfCallIpTables(true))
                || std::fs::read_to_string(FIREWALL).is_ok_and(|t| t.trim() == "1"),
            ports: all.iter().filter(is_port).map(port_of).collect(),
        })
    }

    /// Makes a filtering bridge pass these VLANs by one of its ports, and no others.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn set_port_vlans(&self, name: &str, ranges: &[VlanRange]) -> Result<(), LinkError> {
        let index = self.index(name).await?;
        let none = BridgeVlanInfoFlags::empty();
        let clear = LinkBridgeVlan::new(index)
            .vlan_range_start(1, none)
            .vlan_range_end(4094, none)
            .build();
        // What was not there cannot be taken away, and that is no fault.
        let _ = self.handle.link().del_with_message(clear).execute().await;
        let mut add = LinkBridgeVlan::new(index);
        for range in ranges {
            let flags = match range.is_untagged {
                true => BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged,
                false => none,
            };
            add = match range.first == range.last {
                true => add.vlan(range.first, flags),
                false => add
                    .vlan_range_start(range.first, flags)
                    .vlan_range_end(range.last, flags),
            };
        }
        refused(self.handle.link().set(add.build()).execute().await, || {
            format!("tell its bridge the VLANs of \"{name}\"")
        })
    }
}

fn mtu_of(link: &LinkMessage) -> u32 {
    let mtu = link.attributes.iter().find_map(|a| match a {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.unwrap_or(0)
}

fn port_of(link: &LinkMessage) -> BridgePort {
    let infos = link.attributes.iter().find_map(|a| match a {
        LinkAttribute::LinkInfo(infos) => Some(infos.as_slice()),
        _ => None,
    });
    let data = infos.unwrap_or_default().iter().find_map(|i| match i {
        LinkInfo::PortData(InfoPortData::BridgePort(data)) => Some(data.as_slice()),
        _ => None,
    });
    let data = data.unwrap_or_default();
    let state = data.iter().find_map(|d| match d {
        InfoBridgePort::State(state) => Some(*state),
        _ => None,
    });
    BridgePort {
        name: name_of(link).unwrap_or_default(),
        mtu: mtu_of(link),
        is_up: link.header.flags.contains(LinkFlags::Up),
        passage: match state {
            Some(BridgePortState::Forwarding) => Passage::Open,
            Some(BridgePortState::Blocking) => Passage::Closed,
            Some(BridgePortState::Disabled) => Passage::Off,
            _ => Passage::Opening,
        },
        floods: !data.contains(&InfoBridgePort::UnicastFlood(false)),
    }
}
