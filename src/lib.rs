//! l2vpn: an encrypted, WireGuard-style Layer-2 overlay VPN.
//!
//! One process per host, a *member*, known by its X25519 key. A member has *ports* (TAPs) in *segments* (isolated
//! Ethernet broadcast domains) and one encrypted *session* per peer, which carries all segments. Every member is a
//! learning, VLAN-aware switch; the mesh is one hop with split horizon.
//!
//! # The map
//!
//! | room | what it is | may import |
//! |---|---|---|
//! | [`wire`] | bytes: everything parsed or written | `drops` |
//! | [`keys`] | secrets: key types and files | - |
//! | [`noise`] | authentication: from two public keys to AEAD halves | `wire keys` |
//! | [`switch`] | switching: who gets this frame? | `wire` |
//! | [`config`] | wishes: from TOML to a checked configuration | `wire keys switch` |
//! | [`mesh`] | peers: paths, attempts, what waits for them | `wire keys noise` |
//! | [`node`] | core: one member without its outside | `wire keys noise switch mesh` |
//! | [`dataplane`] | hot path: frames out, frames in | `wire noise switch mesh node io` |
//! | [`io`] | outside: every system call and all `unsafe` | `wire keys` |
//! | [`lab`] | laboratory: hosts as namespaces | `wire io` |
//! | [`api`] | control objects of daemon and command line | - |
//! | [`daemon`] | running: assembly, event loop, control socket | all but `cli lab` |
//! | [`cli`] | talking: one file per verb | `api config daemon keys lab io`, suite names |
//!
//! `time`, `drops`, `place` and `sync` are single words that every room uses: an instant, a reason, a direction, an atomic. Below `io` and
//! `dataplane` nobody knows a socket, a clock, a task or a source of randomness; `tests/architecture.rs` holds the house
//! to all of this. The laboratory is a room of its own because demo, tests and benchmarks share it; `config` uses the
//! switch's words for VLAN rules and limits instead of inventing its own.
//!
//! # The path of a frame
//!
//! Out, from a port to peers:
//! 1. `workers::drain` reads it and, at the end of the batch, 7. `workers::flush` sends what resulted as trains;
//! 2. `Encap::frame` parses it;
//! 3. `Switch::from_port` brings it into canonical form, learns its source and finds who gets it;
//! 4. `Encap::forward` goes through them;
//! 5. `Link::send_frame` takes the peer's route and cuts the frame if it does not fit the path;
//! 6. `SendHalf::seal` encrypts it into the outgoing batch.
//!
//! In, from the network to ports:
//! 1. `workers::out_of_socket` receives a train and takes it apart;
//! 2. `Decap::datagram` follows each datagram to its end;
//! 3. `Decap::open` finds the session and puts pieces together;
//! 4. `RecvHalf::open` authenticates, decrypts in place and marks the replay window;
//! 5. `Switch::from_peer` learns the source and finds the ports;
//! 6. `encap::deliver` gives the frame the form that it has on the port;
//! 7. `Hands::deliver` writes it to the TAP.

#![deny(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod drops;
#[allow(unsafe_code)]
pub mod io;
pub mod keys;
pub mod lab;
pub mod mesh;
pub mod node;
pub mod noise;
pub mod place;
pub mod switch;
pub mod sync;
pub mod time;
pub mod wire;
