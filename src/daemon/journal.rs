//! What the daemon says, and how often.
//!
//! Repeated trouble with one peer is said at most once a minute: a peer that is switched off for a night must not fill a
//! disk.

use std::collections::HashMap;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::place::PeerId;
use crate::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(60);
/// Lines of one kind in that time.
const LINES: u32 = 20;

/// Reads a filter; a word that is no level would otherwise be taken for a target, and silence everything.
///
/// # Errors
/// What may be written instead.
pub fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.trim());
    let fine = text
        .split(',')
        .all(|part| is_level(part.split_once('=').map_or(part, |(_, level)| level)));
    match fine && text.parse::<Targets>().is_ok() {
        true => Ok(text.to_string()),
        false => Err(format!(
            "write one of {}, or target=level, separated by commas",
            LEVELS.join(", ")
        )),
    }
}

/// Starts logging to stderr; `filter` as in `info` or `info,l2vpn::node=debug`.
pub(super) fn start(filter: &str) {
    let targets: Targets = filter
        .parse()
        .unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Under systemd the journal has the time already.
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    let result = match under_systemd {
        true => registry.with(layer.without_time()).try_init(),
        false => registry.with(layer).try_init(),
    };
    // A second start in one process keeps the first one's settings.
    drop(result);
}

/// Lets one line of a kind through for each peer and minute.
#[derive(Default)]
pub(super) struct Gate {
    last: HashMap<(PeerId, &'static str), Instant>,
    /// When the current minute of each kind began, and how many lines it had.
    minutes: HashMap<&'static str, (Instant, u32)>,
}

impl Gate {
    /// Whether one more line of a kind that names no peer may be written: some in a minute.
    pub(super) fn admits(&mut self, kind: &'static str, now: Instant) -> bool {
        let (since, count) = self.minutes.entry(kind).or_insert((now, 0));
        if now.since(*since) >= EVERY {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= LINES
    }

    /// Whether a line of this kind may be written now.
    pub(super) fn opens(&mut self, peer: PeerId, kind: &'static str, now: Instant) -> bool {
        let last = self.last.get(&(peer, kind));
        if last.is_some_and(|at| now.since(*at) < EVERY) {
            return false;
        }
        self.last.insert((peer, kind), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_or_targets_with_levels() {
        for good in ["info", "off", "warn,l2vpn::node=debug"] {
            assert!(log_filter(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "a=b", "a=b=c,,=", "l2vpn::node", "info,"] {
            assert!(log_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_kind_and_peer_has_its_minute() {
        let mut gate = Gate::default();
        let at = |s: u64| Instant::from_micros(s * 1_000_000);
        assert!(gate.opens(PeerId(1), "down", at(5)));
        assert!(!gate.opens(PeerId(1), "down", at(64)));
        assert!(gate.opens(PeerId(2), "down", at(6)) && gate.opens(PeerId(1), "up", at(6)));
        assert!(gate.opens(PeerId(1), "down", at(65)));
        let some = (0..100).filter(|_| gate.admits("loop", at(70)));
        assert_eq!(some.count(), LINES as usize);
        assert!(!gate.admits("loop", at(129)) && gate.admits("loop", at(130)));
    }
}
