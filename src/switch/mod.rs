//! SWITCHING: who gets this frame?
//!
//! # Why
//! Each member is a learning, VLAN-aware switch whose ports are its own ports and its peers. The mesh is one hop: a
//! frame from a peer never goes to another peer (split horizon), so no loop can arise in the mesh itself. The room
//! knows no key and no socket; it answers questions from any number of threads without a lock, because the forwarding
//! table's readers take none and the layout is published whole ([`layout::Layout`]).
//!
//! A frame is brought into *canonical* form where it enters ([`port::PortRule::ingress`]): frames of an access port
//! carry their VLAN's tag from there on, so that peers see one format whatever the port.
//!
//! | file | question |
//! |---|---|
//! | [`decide`] | who gets this frame? It asks the others, in this order |
//! | [`layout`] | which ports and peers are in the segment, with which VLANs and roles |
//! | [`port`], [`translation`] | what do the tags become, and does the port carry the VLAN |
//! | [`guard`] | does it offer DHCP or a route without being allowed to |
//! | [`table`], [`moves`] | where does this MAC live, and does it move too often |
//! | [`storm`] | may so much go to everybody |

mod books;
pub mod counters;
pub mod decide;
pub mod groups;
pub mod guard;
pub mod layout;
pub mod limits;
pub mod mac;
pub mod moves;
pub mod neighbors;
pub mod offences;
pub mod port;
pub mod slots;
mod snoop;
pub mod storm;
pub mod table;
pub mod translation;
