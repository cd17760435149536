//! `check`: everything that is wrong with a configuration, in one run.

use std::path::PathBuf;

use super::args::CheckArgs;
use super::exit::{Exit, Failure};
use super::render;
use crate::config::finding::{Report, Severity};
use crate::config::paths::Places;
use crate::config::{DemoKeys, load_with};

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let path = config_path(args.config.as_ref());
    let (config, report) = load_with(
        &path,
        demo_keys(args.allow_demo_keys),
        &mut args.words.looking(),
    );
    if args.json {
        json(&report)?;
        return Ok(if config.is_some() {
            Exit::Ok
        } else {
            Exit::Config
        });
    }
    let Some(config) = config else {
        return Err(Failure::config(&report));
    };
    render::say(&report.to_string());
    render::print(&format!(
        "{}: ok: member {}, {} segment(s), {} port(s), {} peer(s)\n",
        path.display(),
        config.name,
        config.segments.len(),
        config.ports.len(),
        config.peers.len()
    ))?;
    Ok(Exit::Ok)
}

fn json(report: &Report) -> Result<(), Failure> {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|f| {
            serde_json::json!({
                "line": f.place.map(|p| p.0),
                "column": f.place.map(|p| p.1),
                "severity": match f.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "message": f.message,
                "hint": f.hint,
            })
        })
        .collect();
    render::json(&serde_json::json!({
        "file": report.path.display().to_string(),
        "ok": !report.has_errors(),
        "findings": findings,
    }))
}

/// The configuration that is meant.
pub(super) fn config_path(named: Option<&PathBuf>) -> PathBuf {
    named
        .cloned()
        .unwrap_or_else(|| Places::default_for_user().default_config())
}

pub(super) fn demo_keys(allowed: bool) -> DemoKeys {
    match allowed {
        true => DemoKeys::Allow,
        false => DemoKeys::Refuse,
    }
}
