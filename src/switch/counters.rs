//! What passed in each VLAN of a segment.
//!
//! Each thread counts in a lane of its own, where nobody takes the cache line from it and no addition has to be locked; who
//! asks adds them up. Memory: for each thread that counts, 3 KiB for each 64 VLANs of which any was used, and 2 KiB beside.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{LANES, lane};
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
type Lane = Box<[OnceLock<Chunk>]>;

/// The counters of one segment: a lane for each of [`LANES`] threads and one that all others share.
pub struct VlanCounters(Box<[OnceLock<Lane>]>);

impl Default for VlanCounters {
    fn default() -> Self {
        VlanCounters((0..=LANES).map(|_| OnceLock::new()).collect())
    }
}

impl std::fmt::Debug for VlanCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VlanCounters")
    }
}

impl Counter {
    fn add(&self, index: usize, count: u64, is_alone: bool) {
        let Some(word) = self.0.get(index) else {
            return;
        };
        match is_alone {
            true => word.store(word.load(Ordering::Relaxed) + count, Ordering::Relaxed),
            false => {
                word.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

impl VlanCounters {
    /// Adds to the numbers of a VLAN.
    fn add<const N: usize>(&self, class: VlanClass, counts: [(usize, u64); N]) {
        let number = usize::from(class.bits());
        let own = lane();
        let Some(lane) = self.0.get(own.unwrap_or(LANES)) else {
            return;
        };
        let lane = lane.get_or_init(|| (0..CHUNKS).map(|_| OnceLock::new()).collect());
        let Some(chunk) = lane.get(number / CHUNK) else {
            return;
        };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Counter::default()).collect());
        if let Some(counter) = chunk.get(number % CHUNK) {
            for (index, count) in counts {
                counter.add(index, count, own.is_some());
            }
        }
    }

    /// Counts a frame of so many packets and bytes.
    pub fn pass(&self, class: VlanClass, from: From, (packets, bytes): (u32, usize)) {
        let first = 2 * usize::from(from == From::Peer);
        let counts = [(first, u64::from(packets)), (first + 1, bytes as u64)];
        self.add(class, counts);
    }

    /// Counts a frame that goes to everybody.
    pub fn flood(&self, class: VlanClass) {
        self.add(class, [(4, 1)]);
    }

    /// Counts a frame that goes nowhere.
    pub fn drop_one(&self, class: VlanClass) {
        self.add(class, [(5, 1)]);
    }

    /// What passed in each VLAN in which anything did.
    pub fn all(&self) -> Vec<(VlanClass, Passed)> {
        let mut sums: BTreeMap<u16, Passed> = BTreeMap::new();
        for lane in self.0.iter().filter_map(OnceLock::get) {
            let chunks = lane.iter().enumerate();
            let chunks = chunks.filter_map(|(n, chunk)| Some((n, chunk.get()?)));
            let counters = chunks.flat_map(|(n, chunk)| {
                let numbers = n * CHUNK..;
                numbers.zip(chunk.iter().map(Counter::read))
            });
            for (number, passed) in counters.filter(|(_, p)| *p != Passed::default()) {
                let number = u16::try_from(number).unwrap_or(0);
                sums.entry(number).or_default().add(&passed);
            }
        }
        let class = |(number, passed)| (VlanClass::from_bits(number), passed);
        sums.into_iter().map(class).collect()
    }
}

impl Passed {
    fn add(&mut self, other: &Passed) {
        self.port_frames += other.port_frames;
        self.port_bytes += other.port_bytes;
        self.peer_frames += other.peer_frames;
        self.peer_bytes += other.peer_bytes;
        self.floods += other.floods;
        self.drops += other.drops;
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

    #[test]
    fn no_thread_takes_anything_from_another() {
        let counters = VlanCounters::default();
        let class = VlanClass::customer(Vid::new(7).unwrap());
        // More threads than lanes.
        std::thread::scope(|scope| {
            for _ in 0..LANES + 8 {
                scope.spawn(|| (0..1000).for_each(|_| counters.pass(class, From::Peer, (1, 2))));
            }
        });
        let all = counters.all();
        assert_eq!(all.len(), 1);
        let expected = 1000 * (LANES as u64 + 8);
        assert_eq!(
            (all[0].1.peer_frames, all[0].1.peer_bytes),
            (expected, 2 * expected)
        );
    }
}
