//! `up`: start this member.

use super::args::UpArgs;
use super::check::{config_path, demo_keys};
use super::exit::{Exit, Failure};
use super::render;
use crate::config::load_with;
use crate::daemon::{self, Plan};

pub(super) fn run(args: &UpArgs) -> Result<Exit, Failure> {
    let path = config_path(args.config.as_ref());
    let mut opener = match args.check {
        true => args.words.looking(),
        false => args.words.opener(),
    };
    let (config, report) = load_with(&path, demo_keys(args.allow_demo_keys), &mut opener);
    let Some(config) = config else {
        return Err(Failure::config(&report));
    };
    render::say(&report.to_string());
    if args.check {
        render::print(&format!("{}: ok\n", path.display()))?;
        return Ok(Exit::Ok);
    }
    if args.dry_run {
        for step in Plan::of(&config).steps() {
            render::print(&format!("{step}\n"))?;
        }
        return Ok(Exit::Ok);
    }
    daemon::run(config, &args.log)?;
    Ok(Exit::Ok)
}
