//! What seals announcements ([`crate::wire::announcement`]): what members of a network know.
//!
//! # Why
//! A tag for a pair needs each other's keys; members that have never heard of each other have the network in common, and its pre-shared
//! key where it has one. Who knows both and is on the LAN reads which members are there: they do, and who was one before the key changed; where
//! there is no key, whoever has seen the network's file, a record or an invitation. What is
//! in an announcement is believed for the authority's signature, never for having been sealed.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::dialect::{NETWORK_ID_LEN, hash};
use crate::keys::Psk;
use crate::wire::announcement::{Announcement, NONCE_LEN, TAG_LEN};

fn cipher(network: &[u8; NETWORK_ID_LEN], psk: Option<&Psk>) -> XChaCha20Poly1305 {
    let zero = [0; 32];
    let psk = psk.map_or(&zero, Psk::expose);
    let key = Zeroizing::new(hash(&[b"l2vpn announcement v1", network, psk]));
    XChaCha20Poly1305::new((&*key).into())
}

/// A datagram that says to members of the network what is in `text`, and that its sender takes handshakes at that port.
///
/// `None` for a text that no cipher takes.
pub fn seal(
    (network, psk): (&[u8; NETWORK_ID_LEN], Option<&Psk>),
    (port, nonce): (u16, [u8; NONCE_LEN]),
    mut text: Vec<u8>,
) -> Option<Vec<u8>> {
    let header = Announcement::header(port);
    let tag = cipher(network, psk)
        .encrypt_inout_detached(&nonce.into(), &header, text.as_mut_slice().into())
        .ok()?;
    text.extend_from_slice(&tag);
    let announcement = Announcement {
        port,
        nonce,
        sealed: &text,
    };
    Some(announcement.to_bytes())
}

/// The text of an announcement; `None` when it is not of this network, or sealed with another pre-shared key.
pub fn open(
    network: &[u8; NETWORK_ID_LEN],
    psk: Option<&Psk>,
    announcement: &Announcement<'_>,
) -> Option<Vec<u8>> {
    let header = Announcement::header(announcement.port);
    let (text, tag) = announcement.sealed.split_last_chunk::<TAG_LEN>()?;
    let mut text = text.to_vec();
    let opened = cipher(network, psk).decrypt_inout_detached(
        &announcement.nonce.into(),
        &header,
        text.as_mut_slice().into(),
        tag.into(),
    );
    opened.ok().map(|()| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_opened_by_the_network_and_its_key_and_by_nothing_else() {
        let psks = [1, 2].map(|n| Psk::from_bytes([n; 32]));
        let text = vec![5; 200];
        for psk in [None, Some(&psks[0])] {
            let sealed = seal((&[7; 32], psk), (7656, [3; 24]), text.clone()).unwrap();
            let read = Announcement::parse(&sealed).unwrap();
            assert_eq!(open(&[7; 32], psk, &read), Some(text.clone()));
            assert_eq!(open(&[8; 32], psk, &read), None);
            assert_eq!(open(&[7; 32], Some(&psks[1]), &read), None);
            let elsewhere = Announcement { port: 1, ..read };
            assert_eq!(open(&[7; 32], psk, &elsewhere), None, "another port");
            for at in [28, 100, sealed.len() - 1] {
                let mut wrong = sealed.clone();
                wrong[at] ^= 1;
                let read = Announcement::parse(&wrong).unwrap();
                assert_eq!(open(&[7; 32], psk, &read), None, "{at}");
            }
        }
    }
}
