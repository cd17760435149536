//! What passed in each VLAN of a segment.
//!
//! Memory: 4 KiB for each 64 VLANs of which any was used, and 2 KiB beside.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::vlan::VlanClass;

/// VLANs that share a piece of memory.
const CHUNK: usize = 64;
/// What the numbers of a VLAN can be: 13 bits.
const CHUNKS: usize = 8192 / CHUNK;

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A port of ours.
    Port,
    /// A peer.
    Peer,
}

/// Frames and bytes by ports and by peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Packets that came in by our ports.
    pub port_frames: u64,
    /// Their bytes.
    pub port_bytes: u64,
    /// Packets that came from peers.
    pub peer_frames: u64,
    /// Their bytes.
    pub peer_bytes: u64,
    /// Frames that had to go to everybody.
    pub floods: u64,
    /// Frames that were refused after their VLAN was known.
    pub drops: u64,
}

#[derive(Default)]
struct Counter([AtomicU64; 6]);

type Chunk = Box<[Counter]>;

/// The counters of one segment.
pub struct VlanCounters(Vec<OnceLock<Chunk>>);

impl Default for VlanCounters {
    fn default() -> Self {
        VlanCounters((0..CHUNKS).map(|_| OnceLock::new()).collect())
    }
}

impl std::fmt::Debug for VlanCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VlanCounters")
    }
}

impl VlanCounters {
    fn add(&self, class: VlanClass, index: usize, count: u64) {
        let number = usize::from(class.bits());
        let Some(chunk) = self.0.get(number / CHUNK) else {
            return;
        };
        let new = || (0..CHUNK).map(|_| Counter::default()).collect();
        let counter = chunk.get_or_init(new).get(number % CHUNK);
        if let Some(word) = counter.and_then(|c| c.0.get(index)) {
            word.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Counts a frame of so many packets and bytes.
    pub fn pass(&self, class: VlanClass, from: From, (packets, bytes): (u32, usize)) {
        let first = 2 * usize::from(from == From::Peer);
        self.add(class, first, u64::from(packets));
        self.add(class, first + 1, bytes as u64);
    }

    /// Counts a frame that goes to everybody.
    pub fn flood(&self, class: VlanClass) {
        self.add(class, 4, 1);
    }

    /// Counts a frame that goes nowhere.
    pub fn drop_one(&self, class: VlanClass) {
        self.add(class, 5, 1);
    }

    /// What passed in each VLAN in which anything did.
    pub fn all(&self) -> Vec<(VlanClass, Passed)> {
        let chunks = self.0.iter().enumerate();
        let chunks = chunks.filter_map(|(n, chunk)| Some((n, chunk.get()?)));
        let each = chunks.flat_map(|(n, chunk)| {
            let counters = chunk.iter().enumerate();
            counters.map(move |(i, counter)| {
                let number = u16::try_from(n * CHUNK + i).unwrap_or(0);
                (VlanClass::from_bits(number), counter.read())
            })
        });
        each.filter(|(_, passed)| *passed != Passed::default())
            .collect()
    }
}

impl Counter {
    fn read(&self) -> Passed {
        let [
            port_frames,
            port_bytes,
            peer_frames,
            peer_bytes,
            floods,
            drops,
        ] = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        Passed {
            port_frames,
            port_bytes,
            peer_frames,
            peer_bytes,
            floods,
            drops,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::vlan::Vid;

    #[test]
    fn each_vlan_has_its_own() {
        let counters = VlanCounters::default();
        let customer = VlanClass::customer(Vid::new(100).unwrap());
        let service = VlanClass::service(Vid::new(100).unwrap());
        counters.pass(customer, From::Port, (3, 4500));
        counters.pass(service, From::Peer, (1, 60));
        counters.flood(service);
        counters.drop_one(VlanClass::from_bits(0x1fff));
        let all = counters.all();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].1.port_frames, all[0].1.port_bytes), (3, 4500));
        assert_eq!(
            (all[1].0, all[1].1.peer_bytes, all[1].1.floods),
            (service, 60, 1)
        );
        assert_eq!(all[2].1.drops, 1);
    }
}
