//! What the two ends tell each other inside the handshake: freshness, suites, segments.
//!
//! Payload of message 1: `stamp 12` and elements; payload of message 2: elements only. Elements are
//! `type 1 · length 2 · value`: 1 suites (a bitmap in an offer, one bit in an answer), 2 segments (three bytes each),
//! 3 boot (eight random bytes since the member's start), 4 crossing (empty: the answering end has an initiation of its
//! own on the way), 5 abilities (a bitmap of one byte), 6 VLANs (of the segments that do not carry all), 7 edition (four
//! bytes, little endian: how often 2 and 6 have changed since the start; left out while they have not), 8 ticket (to a relay that
//! does not list the member: 24 bytes), 9 tags of pre-shared keys (in message 1: how many are of the pair, one byte, then 8 bytes for each of
//! those and for each of the network's; two of each at most), 16 encapsulation key (of ML-KEM, 800 or 1184 bytes, in message 1). Elements 3 and 4 let both ends
//! settle on one session after a crossing, without taking a restart for one; 7 says which of two announcements is newer.
//! 17 is the member's record without network and key, in message 1, and 18 in either the serial of the other end's record that is known
//! already: it need not be sent again (eight bytes). 19 is the invitation that the initiator comes by (eight bytes). Types up to 31 are kept for more of that kind. Unknown elements are skipped.

use super::asking::INVITE_LEN;
use super::control::{MAX_SEGMENTS, read_segments, tlv, write_segments};
use super::cursor::Cursor;
use super::kem::ParameterSet;
use super::record::MAX_RECORD_LEN;
use super::segment::SegmentId;
use super::vlans::VlanSet;

/// Bytes of the freshness stamp: seconds 8 and nanoseconds 4, big endian, so that byte order is time order.
pub const STAMP_LEN: usize = 12;

const SUITES: u8 = 1;
const SEGMENTS: u8 = 2;
const BOOT: u8 = 3;
const CROSSING: u8 = 4;
const ABILITIES: u8 = 5;
const VLANS: u8 = 6;
const EDITION: u8 = 7;
const TICKET: u8 = 8;
const KEM_KEY: u8 = 16;
const RECORD: u8 = 17;
const HELD: u8 = 18;
const INVITE: u8 = 19;
const PSK_TAGS: u8 = 9;
/// Bytes of what tells that an end has a pre-shared key.
pub const PSK_TAG_LEN: usize = 8;
/// The most keys of one kind that an end has at a time.
const MOST_PSKS: usize = 2;
/// Bytes of a ticket.
pub const TICKET_LEN: usize = 24;

/// The most bytes that tell VLANs; segments that do not fit are told as carrying everything, which costs floods that the
/// other end drops, and loses none.
const MAX_VLANS_LEN: usize = 240;

/// What an end can take beside whole frames; a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities(u8);

impl Abilities {
    /// Nothing but frames and fragments.
    pub const NONE: Abilities = Abilities(0);
    /// Bundles, frames whose checksum is only begun, and lanes.
    pub const BUNDLES: Abilities = Abilities(1);
    /// Pieces of super-frames.
    pub const PIECES: Abilities = Abilities(2);
    /// What it tells of the hosts behind its ports.
    pub const ADVERTS: Abilities = Abilities(4);
    /// All of this version's.
    pub const ALL: Abilities = Abilities(7);

    /// What both can.
    #[must_use]
    pub const fn and(self, other: Abilities) -> Abilities {
        Abilities(self.0 & other.0)
    }

    /// What either can.
    #[must_use]
    pub const fn or(self, other: Abilities) -> Abilities {
        Abilities(self.0 | other.0)
    }

    /// Whether these include another set.
    pub const fn has(self, other: Abilities) -> bool {
        self.0 & other.0 == other.0
    }
}

/// When an initiation was made, comparable with others of the same sender.
pub type Stamp = [u8; STAMP_LEN];

/// Which pre-shared keys the initiator has, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PskTags {
    /// Those of the two members.
    pub pair: Vec<[u8; PSK_TAG_LEN]>,
    /// Those of the network.
    pub network: Vec<[u8; PSK_TAG_LEN]>,
}

impl PskTags {
    /// Bytes of the element.
    fn write(&self, out: &mut Vec<u8>) {
        let all = || self.pair.iter().chain(&self.network);
        let len = 1 + all().count() * PSK_TAG_LEN;
        let (Ok(len @ 2..), Ok(pairs)) = (u8::try_from(len), u8::try_from(self.pair.len())) else {
            return;
        };
        out.extend_from_slice(&[PSK_TAGS, len, 0, pairs]);
        all().for_each(|tag| out.extend_from_slice(tag));
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (pairs, tags) = value.split_first()?;
        let (tags, []) = tags.as_chunks::<PSK_TAG_LEN>() else {
            return None;
        };
        let (pair, network) = tags.split_at_checked(usize::from(*pairs))?;
        let fits = pair.len() <= MOST_PSKS && network.len() <= MOST_PSKS;
        fits.then(|| PskTags {
            pair: pair.to_vec(),
            network: network.to_vec(),
        })
    }
}

/// What one end offers, or the answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Bit n stands for suite n.
    pub suites: u8,
    /// The segments in which this end has ports, and the VLANs of these.
    pub segments: Vec<(SegmentId, VlanSet)>,
    /// Drawn at random when this end started.
    pub boot: [u8; 8],
    /// How often its segments and VLANs have changed since then.
    pub edition: u32,
    /// Whether the end that answers has an initiation of its own on the way.
    pub crossing: bool,
    /// What this end can take.
    pub abilities: Abilities,
    /// A relay's word that this end may use it.
    pub ticket: Option<[u8; TICKET_LEN]>,
    /// The invitation that this end comes by.
    pub invite: Option<[u8; INVITE_LEN]>,
    /// Which pre-shared keys this end has, when it is the one that begins.
    pub psk_tags: PskTags,
    /// This end's record, without network and key, when it is the one that begins.
    pub record: Option<Vec<u8>>,
    /// The serial of the other end's record that this end has.
    pub held: Option<u64>,
    /// An encapsulation key of ML-KEM, for a second secret.
    pub kem_key: Option<Vec<u8>>,
}

impl Offer {
    /// The same without telling VLANs, which costs floods and loses none.
    #[must_use]
    pub fn without_vlans(mut self) -> Self {
        for (_, vlans) in &mut self.segments {
            *vlans = VlanSet::everything();
        }
        self
    }

    /// The elements as they stand in a payload.
    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![SUITES, 1, 0, self.suites, SEGMENTS];
        let mut segments = Vec::new();
        let ids: Vec<SegmentId> = self.segments.iter().map(|(id, _)| *id).collect();
        write_segments(&ids, &mut segments);
        let len = u16::try_from(segments.len()).unwrap_or(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&segments);
        out.extend_from_slice(&[BOOT, 8, 0]);
        out.extend_from_slice(&self.boot);
        if self.crossing {
            out.extend_from_slice(&[CROSSING, 0, 0]);
        }
        if self.abilities != Abilities::NONE {
            out.extend_from_slice(&[ABILITIES, 1, 0, self.abilities.0]);
        }
        if self.edition != 0 {
            out.extend_from_slice(&[EDITION, 4, 0]);
            out.extend_from_slice(&self.edition.to_le_bytes());
        }
        if let Some(ticket) = &self.ticket {
            out.extend_from_slice(&[TICKET, TICKET_LEN as u8, 0]);
            out.extend_from_slice(ticket);
        }
        if let Some(invite) = &self.invite {
            out.extend_from_slice(&[INVITE, INVITE_LEN as u8, 0]);
            out.extend_from_slice(invite);
        }
        self.psk_tags.write(&mut out);
        for (kind, value) in [(RECORD, &self.record), (KEM_KEY, &self.kem_key)] {
            if let Some(value) = value {
                out.push(kind);
                out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
                out.extend_from_slice(value);
            }
        }
        if let Some(serial) = self.held {
            out.extend_from_slice(&[HELD, 8, 0]);
            out.extend_from_slice(&serial.to_le_bytes());
        }
        let vlans = self.write_vlans();
        if !vlans.is_empty() {
            out.push(VLANS);
            out.extend_from_slice(&u16::try_from(vlans.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(&vlans);
        }
        out
    }

    /// The VLANs of the segments that do not carry everything.
    fn write_vlans(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let some = |(_, vlans): &&(SegmentId, VlanSet)| !vlans.is_everything();
        for (segment, vlans) in self.segments.iter().filter(some) {
            let before = out.len();
            out.extend_from_slice(&segment.to_bytes());
            vlans.write(&mut out);
            if out.len() > MAX_VLANS_LEN {
                out.truncate(before);
            }
        }
        out
    }

    /// Reads the elements; `None` when one is malformed, stands twice, names a segment twice, or the suites are missing.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(payload);
        let (mut suites, mut segments, mut boot) = (None, None, None);
        let (mut crossing, mut abilities, mut vlans) = (false, None, None);
        let mut edition: Option<[u8; 4]> = None;
        let (mut ticket, mut psk_tags, mut kem_key) = (None, None, None);
        let mut invite = None;
        let (mut record, mut held): (_, Option<[u8; 8]>) = (None, None);
        while !cursor.0.is_empty() {
            match tlv(&mut cursor)? {
                (SUITES, [bits]) if suites.is_none() => suites = Some(*bits),
                (SEGMENTS, value) if segments.is_none() => segments = Some(read_segments(value)?),
                (BOOT, value) if boot.is_none() => boot = Some(value.try_into().ok()?),
                (CROSSING, []) => crossing = true,
                (ABILITIES, [bits]) if abilities.is_none() => abilities = Some(Abilities(*bits)),
                (VLANS, value) if vlans.is_none() => vlans = Some(read_vlans(value)?),
                (EDITION, value) if edition.is_none() => edition = Some(value.try_into().ok()?),
                (TICKET, value) if ticket.is_none() => ticket = Some(value.try_into().ok()?),
                (INVITE, value) if invite.is_none() => invite = Some(value.try_into().ok()?),
                (PSK_TAGS, value) if psk_tags.is_none() => psk_tags = Some(PskTags::read(value)?),
                // One of a set that this version does not know is none.
                (KEM_KEY, value) if kem_key.is_none() => {
                    kem_key = Some(ParameterSet::of_key(value.len()).map(|_| value.to_vec()));
                }
                (RECORD, value) if record.is_none() && value.len() <= MAX_RECORD_LEN => {
                    record = Some(value.to_vec());
                }
                (HELD, value) if held.is_none() => held = Some(value.try_into().ok()?),
                (SUITES..=PSK_TAGS | KEM_KEY..=INVITE, _) => return None,
                _ => {}
            }
        }
        let vlans = vlans.unwrap_or_default();
        let told = |id: SegmentId| {
            let told = vlans.iter().find(|(segment, _)| *segment == id);
            told.map_or_else(VlanSet::everything, |(_, set)| set.clone())
        };
        let segments: Vec<SegmentId> = segments.unwrap_or_default();
        let is_twice = |(n, id): (usize, &SegmentId)| segments.iter().take(n).any(|s| s == id);
        if segments.iter().enumerate().any(is_twice) {
            return None;
        }
        Some(Offer {
            suites: suites?,
            segments: segments.into_iter().map(|id| (id, told(id))).collect(),
            boot: boot.unwrap_or_default(),
            edition: edition.map_or(0, u32::from_le_bytes),
            crossing,
            abilities: abilities.unwrap_or_default(),
            ticket,
            invite,
            psk_tags: psk_tags.unwrap_or_default(),
            record,
            held: held.map(u64::from_le_bytes),
            kem_key: kem_key.flatten(),
        })
    }
}

/// Segments and their VLANs; `None` when a segment stands twice or something is cut off.
fn read_vlans(value: &[u8]) -> Option<Vec<(SegmentId, VlanSet)>> {
    let mut cursor = Cursor(value);
    let mut all: Vec<(SegmentId, VlanSet)> = Vec::new();
    while !cursor.0.is_empty() {
        let id = SegmentId::from_bytes(cursor.array()?)?;
        let vlans = VlanSet::read(&mut cursor)?;
        if all.len() == MAX_SEGMENTS || all.iter().any(|(known, _)| *known == id) {
            return None;
        }
        all.push((id, vlans));
    }
    Some(all)
}

/// Splits the payload of message 1 into its stamp and its offer.
pub fn read_first(payload: &[u8]) -> Option<(Stamp, Offer)> {
    let (stamp, rest) = payload.split_first_chunk::<STAMP_LEN>()?;
    Some((*stamp, Offer::read(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::vlan::{Vid, VlanClass};

    #[test]
    fn offers_round_trip() {
        let offer = Offer {
            suites: 0b110,
            segments: vec![
                (SegmentId::new(1).unwrap(), VlanSet::everything()),
                (
                    SegmentId::new(0xff_ffff).unwrap(),
                    VlanSet::default().with(VlanClass::customer(Vid::new(20).unwrap())),
                ),
            ],
            boot: [7; 8],
            edition: 3,
            crossing: true,
            abilities: Abilities::ALL,
            ticket: Some([5; TICKET_LEN]),
            invite: Some([9; INVITE_LEN]),
            psk_tags: PskTags {
                pair: vec![[1; 8]],
                network: vec![[2; 8], [3; 8]],
            },
            record: Some(vec![8; 100]),
            held: Some(12),
            kem_key: Some(vec![6; 800]),
        };
        assert_eq!(Offer::read(&offer.write()), Some(offer.clone()));
        let mut payload = [9u8; STAMP_LEN].to_vec();
        payload.extend(offer.write());
        assert_eq!(read_first(&payload), Some(([9; STAMP_LEN], offer)));
    }

    #[test]
    fn unknown_elements_pass_and_broken_ones_do_not() {
        assert!(Offer::read(&[1, 1, 0, 2, 77, 0, 0]).is_some());
        assert!(Offer::read(&[]).is_none(), "suites are missing");
        assert!(Offer::read(&[1, 1, 0, 2, 1, 1, 0, 2]).is_none(), "twice");
        assert!(Offer::read(&[1, 2, 0, 2, 2]).is_none(), "too long");
        assert!(Offer::read(&[1, 1, 0, 2, 2, 2, 0, 1, 1]).is_none(), "odd");
        let twice = [1, 1, 0, 2, 2, 6, 0, 1, 0, 0, 1, 0, 0];
        assert!(Offer::read(&twice).is_none(), "a segment twice");
        let tags = |pairs: u8, bytes: usize| {
            let len = u8::try_from(1 + bytes).unwrap();
            let mut payload = vec![1, 1, 0, 2, PSK_TAGS, len, 0, pairs];
            payload.resize(payload.len() + bytes, 7);
            Offer::read(&payload).is_some()
        };
        assert!(tags(2, 32) && tags(0, 16) && tags(0, 0));
        assert!(!tags(1, 0) && !tags(0, 7) && !tags(3, 24) && !tags(0, 24));
    }
}
