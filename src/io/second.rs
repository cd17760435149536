//! A relay's second port: what comes there is read and never answered from it.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::wire::vantage::LOOK_LEN;

/// A datagram of the only length that is of use.
pub type Look = [u8; LOOK_LEN];

/// The socket.
pub struct Second {
    socket: UdpSocket,
    port: u16,
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
            match self.socket.recv_from(&mut bytes).await {
                Ok((LOOK_LEN, from)) => {
                    if let Some(look) = bytes.first_chunk::<LOOK_LEN>() {
                        return (from, *look);
                    }
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
            }
        }
    }
}
