//! An admin's part: its invitations, and the records that it signs in the authority's place.
//!
//! What was given is in the book before anybody hears of it, so a member that asks again after a crash gets the same; and it is in the log.

use std::fs;
use std::path::PathBuf;

use super::assemble::Member;
use super::state;
use crate::api::{Answer as Told, InviteOrder, InviteView, Secret};
use crate::config::{Config, is_name};
use crate::io::clock::{self, OsEntropy};
use crate::keys::{Entropy, PublicKey, append_audit};
use crate::node::Node;
use crate::place::PeerId;
use crate::trust::invites::{self, MAX_USES};
use crate::trust::{Book, Invitation, Invite, Realm, Signer, grant};
use crate::wire::asking::{Answer, Ask, Gift, INVITE_LEN, NotGiven, SegmentNote, segment_notes};
use crate::wire::proof::Proof;
use crate::wire::record::{MemberId, Roles};
use crate::wire::segment::SegmentId;
use crate::wire::vlans::VlanSet;

/// What an admin has.
pub(super) struct Admin {
    signer: Signer,
    realm: Realm,
    /// The network's file.
    network: String,
    book: Book,
    book_file: PathBuf,
    log: PathBuf,
}

impl Admin {
    /// Opens what an admin of this configuration has, and tells the node; `None` for who is none.
    pub(super) fn open(config: &Config, node: &mut Node) -> Option<Admin> {
        let network = config.network.as_ref();
        let Some((network, signer)) = network.and_then(|n| Some((n, n.signer.clone()?))) else {
            node.end_signing();
            return None;
        };
        let book_file = state::invites_file(&config.state_dir, &config.name);
        let book = match fs::read_to_string(&book_file) {
            Ok(text) => invites::from_text(&text).unwrap_or_else(|error| {
                let file = book_file.display();
                tracing::error!("{file} is damaged: its invitations are not good: {error}");
                Book::default()
            }),
            Err(_) => Book::default(),
        };
        let admin = Admin {
            signer,
            realm: Realm::of(&network.network),
            network: network.network.to_text(),
            book,
            book_file,
            log: state::audit_file(&config.state_dir, &config.name),
        };
        node.set_invites(admin.book.psks(&admin.realm.id));
        Some(admin)
    }

    /// Does something with the book; what cannot be written down was not done.
    fn change<T>(&mut self, what: impl FnOnce(&mut Book) -> T) -> Result<T, String> {
        let before = invites::to_text(&self.book).map_err(|e| e.to_string())?;
        let done = what(&mut self.book);
        let after = invites::to_text(&self.book).map_err(|e| e.to_string())?;
        if *before == *after {
            return Ok(done);
        }
        if let Err(error) = state::write(&self.book_file, &after) {
            self.book = invites::from_text(&before).unwrap_or_default();
            return Err(format!(
                "cannot write {}: {error}",
                self.book_file.display()
            ));
        }
        Ok(done)
    }

    fn note(&self, what: &str, of: &[(&str, String)]) -> Result<(), String> {
        if let Some(dir) = self.log.parent() {
            fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        append_audit(&self.log, clock::wall().as_secs(), (what, of))
            .map_err(|error| format!("{}: {error}", self.log.display()))
    }

    /// Gives somebody that was invited what makes a member, if it may have it.
    fn join(
        &mut self,
        (network, invite): ([u8; 32], [u8; INVITE_LEN]),
        key: &PublicKey,
    ) -> Result<(Vec<u8>, String), NotGiven> {
        if network != self.realm.id {
            return Err(NotGiven::OtherNetwork);
        }
        let mut member = [0; 16];
        OsEntropy.fill(&mut member);
        let now = clock::wall().as_secs();
        let signer = self.signer.clone();
        let new = (&signer, MemberId(member), now);
        let id = self.realm.id;
        let joined = self.change(|book| book.join(&invite, (&id, key), new));
        let joined = joined.map_err(|error| {
            tracing::error!("{error}; nobody can join");
            NotGiven::CannotSign
        })??;
        if !joined.is_again {
            let of = [("name", joined.name.clone()), ("key", key.to_string())];
            if let Err(error) = self.note("joined", &of) {
                tracing::error!("the log is not kept: {error}");
            }
            tracing::info!("{} has joined the network: {key}", joined.name);
        }
        let address = self.book.address_of(&invite).to_string();
        Ok((joined.record, address))
    }

    /// A longer record for who has one.
    fn renew(&self, shown: &[u8], key: &PublicKey) -> Result<Vec<u8>, NotGiven> {
        let proof = Proof::parse(shown).map_err(|_| NotGiven::NotYou)?;
        self.realm.believe(&proof).map_err(|_| NotGiven::NotYou)?;
        let now = clock::wall().as_secs();
        let renewed = invites::renew(&proof.record, key, (&self.signer, now))?;
        let of = [
            ("name", proof.record.name.clone()),
            ("key", key.to_string()),
            (
                "before",
                PublicKey::from_bytes(proof.record.key).to_string(),
            ),
        ];
        self.note("renewed", &of).map_err(|error| {
            tracing::error!("nothing is renewed: {error}");
            NotGiven::CannotSign
        })?;
        Ok(renewed)
    }

    /// Makes an invitation.
    fn invite(
        &mut self,
        (order, segments): (InviteOrder, Vec<SegmentId>),
        admin: PublicKey,
    ) -> Result<Invitation, String> {
        let vlans = grant::vlans(&order.vlans).map_err(|e| e.to_string())?;
        let roles = grant::roles(&order.roles).map_err(|e| e.to_string())?;
        self.check(&order, (roles, &grant::segments(segments.clone(), &vlans)))?;
        let now = clock::wall().as_secs();
        let until = now.saturating_add(order.ttl_s);
        let invitation =
            Invitation::new(self.realm.id, admin, (until, order.places), &mut OsEntropy);
        let invite = Invite {
            id: invitation.id,
            secret: *invitation.secret,
            name: order.name,
            segments: segments.into_iter().map(SegmentId::get).collect(),
            vlans: order.vlans,
            roles: order.roles,
            address: order.address,
            days: order.days,
            until,
            uses: order.uses,
            withdrawn: false,
            taken: Vec::new(),
        };
        let of = [
            ("name", invite.name.clone()),
            ("id", invite.label()),
            ("uses", invite.uses.to_string()),
            ("until", until.to_string()),
        ];
        self.note("invited", &of)?;
        match self.change(|book| book.add(invite, now))? {
            true => Ok(invitation),
            false => Err("there are too many invitations: take some back".into()),
        }
    }

    /// Whether what is ordered can be signed.
    fn check(
        &self,
        order: &InviteOrder,
        (roles, segments): (Roles, &[(SegmentId, VlanSet)]),
    ) -> Result<(), String> {
        if !is_name(&order.name) || order.name.len() > 58 {
            return Err(format!(
                "\"{}\" is no name for a member",
                order.name.escape_debug()
            ));
        }
        if order.uses == 0 || order.uses > MAX_USES {
            return Err(format!("an invitation is good for 1 to {MAX_USES} members"));
        }
        if order.uses > 1 && !order.address.is_empty() {
            return Err("one address is not for several machines".into());
        }
        if order.places.is_empty() {
            let message = "no address of this member is known: name one with --endpoint HOST:PORT";
            return Err(message.into());
        }
        if !self.signer.may(roles, segments) {
            return Err(
                "this member's delegation does not grant that: see `l2vpn ca show` of it, or have the authority sign"
                    .into(),
            );
        }
        let now = clock::wall().as_secs();
        match self.signer.longest(1, now) {
            0 => Err(
                "the time of this member's delegation is over: `l2vpn ca admin` makes another"
                    .into(),
            ),
            _ => Ok(()),
        }
    }

    fn views(&self, name_of: impl Fn(u32) -> String) -> Vec<InviteView> {
        let now = clock::wall().as_secs();
        let view = |invite: &Invite| InviteView {
            id: invite.label(),
            name: invite.name.clone(),
            segments: invite.segments.iter().map(|id| name_of(*id)).collect(),
            uses: invite.uses,
            taken: u32::try_from(invite.taken.len()).unwrap_or(u32::MAX),
            left_s: invite.until.saturating_sub(now),
            state: match invite {
                i if i.withdrawn => "withdrawn",
                i if i.taken.len() >= i.uses as usize => "used",
                i if now >= i.until => "expired",
                _ => "open",
            }
            .into(),
        };
        self.book.iter().map(view).collect()
    }
}

impl Member {
    /// Somebody asks for a record.
    pub(super) fn asked(&mut self, id: PeerId, ask: Ask) {
        let now = clock::now();
        let Some(peer) = self.node.peers().get(id.0 as usize) else {
            return;
        };
        let key = peer.settings.key.current;
        let given = match (ask, &mut self.admin) {
            (_, None) => Err(NotGiven::CannotSign),
            (Ask::Join(network, invite), Some(admin)) => {
                let joined = admin.join((network, invite), &key);
                joined.map(|(record, address)| {
                    let notes = notes(&self.config, &record, &address);
                    let network = admin.network.clone().into_bytes();
                    vec![
                        (Gift::Network, network),
                        (Gift::Segments, segment_notes(&notes)),
                        (Gift::Record, record),
                    ]
                })
            }
            (Ask::Renew(key), Some(admin)) => {
                let shown = self.node.record_of(id).ok_or(NotGiven::NotYou);
                let key = PublicKey::from_bytes(key);
                let other = self.node.find(&key).filter(|owner| *owner != id);
                let renewed = match other {
                    Some(_) => Err(NotGiven::NotYou),
                    None => shown.and_then(|shown| admin.renew(shown, &key)),
                };
                renewed.map(|record| vec![(Gift::Record, record)])
            }
        };
        match given {
            Err(why) => self.node.answer_ask(id, Answer::Refused(why), now),
            Ok(gifts) => {
                for (gift, bytes) in gifts {
                    self.node.answer_ask(id, Answer::Given(gift, &bytes), now);
                }
            }
        }
    }

    /// Makes an invitation.
    pub(super) fn invite(&mut self, mut order: InviteOrder) -> Told {
        let segments = order.segments.iter().map(|name| self.segment(name));
        let segments: Result<Vec<SegmentId>, String> = segments.collect();
        let segments = match segments {
            Ok(segments) => segments,
            Err(message) => return Told::Error(message),
        };
        if order.places.is_empty() {
            order.places = self.places();
        }
        let public = self.node.public();
        let Some(admin) = &mut self.admin else {
            return no_admin();
        };
        match admin.invite((order, segments), public) {
            Err(message) => Told::Error(message),
            Ok(invitation) => {
                self.node.set_invites(admin.book.psks(&admin.realm.id));
                Told::Invitation(Secret::new(&invitation.to_text()))
            }
        }
    }

    /// The invitations that were made.
    pub(super) fn invites(&self) -> Told {
        let Some(admin) = &self.admin else {
            return no_admin();
        };
        let name = |id: u32| {
            let mut segments = self.config.segments.iter();
            let named = segments.find(|s| s.id.get() == id);
            named.map_or(id.to_string(), |s| s.name.clone())
        };
        Told::Invites(admin.views(name))
    }

    /// Takes invitations back.
    pub(super) fn uninvite(&mut self, named: &str) -> Told {
        let Some(admin) = &mut self.admin else {
            return no_admin();
        };
        let of = [("named", named.to_string())];
        let withdrawn = admin
            .note("withdrawn", &of)
            .and_then(|()| admin.change(|book| book.withdraw(named)));
        withdrawn.map_or_else(Told::Error, Told::Uninvited)
    }

    fn segment(&self, named: &str) -> Result<SegmentId, String> {
        let mut segments = self.config.segments.iter();
        let by_name = segments.find(|s| s.name == named).map(|s| s.id);
        let by_id = || named.parse().ok().and_then(SegmentId::new);
        by_name.or_else(by_id).ok_or_else(|| {
            let named = named.escape_debug();
            format!("there is no segment \"{named}\": name one of [[segment]], or its id")
        })
    }

    /// Where this member may be found by others, as far as it knows.
    fn places(&self) -> Vec<String> {
        let (local, observed) = self.node.seen_at();
        let outside = observed.iter().map(|(_, at)| *at).chain(self.node.mapped());
        let mut places: Vec<String> = Vec::new();
        for at in outside.chain(local.iter().copied()) {
            let text = at.to_string();
            if !at.ip().is_loopback() && !places.contains(&text) {
                places.push(text);
            }
        }
        places
    }
}

/// What somebody that joins is told of the segments in its record.
fn notes(config: &Config, record: &[u8], address: &str) -> Vec<SegmentNote> {
    let proof = Proof::parse(record);
    let segments = proof.map(|p| p.record.segments).unwrap_or_default();
    let note = |(n, (id, _)): (usize, (SegmentId, VlanSet))| {
        let mut known = config.segments.iter();
        let named = known.find(|s| s.id == id);
        SegmentNote {
            id,
            name: named.map_or(format!("segment-{id}"), |s| s.name.clone()),
            address: if n == 0 {
                address.into()
            } else {
                String::new()
            },
        }
    };
    segments.into_iter().enumerate().map(note).collect()
}

fn no_admin() -> Told {
    Told::Error(
        "this member is no admin: [network] signer and delegation make one, see `l2vpn ca admin --help`".into(),
    )
}
