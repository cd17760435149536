//! Where things are by default: the file system hierarchy for root, the user's own directories for everybody else.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use directories::ProjectDirs;

/// The default directories of whoever runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// For configurations and keys.
    pub config: PathBuf,
    /// For what survives a restart.
    pub state: PathBuf,
    /// For control sockets.
    pub run: PathBuf,
}

impl Places {
    /// Root: `/etc/l2vpn`, `/var/lib/l2vpn`, `/run/l2vpn`; others: as the XDG base directories say.
    pub fn default_for_user() -> Places {
        let root = Places {
            config: "/etc/l2vpn".into(),
            state: "/var/lib/l2vpn".into(),
            run: "/run/l2vpn".into(),
        };
        if is_root() {
            return root;
        }
        match ProjectDirs::from("", "", "l2vpn") {
            Some(dirs) => Places {
                config: dirs.config_dir().into(),
                state: dirs.data_local_dir().into(),
                run: dirs.runtime_dir().unwrap_or(dirs.data_local_dir()).into(),
            },
            None => root,
        }
    }

    /// The configuration that is used when none is named.
    pub fn default_config(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The control socket of a member.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.run.join(format!("{name}.sock"))
    }
}

/// Whether the program runs as user 0 (in its user namespace).
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// A path as written in a file, resolved from that file's directory.
pub fn resolve(file: &Path, written: &str) -> PathBuf {
    let base = file.parent().unwrap_or(Path::new(""));
    let path = base.join(written);
    // Absolute, so that it means the same to whoever reads it later.
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_from_their_file_and_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(resolve(Path::new("a.toml"), "a.sock"), here.join("a.sock"));
        assert_eq!(resolve(Path::new("d/a.toml"), "k"), here.join("d/k"));
        assert_eq!(resolve(Path::new("/etc/a.toml"), "k"), Path::new("/etc/k"));
        assert_eq!(
            resolve(Path::new("/etc/a.toml"), "/run/s"),
            Path::new("/run/s")
        );
    }
}
