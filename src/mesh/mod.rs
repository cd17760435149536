//! PEERS: who the other members are, how to reach them, and what is waiting for them.
//!
//! # Why
//! A peer's state has two readers with different needs. The control side ([`peer::Peer`]) owns handshakes, attempts and
//! paths and may take its time; the data plane needs to know, for each frame and without a lock, which session seals it,
//! where it goes and how much fits: that is a [`link::Route`], published whole in the peer's [`link::Link`].

pub mod attempt;
pub mod journal;
pub mod link;
pub mod loss;
pub mod meter;
pub mod mtu;
pub mod outgoing;
pub mod path;
pub mod peer;
pub mod places;
pub mod rtt;
pub mod staging;
