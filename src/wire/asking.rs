//! What is asked of an admin, and what it answers: a record for one that was invited, or one that holds for longer.
//!
//! ```text
//! ask:    1 · network 32 · invitation 8       one that was invited; its key is the session's, and so is its knowledge of the secret
//!         2 · key 32                          a member, by the record that its session is made by, for this key
//! answer: 1 · 1 · the record, with its proof  4 answers make a member: they come in any order and any number
//!         1 · 2 · the network's file
//!         1 · 3 · notes of segments (each id 3, name and address: length 1, UTF-8)
//!         1 · 4 · the network's pre-shared key, 32 bytes; nothing where it has none
//!         2 · why not
//! ```
//! Asks are repeated until they are answered, and the same ask of the same key has the same answer.

use super::cursor::Cursor;
use super::record::{MAX_RECORD_LEN, NETWORK_LEN};
use super::segment::SegmentId;

/// Bytes of the longest ask.
pub const MAX_ASK: usize = 1 + NETWORK_LEN + INVITE_LEN;
/// Bytes of the longest answer.
pub const MAX_ANSWER: usize = 2 + MAX_RECORD_LEN;
/// Bytes that an invitation is known by.
pub const INVITE_LEN: usize = 8;
/// Bytes of the longest text of a segment's note.
const MAX_SEGMENT_TEXT: usize = 63;

const JOIN: u8 = 1;
const RENEW: u8 = 2;
const GIVEN: u8 = 1;
const REFUSED: u8 = 2;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To become a member of this network, by this invitation.
    Join([u8; NETWORK_LEN], [u8; INVITE_LEN]),
    /// Another record, for this key.
    Renew([u8; 32]),
}

impl Ask {
    /// Its bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Ask::Join(network, invite) => [&[JOIN], &network[..], &invite].concat(),
            Ask::Renew(key) => [&[RENEW], &key[..]].concat(),
        }
    }

    /// Reads one, all of it.
    pub fn parse(bytes: &[u8]) -> Option<Ask> {
        let mut cursor = Cursor(bytes);
        let ask = match cursor.u8()? {
            JOIN => Ask::Join(cursor.array()?, cursor.array()?),
            RENEW => Ask::Renew(cursor.array()?),
            _ => return None,
        };
        cursor.0.is_empty().then_some(ask)
    }
}

/// What is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gift {
    /// The record, with its proof.
    Record,
    /// The network's file.
    Network,
    /// Notes of segments.
    Segments,
    /// The network's pre-shared key, if it has one.
    Psk,
}

impl Gift {
    /// All of them.
    pub const ALL: [Gift; 4] = [Gift::Record, Gift::Network, Gift::Segments, Gift::Psk];

    const fn number(self) -> u8 {
        match self {
            Gift::Record => 1,
            Gift::Network => 2,
            Gift::Segments => 3,
            Gift::Psk => 4,
        }
    }
}

/// Why nothing is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotGiven {
    /// The invitation was used as often as it may be.
    Used,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Withdrawn,
    /// It is of another network.
    OtherNetwork,
    /// Whoever is asked cannot sign such a record, or nothing at all.
    CannotSign,
    /// The key is another member's, or the member's record does not count any more.
    NotYou,
}

impl NotGiven {
    /// Each with its number.
    const NUMBERS: [(u8, NotGiven); 6] = [
        (1, NotGiven::Used),
        (2, NotGiven::Expired),
        (3, NotGiven::Withdrawn),
        (4, NotGiven::OtherNetwork),
        (5, NotGiven::CannotSign),
        (6, NotGiven::NotYou),
    ];

    fn number(self) -> u8 {
        let own = NotGiven::NUMBERS.into_iter().find(|(_, why)| *why == self);
        own.map_or(0, |(number, _)| number)
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A part of what makes a member.
    Given(Gift, &'a [u8]),
    /// Nothing.
    Refused(NotGiven),
}

impl<'a> Answer<'a> {
    /// Its bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Answer::Given(gift, bytes) => [&[GIVEN, gift.number()], bytes].concat(),
            Answer::Refused(why) => vec![REFUSED, why.number()],
        }
    }

    /// Reads one, all of it.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        match (cursor.u8()?, cursor.u8()?) {
            (GIVEN, number) => {
                let gift = Gift::ALL.into_iter().find(|gift| gift.number() == number)?;
                Some(Answer::Given(gift, cursor.0))
            }
            (REFUSED, number) if cursor.0.is_empty() => {
                let mut all = NotGiven::NUMBERS.into_iter();
                let (_, why) = all.find(|(known, _)| *known == number)?;
                Some(Answer::Refused(why))
            }
            _ => None,
        }
    }
}

/// What a new member is told of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentNote {
    /// Which one.
    pub id: SegmentId,
    /// What it is called.
    pub name: String,
    /// The address that the member's host shall have in it, "10.77.0.3/24"; empty for none.
    pub address: String,
}

/// Writes notes of segments, as many as fit.
pub fn segment_notes(notes: &[SegmentNote]) -> Vec<u8> {
    let mut out = Vec::new();
    for note in notes {
        let texts = [&note.name, &note.address];
        let len: usize = texts.iter().map(|text| 1 + text.len()).sum();
        let is_short = texts.iter().all(|text| text.len() <= MAX_SEGMENT_TEXT);
        if !is_short || out.len() + 3 + len > MAX_RECORD_LEN {
            continue;
        }
        out.extend_from_slice(&note.id.to_bytes());
        for text in texts {
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// Reads notes of segments, all of them.
pub fn read_segment_notes(bytes: &[u8]) -> Option<Vec<SegmentNote>> {
    let mut cursor = Cursor(bytes);
    let mut notes = Vec::new();
    while !cursor.0.is_empty() {
        notes.push(SegmentNote {
            id: SegmentId::from_bytes(cursor.array()?)?,
            name: text(&mut cursor)?,
            address: text(&mut cursor)?,
        });
    }
    Some(notes)
}

fn text(cursor: &mut Cursor<'_>) -> Option<String> {
    let len = usize::from(cursor.u8()?);
    let bytes = cursor.take(len).filter(|_| len <= MAX_SEGMENT_TEXT)?;
    std::str::from_utf8(bytes).ok().map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_and_answers_read_back_and_nothing_else_does() {
        for ask in [Ask::Join([1; 32], [2; 8]), Ask::Renew([3; 32])] {
            let bytes = ask.to_bytes();
            assert!(bytes.len() <= MAX_ASK);
            assert_eq!(Ask::parse(&bytes), Some(ask));
            assert_eq!(Ask::parse(&bytes[1..]), None);
            assert_eq!(Ask::parse(&[&bytes[..], &[0]].concat()), None);
        }
        let gifts = Gift::ALL.map(|gift| Answer::Given(gift, b"something"));
        let refusals = NotGiven::NUMBERS.map(|(_, why)| Answer::Refused(why));
        for answer in gifts.into_iter().chain(refusals) {
            let bytes = answer.to_bytes();
            assert_eq!(Answer::parse(&bytes), Some(answer));
        }
        for other in [
            &[][..],
            &[1],
            &[1, 5, 0],
            &[2, 0],
            &[2, 7],
            &[2, 1, 0],
            &[3, 1],
        ] {
            assert_eq!(Answer::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn notes_of_segments_read_back() {
        let note = |id, name: &str, address: &str| SegmentNote {
            id: SegmentId::new(id).unwrap(),
            name: name.into(),
            address: address.into(),
        };
        let notes: Vec<_> = (1..=64).map(|id| note(id, "lan", "")).collect();
        let bytes = segment_notes(&notes);
        assert_eq!(read_segment_notes(&bytes), Some(notes));
        assert_eq!(read_segment_notes(&bytes[..bytes.len() - 1]), None);
        let long = "n".repeat(63);
        let notes: Vec<_> = (1..=64).map(|id| note(id, &long, "10.0.0.1/24")).collect();
        let bytes = segment_notes(&notes);
        assert!(bytes.len() <= MAX_RECORD_LEN);
        let read = read_segment_notes(&bytes).unwrap();
        assert_eq!(read[..], notes[..read.len()]);
    }
}
