//! Reading one value after the other, and remembering what was wrong with each.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use super::DemoKeys;
use super::finding::Findings;
use super::raw::{Field, Many, Section, Sections, Shape};
use crate::keys::{Opener, Passphrase, Psk};
use crate::switch::table::Key;
use crate::time::Duration;
use crate::wire::segment::SegmentId;

/// A file in the making.
pub(super) struct Checker<'t> {
    pub(super) path: &'t Path,
    pub(super) demo: DemoKeys,
    pub(super) opener: &'t mut dyn Opener,
    pub(super) findings: Findings<'t>,
    /// Segment numbers by name.
    pub(super) segments: BTreeMap<String, SegmentId>,
    /// Whether there is any `[[segment]]`, right or wrong.
    pub(super) names_segments: bool,
    /// MACs that were pinned so far.
    pub(super) pins: BTreeSet<Key>,
    /// What has opened keys so far.
    pub(super) words: Vec<Passphrase>,
}

impl<'t> Checker<'t> {
    pub(super) fn new(
        path: &'t Path,
        text: &'t str,
        demo: DemoKeys,
        opener: &'t mut dyn Opener,
    ) -> Self {
        Checker {
            path,
            demo,
            opener,
            findings: Findings::new(text),
            segments: BTreeMap::new(),
            names_segments: false,
            pins: BTreeSet::new(),
            words: Vec::new(),
        }
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

    /// The segment that is meant where none is named.
    pub(super) fn only_segment(&self) -> Option<SegmentId> {
        let mut all = self.segments.values();
        all.next().copied().filter(|_| all.next().is_none())
    }

    /// The number of a segment that was named, or a finding.
    pub(super) fn named_segment(&mut self, name: &str, at: &Range<usize>) -> Option<SegmentId> {
        let id = self.segments.get(name).copied();
        if id.is_none() {
            let known: Vec<&str> = self.segments.keys().map(String::as_str).collect();
            let hint = match known.as_slice() {
                [] => "write a [[segment]] with name and id".to_string(),
                known => format!("there are: {}", known.join(", ")),
            };
            self.findings
                .error(
                    at,
                    format!("there is no segment \"{}\"", name.escape_debug()),
                )
                .hint(hint);
        }
        id
    }

    /// Whether somebody wrote a key where the name of its file belongs; it is not repeated, since reports go to logs.
    pub(super) fn is_a_key_itself(&mut self, text: &str, at: &Range<usize>) -> bool {
        let is_key = Psk::from_text(text).is_ok();
        if is_key {
            self.findings
                .error(at, "this is a key, where the name of its file belongs")
                .hint("write it into a file with mode 0600 and name that file here");
        }
        is_key
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
}

/// A message of the reader, in the words of who writes files rather than programs.
pub(super) fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(", ");
    line.replace("expected i64", "expected a whole number")
        .replace("expected a sequence", "expected a list")
        .replace("sequence, expected", "list, expected")
}

/// Whether a text can name a member, a segment or a peer: it appears in tables, files and sockets.
pub fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.len() <= 63
        && name.bytes().all(inner)
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

/// A time with its unit: `250ms`, `25s`, `5m`, `1h`, `7d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("25s"), Some(Duration::from_secs(25)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(parse_duration("2d"), Some(Duration::from_secs(172_800)));
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
}
