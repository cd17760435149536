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
//! | [`trust`] | trust: whose word makes a member | `wire keys` |
//! | [`config`] | wishes: from TOML to a checked configuration | `wire keys switch trust` |
//! | [`mesh`] | peers: paths, attempts, what waits for them | `wire keys noise trust` |
//! | [`node`] | core: one member without its outside | `wire keys noise switch mesh trust` |
//! | [`dataplane`] | hot path: frames out, frames in | `wire noise switch mesh node io` |
//! | [`io`] | outside: every system call and all `unsafe` | `wire keys` |
//! | [`lab`] | laboratory: hosts as namespaces | `wire io` |
//! | [`api`] | control objects of daemon and command line | - |
//! | [`daemon`] | running: assembly, event loop, control socket | all but `cli lab` |
//! | [`cli`] | talking: one file per verb | `api config daemon keys lab io trust`, suite names |
//!
//! `time`, `drops`, `place`, `carrier` and `sync` are single words that every room uses: an instant, a reason, a direction,
//! what carries, an atomic. Below `io` and
//! `dataplane` nobody knows a socket, a clock, a task or a source of randomness; `tests/architecture.rs` holds the house
//! to all of this. The laboratory is a room of its own because demo, tests and benchmarks share it; `config` uses the
//! switch's words for VLAN rules and limits instead of inventing its own.
//!
//! # The path of a frame
//!
//! A *frame* here is a packet, or a super-frame of up to 64 KiB that the host's TCP left uncut.
//!
//! Out, from a port to peers:
//! 1. `workers::drain` reads it, lets small flows go first and, at the end of the batch, sends what resulted as trains;
//! 2. `Encap::frame` checks the header that came before it and parses it;
//! 3. `Switch::from_port` brings it into canonical form, learns its source and finds who gets it;
//! 4. `Encap::forward` goes through them;
//! 5. `Outbound::send` bundles it with others, cuts it into pieces, or sends it as it is, by the peer's route;
//! 6. `SendHalf::seal_to` encrypts from the port's buffer into the outgoing batch.
//!
//! In, from the network to ports:
//! 1. `Worker::out_of_lane` receives a batch of trains and takes them apart;
//! 2. `Decap::open` finds the session and follows each datagram to its end;
//! 3. `RecvHalf::open_to` authenticates, decrypts a piece to its place and marks the replay window;
//! 4. `Decap::flush` joins what belongs together, at the end of the batch;
//! 5. `Switch::from_peer` learns the source and finds the ports;
//! 6. `encap::deliver` gives the frame the form that it has on the port, and cuts it where the port takes no super-frames;
//! 7. `Hands::deliver` writes it to the TAP.

#![deny(unsafe_code)]

pub mod api;
pub mod carrier;
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
pub mod trust;
pub mod wire;
