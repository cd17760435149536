//! `relay`: start a relay, or write its first configuration.

use super::args::{InitArgs, RelayArgs};
use super::exit::{Exit, Failure};
use super::{init, render};
use crate::config::{DemoKeys, load};
use crate::daemon;

pub(super) fn run(args: &RelayArgs) -> Result<Exit, Failure> {
    if args.init {
        let name = args.config.file_stem().and_then(|s| s.to_str());
        let args = InitArgs {
            config: Some(args.config.clone()),
            name: name.map(Into::into),
        };
        return init::relay(&args);
    }
    let (config, report) = load(&args.config, DemoKeys::Refuse);
    let Some(config) = config else {
        return Err(Failure::config(&report));
    };
    render::say(&report.to_string());
    if !config.relays {
        let message = format!("{}: a relay needs [admission]", args.config.display());
        let hint = "[admission] members = [\"...\"]: the public keys of those that may use it; \
                    a member with ports is started with `l2vpn up`";
        return Err(Failure::with(Exit::Config, message, hint));
    }
    daemon::run(config, &args.log)?;
    Ok(Exit::Ok)
}
