//! Revocations go from member to member: who knows newer ones says so, and who does not asks for them, part by part.
//!
//! # Why
//! A list is signed, so it may come from anybody in the network; the authority is off the network. Members say which lists they
//! know with each session and when they learn of another, so a list is everywhere one round trip after each hop that it takes; one that
//! was away hears of it when it comes back.
//!
//! Whether a list is genuine is known when all of it is there, and any member may announce what is not, or be slow. So nobody is relied
//! on: what one does not bring within [`HEDGE`] is asked of another as well, each may take [`AT_MOST`], a few are asked at a time, and
//! who brought something else than it announced is not asked for a while.
//! Memory: what each peer announced, and [`UNDER_WAY`] lists that are not whole, of [`MAX_REVOCATIONS_LEN`] bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Node;
use crate::drops::DropReason;
use crate::mesh::peer::Kind;
use crate::place::PeerId;
use crate::time::{Duration, Instant};
use crate::trust::{Lists, Realm};
use crate::wire::control::{self, Element, ListName, Part};
use crate::wire::revocation::MAX_REVOCATIONS_LEN;

/// A list that is new is told of again so often, once a second: what was said of it may have been lost, and every second counts.
const TOLD_AGAIN: u32 = 12;
/// A part that does not come is asked for again after this,
const AGAIN: Duration = Duration::from_secs(1);
/// so often.
const TRIES: u32 = 8;
/// Lists that are fetched at a time.
const UNDER_WAY: usize = 4;
/// A list that is fetched from one is fetched from another as well after this.
const HEDGE: Duration = Duration::from_secs(1);
/// How long one may take to bring a list: 500 ms for each part.
const AT_MOST: Duration = Duration::from_secs(60);
/// Who brought nothing is not asked for this long, each time twice as long as before, and last of all,
const SILENT: Duration = Duration::from_secs(4);
/// and who brought something wrong for this long.
const WRONG: Duration = Duration::from_secs(600);

/// A list that is on its way here.
struct Fetch {
    from: PeerId,
    list: ListName,
    bytes: Vec<u8>,
    /// What the first part has said of the whole.
    total: Option<u32>,
    began: Instant,
    asked_at: Instant,
    tries: u32,
}

/// The lists that others know, and those on their way here.
#[derive(Default)]
pub(super) struct Fetches {
    /// The newest list that each peer has announced, of each authority.
    announced: BTreeMap<(PeerId, [u8; 32]), u64>,
    under_way: Vec<Fetch>,
    /// Genuine lists of authorities that are retired: they are not fetched again.
    of_retired: BTreeMap<[u8; 32], u64>,
    /// Who is not asked until then.
    barred: HashMap<PeerId, Instant>,
    /// How often each has brought nothing since it brought something.
    failures: HashMap<PeerId, u32>,
    /// Of which authority there is a new list.
    fresh: BTreeMap<[u8; 32], Fresh>,
}

/// A new list, of which all are told.
struct Fresh {
    /// How often it is to be told again,
    left: u32,
    /// but not to those who have said that they know it.
    known: HashSet<PeerId>,
}

/// What a part has made of a fetch.
enum Step {
    Nothing,
    Next(PeerId),
    Whole(PeerId, ListName, Vec<u8>),
    Wrong(PeerId),
}

impl Fetches {
    /// Who had this number is nobody any more.
    pub(super) fn forget(&mut self, id: PeerId) {
        self.announced.retain(|(peer, _), _| *peer != id);
        self.under_way.retain(|fetch| fetch.from != id);
        self.barred.remove(&id);
        self.failures.remove(&id);
        for fresh in self.fresh.values_mut() {
            fresh.known.remove(&id);
        }
    }

    fn bar(&mut self, id: PeerId, until: Instant) {
        self.under_way.retain(|fetch| fetch.from != id);
        self.barred.insert(id, until);
    }

    /// Gives up what took too long.
    fn expire(&mut self, now: Instant) {
        self.barred.retain(|_, until| now < *until);
        let is_over = |f: &Fetch| {
            f.tries >= TRIES && now.since(f.asked_at) >= AGAIN || now.since(f.began) >= AT_MOST
        };
        let over = self.under_way.iter().filter(|f| is_over(f));
        let over: Vec<PeerId> = over.map(|f| f.from).collect();
        for id in over {
            let failures = self.failures.entry(id).or_default();
            let pause = SILENT * (1 << (*failures).min(8));
            *failures += 1;
            self.bar(id, now + pause.min(WRONG));
        }
    }

    /// Begins what is to be fetched, of whom it may be; gives whom to ask.
    fn begin(&mut self, (lists, realm): (&Lists, &Realm), now: Instant) -> Vec<PeerId> {
        self.announced.retain(|(_, issuer), epoch| {
            let useless = self.of_retired.get(issuer).copied().unwrap_or(0);
            *epoch > lists.epoch(issuer).max(useless) && realm.has(issuer)
        });
        self.under_way
            .retain(|f| f.list.epoch > lists.epoch(&f.list.issuer));
        let mut begun = Vec::new();
        let mut announced: Vec<_> = self.announced.iter().collect();
        announced.sort_by_key(|((from, _), _)| self.failures.get(from).copied().unwrap_or(0));
        for ((from, issuer), epoch) in announced {
            let list = ListName {
                issuer: *issuer,
                epoch: *epoch,
            };
            let is_busy = |f: &Fetch| f.from == *from;
            let is_coming = |f: &Fetch| f.list == list && now.since(f.began) < HEDGE;
            let is_out_of_question = self.under_way.len() >= UNDER_WAY
                || self.barred.contains_key(from)
                || self.under_way.iter().any(|f| is_busy(f) || is_coming(f));
            if is_out_of_question {
                continue;
            }
            self.under_way.push(Fetch {
                from: *from,
                list,
                bytes: Vec::new(),
                total: None,
                began: now,
                asked_at: now,
                tries: 1,
            });
            begun.push(*from);
        }
        begun
    }

    /// Takes a part that was asked for.
    fn take(&mut self, id: PeerId, part: &Part<'_>, now: Instant) -> Step {
        let mut under_way = self.under_way.iter_mut();
        let Some(fetch) = under_way.find(|f| f.from == id && f.list == part.list) else {
            return Step::Nothing;
        };
        if fetch.bytes.len() != part.offset as usize {
            return Step::Nothing;
        }
        let total = *fetch.total.get_or_insert(part.total);
        let rest = (total as usize).saturating_sub(fetch.bytes.len());
        // Small parts would be a way to take for ever.
        let is_right = total == part.total
            && total as usize <= MAX_REVOCATIONS_LEN
            && rest > 0
            && part.bytes.len() == rest.min(Part::MOST);
        if !is_right {
            return Step::Wrong(id);
        }
        fetch.bytes.extend_from_slice(part.bytes);
        fetch.tries = 1;
        fetch.asked_at = now;
        if fetch.bytes.len() < total as usize {
            return Step::Next(id);
        }
        let whole = Step::Whole(id, fetch.list, std::mem::take(&mut fetch.bytes));
        self.under_way.retain(|f| f.from != id);
        whole
    }
}

impl Node {
    /// Says which revocations we know, to one who may not.
    pub(super) fn tell_epochs(&mut self, id: PeerId, now: Instant) {
        let network = self.directory.network.as_ref();
        let known = network.map(|n| n.lists.iter().map(name_of).collect::<Vec<_>>());
        for list in known.unwrap_or_default() {
            self.tell_epoch(id, list, now);
        }
    }

    fn tell_epoch(&mut self, id: PeerId, list: ListName, now: Instant) {
        let is_one = self.is_kind(id, Kind::Member) || self.introduces(id);
        let peer = self.peers.get(id.0 as usize);
        if is_one && peer.is_some_and(|p| p.up_since.is_some()) {
            self.send_control(id, &control::write(Element::Epoch(list)), None, now);
        }
    }

    /// There is a new list of this authority: all members hear of it.
    pub(super) fn spread(&mut self, issuer: &[u8; 32], now: Instant) {
        if let Some(network) = &mut self.directory.network {
            // Who is retired may be another now.
            network.fetches.of_retired.clear();
        }
        let network = self.directory.network.as_ref();
        let known = network.and_then(|n| n.lists.iter().map(name_of).find(|l| l.issuer == *issuer));
        let Some(list) = known else { return };
        if let Some(network) = &mut self.directory.network {
            let fresh = Fresh {
                left: TOLD_AGAIN,
                known: HashSet::new(),
            };
            network.fetches.fresh.insert(*issuer, fresh);
        }
        self.tell_all(list, now);
    }

    fn tell_all(&mut self, list: ListName, now: Instant) {
        for index in 0..self.peers.len() {
            let id = PeerId(u32::try_from(index).unwrap_or(u32::MAX));
            self.tell_epoch(id, list, now);
        }
    }

    /// Once a second: tells again of what is new.
    fn tell_again(&mut self, now: Instant) {
        let Some(network) = &mut self.directory.network else {
            return;
        };
        let (lists, fresh) = (&network.lists, &mut network.fetches.fresh);
        let mut due = Vec::new();
        let peers = || self.peers.iter().filter(|p| p.up_since.is_some());
        fresh.retain(|issuer, fresh| {
            fresh.left -= 1;
            if let Some(list) = lists.iter().map(name_of).find(|l| l.issuer == *issuer) {
                let others = peers().filter(|p| !fresh.known.contains(&p.id));
                due.extend(others.map(|p| (p.id, list)));
            }
            fresh.left > 0
        });
        for (id, list) in due {
            self.tell_epoch(id, list, now);
        }
    }

    /// A member knows this list.
    pub(super) fn take_epoch(&mut self, id: PeerId, list: ListName, now: Instant) {
        let may = self.may_introduce(id);
        let Some(network) = self.directory.network.as_mut().filter(|_| may) else {
            return;
        };
        let ours = network.lists.epoch(&list.issuer);
        if let Some(fresh) = network.fetches.fresh.get_mut(&list.issuer)
            && list.epoch >= ours
        {
            fresh.known.insert(id);
        }
        // What is told of authorities that are none would be kept for nothing.
        let is_news = list.epoch > network.lists.epoch(&list.issuer);
        if is_news && network.settings.realm.has(&list.issuer) {
            let announced = &mut network.fetches.announced;
            announced.insert((id, list.issuer), list.epoch);
            self.begin_fetching(now);
        }
    }

    fn begin_fetching(&mut self, now: Instant) {
        let Some(network) = &mut self.directory.network else {
            return;
        };
        let known = (&network.lists, &network.settings.realm);
        for id in network.fetches.begin(known, now) {
            self.ask_for_part(id, now);
        }
    }

    fn ask_for_part(&mut self, id: PeerId, now: Instant) {
        let network = self.directory.network.as_mut();
        let fetch = network.and_then(|n| n.fetches.under_way.iter_mut().find(|f| f.from == id));
        let Some(fetch) = fetch else { return };
        fetch.asked_at = now;
        let from = u32::try_from(fetch.bytes.len()).unwrap_or(u32::MAX);
        let wanted = Element::Wanted(fetch.list, from);
        self.send_control(id, &control::write(wanted), None, now);
    }

    /// A member wants a part of a list.
    pub(super) fn take_wanted(&mut self, id: PeerId, (list, from): (ListName, u32), now: Instant) {
        let Some(network) = &self.directory.network else {
            return self.drop_one(DropReason::UnknownControl);
        };
        let whole = network.lists.bytes(&list.issuer, list.epoch);
        let rest = whole.and_then(|whole| whole.get(from as usize..));
        let (Some(whole), Some(rest)) = (whole, rest.filter(|rest| !rest.is_empty())) else {
            return;
        };
        let part = Part {
            list,
            total: u32::try_from(whole.len()).unwrap_or(u32::MAX),
            offset: from,
            bytes: rest.get(..Part::MOST).unwrap_or(rest),
        };
        let body = control::write(Element::Part(part));
        self.send_control(id, &body, None, now);
    }

    /// A part of a list that we asked for.
    pub(super) fn take_part(&mut self, id: PeerId, part: Part<'_>, now: Instant) {
        let Some(network) = &mut self.directory.network else {
            return self.drop_one(DropReason::UnknownControl);
        };
        match network.fetches.take(id, &part, now) {
            Step::Nothing => {}
            Step::Next(id) => self.ask_for_part(id, now),
            Step::Wrong(id) => self.bar_source(id, now),
            Step::Whole(id, list, bytes) => {
                let taken = self.revoke(&bytes, now);
                let Some(network) = &mut self.directory.network else {
                    return;
                };
                let is_known = network.lists.epoch(&list.issuer) >= list.epoch;
                if is_known {
                    network.fetches.failures.remove(&id);
                }
                match taken {
                    // Genuine, and of one that is retired.
                    Err(DropReason::Revoked) => {
                        let of_retired = &mut network.fetches.of_retired;
                        let greatest = of_retired.entry(list.issuer).or_default();
                        *greatest = (*greatest).max(list.epoch);
                    }
                    Err(_) if !is_known => self.bar_source(id, now),
                    _ => {}
                }
            }
        }
        self.begin_fetching(now);
    }

    /// Somebody brought something else than it said.
    fn bar_source(&mut self, id: PeerId, now: Instant) {
        self.drop_one(DropReason::RecordRefused);
        if let Some(network) = &mut self.directory.network {
            network.fetches.bar(id, now + WRONG);
        }
    }

    /// Once a second: asks again for what has not come, and others for what comes too slowly.
    pub(super) fn go_on_fetching(&mut self, now: Instant) {
        self.tell_again(now);
        let Some(network) = &mut self.directory.network else {
            return;
        };
        network.fetches.expire(now);
        let mut again = Vec::new();
        for fetch in &mut network.fetches.under_way {
            if now.since(fetch.asked_at) >= AGAIN {
                fetch.tries += 1;
                again.push(fetch.from);
            }
        }
        for id in again {
            self.ask_for_part(id, now);
        }
        self.begin_fetching(now);
    }
}

fn name_of((issuer, epoch, _): (&[u8; 32], u64, &[u8])) -> ListName {
    ListName {
        issuer: *issuer,
        epoch,
    }
}
