//! `reload`: has the running member read its configuration again.

use super::args::MemberArgs;
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, Verb};

pub(super) fn run(args: &MemberArgs) -> Result<Exit, Failure> {
    match member::ask(args, Verb::Reload)? {
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
