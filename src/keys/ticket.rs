//! Tickets: a relay's word that the holder of a key may use it for a time, without the relay remembering anybody.

use base64ct::{Base64, Encoding};
use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use subtle::ConstantTimeEq;

use super::{Psk, PublicKey};

/// Bytes of a ticket: the end of its time 8, and a MAC 16.
pub const TICKET_LEN: usize = 24;

/// The text is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ticket is 32 characters of base64")]
pub struct NotATicket;

/// A ticket: of no use to anybody but the holder of the key that it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket([u8; TICKET_LEN]);

impl Ticket {
    /// Makes one, until so many seconds since 1970.
    pub fn issue(secret: &Psk, holder: &PublicKey, until: u64) -> Self {
        let mut ticket = [0; TICKET_LEN];
        let (time, mac) = ticket.split_at_mut(8);
        time.copy_from_slice(&until.to_le_bytes());
        mac.copy_from_slice(&mac_of(secret, holder, until));
        Ticket(ticket)
    }

    /// A ticket as it travels.
    pub const fn from_bytes(bytes: [u8; TICKET_LEN]) -> Self {
        Ticket(bytes)
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; TICKET_LEN] {
        self.0
    }

    /// Its text: 32 characters of base64.
    pub fn to_text(self) -> String {
        Base64::encode_string(&self.0)
    }

    /// Reads the text.
    ///
    /// # Errors
    /// When it is not 32 characters of base64.
    pub fn from_text(text: &str) -> Result<Self, NotATicket> {
        let mut bytes = [0; TICKET_LEN];
        match Base64::decode(text.trim(), &mut bytes) {
            Ok(all) if all.len() == TICKET_LEN => Ok(Ticket(bytes)),
            _ => Err(NotATicket),
        }
    }

    /// Until when it holds, in seconds since 1970; what it says itself.
    pub fn until(&self) -> u64 {
        let time = self.0.first_chunk::<8>();
        time.map_or(0, |time| u64::from_le_bytes(*time))
    }

    /// Whether it was made with this secret for that key, and its time is not over.
    pub fn holds(&self, secret: &Psk, holder: &PublicKey, now: u64) -> bool {
        let is_made: bool = match self.0.last_chunk::<16>() {
            Some(mac) => mac.ct_eq(&mac_of(secret, holder, self.until())).into(),
            None => false,
        };
        is_made && now < self.until()
    }
}

/// Keyed BLAKE2s (RFC 7693) over a label, the key and the time.
fn mac_of(secret: &Psk, holder: &PublicKey, until: u64) -> [u8; 16] {
    let Ok(mut state) = <Blake2sMac<U16> as KeyInit>::new_from_slice(secret.expose()) else {
        return [0; 16];
    };
    Update::update(&mut state, b"l2vpn ticket v1");
    Update::update(&mut state, holder.as_bytes());
    Update::update(&mut state, &until.to_le_bytes());
    state.finalize_fixed().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_one_key_one_relay_and_some_time() {
        let [secret, other] = [1, 2].map(|n| Psk::from_bytes([n; 32]));
        let [holder, thief] = [3, 4].map(|n| PublicKey::from_bytes([n; 32]));
        let ticket = Ticket::issue(&secret, &holder, 1000);
        assert!(ticket.holds(&secret, &holder, 999));
        assert!(!ticket.holds(&secret, &holder, 1000), "over");
        assert!(!ticket.holds(&secret, &thief, 999));
        assert!(!ticket.holds(&other, &holder, 999));
        let mut longer = ticket.to_bytes();
        longer[0] ^= 0x80;
        assert!(!Ticket::from_bytes(longer).holds(&secret, &holder, 0));
        let text = ticket.to_text();
        assert_eq!((text.len(), Ticket::from_text(&text)), (32, Ok(ticket)));
        assert!(Ticket::from_text("AAAA").is_err() && Ticket::from_text("?").is_err());
    }
}
