//! Signed things as text: a line that says what it is, then base64 in lines of 64 characters.

use base64ct::{Base64, Encoding};

/// What the text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armor {
    /// A member's record.
    Record,
    /// Who is revoked.
    Revocations,
    /// What another key may sign.
    Delegation,
}

const COLUMNS: usize = 64;

impl Armor {
    const fn first_line(self) -> &'static str {
        match self {
            Armor::Record => "l2vpn-record 1",
            Armor::Revocations => "l2vpn-revocations 1",
            Armor::Delegation => "l2vpn-delegation 1",
        }
    }

    /// The text of some bytes, with a line end at its end.
    pub fn to_text(self, bytes: &[u8]) -> String {
        let mut text = self.first_line().to_string();
        text.push('\n');
        let base64 = Base64::encode_string(bytes);
        for (n, letter) in base64.chars().enumerate() {
            if n > 0 && n % COLUMNS == 0 {
                text.push('\n');
            }
            text.push(letter);
        }
        text.push('\n');
        text
    }

    /// The bytes of a text; `None` when it is not exactly what [`Armor::to_text`] writes.
    pub fn from_text(self, text: &str) -> Option<Vec<u8>> {
        let body = text.strip_prefix(self.first_line())?.strip_prefix('\n')?;
        let base64: String = body.split('\n').collect();
        let bytes = Base64::decode_vec(&base64).ok()?;
        (self.to_text(&bytes) == text).then_some(bytes)
    }
}

impl Armor {
    /// The bytes of each of several texts, one behind the other; `None` when one of them is not right.
    pub fn all_from_text(self, text: &str) -> Option<Vec<Vec<u8>>> {
        let first = format!("{}\n", self.first_line());
        let mut bodies = text.split(&first);
        // What stands before the first one is nothing.
        if !bodies.next()?.is_empty() {
            return None;
        }
        bodies
            .map(|body| self.from_text(&format!("{first}{body}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_form_and_one_kind() {
        for len in [0, 1, 47, 48, 49, 96, 1024] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let text = Armor::Record.to_text(&bytes);
            assert_eq!(Armor::Record.from_text(&text), Some(bytes.clone()), "{len}");
            assert_eq!(Armor::Record.all_from_text(&text), Some(vec![bytes]));
            assert_eq!(Armor::Revocations.from_text(&text), None);
            let twice = Armor::Record.all_from_text(&text.repeat(2)).unwrap();
            assert!(twice.len() == 2 && twice[0] == twice[1]);
            assert_eq!(Armor::Record.all_from_text(&format!("x{text}")), None);
            assert!(text.lines().all(|line| line.len() <= COLUMNS));
            for other in [
                format!("{text}\n"),
                format!(" {text}"),
                text.replace('\n', "\r\n"),
            ] {
                assert_eq!(Armor::Record.from_text(&other), None);
            }
        }
    }
}
