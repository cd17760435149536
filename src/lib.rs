//! x
pub mod drops;
pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod io;
pub mod keys;
pub mod lab;
pub mod mesh;
pub mod node;
pub mod noise;
pub mod place;
pub mod switch;
pub mod time;
pub mod wire;
