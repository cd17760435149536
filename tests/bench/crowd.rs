//! What a relay needs for very many members: `cargo bench --bench crowd`.
//!
//! Ten thousand members register with one relay, by real handshakes in memory, and ask for fifty thousand channels between them.
//! Printed is what the process needs more than before, for the relay alone: the members are thrown away one by one.

#[path = "../support/exits.rs"]
mod exits;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant as Clock;

use exits::Out;
use l2vpn::dataplane::decap::Decap;
use l2vpn::keys::{Entropy, PrivateKey};
use l2vpn::mesh::path::Endpoint;
use l2vpn::mesh::peer::{Kind, Pass, PeerSettings, RelayUse};
use l2vpn::node::plane::{Note, Plane, RelayLimits};
use l2vpn::node::{Node, NodeSettings, WallClock};
use l2vpn::noise::aead::Suite;
use l2vpn::noise::schedule::REKEY_AFTER;
use l2vpn::place::PeerId;
use l2vpn::switch::decide::Switch;
use l2vpn::switch::layout::Layout;
use l2vpn::switch::storm::StormLimits;
use l2vpn::switch::table::{ForwardingTable, Limits};
use l2vpn::time::{Duration, Instant};
use l2vpn::wire::control::{self, Element};
use l2vpn::wire::offer::Abilities;
use l2vpn::wire::service::Services;

const MEMBERS: u32 = 10_000;
/// Each wants channels to so many that came before it.
const CHANNELS: u32 = 5;

struct Dice(u64);

impl Entropy for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

/// A node with its data plane.
struct Half {
    node: Node,
    plane: Arc<Plane>,
    decap: Decap,
    out: Out,
    address: SocketAddr,
}

fn key(n: u32) -> PrivateKey {
    let mut bytes = [7; 32];
    bytes[8..12].copy_from_slice(&n.to_le_bytes());
    PrivateKey::from_bytes(bytes)
}

fn address(n: u32) -> SocketAddr {
    let [_, a, b, c] = n.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 7656))
}

impl Half {
    fn new(n: u32, now: Instant) -> Half {
        let table = ForwardingTable::new(Limits::default(), (1, 2), &[]);
        let switch = Switch::new(table, StormLimits::default(), Layout::new(Vec::new()));
        let plane = Arc::new(Plane::new(switch));
        let settings = NodeSettings {
            keys: key(n).into(),
            network: l2vpn::keys::Psks::default(),
            suites: Suite::offered(true),
            abilities: Abilities::NONE,
            post_quantum: l2vpn::wire::kem::PostQuantum::Off,
            rekey_after: REKEY_AFTER,
            wall: WallClock::new(Duration::from_secs(1_800_000_000), now, 0),
        };
        let dice = Box::new(Dice(u64::from(n) + 99));
        Half {
            node: Node::new(settings, plane.clone(), dice, now),
            decap: Decap::new(plane.clone()),
            plane,
            out: Out::default(),
            address: address(n),
        }
    }

    fn add(&mut self, n: u32, kind: Kind) -> PeerId {
        self.node.add_peer(PeerSettings {
            kind,
            name: format!("m{n}"),
            key: key(n).public().into(),
            psks: l2vpn::keys::Psks::default(),
            relay: RelayUse::Allow,
            pass: Pass::Listed,
            keepalive: None,
            mtu: None,
            segments: None,
            vlans: None,
            roles: Services::NONE,
            claims: Default::default(),
            serves: false,
        })
    }

    fn take(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let mut bytes = bytes.to_vec();
        self.decap
            .datagram(Endpoint::to(from), &mut bytes, now, &mut self.out);
        self.decap.flush(now, &mut self.out);
        for note in std::mem::take(&mut self.out.notes) {
            self.node.handle_note(note, now);
        }
        while self.node.poll_event().is_some() {}
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        let sent = self
            .node
            .outgoing()
            .iter()
            .map(|(_, b)| b.to_vec())
            .collect();
        self.node.outgoing().clear();
        sent
    }
}

/// Lets both talk until they have nothing to say.
fn talk(relay: &mut Half, member: &mut Half, now: Instant) {
    loop {
        let (to, back) = (member.sent(), relay.sent());
        if to.is_empty() && back.is_empty() {
            return;
        }
        to.iter()
            .for_each(|bytes| relay.take(member.address, bytes, now));
        back.iter()
            .for_each(|bytes| member.take(relay.address, bytes, now));
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0)
}

fn main() {
    let mut now = Instant::from_micros(1_000_000);
    let before = resident();
    let mut relay = Half::new(MEMBERS, now);
    relay.node.start_relaying(RelayLimits::default(), None);
    for n in 0..MEMBERS {
        relay.add(n, Kind::Client);
    }
    let listed = resident();
    let began = Clock::now();
    for n in 0..MEMBERS {
        // Handshakes are limited by rate: an hour passes for all of them.
        now = now + Duration::from_millis(50);
        let mut member = Half::new(n, now);
        let id = member.add(MEMBERS, Kind::Relay);
        member.node.set_endpoints(id, vec![relay.address], now);
        talk(&mut relay, &mut member, now);
        let link = member.node.peers()[0].link.clone();
        for other in (0..n).rev().take(CHANNELS as usize) {
            let wish = control::write(Element::Open(*key(other).public().as_bytes()));
            let out = member.node.outgoing();
            link.send_message(l2vpn::wire::inner::TYPE_CONTROL, &wish, None, out, now)
                .unwrap_or_else(|e| panic!("member {n}: {e:?}"));
            // The other wants it, too: it has long been here.
            let from = Endpoint::to(address(other));
            let wish = control::write(Element::Open(*key(n).public().as_bytes()));
            let note = Note::Control {
                peer: PeerId(other),
                from,
                moved: false,
                body: wish,
            };
            talk(&mut relay, &mut member, now);
            relay.node.handle_note(note, now);
            relay.node.outgoing().clear();
            now = now + Duration::from_millis(5);
        }
    }
    let up = relay
        .node
        .peers()
        .iter()
        .filter(|p| p.up_since.is_some())
        .count();
    let took = began.elapsed();
    let (members, all) = (listed - before, resident() - before);
    println!("members registered            {up}");
    println!("channels                      {}", relay.plane.crossings());
    println!("memory for the list, MiB      {}", members >> 10);
    println!("memory for everything, MiB    {}", all >> 10);
    println!("time, with the members' half  {took:.1?}");
    let beat = Clock::now();
    relay.node.handle_timeout(now + Duration::from_secs(1));
    println!("one heartbeat                 {:.1?}", beat.elapsed());
}
