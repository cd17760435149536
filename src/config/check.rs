//! From what was written to what is meant, with everything that is wrong on the way.

use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::checker::{Checker, is_name, one_line};
use super::finding::Report;
use super::paths::{Places, resolve};
use super::raw::{self, Field, RawConfig, RawSegment, Sections, Step};
use super::{
    Config, DemoKeys, PeerConfig, SegmentConfig, Word, listening, network, peers, ports, relays,
};
use crate::keys::{Nobody, Opener};
use crate::switch::layout::SegmentRules;
use crate::wire::segment::SegmentId;

/// The longest path of a unix socket, in bytes (sun_path less its NUL).
const MAX_SOCKET: usize = 107;
/// The most segments: what fits one announcement.
const MAX_SEGMENTS: usize = crate::wire::control::MAX_SEGMENTS;

/// Checks a text; `path` is the file that it stands for.
pub fn check(path: &Path, text: &str, demo: DemoKeys) -> (Option<Config>, Report) {
    check_with(path, text, demo, &mut Nobody)
}

/// The same with somebody who comes by secrets that are in no plain file.
pub fn check_with(
    path: &Path,
    text: &str,
    demo: DemoKeys,
    opener: &mut dyn Opener,
) -> (Option<Config>, Report) {
    let mut checker = Checker::new(path, text, demo, opener);
    let config = match raw::read(text) {
        Ok((raw, unknown)) => {
            let places = raw::places_of(text, &unknown);
            for (path, place) in unknown.iter().zip(places) {
                checker.unknown_key(path, &place.unwrap_or(0..0));
            }
            checker.config(raw)
        }
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            checker.findings.error(&at, one_line(error.message()));
            None
        }
    };
    let config = config.filter(|_| !checker.findings.has_errors());
    (config, checker.findings.into_report(path))
}

impl Checker<'_> {
    fn config(&mut self, raw: RawConfig) -> Option<Config> {
        self.check_version(raw.config_version);
        if raw.node.is_none() {
            self.findings
                .error(&(0..0), "[node] is missing")
                .hint("[node] names the private key: key = \"a.key\"");
        }
        let places = Places::default_for_user();
        let node = self.section(raw.node);
        let key_at = node.as_ref().map(|(_, at)| at.clone());
        let (mut node, _) = node.unwrap_or_default();
        let tuning = self.tuning(&mut node);
        let (listen, reach) = listening::check(self, &mut node);
        let name = self.member_name(node.name.take());
        // Without a [node] that was said already.
        let own = key_at.and_then(|at| self.identity(&mut node, &at));
        let segments = self.segments(raw.segment);
        let is_relay = raw.admission.is_some();
        let has_network = raw.network.is_some();
        let ports = ports::check(self, raw.port, (&segments, is_relay));
        let names = own.as_ref().map(|own| own.keys.names());
        let mut peers = peers::check(self, raw.peer, (names, is_relay || has_network));
        let network = network::check(self, raw.network, names);
        self.check_by_record(&peers, has_network);
        let relaying = relays::check(
            self,
            (raw.relay, raw.admission),
            (names, network.as_ref()),
            &mut peers,
        );
        let isolates = ports.iter().any(|p| p.is_isolated);
        let (table, storms) = self.switch(raw.switch, isolates && !peers.is_empty());
        let (control, _) = self.section(raw.control).unwrap_or_default();
        let socket = self.take(control.socket).and_then(|s| self.socket(&s));
        let state = self
            .take(control.state_dir)
            .map(|s| resolve(self.path, &s.0));
        Some(Config {
            path: self.path.into(),
            socket: socket.unwrap_or_else(|| places.socket(&name)),
            state_dir: state.unwrap_or(places.state),
            name,
            own: own?,
            listen: listen?,
            reach,
            segments,
            ports,
            peers,
            network,
            relaying,
            table,
            storms,
            tuning,
            demo: self.demo,
        })
    }

    fn check_version(&mut self, version: Option<Field<i64>>) {
        if let Some((version, at)) = self.take(version)
            && version != 1
        {
            self.findings
                .error(&at, format!("config_version {version} is not known"))
                .hint("this program reads version 1");
        }
    }

    /// Without a network nobody has a record.
    fn check_by_record(&mut self, peers: &[PeerConfig], has_network: bool) {
        let by_record = peers.iter().find(|p| p.word == Word::Record);
        if let Some(peer) = by_record.filter(|_| !has_network) {
            let name = &peer.name;
            let message = format!("peer {name} is let in by its record, and there is no [network]");
            self.findings
                .error(&(0..0), message)
                .hint("take by_record out, or name the network: [network] file");
        }
    }

    fn unknown_key(&mut self, path: &[Step], at: &Range<usize>) {
        let keys: Vec<&str> = path
            .iter()
            .filter_map(|s| match s {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect();
        let (table, known) = match keys.first() {
            Some(&"node") if keys.len() > 1 => ("[node]", raw::RawNode::KEYS),
            Some(&"segment") if keys.len() > 1 => ("[[segment]]", raw::RawSegment::KEYS),
            Some(&"port") if keys.len() > 1 => ("[[port]]", raw::RawPort::KEYS),
            Some(&"peer") if keys.len() > 1 => ("[[peer]]", raw::RawPeer::KEYS),
            Some(&"relay") if keys.len() > 1 => ("[[relay]]", raw::RawRelay::KEYS),
            Some(&"admission") if keys.len() > 1 => ("[admission]", raw::RawAdmission::KEYS),
            Some(&"network") if keys.len() > 1 => ("[network]", raw::RawNetwork::KEYS),
            Some(&"switch") if keys.len() > 1 => ("[switch]", raw::RawSwitch::KEYS),
            Some(&"control") if keys.len() > 1 => ("[control]", raw::RawControl::KEYS),
            _ => ("the file", raw::RawConfig::KEYS),
        };
        let key = keys.last().copied().unwrap_or_default();
        if known.contains(&key) {
            // Its table has another shape than it should, which is said there.
            return;
        }
        let hint = match nearest(key, known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("{table} knows: {}", known.join(", ")),
        };
        self.findings
            .error(at, format!("unknown key \"{key}\" in {table}"))
            .hint(hint);
    }

    fn member_name(&mut self, field: Option<Field<String>>) -> String {
        let stem = self.path.file_stem().and_then(|s| s.to_str());
        let fallback = stem.filter(|s| is_name(s)).unwrap_or("l2vpn").to_string();
        match self.take(field) {
            Some((name, at)) => {
                self.name(&name, &at);
                name
            }
            None => fallback,
        }
    }

    /// A path that a unix socket can have, with room for another name beside it while it is made.
    fn socket(&mut self, (text, at): &(String, Range<usize>)) -> Option<PathBuf> {
        let path = resolve(self.path, text);
        let parent = path.parent().map_or(0, |p| p.as_os_str().len());
        if path.as_os_str().len() > MAX_SOCKET || parent + 10 > MAX_SOCKET {
            self.findings
                .error(at, "the path of the control socket is too long")
                .hint(format!(
                    "the system takes {MAX_SOCKET} bytes of absolute path"
                ));
            return None;
        }
        if std::fs::symlink_metadata(&path).is_ok_and(|m| !m.file_type().is_socket()) {
            self.findings
                .error(at, format!("{} exists and is not a socket", path.display()))
                .hint("it is left as it is; choose another name");
            return None;
        }
        Some(path)
    }

    fn segments(&mut self, raw: Option<Sections<RawSegment>>) -> Vec<SegmentConfig> {
        self.names_segments = raw.is_some();
        let raw = self.sections(raw, "segment");
        if raw.len() > MAX_SEGMENTS {
            let at = raw.last().map_or(0..0, |(_, at)| at.clone());
            self.findings
                .error(&at, format!("more than {MAX_SEGMENTS} segments"));
        }
        let mut segments: Vec<SegmentConfig> = Vec::new();
        for (segment, at) in raw {
            let default = SegmentRules::default();
            let rules = SegmentRules {
                drops_unknown: self.drops_unknown(segment.unknown_unicast),
                guards: self.services("guard", segment.guard),
                answers_neighbors: self
                    .switch_of(segment.suppress_arp)
                    .unwrap_or(default.answers_neighbors),
                snoops_groups: self
                    .switch_of(segment.snooping)
                    .unwrap_or(default.snoops_groups),
            };
            let no_id = segment.id.is_none();
            let no_name = segment.name.is_none();
            let name = self.take(segment.name);
            let id_at = segment.id.as_ref().map_or(at.clone(), |f| f.span.clone());
            let range = 1..=i64::from(SegmentId::MAX);
            let id = self
                .number(segment.id, "segment id", range)
                .and_then(SegmentId::new);
            if no_id || no_name {
                self.findings
                    .error(&at, "a segment needs a name and an id")
                    .hint("name = \"lan\" and id = 1; the id is the same on all members");
            }
            let Some((name, name_at)) = name.filter(|(n, at)| self.name(n, at)) else {
                continue;
            };
            let Some(id) = id else { continue };
            if segments.iter().any(|s| s.name == name) {
                self.findings
                    .error(&name_at, format!("segment \"{name}\" stands twice"));
            } else if let Some(other) = segments.iter().find(|s| s.id == id) {
                let message = format!("segment id {id} is that of \"{}\" already", other.name);
                self.findings.error(&id_at, message);
            } else {
                self.segments.insert(name.clone(), id);
                segments.push(SegmentConfig { name, id, rules });
            }
        }
        segments
    }
}

/// The known key that differs in the fewest letters, when it is few.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (edits(key, k), *k))
        .min()
        .filter(|(edits, k)| *edits <= 1 + k.len() / 4)
        .map(|(_, k)| k)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let cost = diagonal + usize::from(x != *y);
            diagonal = *above;
            left = cost.min(diagonal + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_key() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(nearest("endpoint", raw::RawPeer::KEYS), Some("endpoints"));
        assert_eq!(nearest("pubkey", raw::RawPeer::KEYS), None);
        assert_eq!(nearest("kye", raw::RawNode::KEYS), None);
        assert_eq!(nearest("lisen", raw::RawNode::KEYS), Some("listen"));
    }
}
