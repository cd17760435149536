//! `demo`: three hosts on this machine, one Ethernet between them, and proof that it works.

/// Writes a line to stdout; the demo goes on when nobody listens any more.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// The same without the end of the line, at once.
macro_rules! tell_part {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let mut stdout = std::io::stdout();
        let _ = write!(stdout, $($text)*).and_then(|()| stdout.flush());
    }};
}

mod picture;
mod progress;
mod steps;
mod world;

use super::args::DemoArgs;
use super::exit::{Exit, Failure};
use super::isolated;

pub(super) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    match &args.inside {
        Some(dir) => steps::run(dir, args.keep),
        None => {
            let more = args.keep.then(|| "--keep".to_string());
            isolated::run("demo", more.as_slice(), args.keep)
        }
    }
}
