//! The headers of a super-frame, from which those of any part of it are made.
//!
//! # Why
//! Cutting a super-frame into packets, delivering the part of one that has come, and merging packets into one are the same
//! task: the headers of a range of the payload. IP length, identification and checksum, TCP sequence number and flags,
//! UDP length and the transport checksum follow from the range; everything else is copied.

use std::ops::Range;

use crate::wire::checksum;
use crate::wire::ethernet::{Frame, Parts};
use crate::wire::layers::{Ip, Layers, Transport, tcp};
use crate::wire::offload::{Checksum, Offload};

/// Headers and what they are the headers of.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// From the addresses to the transport header.
    head: &'a [u8],
    /// Bytes of it before the EtherType behind the outermost tag.
    before: usize,
    layers: Layers,
    offload: Offload,
    /// Bytes of payload in all.
    total: usize,
}

impl<'a> Template<'a> {
    /// A template of these headers for so many bytes of payload; `None` when the headers are not read.
    pub fn new(head: &'a [u8], offload: &Offload, total: usize) -> Option<Self> {
        let layers = offload.layers?;
        let before = head.len().checked_sub(layers.payload)?;
        Some(Template {
            head,
            before,
            layers,
            offload: *offload,
            total,
        })
    }

    /// Bytes of payload in each packet.
    pub fn size(&self) -> usize {
        match self.offload.segment {
            0 => self.total.max(1),
            size => usize::from(size),
        }
    }

    /// What is known of a part beside its bytes.
    pub fn offload_of(&self, range: &Range<usize>) -> Offload {
        let is_super = range.len() > self.size();
        Offload {
            segment: if is_super { self.offload.segment } else { 0 },
            checksum: Checksum::Begun,
            ecn: self.offload.ecn,
            layers: Some(Layers {
                end: self.layers.payload + range.len(),
                ..self.layers
            }),
        }
    }

    /// Appends the headers of a part. With its payload the transport checksum is complete, without it is only begun.
    pub fn write_head(&self, range: &Range<usize>, payload: Option<&[u8]>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.head);
        let Some(head) = out.get_mut(start..) else {
            return;
        };
        let (_, rest) = head.split_at_mut(self.before.min(head.len()));
        self.network(rest, range);
        self.transport(rest, range, payload);
    }

    fn network(&self, rest: &mut [u8], range: &Range<usize>) {
        let Layers {
            network, payload, ..
        } = self.layers;
        let len = payload - network + range.len();
        match self.layers.ip {
            Ip::V4 => {
                put(rest, network + 2, len);
                let number = range.start / self.size();
                let id = get(rest, network + 4).wrapping_add(number as u16);
                put(rest, network + 4, usize::from(id));
                put(rest, network + 10, 0);
                let header = rest.get(network..self.layers.segment).unwrap_or_default();
                let sum = checksum::finish(checksum::add(0, header));
                put(rest, network + 10, usize::from(sum));
            }
            Ip::V6 => put(rest, network + 4, len - 40),
        }
    }

    fn transport(&self, rest: &mut [u8], range: &Range<usize>, body: Option<&[u8]>) {
        let Layers {
            segment, payload, ..
        } = self.layers;
        let len = payload - segment + range.len();
        match self.layers.transport {
            Transport::Tcp => {
                let at = segment + 4;
                if let Some(seq) = rest.get_mut(at..).and_then(|r| r.first_chunk_mut::<4>()) {
                    let number = u32::from_be_bytes(*seq).wrapping_add(range.start as u32);
                    *seq = number.to_be_bytes();
                }
                if let Some(flags) = rest.get_mut(segment + 13) {
                    if range.end < self.total {
                        *flags &= !(tcp::FIN | tcp::PSH);
                    }
                    if range.start > 0 {
                        *flags &= !tcp::CWR;
                    }
                }
            }
            Transport::Udp => put(rest, segment + 4, len),
        }
        let at = segment + self.layers.transport.checksum_offset();
        put(rest, at, 0);
        let pseudo = self.layers.pseudo(rest, len);
        let sum = match body {
            None => checksum::fold(pseudo),
            Some(body) => {
                let header = rest.get(segment..payload).unwrap_or_default();
                // A TCP header has an even length, so the payload's words begin at its first byte.
                let sum = checksum::add(checksum::add(pseudo, header), body);
                match self.layers.transport {
                    Transport::Tcp => checksum::finish(sum),
                    Transport::Udp => checksum::finish_udp(sum),
                }
            }
        };
        put(rest, at, usize::from(sum));
    }
}

fn get(bytes: &[u8], at: usize) -> u16 {
    let pair = bytes.get(at..).and_then(|b| b.first_chunk::<2>());
    pair.map_or(0, |p| u16::from_be_bytes(*p))
}

fn put(bytes: &mut [u8], at: usize, value: usize) {
    if let Some(place) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut::<2>()) {
        *place = (value as u16).to_be_bytes();
    }
}

/// A frame taken apart: its headers in one piece, and its payload.
pub fn split<'a>(
    frame: &Parts<'a>,
    offload: &Offload,
    head: &mut Vec<u8>,
) -> Option<(usize, &'a [u8])> {
    let layers = offload.layers?;
    let (headers, payload) = frame.after_tag().split_at_checked(layers.payload)?;
    head.clear();
    head.extend_from_slice(frame.addresses());
    head.extend_from_slice(&frame.tags());
    head.extend_from_slice(headers);
    // The payload lies in one piece: behind the headers, or elsewhere.
    match (payload, frame.tail()) {
        (payload, []) => Some((head.len(), payload)),
        ([], tail) => Some((head.len(), tail)),
        _ => None,
    }
}

/// Room for putting packets together.
#[derive(Debug, Default)]
pub struct Workbench {
    head: Vec<u8>,
    packet: Vec<u8>,
}

/// Makes packets with complete checksums of a frame: the frame itself, or each packet of a super-frame, of at most
/// `limit` bytes where TCP can be cut smaller.
pub fn packets(
    frame: &Parts<'_>,
    offload: &Offload,
    limit: usize,
    bench: &mut Workbench,
    mut each: impl FnMut(&Parts<'_>),
) {
    if offload.checksum != Checksum::Begun {
        return each(frame);
    }
    let Workbench { head, packet } = bench;
    let Some((head_len, payload)) = split(frame, offload, head) else {
        return;
    };
    let is_tcp = offload
        .layers
        .is_some_and(|l| l.transport == Transport::Tcp);
    let room = u16::try_from(limit.saturating_sub(head_len)).unwrap_or(u16::MAX);
    // The size counts for identifications, too.
    let segment = match is_tcp && offload.is_super() && room > 0 {
        true => offload.segment.min(room),
        false => offload.segment,
    };
    let offload = Offload {
        segment,
        ..*offload
    };
    let Some(template) = Template::new(head, &offload, payload.len()) else {
        return;
    };
    let size = template.size();
    let mut start = 0;
    loop {
        let end = payload.len().min(start + size);
        let body = payload.get(start..end).unwrap_or_default();
        packet.clear();
        template.write_head(&(start..end), Some(body), packet);
        packet.extend_from_slice(body);
        if let Ok(made) = Frame::parse(packet) {
            each(&made.parts);
        }
        start = end;
        if start >= payload.len() {
            return;
        }
    }
}
