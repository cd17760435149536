//! Datagrams that are ready to go: one buffer, and for each datagram its place in it and its destination.
//!
//! # Why
//! Sealing writes straight into this buffer, and neighbours in it with one destination and one size can be handed to
//! the kernel as one train (UDP_SEGMENT), so the batch is laid out the way that it will be sent. It is cleared and used
//! again; with enough capacity nothing is allocated per datagram.

use crate::drops::DropReason;
use crate::mesh::path::Endpoint;

/// The most bytes of one train: what fits a UDP datagram's length field with room for IP headers.
const MAX_TRAIN: usize = 65_000;

#[derive(Clone, Copy, Debug)]
struct Item {
    start: usize,
    len: usize,
    to: Endpoint,
    mark: Mark,
    /// Whether it is carried for others.
    is_carried: bool,
}

/// How datagrams are to be treated on the way and at the other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Whether they are to be taken before bulk at the other end.
    pub is_urgent: bool,
    /// The 802.1Q priority of the frames in them, 0..=7, where that is shown on the outside; 0 otherwise.
    pub priority: u8,
    /// Whether they shall get out of our own network and no further: they open a NAT of ours and touch none of the other's.
    pub is_short: bool,
}

impl Mark {
    /// The low-delay bit of RFC 1349. Receivers that merge datagrams of one pair of addresses (GRO) merge none of different
    /// marks, so what is urgent does not become the end of a train of bulk.
    const LOW_DELAY: u8 = 0x10;

    /// The IPv4 TOS or IPv6 traffic class: class selector `priority` (RFC 2474 section 4.2.2), and beside it whether it is
    /// urgent, which class selectors leave open.
    pub const fn traffic_class(self) -> u8 {
        let urgent = if self.is_urgent { Self::LOW_DELAY } else { 0 };
        (self.priority & 7) << 5 | urgent
    }
}

/// A batch of datagrams.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The worker whose lanes its data packets name, 0..=7.
    pub worker: u8,
    /// How the data packets that are added next are to be treated.
    pub mark: Mark,
    /// Initialised once and written over again and again; the first `used` bytes count.
    bytes: Vec<u8>,
    used: usize,
    items: Vec<Item>,
    /// For another order.
    spare: Vec<Item>,
}

/// Neighbouring datagrams for one destination, all of `size` bytes but the last, which may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    /// Where they go.
    pub to: Endpoint,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// The size of each but the last.
    pub size: usize,
    /// How many there are.
    pub count: usize,
    /// How they are to be treated.
    pub mark: Mark,
}

impl Outgoing {
    /// An empty batch with room for this much.
    pub fn with_capacity(bytes: usize, datagrams: usize) -> Self {
        Outgoing {
            bytes: vec![0; bytes],
            items: Vec::with_capacity(datagrams),
            ..Outgoing::default()
        }
    }

    /// Adds a datagram of `len` bytes, which `write` fills; on the way through a relay, the header for that comes before.
    ///
    /// # Errors
    /// Those of `write`; nothing is added then.
    pub fn push_with(
        &mut self,
        to: Endpoint,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        let start = self.used;
        let lead = to.lead();
        let begin = start + lead.map_or(0, |lead| lead.len());
        let end = begin + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let (Some(lead), Some(place)) = (lead, self.bytes.get_mut(start..begin)) {
            place.copy_from_slice(&lead);
        }
        write(self.bytes.get_mut(begin..end).unwrap_or_default())?;
        self.used = end;
        let (mark, len) = (self.mark, end - start);
        self.items.push(Item {
            start,
            len,
            to,
            mark,
            is_carried: false,
        });
        Ok(())
    }

    /// Adds a datagram of `len` bytes that is carried for others, whole as it is.
    pub fn carried(&mut self, to: Endpoint, len: usize, write: impl FnOnce(&mut [u8])) {
        let (start, end) = (self.used, self.used + len);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        write(self.bytes.get_mut(start..end).unwrap_or_default());
        self.used = end;
        self.items.push(Item {
            start,
            len,
            to,
            mark: Mark::default(),
            is_carried: true,
        });
    }

    /// Lets what is carried for others go out in this order, by numbers in the batch, behind all else; what is not named does
    /// not go out.
    pub fn reorder(&mut self, order: &[usize]) {
        let Outgoing { items, spare, .. } = self;
        spare.clear();
        spare.extend(items.iter().filter(|i| !i.is_carried));
        let carried = order.iter().filter_map(|n| items.get(*n));
        spare.extend(carried.filter(|i| i.is_carried));
        std::mem::swap(items, spare);
    }

    /// Adds a copy of a datagram.
    pub fn push(&mut self, to: Endpoint, datagram: &[u8]) {
        let copied = self.push_with(to, datagram.len(), |place| {
            place.copy_from_slice(datagram);
            Ok(())
        });
        debug_assert!(copied.is_ok());
    }

    /// How long the last datagram is, in bytes.
    pub fn last_len(&self) -> usize {
        self.items.last().map_or(0, |i| i.len)
    }

    /// Adds the last datagram once more, for somewhere else; what goes before each on its way is not repeated.
    pub fn repeat_last(&mut self, to: Endpoint) {
        let Some(last) = self.items.last().copied() else {
            return;
        };
        let begin = last.start + last.to.lead().map_or(0, |lead| lead.len());
        let (len, start) = (last.start + last.len - begin, self.used);
        let copied = self.push_with(to, len, |_| Ok(()));
        debug_assert!(copied.is_ok());
        let at = start + to.lead().map_or(0, |lead| lead.len());
        self.bytes.copy_within(begin..begin + len, at);
        if let Some(item) = self.items.last_mut() {
            item.mark = last.mark;
        }
    }

    /// The lane that the next data packet names.
    pub fn lane(&self) -> u8 {
        self.worker << 1 | u8::from(self.mark.is_urgent)
    }

    /// How many datagrams there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many bytes they have together.
    pub fn total_bytes(&self) -> usize {
        self.used
    }

    /// Each datagram, its destination and how it is to be treated.
    pub fn marked(&self) -> impl Iterator<Item = (Endpoint, Mark, &[u8])> {
        self.items
            .iter()
            .filter_map(|i| Some((i.to, i.mark, self.bytes.get(i.start..i.start + i.len)?)))
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.items.clear();
    }

    /// Each datagram and its destination.
    pub fn iter(&self) -> impl Iterator<Item = (Endpoint, &[u8])> {
        self.items
            .iter()
            .filter_map(|i| Some((i.to, self.bytes.get(i.start..i.start + i.len)?)))
    }

    /// The datagrams as trains of at most `most` each, in order.
    pub fn trains(&self, most: usize) -> Trains<'_> {
        Trains {
            bytes: &self.bytes,
            rest: &self.items,
            most,
        }
    }
}

/// See [`Outgoing::trains`].
#[derive(Debug)]
pub struct Trains<'a> {
    bytes: &'a [u8],
    rest: &'a [Item],
    most: usize,
}

impl Trains<'_> {
    /// How many datagrams could follow each other if there were no limits: neighbours in memory, one destination, one mark (a train goes to one
    /// socket), one size, and at the end a shorter one.
    fn run(&self, first: &Item) -> usize {
        let goes_along = |(n, i): (usize, &Item)| {
            let is_next = i.start == first.start + n * first.len;
            is_next && i.to == first.to && i.mark == first.mark
        };
        let full = self
            .rest
            .iter()
            .enumerate()
            .take_while(|(n, i)| goes_along((*n, i)) && i.len == first.len)
            .count();
        let ends = |i: &&Item| goes_along((full, i)) && i.len < first.len;
        full + usize::from(self.rest.get(full).filter(ends).is_some())
    }
}

impl<'a> Iterator for Trains<'a> {
    type Item = Train<'a>;

    fn next(&mut self) -> Option<Train<'a>> {
        let first = self.rest.first()?;
        let run = self.run(first);
        // What does not fit one train goes as several of about one length: the other end works on the first while we
        // send the next.
        let fits = (MAX_TRAIN / first.len.max(1)).clamp(1, self.most.max(1));
        let count = run.div_ceil(run.div_ceil(fits).max(1));
        let last = self.rest.get(count - 1)?;
        let end = last.start + last.len;
        self.rest = self.rest.get(count..).unwrap_or_default();
        Some(Train {
            to: first.to,
            bytes: self.bytes.get(first.start..end)?,
            size: first.len,
            count,
            mark: first.mark,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Endpoint {
        Endpoint::to(([192, 0, 2, 1], port).into())
    }

    #[test]
    fn neighbours_of_one_size_make_a_train_and_a_shorter_one_ends_it() {
        let mut out = Outgoing::default();
        for (port, len) in [(1, 10), (1, 10), (1, 4), (1, 10), (2, 10), (2, 11), (2, 11)] {
            out.push(to(port), &vec![0; len]);
        }
        let trains: Vec<_> = out
            .trains(64)
            .map(|t| (t.to.remote.port(), t.size, t.count, t.bytes.len()))
            .collect();
        assert_eq!(
            trains,
            [
                (1, 10, 3, 24),
                (1, 10, 1, 10),
                (2, 10, 1, 10),
                (2, 11, 2, 22)
            ]
        );
        assert_eq!(out.trains(1).count(), 7);
        assert_eq!(out.iter().count(), 7);
    }

    #[test]
    fn the_last_datagram_goes_somewhere_else_as_well() {
        let [first, second] = [3, 9].map(|n| crate::wire::relayed::Channel::new(n).unwrap());
        let (direct, relayed) = (to(1), to(2).through(first));
        let other = to(3).through(second);
        let mut out = Outgoing::default();
        out.repeat_last(direct);
        assert!(out.is_empty(), "there is none");
        out.mark.is_urgent = true;
        for way in [direct, relayed] {
            out.push(way, b"sealed");
            out.mark.is_urgent = false;
            out.repeat_last(other);
            out.repeat_last(direct);
        }
        let got: Vec<_> = out
            .marked()
            .map(|(to, m, b)| (to, m.is_urgent, b.to_vec()))
            .collect();
        let whole =
            |way: Endpoint| [way.lead().unwrap_or_default().to_vec(), b"sealed".to_vec()].concat();
        let all = [
            (direct, true),
            (other, true),
            (direct, true),
            (relayed, false),
            (other, false),
            (direct, false),
        ];
        let all = all.map(|(way, urgent)| {
            let bytes = if way.channel.is_some() {
                whole(way)
            } else {
                b"sealed".to_vec()
            };
            (way, urgent, bytes)
        });
        assert_eq!(got, all);
    }

    #[test]
    fn datagrams_of_each_mark_make_trains_of_their_own() {
        let mut out = Outgoing::default();
        for (is_urgent, priority, len) in [
            (false, 0, 10),
            (true, 0, 10),
            (true, 0, 4),
            (false, 0, 3),
            (false, 5, 3),
        ] {
            out.mark = Mark {
                is_urgent,
                priority,
                is_short: false,
            };
            out.push(to(1), &vec![0; len]);
        }
        let trains = out.trains(64).map(|t| (t.mark.traffic_class(), t.count));
        let trains: Vec<_> = trains.collect();
        assert_eq!(trains, [(0, 1), (0x10, 2), (0, 1), (0xa0, 1)]);
    }

    #[test]
    fn trains_stay_below_a_udp_length_and_failed_writes_leave_nothing() {
        let mut out = Outgoing::default();
        (0..100).for_each(|_| out.push(to(1), &[0; 1472]));
        assert!(
            out.trains(64)
                .all(|t| t.bytes.len() <= MAX_TRAIN && t.count <= 64)
        );
        assert_eq!(out.trains(64).map(|t| t.count).sum::<usize>(), 100);
        let before = out.total_bytes();
        let refused = out.push_with(to(1), 10, |_| Err(DropReason::SessionExpired));
        assert!(refused.is_err());
        assert_eq!((out.total_bytes(), out.len()), (before, 100));
    }
}
