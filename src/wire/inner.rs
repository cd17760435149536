//! The inner format: the plaintext of a data packet.
//!
//! `type 1 · segment 3 · body`. Types: 0 padding (a keepalive) · 1 frame · 2 piece of a super-frame (see [`super::piece`];
//! its datagram's header tells it, so it never comes here) · 3 fragment · 4 bundle · 5 control · 6 close. Types that this
//! version does not know are counted and skipped.

use super::bundle::Entries;
use super::fragment::Fragment;
use super::segment::SegmentId;
use crate::drops::DropReason;

/// Bytes of type and segment.
pub const INNER_HEADER_LEN: usize = 4;
/// Type of a keepalive.
pub const TYPE_PADDING: u8 = 0;
/// Type of a whole Ethernet frame.
pub const TYPE_FRAME: u8 = 1;
/// Type of a piece of a super-frame.
pub const TYPE_PIECE: u8 = 2;
/// Type of a fragment of a frame.
pub const TYPE_FRAGMENT: u8 = 3;
/// Type of several small frames.
pub const TYPE_BUNDLE: u8 = 4;
/// Type of a control message.
pub const TYPE_CONTROL: u8 = 5;
/// Type of a goodbye.
pub const TYPE_CLOSE: u8 = 6;

/// One message inside a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner<'a> {
    /// Nothing but a sign of life.
    Padding,
    /// An Ethernet frame of a segment.
    Frame(SegmentId, &'a [u8]),
    /// A piece of an Ethernet frame.
    Fragment(SegmentId, Fragment<'a>),
    /// Several small frames of a segment.
    Bundle(SegmentId, Entries<'a>),
    /// Control elements, see [`super::control`].
    Control(&'a [u8]),
    /// The peer ends this session.
    Close,
}

/// The header of a message that belongs to a segment.
pub const fn header(kind: u8, segment: SegmentId) -> [u8; INNER_HEADER_LEN] {
    let [a, b, c] = segment.to_bytes();
    [kind, a, b, c]
}

/// The header of a message that belongs to no segment.
pub const fn bare_header(kind: u8) -> [u8; INNER_HEADER_LEN] {
    [kind, 0, 0, 0]
}

impl<'a> Inner<'a> {
    /// Reads an authenticated plaintext.
    ///
    /// # Errors
    /// [`DropReason::UnknownInner`] for a type of a later version, [`DropReason::MalformedInner`] for a body that does
    /// not fit its type.
    pub fn parse(plaintext: &'a [u8]) -> Result<Self, DropReason> {
        let Some(([kind, segment @ ..], body)) = plaintext.split_first_chunk::<INNER_HEADER_LEN>()
        else {
            return match plaintext {
                [] => Ok(Inner::Padding),
                _ => Err(DropReason::MalformedInner),
            };
        };
        let segment = || SegmentId::from_bytes(*segment).ok_or(DropReason::MalformedInner);
        match *kind {
            TYPE_PADDING => Ok(Inner::Padding),
            TYPE_FRAME => Ok(Inner::Frame(segment()?, body)),
            TYPE_FRAGMENT => Ok(Inner::Fragment(segment()?, Fragment::parse(body)?)),
            TYPE_BUNDLE => Ok(Inner::Bundle(segment()?, Entries::parse(body)?)),
            TYPE_CONTROL => Ok(Inner::Control(body)),
            TYPE_CLOSE => Ok(Inner::Close),
            _ => Err(DropReason::UnknownInner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_read_and_others_are_named() {
        let seven = SegmentId::new(7).unwrap();
        let mut bytes = header(TYPE_FRAME, seven).to_vec();
        bytes.extend_from_slice(b"frame");
        assert_eq!(Inner::parse(&bytes), Ok(Inner::Frame(seven, b"frame")));
        assert_eq!(Inner::parse(&[]), Ok(Inner::Padding));
        assert_eq!(Inner::parse(&[0, 0, 0, 0, 9, 9]), Ok(Inner::Padding));
        assert_eq!(Inner::parse(&bare_header(TYPE_CLOSE)), Ok(Inner::Close));
        assert_eq!(
            Inner::parse(&bare_header(TYPE_FRAME)),
            Err(DropReason::MalformedInner)
        );
        assert_eq!(Inner::parse(&[1, 1]), Err(DropReason::MalformedInner));
        for kind in [2, 7, 255] {
            assert_eq!(
                Inner::parse(&[kind, 1, 0, 0]),
                Err(DropReason::UnknownInner)
            );
        }
    }
}
