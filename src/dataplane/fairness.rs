//! What waits to be carried on for others: a queue for each source, emptied in turn (deficit round robin, Shreedhar and
//! Varghese 1996).
//!
//! # Why
//! A relay that is short of CPU has to lose something, and what comes first is mostly what floods. Here everything that has
//! come is taken from the kernel first, which costs little; each source may have so much waiting and loses its own oldest
//! when it has more; then all are served in turn by bytes. What is small and urgent goes before bulk of the same source,
//! never before others. Quanta are as long as trains, so that these stay together.

use crate::mesh::path::Endpoint;
use crate::place::PeerId;

/// What one source may have waiting, in bytes and datagrams.
const MOST_BYTES: usize = 512 << 10;
const MOST_DATAGRAMS: usize = 2048;
/// Bytes that a source sends in its turn.
const QUANTUM: usize = 64 << 10;
/// Sources at a time; more share the last queue.
const MOST_SOURCES: usize = 256;

/// One datagram in a source's buffer.
#[derive(Clone, Copy)]
struct Item {
    to: Endpoint,
    start: usize,
    len: usize,
}

/// What waits of one source in one class, oldest first.
#[derive(Default)]
struct Class {
    items: Vec<Item>,
    head: usize,
}

impl Class {
    fn next(&mut self) -> Option<Item> {
        let item = self.items.get(self.head).copied()?;
        self.head += 1;
        Some(item)
    }

    fn first_len(&self) -> Option<usize> {
        self.items.get(self.head).map(|i| i.len)
    }
}

#[derive(Default)]
struct Source {
    peer: Option<PeerId>,
    bytes: Vec<u8>,
    urgent: Class,
    bulk: Class,
    /// What waits, in bytes and datagrams.
    held: (usize, usize),
    deficit: usize,
}

/// All that waits.
#[derive(Default)]
pub struct FairQueue {
    sources: Vec<Source>,
    /// How many of them are in use; the rest keep their memory.
    used: usize,
    /// The last one that something came from.
    last: usize,
    /// Datagrams that were lost because their source had too many.
    dropped: u64,
}

impl FairQueue {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Datagrams that had to go since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Adds a datagram in two parts.
    pub fn push(
        &mut self,
        (peer, is_urgent): (PeerId, bool),
        to: Endpoint,
        (head, rest): (&[u8], &[u8]),
    ) {
        let at = self.source_of(peer);
        let Some(source) = self.sources.get_mut(at) else {
            return;
        };
        let len = head.len() + rest.len();
        while source.held.1 >= MOST_DATAGRAMS || source.held.0 + len > MOST_BYTES {
            let oldest = source.bulk.next().or_else(|| source.urgent.next());
            let Some(oldest) = oldest else {
                break;
            };
            source.held = (source.held.0 - oldest.len, source.held.1 - 1);
            self.dropped += 1;
        }
        let start = source.bytes.len();
        source.bytes.extend_from_slice(head);
        source.bytes.extend_from_slice(rest);
        source.held = (source.held.0 + len, source.held.1 + 1);
        let class = match is_urgent {
            true => &mut source.urgent,
            false => &mut source.bulk,
        };
        class.items.push(Item { to, start, len });
    }

    fn source_of(&mut self, peer: PeerId) -> usize {
        let is_it = |s: &Source| s.peer == Some(peer);
        if self.last < self.used && self.sources.get(self.last).is_some_and(is_it) {
            return self.last;
        }
        let known = self.sources.iter().take(self.used).position(is_it);
        self.last = match known {
            Some(at) => at,
            None if self.used < MOST_SOURCES => {
                self.used += 1;
                if self.sources.len() < self.used {
                    self.sources.push(Source::default());
                }
                self.used - 1
            }
            None => self.used - 1,
        };
        if let Some(source) = self.sources.get_mut(self.last)
            && known.is_none()
        {
            source.peer = Some(peer);
        }
        self.last
    }

    /// Gives all that waits, source by source in turn, and is empty then.
    pub fn drain(&mut self, mut each: impl FnMut(Endpoint, &[u8])) {
        let mut is_left = self.used > 0;
        while is_left {
            is_left = false;
            for source in self.sources.iter_mut().take(self.used) {
                source.deficit += QUANTUM;
                is_left |= source.turn(&mut each);
            }
        }
        for source in self.sources.iter_mut().take(self.used) {
            source.reset();
        }
        self.used = 0;
    }
}

impl Source {
    /// Sends what this turn allows; gives whether something is left.
    fn turn(&mut self, each: &mut impl FnMut(Endpoint, &[u8])) -> bool {
        let Source {
            bytes,
            urgent,
            bulk,
            deficit,
            ..
        } = self;
        loop {
            let class = match (urgent.first_len(), bulk.first_len()) {
                (Some(_), _) => &mut *urgent,
                (None, Some(_)) => &mut *bulk,
                (None, None) => {
                    *deficit = 0;
                    return false;
                }
            };
            if class.first_len().is_some_and(|len| len > *deficit) {
                return true;
            }
            if let Some(item) = class.next() {
                *deficit -= item.len;
                let range = item.start..item.start + item.len;
                each(item.to, bytes.get(range).unwrap_or_default());
            }
        }
    }

    fn reset(&mut self) {
        self.peer = None;
        self.bytes.clear();
        for class in [&mut self.urgent, &mut self.bulk] {
            class.items.clear();
            class.head = 0;
        }
        (self.held, self.deficit) = ((0, 0), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(n: u8) -> Endpoint {
        Endpoint::to(([192, 0, 2, n], 7656).into())
    }

    fn drained(queue: &mut FairQueue) -> Vec<(Endpoint, u8, usize)> {
        let mut all = Vec::new();
        queue.drain(|to, bytes| all.push((to, bytes[0], bytes.len())));
        all
    }

    #[test]
    fn sources_send_in_turn_and_in_order() {
        let mut queue = FairQueue::default();
        for n in 0..100u8 {
            queue.push((PeerId(1), false), to(1), (&[n], &[0; 1399]));
        }
        queue.push((PeerId(2), false), to(2), (&[200], &[0; 99]));
        queue.push((PeerId(1), true), to(1), (&[201], &[]));
        let all = drained(&mut queue);
        assert_eq!(all.len(), 102);
        assert_eq!(all[0].1, 201, "urgent of the first");
        let second = all.iter().position(|(_, n, _)| *n == 200).unwrap();
        assert!(second < 50, "after one train of the other: {second}");
        let bulk: Vec<u8> = all.iter().map(|a| a.1).filter(|n| *n < 200).collect();
        assert!(bulk.is_sorted() && queue.is_empty());
        assert_eq!(queue.take_dropped(), 0);
    }

    #[test]
    fn who_floods_loses_its_own_oldest_and_nobody_elses() {
        let mut queue = FairQueue::default();
        for n in 0..10_000u32 {
            queue.push((PeerId(1), false), to(1), (&n.to_be_bytes(), &[0; 1396]));
            if n % 50 == 0 {
                queue.push((PeerId(2), false), to(2), (&[9], &[0; 1399]));
            }
        }
        let dropped = queue.take_dropped();
        let all = drained(&mut queue);
        let mild = all.iter().filter(|(e, ..)| *e == to(2)).count();
        assert_eq!(mild, 200);
        assert_eq!(all.len() as u64 + dropped, 10_200);
        let bytes: usize = all.iter().filter(|(e, ..)| *e == to(1)).map(|a| a.2).sum();
        assert!(bytes <= MOST_BYTES);
        // It begins anew and empty.
        queue.push((PeerId(3), false), to(3), (&[1], &[]));
        assert_eq!(drained(&mut queue), [(to(3), 1, 1)]);
    }

    #[test]
    fn more_sources_than_queues_share_the_last() {
        let mut queue = FairQueue::default();
        (0..1000).for_each(|n| queue.push((PeerId(n), false), to(1), (&[1], &[2; 100])));
        assert_eq!(drained(&mut queue).len(), 1000);
    }
}
