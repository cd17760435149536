//! `[switch]`, and what segments and ports say about switching beside VLANs.

use super::checker::Checker;
use super::raw::{Field, RawSwitch, Section};
use super::tuning::Choice;
use crate::switch::layout::LinkLocal;
use crate::switch::storm::StormLimits;
use crate::switch::table::{Learning, Limits};
use crate::time::Duration;
use crate::wire::service::Services;

const LEARNING: &[Choice<Learning>] = &[
    ("both", Learning::Both),
    ("data", Learning::Data),
    ("advertised", Learning::Advertised),
];
const UNKNOWN_UNICAST: &[Choice<bool>] = &[("flood", false), ("drop", true)];
const SERVICES: &[Choice<u8>] = &[("dhcp-server", 0), ("router", 1)];
const LINK_LOCAL: &[Choice<LinkLocal>] = &[
    ("transparent", LinkLocal::Transparent),
    ("bridge", LinkLocal::Bridge),
];

impl Checker<'_> {
    /// `isolates`: isolated ports here, and peers that may have some.
    pub(super) fn switch(
        &mut self,
        raw: Option<Section<RawSwitch>>,
        isolates: bool,
    ) -> (Limits, StormLimits) {
        let (raw, _) = self.section(raw).unwrap_or_default();
        let default = Limits::default();
        let ages = (Duration::from_secs(10), Duration::from_secs(86_400));
        let per_peer_at = raw.mac_limit_per_peer.as_ref().map(|f| f.span.clone());
        let limits = Limits {
            learning: self.learning(raw.learning, isolates),
            age: self
                .duration(raw.mac_age, "mac_age", ages)
                .unwrap_or(default.age),
            total: self
                .number(raw.mac_limit, "mac_limit", 16..=1_000_000)
                .unwrap_or(default.total),
            per_place: self
                .number(raw.mac_limit_per_peer, "mac_limit_per_peer", 1..=1_000_000)
                .unwrap_or(default.per_place),
        };
        if let Some(at) = per_peer_at
            && limits.per_place > limits.total
        {
            self.findings.warning(
                &at,
                "mac_limit_per_peer is above mac_limit, which holds first",
            );
        }
        let default = StormLimits::default();
        let mut rate =
            |field, what, default| self.number(field, what, 0..=10_000_000).unwrap_or(default);
        let storms = StormLimits {
            broadcast: rate(raw.storm_broadcast, "storm_broadcast", default.broadcast),
            multicast: rate(raw.storm_multicast, "storm_multicast", default.multicast),
            unknown: rate(raw.storm_unknown, "storm_unknown", default.unknown),
        };
        (limits, storms)
    }

    fn learning(&mut self, field: Option<Field<String>>, isolates: bool) -> Learning {
        let Some((text, at)) = self.take(field) else {
            return Learning::default();
        };
        let choice = self.choice("learning", LEARNING, (&text, &at));
        if choice == Some(Learning::Data) && isolates {
            let message = "isolated ports are kept apart from those of this member only: nobody tells which hosts of \
                           others are isolated";
            let hint = "learning = \"both\" here and at the others";
            self.findings.warning(&at, message).hint(hint);
        }
        choice.unwrap_or_default()
    }

    /// Something that is on or off.
    pub(super) fn switch_of(&mut self, field: Option<Field<bool>>) -> Option<bool> {
        self.take(field).map(|(on, _)| on)
    }

    /// Whether a segment drops frames for unknown hosts.
    pub(super) fn drops_unknown(&mut self, field: Option<Field<String>>) -> bool {
        self.take(field).is_some_and(|(text, at)| {
            let choice = self.choice("unknown_unicast", UNKNOWN_UNICAST, (&text, &at));
            choice.unwrap_or(false)
        })
    }

    /// What a segment guards, or what a port or peer may offer.
    pub(super) fn services(&mut self, what: &str, field: Option<Field<Vec<String>>>) -> Services {
        let mut set = Services::NONE;
        let Some((list, at)) = self.take(field) else {
            return set;
        };
        for name in list {
            match self.choice(what, SERVICES, (&name, &at)) {
                Some(0) => set.dhcp_server = true,
                Some(_) => set.router = true,
                None => {}
            }
        }
        set
    }

    /// What a port does with frames for the next bridge.
    pub(super) fn link_local(&mut self, field: Option<Field<String>>) -> LinkLocal {
        self.take(field)
            .and_then(|(text, at)| self.choice("link_local", LINK_LOCAL, (&text, &at)))
            .unwrap_or_default()
    }
}
