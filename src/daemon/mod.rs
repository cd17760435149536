//! RUNNING: a configuration becomes a running member, and stays one until it is told to end.
//!
//! # Why
//! tokio runs the control side only: one thread that owns the [`crate::node::Node`] and waits for whatever comes first:
//! notes of the workers, the node's deadline, requests on the control socket, resolved names, signals. Frames never pass
//! through it. Teardown mirrors setup: goodbye, threads, addresses, socket; TAPs vanish with their descriptors.

mod admin;
mod assemble;
mod bridging;
#[cfg_attr(not(feature = "quic"), path = "no_carriers.rs")]
mod carriers;
mod chronicle;
mod control;
mod ears;
mod event_loop;
mod hosts;
mod joining;
mod journal;
mod network;
mod paths;
mod peers;
mod ports;
mod reaching;
mod reload;
mod resolve;
mod rotation;
mod run;
mod state;
mod view;

pub use assemble::StartError;
pub use control::{CallError, call};
pub use joining::{Given, JoinError, join};
pub use journal::log_filter;
pub use run::{Plan, run};
