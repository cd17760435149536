//! Proof of address under load: mac1, mac2 and the cookie between them (WireGuard whitepaper section 5.4.7).
//!
//! mac1 proves knowledge of the receiver's public key and costs half a microsecond to check, so a flood of junk costs
//! the attacker more than us. Under load a responder answers with a cookie instead of a response; only who receives
//! packets at the address **and port** it claims can send it back as mac2.

use std::net::{IpAddr, SocketAddr};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::dialect::{Dialect, Dialects, Labels, mac};
use super::schedule::{COOKIE_SECRET_AFTER, COOKIE_SECRET_KEPT};
use crate::keys::{Entropy, Names, PublicKey, Which};
use crate::time::Instant;
use crate::wire::datagram::{Cookie, MAC_LEN, Macs};

/// A responder's side: checks MACs and makes cookies.
pub struct CookieKeeper {
    /// For each of our keys, by each kind of labels.
    faces: Vec<Face>,
    secret: Zeroizing<[u8; 32]>,
    previous: Zeroizing<[u8; 32]>,
    born: Instant,
}

/// What a message is for: one of our keys, by these labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meant {
    /// The key.
    pub which: Which,
    /// The labels.
    pub labels: Labels,
}

/// What those use who write to one of our keys.
struct Face {
    meant: Meant,
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
}

impl Face {
    fn of(dialects: &Dialects, own: &Names) -> Vec<Self> {
        let keys = || own.iter().zip([Which::Current, Which::Former]);
        let faces = dialects.iter().flat_map(|(labels, dialect)| {
            keys().map(move |(key, which)| Face {
                meant: Meant { which, labels },
                mac1_key: dialect.mac1_key(&key),
                cookie_key: dialect.cookie_key(&key),
            })
        });
        faces.collect()
    }
}

impl CookieKeeper {
    /// A keeper for messages to the holder of `own`.
    pub fn new(dialects: &Dialects, own: &Names, entropy: &mut dyn Entropy, now: Instant) -> Self {
        let mut keeper = CookieKeeper {
            faces: Face::of(dialects, own),
            secret: Zeroizing::new([0; 32]),
            previous: Zeroizing::new([0; 32]),
            born: now,
        };
        entropy.fill(keeper.secret.as_mut());
        entropy.fill(keeper.previous.as_mut());
        keeper
    }

    /// We have other keys now, or other labels. Cookies stay good: they are about addresses.
    pub fn set_own(&mut self, dialects: &Dialects, own: &Names) {
        self.faces = Face::of(dialects, own);
    }

    /// Which of our public keys the sender knows and means, and by which labels; `None` when it is none.
    pub fn mac1_holds(&self, macs: &Macs<'_>) -> Option<Meant> {
        let meant = self.faces.iter().find(|f| mac1_holds(&f.mac1_key, macs));
        meant.map(|face| face.meant)
    }

    /// Whether the sender has received a cookie of ours at this address.
    pub fn mac2_holds(&self, macs: &Macs<'_>, from: SocketAddr, now: Instant) -> bool {
        if macs.mac2 == [0; MAC_LEN] {
            return false;
        }
        let proves = |secret: &[u8; 32]| {
            let cookie = cookie_for(secret, from);
            bool::from(mac(&cookie, &[macs.body, &macs.mac1]).ct_eq(&macs.mac2))
        };
        let age = now.since(self.born);
        (age < COOKIE_SECRET_AFTER + COOKIE_SECRET_KEPT && proves(&self.secret))
            || (age < COOKIE_SECRET_KEPT && proves(&self.previous))
    }

    /// The cookie reply for a message to one of our keys: 64 bytes, shorter than any message that it answers.
    pub fn reply(
        &mut self,
        (sender, meant): (u32, Meant),
        macs: &Macs<'_>,
        from: SocketAddr,
        (entropy, now): (&mut dyn Entropy, Instant),
    ) -> Option<Vec<u8>> {
        if now.since(self.born) >= COOKIE_SECRET_AFTER {
            std::mem::swap(&mut self.secret, &mut self.previous);
            entropy.fill(self.secret.as_mut());
            self.born = now;
        }
        let mut nonce = [0u8; 24];
        entropy.fill(&mut nonce);
        let mut sealed = cookie_for(&self.secret, from).to_vec();
        let face = self.faces.iter().find(|f| f.meant == meant)?;
        let cipher = XChaCha20Poly1305::new((&face.cookie_key).into());
        let tag = cipher
            .encrypt_inout_detached(&nonce.into(), &macs.mac1, sealed.as_mut_slice().into())
            .ok()?;
        sealed.extend_from_slice(&tag);
        let reply = Cookie {
            receiver: sender,
            nonce,
            sealed: &sealed,
        };
        reply.to_bytes().map(Vec::from)
    }
}

/// Whether mac1 was made with this key, see [`Dialect::mac1_key`].
pub fn mac1_holds(key: &[u8; 32], macs: &Macs<'_>) -> bool {
    bool::from(mac(key, &[macs.body]).ct_eq(&macs.mac1))
}

fn cookie_for(secret: &[u8; 32], from: SocketAddr) -> [u8; MAC_LEN] {
    let port = from.port().to_le_bytes();
    match from.ip().to_canonical() {
        IpAddr::V4(ip) => mac(secret, &[&ip.octets(), &port]),
        IpAddr::V6(ip) => mac(secret, &[&ip.octets(), &port]),
    }
}

/// An initiator's side: keeps the cookie of one peer.
#[derive(Default)]
pub struct CookieJar {
    cookie: Option<([u8; MAC_LEN], Instant)>,
}

impl CookieJar {
    /// Opens a cookie reply; `mac1` is that of the message which it answers.
    ///
    /// Returns whether it was genuine.
    pub fn receive(
        &mut self,
        dialect: &Dialect,
        remote: &PublicKey,
        (reply, mac1): (&Cookie<'_>, &[u8; MAC_LEN]),
        now: Instant,
    ) -> bool {
        let Some((text, tag)) = reply.sealed.split_last_chunk::<16>() else {
            return false;
        };
        let Ok(mut cookie) = <[u8; MAC_LEN]>::try_from(text) else {
            return false;
        };
        let cipher = XChaCha20Poly1305::new((&dialect.cookie_key(remote)).into());
        let place = cookie.as_mut_slice().into();
        let opened = cipher.decrypt_inout_detached(&reply.nonce.into(), mac1, place, tag.into());
        if opened.is_ok() {
            self.cookie = Some((cookie, now));
        }
        opened.is_ok()
    }

    /// Writes mac2 into a handshake datagram when there is a cookie that the peer still honours.
    pub fn stamp(&self, datagram: &mut [u8], now: Instant) {
        let Some((cookie, since)) = &self.cookie else {
            return;
        };
        if now.since(*since) >= COOKIE_SECRET_AFTER {
            return;
        }
        if let Some((covered, place)) = datagram.split_last_chunk_mut::<MAC_LEN>() {
            *place = mac(cookie, &[covered]);
        }
    }
}
