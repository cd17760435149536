//! The command line as scripts and people see it: help word for word, exit codes, keys, first steps.
//!
//! `UPDATE_GOLDEN=1 cargo test --test cli` writes the help texts that are printed now.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn l2vpn(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2vpn"));
    command
        .env_remove("L2VPN_SOCKET")
        .env_remove("L2VPN_LOG")
        .env("COLUMNS", "100");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn help_is_as_it_was() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help.txt");
    let mut all = String::new();
    let verbs: &[&[&str]] = &[
        &[],
        &["init"],
        &["key"],
        &["key", "new"],
        &["key", "public"],
        &["key", "psk"],
        &["key", "check"],
        &["key", "encrypt"],
        &["key", "passphrase"],
        &["key", "decrypt"],
        &["ca"],
        &["ca", "init"],
        &["ca", "admin"],
        &["ca", "sign"],
        &["ca", "renew"],
        &["ca", "revoke"],
        &["ca", "retire"],
        &["invite"],
        &["invite", "create"],
        &["join"],
        &["up"],
        &["down"],
        &["check"],
        &["show"],
        &["macs"],
        &["ping"],
        &["demo"],
        &["version"],
    ];
    for verb in verbs {
        let mut args = verb.to_vec();
        args.push("--help");
        let output = l2vpn(&args);
        assert_eq!(code(&output), 0);
        all.push_str(&format!(
            "$ l2vpn {}\n{}\n",
            args.join(" "),
            text(&output.stdout)
        ));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &all).unwrap();
    }
    assert_eq!(fs::read_to_string(&golden).unwrap(), all);
}

#[test]
fn wrong_usage_is_2_and_goes_to_stderr() {
    for args in [
        &["frobnicate"][..],
        &["up", "--nonsense"],
        &["ping"],
        &["key"],
        &["ping", "b", "--size", "1025"],
        &[],
    ] {
        let output = l2vpn(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{args:?}"
        );
    }
}

/// The pair of WireGuard's own quick start: its private key is taken as it is, from a file and from a pipe.
#[test]
fn keys_of_wireguard_are_taken_as_they_are() {
    const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
    const PUBLIC: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("privatekey");
    let path = file.to_str().unwrap();
    fs::write(&file, format!("{PRIVATE}\n")).unwrap();
    // As `wg genkey > privatekey` leaves it for others to read: with the way out.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = l2vpn(&["key", "check", path]);
    assert_ne!(code(&refused), 0);
    assert!(text(&refused.stderr).contains(&format!("chmod 600 {path}")));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(text(&l2vpn(&["key", "public", path]).stdout).trim(), PUBLIC);
    assert!(text(&l2vpn(&["key", "check", path]).stdout).contains(PUBLIC));
}

#[test]
fn keys_are_made_once_private_and_in_the_format_of_wg() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.key");
    let path = file.to_str().unwrap();
    let made = l2vpn(&["key", "new", "-o", path]);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let public = text(&made.stdout);
    assert_eq!(public.trim().len(), 44);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let content = fs::read_to_string(&file).unwrap();
    assert_eq!(content.len(), 45, "one line, as `wg genkey` prints it");
    assert!(!public.contains(content.trim()));
    assert_eq!(text(&l2vpn(&["key", "public", path]).stdout), public);
    let again = l2vpn(&["key", "new", "-o", path]);
    assert_eq!(code(&again), 1);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        content,
        "left as it was"
    );
    let checked = l2vpn(&["key", "check", path]);
    assert!(code(&checked) == 0 && text(&checked.stdout).contains(public.trim()));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    for verb in ["public", "check"] {
        let refused = l2vpn(&["key", verb, path]);
        assert_eq!(code(&refused), 3);
        assert!(text(&refused.stderr).contains("chmod 600"));
    }
    let psk = dir.path().join("ab.psk");
    let made = l2vpn(&["key", "psk", "-o", psk.to_str().unwrap()]);
    assert!(code(&made) == 0 && made.stdout.is_empty());
    assert_eq!(fs::metadata(&psk).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn keys_go_through_pipes() {
    let private = text(&l2vpn(&["key", "new"]).stdout);
    let mut child = program()
        .args(["key", "public"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(private.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(code(&output) == 0 && text(&output.stdout).trim().len() == 44);
    let mut child = program()
        .args(["key", "public", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"rubbish\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 3);
    assert!(
        !text(&output.stderr).contains("rubbish"),
        "input is not repeated: it may be a secret"
    );
}

#[test]
fn init_writes_a_config_that_checks_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("sub/a.toml");
    let path = config.to_str().unwrap();
    let made = l2vpn(&["init", path, "--name", "a"]);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("public key: "));
    assert_eq!(
        fs::metadata(dir.path().join("sub/a.key")).unwrap().mode() & 0o777,
        0o600
    );
    let checked = l2vpn(&["check", path]);
    assert_eq!(code(&checked), 0, "{}", text(&checked.stderr));
    assert_eq!(code(&l2vpn(&["up", "--check", path])), 0);
    let plan = l2vpn(&["up", "--dry-run", path]);
    assert!(code(&plan) == 0 && text(&plan.stdout).contains("ip tuntap add l2lan mode tap"));
    let before = fs::read(&config).unwrap();
    let again = l2vpn(&["init", path, "--name", "b"]);
    assert_eq!(code(&again), 1);
    assert_eq!(fs::read(&config).unwrap(), before);
    assert!(
        !dir.path().join("sub/b.key").exists(),
        "no key without a configuration"
    );
    assert_eq!(
        code(&l2vpn(&[
            "init",
            dir.path().join("c.toml").to_str().unwrap(),
            "--name",
            "../x"
        ])),
        3
    );
}

#[test]
fn a_wrong_config_is_3_with_every_finding_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("a.toml");
    fs::write(
        &config,
        "[node]\nkey = \"none.key\"\nlisten = \"x\"\nhello = 1\n",
    )
    .unwrap();
    let path = config.to_str().unwrap();
    for args in [
        &["check", path][..],
        &["up", path],
        &["up", "--check", path],
        &["up", "--dry-run", path],
    ] {
        let output = l2vpn(args);
        assert_eq!(code(&output), 3, "{args:?}");
        let errors = text(&output.stderr);
        for place in [":2:7: error", ":3:10: error", ":4:1: error", "3 errors in"] {
            assert!(errors.contains(place), "{errors}");
        }
    }
    let output = l2vpn(&["check", "--json", path]);
    assert_eq!(code(&output), 3);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["findings"].as_array().unwrap().len(), 5);
    assert_eq!(
        code(&l2vpn(&[
            "check",
            dir.path().join("no.toml").to_str().unwrap()
        ])),
        3
    );
}

#[test]
fn without_a_daemon_it_is_5() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("no.sock");
    for verb in [&["show"][..], &["macs"], &["down"], &["ping", "b"]] {
        let output = program()
            .args(verb)
            .arg("--socket")
            .arg(&socket)
            .output()
            .unwrap();
        assert_eq!(code(&output), 5, "{verb:?}");
        assert!(text(&output.stderr).contains("no daemon"));
    }
    // A socket file that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let output = program()
        .arg("show")
        .arg("--socket")
        .arg(&socket)
        .output()
        .unwrap();
    assert_eq!(code(&output), 5);
}

#[test]
fn version_tells_what_the_build_can_do() {
    let output = l2vpn(&["version", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["wire_version"], 1);
    let suites = json["suites"].as_array().unwrap();
    assert!(suites.contains(&"chacha20-poly1305".into()));
    assert_eq!(code(&l2vpn(&["--version"])), 0);
}

#[test]
fn demo_keys_need_a_flag() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("a.key");
    fs::write(&key, include_str!("../keys/demo/a.key")).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let config = dir.path().join("a.toml");
    fs::write(
        &config,
        "[node]\nkey = \"a.key\"\n[[segment]]\nname = \"lan\"\nid = 1\n[[port]]\ntap = \"l2lan\"\n",
    )
    .unwrap();
    let path = config.to_str().unwrap();
    assert_eq!(code(&l2vpn(&["up", "--check", path])), 3);
    assert_eq!(
        code(&l2vpn(&["up", "--check", "--allow-demo-keys", path])),
        0
    );
    assert_eq!(code(&l2vpn(&["key", "check", key.to_str().unwrap()])), 3);
}

#[test]
fn a_key_where_its_file_belongs_is_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let private = text(&l2vpn(&["key", "new"]).stdout);
    let config = dir.path().join("a.toml");
    let peer = "[[peer]]\npublic_key = \"uvkAcf8ILc7XYcvkRDxpkaE7mMpfScUaXdQ5MwLQSBU=\"\n";
    let secret = private.trim();
    fs::write(
        &config,
        format!("[node]\nkey = \"{secret}\"\n{peer}psk_file = \"{secret}\"\n"),
    )
    .unwrap();
    let output = l2vpn(&["check", config.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(code(&output), 3);
    assert_eq!(said.matches("this is a key").count(), 2, "{said}");
    assert!(!said.contains(secret));
}

#[test]
fn a_fifo_is_no_key_and_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("k");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let output = l2vpn(&["key", "check", socket.to_str().unwrap()]);
    assert!(code(&output) == 1 && text(&output.stderr).contains("not a regular file"));
}

#[test]
fn a_control_socket_never_replaces_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("a.key");
    assert_eq!(
        code(&l2vpn(&["key", "new", "-o", key.to_str().unwrap()])),
        0
    );
    let before = fs::read(&key).unwrap();
    let config = dir.path().join("a.toml");
    for socket in ["a.key", &"long".repeat(40)] {
        fs::write(
            &config,
            format!("[node]\nkey = \"a.key\"\n[control]\nsocket = \"{socket}\"\n"),
        )
        .unwrap();
        let output = l2vpn(&["up", config.to_str().unwrap()]);
        assert_eq!(code(&output), 3, "{}", text(&output.stderr));
    }
    assert_eq!(fs::read(&key).unwrap(), before);
}

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_not() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = program()
        .args(["key", "new"])
        .stdout(full)
        .output()
        .unwrap();
    assert!(code(&output) == 1 && text(&output.stderr).contains("was not written"));
    let full = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let status = program()
        .args(["check", "/nonexistent"])
        .stderr(full())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    let output = program().args(["version"]).stdout(full()).output().unwrap();
    assert_eq!(code(&output), 1);
}

#[test]
fn a_typing_error_in_the_log_filter_is_told() {
    let output = l2vpn(&["up", "--log", "inof", "none.toml"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("off, error, warn, info, debug, trace"));
}

#[test]
fn a_file_of_nothing_but_mistakes_is_refused_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("a.toml");
    let many: String = (0..60_000).map(|n| format!("k{n} = {n}\n")).collect();
    fs::write(&config, many).unwrap();
    let output = l2vpn(&["check", config.to_str().unwrap()]);
    assert_eq!(code(&output), 3);
    let said = text(&output.stderr);
    assert!(
        said.contains("more\n") && said.lines().count() < 500,
        "{}",
        said.lines().count()
    );
}

#[test]
fn what_is_not_permitted_is_4() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("a.key");
    assert_eq!(
        code(&l2vpn(&["key", "new", "-o", key.to_str().unwrap()])),
        0
    );
    // Root can give the file away; others cannot write to the root directory.
    let output = match std::os::unix::fs::chown(&key, Some(65_534), None) {
        Ok(()) => l2vpn(&["key", "check", key.to_str().unwrap()]),
        Err(_) => l2vpn(&["init", "/l2vpn-not-permitted.toml", "--name", "a"]),
    };
    assert_eq!(code(&output), 4, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("hint:"));
}
