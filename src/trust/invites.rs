//! The book of an admin: its invitations, and who has come by each.
//!
//! # Why
//! That an invitation is good and that it is used up by one more is settled in one step, with the record in it that was signed for that:
//! of a hundred that come at once by one that is good for one, one gets a record. Whoever has got one gets the same again, since the
//! answer may have been lost; it is kept for a week after the end.
//! Memory: [`MAX_INVITES`] invitations, each of [`MAX_USES`] uses at most.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::grant;
use super::invitation::{SECRET_LEN, psk};
use super::signer::{Signer, next_serial};
use crate::keys::{Psk, PublicKey};
use crate::wire::asking::{INVITE_LEN, NotGiven};
use crate::wire::delegation::BACKDATED;
use crate::wire::proof::Proof;
use crate::wire::record::{MemberId, NETWORK_LEN, Record};
use crate::wire::segment::SegmentId;

/// The most invitations in a book.
pub const MAX_INVITES: usize = 256;
/// How often one may be used at most.
pub const MAX_USES: u32 = 100;
/// Seconds for which an invitation is kept after its end, so that whoever comes too late is told so.
const KEPT: u64 = 7 * 24 * 3600;
/// Seconds in a day.
const DAY: u64 = 24 * 3600;

/// An invitation, as it is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// What it is known by.
    pub id: [u8; INVITE_LEN],
    /// What proves it.
    pub secret: [u8; SECRET_LEN],
    /// What the member is called.
    pub name: String,
    /// The segments that it may take part in.
    pub segments: Vec<u32>,
    /// The VLANs in each, as they are typed; empty for all.
    pub vlans: Vec<String>,
    /// Its roles, by their names.
    pub roles: Vec<String>,
    /// The address of its host in the first segment; empty for none.
    pub address: String,
    /// For how many days its record holds.
    pub days: u32,
    /// When its time is over, in seconds since 1970.
    pub until: u64,
    /// How often it may be used.
    pub uses: u32,
    /// Whether it was taken back.
    pub withdrawn: bool,
    /// Who has come by it.
    pub taken: Vec<Taken>,
}

/// Somebody that has come by an invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// Its key.
    pub key: [u8; 32],
    /// What it was given: a record with its proof.
    #[serde(with = "base64")]
    pub record: Vec<u8>,
}

/// Bytes as text.
mod base64 {
    use base64ct::{Base64, Encoding};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Base64::encode_string(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        Base64::decode_vec(&text).map_err(D::Error::custom)
    }
}

impl Drop for Invite {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// What somebody gets that was invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The record, with its proof.
    pub record: Vec<u8>,
    /// What it is called.
    pub name: String,
    /// Whether it has got it before.
    pub is_again: bool,
}

/// All invitations of an admin.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    invites: Vec<Invite>,
}

impl Book {
    /// Adds an invitation; `false` when the book is full.
    pub fn add(&mut self, invite: Invite, now: u64) -> bool {
        self.invites.retain(|i| now < i.until.saturating_add(KEPT));
        let has_room = self.invites.len() < MAX_INVITES && invite.uses <= MAX_USES;
        if has_room {
            self.invites.push(invite);
        }
        has_room
    }

    /// Takes back those with this name or id; gives how many that were.
    pub fn withdraw(&mut self, named: &str) -> usize {
        let is_meant = |i: &&mut Invite| !i.withdrawn && (i.name == named || i.label() == named);
        let meant = self.invites.iter_mut().filter(is_meant);
        meant.map(|invite| invite.withdrawn = true).count()
    }

    /// All of them, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Invite> {
        self.invites.iter()
    }

    /// What each is known by, what its session is made with, and until when it is open, in seconds since 1970.
    pub fn psks(&self, network: &[u8; NETWORK_LEN]) -> Vec<([u8; INVITE_LEN], (Psk, u64))> {
        let invites = self.invites.iter();
        let psk = |i: &Invite| psk(network, &i.id, &i.secret);
        let until = |i: &Invite| if i.withdrawn { 0 } else { i.until };
        invites.map(|i| (i.id, (psk(i), until(i)))).collect()
    }

    /// Gives somebody the record that it was invited for, and counts that.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn join(
        &mut self,
        id: &[u8; INVITE_LEN],
        (network, key): (&[u8; NETWORK_LEN], &PublicKey),
        (signer, new, now): (&Signer, MemberId, u64),
    ) -> Result<Joined, NotGiven> {
        let invite = self.invites.iter_mut().find(|i| i.id == *id);
        let invite = invite.ok_or(NotGiven::Withdrawn)?;
        let mut taken = invite.taken.iter();
        if let Some((n, taken)) = taken
            .position(|t| t.key == *key.as_bytes())
            .and_then(|n| Some((n, invite.taken.get(n)?)))
        {
            return Ok(Joined {
                record: taken.record.clone(),
                name: invite.name_of(n),
                is_again: true,
            });
        }
        if invite.withdrawn {
            return Err(NotGiven::Withdrawn);
        }
        if now >= invite.until {
            return Err(NotGiven::Expired);
        }
        if invite.taken.len() >= invite.uses as usize {
            return Err(NotGiven::Used);
        }
        let name = invite.name_of(invite.taken.len());
        let record = invite
            .record(&name, (network, key), (signer, new, now))
            .ok_or(NotGiven::CannotSign)?;
        invite.taken.push(Taken {
            key: *key.as_bytes(),
            record: record.clone(),
        });
        Ok(Joined {
            record,
            name,
            is_again: false,
        })
    }

    /// What somebody that joined shall have as an address.
    pub fn address_of(&self, id: &[u8; INVITE_LEN]) -> &str {
        let invite = self.invites.iter().find(|i| i.id == *id);
        invite.map_or("", |i| &i.address)
    }
}

impl Invite {
    /// What it is known by, as text.
    pub fn label(&self) -> String {
        self.id.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// What the `n`th that comes by it is called.
    fn name_of(&self, n: usize) -> String {
        match self.uses {
            1 => self.name.clone(),
            _ => format!("{}-{}", self.name, n + 1),
        }
    }

    fn record(
        &self,
        name: &str,
        (network, key): (&[u8; NETWORK_LEN], &PublicKey),
        (signer, member, now): (&Signer, MemberId, u64),
    ) -> Option<Vec<u8>> {
        let span = signer.longest(u64::from(self.days) * DAY, now);
        let has_begun = signer.limits().is_none_or(|l| l.not_before <= now);
        if span == 0 || !has_begun {
            return None;
        }
        let vlans = grant::vlans(&self.vlans).ok()?;
        let ids = self.segments.iter().filter_map(|id| SegmentId::new(*id));
        let record = Record {
            network: *network,
            member,
            serial: next_serial(0, now)?,
            key: *key.as_bytes(),
            not_before: Signer::begins(now),
            not_after: now.checked_add(span)?,
            roles: grant::roles(&self.roles).ok()?,
            mac_limit: 0,
            name: name.into(),
            segments: grant::segments(ids, &vlans),
            macs: Vec::new(),
            prefixes: Vec::new(),
            issuer: [0; 32],
        };
        signer.issue(record).ok()
    }
}

/// A longer record for a member, with the same rights, by the one that it has: as long as that was meant to be.
///
/// # Errors
/// [`NotGiven::CannotSign`] for rights that the signer may not grant, and when it would end no later.
pub fn renew(
    proof: &Proof,
    key: &PublicKey,
    (signer, now): (&Signer, u64),
) -> Result<Vec<u8>, NotGiven> {
    const CANNOT: NotGiven = NotGiven::CannotSign;
    let record = &proof.record;
    let life = record.not_after.saturating_sub(record.not_before);
    // One that was cut short by the end of what its signer might was meant to be longer.
    let ends = proof.delegation.as_ref().map(|(d, _)| d.not_after);
    let life = match (ends == Some(record.not_after), signer.limits()) {
        (true, Some(limits)) => u64::from(limits.days) * DAY,
        _ => life.saturating_sub(BACKDATED),
    };
    let until = now.checked_add(signer.longest(life, now)).ok_or(CANNOT)?;
    // One that ends no later is of no use.
    if until <= record.not_after {
        return Err(CANNOT);
    }
    let renewed = Record {
        serial: next_serial(record.serial, now).ok_or(CANNOT)?,
        key: *key.as_bytes(),
        not_before: Signer::begins(now),
        not_after: until,
        ..record.clone()
    };
    signer.issue(renewed).map_err(|_| CANNOT)
}

/// The text of a book: it holds secrets.
///
/// # Errors
/// None that happens: as the library says.
pub fn to_text(book: &Book) -> Result<Zeroizing<String>, serde_json::Error> {
    serde_json::to_string(book).map(Zeroizing::new)
}

/// Reads the text.
///
/// # Errors
/// When it is not what [`to_text`] writes.
pub fn from_text(text: &str) -> Result<Book, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::AuthorityKey;
    use crate::trust::Realm;

    const NOW: u64 = 1_800_000_000;

    fn invite(uses: u32) -> Invite {
        Invite {
            id: [1; 8],
            secret: [2; 16],
            name: "web".into(),
            segments: vec![7, 1],
            vlans: vec!["10".into()],
            roles: Vec::new(),
            address: String::new(),
            days: 90,
            until: NOW + 3600,
            uses,
            withdrawn: false,
            taken: Vec::new(),
        }
    }

    fn signer() -> Signer {
        Signer::authority(AuthorityKey::from_seed(&Zeroizing::new([5; 32])))
    }

    fn come(book: &mut Book, key: u8, now: u64) -> Result<Joined, NotGiven> {
        let key = PublicKey::from_bytes([key; 32]);
        let new = MemberId([key.as_bytes()[0]; 16]);
        book.join(&[1; 8], (&[3; 32], &key), (&signer(), new, now))
    }

    #[test]
    fn an_invitation_is_used_as_often_as_it_may_be_and_no_more() {
        for uses in [1, 3] {
            let mut book = Book::default();
            assert!(book.add(invite(uses), NOW));
            let got: Vec<_> = (1..=100).map(|n| come(&mut book, n, NOW)).collect();
            let (won, lost) = got.split_at(uses as usize);
            assert!(won.iter().all(Result::is_ok));
            assert!(lost.iter().all(|l| *l == Err(NotGiven::Used)));
            // Who has one gets it again, whatever became of the invitation; over a restart, too.
            let mut book = from_text(&to_text(&book).unwrap()).unwrap();
            assert_eq!(book.withdraw("web"), 1);
            let again = come(&mut book, 1, NOW + 10_000).unwrap();
            assert_eq!(Some(&again.record), won[0].as_ref().ok().map(|j| &j.record));
            assert!(again.is_again);
            let realm = Realm {
                id: [3; 32],
                authorities: vec![signer().public()],
            };
            let proof = Proof::parse(&again.record).unwrap();
            assert!(realm.believe(&proof).is_ok());
            assert_eq!(proof.record.name, if uses == 1 { "web" } else { "web-1" });
        }
    }

    #[test]
    fn who_comes_too_late_is_told_why() {
        let mut book = Book::default();
        assert_eq!(come(&mut book, 1, NOW), Err(NotGiven::Withdrawn));
        assert!(book.add(invite(1), NOW));
        assert_eq!(come(&mut book, 1, NOW + 3600), Err(NotGiven::Expired));
        assert_eq!(book.withdraw("0101010101010101"), 1);
        assert_eq!(come(&mut book, 1, NOW), Err(NotGiven::Withdrawn));
        // A week later it is forgotten.
        let mut other = invite(1);
        other.id = [9; 8];
        assert!(book.add(other, NOW + 3600 + KEPT));
        assert_eq!(book.iter().count(), 1);
    }

    #[test]
    fn a_renewal_is_longer_and_grants_the_same() {
        let mut book = Book::default();
        book.add(invite(1), NOW);
        let proof = come(&mut book, 1, NOW).unwrap().record;
        let proof = Proof::parse(&proof).unwrap();
        let first = proof.record.clone();
        let key = PublicKey::from_bytes([8; 32]);
        let later = NOW + 60 * DAY;
        let next = renew(&proof, &key, (&signer(), later)).unwrap();
        let next = Proof::parse(&next).unwrap().record;
        assert!(next.serial > first.serial && next.not_after > first.not_after);
        assert_eq!(
            (next.member, &next.segments),
            (first.member, &first.segments)
        );
        assert_eq!(next.key, [8; 32]);
        let same = renew(&proof, &key, (&signer(), NOW));
        assert_eq!(same, Err(NotGiven::CannotSign), "it would end no later");
    }
}
