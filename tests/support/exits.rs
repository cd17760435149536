//! The outside of a member without ports, in memory.

#![allow(dead_code)]

use l2vpn::dataplane::Exits;
use l2vpn::mesh::outgoing::Outgoing;
use l2vpn::node::plane::Note;
use l2vpn::place::PortId;
use l2vpn::wire::ethernet::Parts;
use l2vpn::wire::offload::Offload;

/// What results, kept until somebody looks.
#[derive(Default)]
pub struct Out {
    pub outgoing: Outgoing,
    pub notes: Vec<Note>,
}

impl Exits for Out {
    fn takes(&self, _: PortId, _: &Offload) -> bool {
        false
    }

    fn deliver(&mut self, _: PortId, _: &Parts<'_>, _: &Offload) {}

    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    fn note(&mut self, note: Note) -> bool {
        self.notes.push(note);
        true
    }
}
