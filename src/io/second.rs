//! A relay's second port: what comes there is read and never answered from it.

use std::cell::Cell;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::wire::vantage::LOOK_LEN;

/// A datagram of the only length that is of use.
pub type Look = [u8; LOOK_LEN];

/// As many are read in a second: anybody may send them. More wait in the kernel, or are lost there.
const MOST: u32 = 1000;
const SECOND: Duration = Duration::from_secs(1);

/// The socket.
pub struct Second {
    socket: UdpSocket,
    port: u16,
    /// How many were read since when.
    read: Cell<(u32, Instant)>,
}

impl Second {
    /// Binds it; `[::]` takes IPv4 too.
    ///
    /// # Errors
    /// As the system says; `AddrInUse` when somebody has the port.
    pub fn open(address: SocketAddr) -> io::Result<Second> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(Second {
            socket: UdpSocket::from_std(socket.into())?,
            port: address.port(),
            read: Cell::new((0, Instant::now())),
        })
    }

    /// Which port it is.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next datagram of the right length, and where it came from.
    pub async fn receive(&self) -> (SocketAddr, Look) {
        // One byte more shows what is too long.
        let mut bytes = [0; LOOK_LEN + 1];
        loop {
            self.keep_to_rate().await;
            let received = self.socket.recv_from(&mut bytes).await;
            let (count, since) = self.read.get();
            self.read.set((count + 1, since));
            match received {
                Ok((LOOK_LEN, from)) => {
                    if let Some(look) = bytes.first_chunk::<LOOK_LEN>() {
                        return (from, *look);
                    }
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(SECOND).await,
            }
        }
    }

    /// Waits until another one may be read.
    async fn keep_to_rate(&self) {
        let (count, since) = self.read.get();
        let age = since.elapsed();
        if age < SECOND && count < MOST {
            return;
        }
        if age < SECOND {
            tokio::time::sleep(SECOND - age).await;
        }
        self.read.set((0, Instant::now()));
    }
}
