//! Randomness as something that is handed in.

/// A source of cryptographic randomness.
///
/// The daemon passes the kernel's (see `io::clock`); simulations pass a seeded generator, which makes a whole network
/// of members repeatable.
pub trait Entropy: Send {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);

    /// A random 32-bit number.
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0u8; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// A random 64-bit number.
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0u8; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
