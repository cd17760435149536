//! A program for the kernel that lets only some of certain senders' datagrams into a socket's queue.
//!
//! # Why
//! What a receiver throws away has cost it a system call and a copy, and the place of another's datagram in the queue. A filter
//! (SO_ATTACH_FILTER) is asked before the queue.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use super::udp::{UdpSocket, set_option};

/// Where the network layer's header begins, and the kernel's own values, as addresses of a filter program (linux/filter.h).
const NETWORK: u32 = -0x10_0000_i32 as u32;
const RANDOM: u32 = (-0x1000_i32 + 56) as u32;
/// Where the source is in an IPv4 and an IPv6 header.
const V4_SOURCE: u32 = 12;
const V6_SOURCE: u32 = 8;

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const REACHES: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Lets only a part of each of these senders' datagrams in, of `whole`; of all others everything. No senders are no filter.
///
/// # Errors
/// As the system says.
pub fn set(socket: &UdpSocket, senders: &[(SocketAddr, u32)], whole: u32) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    if senders.is_empty() {
        return set_option(fd, (libc::SOL_SOCKET, libc::SO_DETACH_FILTER), &0);
    }
    let mut program = Vec::with_capacity(16 * senders.len() + 1);
    for (from, part) in senders {
        let share = u64::from(*part) * (1 << 32) / u64::from(whole.max(1));
        sender(
            &mut program,
            *from,
            u32::try_from(share).unwrap_or(u32::MAX),
        );
    }
    program.push(step(RETURN, 0, 0, u32::MAX));
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_mut_ptr(),
    };
    set_option(fd, (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER), &filter)
}

/// What is done with one sender's: a number by chance below `share` of 2^32 lets it in. Any other goes on behind these steps.
/// Port 0 is a whole host: an IPv4 address, or the first half of an IPv6 one.
fn sender(program: &mut Vec<libc::sock_filter>, from: SocketAddr, share: u32) {
    let is_host = from.port() == 0;
    let (version, source, words): (_, _, Vec<u32>) = match from.ip().to_canonical() {
        IpAddr::V4(ip) => (4, V4_SOURCE, vec![ip.to_bits()]),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            let word = |n: u32| (bits >> (96 - 32 * n)) as u32;
            let count = if is_host { 2 } else { 4 };
            (6, V6_SOURCE, (0..count).map(word).collect())
        }
    };
    let mut asks = vec![
        (LOAD_BYTE, NETWORK),
        (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 4),
        (IS, version),
    ];
    for (n, word) in words.iter().enumerate() {
        asks.push((LOAD_WORD, NETWORK + source + 4 * n as u32));
        asks.push((IS, *word));
    }
    if !is_host {
        asks.push((LOAD_HALF, 0));
        asks.push((IS, u32::from(from.port())));
    }
    // Behind them: a number, a question, two ends.
    let end = asks.len() + 4;
    for (n, (code, value)) in asks.into_iter().enumerate() {
        let beyond = if code == IS { end - n - 1 } else { 0 };
        program.push(step(code, 0, u8::try_from(beyond).unwrap_or(0), value));
    }
    program.push(step(LOAD_WORD, 0, 0, RANDOM));
    program.push(step(REACHES, 0, 1, share));
    program.push(step(RETURN, 0, 0, 0));
    program.push(step(RETURN, 0, 0, u32::MAX));
}

fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::udp::{Received, Sending};

    fn came(socket: &UdpSocket) -> Vec<SocketAddr> {
        let mut received = Received::default();
        let mut all = Vec::new();
        while socket.receive(&mut received).is_ok() {
            received.for_each(|from, _, _| all.push(from));
        }
        all
    }

    fn held_back(at: SocketAddr) {
        let socket = UdpSocket::bind(at).unwrap();
        let to = match at.ip().is_unspecified() {
            true => ([127, 0, 0, 1], socket.local_address().unwrap().port()).into(),
            false => socket.local_address().unwrap(),
        };
        let bind = || match to {
            SocketAddr::V4(_) => UdpSocket::bind(([127, 0, 0, 1], 0).into()),
            SocketAddr::V6(_) => UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0).into()),
        };
        let senders: Vec<UdpSocket> = (0..3).map(|_| bind().unwrap()).collect();
        let ports: Vec<SocketAddr> = senders.iter().map(|s| s.local_address().unwrap()).collect();
        let round = || {
            for sender in &senders {
                for _ in 0..400 {
                    let sending = Sending {
                        to,
                        from: None,
                        bytes: b"datagram",
                        size: 8,
                        traffic_class: 0,
                        hops: None,
                    };
                    sender.send(&sending).unwrap();
                }
            }
            let all = came(&socket);
            let of = |p: &SocketAddr| all.iter().filter(|f| f.port() == p.port()).count();
            ports.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(round(), [400; 3]);
        set(&socket, &[(ports[0], 0), (ports[1], 256)], 1024).unwrap();
        let some = round();
        assert_eq!((some[0], some[2]), (0, 400), "{some:?}");
        assert!((40..200).contains(&some[1]), "a quarter of 400: {some:?}");
        // A whole host, behind one that sends nothing.
        let nobody = ([192, 0, 2, 1], 1).into();
        let host = SocketAddr::new(ports[0].ip(), 0);
        set(&socket, &[(nobody, 9), (host, 0)], 1024).unwrap();
        assert_eq!(round(), [0; 3]);
        set(&socket, &[], 1024).unwrap();
        assert_eq!(round(), [400; 3]);
        set(&socket, &[], 1024).unwrap_err();
    }

    #[test]
    fn a_part_of_one_senders_datagrams_is_let_in() {
        held_back(([127, 0, 0, 1], 0).into());
        held_back((std::net::Ipv6Addr::UNSPECIFIED, 0).into());
        held_back((std::net::Ipv6Addr::LOCALHOST, 0).into());
    }
}
