//! BYTES: everything that is parsed from or written to a wire, as borrowed views.
//!
//! # Why
//! Parsers are where hostile bytes meet the program, so they live in one room with strict rules: they borrow, they
//! check the length once and then read without fear, they never panic, allocate, or look at a clock. A value of a type
//! from this room is proof that the bytes behind it were well formed; whether they are *true* is for the rooms above.
//!
//! Ethernet is big endian as IEEE 802.3 has it; everything of our own is little endian.

pub mod advert;
pub mod announcement;
pub mod asking;
pub mod beacon;
pub mod bundle;
pub mod checksum;
pub mod claims;
pub mod control;
pub mod datagram;
pub mod delegation;
pub mod ethernet;
pub mod fragment;
pub mod inner;
pub mod kem;
pub mod layers;
pub mod membership;
pub mod neighbor;
pub mod offer;
pub mod offload;
pub mod piece;
pub mod probe;
pub mod proof;
pub mod record;
pub mod relayed;
pub mod revocation;
pub mod segment;
pub mod service;
pub mod stream;
pub mod udp;
pub mod vantage;
pub mod vlan;
pub mod vlans;

pub(crate) mod cursor;
mod signed;
