//! A TCP transfer whose every byte is checked: block after block of one random pattern.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::orders::Transfer;

const BLOCK: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// The same bytes at both ends: a xorshift generator with a fixed seed.
fn pattern() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(BLOCK / 8).flatten().collect()
}

/// A server that takes one connection.
pub(super) struct Server(JoinHandle<io::Result<Transfer>>);

impl Server {
    pub(super) fn start(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        Ok(Server(std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            receive(stream)
        })))
    }

    pub(super) fn finish(self) -> io::Result<Transfer> {
        self.0
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the server thread ended early")))
    }
}

fn receive(mut stream: TcpStream) -> io::Result<Transfer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let pattern = pattern();
    let mut buffer = vec![0u8; BLOCK];
    let mut transfer = Transfer {
        intact: true,
        ..Transfer::default()
    };
    let began = Instant::now();
    loop {
        let at = (transfer.bytes % BLOCK as u64) as usize;
        let room = buffer.get_mut(at..).unwrap_or_default();
        let len = stream.read(room)?;
        if len == 0 {
            break;
        }
        transfer.intact &= buffer.get(at..at + len) == pattern.get(at..at + len);
        transfer.bytes += len as u64;
    }
    transfer.seconds = began.elapsed().as_secs_f64();
    Ok(transfer)
}

/// Sends so many bytes of the pattern.
pub(super) fn send(to: SocketAddr, bytes: u64) -> io::Result<Transfer> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let pattern = pattern();
    let began = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        stream.write_all(pattern.get(..len).unwrap_or_default())?;
        left -= len as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(Transfer {
        bytes,
        seconds: began.elapsed().as_secs_f64(),
        intact: true,
    })
}
