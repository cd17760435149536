//! What happened lately, for `l2vpn events` and the log: the last [`KEPT`] of them.

use std::collections::VecDeque;

use super::assemble::Member;
use crate::api::EventView;
use crate::drops::DropReason;
use crate::node::{Event, Gone};
use crate::place::{PeerId, Place};
use crate::switch::offences::Offence;
use crate::switch::table::{Key, Moved};
use crate::time::Duration;
use crate::wire::asking::{self, NotGiven};
use crate::wire::segment::SegmentId;

/// How many are kept.
pub(super) const KEPT: usize = 512;

/// The last of what happened.
#[derive(Default)]
pub(super) struct Chronicle {
    last: u64,
    events: VecDeque<EventView>,
}

impl Chronicle {
    /// Writes something down.
    pub(super) fn add(&mut self, wall: Duration, (kind, message): (&str, String)) {
        let unix_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        // Numbers go on where those of the last run ended, for who follows through a restart.
        self.last = unix_ms.max(self.last + 1);
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(EventView {
            number: self.last,
            unix_ms,
            kind: kind.into(),
            message,
        });
    }

    /// What happened after the one with this number.
    pub(super) fn after(&self, number: u64) -> Vec<EventView> {
        let later = self.events.iter().filter(|e| e.number > number);
        later.cloned().collect()
    }
}

impl Member {
    /// What an event is called and what it says; `None` for what only concerns the program.
    pub(super) fn describe(&self, event: &Event) -> Option<(&'static str, String)> {
        Some(match event {
            Event::Up(peer) => ("peer-up", format!("{} is connected", self.peer_name(*peer))),
            Event::Down(peer, why) => {
                let why = match why {
                    Gone::Closed => "it said goodbye",
                    Gone::Silent => "it does not answer",
                    Gone::Removed => "it is no peer any more, or not by the key that it had",
                    Gone::Expired => "its session ended and no new one came",
                };
                let name = self.peer_name(*peer);
                ("peer-down", format!("{name} is not connected: {why}"))
            }
            Event::Moved(peer, to) => (
                "peer-moved",
                format!(
                    "{} is at {}",
                    self.peer_name(*peer),
                    self.carriers.name(*to)
                ),
            ),
            Event::Relayed(peer) => {
                let name = self.peer_name(*peer);
                (
                    "peer-relayed",
                    format!("{name} is reached through a relay again"),
                )
            }
            Event::Unreachable(peer) => {
                let name = self.peer_name(*peer);
                (
                    "peer-unreachable",
                    format!("{name} did not answer for 90 s"),
                )
            }
            Event::Throttled(relay, over) => {
                let name = self.peer_name(*relay);
                let text = format!(
                    "relay {name} carries less than is sent: {over} datagrams were too much"
                );
                ("relay-throttled", text)
            }
            Event::LegRefused(address) => {
                let remote = self.carriers.name(*address);
                let text = format!("{remote}: somebody sits in the middle of the connection");
                ("carrier-refused", text)
            }
            Event::Offence(offence) => ("rule-broken", self.offence(offence)),
            other => {
                return self
                    .describe_keys(other)
                    .or_else(|| self.describe_lan(other));
            }
        })
    }

    /// The same for keys and records.
    fn describe_keys(&self, event: &Event) -> Option<(&'static str, String)> {
        Some(match event {
            Event::Doubled(peer) => {
                let name = self.peer_name(*peer);
                let text = format!(
                    "two machines have the key of {name}: they are here in turn; if it was copied, `l2vpn key rotate` or revoke it"
                );
                ("key-doubled", text)
            }
            Event::Answered(peer, bytes) => self.refused(*peer, bytes)?,
            Event::Renewed(_) => (
                "record-renewed",
                "an admin has given this member a longer record".into(),
            ),
            Event::Lapsed(peer, why) => ("record-lapsed", self.lapsed(*peer, *why)),
            _ => return None,
        })
    }

    /// An admin does not make our record longer.
    fn refused(&self, peer: PeerId, bytes: &[u8]) -> Option<(&'static str, String)> {
        let Some(asking::Answer::Refused(why)) = asking::Answer::parse(bytes) else {
            return None;
        };
        let name = self.peer_name(peer);
        let why = match why {
            NotGiven::CannotSign => "it cannot sign, or not for so long",
            _ => "it does not take our record for one that counts and is to be renewed",
        };
        let text = format!("{name} gives this member no longer record: {why}");
        Some(("record-not-renewed", text))
    }

    fn lapsed(&self, peer: PeerId, why: DropReason) -> String {
        let name = self.peer_name(peer);
        let why = match why {
            DropReason::Revoked => "it is revoked, or its authority is",
            _ => "its time is over",
        };
        format!("the record of {name} counts no more: {why}")
    }

    /// The same for what happens behind ports.
    fn describe_lan(&self, event: &Event) -> Option<(&'static str, String)> {
        Some(match event {
            Event::MacMoved(Moved { key, from, to }) => {
                let (mac, from, to) = (self.host(*key), self.place(*from), self.place(*to));
                ("mac-moved", format!("{mac} moved from {from} to {to}"))
            }
            Event::Frozen(frozen) => {
                let (mac, held, other) = (
                    self.host(frozen.key),
                    self.place(frozen.held),
                    self.place(frozen.other),
                );
                let text = format!(
                    "two hosts have one MAC, or there is a loop: {mac} is heard behind {held} and {other} in turn; \
                     held at the first for 3 minutes"
                );
                ("mac-held", text)
            }
            Event::Quarrel(quarrel) => {
                let [one, other] = quarrel.hosts.map(|(mac, place)| {
                    let place = self.place(place);
                    format!("{mac} behind {place}")
                });
                let ip = quarrel.address.ip;
                (
                    "duplicate-ip",
                    format!("two hosts use {ip}: {one} and {other}"),
                )
            }
            Event::Loop(found) => {
                let (port, through) = (
                    self.place(Place::Port(found.port)),
                    self.place(found.through),
                );
                match found.is_blocked {
                    true => (
                        "loop",
                        format!("{port} is closed: what it sends comes back by {through}"),
                    ),
                    false => (
                        "loop-gone",
                        format!("{port} is open again: the loop by {through} is gone"),
                    ),
                }
            }
            _ => return None,
        })
    }

    fn offence(&self, offence: &Offence) -> String {
        let Offence { reason, frames, .. } = offence;
        let place = self.place(offence.place);
        let vlan = match offence.class.vid() {
            Some(_) => format!("VLAN {} of ", offence.class),
            None => String::new(),
        };
        let segment = self.segment_name(offence.segment);
        format!(
            "{frames} frames dropped ({}), the last from {place} in {vlan}{segment}",
            reason.name()
        )
    }

    fn host(&self, key: Key) -> String {
        let segment = SegmentId::new(key.segment()).map(|s| self.segment_name(s));
        let segment = segment.unwrap_or_default();
        match key.class().vid() {
            Some(_) => format!("{} (VLAN {} of {segment})", key.mac(), key.class()),
            None => format!("{} ({segment})", key.mac()),
        }
    }

    fn place(&self, place: Place) -> String {
        let (kind, name) = self.place_name(place);
        format!("{kind} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_given_once() {
        let mut chronicle = Chronicle::default();
        for n in 0..KEPT + 10 {
            chronicle.add(Duration::from_millis(n as u64), ("kind", n.to_string()));
        }
        let all = chronicle.after(0);
        assert_eq!((all.len(), &*all[0].message), (KEPT, "10"));
        let last = all.last().unwrap().number;
        assert!(chronicle.after(last).is_empty());
        chronicle.add(Duration::ZERO, ("kind", "new".into()));
        assert_eq!(chronicle.after(last)[0].message, "new");
        // Another run, a minute later.
        let mut next = Chronicle::default();
        next.add(Duration::from_secs(60), ("kind", "after".into()));
        assert_eq!(next.after(last)[0].message, "after");
    }
}
