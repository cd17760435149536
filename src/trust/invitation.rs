//! Invitations: one string that says where to go, to whom, and what to know there.
//!
//! ```text
//! l2vpn-join: and base64url (RFC 4648 section 5, without padding) of
//! version 1 · network 32 · admin's key 32 · invitation 8 · secret 16 · end 8 · places (count 1, each length 1, "host:port") · checksum 4
//! ```
//! A place that begins with a public key and an `@` is a relay's, by which the admin may be reached.
//!
//! The checksum is the beginning of BLAKE2s over what comes before: a letter that was mistyped is seen before anybody is called. The secret
//! becomes the pre-shared key of the session in which the record is asked for, so whoever does not have it gets no answer at all.

use base64ct::{Base64UrlUnpadded, Encoding};
use blake2::{Blake2s256, Digest};
use zeroize::Zeroizing;

use crate::keys::{Entropy, Psk, PublicKey};
use crate::wire::asking::INVITE_LEN;
use crate::wire::record::NETWORK_LEN;

const PREFIX: &str = "l2vpn-join:";
const VERSION: u8 = 1;
/// Bytes of the secret.
pub const SECRET_LEN: usize = 16;
const CHECKSUM_LEN: usize = 4;
const FIXED_LEN: usize = 1 + NETWORK_LEN + 32 + INVITE_LEN + SECRET_LEN + 8 + 1;
/// The most places that it names.
pub const MAX_PLACES: usize = 6;
/// Bytes of the longest name of a place.
const MAX_PLACE_LEN: usize = 255;
/// Letters of the longest text that is read.
pub const MAX_TEXT: usize = 4096;

/// A relay as a place.
pub fn by_relay(key: &PublicKey, at: &str) -> String {
    format!("{key}@{at}")
}

/// The relay that a place is, and where that is; `None` for a place of the admin itself.
pub fn relay_of(place: &str) -> Option<(PublicKey, &str)> {
    let (key, at) = place.split_once('@')?;
    Some((key.parse().ok()?, at))
}

/// Why a text is no invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoInvitation {
    /// It does not begin as one.
    #[error("an invitation begins with \"l2vpn-join:\"")]
    Other,
    /// A letter is missing, or is another.
    #[error("the invitation is damaged: a letter is missing or wrong, so copy all of it again")]
    Damaged,
    /// It is of a later version.
    #[error("the invitation is of a later version of l2vpn than this one")]
    Version,
}

/// An invitation.
#[derive(Clone)]
pub struct Invitation {
    /// The network that it is for.
    pub network: [u8; NETWORK_LEN],
    /// The key of the admin who gives the record.
    pub admin: PublicKey,
    /// What it is known by.
    pub id: [u8; INVITE_LEN],
    /// What proves it.
    pub secret: Zeroizing<[u8; SECRET_LEN]>,
    /// When its time is over, in seconds since 1970.
    pub until: u64,
    /// Where the admin is, "host:port".
    pub places: Vec<String>,
}

impl Invitation {
    /// A new one.
    pub fn new(
        network: [u8; NETWORK_LEN],
        admin: PublicKey,
        (until, places): (u64, Vec<String>),
        entropy: &mut dyn Entropy,
    ) -> Self {
        let mut id = [0; INVITE_LEN];
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        entropy.fill(&mut id);
        entropy.fill(secret.as_mut());
        let mut places = places;
        places.retain(|place| place.len() <= MAX_PLACE_LEN);
        places.truncate(MAX_PLACES);
        Invitation {
            network,
            admin,
            id,
            secret,
            until,
            places,
        }
    }

    /// The pre-shared key of the session in which the record is asked for.
    pub fn psk(&self) -> Psk {
        psk(&self.network, &self.id, &self.secret)
    }

    /// Its text, in one line.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(FIXED_LEN + 64 * MAX_PLACES));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.network);
        bytes.extend_from_slice(self.admin.as_bytes());
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(self.secret.as_ref());
        bytes.extend_from_slice(&self.until.to_le_bytes());
        bytes.push(self.places.len() as u8);
        for place in &self.places {
            bytes.push(place.len() as u8);
            bytes.extend_from_slice(place.as_bytes());
        }
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        let base64 = Zeroizing::new(Base64UrlUnpadded::encode_string(&bytes));
        Zeroizing::new(format!("{PREFIX}{}", *base64))
    }

    /// Reads the text; white space in it does not matter.
    ///
    /// # Errors
    /// See [`NoInvitation`].
    pub fn from_text(text: &str) -> Result<Self, NoInvitation> {
        let text: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
        let base64 = text.strip_prefix(PREFIX).ok_or(NoInvitation::Other)?;
        if base64.len() > MAX_TEXT {
            return Err(NoInvitation::Damaged);
        }
        let bytes = Base64UrlUnpadded::decode_vec(base64);
        let bytes = Zeroizing::new(bytes.map_err(|_| NoInvitation::Damaged)?);
        let (rest, sum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(NoInvitation::Damaged)?;
        if checksum(rest) != *sum {
            return Err(NoInvitation::Damaged);
        }
        match rest.first() {
            Some(&VERSION) => read(rest).ok_or(NoInvitation::Damaged),
            Some(version) if *version > VERSION => Err(NoInvitation::Version),
            _ => Err(NoInvitation::Damaged),
        }
    }
}

fn read(bytes: &[u8]) -> Option<Invitation> {
    let (network, rest) = bytes.get(1..)?.split_first_chunk()?;
    let (admin, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (secret, rest) = rest.split_first_chunk::<SECRET_LEN>()?;
    let (until, rest) = rest.split_first_chunk()?;
    let (count, mut rest) = rest.split_first()?;
    let mut places = Vec::new();
    for _ in 0..*count {
        let (len, more) = rest.split_first()?;
        let (place, more) = more.split_at_checked(usize::from(*len))?;
        places.push(std::str::from_utf8(place).ok()?.to_string());
        rest = more;
    }
    let is_whole = rest.is_empty() && places.len() <= MAX_PLACES;
    is_whole.then(|| Invitation {
        network: *network,
        admin: PublicKey::from_bytes(*admin),
        id: *id,
        secret: Zeroizing::new(*secret),
        until: u64::from_le_bytes(*until),
        places,
    })
}

/// The pre-shared key that an invitation's secret stands for.
pub fn psk(network: &[u8; NETWORK_LEN], id: &[u8; INVITE_LEN], secret: &[u8; SECRET_LEN]) -> Psk {
    let mut hash = Blake2s256::new();
    hash.update(b"l2vpn invitation v1\0");
    hash.update(network);
    hash.update(id);
    hash.update(secret);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&hash.finalize());
    Psk::from_bytes(*key)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = Blake2s256::digest(bytes);
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        Invitation {
            network: [1; 32],
            admin: PublicKey::from_bytes([2; 32]),
            id: [3; 8],
            secret: Zeroizing::new([4; 16]),
            until: 1_800_000_000,
            places: vec!["192.0.2.1:7656".into(), "a.example.net:7656".into()],
        }
    }

    #[test]
    fn it_reads_back_and_a_wrong_letter_is_seen() {
        let text = invitation().to_text();
        let read = Invitation::from_text(&text).unwrap();
        assert_eq!(*read.to_text(), *text);
        assert_eq!(
            (read.until, &read.places),
            (1_800_000_000, &invitation().places)
        );
        assert_eq!(read.psk().expose(), invitation().psk().expose());
        let spread = text
            .as_bytes()
            .chunks(40)
            .map(|c| std::str::from_utf8(c).unwrap());
        let spread = spread.collect::<Vec<_>>().join("\n  ");
        assert!(Invitation::from_text(&spread).is_ok(), "from several lines");
        for at in PREFIX.len()..text.len() {
            let letter = if text.as_bytes()[at] == b'A' {
                "B"
            } else {
                "A"
            };
            let mut other = text.to_string();
            other.replace_range(at..=at, letter);
            assert!(Invitation::from_text(&other).is_err(), "letter {at}");
            let mut shorter = text.to_string();
            shorter.remove(at);
            assert!(
                Invitation::from_text(&shorter).is_err(),
                "without letter {at}"
            );
        }
        assert_eq!(
            Invitation::from_text("hello").err(),
            Some(NoInvitation::Other)
        );
        assert_eq!(
            Invitation::from_text(PREFIX).err(),
            Some(NoInvitation::Damaged)
        );
    }
}
