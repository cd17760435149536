//! What an authority signs, as bytes: one form for each content, then the signature, and nothing that could be read in two ways.

use super::cursor::Cursor;
use super::record::{NoRecord, SIGNATURE_LEN};

/// Something that is signed.
pub(super) trait Signed: Sized {
    /// The version of its form: the first byte.
    const VERSION: u8;
    /// Bytes of the longest one, with its signature.
    const MOST: usize;

    /// Reads the fields, whatever they say.
    fn read(cursor: &mut Cursor<'_>) -> Option<Self>;

    /// Writes the one form that its content has.
    fn form(&self) -> Result<Vec<u8>, NoRecord>;
}

/// Reads one at the beginning of some bytes, with its signature; gives what follows.
pub(super) fn front<T: Signed>(bytes: &[u8]) -> Result<(T, [u8; SIGNATURE_LEN], &[u8]), NoRecord> {
    if bytes.first().is_some_and(|version| *version != T::VERSION) {
        return Err(NoRecord::Version);
    }
    let mut cursor = Cursor(bytes);
    let read = T::read(&mut cursor).ok_or(NoRecord::Length)?;
    let signed = bytes.get(..bytes.len() - cursor.0.len());
    let signature = cursor.array().ok_or(NoRecord::Length)?;
    // The one form, whatever the reader has missed.
    match read.form() {
        Ok(again) if Some(&again[..]) == signed => Ok((read, signature, cursor.0)),
        _ => Err(NoRecord::Form),
    }
}

/// Reads one that is all of some bytes.
pub(super) fn whole<T: Signed>(bytes: &[u8]) -> Result<(T, [u8; SIGNATURE_LEN]), NoRecord> {
    if bytes.len() > T::MOST {
        return Err(NoRecord::TooLong);
    }
    match front(bytes)? {
        (read, signature, []) => Ok((read, signature)),
        _ => Err(NoRecord::Length),
    }
}
