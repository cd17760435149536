//! `reload`: has the running member read its configuration again.

use super::args::ReloadArgs;
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, Secret, Verb};

pub(super) fn run(args: &ReloadArgs) -> Result<Exit, Failure> {
    let verb = match args.words.opener().given().map_err(Failure::failed)? {
        Some(passphrase) => Verb::ReloadWith(Secret::new(passphrase.words())),
        None => Verb::Reload,
    };
    match member::ask(&args.which, verb)? {
        Answer::Reloaded(changes) => {
            render::say(&changes.warnings);
            render::print(&format!("{changes}\n"))?;
            Ok(Exit::Ok)
        }
        Answer::Rejected(why) => {
            render::say(&format!("{why}\n"));
            let goes_on = "the member goes on as it was";
            Err(Failure::with(Exit::Config, "nothing was taken up", goes_on))
        }
        _ => Err(member::unexpected()),
    }
}
