//! What the switch overhears: addresses and groups, and what it answers itself.

use super::decide::{Forward, Seen, Switch};
use super::groups::Audience;
use super::neighbors::{Address, Reaction};
use super::table::Learning;
use crate::drops::DropReason;
use crate::place::PortId;
use crate::time::Instant;
use crate::wire::membership::Membership;
use crate::wire::neighbor::{Answer, Talk};

impl Switch {
    /// Takes what a frame from a port, isolated or not, says of addresses; gives whether it asks for something that is known.
    ///
    /// # Errors
    /// [`DropReason::Suppressed`] when who is asked hears it anyway.
    pub(super) fn converse(
        &self,
        seen: &Seen<'_, '_, '_>,
        from: (PortId, bool),
        now: Instant,
    ) -> Result<bool, DropReason> {
        if !seen.domain.rules.answers_neighbors {
            return Ok(false);
        }
        let Some(talk) = Talk::of(seen.frame) else {
            return Ok(false);
        };
        let is_known = self.note(seen, &talk, now);
        let Some(query) = talk.query.filter(|_| is_known) else {
            return Ok(false);
        };
        let address = seen.address(query.target);
        match self
            .neighbors
            .react((&query, address), from, &self.table, now)
        {
            Reaction::Pass => Ok(false),
            Reaction::Rest => Err(DropReason::Suppressed),
            Reaction::Answer => Ok(true),
        }
    }

    /// The answer to a question that is sent back, unless it was forgotten just now.
    pub fn answer(&self, forward: &Forward<'_, '_>, now: Instant) -> Option<Answer> {
        let query = Talk::of(&forward.frame)?.query?;
        let (segment, class, ip) = (forward.segment, forward.class, query.target);
        let address = Address { segment, class, ip };
        Answer::new(&query, &self.neighbors.get(address, now)?.binding)
    }

    /// Takes what a peer's frame says of addresses and groups, where members do not tell each other.
    pub(super) fn overhear(&self, seen: &Seen<'_, '_, '_>, now: Instant) {
        if self.table.limits().learning == Learning::Advertised {
            return;
        }
        if seen.domain.rules.answers_neighbors
            && let Some(talk) = Talk::of(seen.frame)
        {
            self.note(seen, &talk, now);
        }
    }

    /// Notes what a frame says of its sender; gives whether that is nothing new.
    fn note(&self, seen: &Seen<'_, '_, '_>, talk: &Talk, now: Instant) -> bool {
        talk.binding.is_none_or(|binding| {
            let address = seen.address(binding.ip);
            let from = (seen.place, false);
            self.neighbors.note(address, binding, from, now)
        })
    }

    /// Who wants a frame that would go to everybody; takes what it says of groups.
    pub(super) fn audience(&self, seen: &Seen<'_, '_, '_>, now: Instant) -> Option<Audience> {
        // Where members tell nothing, nobody knows what is behind them.
        if !seen.domain.rules.snoops_groups || self.table.limits().learning == Learning::Data {
            return None;
        }
        if !seen.destination.is_group() {
            return None;
        }
        let vlan = (seen.segment, seen.class);
        let Some(membership) = Membership::of(seen.frame) else {
            return self.groups.audience(vlan, (seen.frame, seen.destination));
        };
        self.groups.hear(vlan, &membership, seen.place, now);
        match membership {
            Membership::Report(family, _) => self.groups.queriers(vlan, family),
            _ => None,
        }
    }
}

impl Seen<'_, '_, '_> {
    fn address(&self, ip: std::net::IpAddr) -> Address {
        Address {
            segment: self.segment,
            class: self.class,
            ip,
        }
    }
}
