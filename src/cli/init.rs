//! `init`: a first configuration and a key, or nothing at all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::args::InitArgs;
use super::check::config_path;
use super::exit::{Exit, Failure};
use super::render::print;
use crate::config::is_name;
use crate::config::template::{first_config, first_relay};
use crate::io::clock::OsEntropy;
use crate::keys::{self, PrivateKey};

pub(super) fn run(args: &InitArgs) -> Result<Exit, Failure> {
    let next =
        "give the public key to the other members, write theirs into [[peer]], then `l2vpn up";
    write(args, first_config, next)
}

/// The same for a relay.
pub(super) fn relay(args: &InitArgs) -> Result<Exit, Failure> {
    let next = "write the members' public keys into [admission], give them this one for [[relay]], then `l2vpn relay";
    write(args, first_relay, next)
}

fn write(
    args: &InitArgs,
    template: impl Fn(&str, &str) -> String,
    next: &str,
) -> Result<Exit, Failure> {
    let path = config_path(args.config.as_ref());
    let name = match &args.name {
        Some(name) if is_name(name) => name.clone(),
        Some(name) => {
            let message = format!("\"{}\" is not a name", name.escape_debug());
            let hint = "use up to 63 letters, digits, '-', '_' and '.'";
            return Err(Failure::with(Exit::Config, message, hint));
        }
        None => host_name(),
    };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if path.exists() {
        let message = format!("{} exists already; it is left as it is", path.display());
        return Err(Failure::with(Exit::Failed, message, "name another file"));
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| denied(dir, &e))?;
    let key_name = format!("{name}.key");
    let key_file = dir.join(&key_name);
    // The configuration is prepared first, so that a full disk leaves no key without one.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(|e| denied(dir, &e))?;
    file.write_all(template(&name, &key_name).as_bytes())?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    let key = PrivateKey::generate(&mut OsEntropy);
    keys::write_private(&key_file, &key)?;
    if let Err(error) = file.persist_noclobber(&path) {
        let _ = fs::remove_file(&key_file);
        return Err(Failure::failed(format!(
            "{}: {}",
            path.display(),
            error.error
        )));
    }
    print(&format!(
        "wrote {} and {}\npublic key: {}\nnext: {next} {}`\n",
        path.display(),
        key_file.display(),
        key.public(),
        path.display()
    ))?;
    Ok(Exit::Ok)
}

fn denied(dir: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write to {}: {error}", dir.display());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Failure::with(Exit::Permission, message, "name a file of your own")
        }
        _ => Failure::failed(message),
    }
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().split('.').next().unwrap_or_default();
    match is_name(name) {
        true => name.to_string(),
        false => "member".to_string(),
    }
}
