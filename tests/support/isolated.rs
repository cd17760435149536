//! A benchmark in namespaces of its own.

use std::process::{Command, ExitCode};

use l2vpn::io::{namespace, process};

/// Runs a benchmark inside, when benchmarks are what is wanted: `cargo test --all-targets` starts it too.
///
/// `mark` is the variable by which the process inside is known.
pub fn bench(mark: &str, run: fn() -> Result<(), String>) -> ExitCode {
    if std::env::var_os(mark).is_some() {
        return match run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    if !std::env::args().any(|a| a == "--bench") {
        return ExitCode::SUCCESS;
    }
    let isolation = match namespace::available() {
        Ok(isolation) => isolation,
        Err(why) => {
            eprintln!("no figures: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args().skip(1)).env(mark, "1");
    let status = namespace::isolate(&mut command, isolation)
        .and_then(|c| process::die_with_parent(c).status());
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        other => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
    }
}
