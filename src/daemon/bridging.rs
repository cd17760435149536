//! Ports that join a bridge of the host: what is wrong with it, and which VLANs it shall pass.
//!
//! Offloads of the bridge's other ports need no look: the kernel turns large receive offload off where a device joins a
//! bridge, it gives back the tags that a card has taken off, and what is not cut yet our TAP takes whole or has cut.

use crate::config::PortConfig;
use crate::io::bridges::{BridgeState, Passage, VlanRange};
use crate::switch::port::PortRule;
use crate::wire::vlan::Vid;
use crate::wire::vlans::VidSet;

/// What keeps frames from passing between a bridge's other ports and ours, each with what to do.
pub(super) fn warnings(port: &PortConfig, state: Option<&BridgeState>) -> Vec<String> {
    let bridge = port.bridge.as_deref().unwrap_or_default();
    let Some(state) = state else {
        return vec![format!("{bridge} is gone: make it again and restart")];
    };
    let own = state.ports.iter().find(|p| p.name == port.tap);
    let mut all = Vec::new();
    let mut warn = |is_wrong: bool, text: String| all.extend(is_wrong.then_some(text));
    warn(
        !state.is_up,
        format!("{bridge} is down: `ip link set {bridge} up`"),
    );
    warn(
        own.is_none(),
        format!(
            "{} was taken out of {bridge}: restart to join again",
            port.tap
        ),
    );
    warn(
        state.ports.len() == usize::from(own.is_some()),
        format!("{bridge} has no other port: `ip link set DEVICE master {bridge}`"),
    );
    warn(
        own.is_some_and(|p| p.passage == Passage::Closed),
        "spanning tree blocks this port: another way there is better".into(),
    );
    warn(
        own.is_some_and(|p| p.passage == Passage::Opening),
        "spanning tree is still listening: frames pass in some seconds".into(),
    );
    warn(
        own.is_some_and(|p| !p.floods),
        format!(
            "{bridge} does not flood to this port: `bridge link set dev {} flood on`",
            port.tap
        ),
    );
    warn(
        state.passes_firewall,
        "bridged frames pass the host's IP firewall: `sysctl net.bridge.bridge-nf-call-iptables=0`, \
         or let it forward them"
            .into(),
    );
    warn(
        !state.has_stp && !port.guards_loops,
        "neither spanning tree nor the loop guard watches for loops".into(),
    );
    all.extend(other_ports(port, state));
    all
}

/// What is wrong with the bridge's other ports.
fn other_ports(port: &PortConfig, state: &BridgeState) -> Vec<String> {
    let mut all = Vec::new();
    let mut warn = |is_wrong: bool, text: String| all.extend(is_wrong.then_some(text));
    let mtu = u32::from(port.mtu);
    for other in state.ports.iter().filter(|p| p.name != port.tap) {
        let name = &other.name;
        warn(
            other.mtu < mtu,
            format!(
                "{name} takes {} bytes and this port {mtu}: give both one mtu",
                other.mtu
            ),
        );
        warn(
            !other.is_up,
            format!("{name} is down: `ip link set {name} up`"),
        );
    }
    all
}

/// The VLANs that a port carries, as a filtering bridge is told: those that frames have on the port itself.
pub(super) fn vlan_ranges(rule: &PortRule) -> Vec<VlanRange> {
    let untagged = |vid: Vid| VlanRange {
        first: vid.get(),
        last: vid.get(),
        is_untagged: true,
    };
    let everything_but = |one: u16| {
        let below = (one > 1).then_some((1, one - 1));
        let above = (one < 4094).then_some((one + 1, 4094));
        let range = |(first, last)| VlanRange {
            first,
            last,
            is_untagged: false,
        };
        below.into_iter().chain(above).map(range)
    };
    match rule {
        PortRule::Access(vid) => vec![untagged(*vid)],
        PortRule::Trunk { allowed, native } => {
            let open = allowed.is_none();
            // Frames without a tag belong to some VLAN of the bridge: by its own default it is the first.
            let native = native.or(Vid::new(1).filter(|_| open));
            let mut all: Vec<VlanRange> = native.map(untagged).into_iter().collect();
            match allowed {
                None => all.extend(everything_but(native.map_or(0, Vid::get))),
                Some(list) => all.extend(tagged(list, native)),
            }
            all
        }
        // Whatever a customer has passes.
        PortRule::Qinq(_) => {
            let mut all: Vec<VlanRange> = Vid::new(1).map(untagged).into_iter().collect();
            all.extend(everything_but(1));
            all
        }
        PortRule::Translate(map) => tagged(&map.ports().collect(), None),
    }
}

/// The runs of a list, but for the one that is untagged.
fn tagged(list: &VidSet, but: Option<Vid>) -> Vec<VlanRange> {
    let mut ranges: Vec<VlanRange> = Vec::new();
    for vid in list.iter().filter(|v| Some(*v) != but) {
        match ranges.last_mut() {
            Some(last) if last.last + 1 == vid.get() => last.last = vid.get(),
            _ => ranges.push(VlanRange {
                first: vid.get(),
                last: vid.get(),
                is_untagged: false,
            }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::bridges::BridgePort;
    use crate::switch::layout::LinkLocal;
    use crate::wire::segment::SegmentId;
    use crate::wire::service::Services;

    fn port() -> PortConfig {
        PortConfig {
            tap: "l2lan".into(),
            segment: SegmentId::new(1).unwrap(),
            mtu: 1500,
            mac: None,
            addresses: Vec::new(),
            bridge: Some("br0".into()),
            creates_bridge: false,
            is_isolated: false,
            guards_loops: true,
            pinned: Vec::new(),
            rule: PortRule::TRANSPARENT,
            link_local: LinkLocal::Transparent,
            roles: Services::NONE,
            offload: None,
        }
    }

    fn good() -> BridgeState {
        let joined = |name: &str| BridgePort {
            name: name.into(),
            mtu: 1500,
            is_up: true,
            passage: Passage::Open,
            floods: true,
        };
        BridgeState {
            is_up: true,
            mtu: 1500,
            ports: vec![joined("l2lan"), joined("eth1")],
            ..BridgeState::default()
        }
    }

    #[test]
    fn a_port_without_peers_is_not_taken_for_a_blocked_one() {
        let mut state = good();
        (state.has_stp, state.ports[0].passage) = (true, Passage::Off);
        assert_eq!(warnings(&port(), Some(&state)), Vec::<String>::new());
    }

    #[test]
    fn a_good_bridge_is_passed_over_in_silence_and_each_fault_is_told() {
        assert_eq!(warnings(&port(), Some(&good())), Vec::<String>::new());
        let told = |change: &dyn Fn(&mut BridgeState)| {
            let mut state = good();
            change(&mut state);
            let all = warnings(&port(), Some(&state));
            assert_eq!(all.len(), 1, "{all:?}");
            all[0].clone()
        };
        assert!(told(&|s| s.is_up = false).contains("ip link set br0 up"));
        assert!(told(&|s| s.ports.truncate(1)).contains("no other port"));
        assert!(told(&|s| s.ports[1].mtu = 1400).contains("eth1 takes 1400 bytes"));
        assert!(told(&|s| s.ports[1].is_up = false).contains("eth1 is down"));
        assert!(told(&|s| s.ports[0].passage = Passage::Opening).contains("listening"));
        assert!(told(&|s| s.ports[0].floods = false).contains("flood on"));
        assert!(told(&|s| s.passes_firewall = true).contains("firewall"));
        let blocked = |s: &mut BridgeState| {
            s.has_stp = true;
            s.ports[0].passage = Passage::Closed;
        };
        assert!(told(&blocked).contains("blocks this port"));
        assert!(told(&|s| s.ports.remove(0).mtu = 0).contains("taken out"));
        assert_eq!(warnings(&port(), None).len(), 1);
        let unguarded = PortConfig {
            guards_loops: false,
            ..port()
        };
        assert_eq!(warnings(&unguarded, Some(&good())).len(), 1);
    }

    #[test]
    fn a_filtering_bridge_hears_of_what_the_port_carries() {
        let vid = |n| Vid::new(n).unwrap();
        let told = |rule: PortRule| -> Vec<(u16, u16, bool)> {
            let ranges = vlan_ranges(&rule);
            ranges
                .iter()
                .map(|r| (r.first, r.last, r.is_untagged))
                .collect()
        };
        assert_eq!(told(PortRule::Access(vid(20))), [(20, 20, true)]);
        assert_eq!(
            told(PortRule::TRANSPARENT),
            [(1, 1, true), (2, 4094, false)]
        );
        assert_eq!(
            told(PortRule::Qinq(vid(7))),
            [(1, 1, true), (2, 4094, false)]
        );
        let listed: VidSet = [10, 30, 31, 32].into_iter().map(vid).collect();
        let trunk = |allowed, native| PortRule::Trunk { allowed, native };
        let all = [(10, 10, false), (30, 32, false)];
        assert_eq!(told(trunk(Some(listed.clone()), None)), all);
        let with_native = [
            (31, 31, true),
            (10, 10, false),
            (30, 30, false),
            (32, 32, false),
        ];
        assert_eq!(told(trunk(Some(listed), Some(vid(31)))), with_native);
        let open = [(4094, 4094, true), (1, 4093, false)];
        assert_eq!(told(trunk(None, Some(vid(4094)))), open);
    }
}
