//! The program: parse, run the verb, end with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    l2vpn::cli::main()
}
