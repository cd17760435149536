//! `down`: ends the running member and waits until it has ended.

use std::time::{Duration, Instant};

use super::args::MemberArgs;
use super::exit::{Exit, Failure};
use super::member;
use crate::api::{Answer, Verb};

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(args: &MemberArgs) -> Result<Exit, Failure> {
    let socket = member::socket(args)?;
    let Answer::Ending = member::ask_at(&socket, Verb::Down)? else {
        return Err(member::unexpected());
    };
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(&socket).is_ok() || socket.exists() {
        if began.elapsed() > PATIENCE {
            return Err(Failure::failed("the member said that it ends, and has not"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Exit::Ok)
}
