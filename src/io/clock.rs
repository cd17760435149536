//! The only place where a clock is read or randomness drawn.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::keys::Entropy;
use crate::time::{Duration, Instant};

/// The boot-time clock: it goes on during suspend.
pub fn now() -> Instant {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a valid timespec that lives through the call; the call writes nothing else.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    debug_assert_eq!(result, 0, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_micros(seconds * 1_000_000 + nanos / 1000)
}

/// The wall clock: time since 1970, zero when it is set to before.
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The kernel's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        // A kernel without randomness cannot run this program: keys made from anything else would be a disaster.
        if let Err(error) = getrandom::fill(out) {
            eprintln!("l2vpn: the kernel gives no randomness: {error}");
            std::process::abort();
        }
    }
}
