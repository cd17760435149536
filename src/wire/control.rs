//! Control messages: elements that members exchange inside a session.
//!
//! Body of inner type 5: `version 1` and then elements of `type 1 · length 2 · value`. An element of an unknown type is
//! skipped and counted, so that later versions can add some.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::advert::{Advert, Receipt};
use super::asking::{INVITE_LEN, MAX_ANSWER, MAX_ASK};
use super::cursor::Cursor;
use super::record::MAX_RECORD_LEN;
use super::relayed::Channel;
use super::segment::SegmentId;
use super::vantage::Cookie;
use crate::drops::DropReason;

/// The version of this message.
pub const CONTROL_VERSION: u8 = 1;
/// The most segments that one announcement names.
pub const MAX_SEGMENTS: usize = 64;
/// The most bytes of payload in an echo.
pub const MAX_ECHO: usize = 1024;

const PATH_CHALLENGE: u8 = 1;
const PATH_RESPONSE: u8 = 2;
const ECHO_REQUEST: u8 = 3;
const ECHO_REPLY: u8 = 4;
const RECEIVED: u8 = 5;
const ADVERT: u8 = 6;
const RECEIPT: u8 = 7;
const OPEN: u8 = 8;
const CHANNEL: u8 = 9;
const OBSERVED: u8 = 10;
const CANDIDATES: u8 = 11;
const PADDING: u8 = 12;
const BINDING: u8 = 13;
const MOVED: u8 = 14;
const THROTTLED: u8 = 15;
const LOOK: u8 = 16;
const SEEN: u8 = 17;
const GUESSES: u8 = 18;
const SCATTER: u8 = 19;
const EPOCH: u8 = 20;
const WANTED: u8 = 21;
const PART: u8 = 22;
const MEMBER: u8 = 23;
const ASK: u8 = 24;
const ANSWER: u8 = 25;
const LABEL: u8 = 26;
const TOLD: u8 = 27;
const HEARD: u8 = 28;
const EXPECTED: u8 = 29;

/// One element of a control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// "Answer this from the address that you got it at", RFC 9000 section 8.2 in spirit.
    PathChallenge([u8; 8]),
    /// The answer.
    PathResponse([u8; 8]),
    /// `l2vpn ping`: an identifier and bytes to be returned.
    EchoRequest(u32, &'a [u8]),
    /// The answer, with the same identifier and bytes.
    EchoReply(u32, &'a [u8]),
    /// What came of the session with this receiver index: one more than the highest counter, and how many packets.
    Received(Received),
    /// A part of what the sender tells of the hosts behind its ports.
    Advert(Advert<'a>),
    /// How far the sender has read of that.
    Receipt(Receipt),
    /// To a relay: a channel to the member with this public key is wanted; to oneself, [`Element::Observed`] is.
    Open([u8; 32]),
    /// To a relay: what mac1 of handshakes to the sender is derived from, before its key.
    Label([u8; 32]),
    /// From a relay: the channel to the member with this public key; `None` when there is none, because it is not there.
    Channel([u8; 32], Option<Channel>),
    /// From a relay: the address that it sees the receiver at.
    Observed(SocketAddr),
    /// Addresses at which the sender may be reached without a relay.
    Candidates(Addresses<'a>),
    /// Bytes without a meaning, to make a message as long as a path is to be tried with (RFC 8899).
    Padding,
    /// What the sender knows the carrier's connection by (RFC 8446 section 7.5): both ends know the same.
    Binding([u8; 16]),
    /// Through a relay: the sender is somewhere else, the direct way leads to where it was.
    Moved,
    /// From a relay: so many datagrams of the receiver were more than it may carry, in all.
    Throttled(u64),
    /// From a relay: this cookie is to be sent to that port of its own ([`super::vantage`]).
    Look(u16, Cookie),
    /// From a relay: the address that the cookie came from.
    Seen(SocketAddr),
    /// Addresses that the sender's NAT may give it next.
    Guesses(Guesses),
    /// The sender knows this list of revocations.
    Epoch(ListName),
    /// It wants that one, from so many bytes on.
    Wanted(ListName, u32),
    /// A part of one.
    Part(Part<'a>),
    /// To an admin: a record is wanted ([`super::asking`]).
    Ask(&'a [u8]),
    /// From an admin: what became of that.
    Answer(&'a [u8]),
    /// There is another member: its record with its signature, where it is seen, and its place among those that are told together.
    Member(&'a [u8], Option<SocketAddr>, InBatch),
    /// To a relay of the network: who shows one of these invitations is to be brought to the sender. Their names, one behind the other.
    Expected(&'a [u8]),
    /// All of that batch was told.
    Told(u32),
    /// And these of it came, the first one in the lowest bit.
    Heard(u32, u64),
    /// With port 0: the sender would open many ports of that address, for the receiver to find one. With another: it is willing,
    /// and asks from there.
    Scatter(SocketAddr),
}

/// Where something stands among others that are told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InBatch {
    /// Which batch, drawn by dice; 0 for what is told alone.
    pub batch: u32,
    /// Its place in it, less than [`InBatch::MOST`].
    pub index: u8,
}

impl InBatch {
    /// The most in one batch.
    pub const MOST: usize = 64;
    /// What is told alone.
    pub const NONE: InBatch = InBatch { batch: 0, index: 0 };
}

/// Which list of revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListName {
    /// The authority that has signed it.
    pub issuer: [u8; 32],
    /// Its epoch.
    pub epoch: u64,
}

impl ListName {
    const LEN: usize = 40;

    fn to_bytes(self) -> [u8; ListName::LEN] {
        let mut out = [0; ListName::LEN];
        let (issuer, epoch) = out.split_at_mut(32);
        issuer.copy_from_slice(&self.issuer);
        epoch.copy_from_slice(&self.epoch.to_le_bytes());
        out
    }

    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(ListName {
            issuer: cursor.array()?,
            epoch: cursor.u64()?,
        })
    }
}

/// A part of a list of revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Of which list.
    pub list: ListName,
    /// Bytes of the whole list.
    pub total: u32,
    /// Where it begins.
    pub offset: u32,
    /// Its bytes, at most [`Part::MOST`].
    pub bytes: &'a [u8],
}

impl<'a> Part<'a> {
    /// The most bytes of one.
    pub const MOST: usize = 1000;

    fn read(value: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(value);
        let part = Part {
            list: ListName::read(&mut cursor)?,
            total: cursor.u32()?,
            offset: cursor.u32()?,
            bytes: cursor.0,
        };
        (part.bytes.len() <= Part::MOST).then_some(part)
    }
}

/// Ports of one address, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guesses {
    /// The first.
    pub first: SocketAddr,
    /// From one port to the next.
    pub step: i8,
    /// How many, at most [`Guesses::MOST`].
    pub count: u8,
}

impl Guesses {
    /// The most of them.
    pub const MOST: u8 = 20;
    const LEN: usize = ADDRESS_LEN + 2;

    fn to_bytes(self) -> [u8; Guesses::LEN] {
        let mut out = [0; Guesses::LEN];
        let (address, rest) = out.split_at_mut(ADDRESS_LEN);
        address.copy_from_slice(&address_bytes(self.first));
        rest.copy_from_slice(&[self.step.to_le_bytes()[0], self.count]);
        out
    }

    fn read(value: &[u8]) -> Option<Guesses> {
        let (address, rest) = value.split_first_chunk::<ADDRESS_LEN>()?;
        let [step, count] = rest.try_into().ok()?;
        let is_one = count <= Guesses::MOST && step != 0;
        is_one.then_some(Guesses {
            first: read_address(address),
            step: i8::from_le_bytes([step]),
            count,
        })
    }

    /// Each of them; none below port 1 or above 65535.
    pub fn iter(self) -> impl Iterator<Item = SocketAddr> {
        let port = move |n: u8| {
            let away = i16::from(self.step) * i16::from(n);
            self.first.port().checked_add_signed(away)
        };
        let ports = (0..self.count).map_while(port).filter(|p| *p > 0);
        ports.map(move |port| SocketAddr::new(self.first.ip(), port))
    }
}

/// The most addresses that one message names.
pub const MAX_CANDIDATES: usize = 8;
/// Bytes of an address: 16 of IPv6, or of an IPv4 address mapped into that, and 2 of port.
const ADDRESS_LEN: usize = 18;

/// Some addresses as they lie in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses<'a>(&'a [u8]);

impl<'a> Addresses<'a> {
    /// From bytes that [`address_bytes`] made.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let count = bytes.len() / ADDRESS_LEN;
        let is_whole = bytes.len().is_multiple_of(ADDRESS_LEN);
        (is_whole && count <= MAX_CANDIDATES).then_some(Addresses(bytes))
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = SocketAddr> + 'a {
        let (chunks, _) = self.0.as_chunks::<ADDRESS_LEN>();
        chunks.iter().map(read_address)
    }
}

/// An address as it stands in a message.
pub fn address_bytes(address: SocketAddr) -> [u8; ADDRESS_LEN] {
    let mut out = [0u8; ADDRESS_LEN];
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let (head, port) = out.split_at_mut(16);
    head.copy_from_slice(&ip.octets());
    port.copy_from_slice(&address.port().to_le_bytes());
    out
}

fn read_address(bytes: &[u8; ADDRESS_LEN]) -> SocketAddr {
    let [ip @ .., low, high] = bytes;
    let ip = IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical();
    SocketAddr::new(ip, u16::from_le_bytes([*low, *high]))
}

/// How much of a session's packets has come; the difference of two tells the loss between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The receiver index that the packets named.
    pub index: u32,
    /// One more than the highest counter.
    pub next: u64,
    /// How many packets were authentic and new.
    pub count: u64,
}

impl Received {
    const LEN: usize = 20;

    fn to_bytes(self) -> [u8; Received::LEN] {
        let mut out = [0u8; Received::LEN];
        let (index, rest) = out.split_at_mut(4);
        let (next, count) = rest.split_at_mut(8);
        index.copy_from_slice(&self.index.to_le_bytes());
        next.copy_from_slice(&self.next.to_le_bytes());
        count.copy_from_slice(&self.count.to_le_bytes());
        out
    }

    fn read(value: &[u8]) -> Option<Received> {
        let mut cursor = Cursor(value);
        let received = Received {
            index: cursor.u32()?,
            next: cursor.u64()?,
            count: cursor.u64()?,
        };
        cursor.0.is_empty().then_some(received)
    }
}

/// Bytes of a message with a question whether somebody is there: an answer and a question back fit in as many. Whoever sends less
/// than that is not asked, and nobody sends less who shall be.
pub const QUESTION_LEN: usize = 23;

/// Writes a control message of one element behind an inner header, of [`QUESTION_LEN`] bytes or more.
pub fn write(element: Element<'_>) -> Vec<u8> {
    write_padded(element, QUESTION_LEN)
}

/// The same, as short as it may be.
pub fn write_bare(element: Element<'_>) -> Vec<u8> {
    let mut out = vec![CONTROL_VERSION];
    append(&mut out, element);
    out
}

/// Whether a message holds a question that is answered where it came from.
pub fn asks(body: &[u8]) -> bool {
    let is_question = |e| matches!(e, Ok(Element::PathChallenge(_)));
    read(body).is_ok_and(|mut elements| elements.any(is_question))
}

/// Adds an element to a message.
pub fn append(out: &mut Vec<u8>, element: Element<'_>) {
    let mut put = |kind: u8, value: &[&[u8]]| {
        let len: usize = value.iter().map(|v| v.len()).sum();
        out.push(kind);
        out.extend_from_slice(&u16::try_from(len).unwrap_or(0).to_le_bytes());
        for part in value {
            out.extend_from_slice(part);
        }
    };
    match element {
        Element::PathChallenge(token) => put(PATH_CHALLENGE, &[&token]),
        Element::PathResponse(token) => put(PATH_RESPONSE, &[&token]),
        Element::EchoRequest(id, bytes) => put(ECHO_REQUEST, &[&id.to_le_bytes(), clip(bytes)]),
        Element::EchoReply(id, bytes) => put(ECHO_REPLY, &[&id.to_le_bytes(), clip(bytes)]),
        Element::Received(received) => put(RECEIVED, &[&received.to_bytes()]),
        Element::Advert(advert) => put(ADVERT, &[&advert.parts(), advert.bytes()]),
        Element::Receipt(receipt) => put(RECEIPT, &[&receipt.to_bytes()]),
        Element::Open(key) => put(OPEN, &[&key]),
        Element::Label(label) => put(LABEL, &[&label]),
        Element::Channel(key, channel) => {
            let number = channel.map_or(0, Channel::get);
            put(CHANNEL, &[&key, &number.to_le_bytes()]);
        }
        Element::Observed(address) => put(OBSERVED, &[&address_bytes(address)]),
        Element::Candidates(addresses) => put(CANDIDATES, &[addresses.0]),
        Element::Padding => put(PADDING, &[]),
        Element::Moved => put(MOVED, &[]),
        Element::Throttled(over) => put(THROTTLED, &[&over.to_le_bytes()]),
        Element::Binding(binding) => put(BINDING, &[&binding]),
        Element::Look(port, cookie) => put(LOOK, &[&port.to_le_bytes(), &cookie]),
        Element::Seen(address) => put(SEEN, &[&address_bytes(address)]),
        Element::Scatter(address) => put(SCATTER, &[&address_bytes(address)]),
        Element::Member(record, seen, place) => {
            let seen = seen.map_or([0; ADDRESS_LEN], address_bytes);
            put(
                MEMBER,
                &[&seen, &place.batch.to_le_bytes(), &[place.index], record],
            );
        }
        Element::Expected(names) => put(EXPECTED, &[names]),
        Element::Told(batch) => put(TOLD, &[&batch.to_le_bytes()]),
        Element::Heard(batch, which) => {
            put(HEARD, &[&batch.to_le_bytes(), &which.to_le_bytes()]);
        }
        Element::Epoch(list) => put(EPOCH, &[&list.to_bytes()]),
        Element::Wanted(list, from) => put(WANTED, &[&list.to_bytes(), &from.to_le_bytes()]),
        Element::Ask(bytes) => put(ASK, &[bytes]),
        Element::Answer(bytes) => put(ANSWER, &[bytes]),
        Element::Part(part) => {
            let (total, offset) = (part.total.to_le_bytes(), part.offset.to_le_bytes());
            put(PART, &[&part.list.to_bytes(), &total, &offset, part.bytes]);
        }
        Element::Guesses(guesses) => put(GUESSES, &[&guesses.to_bytes()]),
    }
}

/// Writes a control message of one element that is `len` bytes long; longer where the element is.
pub fn write_padded(element: Element<'_>, len: usize) -> Vec<u8> {
    let mut out = write_bare(element);
    pad(&mut out, len);
    out
}

/// Makes a message `len` bytes long, unless it is longer, or too little is missing.
pub fn pad(out: &mut Vec<u8>, len: usize) {
    let rest = len.saturating_sub(out.len() + 3);
    if out.len() + 3 <= len
        && let Ok(rest) = u16::try_from(rest)
    {
        out.push(PADDING);
        out.extend_from_slice(&rest.to_le_bytes());
        out.resize(len, 0);
    }
}

fn clip(bytes: &[u8]) -> &[u8] {
    bytes.get(..MAX_ECHO).unwrap_or(bytes)
}

/// The elements of a control message, each parsed or named as a drop.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a>(Cursor<'a>);

/// Opens a control message.
///
/// # Errors
/// [`DropReason::UnknownControl`] for another version, [`DropReason::MalformedInner`] for an empty one.
pub fn read(body: &[u8]) -> Result<Elements<'_>, DropReason> {
    let mut cursor = Cursor(body);
    match cursor.u8() {
        None => Err(DropReason::MalformedInner),
        Some(CONTROL_VERSION) => Ok(Elements(cursor)),
        Some(_) => Err(DropReason::UnknownControl),
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() {
            return None;
        }
        let Some((kind, value)) = tlv(&mut self.0) else {
            self.0 = Cursor(&[]);
            return Some(Err(DropReason::MalformedInner));
        };
        Some(element(kind, value))
    }
}

/// Reads one `type 1 · length 2 · value`.
pub(super) fn tlv<'a>(cursor: &mut Cursor<'a>) -> Option<(u8, &'a [u8])> {
    let kind = cursor.u8()?;
    let len = cursor.u16()?;
    Some((kind, cursor.take(usize::from(len))?))
}

fn element(kind: u8, value: &[u8]) -> Result<Element<'_>, DropReason> {
    let token = || <[u8; 8]>::try_from(value).map_err(|_| DropReason::MalformedInner);
    let echo = || {
        let (id, bytes) = value
            .split_first_chunk::<4>()
            .ok_or(DropReason::MalformedInner)?;
        if bytes.len() > MAX_ECHO {
            return Err(DropReason::MalformedInner);
        }
        Ok((u32::from_le_bytes(*id), bytes))
    };
    match kind {
        PATH_CHALLENGE => token().map(Element::PathChallenge),
        PATH_RESPONSE => token().map(Element::PathResponse),
        ECHO_REQUEST => echo().map(|(id, b)| Element::EchoRequest(id, b)),
        ECHO_REPLY => echo().map(|(id, b)| Element::EchoReply(id, b)),
        RECEIVED => Received::read(value)
            .map(Element::Received)
            .ok_or(DropReason::MalformedInner),
        ADVERT => Advert::read(value)
            .map(Element::Advert)
            .ok_or(DropReason::MalformedInner),
        RECEIPT => Receipt::read(value)
            .map(Element::Receipt)
            .ok_or(DropReason::MalformedInner),
        OPEN => <[u8; 32]>::try_from(value)
            .map(Element::Open)
            .map_err(|_| DropReason::MalformedInner),
        TOLD => <[u8; 4]>::try_from(value)
            .map(|batch| Element::Told(u32::from_le_bytes(batch)))
            .map_err(|_| DropReason::MalformedInner),
        EXPECTED if value.len().is_multiple_of(INVITE_LEN) => Ok(Element::Expected(value)),
        EXPECTED => Err(DropReason::MalformedInner),
        HEARD => heard(value).ok_or(DropReason::MalformedInner),
        LABEL => <[u8; 32]>::try_from(value)
            .map(Element::Label)
            .map_err(|_| DropReason::MalformedInner),
        CHANNEL => channel(value).ok_or(DropReason::MalformedInner),
        OBSERVED => address(value).map(Element::Observed),
        SEEN => address(value).map(Element::Seen),
        SCATTER => address(value).map(Element::Scatter),
        LOOK => match value.split_first_chunk::<2>() {
            Some((port, cookie)) => Cookie::try_from(cookie)
                .map(|cookie| Element::Look(u16::from_le_bytes(*port), cookie))
                .map_err(|_| DropReason::MalformedInner),
            None => Err(DropReason::MalformedInner),
        },
        GUESSES => Guesses::read(value)
            .map(Element::Guesses)
            .ok_or(DropReason::MalformedInner),
        CANDIDATES => Addresses::new(value)
            .map(Element::Candidates)
            .ok_or(DropReason::MalformedInner),
        EPOCH => epoch(value).ok_or(DropReason::MalformedInner),
        WANTED => wanted(value).ok_or(DropReason::MalformedInner),
        PART => Part::read(value)
            .map(Element::Part)
            .ok_or(DropReason::MalformedInner),
        MEMBER => member(value).ok_or(DropReason::MalformedInner),
        ASK if value.len() <= MAX_ASK => Ok(Element::Ask(value)),
        ANSWER if value.len() <= MAX_ANSWER => Ok(Element::Answer(value)),
        ASK | ANSWER => Err(DropReason::MalformedInner),
        PADDING => Ok(Element::Padding),
        MOVED => Ok(Element::Moved),
        THROTTLED => <[u8; 8]>::try_from(value)
            .map(|over| Element::Throttled(u64::from_le_bytes(over)))
            .map_err(|_| DropReason::MalformedInner),
        BINDING => <[u8; 16]>::try_from(value)
            .map(Element::Binding)
            .map_err(|_| DropReason::MalformedInner),
        _ => Err(DropReason::UnknownControl),
    }
}

fn address(value: &[u8]) -> Result<SocketAddr, DropReason> {
    <[u8; ADDRESS_LEN]>::try_from(value)
        .map(|bytes| read_address(&bytes))
        .map_err(|_| DropReason::MalformedInner)
}

fn member(value: &[u8]) -> Option<Element<'_>> {
    let (seen, rest) = value.split_first_chunk::<ADDRESS_LEN>()?;
    let (batch, rest) = rest.split_first_chunk()?;
    let (index, record) = rest.split_first()?;
    let seen = (*seen != [0; ADDRESS_LEN]).then(|| read_address(seen));
    let place = InBatch {
        batch: u32::from_le_bytes(*batch),
        index: *index,
    };
    let is_one = record.len() <= MAX_RECORD_LEN && usize::from(*index) < InBatch::MOST;
    is_one.then_some(Element::Member(record, seen, place))
}

fn heard(value: &[u8]) -> Option<Element<'_>> {
    let mut cursor = Cursor(value);
    let (batch, which) = (cursor.u32()?, cursor.u64()?);
    cursor.0.is_empty().then_some(Element::Heard(batch, which))
}

fn wanted(value: &[u8]) -> Option<Element<'_>> {
    let mut cursor = Cursor(value);
    let (list, from) = (ListName::read(&mut cursor)?, cursor.u32()?);
    let is_whole = cursor.0.is_empty();
    is_whole.then_some(Element::Wanted(list, from))
}

fn epoch(value: &[u8]) -> Option<Element<'_>> {
    let mut cursor = Cursor(value);
    let list = ListName::read(&mut cursor)?;
    cursor.0.is_empty().then_some(Element::Epoch(list))
}

fn channel(value: &[u8]) -> Option<Element<'_>> {
    let mut cursor = Cursor(value);
    let (key, number) = (cursor.array()?, cursor.u32()?);
    let is_whole = cursor.0.is_empty();
    is_whole.then_some(Element::Channel(key, Channel::new(number)))
}

/// Writes segment numbers, three bytes each, at most [`MAX_SEGMENTS`].
pub(super) fn write_segments(segments: &[SegmentId], out: &mut Vec<u8>) {
    for segment in segments.iter().take(MAX_SEGMENTS) {
        out.extend_from_slice(&segment.to_bytes());
    }
}

/// Reads segment numbers; `None` when the length is odd or a number is 0.
pub(super) fn read_segments(value: &[u8]) -> Option<Vec<SegmentId>> {
    let (chunks, rest) = value.as_chunks::<3>();
    if !rest.is_empty() || chunks.len() > MAX_SEGMENTS {
        return None;
    }
    chunks.iter().map(|c| SegmentId::from_bytes(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_round_trip() {
        let both = [
            "192.0.2.1:7656".parse().unwrap(),
            "[2001:db8::1]:9".parse().unwrap(),
        ];
        let some = both.map(address_bytes).concat();
        assert!(Addresses::new(&some).unwrap().iter().eq(both));
        assert!(Addresses::new(&some[1..]).is_none() && Addresses::new(&[0; 18 * 9]).is_none());
        for element in [
            Element::PathChallenge([3; 8]),
            Element::PathResponse([4; 8]),
            Element::Epoch(ListName {
                issuer: [6; 32],
                epoch: 7,
            }),
            Element::Member(b"a record", None, InBatch::NONE),
            Element::Member(
                b"a record",
                Some(both[1]),
                InBatch {
                    batch: 3,
                    index: 63,
                },
            ),
            Element::Wanted(
                ListName {
                    issuer: [6; 32],
                    epoch: 8,
                },
                9,
            ),
            Element::Ask(&[1, 2]),
            Element::Answer(&[2, 1]),
            Element::Part(Part {
                list: ListName {
                    issuer: [6; 32],
                    epoch: 8,
                },
                total: 2000,
                offset: 1000,
                bytes: b"revoked",
            }),
            Element::EchoRequest(9, b"hello"),
            Element::EchoReply(u32::MAX, b""),
            Element::Received(Received {
                index: 7,
                next: u64::MAX,
                count: 8,
            }),
            Element::Advert(Advert::new((1, 2, 3), b"items")),
            Element::Receipt(Receipt {
                journal: 4,
                epoch: 5,
                knows: 7,
                upto: 6,
            }),
            Element::Open([5; 32]),
            Element::Label([6; 32]),
            Element::Expected(&[1; 16]),
            Element::Told(7),
            Element::Heard(7, u64::MAX - 1),
            Element::Channel([6; 32], Channel::new(7)),
            Element::Channel([6; 32], None),
            Element::Observed(([192, 0, 2, 1], 7656).into()),
            Element::Candidates(Addresses::new(&some).unwrap()),
            Element::Padding,
            Element::Binding([9; 16]),
            Element::Moved,
            Element::Throttled(1 << 40),
            Element::Look(7657, [8; 16]),
            Element::Seen(both[1]),
            Element::Scatter(([192, 0, 2, 1], 0).into()),
            Element::Guesses(Guesses {
                first: both[0],
                step: -1,
                count: 20,
            }),
        ] {
            let bytes = write_bare(element);
            let all: Vec<_> = read(&bytes).unwrap().collect();
            assert_eq!(all, [Ok(element)]);
        }
    }

    #[test]
    fn guesses_stay_within_the_ports_that_there_are() {
        let guesses = |port: u16, step, count| {
            let first = ([192, 0, 2, 1], port).into();
            let all = Guesses { first, step, count };
            all.iter().map(|a| a.port()).collect::<Vec<_>>()
        };
        assert_eq!(guesses(30_000, 1, 3), [30_000, 30_001, 30_002]);
        assert_eq!(guesses(3, -1, 20), [3, 2, 1]);
        assert_eq!(guesses(65_534, 1, 20), [65_534, 65_535]);
        let many = Guesses {
            first: ([192, 0, 2, 1], 1).into(),
            step: 1,
            count: Guesses::MOST + 1,
        };
        assert_eq!(Guesses::read(&many.to_bytes()), None);
    }

    #[test]
    fn an_answer_and_a_question_back_are_no_longer_than_a_question() {
        let question = write(Element::PathChallenge([7; 8]));
        let mut answer = write_bare(Element::PathResponse([7; 8]));
        append(&mut answer, Element::PathChallenge([8; 8]));
        pad(&mut answer, QUESTION_LEN);
        assert_eq!((question.len(), answer.len()), (QUESTION_LEN, QUESTION_LEN));
        assert!(asks(&question) && asks(&answer) && !asks(&write(Element::Moved)));
        assert_eq!(write(Element::Moved).len(), QUESTION_LEN);
    }

    #[test]
    fn messages_are_padded_to_the_byte() {
        let challenge = Element::PathChallenge([7; 8]);
        for len in [15, 16, 1200, 60_000] {
            let bytes = write_padded(challenge, len);
            assert_eq!(bytes.len(), len);
            let all: Vec<_> = read(&bytes).unwrap().collect();
            assert_eq!(all, [Ok(challenge), Ok(Element::Padding)]);
        }
        assert_eq!(write_padded(challenge, 5), write_bare(challenge));
    }

    #[test]
    fn unknown_elements_are_skipped_and_broken_ones_end_the_message() {
        let mut bytes = vec![CONTROL_VERSION, 200, 2, 0, 1, 1];
        bytes.extend_from_slice(&write_bare(Element::PathChallenge([1; 8]))[1..]);
        bytes.extend_from_slice(&[3, 255, 255, 0]);
        let all: Vec<_> = read(&bytes).unwrap().collect();
        assert_eq!(
            all,
            [
                Err(DropReason::UnknownControl),
                Ok(Element::PathChallenge([1; 8])),
                Err(DropReason::MalformedInner),
            ]
        );
        assert!(read(&[]).is_err() && read(&[2]).is_err());
    }
}
