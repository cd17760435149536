//! TALKING: the command line, one file for each verb.
//!
//! # The constitution
//! stdout is the answer, stderr everything else. `--json` on every verb that reads. Meaning is never only in colour.
//! Top-level verbs stay for ever, so there are few. Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration, 4 permission,
//! 5 no daemon, 6 degraded.

pub mod args;
mod audit;
mod bench;
mod ca;
mod check;
mod demo;
mod down;
mod events;
mod exit;
mod init;
mod invite;
pub mod inviting;
mod isolated;
mod join;
mod key;
mod macs;
mod member;
mod metrics;
mod paths;
mod ping;
mod relay;
mod reload;
mod render;
mod sealing;
mod show;
mod up;
mod vlans;

use std::process::ExitCode;

use clap::Parser;

use crate::io::process;
use args::{Args, Verb};
use exit::Failure;

/// Runs the program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.verb) {
        Ok(code) => code.into(),
        Err(failure) => failure.report(),
    }
}

fn run(verb: Verb) -> Result<exit::Exit, Failure> {
    // Before any secret is read.
    process::forbid_core_dumps();
    if !matches!(verb, Verb::Demo(_) | Verb::Bench(_) | Verb::LabHost) {
        process::forbid_debuggers();
    }
    match verb {
        Verb::Init(args) => init::run(&args),
        Verb::Key(args) => key::run(&args),
        Verb::Ca(args) => ca::run(&args),
        Verb::Invite(args) => invite::run(&args),
        Verb::Join(args) => join::run(&args),
        Verb::Audit(args) => audit::run(&args),
        Verb::Up(args) => up::run(&args),
        Verb::Relay(args) => relay::run(&args),
        Verb::Down(args) => down::run(&args),
        Verb::Reload(args) => reload::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Show(args) => show::run(&args),
        Verb::Macs(args) => macs::run(&args),
        Verb::Vlans(args) => vlans::run(&args),
        Verb::Paths(args) => paths::run(&args),
        Verb::Netcheck(args) => paths::netcheck(&args),
        Verb::Neighbors(args) => macs::neighbors(&args),
        Verb::Metrics(args) => metrics::run(&args),
        Verb::Events(args) => events::run(&args),
        Verb::Ping(args) => ping::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Version(args) => show::version(&args),
        Verb::LabHost => crate::lab::host::serve()
            .map(|()| exit::Exit::Ok)
            .map_err(|e| Failure::failed(e.to_string())),
    }
}
