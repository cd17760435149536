//! Golden diagnostics: every file in `tests/golden/config`, and what `check` says of it, word for word.
//!
//! `UPDATE_GOLDEN=1 cargo test --test config_diagnostics` writes what is said now; read the difference before you
//! commit it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use l2vpn::config::{Config, DemoKeys, load};
use l2vpn::keys::{PrivateKey, Psk, write_private, write_psk};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config")
}

/// A directory with the key files that the golden configurations name.
fn keys() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mode =
        |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    let own = PrivateKey::from_bytes([0x58; 32]);
    write_private(&at("own.key"), &own).unwrap();
    write_private(&at("open.key"), &own).unwrap();
    mode("open.key", 0o644);
    write_psk(&at("pair.psk"), &Psk::from_bytes([3; 32])).unwrap();
    fs::write(at("junk.key"), "not a key\n").unwrap();
    mode("junk.key", 0o600);
    fs::write(at("demo.key"), include_str!("../keys/demo/a.key")).unwrap();
    mode("demo.key", 0o600);
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/vectors");
    for name in ["lab.network", "web3.record", "revoked", "admin.delegation"] {
        fs::copy(vectors.join(name), at(name)).unwrap();
    }
    dir
}

fn check(name: &str, demo: DemoKeys) -> (Option<Config>, String) {
    let dir = keys();
    let path = dir.path().join(name);
    fs::copy(golden().join(name), &path).unwrap();
    let (config, report) = load(&path, demo);
    let text = report
        .to_string()
        .replace(&format!("{}/", dir.path().display()), "");
    (config, text)
}

#[test]
fn every_finding_is_told_with_its_place_and_a_hint() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut files: Vec<_> = fs::read_dir(golden())
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 12);
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (_, text) = check(name, DemoKeys::Refuse);
        let expected_file = file.with_extension("expected");
        if update {
            fs::write(&expected_file, &text).unwrap();
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if expected != text {
            wrong.push(format!("{name}: expected\n{expected}\ngot\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_first_config_fits_in_twelve_lines_and_is_clean() {
    let (config, text) = check("minimal.toml", DemoKeys::Refuse);
    let config = config.unwrap();
    assert_eq!(text, "");
    assert_eq!((config.ports.len(), config.peers.len()), (1, 1));
    assert_eq!(config.name, "minimal");
    assert_eq!(config.ports[0].mtu, 1500);
    let lines = fs::read_to_string(golden().join("minimal.toml")).unwrap();
    assert!(lines.lines().count() <= 12);
}

#[test]
fn a_full_config_says_what_it_says() {
    let (config, text) = check("full.toml", DemoKeys::Refuse);
    let config = config.unwrap_or_else(|| panic!("{text}"));
    assert_eq!(config.name, "site-a");
    assert_eq!(config.segments[1].id.get(), 0xff_ffff);
    assert_eq!(config.ports[0].addresses.len(), 2);
    assert_eq!(format!("{:?}", config.ports[1].rule), "Access(Vid(4094))");
    let peer = &config.peers[0];
    assert_eq!(
        (peer.endpoints.len(), peer.keepalive, peer.mtu),
        (3, None, Some(1400))
    );
    assert!(peer.psks.current.is_some());
    assert_eq!(config.table.per_place, 500);
    assert!(config.socket.is_absolute() && config.socket.ends_with("run/a.sock"));
}

#[test]
fn demo_keys_are_an_error_unless_allowed() {
    assert!(check("demo.toml", DemoKeys::Refuse).0.is_none());
    let (config, text) = check("demo.toml", DemoKeys::Allow);
    assert!(config.is_some() && text.contains("warning"), "{text}");
}

#[test]
fn a_file_that_is_no_text_or_not_there_is_explained() {
    let dir = keys();
    let path = dir.path().join("config.toml");
    let (config, report) = load(&path, DemoKeys::Refuse);
    assert!(config.is_none() && report.to_string().contains("cannot be read"));
    fs::write(&path, b"[node]\nkey = \"\xff\"\n").unwrap();
    let (config, report) = load(&path, DemoKeys::Refuse);
    assert!(
        config.is_none() && report.to_string().contains("line 2, column 8"),
        "{report}"
    );
    fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(
        load(&path, DemoKeys::Refuse)
            .1
            .to_string()
            .contains("longer than")
    );
}

#[test]
fn what_init_writes_is_valid_but_for_its_missing_peers() {
    let dir = keys();
    let path = dir.path().join("config.toml");
    let text = l2vpn::config::template::first_config("a", "own.key");
    fs::write(&path, text).unwrap();
    let (config, report) = load(&path, DemoKeys::Refuse);
    assert!(config.is_some(), "{report}");
    assert!(report.to_string().contains("there is no [[peer]]"));
}

/// What the README shows is what a newcomer copies.
#[test]
fn the_examples_of_the_readme_are_valid() {
    let readme = include_str!("../README.md");
    let blocks: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|b| b.split("```").next())
        .collect();
    assert!(blocks.len() >= 3);
    let (first, others) = blocks.split_first().unwrap();
    assert!(first.lines().count() <= 12);
    let dir = keys();
    fs::rename(dir.path().join("own.key"), dir.path().join("a.key")).unwrap();
    fs::copy(dir.path().join("a.key"), dir.path().join("relay.key")).unwrap();
    let path = dir.path().join("a.toml");
    let node = "[node]\nkey = \"a.key\"\n[[segment]]\nname = \"lan\"\nid = 1\n";
    let whole = others.iter().map(|b| match b.starts_with("[node]") {
        true => b.to_string(),
        false => format!("{node}{b}"),
    });
    for text in std::iter::once(first.to_string()).chain(whole) {
        fs::write(&path, &text).unwrap();
        let (config, report) = load(&path, DemoKeys::Refuse);
        assert!(config.is_some(), "{text}\n{report}");
    }
}
