//! Who listens to which multicast group, so that only those get it (RFC 4541).
//!
//! # Why
//! A video stream to a group would otherwise fill the uplink of every site. Hosts say what they listen to when a querier
//! asks; so where nobody asks, nobody's silence means anything, and everything is flooded. With a querier in the VLAN,
//! a group goes to the places that asked for it and to those behind which a querier is. What hosts say goes to queriers
//! only: a host that hears another ask for its group keeps quiet itself.
//!
//! Members tell each other what their ports listen to. Memory: at most [`MAX_GROUPS`] groups for each place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::mac::Key;
use crate::place::{PeerId, Place};
use crate::time::{Duration, Instant};
use crate::wire::ethernet::{Mac, Parts};
use crate::wire::membership::{Family, Membership, Scope};
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// Groups that one place may ask for.
pub const MAX_GROUPS: usize = 1024;
/// How long a host's word counts (RFC 3376 section 8.4).
const LISTENS: Duration = Duration::from_secs(260);
/// How long a querier counts without asking again (RFC 3376 section 8.5).
const ASKS: Duration = Duration::from_secs(255);
/// How long others have to say that they still listen when one does not any more.
const LAST_CALL: Duration = Duration::from_secs(3);

/// A group, or all groups of a family, in a VLAN of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Frames for this group.
    Group(Key),
    /// Everything for groups of this family: a querier is there.
    Querier(SegmentId, VlanClass, Family),
}

/// Who gets frames for a group.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    listeners: Option<Arc<Vec<Place>>>,
    queriers: Option<Arc<Vec<Place>>>,
}

impl Audience {
    /// Whether a place is among them.
    pub fn includes(&self, place: Place) -> bool {
        let has = |places: &Option<Arc<Vec<Place>>>| {
            places.as_ref().is_some_and(|all| all.contains(&place))
        };
        has(&self.listeners) || has(&self.queriers)
    }
}

/// Until when each place counts; `None` is until it is taken back.
type Until = HashMap<Place, Option<Instant>>;

#[derive(Default)]
struct Books {
    subjects: HashMap<Subject, Until>,
    counts: HashMap<Place, usize>,
    news: Vec<Subject>,
}

/// Who listens to what.
#[derive(Default)]
pub struct GroupTable {
    places: papaya::HashMap<Subject, Arc<Vec<Place>>>,
    books: Mutex<Books>,
    has_news: AtomicBool,
}

impl GroupTable {
    /// Nothing is left half done under this lock, so a thread that died with it has spoilt nothing.
    fn lock(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes what a frame from a place says of groups.
    pub fn hear(
        &self,
        (segment, class): (SegmentId, VlanClass),
        membership: &Membership,
        place: Place,
        now: Instant,
    ) {
        match membership {
            Membership::Query(family) => {
                let subject = Subject::Querier(segment, class, *family);
                self.set(subject, place, Some(now + ASKS));
            }
            Membership::Report(_, groups) => {
                for (group, listens) in groups {
                    let subject = Subject::Group(Key::new(segment, class, *group));
                    match listens {
                        true => self.set(subject, place, Some(now + LISTENS)),
                        false => self.last_call(subject, place, now),
                    }
                }
            }
        }
    }

    /// Takes what a member tells: it stays until it is taken back.
    pub fn tell(&self, subject: Subject, peer: PeerId) {
        self.set(subject, Place::Peer(peer), None);
    }

    /// A member takes something back.
    pub fn untell(&self, subject: Subject, peer: PeerId) {
        let mut books = self.lock();
        self.remove(&mut books, subject, Place::Peer(peer));
    }

    fn set(&self, subject: Subject, place: Place, until: Option<Instant>) {
        let mut books = self.lock();
        let Books {
            subjects, counts, ..
        } = &mut *books;
        if let Some(known) = subjects.get_mut(&subject).and_then(|u| u.get_mut(&place)) {
            *known = until;
            return;
        }
        let count = counts.entry(place).or_default();
        if *count >= MAX_GROUPS {
            return;
        }
        *count += 1;
        subjects.entry(subject).or_default().insert(place, until);
        self.publish(&mut books, subject, place);
    }

    fn last_call(&self, subject: Subject, place: Place, now: Instant) {
        let mut books = self.lock();
        let known = books.subjects.get_mut(&subject);
        if let Some(Some(until)) = known.and_then(|u| u.get_mut(&place)) {
            *until = (now + LAST_CALL).min(*until);
        }
    }

    fn remove(&self, books: &mut Books, subject: Subject, place: Place) {
        let Some(until) = books.subjects.get_mut(&subject) else {
            return;
        };
        if until.remove(&place).is_none() {
            return;
        }
        if until.is_empty() {
            books.subjects.remove(&subject);
        }
        if let Some(count) = books.counts.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                books.counts.remove(&place);
            }
        }
        self.publish(books, subject, place);
    }

    /// Lets readers see who counts for a subject now.
    fn publish(&self, books: &mut Books, subject: Subject, changed: Place) {
        match books.subjects.get(&subject) {
            Some(until) => {
                let places = Arc::new(until.keys().copied().collect());
                self.places.pin().insert(subject, places);
            }
            None => {
                self.places.pin().remove(&subject);
            }
        }
        if matches!(changed, Place::Port(_)) && !books.news.contains(&subject) {
            books.news.push(subject);
            self.has_news.store(true, Ordering::Relaxed);
        }
    }

    /// Who gets a frame for a group; `None` is everybody.
    pub fn audience(
        &self,
        (segment, class): (SegmentId, VlanClass),
        (frame, group): (&Parts<'_>, Mac),
    ) -> Option<Audience> {
        let Scope::Listeners(family) = Scope::of(frame) else {
            return None;
        };
        let places = self.places.pin();
        let queriers = places.get(&Subject::Querier(segment, class, family))?;
        let group = Subject::Group(Key::new(segment, class, group));
        Some(Audience {
            listeners: places.get(&group).cloned(),
            queriers: Some(queriers.clone()),
        })
    }

    /// Who gets what hosts say of groups; `None` is everybody.
    pub fn queriers(
        &self,
        (segment, class): (SegmentId, VlanClass),
        family: Family,
    ) -> Option<Audience> {
        let places = self.places.pin();
        let queriers = places.get(&Subject::Querier(segment, class, family))?;
        Some(Audience {
            listeners: None,
            queriers: Some(queriers.clone()),
        })
    }

    /// Forgets what was said too long ago.
    pub fn sweep(&self, now: Instant) {
        self.remove_where(|_, until| until.is_some_and(|at| at <= now));
    }

    /// Forgets everything of a place.
    pub fn forget(&self, place: Place) {
        self.remove_where(|one, _| one == place);
    }

    fn remove_where(&self, is_meant: impl Fn(Place, Option<Instant>) -> bool) {
        let mut books = self.lock();
        let all = books.subjects.iter();
        let all = all.flat_map(|(subject, until)| until.iter().map(|(p, u)| (*subject, *p, *u)));
        let meant: Vec<_> = all
            .filter(|(_, place, until)| is_meant(*place, *until))
            .collect();
        for (subject, place, _) in meant {
            self.remove(&mut books, subject, place);
        }
    }

    /// Whether there is news of what our ports listen to, once.
    pub fn announce_news(&self) -> bool {
        self.has_news.load(Ordering::Relaxed) && self.has_news.swap(false, Ordering::Relaxed)
    }

    /// The subjects of which there is news, and whether a port of ours counts for each now.
    pub fn take_news(&self) -> Vec<(Subject, bool)> {
        let mut books = self.lock();
        let news = std::mem::take(&mut books.news);
        let is_port = |p: &Place| matches!(p, Place::Port(_));
        let counts = |s: &Subject| {
            let until = books.subjects.get(s);
            until.is_some_and(|u| u.keys().any(is_port))
        };
        news.into_iter().map(|s| (s, counts(&s))).collect()
    }

    /// Everything that is known: the subject and the places that count for it.
    pub fn entries(&self) -> Vec<(Subject, Vec<Place>)> {
        let books = self.lock();
        let each = |(subject, until): (&Subject, &Until)| {
            let mut places: Vec<Place> = until.keys().copied().collect();
            places.sort();
            (*subject, places)
        };
        let mut all: Vec<_> = books.subjects.iter().map(each).collect();
        all.sort_by_key(|(s, _)| *s);
        all
    }
}
