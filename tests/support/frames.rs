//! Frames as a host makes them: TCP and UDP, over IPv4 and IPv6, tagged or not, whole or super.

#![allow(dead_code)]

use l2vpn::wire::checksum;
use l2vpn::wire::layers::Layers;
use l2vpn::wire::offload::VirtioHeader;

/// What a frame is made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub tags: Vec<u8>,
    pub v6: bool,
    pub udp: bool,
    /// Bytes of IPv4 options or of IPv6 extension headers; a multiple of 8.
    pub network_options: usize,
    /// Bytes of TCP options; a multiple of 4.
    pub tcp_options: usize,
    pub flags: u8,
    pub seq: u32,
    pub id: u16,
    pub fragment: u16,
    pub payload: Vec<u8>,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            tags: Vec::new(),
            v6: false,
            udp: false,
            network_options: 0,
            tcp_options: 12,
            flags: 0x10,
            seq: 1000,
            id: 77,
            fragment: 0x4000,
            payload: Vec::new(),
        }
    }
}

pub const TO: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const FROM: [u8; 6] = [2, 0, 0, 0, 1, 0];

/// Bytes without a period: a shift of any length is seen.
pub fn payload(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| {
            (i.wrapping_mul(0x9e37_79b1) >> 24) as u8 ^ (i.wrapping_mul(0x85eb_ca6b) >> 19) as u8
        })
        .collect()
}

impl Recipe {
    /// The frame with a complete checksum.
    pub fn whole(&self) -> Vec<u8> {
        self.build(true)
    }

    /// The frame with a begun checksum, and the header for packets of `size` bytes of payload; 0 for one packet.
    pub fn begun(&self, size: u16) -> (VirtioHeader, Vec<u8>) {
        let frame = self.build(false);
        let layers = Layers::read(&frame[12 + self.outer_tag()..]).expect("TCP or UDP");
        let before = 12 + self.outer_tag();
        let header = VirtioHeader {
            flags: 1,
            gso_type: match (size, self.udp, self.v6) {
                (0, ..) => 0,
                (_, true, _) => 5,
                (_, _, true) => 4,
                _ => 1,
            },
            hdr_len: (before + layers.payload) as u16,
            gso_size: size,
            csum_start: (before + layers.segment) as u16,
            csum_offset: if self.udp { 6 } else { 16 },
        };
        (header, frame)
    }

    fn outer_tag(&self) -> usize {
        if self.tags.is_empty() { 0 } else { 4 }
    }

    fn build(&self, complete: bool) -> Vec<u8> {
        let mut frame = [TO, FROM].concat();
        frame.extend_from_slice(&self.tags);
        let transport = self.transport();
        let network = frame.len() + 2;
        let protocol = if self.udp { 17 } else { 6 };
        if self.v6 {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            let len = self.network_options + transport.len() + self.payload.len();
            frame.extend_from_slice(&(len as u16).to_be_bytes());
            frame.push(if self.network_options > 0 {
                60
            } else {
                protocol
            });
            frame.push(64);
            frame.extend((0..32).map(|i| if i % 16 == 15 { 1 + i / 16 } else { 0xfd }));
            if self.network_options > 0 {
                // Destination options, padded with PadN.
                let len = self.network_options;
                frame.extend_from_slice(&[protocol, (len / 8 - 1) as u8, 1, (len - 4) as u8]);
                frame.resize(frame.len() + len - 4, 0);
            }
        } else {
            let header = 20 + self.network_options;
            let total = header + transport.len() + self.payload.len();
            frame.extend_from_slice(&[8, 0, 0x40 | (header / 4) as u8, 0]);
            frame.extend_from_slice(&(total as u16).to_be_bytes());
            frame.extend_from_slice(&self.id.to_be_bytes());
            frame.extend_from_slice(&self.fragment.to_be_bytes());
            frame.extend_from_slice(&[64, protocol, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
            frame.resize(frame.len() + self.network_options, 1);
            let sum = checksum::finish(checksum::add(0, &frame[network..]));
            frame[network + 10..network + 12].copy_from_slice(&sum.to_be_bytes());
        }
        let segment = frame.len();
        frame.extend(transport);
        frame.extend_from_slice(&self.payload);
        let addresses = match self.v6 {
            true => network + 8..network + 40,
            false => network + 12..network + 20,
        };
        let len = frame.len() - segment;
        let pseudo = checksum::pseudo(&frame[addresses], protocol, len);
        let sum = match (complete, self.udp) {
            (false, _) => checksum::fold(pseudo),
            (true, false) => checksum::finish(checksum::add(pseudo, &frame[segment..])),
            (true, true) => checksum::finish_udp(checksum::add(pseudo, &frame[segment..])),
        };
        let at = segment + if self.udp { 6 } else { 16 };
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    fn transport(&self) -> Vec<u8> {
        if self.udp {
            let mut udp = vec![0x30, 0x39, 0x1f, 0x90];
            udp.extend_from_slice(&(8 + self.payload.len() as u16).to_be_bytes());
            udp.extend_from_slice(&[0, 0]);
            return udp;
        }
        let mut tcp = vec![0x30, 0x39, 0x1f, 0x90];
        tcp.extend_from_slice(&self.seq.to_be_bytes());
        tcp.extend_from_slice(&[0, 0, 0, 9]);
        tcp.push((((20 + self.tcp_options) / 4) << 4) as u8);
        tcp.push(self.flags);
        tcp.extend_from_slice(&[0x10, 0, 0, 0, 0, 0]);
        tcp.resize(tcp.len() + self.tcp_options, 1);
        tcp
    }
}

/// A TCP super-frame.
pub fn tcp_super(seq: u32, len: usize, size: u16) -> (VirtioHeader, Vec<u8>) {
    let recipe = Recipe {
        seq,
        payload: payload(len),
        ..Recipe::default()
    };
    recipe.begun(size)
}

/// TCP packets that follow each other.
pub fn tcp_train(count: usize, size: usize) -> Vec<Vec<u8>> {
    let packet = |n: usize| {
        let recipe = Recipe {
            seq: (n * size) as u32,
            id: n as u16,
            payload: payload(size),
            ..Recipe::default()
        };
        recipe.whole()
    };
    (0..count).map(packet).collect()
}

/// A UDP packet with a begun checksum.
pub fn udp(id: u16, len: usize) -> (VirtioHeader, Vec<u8>) {
    let recipe = Recipe {
        udp: true,
        id,
        payload: payload(len),
        ..Recipe::default()
    };
    recipe.begun(0)
}
