//! `audit`: whether a log is whole.

use super::args::{AuditArgs, AuditVerb};
use super::exit::{Exit, Failure};
use super::render::print;
use crate::keys::verify_audit;

pub(super) fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    let AuditVerb::Verify { file } = &args.verb;
    let name = file.display();
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::failed(format!("{name}: {error}")))?;
    let chain = verify_audit(&text).map_err(|error| {
        let hint = "compare it with a copy; what comes before that line is as it was written";
        Failure::with(Exit::Failed, format!("{name}: {error}"), hint)
    })?;
    let entries = chain.entries;
    print(&format!(
        "{name}: {entries} entries, unbroken, last {}\n",
        chain.last
    ))?;
    Ok(Exit::Ok)
}
