//! Invitations, as the command line and an admin's daemon speak of them.

use serde::{Deserialize, Serialize};

/// What an invitation shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteOrder {
    /// What the member is called.
    pub name: String,
    /// The segments that it may take part in, by name or id.
    pub segments: Vec<String>,
    /// The VLANs in each: `10`, `20-29`, `untagged`; empty for all.
    pub vlans: Vec<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// The address of its host in the first segment, "10.77.0.3/24"; empty for none.
    pub address: String,
    /// For how many days its record holds.
    pub days: u32,
    /// For how many seconds the invitation is good.
    pub ttl_s: u64,
    /// How often it may be used.
    pub uses: u32,
    /// Where the admin is, "host:port"; empty for the addresses that it knows of itself.
    pub places: Vec<String>,
}

/// An invitation that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteView {
    /// What it is known by.
    pub id: String,
    /// What the member is called.
    pub name: String,
    /// The segments, by name where they have one.
    pub segments: Vec<String>,
    /// How often it may be used.
    pub uses: u32,
    /// How often it was.
    pub taken: u32,
    /// For how many seconds it is still good.
    pub left_s: u64,
    /// `open`, `used`, `expired` or `withdrawn`.
    pub state: String,
}
