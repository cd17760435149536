//! Members of a network find each other on a LAN without having heard of each other: each says who it is, to who can read it.
//!
//! # Why
//! Nobody in a network keeps a list, so [`super::beacons`], which are for peers whose keys are known, find no newcomer. What is announced
//! is a record: it is true whoever repeats it, so nobody becomes a peer by an announcement that an authority has not signed; and a handshake
//! that follows from one is for the key in the record, so whoever repeats it at another place can neither read nor answer that. It
//! says that somebody of the network is here to who knows the network's id (and its pre-shared key, if it has one), and is noise to
//! all others.

use std::net::SocketAddr;

use super::Node;
use crate::drops::DropReason;
use crate::keys::Psk;
use crate::noise::announcement;
use crate::place::PeerId;
use crate::time::Instant;
use crate::wire::announcement::{Announcement, NONCE_LEN};
use crate::wire::proof::Proof;
use crate::wire::record::KEY_LEN;

impl Node {
    /// What says to the network's members on the LAN that we are here; `None` without a record. While the network's pre-shared key is
    /// being changed, each of the two has its turn.
    pub(super) fn announcement(&mut self, (port, turn): (u16, u32)) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        let network = self.directory.network.as_ref()?;
        let own = network.own.as_ref()?;
        let text = [&self.own.current.as_bytes()[..], &own.short].concat();
        let psks: Vec<&Psk> = self.settings.network.iter().collect();
        let turn = (turn as usize).checked_rem(psks.len());
        let psk = turn.and_then(|turn| psks.get(turn).copied());
        announcement::seal((&network.settings.realm.id, psk), (port, nonce), text)
    }

    /// An announcement came in from there.
    pub(super) fn handle_announcement(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        match self.announced(bytes, now) {
            Ok(Some((id, port))) => {
                let place = SocketAddr::new(from.ip().to_canonical(), port);
                self.follow_beacon(id, place, now);
            }
            // Ourselves, another network, or one that is here.
            Ok(None) => {}
            Err(reason) => self.drop_one(reason),
        }
    }

    /// Who is announced, if it is not connected, and the port that it takes handshakes at.
    fn announced(
        &mut self,
        bytes: &[u8],
        now: Instant,
    ) -> Result<Option<(PeerId, u16)>, DropReason> {
        const REFUSED: DropReason = DropReason::RecordRefused;
        let announcement = Announcement::parse(bytes)?;
        let Some(network) = self.directory.network.as_ref() else {
            return Ok(None);
        };
        if !self.relays.beacons.admits_opening(now) {
            return Err(DropReason::RateLimited);
        }
        let id = &network.settings.realm.id;
        let psks = self.settings.network.iter().map(Some);
        let psks = psks.chain(self.settings.network.current.is_none().then_some(None));
        let text = psks
            .filter_map(|psk| announcement::open(id, psk, &announcement))
            .next();
        // Other networks may be on the LAN.
        let Some(text) = text else {
            return Ok(None);
        };
        if !self.relays.beacons.admits_announcement(now) {
            return Err(DropReason::RateLimited);
        }
        let (key, short) = text.split_first_chunk::<KEY_LEN>().ok_or(REFUSED)?;
        let whole = Proof::completed(short, id, key).ok_or(REFUSED)?;
        let known = self.settle_introduced(None, &whole, now)?;
        Ok(known.map(|known| (known, announcement.port)))
    }
}
