//! What members of a network have to know of it: what it is called, by what it is known, and whose word counts. Nothing of it is
//! a secret.
//!
//! ```text
//! l2vpn-network 1
//! name lab
//! id AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
//! authority AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
//! ```

use base64ct::{Base64, Encoding};

use super::key::LEN;
use super::{Authority, Entropy};

const FIRST_LINE: &str = "l2vpn-network 1";
/// The most authorities that a network has at a time.
pub const MAX_AUTHORITIES: usize = 8;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// What it is called.
    pub name: String,
    /// What it is known by, whatever becomes of its authorities.
    pub id: [u8; LEN],
    /// Whose records count.
    pub authorities: Vec<Authority>,
}

impl NetworkFile {
    /// A new network of one authority.
    pub fn new(name: &str, authority: Authority, entropy: &mut dyn Entropy) -> Self {
        let mut id = [0; LEN];
        entropy.fill(&mut id);
        NetworkFile {
            name: name.into(),
            id,
            authorities: vec![authority],
        }
    }

    /// The same network with one authority more, before the others; `None` when it has as many as it can.
    pub fn with(&self, authority: Authority) -> Option<Self> {
        let mut network = self.clone();
        network.authorities.insert(0, authority);
        (network.authorities.len() <= MAX_AUTHORITIES).then_some(network)
    }

    /// The same network without this authority.
    #[must_use]
    pub fn without(&self, authority: &Authority) -> Self {
        let mut network = self.clone();
        network.authorities.retain(|known| known != authority);
        network
    }

    /// The text, with a line end at its end.
    pub fn to_text(&self) -> String {
        let id = Base64::encode_string(&self.id);
        let authorities = self.authorities.iter();
        let authorities: String = authorities.map(|a| format!("authority {a}\n")).collect();
        format!("{FIRST_LINE}\nname {}\nid {id}\n{authorities}", self.name)
    }

    /// Reads the text; an error is the number of the line that is wrong.
    ///
    /// # Errors
    /// When it is not exactly what [`NetworkFile::to_text`] writes.
    pub fn from_text(text: &str) -> Result<Self, usize> {
        let mut lines = text
            .split_inclusive('\n')
            .map(|line| line.strip_suffix('\n'));
        let mut line = |n: usize| lines.next().flatten().ok_or(n);
        if line(1)? != FIRST_LINE {
            return Err(1);
        }
        let name = line(2)?.strip_prefix("name ").ok_or(2usize)?;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 63 || !name.bytes().all(is_name) {
            return Err(2);
        }
        let mut id = [0; LEN + 1];
        let read = line(3)?.strip_prefix("id ").ok_or(3usize)?;
        let read = Base64::decode(read, &mut id).map_err(|_| 3usize)?;
        let id = <[u8; LEN]>::try_from(read).map_err(|_| 3usize)?;
        let mut authorities = Vec::new();
        for (n, line) in (4..).zip(lines) {
            let authority = line.and_then(|l| l.strip_prefix("authority ")).ok_or(n)?;
            let authority: Authority = authority.parse().map_err(|_| n)?;
            if authorities.len() == MAX_AUTHORITIES || authorities.contains(&authority) {
                return Err(n);
            }
            authorities.push(authority);
        }
        let network = NetworkFile {
            name: name.into(),
            id,
            authorities,
        };
        match (network.authorities.is_empty(), network.to_text() == text) {
            (false, true) => Ok(network),
            _ => Err(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_reads_back_and_damage_is_told_by_its_line() {
        let authority = |n| Authority::from_bytes([n; LEN]);
        let network = NetworkFile {
            name: "lab".into(),
            id: [7; LEN],
            authorities: vec![authority(2), authority(1)],
        };
        let text = network.to_text();
        assert_eq!(NetworkFile::from_text(&text), Ok(network));
        let cases = [
            (text.replace("network 1", "network 2"), 1),
            (text.replace("name lab", "name "), 2),
            (text.replace("name lab", "name a b"), 2),
            (text.replace("id B", "id "), 3),
            (text.replace("authority A", "author A"), 4),
            (format!("{text}{}", text.lines().last().unwrap()), 6),
            (format!("{text}{}\n", text.lines().last().unwrap()), 6),
            (text.lines().take(3).map(|l| format!("{l}\n")).collect(), 4),
            (text.trim_end().into(), 5),
        ];
        for (other, line) in cases {
            assert_eq!(NetworkFile::from_text(&other), Err(line), "{other}");
        }
    }
}
