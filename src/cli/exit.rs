//! How the program ends.

use std::process::ExitCode;

use super::render::say;

use crate::config::finding::Report;
use crate::daemon::{CallError, StartError};
use crate::keys::KeyFileError;

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Ok = 0,
    Failed = 1,
    Config = 3,
    Permission = 4,
    NoDaemon = 5,
    Degraded = 6,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What went wrong, what to do, and the exit code.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Failure {
            exit: Exit::Failed,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn with(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// A report of findings, which is its own text.
    pub(super) fn config(report: &Report) -> Self {
        let errors = report.findings.iter();
        let count = errors
            .filter(|f| f.severity == crate::config::finding::Severity::Error)
            .count();
        say(&report.to_string());
        Failure {
            exit: Exit::Config,
            message: format!(
                "{count} error{} in {}: nothing was started",
                if count == 1 { "" } else { "s" },
                report.path.display()
            ),
            hint: None,
        }
    }

    /// Says it on stderr and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        say(&format!("l2vpn: {}\n", self.message));
        if let Some(hint) = self.hint {
            say(&format!("  hint: {hint}\n"));
        }
        self.exit.into()
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        let exit = match &error {
            KeyFileError::Permissions { .. }
            | KeyFileError::Text { .. }
            | KeyFileError::Sealed(_)
            | KeyFileError::Envelope { .. } => Exit::Config,
            KeyFileError::Owner { .. } => Exit::Permission,
            KeyFileError::Io { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Exit::Permission
            }
            _ => Exit::Failed,
        };
        Failure::with(exit, error.to_string(), error.hint())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = if error.is_permission() {
            Exit::Permission
        } else if error.is_config() {
            Exit::Config
        } else {
            Exit::Failed
        };
        Failure {
            exit,
            hint: error.hint(),
            message: error.to_string(),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::NoDaemon(_) => {
                Failure::with(Exit::NoDaemon, message, "start one with `l2vpn up`")
            }
            CallError::NotPermitted(_) => Failure::with(
                Exit::Permission,
                message,
                "only the daemon's own user and root may",
            ),
            _ => Failure::failed(message),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::failed(error.to_string())
    }
}
