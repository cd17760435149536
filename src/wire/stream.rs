//! Datagrams in a stream of bytes: each behind two bytes of length, little-endian.

/// Bytes before each datagram.
const LENGTH_LEN: usize = 2;

/// A length that none has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// A datagram, and what is behind it.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// Puts a datagram behind what is there; one that is longer than its length can say is left out.
///
/// # Examples
/// ```
/// use l2vpn::wire::stream;
///
/// let mut bytes = Vec::new();
/// stream::put(&mut bytes, b"one");
/// stream::put(&mut bytes, b"another");
/// let (first, rest) = stream::take(&bytes, 1500).unwrap().unwrap();
/// assert_eq!(first, b"one");
/// // What has not come whole waits.
/// assert_eq!(stream::take(&rest[..5], 1500), Ok(None));
/// ```
pub fn put(into: &mut Vec<u8>, datagram: &[u8]) {
    if let Ok(len) = u16::try_from(datagram.len()) {
        into.extend_from_slice(&len.to_le_bytes());
        into.extend_from_slice(datagram);
    }
}

/// The first datagram and what is behind it; `None` while it has not come whole.
///
/// # Errors
/// [`TooLong`] when it says that it is longer than `most`: the stream is of no use any more.
pub fn take(bytes: &[u8], most: usize) -> Result<Option<Split<'_>>, TooLong> {
    let Some((len, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_le_bytes(*len));
    match len > most {
        true => Err(TooLong),
        false => Ok(rest.split_at_checked(len)),
    }
}
