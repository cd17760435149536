//! Exchanges of one VLAN for another.

use crate::wire::vlan::Vid;

/// Which VLAN of a port is which VLAN of the network: one to one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VidMap {
    /// Pairs of the port's and the network's, by the port's.
    pairs: Vec<(Vid, Vid)>,
}

impl VidMap {
    /// Adds a pair; gives whether both were free.
    pub fn insert(&mut self, port: Vid, network: Vid) -> bool {
        let is_free = self.pairs.iter().all(|(p, n)| *p != port && *n != network);
        if is_free {
            self.pairs.push((port, network));
            self.pairs.sort_unstable();
        }
        is_free
    }

    /// The network's VLAN for one of the port's.
    pub fn to_network(&self, port: Vid) -> Option<Vid> {
        let at = self.pairs.binary_search_by_key(&port, |(p, _)| *p).ok()?;
        self.pairs.get(at).map(|(_, network)| *network)
    }

    /// The port's VLAN for one of the network's.
    pub fn to_port(&self, network: Vid) -> Option<Vid> {
        let pair = self.pairs.iter().find(|(_, n)| *n == network);
        pair.map(|(port, _)| *port)
    }

    /// The port's VLANs.
    pub fn ports(&self) -> impl Iterator<Item = Vid> + '_ {
        self.pairs.iter().map(|(port, _)| *port)
    }

    /// The network's VLANs.
    pub fn networks(&self) -> impl Iterator<Item = Vid> + '_ {
        self.pairs.iter().map(|(_, network)| *network)
    }
}

/// Writes the pairs: `10:110,20:120`.
impl std::fmt::Display for VidMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (port, network)) in self.pairs.iter().enumerate() {
            let separator = if n == 0 { "" } else { "," };
            write!(f, "{separator}{port}:{network}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vid(n: u16) -> Vid {
        Vid::new(n).unwrap()
    }

    #[test]
    fn a_map_is_one_to_one() {
        let mut map = VidMap::default();
        assert!(map.insert(vid(20), vid(120)) && map.insert(vid(10), vid(20)));
        assert!(!map.insert(vid(20), vid(9)) && !map.insert(vid(9), vid(20)));
        assert_eq!(map.to_network(vid(10)), Some(vid(20)));
        assert_eq!(map.to_port(vid(20)), Some(vid(10)));
        assert_eq!(
            (map.to_network(vid(120)), map.to_port(vid(10))),
            (None, None)
        );
        assert_eq!(map.to_string(), "10:20,20:120");
        assert_eq!(map.networks().collect::<Vec<_>>(), [vid(20), vid(120)]);
    }
}
