//! An admin's part: its invitations, and the records that it signs in the authority's place.
//!
//! What was given is in the book before anybody hears of it, so a member that asks again after a crash gets the same; and it is in the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use super::assemble::Member;
use super::state;
use zeroize::Zeroizing;

use crate::api::{Answer as Told, InviteOrder, InviteView, Secret};
use crate::config::{Config, EndpointName, is_name};
use crate::io::clock::{self, OsEntropy};
use crate::keys::{Entropy, PublicKey, append_audit};
use crate::node::Node;
use crate::node::legs::Rank;
use crate::place::PeerId;
use crate::trust::invitation::{self, MAX_PLACES};
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
    /// Records that were made longer, by member and the serial before: at most [`MOST_GIVEN`].
    given: HashMap<(MemberId, u64), Vec<u8>>,
}

/// Records that are kept for those who ask again.
const MOST_GIVEN: usize = 4096;

fn read_book(file: &Path) -> Result<Book, String> {
    match fs::read_to_string(file) {
        Ok(text) => invites::from_text(&text).map_err(|error| format!("damaged: {error}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Book::default()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn id_text(member: &MemberId) -> String {
    member.0.iter().map(|b| format!("{b:02x}")).collect()
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
        let book = match read_book(&book_file) {
            Ok(book) => book,
            Err(error) => {
                // What is in it may not be given twice.
                let file = book_file.display();
                tracing::error!(
                    "this member signs nothing: {file}: {error}; repair it, or move it away"
                );
                node.end_signing();
                return None;
            }
        };
        let admin = Admin {
            signer,
            realm: Realm::of(&network.network),
            network: network.network.to_text(),
            book,
            book_file,
            log: state::audit_file(&config.state_dir, &config.name),
            given: HashMap::new(),
        };
        node.set_invites(admin.book.psks(&admin.realm.id));
        Some(admin)
    }

    /// Does something with the book that gives whether it has changed it; what cannot be written down was not done.
    fn change<T>(&mut self, what: impl FnOnce(&mut Book) -> (T, bool)) -> Result<T, String> {
        let (done, has_changed) = what(&mut self.book);
        if !has_changed {
            return Ok(done);
        }
        let written = invites::to_text(&self.book)
            .map_err(|e| e.to_string())
            .and_then(|text| {
                let error = |e| format!("cannot write {}: {e}", self.book_file.display());
                state::write(&self.book_file, &text).map_err(error)
            });
        if let Err(error) = written {
            self.book = read_book(&self.book_file).unwrap_or_default();
            return Err(error);
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
        let joined = self.change(|book| {
            let joined = book.join(&invite, (&id, key), new);
            let is_new = joined.as_ref().is_ok_and(|j| !j.is_again);
            (joined, is_new)
        });
        let joined = joined.map_err(|error| {
            tracing::error!("{error}; nobody can join");
            NotGiven::CannotSign
        })?;
        let joined = joined.inspect_err(|why| {
            if *why == NotGiven::CannotSign {
                tracing::warn!("an invited machine gets no record: this member's delegation does not reach so far");
            }
        })?;
        if !joined.is_again {
            let id = Proof::parse(&joined.record).map(|p| id_text(&p.record.member));
            let of = [
                ("name", joined.name.clone()),
                ("member", id.unwrap_or_default()),
                ("key", key.to_string()),
            ];
            if let Err(error) = self.note("joined", &of) {
                tracing::error!("the log is not kept: {error}");
            }
            tracing::info!("{} has joined the network: {key}", joined.name);
        }
        let address = self.book.address_of(&invite).to_string();
        Ok((joined.record, address))
    }

    /// A longer record for who has one that counts. Whoever asks again gets the same.
    fn renew(&mut self, proof: &Proof) -> Result<Vec<u8>, NotGiven> {
        let record = &proof.record;
        let shown = (record.member, record.serial);
        if let Some(given) = self.given.get(&shown) {
            return Ok(given.clone());
        }
        let now = clock::wall().as_secs();
        // Clocks differ, and this one is not to sign for whoever asks all the time.
        let life = record.not_after - record.not_before;
        if now < record.not_before + life / 10 * 6 {
            return Err(NotGiven::NotYou);
        }
        let key = PublicKey::from_bytes(record.key);
        let renewed = invites::renew(proof, &key, (&self.signer, now)).inspect_err(|_| {
            tracing::warn!(
                "the record of {} is not renewed: this member's delegation does not reach so far",
                record.name
            );
        })?;
        let of = [
            ("name", record.name.clone()),
            ("member", id_text(&record.member)),
            ("key", key.to_string()),
        ];
        self.note("renewed", &of).map_err(|error| {
            tracing::error!("nothing is renewed: {error}");
            NotGiven::CannotSign
        })?;
        if self.given.len() >= MOST_GIVEN {
            self.given.clear();
        }
        self.given.insert(shown, renewed.clone());
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
        let wanted = grant::segments(segments.clone(), &vlans);
        self.check(&order, (roles, &wanted), admin)?;
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
        // What cannot be signed is not promised.
        let mut trial = Book::default();
        trial.add(invite.clone(), now);
        let (id, nobody) = (self.realm.id, PublicKey::from_bytes([1; 32]));
        let new = (&self.signer, MemberId([0; 16]), now);
        if trial.join(&invite.id, (&id, &nobody), new).is_err() {
            return Err("no record can say that, or not for so long: name fewer segments or VLANs; `l2vpn ca show` of this member's delegation says what it may sign".into());
        }
        let of = [
            ("name", invite.name.clone()),
            ("id", invite.label()),
            ("uses", invite.uses.to_string()),
            ("until", until.to_string()),
        ];
        self.note("invited", &of)?;
        let added = self.change(|book| {
            let added = book.add(invite, now);
            (added, added)
        });
        match added? {
            true => Ok(invitation),
            false => Err("there are too many invitations: take some back".into()),
        }
    }

    /// Whether what is ordered can be signed.
    fn check(
        &self,
        order: &InviteOrder,
        (roles, segments): (Roles, &[(SegmentId, VlanSet)]),
        admin: PublicKey,
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
        if !order.address.is_empty() && !is_address(&order.address) {
            let address = order.address.escape_debug();
            return Err(format!(
                "\"{address}\" is no address with its prefix: 10.77.0.3/24"
            ));
        }
        let no_place = |text: &String| {
            let text = invitation::relay_of(text).map_or(text.as_str(), |(_, at)| at);
            let carried = ["quic:", "tls:"].iter().find_map(|c| text.strip_prefix(c));
            EndpointName::from_str(carried.unwrap_or(text)).err()
        };
        if let Some(error) = order.places.iter().find_map(no_place) {
            return Err(format!("{error}; HOST:PORT is one, or tls:HOST:PORT"));
        }
        let own = |place: &String| invitation::relay_of(place).is_some_and(|(key, _)| key == admin);
        if order.places.iter().any(own) {
            return Err("this member is no relay of its own: name its address alone".into());
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
                "the time of this member's delegation is over: `l2vpn ca delegate` gives it another"
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
            (_, Some(admin)) if self.node.has_retired(admin.signer.public().as_bytes()) => {
                tracing::warn!("this member signs no more: its delegation was taken back");
                Err(NotGiven::CannotSign)
            }
            (Ask::Join(network, invite), Some(admin)) => {
                let joined = admin.join((network, invite), &key);
                joined.map(|(record, address)| {
                    let notes = notes(&self.config, &record, &address);
                    let network = admin.network.clone().into_bytes();
                    let psk = self.config.own.network.current.as_ref();
                    let psk = psk.map_or(Vec::new(), |psk| psk.expose().to_vec());
                    vec![
                        (Gift::Psk, psk),
                        (Gift::Network, network),
                        (Gift::Segments, segment_notes(&notes)),
                        (Gift::Record, record),
                    ]
                })
            }
            (Ask::Renew(wanted), Some(admin)) => {
                let shown = self.node.good_record_of(id, now);
                // For the key that it has, and no other's.
                let shown = shown.filter(|proof| proof.record.key == wanted);
                let renewed = shown.ok_or(NotGiven::NotYou);
                let renewed = renewed.and_then(|proof| admin.renew(&proof));
                renewed.map(|record| vec![(Gift::Record, record)])
            }
        };
        match given {
            Err(why) => self.node.answer_ask(id, Answer::Refused(why), now),
            Ok(gifts) => {
                for (gift, bytes) in gifts {
                    // One of them is a secret.
                    let bytes = Zeroizing::new(bytes);
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
        if order.places.len() > MAX_PLACES {
            return Told::Error(format!("an invitation names {MAX_PLACES} places at most"));
        }
        let relays = self.relays(&order.places);
        if order.places.is_empty() {
            order.places = self.places();
            order.places.truncate(MAX_PLACES - relays.len());
        }
        order.places.extend(relays);
        order.places.truncate(MAX_PLACES);
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
        let withdrawn = admin.change(|book| {
            let count = book.withdraw(named);
            (count, count > 0)
        });
        let count = match withdrawn {
            Ok(count) => count,
            Err(message) => return Told::Error(message),
        };
        self.node.set_invites(admin.book.psks(&admin.realm.id));
        // One that has leaked is taken back whatever becomes of the log.
        let of = [("named", named.to_string()), ("count", count.to_string())];
        if let Err(error) = admin.note("withdrawn", &of) {
            tracing::error!("the log is not kept: {error}");
        }
        Told::Uninvited(count)
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

    /// Relays of the network by which we may be reached, as an invitation names them, and that it does not name yet: two at most.
    fn relays(&self, named: &[String]) -> Vec<String> {
        let named: Vec<PublicKey> = named
            .iter()
            .filter_map(|place| Some(invitation::relay_of(place)?.0))
            .collect();
        let relays = self.node.network_relays().into_iter();
        let relays = relays.filter_map(|id| self.node.peers().get(id.0 as usize));
        let others = relays.filter(|p| !named.contains(&p.known_as()));
        let at = others.filter_map(|p| {
            // As it is named, where that is known: an address may change.
            let known = self.config.peers.iter().find(|c| c.key.has(&p.known_as()));
            let named = known.and_then(|c| c.endpoints.first());
            let carried = known.and_then(|c| c.carried.first());
            let carried = carried.map(|(carrier, at)| format!("{carrier}:{at}"));
            let is_direct = self.node.rank_of(p.id) == Some(Rank::Direct);
            let seen = p.path.endpoint().filter(|_| is_direct);
            let place = named.map(ToString::to_string).or(carried);
            let place = place.or(seen.map(|way| way.remote.to_string()))?;
            Some(invitation::by_relay(&p.known_as(), &place))
        });
        at.take(2).collect()
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

/// An address of a host, and the bits of its network.
fn is_address(text: &str) -> bool {
    let Some((ip, bits)) = text.split_once('/') else {
        return false;
    };
    let longest = match ip.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= longest)
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
