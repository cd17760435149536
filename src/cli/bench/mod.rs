//! `bench`: what this machine can do, with everything that it is compared with measured in the same run.
//!
//! Two hosts as namespaces, a cable between them, and our own traffic: nothing else has to be installed. Each round measures
//! every subject once, so that a machine whose speed drifts treats them alike; medians with their ranges are printed.

mod figures;
mod measure;
mod world;

use std::path::Path;

use super::args::BenchArgs;
use super::exit::{Exit, Failure};
use super::{isolated, render};
use figures::{Figures, Kind};
use measure::Measure;
use world::{Subject, World};

pub(super) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let subjects = subjects(args)?;
    match &args.inside {
        Some(dir) => inside(args, dir, &subjects),
        None => isolated::run("bench", &again(args), false),
    }
}

/// The arguments for the inner process.
fn again(args: &BenchArgs) -> Vec<String> {
    let mut again = vec![
        format!("--rounds={}", args.rounds),
        format!("--seconds={}", args.seconds),
        format!("--mtu={}", args.mtu),
        format!("--underlay-mtu={}", args.underlay_mtu),
        format!("--workers={}", args.workers),
    ];
    again.extend((!args.only.is_empty()).then(|| format!("--only={}", args.only.join(","))));
    let loss: Vec<String> = args.loss.iter().map(ToString::to_string).collect();
    again.extend((!loss.is_empty()).then(|| format!("--loss={}", loss.join(","))));
    again.extend(args.json.then(|| "--json".to_string()));
    again
}

fn subjects(args: &BenchArgs) -> Result<Vec<Subject>, Failure> {
    if args.only.is_empty() {
        return Ok(match args.loss.is_empty() {
            true => Subject::USUAL.to_vec(),
            false => vec![Subject::Aes, Subject::Segments],
        });
    }
    let known = || Subject::ALL.map(Subject::name).join(", ");
    let named = args.only.iter().map(|name| {
        Subject::ALL
            .into_iter()
            .find(|s| s.name() == name)
            .ok_or_else(|| {
                let message = format!("--only: \"{name}\" is not known; there are {}", known());
                Failure::failed(message)
            })
    });
    named.collect()
}

fn inside(args: &BenchArgs, dir: &Path, subjects: &[Subject]) -> Result<Exit, Failure> {
    let fail = |why: String| Failure::failed(why);
    let mut world = World::new(dir, args).map_err(fail)?;
    let mut figures = Figures::new(args, world.control());
    for round in 1..=args.rounds {
        for subject in subjects {
            let title = format!("round {round} of {}: {}", args.rounds, subject.title());
            eprint_progress(&title);
            let measured = match args.loss.is_empty() {
                true => Measure::new(&mut world, *subject, args).everything(&mut figures),
                false => Measure::new(&mut world, *subject, args).losses(&mut figures),
            };
            match measured {
                Ok(()) => {}
                Err(why) if subject.is_optional() => {
                    eprint_progress(&format!("{} is left out: {why}", subject.title()));
                }
                Err(why) => return Err(fail(format!("{}: {why}", subject.title()))),
            }
        }
    }
    match args.json {
        true => render::json(&figures)?,
        false => {
            let base = match figures.has(Subject::Vxlan, Kind::Tcp1) {
                true => Subject::Vxlan,
                false => Subject::Bare,
            };
            render::print(&figures.table(base))?;
        }
    }
    Ok(Exit::Ok)
}

/// Says on stderr what goes on.
fn eprint_progress(text: &str) {
    render::say(&format!("bench: {text}\n"));
}
