//! What is wrong with a file: each thing with its place, a sentence, and what to do.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The longest configuration that is read, in bytes.
pub const MAX_FILE_LEN: u64 = 1 << 20;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Legal, but probably not what was meant.
    Warning,
    /// Nothing starts with it.
    Error,
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Line and column, from 1; `None` when it concerns the whole file.
    pub place: Option<(usize, usize)>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// All findings of one file, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which file.
    pub path: PathBuf,
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether something in it keeps the daemon from starting.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// A report of a file that could not be read.
    fn unreadable(path: &Path, message: String, hint: &str) -> Self {
        Report {
            path: path.into(),
            findings: vec![Finding {
                place: None,
                severity: Severity::Error,
                message,
                hint: Some(hint.into()),
            }],
        }
    }
}

/// `file:line:column: error: text`, one finding a line, each followed by its hint.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            write!(f, "{}:", self.path.display())?;
            if let Some((line, column)) = finding.place {
                write!(f, "{line}:{column}:")?;
            }
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            writeln!(f, " {severity}: {}", finding.message)?;
            if let Some(hint) = &finding.hint {
                writeln!(f, "  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

/// More findings than this are only counted: a file with so many is not the right file.
const MAX_FINDINGS: usize = 200;

/// Collects findings while a text is checked.
pub(super) struct Findings<'t> {
    text: &'t str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    found: Vec<(usize, Finding)>,
    /// Takes what is said of findings that are only counted.
    spare: Finding,
    errors: usize,
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Findings {
            text,
            lines: std::iter::once(0).chain(newlines).collect(),
            found: Vec::new(),
            spare: Finding {
                place: Some((1, 1)),
                severity: Severity::Error,
                message: String::new(),
                hint: None,
            },
            errors: 0,
        }
    }

    pub(super) fn error(&mut self, at: &Range<usize>, message: impl Into<String>) -> &mut Finding {
        self.add(Severity::Error, at, message.into())
    }

    pub(super) fn warning(
        &mut self,
        at: &Range<usize>,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.add(Severity::Warning, at, message.into())
    }

    fn add(&mut self, severity: Severity, at: &Range<usize>, message: String) -> &mut Finding {
        self.errors += usize::from(severity == Severity::Error);
        if self.found.len() >= MAX_FINDINGS {
            return &mut self.spare;
        }
        let finding = Finding {
            place: Some(self.line_and_column(at.start)),
            severity,
            message: printable(&message),
            hint: None,
        };
        self.found.push((at.start, finding));
        self.found
            .last_mut()
            .map_or(&mut self.spare, |(_, finding)| finding)
    }

    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|l| self.lines.get(l));
        let before = start.and_then(|s| self.text.get(*s..offset));
        (line, before.map_or(1, |b| b.chars().count() + 1))
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub(super) fn into_report(mut self, path: &Path) -> Report {
        self.found.sort_by_key(|(at, _)| *at);
        let shown = self.found.iter();
        let shown = shown.filter(|(_, f)| f.severity == Severity::Error).count();
        if self.errors > shown {
            let more = Finding {
                message: format!("and {} more", self.errors - shown),
                hint: Some("is it the right file?".into()),
                ..self.spare
            };
            self.found.push((usize::MAX, more));
        }
        Report {
            path: path.into(),
            findings: self.found.into_iter().map(|(_, f)| f).collect(),
        }
    }
}

impl Finding {
    /// Says what to do.
    pub(super) fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(printable(&hint.into()));
    }
}

/// What stands in a file is repeated in messages, and must not steer the terminal or break the line.
fn printable(text: &str) -> String {
    let clean = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(clean).collect()
}

/// Reads a text file of bounded length.
pub(super) fn read(path: &Path) -> Result<String, Report> {
    let fail = |e: std::io::Error| {
        Report::unreadable(
            path,
            format!("cannot be read: {e}"),
            "write a first one with `l2vpn init`",
        )
    };
    let file = std::fs::File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        let message = format!("is longer than {MAX_FILE_LEN} bytes");
        return Err(Report::unreadable(path, message, "is it the right file?"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(e.as_bytes().get(..valid).unwrap_or_default());
        let (line, column) = Findings::new(&text).line_and_column(valid);
        let message = format!("is not UTF-8 text from line {line}, column {column} on");
        Report::unreadable(path, message, "save it as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_and_in_characters() {
        let text = "a\nüb = 1\n";
        let at = |offset| Findings::new(text).line_and_column(offset);
        assert_eq!((at(0), at(2), at(4)), ((1, 1), (2, 1), (2, 2)));
        assert_eq!(at(999), (3, 1));
    }
}
