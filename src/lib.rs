//! x
pub mod drops;
pub mod keys;
pub mod noise;
pub mod place;
pub mod switch;
pub mod time;
pub mod wire;
