//! SECRETS: keys, their text form, their files, and the dice that make them.
//!
//! # Why
//! A key is a value that cannot be anything else: `PrivateKey`, `PublicKey` and `Psk` are 32 bytes by construction, so
//! that no wrong length reaches the Noise library (which pads short private keys with zeros and panics on long ones).
//! Secrets have no `Debug` of their content, no `Display` and no `Serialize`; they are wiped when dropped. Text forms
//! are those of `wg genkey`, `wg pubkey` and `wg genpsk`: one line of 44 base64 characters; or an [`Envelope`], which needs a
//! passphrase.

mod armor;
mod audit;
mod authority;
mod demo;
mod entropy;
mod envelope;
mod file;
mod former;
mod kept;
mod key;
mod network;
mod passphrase;
mod scrub;
mod ticket;

pub use armor::Armor;
pub use audit::{AuditChain, AuditEntry, AuditError, append_audit, verify_audit};
pub use authority::{Authority, AuthorityKey, Signs};
pub use demo::is_demo;
pub use entropy::Entropy;
pub use envelope::{Cost, Envelope, EnvelopeError, Holds};
pub use file::{
    KeyFileError, MAX_FILE_LEN, Stored, kind_in, opened, read_private, read_psk, read_stored,
    replace, retired, rotate, stored_in, write_new, write_private, write_psk,
};
pub use former::{Names, OwnKeys, Psks, Which};
pub(crate) use kept::Kept;
pub use key::{KeyTextError, PrivateKey, Psk, PublicKey};
pub use network::{MAX_AUTHORITIES, NetworkFile};
pub use passphrase::{AtHand, MAX_PASSPHRASE, Nobody, Opener, Passphrase};
pub use scrub::wipe_stack;
pub use ticket::{NotATicket, TICKET_LEN, Ticket};
