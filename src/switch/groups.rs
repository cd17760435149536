//! Who listens to which multicast group, so that only those get it (RFC 4541).
//!
//! # Why
//! A video stream to a group would otherwise fill the uplink of every site. Hosts say what they listen to when a querier
//! asks; so where nobody asks, nobody's silence means anything, and everything is flooded, and also until hosts had the
//! time to answer the first question. With a querier in the VLAN, a group goes to the places that asked for it and to
//! those behind which a querier or another router for multicast is. What hosts say goes to queriers only: a host that hears
//! another ask for its group keeps quiet itself.
//!
//! Members tell each other what their ports listen to. Memory: at most [`MAX_GROUPS`] groups for each place in a VLAN, and
//! [`MAX_OF_PLACE`] in all; a place that has more gets everything, as one with a router does.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::mac::Key;
use crate::place::{PeerId, Place};
use crate::sync::Apart;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::{Mac, Parts};
use crate::wire::membership::{Family, Membership, Scope};
use crate::wire::segment::SegmentId;
use crate::wire::vlan::VlanClass;

/// Groups that one place may ask for in one VLAN.
pub const MAX_GROUPS: usize = 1024;
/// Groups that one place may ask for in all VLANs.
pub const MAX_OF_PLACE: usize = 4 * MAX_GROUPS;
/// Until hosts have answered a first question, their silence means nothing (RFC 3376 section 8.3).
const ANSWERS: Duration = Duration::from_secs(10);
/// The longest time between two questions that is believed.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
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
    /// The same: a router that does not ask is there.
    Routers(SegmentId, VlanClass, Family),
    /// The same: there are too many listeners to be told one by one.
    Crowd(SegmentId, VlanClass, Family),
}

impl Subject {
    /// What everything is for those that a querier asks.
    fn crowd(&self) -> Option<Subject> {
        match *self {
            Subject::Querier(segment, class, family) => {
                Some(Subject::Crowd(segment, class, family))
            }
            _ => None,
        }
    }

    /// Its VLAN, as counts go by it.
    fn vlan(&self) -> (u32, VlanClass) {
        match self {
            Subject::Group(key) => (key.segment(), key.class()),
            Subject::Querier(segment, class, _)
            | Subject::Routers(segment, class, _)
            | Subject::Crowd(segment, class, _) => (segment.get(), *class),
        }
    }
}

/// Who gets frames for a group.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    listeners: Option<Arc<Vec<Place>>>,
    queriers: Option<Arc<Vec<Place>>>,
    routers: Option<Arc<Vec<Place>>>,
    crowds: Option<Arc<Vec<Place>>>,
}

impl Audience {
    /// Whether a place is among them.
    pub fn includes(&self, place: Place) -> bool {
        let has = |places: &Option<Arc<Vec<Place>>>| {
            places.as_ref().is_some_and(|all| all.contains(&place))
        };
        has(&self.listeners) || has(&self.queriers) || has(&self.routers) || has(&self.crowds)
    }
}

impl Asking {
    fn since(now: Instant) -> Asking {
        Asking {
            since: now,
            interval: Duration::ZERO,
            is_answered: false,
        }
    }
}

/// The later of both. What a member told stays until it takes it back, whatever passes.
fn later(known: Option<Instant>, until: Option<Instant>) -> Option<Instant> {
    known.zip(until).map(|(a, b)| a.max(b))
}

/// How long a word counts where it is asked for so often: two questions may be lost, and hosts take their time.
fn twice(interval: Duration) -> Duration {
    interval * 2 + ANSWERS
}

/// Until when each place counts; `None` is until it is taken back.
type Until = HashMap<Place, Option<Instant>>;

/// Where questions come from in a VLAN.
#[derive(Clone, Copy)]
struct Asking {
    /// Since when.
    since: Instant,
    /// How long there may be between two.
    interval: Duration,
    /// Whether hosts had the time to answer.
    is_answered: bool,
}

/// A VLAN of a segment.
type Vlan = (u32, VlanClass);

#[derive(Default)]
struct Books {
    subjects: HashMap<Subject, Until>,
    /// In a VLAN, and in all.
    counts: HashMap<(Place, Option<Vlan>), usize>,
    asking: HashMap<Subject, Asking>,
    /// Queriers that members told of before our hosts had the time to answer one: who listens here, nobody knows yet, and
    /// our ports count as a crowd.
    unanswered: HashSet<Subject>,
    news: Vec<Subject>,
}

impl Books {
    /// How long there may be between two questions to those of a family in a VLAN.
    fn interval(&self, querier: Subject) -> Duration {
        self.asking
            .get(&querier)
            .map_or(Duration::ZERO, |a| a.interval)
    }

    fn has_room(&self, place: Place, vlan: Vlan) -> bool {
        let count = |of| self.counts.get(&(place, of)).copied().unwrap_or(0);
        count(Some(vlan)) < MAX_GROUPS && count(None) < MAX_OF_PLACE
    }

    fn count(&mut self, place: Place, vlan: Vlan, by: isize) {
        for of in [Some(vlan), None] {
            let count = self.counts.entry((place, of)).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.counts.remove(&(place, of));
            }
        }
    }
}

/// Who listens to what.
#[derive(Default)]
pub struct GroupTable {
    places: papaya::HashMap<Subject, Arc<Vec<Place>>>,
    books: Apart<Mutex<Books>>,
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
        let querier = |family| Subject::Querier(segment, class, family);
        match membership {
            Membership::Query(family, interval) => {
                let subject = querier(*family);
                let lasts = self.asked(subject, *interval, now);
                self.set((subject, *family), place, Some(now + ASKS.max(lasts)));
            }
            Membership::GroupQuery(_) => {}
            Membership::Router(family) => {
                let subject = Subject::Routers(segment, class, *family);
                self.set((subject, *family), place, Some(now + ASKS));
            }
            Membership::Report(family, groups) => {
                let lasts = twice(self.lock().interval(querier(*family)));
                let until = now + LISTENS.max(lasts);
                for (group, listens) in groups {
                    let subject = Subject::Group(Key::new(segment, class, *group));
                    match listens {
                        true => self.set((subject, *family), place, Some(until)),
                        false => self.last_call(subject, place, now),
                    }
                }
            }
        }
    }

    /// Notes how often somebody asks; gives how long a question counts.
    fn asked(&self, subject: Subject, interval: Duration, now: Instant) -> Duration {
        let mut books = self.lock();
        let asking = books.asking.entry(subject).or_insert(Asking::since(now));
        asking.interval = asking.interval.max(interval.min(MAX_INTERVAL));
        twice(asking.interval)
    }

    /// Takes what a member tells: it stays until it is taken back.
    pub fn tell(&self, subject: Subject, peer: PeerId) {
        let family = match subject {
            Subject::Querier(_, _, family)
            | Subject::Routers(_, _, family)
            | Subject::Crowd(_, _, family) => family,
            Subject::Group(key) if key.mac().0[0] == 0x33 => Family::V6,
            Subject::Group(_) => Family::V4,
        };
        self.set((subject, family), Place::Peer(peer), None);
        let mut books = self.lock();
        let is_answered = books.asking.get(&subject).is_some_and(|a| a.is_answered);
        if let Some(crowd) = subject.crowd().filter(|_| !is_answered)
            && books.unanswered.insert(subject)
        {
            self.note(&mut books, crowd);
        }
    }

    /// A member takes something back.
    pub fn untell(&self, subject: Subject, peer: PeerId) {
        let mut books = self.lock();
        self.remove(&mut books, subject, Place::Peer(peer));
    }

    fn set(&self, (subject, family): (Subject, Family), place: Place, until: Option<Instant>) {
        let mut books = self.lock();
        let subjects = &mut books.subjects;
        if let Some(known) = subjects.get_mut(&subject).and_then(|u| u.get_mut(&place)) {
            *known = later(*known, until);
            return;
        }
        let vlan = subject.vlan();
        let mut subject = subject;
        if let Subject::Group(key) = subject
            && !books.has_room(place, vlan)
        {
            let Some(segment) = SegmentId::new(key.segment()) else {
                return;
            };
            subject = Subject::Crowd(segment, key.class(), family);
            let known = books.subjects.get_mut(&subject);
            if let Some(known) = known.and_then(|u| u.get_mut(&place)) {
                *known = later(*known, until);
                return;
            }
        }
        books.count(place, vlan, 1);
        let places = books.subjects.entry(subject).or_default();
        places.insert(place, until);
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
            books.asking.remove(&subject);
            self.answered(books, subject);
        }
        books.count(place, subject.vlan(), -1);
        self.publish(books, subject, place);
    }

    /// Lets readers see who counts for a subject now.
    fn publish(&self, books: &mut Books, subject: Subject, changed: Place) {
        self.let_see(books, subject);
        if matches!(changed, Place::Port(_)) {
            self.note(books, subject);
        }
    }

    /// The control side shall tell the others of this.
    fn note(&self, books: &mut Books, subject: Subject) {
        if !books.news.contains(&subject) {
            books.news.push(subject);
            if books.news.len() == 1 {
                self.has_news.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Our hosts have answered a querier, or it is gone.
    fn answered(&self, books: &mut Books, querier: Subject) {
        if let Some(crowd) = querier.crowd()
            && books.unanswered.remove(&querier)
        {
            self.note(books, crowd);
        }
    }

    fn let_see(&self, books: &Books, subject: Subject) {
        // That a member told of a querier is not enough: hosts here answer what they heard.
        let is_querier = matches!(subject, Subject::Querier(..));
        let is_answered = books.asking.get(&subject).is_some_and(|a| a.is_answered);
        let counts = |_: &&Until| is_answered || !is_querier;
        match books.subjects.get(&subject).filter(counts) {
            Some(until) => {
                let places = Arc::new(until.keys().copied().collect());
                self.places.pin().insert(subject, places);
            }
            None => {
                self.places.pin().remove(&subject);
            }
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
        let all = |subject| places.get(&subject).cloned();
        Some(Audience {
            queriers: Some(all(Subject::Querier(segment, class, family))?),
            listeners: all(Subject::Group(Key::new(segment, class, group))),
            routers: all(Subject::Routers(segment, class, family)),
            crowds: all(Subject::Crowd(segment, class, family)),
        })
    }

    /// Who gets what hosts say of groups; `None` is everybody.
    pub fn queriers(
        &self,
        (segment, class): (SegmentId, VlanClass),
        family: Family,
    ) -> Option<Audience> {
        let places = self.places.pin();
        let all = |subject| places.get(&subject).cloned();
        Some(Audience {
            queriers: Some(all(Subject::Querier(segment, class, family))?),
            listeners: None,
            routers: all(Subject::Routers(segment, class, family)),
            crowds: None,
        })
    }

    /// Forgets what was said too long ago.
    pub fn sweep(&self, now: Instant) {
        self.remove_where(|_, until| until.is_some_and(|at| at <= now));
        let mut books = self.lock();
        let due = books
            .asking
            .iter_mut()
            .filter(|(_, a)| !a.is_answered && now.since(a.since) >= ANSWERS);
        let due: Vec<Subject> = due
            .map(|(subject, asking)| {
                asking.is_answered = true;
                *subject
            })
            .collect();
        for subject in due {
            self.let_see(&books, subject);
            self.answered(&mut books, subject);
        }
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
        let unanswered = books.unanswered.iter().filter_map(Subject::crowd);
        let crowds: HashSet<Subject> = unanswered.collect();
        let counts = |s: &Subject| {
            let until = books.subjects.get(s);
            until.is_some_and(|u| u.keys().any(is_port)) || crowds.contains(s)
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
