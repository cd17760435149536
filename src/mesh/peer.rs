//! One peer as the control side sees it.

use std::sync::Arc;

use super::attempt::Attempt;
use super::link::Link;
use super::loss::LossMeter;
use super::path::Path;
use super::places::Places;
use super::staging::Staging;
use crate::keys::{Names, Psks, PublicKey, Ticket};
use crate::noise::cookie::CookieJar;
use crate::noise::keyring::Keyring;
use crate::noise::schedule::{
    KEEPALIVE_PASSIVE, REKEY_AFTER_PACKETS, RESPONDER_PATIENCE, SUSPECT_AFTER,
};
use crate::noise::session::Role;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::trust::Recorded;
use crate::wire::asking::INVITE_LEN;
use crate::wire::claims::Claims;
use crate::wire::control::Received;
use crate::wire::offer::Stamp;
use crate::wire::segment::SegmentId;
use crate::wire::service::Services;
use crate::wire::vlans::VlanSet;

/// What a peer is to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A member with ports: frames go to it.
    #[default]
    Member,
    /// A relay: it carries datagrams to members for us, and sees nothing of them.
    Relay,
    /// A member that we carry datagrams for and that has no part in our segments.
    Client,
    /// Nobody: the number is free.
    Vacant,
}

/// What a relay may carry to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayUse {
    /// Everything, while there is no direct way.
    #[default]
    Allow,
    /// What is needed to find a direct way, and no frame.
    ControlOnly,
    /// Nothing.
    Never,
}

/// By what word a relay and a member know each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pass {
    /// Its key is listed.
    #[default]
    Listed,
    /// Its key and where it is are known, and it has to show a record: until then it has no part in anything.
    Awaited,
    /// We show it this ticket.
    Ticket(Ticket),
    /// It has shown us one.
    Guest,
    /// We show it this invitation.
    Invite([u8; INVITE_LEN]),
    /// It has shown us one.
    Invited([u8; INVITE_LEN]),
    /// It has shown us a record that an authority has signed.
    Record(Recorded),
}

/// What the configuration says of a peer.
#[derive(Clone)]
pub struct PeerSettings {
    /// What it is to us.
    pub kind: Kind,
    /// Its name in logs and tables.
    pub name: String,
    /// Who it is.
    pub key: Names,
    /// What it and we know besides.
    pub psks: Psks,
    /// Ask for an answer when nothing was sent for this long.
    pub keepalive: Option<Duration>,
    /// What a relay may carry to it.
    pub relay: RelayUse,
    /// By what word it is let in, or lets us in.
    pub pass: Pass,
    /// The path MTU, when it is not to be taken from the route.
    pub mtu: Option<u16>,
    /// The segments that it may take part in, and the VLANs in each; `None` for all.
    pub segments: Option<Vec<(SegmentId, VlanSet)>>,
    /// The VLANs that it may take part in, in each of them; `None` for all.
    pub vlans: Option<VlanSet>,
    /// What the hosts behind it may offer where a guard is on.
    pub roles: Services,
    /// What the hosts behind it may call themselves.
    pub claims: Arc<Claims>,
    /// Whether it relays for us, besides being a member.
    pub serves: bool,
}

impl PeerSettings {
    /// Somebody that has no part in anything: what is not said is nothing.
    pub fn outsider(kind: Kind, key: PublicKey, pass: Pass) -> Self {
        PeerSettings {
            kind,
            name: key.short(),
            key: key.into(),
            psks: Psks::default(),
            keepalive: None,
            relay: RelayUse::Allow,
            pass,
            mtu: None,
            segments: Some(Vec::new()),
            vlans: None,
            roles: Services::NONE,
            claims: Arc::default(),
            serves: false,
        }
    }
}

/// The answer to a peer's last initiation, for its copies.
pub struct Answered {
    /// BLAKE2s of the initiation without its MACs.
    pub digest: [u8; 32],
    /// The response.
    pub response: Vec<u8>,
    /// When it was made.
    pub at: Instant,
    /// What the peer drew at its start, as the initiation says.
    pub boot: [u8; 8],
}

/// A session of ours that the peer has not used yet: its first packet is repeated until it does.
pub struct Unheard {
    /// The session's index.
    pub index: u32,
    /// How many first packets went out.
    pub sent: u32,
    /// When the next one is due.
    pub next_at: Instant,
}

/// What became of the peer's initiations so far.
#[derive(Default)]
pub struct Initiations {
    /// The greatest stamp seen.
    pub greatest: Stamp,
    /// The answer to the last one.
    pub answered: Option<Answered>,
}

/// Since when one end has sent data that the other has not reacted to. The first such packet counts: later ones must
/// not put the reaction off.
#[derive(Default)]
pub struct Debts {
    /// The peer owes us.
    pub theirs: Option<Instant>,
    /// We owe the peer.
    pub ours: Option<Instant>,
    /// It is being asked whether it is still there.
    pub watch: Option<Watch>,
}

/// Questions to a silent peer.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// When it was heard last.
    pub since: Instant,
    /// How often it was asked.
    pub asked: u32,
    /// When to ask again.
    pub next_at: Instant,
}

/// Keeps the time of the first unanswered `asked`: cleared by an answer since, set when there is none.
fn debt(since: Option<Instant>, asked: Instant, answered: Instant) -> Option<Instant> {
    since
        .filter(|since| answered < *since)
        .or((asked > answered).then_some(asked))
}

/// One peer.
pub struct Peer {
    /// Its number.
    pub id: PeerId,
    /// What the configuration says.
    pub settings: PeerSettings,
    /// What the data plane knows of it.
    pub link: Arc<Link>,
    /// Where it may be found.
    pub places: Places,
    /// Where it is.
    pub path: Path,
    /// What is lost on the way there.
    pub loss: LossMeter,
    /// What we told it last of its own packets.
    pub told: Received,
    /// The sessions.
    pub keyring: Keyring,
    /// The initiation on its way.
    pub attempt: Option<Attempt>,
    /// When to begin the next attempt without anybody asking.
    pub retry_at: Option<Instant>,
    /// A session of ours that the peer has not used yet.
    pub unheard: Option<Unheard>,
    /// The cookie for handshakes with it.
    pub jar: CookieJar,
    /// Its initiations.
    pub initiations: Initiations,
    /// Frames that wait for a session.
    pub staging: Staging,
    /// Who owes whom a sign of life.
    pub debts: Debts,
    /// Since when it is connected.
    pub up_since: Option<Instant>,
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// Nothing but a sign: we heard something and had nothing to say.
    Sign,
    /// One that the peer has to answer: it keeps mappings open, and tells whether the peer is still there.
    Question,
}

/// What a peer needs on the heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A new session, because the old one is used up or the peer owes an answer.
    pub handshake: bool,
    /// A sign of life from us.
    pub keepalive: Option<Keepalive>,
    /// The peer has owed an answer for so long that it counts as gone when the handshake fails too.
    pub suspect: bool,
}

impl Peer {
    /// Whether the number is nobody's.
    pub fn is_vacant(&self) -> bool {
        self.settings.kind == Kind::Vacant
    }

    /// Whether it carries for us what goes to others.
    pub fn serves(&self) -> bool {
        self.settings.kind == Kind::Relay || self.settings.serves
    }

    /// A peer of whom nothing is known but the configuration.
    pub fn new(id: PeerId, settings: PeerSettings, link: Arc<Link>) -> Self {
        let path = Path::new(settings.mtu);
        Peer {
            id,
            settings,
            link,
            places: Places::default(),
            path,
            loss: LossMeter::default(),
            told: Received::default(),
            keyring: Keyring::default(),
            attempt: None,
            retry_at: None,
            unheard: None,
            jar: CookieJar::default(),
            initiations: Initiations::default(),
            staging: Staging::default(),
            debts: Debts::default(),
            up_since: None,
        }
    }

    /// The key that it has shown in the session in use; without one, the key that it should have.
    pub fn known_as(&self) -> PublicKey {
        let session = self.keyring.current();
        session.map_or(self.settings.key.current, |s| s.between.theirs)
    }

    /// Whether there is any address to try.
    pub fn is_reachable(&self) -> bool {
        let Places {
            known,
            channels,
            beaconing,
            ..
        } = &self.places;
        let is_known = !known.is_empty() || !channels.is_empty() || beaconing.near.is_some();
        self.path.endpoint().is_some() || is_known
    }

    /// Which VLANs of a segment it has ports in, as it announced for the current session, and may have them; `None`
    /// when it has no part in the segment.
    pub fn vlans_in(&self, segment: SegmentId) -> Option<VlanSet> {
        let session = self.keyring.current()?;
        let announced = session.segments.iter().find(|(id, _)| *id == segment);
        let (_, announced) = announced.filter(|_| self.is_admitted_to(segment))?;
        Some(match self.allowed_in(segment)? {
            Some(allowed) => announced.clone().and(&allowed),
            None => announced.clone(),
        })
    }

    /// The VLANs of a segment that it may take part in, where not all; `None` when it may take part in nothing of it.
    pub fn allowed_in(&self, segment: SegmentId) -> Option<Option<VlanSet>> {
        let granted = match &self.settings.segments {
            Some(list) => {
                let found = list.iter().find(|(id, _)| *id == segment);
                Some(found.map(|(_, vlans)| vlans)?).filter(|vlans| !vlans.is_everything())
            }
            None => None,
        };
        Some(match (granted, &self.settings.vlans) {
            (Some(one), Some(other)) => Some(one.clone().and(other)),
            (one, other) => one.or(other.as_ref()).cloned(),
        })
    }

    /// Whether the configuration lets it take part in a segment.
    pub fn is_admitted_to(&self, segment: SegmentId) -> bool {
        self.settings.kind == Kind::Member
            && self
                .settings
                .segments
                .as_ref()
                .is_none_or(|list| list.iter().any(|(id, _)| *id == segment))
    }

    /// Looks at what passed and says what is due; called once a second while there is a session.
    pub fn needs(&mut self, rekey_after: Duration, now: Instant) -> Needs {
        let Some(session) = self.keyring.current() else {
            return Needs::default();
        };
        let patience = match session.role {
            Role::Initiator => Duration::ZERO,
            Role::Responder => RESPONDER_PATIENCE,
        };
        let limit = rekey_after + patience;
        let used_up = session.age(now) >= limit || session.send.packets() >= REKEY_AFTER_PACKETS;
        let activity = &self.link.activity;
        let (sent, heard) = (activity.sent.get(), activity.heard.get());
        let (sent_data, heard_data) = (activity.sent_data.get(), activity.heard_data.get());
        self.debts.theirs = debt(self.debts.theirs, sent_data, heard);
        self.debts.ours = debt(self.debts.ours, heard_data, sent);
        let lasts = |since: Option<Instant>, limit| since.is_some_and(|s| now.since(s) >= limit);
        let suspect = lasts(self.debts.theirs, SUSPECT_AFTER);
        let passive = lasts(self.debts.ours, KEEPALIVE_PASSIVE);
        let persistent = self
            .settings
            .keepalive
            .is_some_and(|every| now.since(sent) >= every);
        Needs {
            handshake: used_up || suspect,
            keepalive: match (persistent, passive) {
                (true, _) => Some(Keepalive::Question),
                (_, true) => Some(Keepalive::Sign),
                _ => None,
            },
            suspect,
        }
    }
}
