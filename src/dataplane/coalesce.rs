//! Frames that came one by one, made super-frames again before they are written to a port.
//!
//! # Why
//! A write to a TAP costs more than everything else that is done for a small frame, so neighbours of one flow are joined
//! and written together: TCP segments that follow each other (as RFC 9293 numbers them), UDP datagrams of one size. What is
//! joined could be cut again into exactly the packets that came, but for the identification of atomic IPv4 packets, which
//! carries no meaning (RFC 6864 section 4.1). Everything else goes through untouched, and in its order: a frame that
//! cannot join lets all that wait go first. Nothing waits longer than the batch.

use crate::dataplane::template::Template;
use crate::place::PeerId;
use crate::wire::checksum;
use crate::wire::ethernet::{Frame, Parts};
use crate::wire::layers::{Ip, Layers, Transport, tcp};
use crate::wire::offload::{Checksum, MAX_DATAGRAMS, MIN_SEGMENT, Offload};
use crate::wire::segment::SegmentId;

/// Flows that are joined at one time.
const MAX_FLOWS: usize = 4;
/// The most bytes of payload that are joined: with the headers they have to fit an IP packet.
const MAX_PAYLOAD: usize = 65_000;

/// Where a frame came from.
pub type Origin = (PeerId, SegmentId);

/// Frames of one flow that wait for the end of the batch.
struct Flow {
    origin: Origin,
    head: Vec<u8>,
    layers: Layers,
    /// The state of the first one's checksum, should it stay alone.
    checksum: Checksum,
    size: usize,
    payload: Vec<u8>,
    packets: usize,
    /// Whether nothing can follow: a shorter packet ends a super-frame.
    closed: bool,
}

/// The flows of one worker.
#[derive(Default)]
pub struct Coalescer {
    flows: Vec<Flow>,
    spare: Vec<Flow>,
    scratch: Vec<u8>,
    head: Vec<u8>,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It waits for others.
    Waits,
    /// It goes alone, after everything that waits.
    Alone,
}

impl Coalescer {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Takes a frame if it can join others; `each` gets what has to go first.
    pub fn add(
        &mut self,
        origin: Origin,
        (frame, checksum): (&Parts<'_>, Checksum),
        each: &mut impl FnMut(Origin, &Parts<'_>, &Offload),
    ) -> Joined {
        let Some(candidate) = Candidate::new(frame, checksum) else {
            return Joined::Alone;
        };
        self.head.clear();
        candidate.write_head(&mut self.head);
        let same = |f: &Flow| f.origin == origin && candidate.is_of_flow(f, &self.head);
        if let Some(at) = self.flows.iter().position(same) {
            if let Some(flow) = self.flows.get_mut(at)
                && flow.takes(&candidate, &self.head)
            {
                flow.append(&candidate);
                return Joined::Waits;
            }
            let flow = self.flows.remove(at);
            self.release(flow, each);
        }
        if candidate.is_pushed() {
            // Nothing may follow it, and whatever came before it is gone.
            return Joined::Alone;
        }
        if self.flows.len() >= MAX_FLOWS {
            let flow = self.flows.remove(0);
            self.release(flow, each);
        }
        let mut flow = self.spare.pop().unwrap_or_else(|| Flow::new(&candidate));
        flow.begin(origin, &candidate, &self.head);
        self.flows.push(flow);
        Joined::Waits
    }

    /// Lets everything go that waits, oldest flow first.
    pub fn flush(&mut self, each: &mut impl FnMut(Origin, &Parts<'_>, &Offload)) {
        for flow in std::mem::take(&mut self.flows).drain(..) {
            self.release(flow, each);
        }
    }

    fn release(&mut self, flow: Flow, each: &mut impl FnMut(Origin, &Parts<'_>, &Offload)) {
        flow.finish(&mut self.scratch, each);
        if self.spare.len() < MAX_FLOWS {
            self.spare.push(flow);
        }
    }
}

/// A packet that may join others.
struct Candidate<'a> {
    frame: Parts<'a>,
    layers: Layers,
    checksum: Checksum,
    payload: &'a [u8],
}

impl<'a> Candidate<'a> {
    fn new(frame: &Parts<'a>, checksum: Checksum) -> Option<Self> {
        let rest = frame.after_tag();
        let layers = Layers::read(rest).filter(|l| l.end == rest.len())?;
        let payload = rest.get(layers.payload..)?;
        let joins = match layers.transport {
            Transport::Tcp => {
                layers.tcp_flags(rest) & !tcp::PSH == tcp::ACK
                    && payload.len() >= usize::from(MIN_SEGMENT)
            }
            Transport::Udp => !payload.is_empty(),
        };
        let has_options = layers.ip == Ip::V4 && layers.segment - layers.network != 20;
        // Whoever receives the whole does not look at each packet's checksum any more.
        let is_sound = || match checksum {
            Checksum::Begun => true,
            // A UDP packet without a checksum would get one.
            Checksum::Verified => {
                let at = layers.segment + layers.transport.checksum_offset();
                layers.transport == Transport::Tcp || rest.get(at..at + 2) != Some(&[0, 0])
            }
            Checksum::Unverified => layers.checksum_holds(rest),
        };
        let network = rest.get(layers.network..layers.segment)?;
        let is_v4 = layers.ip == Ip::V4;
        if is_v4 && checksum::fold(checksum::add(0, network)) != 0xffff {
            return None;
        }
        (joins && !has_options && payload.len() < MAX_PAYLOAD && is_sound()).then_some(Candidate {
            frame: *frame,
            layers,
            checksum,
            payload,
        })
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.frame.addresses());
        out.extend_from_slice(&self.frame.tags());
        let headers = self.frame.after_tag().get(..self.layers.payload);
        out.extend_from_slice(headers.unwrap_or_default());
    }

    fn is_pushed(&self) -> bool {
        self.layers.transport == Transport::Tcp
            && self.layers.tcp_flags(self.frame.after_tag()) & tcp::PSH != 0
    }

    /// Whether the addresses and ports are those of a flow.
    fn is_of_flow(&self, flow: &Flow, head: &[u8]) -> bool {
        let before = head.len() - self.layers.payload;
        let ports = before + self.layers.segment;
        let same = |from: usize, to: usize| head.get(from..to) == flow.head.get(from..to);
        let addresses = match self.layers.ip {
            Ip::V4 => 12..20,
            Ip::V6 => 8..40,
        };
        let network = before + self.layers.network;
        self.layers.segment == flow.layers.segment
            && self.layers.transport == flow.layers.transport
            && same(0, network)
            && same(network + addresses.start, network + addresses.end)
            && same(ports, ports + 4)
    }
}

impl Flow {
    fn new(candidate: &Candidate<'_>) -> Flow {
        Flow {
            origin: (PeerId(0), SegmentId::LOWEST),
            head: Vec::with_capacity(128),
            layers: candidate.layers,
            checksum: candidate.checksum,
            size: 0,
            payload: Vec::with_capacity(MAX_PAYLOAD),
            packets: 0,
            closed: false,
        }
    }

    fn begin(&mut self, origin: Origin, candidate: &Candidate<'_>, head: &[u8]) {
        self.origin = origin;
        self.head.clear();
        self.head.extend_from_slice(head);
        self.layers = candidate.layers;
        self.checksum = candidate.checksum;
        self.size = candidate.payload.len();
        self.payload.clear();
        self.payload.extend_from_slice(candidate.payload);
        self.packets = 1;
        self.closed = false;
    }

    /// Whether a packet of this flow continues it: everything that a cut would copy is equal, everything that it would
    /// count goes on.
    fn takes(&self, candidate: &Candidate<'_>, head: &[u8]) -> bool {
        let fits = !self.closed
            && candidate.payload.len() <= self.size
            && self.payload.len() + candidate.payload.len() <= MAX_PAYLOAD
            && (candidate.layers.transport == Transport::Tcp || self.packets < MAX_DATAGRAMS);
        fits && self.head.len() == head.len() && self.continues(head)
    }

    fn continues(&self, head: &[u8]) -> bool {
        let before = head.len() - self.layers.payload;
        let network = before + self.layers.network;
        let segment = before + self.layers.segment;
        let same = |from: usize, to: usize| head.get(from..to) == self.head.get(from..to);
        let network_goes_on = match self.layers.ip {
            Ip::V4 => {
                let atomic = word(head, network + 6) & 0x4000 != 0;
                let id = word(&self.head, network + 4).wrapping_add(self.packets as u16);
                same(network, network + 2)
                    && same(network + 6, network + 10)
                    && (atomic || id == word(head, network + 4))
            }
            Ip::V6 => same(network, network + 4) && same(network + 6, segment),
        };
        let transport_goes_on = match self.layers.transport {
            Transport::Udp => true,
            Transport::Tcp => {
                let next = long(&self.head, segment + 4).wrapping_add(self.payload.len() as u32);
                // Acknowledgement, data offset, window, urgent pointer and options; flags but for PSH.
                long(head, segment + 4) == next
                    && same(segment + 8, segment + 13)
                    && same(segment + 14, segment + 16)
                    && same(segment + 18, head.len())
            }
        };
        network_goes_on && transport_goes_on
    }

    fn append(&mut self, candidate: &Candidate<'_>) {
        self.payload.extend_from_slice(candidate.payload);
        self.packets += 1;
        let pushed = candidate.is_pushed();
        self.closed = pushed || candidate.payload.len() < self.size;
        let at = self.head.len() - self.layers.payload + self.layers.segment + 13;
        if pushed && let Some(flags) = self.head.get_mut(at) {
            *flags |= tcp::PSH;
        }
    }

    fn finish(&self, scratch: &mut Vec<u8>, each: &mut impl FnMut(Origin, &Parts<'_>, &Offload)) {
        let alone = self.packets == 1;
        let begun = !alone || self.checksum == Checksum::Begun;
        let offload = Offload {
            segment: if alone { 0 } else { self.size as u16 },
            checksum: if alone {
                self.checksum
            } else {
                Checksum::Begun
            },
            ecn: false,
            layers: begun.then_some(Layers {
                end: self.layers.payload + self.payload.len(),
                ..self.layers
            }),
        };
        scratch.clear();
        let template = Template::new(&self.head, &offload, self.payload.len());
        match template.filter(|_| !alone) {
            Some(template) => template.write_head(&(0..self.payload.len()), None, scratch),
            None => scratch.extend_from_slice(&self.head),
        }
        if let Ok(frame) = Frame::parse(scratch) {
            each(self.origin, &frame.parts.with_tail(&self.payload), &offload);
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    let pair = bytes.get(at..).and_then(|b| b.first_chunk::<2>());
    pair.map_or(0, |p| u16::from_be_bytes(*p))
}

fn long(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(|b| b.first_chunk::<4>());
    four.map_or(0, |p| u32::from_be_bytes(*p))
}
