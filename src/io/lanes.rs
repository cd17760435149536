//! The sockets of a member: two for each worker, all on one port.
//!
//! # Why
//! Which socket gets a data packet is told by the lane in its header, not by the kernel's hash of addresses: one flow keeps
//! to one lane, and a peer's flows spread over all workers. Even lanes are for bulk, odd ones for frames that shall not
//! wait behind it. A socket is one queue, and a receiver that is short of CPU has megabytes in it: a ping would be behind
//! them for milliseconds. With a queue of its own it is taken first.
//!
//! A train goes to one socket as a whole, and a receiver's GRO makes trains of what has one pair of addresses: so urgent
//! datagrams have trains of their own, and a mark in the IP header that keeps GRO from adding them to others.
//!
//! A worker that has taken bulk empties the urgent queue before it works on it. What was sent before the bulk is in the
//! queue by then, so a flow that grows from urgent to bulk keeps its order, unless thousands of urgent datagrams waited;
//! one that was bulk stays so for a while (see [`crate::dataplane::backlog`]).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use super::udp::{UdpSocket, set_option};
use crate::wire::datagram::KIND_DATA;

/// What one worker receives from, and sends by.
pub struct Lane {
    /// For bulk, handshakes, and everything that goes out.
    pub bulk: UdpSocket,
    /// For what is to be taken first.
    pub urgent: UdpSocket,
}

impl Lane {
    /// Binds the sockets of so many workers to one address; as [`UdpSocket::bind`] otherwise.
    ///
    /// # Errors
    /// As the system says; `AddrInUse` when somebody has the port.
    pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<Lane>> {
        // Alone first: sockets that share would let another member of the same user share, too.
        let alone = UdpSocket::bind(address)?;
        let address = alone.local_address()?;
        drop(alone);
        let shared = || UdpSocket::bind_shared(address);
        let lane = |_| {
            Ok(Lane {
                bulk: shared()?,
                urgent: shared()?,
            })
        };
        let lanes = (0..workers.max(1))
            .map(lane)
            .collect::<io::Result<Vec<_>>>()?;
        if let Some(first) = lanes.first() {
            steer(&first.bulk, 2 * lanes.len())?;
        }
        Ok(lanes)
    }
}

/// Lets the lane in a data packet's header choose among sockets that share a port; everything else goes to the first.
fn steer(socket: &UdpSocket, lanes: usize) -> io::Result<()> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let lanes = u32::try_from(lanes).unwrap_or(1).max(1);
    let mut program = [
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            4,
            u32::from(KIND_DATA),
        ),
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 1),
        step(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, 4),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, lanes),
        step(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_mut_ptr(),
    };
    let option = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF);
    set_option(socket.as_fd().as_raw_fd(), option, &filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::udp::{Received, Sending};
    use crate::wire::datagram::DataHeader;

    fn local() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    fn received_lanes(socket: &UdpSocket) -> Vec<u8> {
        let mut received = Received::default();
        let mut all = Vec::new();
        while socket.receive(&mut received).is_ok() {
            received.for_each(|_, _, d| all.push(d[1] >> 4));
        }
        all
    }

    #[test]
    fn lanes_choose_the_socket_and_everything_else_goes_to_the_first() {
        let lanes = Lane::bind(local(), 3).unwrap();
        let to = lanes[0].bulk.local_address().unwrap();
        let client = UdpSocket::bind(local()).unwrap();
        let send = |bytes: &[u8], size| {
            let sending = Sending {
                to,
                from: None,
                bytes,
                size,
                traffic_class: if bytes[1] >> 4 & 1 == 1 { 0x10 } else { 0 },
                hops: None,
            };
            client.send(&sending).unwrap();
        };
        for lane in [0u8, 1, 2, 5, 8, 15] {
            let header = DataHeader {
                lane,
                ..DataHeader::new(1, u64::from(lane))
            };
            // A train: all of it goes where its first packet's lane says.
            send(&[header.to_bytes(), header.to_bytes()].concat(), 16);
        }
        send(&[8; 40], 40);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let got: Vec<_> = lanes
            .iter()
            .map(|l| (received_lanes(&l.bulk), received_lanes(&l.urgent)))
            .collect();
        assert_eq!(got[0], (vec![0, 0, 0], vec![1, 1]), "and a handshake");
        assert_eq!(got[1], (vec![2, 2, 8, 8], vec![15, 15]));
        assert_eq!(got[2], (vec![], vec![5, 5]));
    }

    #[test]
    fn a_taken_port_is_taken_for_shared_sockets_too() {
        let first = Lane::bind(local(), 1).unwrap();
        let address = first[0].bulk.local_address().unwrap();
        let again = Lane::bind(address, 2).err().map(|e| e.kind());
        assert_eq!(again, Some(io::ErrorKind::AddrInUse));
    }
}
