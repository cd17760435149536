//! Members and the hosts behind them, in the simulation.

#![allow(dead_code)]

use super::simulator::*;
use l2vpn::node::Event;
use l2vpn::node::loops::Loop;
use l2vpn::place::{PeerId, Place, PortId};
use l2vpn::switch::table::{Key, Learned};
use l2vpn::time::Duration;
use l2vpn::wire::ethernet::Mac;
use l2vpn::wire::vlan::VlanClass;

pub const SECOND: Duration = Duration::from_secs(1);

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0x02, 0x10, a, b, c, d])
}

pub fn key(mac: Mac) -> Key {
    Key::new(segment(1), VlanClass::UNTAGGED, mac)
}

pub fn connected(recipes: Vec<Recipe>, seed: u64) -> Network {
    let mut net = Network::of(recipes, seed);
    net.introduce_all();
    let end = net.now + SECOND * 20;
    assert!(net.run_until(end, Network::all_up));
    net.run_for(SECOND);
    net
}

pub fn members(n: u8) -> Vec<Recipe> {
    (0..n).map(Recipe::new).collect()
}

/// What member `n` knows of a MAC.
pub fn known(net: &mut Network, n: usize, mac: Mac) -> Option<Learned> {
    let now = net.now;
    net.member(n).plane.switch.table.get(key(mac), now)
}

pub fn is_behind(net: &mut Network, n: usize, mac: Mac, other: usize) -> bool {
    let place = match n == other {
        true => Place::Port(PortId(0)),
        false => Place::Peer(PeerId(Network::peer_of(n, other))),
    };
    known(net, n, mac).is_some_and(|l| l.place == place)
}

/// A host behind `n` sends one frame to another host.
pub fn speak(net: &mut Network, n: usize, from: Mac, to: Mac) {
    net.send(n, 0, &frame(to, from, None, b"hello"));
}

/// What bridged ports do: probes that a member emits reach the ports on the same wire.
pub fn wire_up(net: &mut Network, wire: &[(usize, u16)], span: Duration) {
    wire_up_where(net, wire, span, |_| true);
}

/// The same on a wire that lets through only some frames.
pub fn wire_up_where(
    net: &mut Network,
    wire: &[(usize, u16)],
    span: Duration,
    passes: impl Fn(&[u8]) -> bool,
) {
    let end = net.now + span;
    let mut heard: Vec<usize> = (0..net.members.len())
        .map(|n| net.member(n).events.len())
        .collect();
    while net.now < end {
        net.run_for(millis(10));
        for n in 0..net.members.len() {
            let events = &net.member(n).events;
            let new = events.len();
            let emitted: Vec<(u16, Vec<u8>)> = events[heard[n]..]
                .iter()
                .filter_map(|(_, e)| match e {
                    Event::Emit(port, frame) => Some((port.0, frame.clone())),
                    _ => None,
                })
                .collect();
            heard[n] = new;
            for (port, frame) in emitted {
                if wire.contains(&(n, port)) && passes(&frame) {
                    for (other, at) in wire.iter().filter(|w| **w != (n, port)) {
                        net.send(*other, *at, &frame);
                    }
                }
            }
        }
    }
}

pub fn loops(net: &mut Network, n: usize) -> Vec<Loop> {
    let events = net.member(n).events.iter();
    let loops = events.filter_map(|(_, e)| match e {
        Event::Loop(found) => Some(*found),
        _ => None,
    });
    loops.collect()
}

/// The last frame that a member emitted itself: a probe of its loop guard.
pub fn last_probe(net: &mut Network, n: usize) -> Vec<u8> {
    let events = net.member(n).events.iter().rev();
    let mut emitted = events.filter_map(|(_, e)| match e {
        Event::Emit(_, frame) => Some(frame.clone()),
        _ => None,
    });
    emitted.next().expect("it has sent one")
}
