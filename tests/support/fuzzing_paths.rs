//! What the fuzzer drives of relays and ways: two members behind NATs and a relay, any order of events, a wire and a relay that
//! flip, copy and drop, and strangers that send what they like.

use std::collections::BTreeSet;

use l2vpn::keys::{AuthorityKey, PublicKey, Signs};
use l2vpn::node::network::NetworkSettings;
use l2vpn::noise::announcement;
use l2vpn::time::Duration;
use l2vpn::trust::Realm;
use l2vpn::wire::announcement::Announcement;
use l2vpn::wire::ethernet::Mac;
use l2vpn::wire::record::{MemberId, Record, Roles};
use l2vpn::wire::relayed::KIND_RELAYED;

use super::Input;
use crate::simulator::nat::KINDS;
use crate::simulator::*;

const RELAY: usize = 2;

fn world(input: &mut Input<'_>) -> Network {
    let mut recipes: Vec<Recipe> = (0..3).map(Recipe::new).collect();
    recipes[RELAY].relays = true;
    recipes[RELAY].ports.clear();
    let mut net = Network::of(recipes, u64::from(input.u16()));
    net.weather.delay = Duration::from_millis(u64::from(input.u8() % 40));
    for n in 0..2 {
        if let Some(kind) = KINDS[usize::from(input.u8()) % KINDS.len()] {
            net.put_behind(n, kind);
        }
        introduce(&mut net, n);
    }
    net
}

fn introduce(net: &mut Network, n: usize) {
    net.introduce(n, RELAY);
    let (own, now) = (net.member(n).address, net.now);
    net.member(n).node.set_local_addresses(vec![own], now);
}

/// Frames arrive as they were sent and once, the relay keeps no more than the one channel, strangers get little for what they
/// send, and when everything works again both members find each other.
pub fn relayed(data: &[u8]) {
    let mut input = Input(data);
    let mut net = world(&mut input);
    let stranger = address(9);
    let mut given = 0;
    let mut sent: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut delivered: [BTreeSet<Vec<u8>>; 2] = Default::default();
    let mut number = 0u32;
    let mut steps = 0;
    while !input.is_empty() && steps < 120 {
        steps += 1;
        let n = usize::from(input.u8() % 2);
        match input.u8() % 11 {
            0..=2 => {
                number += 1;
                let payload = [&number.to_be_bytes()[..], &[n as u8; 100]].concat();
                let bytes = frame(Mac::BROADCAST, host(n), None, &payload);
                net.send(n, 0, &bytes);
                sent.insert(bytes);
            }
            3 => net.run_for(Duration::from_millis(u64::from(input.u16() % 700))),
            4 => net.run_for(Duration::from_secs(u64::from(input.u8() % 100))),
            5 => net.weather.loss = u64::from(input.u8() % 60),
            6 | 7 if !net.recording.is_empty() => {
                // Something that was on the wire again, perhaps damaged, to anybody and from anywhere.
                let at = usize::from(input.u16()) % net.recording.len();
                let mut packet = net.recording[at].clone();
                if let Some(byte) = packet.bytes.get_mut(usize::from(input.u8())) {
                    *byte ^= input.u8();
                }
                let to = usize::from(input.u8() % 3);
                let is_strange = input.u8() % 2 == 0;
                let from = if is_strange { stranger } else { packet.from };
                given += if is_strange { packet.bytes.len() } else { 0 };
                let before = net.recording.len();
                net.inject(to, from, &packet.bytes);
                // Nothing that a stranger sends goes to anybody else.
                let sent = net.recording.iter().skip(before);
                let carried = sent.filter(|p| p.bytes.first() == Some(&KIND_RELAYED));
                assert!(!is_strange || to != RELAY || carried.count() == 0);
            }
            8 => {
                let who = usize::from(input.u8() % 3);
                net.rebuild(who);
                (0..2).for_each(|n| introduce(&mut net, n));
            }
            9 => {
                let nat = usize::from(input.u8());
                if let Some(nat) = net.nats.get_mut(nat % 2) {
                    nat.reboot();
                }
            }
            _ => {
                let pair = (n, usize::from(input.u8() % 3));
                match net.blocked.contains(&pair) {
                    true => net.blocked.retain(|b| *b != pair),
                    false => net.blocked.push(pair),
                }
            }
        }
        absorb(&mut net, &mut delivered, &sent);
        assert!(net.member(RELAY).plane.crossings() <= 1, "channels");
        for n in 0..3 {
            assert!(net.member(n).node.indices_in_use() <= 10, "indices");
        }
        // A copy of an authentic packet that its receiver had not seen has the stranger's address challenged, by no more than came.
        let taken = net.recording.iter().filter(|p| p.to == stranger);
        let taken: usize = taken.map(|p| p.bytes.len()).sum();
        assert!(taken <= given, "amplified: {taken} for {given}");
    }
    net.weather.loss = 0;
    net.blocked.clear();
    (0..2).for_each(|n| introduce(&mut net, n));
    let end = net.now + Duration::from_secs(400);
    let found = net.run_until(end, |net| net.is_up(0, 1) && net.is_up(1, 0));
    assert!(found, "they never found each other again");
}

fn absorb(net: &mut Network, delivered: &mut [BTreeSet<Vec<u8>>; 2], sent: &BTreeSet<Vec<u8>>) {
    for (n, delivered) in delivered.iter_mut().enumerate() {
        for (_, _, frame) in std::mem::take(&mut net.member(n).delivered) {
            assert!(sent.contains(&frame), "delivered what nobody sent");
            assert!(delivered.insert(frame), "delivered twice");
        }
    }
}

/// The network that all of them are in, and the record of one.
fn in_network(key: PublicKey, member: u8) -> NetworkSettings {
    let authority = AuthorityKey::generate(&mut Dice(1));
    let record = Record {
        network: [7; 32],
        member: MemberId([member; 16]),
        serial: 1,
        key: *key.as_bytes(),
        not_before: 1_799_999_000,
        not_after: 1_900_000_000,
        roles: Roles::NONE,
        mac_limit: 0,
        name: format!("m{member}"),
        segments: Vec::new(),
        macs: Vec::new(),
        prefixes: Vec::new(),
        issuer: *authority.authority().as_bytes(),
    };
    let mut own = record.signed().unwrap();
    own.extend_from_slice(&authority.sign(Signs::Record, &record.signed().unwrap()));
    NetworkSettings {
        realm: Realm {
            id: [7; 32],
            authorities: vec![authority.authority()],
        },
        own: Some(own),
        grace: l2vpn::time::Duration::ZERO,
    }
}

/// Beacons and announcements of strangers and copies of real ones change nothing but what a handshake would decide, few are answered by anything,
/// and what is read is what would be written.
pub fn beacons(data: &[u8]) {
    let mut input = Input(data);
    let mut net = Network::of((0..3).map(Recipe::new).collect(), 3);
    for n in 0..3 {
        let own = in_network(net.recipes[n].public(), n as u8);
        let now = net.now;
        assert!(net.member(n).node.set_network(own, now));
    }
    net.start_beacons();
    net.run_for(Duration::from_millis(10));
    let real: Vec<Vec<u8>> = net.beacons.iter().map(|(_, bytes)| bytes.clone()).collect();
    let mut steps = 0;
    while !input.is_empty() && steps < 60 {
        steps += 1;
        let mut bytes = match input.u8() % 5 {
            3 => {
                // By somebody who knows the network: what is inside is signed or it is nothing.
                let len = usize::from(input.u8());
                let text = (0..len).map(|_| input.u8()).collect();
                announcement::seal((&[7; 32], None), (7656, [5; 24]), text).unwrap()
            }
            4 => {
                let mut bytes = vec![15, 1, 1, 1];
                bytes.extend((0..24 + usize::from(input.u16() % 1400)).map(|_| input.u8()));
                bytes
            }
            0 => real[usize::from(input.u8()) % real.len()].clone(),
            1 => {
                let len = usize::from(input.u8());
                (0..len).map(|_| input.u8()).collect()
            }
            _ => {
                let mut bytes = vec![14, 1, 1, 1];
                bytes.extend((0..16 + 8 * usize::from(input.u8() % 140)).map(|_| input.u8()));
                bytes
            }
        };
        if input.u8().is_multiple_of(2) && !bytes.is_empty() {
            let at = usize::from(input.u16()) % bytes.len();
            bytes[at] ^= input.u8();
        }
        if let Ok(beacon) = l2vpn::wire::beacon::Beacon::parse(&bytes) {
            assert_eq!(beacon.to_bytes(), bytes);
        }
        if let Ok(announcement) = Announcement::parse(&bytes) {
            assert_eq!(announcement.to_bytes(), bytes);
        }
        let before = net.recording.len();
        let (from, now, n) = (
            address(usize::from(input.u8())),
            net.now,
            usize::from(input.u8() % 3),
        );
        net.member(n).node.handle_beacon(from, &bytes, now);
        net.collect(n);
        assert!(net.recording.len() <= before + 1, "one handshake at most");
        net.run_for(Duration::from_millis(u64::from(input.u8())));
    }
    net.introduce_all();
    net.run_for(Duration::from_secs(15));
    assert!((0..3).all(|n| (0..3).all(|o| o == n || net.is_up(n, o))));
    assert!((0..3).all(|n| net.member(n).node.peers().len() == 2));
}
