//! What computations with secrets leave behind on the stack.

/// Bytes below the caller's frame that are overwritten: more than a handshake reaches down.
const DEPTH: usize = 128 * 1024;

/// Overwrites the stack below the caller with zeros.
///
/// A secret that is wiped when it is dropped may have been moved before, and a move leaves the old bytes where they were: in frames
/// of functions that have returned. To be called when those are done; takes about two microseconds.
#[inline(never)]
pub fn wipe_stack() {
    let mut dead = [0u8; DEPTH];
    // Nobody reads it, so it would not be written without this.
    std::hint::black_box(&mut dead);
}
