//! OUTSIDE: every system call, every socket, every line of `unsafe`.
//!
//! # Why
//! The rest of the program is values and arithmetic; what can only be had from the kernel is asked for here and comes
//! back as a value or an error that says what was asked. No file here knows what a peer is. Each `unsafe` block says
//! why it is sound.

pub mod beacon;
pub mod bridges;
#[cfg(feature = "quic")]
pub mod carriers;
pub mod changes;
pub mod clock;
pub mod icmp;
pub mod janitor;
pub mod lanes;
pub mod links;
pub mod mapping;
pub mod namespace;
pub mod packet;
pub mod process;
pub mod second;
pub mod secrets;
pub mod sieve;
pub mod tap;
pub mod udp;
#[cfg(feature = "upnp")]
mod upnp;
pub mod wake;
