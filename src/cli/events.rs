//! `events`: what happened lately, and with `--follow` what happens.

use std::time::Duration;

use super::args::EventsArgs;
use super::exit::{Exit, Failure};
use super::{member, render};
use crate::api::{Answer, EventView, Verb};

/// How often the member is asked for more.
const EVERY: Duration = Duration::from_millis(250);

pub(super) fn run(args: &EventsArgs) -> Result<Exit, Failure> {
    let socket = member::socket(&args.show.member)?;
    let (mut after, mut was_there) = (0, false);
    loop {
        let events = match member::ask_at(&socket, Verb::Events { after }) {
            Ok(Answer::Events(events)) => events,
            Ok(_) => return Err(member::unexpected()),
            // It may be a restart.
            Err(_) if args.follow && was_there => Vec::new(),
            Err(failure) => return Err(failure.into()),
        };
        was_there = true;
        for event in &events {
            after = event.number;
            match args.show.json {
                true => render::json(event)?,
                false => render::print(&line(event))?,
            }
        }
        if !args.follow {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(EVERY);
    }
}

fn line(event: &EventView) -> String {
    let (days, rest) = (event.unix_ms / 86_400_000, event.unix_ms % 86_400_000);
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    let (seconds, millis) = (rest / 1000 % 60, rest % 1000);
    let (year, month, day) = date(days);
    format!(
        "{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z  {:<16}  {}\n",
        event.kind, event.message
    )
}

/// The date so many days after 1970 began: years of 400 have 146,097 days, and begin in March, so that leap days are last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_kind_and_message() {
        let event = EventView {
            number: 1,
            unix_ms: 1_709_210_096_789,
            kind: "loop".into(),
            message: "port lan0 is closed".into(),
        };
        assert_eq!(
            line(&event),
            "2024-02-29T12:34:56.789Z  loop              port lan0 is closed\n"
        );
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(20_454), (2026, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
    }
}
