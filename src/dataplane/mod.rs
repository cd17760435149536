//! HOT PATH: frames out, frames in, on plain threads outside the runtime.
//!
//! # Why
//! [`encap`] and [`decap`] are the two directions without their outside: they take a frame or a datagram and `now`, and
//! hand what results to [`Exits`]. Simulations drive them directly. [`workers`] drives them from sockets and TAPs: it
//! drains what is there without blocking, sends what resulted in one go, and only then waits. Nothing here allocates,
//! locks, logs or formats per frame; what needs thought goes to the control thread as a [`Note`] through a queue that
//! is never waited for.
//!
//! | file | out | file | in |
//! |---|---|---|---|
//! | [`backlog`] | which frame of a port goes next | [`joiner`] | pieces to super-frames |
//! | [`encap`] | who gets it | [`coalesce`] | packets to super-frames |
//! | [`outbound`] | in which form it travels | [`reassembly`] | fragments to frames |
//! | [`template`] | the headers of a part, both ways | [`decap`] | who gets it |
//!
//! [`intake`] takes batches from the sockets; [`shares`] and [`fairness`] see that nobody's datagrams keep out those of others.
//!
//! Where measuring went against the plan: a worker is one thread for both directions and not two ([`workers`]); UDP
//! super-frames are cut anywhere, too, and delivered by whole datagrams ([`outbound`]); whole pieces carry their note at both
//! ends, so that the loss of the first does not cost the rest ([`crate::wire::piece`]); sending is not quinn-udp's
//! ([`crate::io::udp`]).

pub mod backlog;
pub mod coalesce;
pub mod decap;
pub mod encap;
pub mod fairness;
pub mod intake;
pub mod joiner;
pub mod outbound;
pub mod reassembly;
pub mod shares;
pub mod template;
pub mod workers;

use crate::mesh::outgoing::Outgoing;
use crate::node::plane::Note;
use crate::place::PortId;
use crate::wire::ethernet::Parts;
use crate::wire::offload::Offload;

/// Where the two directions put their results.
pub trait Exits {
    /// Whether a port takes super-frames or begun checksums of this kind.
    fn takes(&self, port: PortId, offload: &Offload) -> bool;

    /// Delivers a frame by a port of ours, in a form that it takes.
    fn deliver(&mut self, port: PortId, frame: &Parts<'_>, offload: &Offload);

    /// The datagrams to be sent.
    fn outgoing(&mut self) -> &mut Outgoing;

    /// Sends what is ready when it has become much: a super-frame that is flooded to many peers must not fill memory.
    fn relieve(&mut self) {}

    /// Tells the control side something; gives whether it was taken.
    fn note(&mut self, note: Note) -> bool;
}
