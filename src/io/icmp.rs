//! Echo requests from a host's own stack (RFC 792, RFC 4443): for the laboratory, which needs no `ping` program.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Pings one address and gives the round trip; `None` when no answer came in time.
///
/// `size` bytes of payload are sent; with `whole` the host may not cut the packet; with `device` it leaves by that
/// interface.
///
/// # Errors
/// When the packet cannot be sent: no route, too large to be sent whole.
pub fn ping(
    to: IpAddr,
    (id, sequence): (u16, u16),
    (size, whole): (usize, bool),
    (timeout, device): (Duration, Option<&str>),
) -> io::Result<Option<Duration>> {
    let socket = open(to, whole)?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let request = request(to, id, sequence, size);
    let began = Instant::now();
    socket.send_to(&request, &SocketAddr::new(to, 0).into())?;
    let mut buffer = vec![MaybeUninit::new(0u8); 65_536];
    while began.elapsed() < timeout {
        let len = match socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                continue;
            }
            Err(e) => return Err(e),
        };
        // SAFETY: every element was initialised when the buffer was made, and recv only overwrites.
        let bytes: Vec<u8> = buffer
            .iter()
            .take(len)
            .map(|b| unsafe { b.assume_init() })
            .collect();
        if is_reply(to, &bytes, &request) {
            return Ok(Some(began.elapsed()));
        }
    }
    Ok(None)
}

/// Pings one address so many times, at least `every` apart; gives the round trips in nanoseconds, and how many pings were
/// not answered within a second.
///
/// # Errors
/// When packets cannot be sent at all.
pub fn series(to: IpAddr, count: u32, every: Duration) -> io::Result<(Vec<u64>, u32)> {
    let socket = open(to, false)?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let id = std::process::id() as u16;
    let mut buffer = vec![MaybeUninit::new(0u8); 2048];
    let (mut trips, mut lost) = (Vec::new(), 0);
    for sequence in 0..count {
        let request = request(to, id, sequence as u16, 56);
        let began = Instant::now();
        socket.send(&request)?;
        let trip = loop {
            if began.elapsed() > Duration::from_secs(1) {
                break None;
            }
            let Ok(len) = socket.recv(&mut buffer) else {
                continue;
            };
            let trip = began.elapsed();
            // SAFETY: every element was initialised when the buffer was made, and recv only overwrites.
            let byte = |b: &MaybeUninit<u8>| unsafe { b.assume_init() };
            let bytes: Vec<u8> = buffer.iter().take(len).map(byte).collect();
            if is_reply(to, &bytes, &request) {
                break Some(trip);
            }
        };
        match trip {
            Some(trip) => trips.push(trip.as_nanos() as u64),
            None => lost += 1,
        }
        std::thread::sleep(every.saturating_sub(began.elapsed()));
    }
    Ok((trips, lost))
}

fn open(to: IpAddr, whole: bool) -> io::Result<Socket> {
    let (domain, protocol, level, option) = match to {
        IpAddr::V4(_) => (
            Domain::IPV4,
            Protocol::ICMPV4,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
        ),
        IpAddr::V6(_) => (
            Domain::IPV6,
            Protocol::ICMPV6,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
        ),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    if whole {
        let value: libc::c_int = libc::IP_PMTUDISC_DO;
        // SAFETY: the option reads one int through the pointer, whose size is given.
        let result = unsafe {
            libc::setsockopt(
                std::os::fd::AsRawFd::as_raw_fd(&socket),
                level,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(socket)
}

fn request(to: IpAddr, id: u16, sequence: u16, size: usize) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend((0..size).map(|i| i as u8));
    if to.is_ipv4() {
        // The kernel fills in ICMPv6's checksum, but not ICMPv4's.
        let sum = checksum(&packet).to_be_bytes();
        packet.splice(2..4, sum);
    }
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|c| match c {
            [a, b] => u32::from(u16::from_be_bytes([*a, *b])),
            [a] => u32::from(*a) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn is_reply(to: IpAddr, bytes: &[u8], request: &[u8]) -> bool {
    let (message, kind) = match to {
        // A raw IPv4 socket gives the IP header too.
        IpAddr::V4(_) => {
            let header = usize::from(bytes.first().copied().unwrap_or(0) & 15) * 4;
            (bytes.get(header..).unwrap_or_default(), 0)
        }
        IpAddr::V6(_) => (bytes, 129),
    };
    message.first() == Some(&kind) && message.get(4..) == request.get(4..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071 section 3.
    #[test]
    fn the_checksum_is_the_internet_checksum() {
        assert_eq!(
            !checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0xddf2
        );
        assert_eq!(!checksum(&[0x01]), 0x0100);
    }
}
