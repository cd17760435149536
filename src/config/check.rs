//! From what was written to what is meant, with everything that is wrong on the way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use super::finding::{Findings, Report};
use super::paths::{Places, resolve};
use super::raw::{self, Field, Many, RawConfig, RawSegment, Section, Sections, Shape, Step};
use super::{Config, DEFAULT_PORT, DemoKeys, SegmentConfig, peers, ports};
use crate::keys::{self, KeyFileError, PrivateKey, is_demo};
use crate::switch::table::Limits;
use crate::time::Duration;
use crate::wire::segment::SegmentId;

/// The most segments: what fits one announcement.
const MAX_SEGMENTS: usize = crate::wire::control::MAX_SEGMENTS;

/// Checks a text; `path` is the file that it stands for.
pub fn check(path: &Path, text: &str, demo: DemoKeys) -> (Option<Config>, Report) {
    let mut checker = Checker {
        path,
        text,
        demo,
        findings: Findings::new(text),
        segments: BTreeMap::new(),
        names_segments: false,
    };
    let config = match raw::read(text) {
        Ok((raw, unknown)) => {
            unknown.iter().for_each(|p| checker.unknown_key(p));
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

/// A message of the reader, in the words of who writes files rather than programs.
fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(", ");
    line.replace("expected i64", "expected a whole number")
        .replace("expected a sequence", "expected a list")
        .replace("sequence, expected", "list, expected")
}

pub(super) struct Checker<'t> {
    pub(super) path: &'t Path,
    text: &'t str,
    pub(super) demo: DemoKeys,
    pub(super) findings: Findings<'t>,
    /// Segment numbers by name.
    pub(super) segments: BTreeMap<String, SegmentId>,
    /// Whether there is any `[[segment]]`, right or wrong.
    pub(super) names_segments: bool,
}

impl<'t> Checker<'t> {
    fn config(&mut self, raw: RawConfig) -> Option<Config> {
        let start = 0..0;
        if let Some(version) = self.take(raw.config_version)
            && version.0 != 1
        {
            self.findings
                .error(
                    &version.1,
                    format!("config_version {} is not known", version.0),
                )
                .hint("this program reads version 1");
        }
        if raw.node.is_none() {
            self.findings
                .error(&start, "[node] is missing")
                .hint("[node] names the private key: key = \"a.key\"");
        }
        let places = Places::default_for_user();
        let node = self.section(raw.node);
        let key_at = node.as_ref().map(|(_, at)| at.clone());
        let (node, _) = node.unwrap_or_default();
        let name = self.member_name(node.name);
        // Without a [node] that was said already.
        let key = key_at.and_then(|at| self.private_key(node.key, &at));
        let listen = self.listen(node.listen);
        let segments = self.segments(raw.segment);
        let ports = ports::check(self, raw.port, &segments);
        let own = key.as_ref().map(PrivateKey::public);
        let peers = peers::check(self, raw.peer, own);
        let table = self.switch(raw.switch);
        let (control, _) = self.section(raw.control).unwrap_or_default();
        let socket = self.take(control.socket).map(|s| resolve(self.path, &s.0));
        let state = self
            .take(control.state_dir)
            .map(|s| resolve(self.path, &s.0));
        Some(Config {
            path: self.path.into(),
            socket: socket.unwrap_or_else(|| places.socket(&name)),
            state_dir: state.unwrap_or(places.state),
            name,
            key: key?,
            listen: listen?,
            segments,
            ports,
            peers,
            table,
        })
    }

    /// The value of a field, with its place; a wrong type becomes a finding.
    pub(super) fn take<T>(&mut self, field: Option<Field<T>>) -> Option<(T, Range<usize>)> {
        let field = field?;
        match field.value {
            Ok(value) => Some((value, field.span)),
            Err(message) => {
                self.findings.error(&field.span, one_line(&message));
                None
            }
        }
    }

    /// A whole number within a range.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        field: Option<Field<i64>>,
        what: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<T> {
        let (value, at) = self.take(field)?;
        if range.contains(&value) {
            return T::try_from(value).ok();
        }
        let (low, high) = range.into_inner();
        self.findings
            .error(&at, format!("{what} {value} is out of range"))
            .hint(format!("it lies between {low} and {high}"));
        None
    }

    /// A time such as `300s`.
    pub(super) fn duration(
        &mut self,
        field: Option<Field<String>>,
        what: &str,
        (low, high): (Duration, Duration),
    ) -> Option<Duration> {
        let (text, at) = self.take(field)?;
        let range = format!("it lies between {}s and {}s", low.as_secs(), high.as_secs());
        match parse_duration(&text) {
            Some(time) if (low..=high).contains(&time) => Some(time),
            Some(_) => {
                self.findings
                    .error(&at, format!("{what} \"{text}\" is out of range"))
                    .hint(range);
                None
            }
            None => {
                self.findings
                    .error(&at, format!("{what} \"{text}\" is not a time"))
                    .hint("write a number with a unit: \"25s\", \"5m\", \"1h\"");
                None
            }
        }
    }

    pub(super) fn section<T>(&mut self, section: Option<Section<T>>) -> Option<(T, Range<usize>)> {
        let section = section?;
        let at = section.span();
        match section.into_inner() {
            Shape::Right(table) => Some((table, at)),
            Shape::Wrong(what) => {
                self.findings
                    .error(&at, format!("expected a table, found {what}"));
                None
            }
        }
    }

    pub(super) fn sections<T>(
        &mut self,
        sections: Option<Sections<T>>,
        name: &str,
    ) -> Vec<(T, Range<usize>)> {
        let Some(sections) = sections else {
            return Vec::new();
        };
        let at = sections.span();
        match sections.into_inner() {
            Shape::Right(Many(all)) => all
                .into_iter()
                .filter_map(|s| self.section(Some(s)))
                .collect(),
            Shape::Wrong(what) => {
                self.findings
                    .error(&at, format!("expected a list of tables, found {what}"))
                    .hint(format!("write [[{name}]] with two brackets"));
                Vec::new()
            }
        }
    }

    fn unknown_key(&mut self, path: &[Step]) {
        let at = raw::place_of(self.text, path).unwrap_or(0..0);
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
            .error(&at, format!("unknown key \"{key}\" in {table}"))
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

    /// Names appear in tables, files and sockets.
    pub(super) fn name(&mut self, name: &str, at: &Range<usize>) -> bool {
        if is_name(name) {
            return true;
        }
        self.findings
            .error(at, format!("\"{}\" is not a name", name.escape_debug()))
            .hint(
                "use up to 63 letters, digits, '-', '_' and '.', starting with a letter or digit",
            );
        false
    }

    fn private_key(
        &mut self,
        field: Option<Field<String>>,
        node_at: &Range<usize>,
    ) -> Option<PrivateKey> {
        let missing = field.is_none();
        let Some((file, at)) = self.take(field) else {
            if missing {
                self.findings
                    .error(node_at, "[node] names no key")
                    .hint("make one with `l2vpn key new -o a.key` and write key = \"a.key\"");
            }
            return None;
        };
        let key = match keys::read_private(&resolve(self.path, &file)) {
            Ok(key) => key,
            Err(error) => return self.key_file_error(&error, &at),
        };
        if is_demo(&key.public()) {
            self.demo_key(&at, "this private key is published: everybody has it");
        }
        Some(key)
    }

    pub(super) fn key_file_error<T>(
        &mut self,
        error: &KeyFileError,
        at: &Range<usize>,
    ) -> Option<T> {
        self.findings
            .error(at, error.to_string())
            .hint(error.hint());
        None
    }

    pub(super) fn demo_key(&mut self, at: &Range<usize>, message: &str) {
        match self.demo {
            DemoKeys::Refuse => self.findings.error(at, message).hint(
                "make your own with `l2vpn key new`; --allow-demo-keys is for trying things out",
            ),
            DemoKeys::Allow => {
                self.findings.warning(at, message);
            }
        }
    }

    fn listen(&mut self, field: Option<Field<String>>) -> Option<SocketAddr> {
        let default = SocketAddr::from(([0u16; 8], DEFAULT_PORT));
        let wrong = field.as_ref().is_some_and(|f| f.value.is_err());
        let Some((text, at)) = self.take(field) else {
            return (!wrong).then_some(default);
        };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_multicast() => {
                self.findings
                    .error(&at, format!("\"{text}\" is a multicast address"));
                None
            }
            Ok(address) => Some(address),
            Err(_) => {
                self.findings
                    .error(&at, format!("\"{text}\" is not an address with a port"))
                    .hint(format!(
                        "\"[::]:{DEFAULT_PORT}\" listens on all addresses, IPv4 too"
                    ));
                None
            }
        }
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
                segments.push(SegmentConfig { name, id });
            }
        }
        segments
    }

    fn switch(&mut self, raw: Option<Section<raw::RawSwitch>>) -> Limits {
        let (raw, _) = self.section(raw).unwrap_or_default();
        let default = Limits::default();
        let ages = (Duration::from_secs(10), Duration::from_secs(86_400));
        let per_peer_at = raw.mac_limit_per_peer.as_ref().map(|f| f.span.clone());
        let limits = Limits {
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
        limits
    }
}

fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.len() <= 63
        && name.bytes().all(inner)
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

/// `250ms`, `25s`, `5m`, `1h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
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
    fn times_have_units() {
        assert_eq!(parse_duration("25s"), Some(Duration::from_secs(25)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
        for bad in [
            "",
            "25",
            "s",
            "-1s",
            "1 s",
            "1.5s",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

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
