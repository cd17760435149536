//! LABORATORY: several hosts on one machine, for the demo, the benchmarks and the tests.
//!
//! # Why
//! What a user sees can only be tested with real interfaces, and a demonstration has to run anywhere without other
//! programs. Each host is a process in a network namespace of its own ([`host`]) that takes orders as lines of JSON; the
//! coordinator ([`network`]) connects the hosts by veth pairs and a bridge: the underlay. Namespaces, interfaces and
//! daemons vanish with the processes, and the processes die with the coordinator, so nothing is ever left behind.

pub mod host;
mod impairment;
pub mod network;
pub mod orders;
mod traffic;
mod transfer;
