//! A stage for stories: each runs in a process and in namespaces of its own, so it needs no root where user namespaces are
//! allowed, and leaves nothing behind. Where the system forbids that, each story is reported as ignored, with the reason
//! on a line of its own.

#![allow(dead_code)]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use l2vpn::io::{namespace, process};
use libtest_mimic::{Arguments, Failed, Trial};

/// A story; an error beginning with [`SKIPPED`] is told and no failure.
pub type Story = fn() -> Result<(), String>;

/// What a story begins its error with when something that it needs is not installed.
pub const SKIPPED: &str = "SKIPPED: ";

const INSIDE: &str = "L2VPN_NETNS_STORY";

/// Tells the stories of a file.
pub fn play(file: &'static str, stories: &'static [(&'static str, Story)]) -> ExitCode {
    perform(file, stories, false)
}

/// The same for stories that are told with `--ignored` only, because they need more than a system has by itself.
pub fn play_when_asked(file: &'static str, stories: &'static [(&'static str, Story)]) -> ExitCode {
    perform(file, stories, true)
}

fn perform(
    file: &'static str,
    stories: &'static [(&'static str, Story)],
    is_apart: bool,
) -> ExitCode {
    if let Some(name) = std::env::var_os(INSIDE) {
        return inside(stories, &name.to_string_lossy());
    }
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(Some(2));
    let obstacle = obstacle();
    if let (Some(why), false) = (&obstacle, args.list) {
        for (name, _) in stories {
            eprintln!("SKIPPED {file}::{name}: {why}");
        }
    }
    // What is asked for and cannot be was said just now.
    let told = if is_apart && obstacle.is_some() {
        &[]
    } else {
        stories
    };
    let is_ignored = is_apart || obstacle.is_some();
    let trials = told
        .iter()
        .map(|(name, _)| Trial::test(*name, move || outside(name)).with_ignored_flag(is_ignored))
        .collect();
    libtest_mimic::run(&args, trials).exit_code()
}

/// Why the stories cannot run here.
fn obstacle() -> Option<String> {
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    match (device, namespace::available()) {
        (Err(error), _) => Some(format!("/dev/net/tun: {error}")),
        (_, Err(why)) => Some(why),
        _ => None,
    }
}

/// Runs a story in a process and namespaces of its own.
fn outside(name: &str) -> Result<(), Failed> {
    let isolation = namespace::available()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(INSIDE, name).process_group(0);
    namespace::isolate(&mut command, isolation)?;
    let output = process::die_with_parent(&mut command).output()?;
    if output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let skipped = told.lines().filter(|l| l.starts_with(SKIPPED));
        skipped.for_each(|line| eprintln!("{name}: {line}"));
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{}\n{text}", output.status).into())
}

fn inside(stories: &[(&str, Story)], name: &str) -> ExitCode {
    let Some((_, story)) = stories.iter().find(|(n, _)| *n == name) else {
        return ExitCode::FAILURE;
    };
    match story() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.starts_with(SKIPPED) => {
            eprintln!("{why}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
