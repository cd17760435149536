//! TRUST: whose word makes a member of a network, what was taken back of it, and how one is invited.
//!
//! # Why
//! A node, a configuration, an authority's directory and an admin's daemon all ask the same questions: is this record to be believed,
//! does it still count, may this key sign that? They are answered here once, from bytes and times that come in from outside.
//!
//! ```text
//! authority --signs--> record                                (`ca sign`)
//! authority --signs--> delegation --of--> key --signs--> record   (`invite`, renewal: the authority is not there)
//! authority --signs--> list of who is revoked, and which keys sign no more
//! ```

pub mod grant;
pub mod invitation;
pub mod invites;
pub mod lists;
pub mod realm;
pub mod signer;

pub use invitation::{Invitation, NoInvitation};
pub use invites::{Book, Invite};
pub use lists::Lists;
pub use realm::{Realm, Recorded, Refusal, Term};
pub use signer::Signer;
