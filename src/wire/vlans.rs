//! Sets of VLANs: numbers as a configuration lists them, and everything that a frame's outermost tag can say.

use super::cursor::Cursor;
use super::vlan::{Vid, VlanClass};

/// A set of VLANs.
#[derive(Clone, PartialEq, Eq)]
pub struct VidSet(Box<[u64; 64]>);

impl Default for VidSet {
    fn default() -> Self {
        VidSet(Box::new([0; 64]))
    }
}

impl VidSet {
    /// Adds a VLAN.
    pub fn insert(&mut self, vid: Vid) {
        let vid = usize::from(vid.get());
        if let Some(word) = self.0.get_mut(vid / 64) {
            *word |= 1 << (vid % 64);
        }
    }

    /// Whether the VLAN is in the set.
    pub fn contains(&self, vid: Vid) -> bool {
        let vid = usize::from(vid.get());
        self.0
            .get(vid / 64)
            .is_some_and(|word| word & (1 << (vid % 64)) != 0)
    }

    /// The VLANs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Vid> + '_ {
        (1..=4094)
            .filter_map(Vid::new)
            .filter(|v| self.contains(*v))
    }
}

impl FromIterator<Vid> for VidSet {
    fn from_iter<I: IntoIterator<Item = Vid>>(vids: I) -> Self {
        let mut set = VidSet::default();
        vids.into_iter().for_each(|v| set.insert(v));
        set
    }
}

/// Writes runs as ranges: `10,20,30-39`.
impl std::fmt::Display for VidSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut vids = self.iter().map(Vid::get).peekable();
        let mut separator = "";
        while let Some(first) = vids.next() {
            let mut last = first;
            while let Some(next) = vids.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last == first {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl std::fmt::Debug for VidSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What a frame's outermost tag can say: untagged, a customer VLAN, or a service VLAN. One bit each, 1 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet(Box<[u64; 128]>);

impl Default for VlanSet {
    fn default() -> Self {
        VlanSet(Box::new([0; 128]))
    }
}

/// The most ranges that are told of one set; beyond, more is told than is true.
const MAX_RANGES: usize = 24;

impl VlanSet {
    /// Every frame.
    pub fn everything() -> Self {
        VlanSet(Box::new([u64::MAX; 128]))
    }

    /// The VLANs of a list, by customer and by service tag; not what is untagged.
    pub fn of_list(list: &VidSet) -> Self {
        list.iter().fold(VlanSet::default(), |set, vid| {
            set.with(VlanClass::customer(vid))
                .with(VlanClass::service(vid))
        })
    }

    /// The same set and this one.
    #[must_use]
    pub fn with(mut self, class: VlanClass) -> Self {
        if let Some(word) = self.0.get_mut(usize::from(class.bits() / 64)) {
            *word |= 1 << (class.bits() % 64);
        }
        self
    }

    /// The same set but for this one.
    #[must_use]
    pub fn without(mut self, class: VlanClass) -> Self {
        if let Some(word) = self.0.get_mut(usize::from(class.bits() / 64)) {
            *word &= !(1 << (class.bits() % 64));
        }
        self
    }

    /// Whether a frame of this class is in the set.
    pub fn contains(&self, class: VlanClass) -> bool {
        let word = self.0.get(usize::from(class.bits() / 64));
        word.is_some_and(|w| w & (1 << (class.bits() % 64)) != 0)
    }

    /// What is in both.
    #[must_use]
    pub fn and(mut self, other: &VlanSet) -> Self {
        self.0
            .iter_mut()
            .zip(other.0.iter())
            .for_each(|(a, b)| *a &= b);
        self
    }

    /// What is in one of them.
    #[must_use]
    pub fn or(mut self, other: &VlanSet) -> Self {
        self.0
            .iter_mut()
            .zip(other.0.iter())
            .for_each(|(a, b)| *a |= b);
        self
    }

    /// Whether all of it is in another set.
    pub fn is_within(&self, other: &VlanSet) -> bool {
        self.0.iter().zip(other.0.iter()).all(|(a, b)| a & !b == 0)
    }

    /// All of them, untagged frames before all others.
    pub fn iter(&self) -> impl Iterator<Item = VlanClass> + '_ {
        let all = (0..0x2000).map(VlanClass::from_bits);
        all.filter(|class| self.contains(*class))
    }

    /// Whether every frame is in it.
    pub fn is_everything(&self) -> bool {
        self.0.iter().all(|w| *w == u64::MAX)
    }

    /// Appends the set, as a count of ranges and their first and last classes, two bytes each. A set of many ranges is
    /// written as everything: who floods by it sends too much, never too little.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut ranges = self.ranges();
        if ranges.len() > MAX_RANGES {
            ranges = VlanSet::everything().ranges();
        }
        out.push(ranges.len() as u8);
        for (first, last) in ranges {
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
    }

    /// Whether [`VlanSet::write`] tells it as it is, and not as everything.
    pub(super) fn is_told_exactly(&self) -> bool {
        self.ranges().len() <= MAX_RANGES
    }

    fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        let members = (0..8192).filter(|b| self.contains(VlanClass::from_bits(*b)));
        for bits in members {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == bits => *last = bits,
                _ => ranges.push((bits, bits)),
            }
        }
        ranges
    }

    /// Reads a set; `None` when it is cut off, or ranges are too many, too high, turned round or out of order.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<VlanSet> {
        let count = usize::from(cursor.u8()?);
        let mut set = VlanSet::default();
        let mut above = None;
        for _ in 0..count {
            let (first, last) = (cursor.u16()?, cursor.u16()?);
            // In order and apart: a set costs its reader one look at each VLAN, however it is written.
            let is_apart = above.is_none_or(|above| first > above);
            if count > MAX_RANGES || first > last || last >= 8192 || !is_apart {
                return None;
            }
            above = Some(last);
            set = (first..=last).fold(set, |s, b| s.with(VlanClass::from_bits(b)));
        }
        Some(set)
    }
}

/// Writes runs as ranges, service VLANs with an `s`: `untagged,10,20-29,s100`.
impl std::fmt::Display for VlanSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_everything() {
            return f.write_str("all");
        }
        let of = |service: bool| -> VidSet {
            (1..=4094)
                .filter_map(Vid::new)
                .filter(|v| {
                    self.contains(match service {
                        true => VlanClass::service(*v),
                        false => VlanClass::customer(*v),
                    })
                })
                .collect()
        };
        let untagged = self
            .contains(VlanClass::UNTAGGED)
            .then(|| "untagged".into());
        let customers = Some(of(false).to_string()).filter(|t| !t.is_empty());
        let services = Some(of(true).to_string()).filter(|t| !t.is_empty());
        let services = services.map(|t| format!("s{}", t.replace(',', ",s").replace('-', "-s")));
        let parts: Vec<String> = [untagged, customers, services]
            .into_iter()
            .flatten()
            .collect();
        f.write_str(&parts.join(","))
    }
}

impl std::fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vid(n: u16) -> Vid {
        Vid::new(n).unwrap()
    }

    fn read(bytes: &[u8]) -> Option<VlanSet> {
        let mut cursor = Cursor(bytes);
        let set = VlanSet::read(&mut cursor)?;
        cursor.0.is_empty().then_some(set)
    }

    #[test]
    fn sets_print_as_ranges() {
        let set: VidSet = [10, 20, 30, 31, 32, 4094].map(vid).into_iter().collect();
        assert_eq!(set.to_string(), "10,20,30-32,4094");
        assert_eq!(VidSet::default().to_string(), "");
    }

    #[test]
    fn sets_survive_the_wire_and_large_ones_become_everything() {
        let some = VlanSet::of_list(&[10, 20, 21].map(vid).into_iter().collect())
            .with(VlanClass::UNTAGGED)
            .without(VlanClass::service(vid(10)));
        let mut bytes = Vec::new();
        some.write(&mut bytes);
        assert_eq!(read(&bytes), Some(some.clone()));
        assert_eq!(some.to_string(), "untagged,10,20-21,s20-s21");
        let every_second: VidSet = (1..2047).map(|n| vid(2 * n)).collect();
        bytes.clear();
        VlanSet::of_list(&every_second).write(&mut bytes);
        assert_eq!(bytes.len(), 5);
        assert!(read(&bytes).unwrap().is_everything());
    }

    #[test]
    fn broken_sets_are_refused() {
        let many = [&[25][..], &[0, 0, 0, 0].repeat(25)].concat();
        let broken: [&[u8]; 6] = [
            &[],
            &[1, 0, 0, 1],
            &[1, 5, 0, 4, 0],
            &[1, 0, 0, 0, 0x20],
            &[2, 1, 0, 9, 0, 5, 0, 12, 0],
            &many,
        ];
        for bytes in broken {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
        assert_eq!(read(&[0]), Some(VlanSet::default()));
    }

    #[test]
    fn sets_intersect_and_unite() {
        let (a, b) = (vid(1), vid(2));
        let list = |v: Vid| VlanSet::default().with(VlanClass::customer(v));
        assert_eq!(list(a).or(&list(b)).and(&list(b)), list(b));
        assert_eq!(VlanSet::everything().and(&list(a)), list(a));
        assert!(VlanSet::everything().is_everything() && !list(a).is_everything());
    }
}
