//! The outer format's kind 13: a datagram by which a relay sees a member from another port of its own.
//!
//! `kind 13 · zeros 3 · cookie 16`. The relay has given the cookie to the member inside their session and answers there. A NAT
//! that maps by address and port shows another port to this one than to the first (RFC 4787 section 4.1); one that maps by
//! address alone shows the same.

/// First byte of such a datagram.
pub const KIND_LOOK: u8 = 13;
/// Its length.
pub const LOOK_LEN: usize = 20;

/// What the relay knows a member by.
pub type Cookie = [u8; 16];

/// The datagram with a cookie.
///
/// # Examples
/// ```
/// use l2vpn::wire::vantage;
///
/// let bytes = vantage::write([7; 16]);
/// assert_eq!(vantage::read(&bytes), Some([7; 16]));
/// assert_eq!(vantage::read(&bytes[1..]), None);
/// ```
pub fn write(cookie: Cookie) -> [u8; LOOK_LEN] {
    let mut out = [0; LOOK_LEN];
    let (head, body) = out.split_at_mut(4);
    head.copy_from_slice(&[KIND_LOOK, 0, 0, 0]);
    body.copy_from_slice(&cookie);
    out
}

/// The cookie in a datagram, if it is one of these.
pub fn read(bytes: &[u8]) -> Option<Cookie> {
    match bytes.split_first_chunk::<4>()? {
        ([KIND_LOOK, 0, 0, 0], cookie) => cookie.try_into().ok(),
        _ => None,
    }
}
