//! HOT PATH: frames out, frames in, on plain threads outside the runtime.
//!
//! # Why
//! [`encap`] and [`decap`] are the two directions without their outside: they take a frame or a datagram and `now`, and
//! hand what results to [`Exits`]. Simulations drive them directly. [`workers`] drives them from sockets and TAPs: it
//! drains what is there without blocking, sends what resulted in one go, and only then waits. Nothing here allocates,
//! locks, logs or formats per frame; what needs thought goes to the control thread as a [`Note`] through a queue that
//! is never waited for.

pub mod decap;
pub mod encap;
pub mod reassembly;
pub mod workers;

use crate::mesh::outgoing::Outgoing;
use crate::node::plane::Note;
use crate::place::PortId;
use crate::wire::ethernet::Parts;

/// Where the two directions put their results.
pub trait Exits {
    /// Delivers a frame by a port of ours.
    fn deliver(&mut self, port: PortId, frame: &Parts<'_>);

    /// The datagrams to be sent.
    fn outgoing(&mut self) -> &mut Outgoing;

    /// Tells the control side something; gives whether it was taken.
    fn note(&mut self, note: Note) -> bool;
}
