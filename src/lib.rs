//! x
pub mod drops;
pub mod dataplane;
pub mod keys;
pub mod mesh;
pub mod node;
pub mod noise;
pub mod place;
pub mod switch;
pub mod time;
pub mod wire;
