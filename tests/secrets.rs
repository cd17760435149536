//! Keys that are in no plain file: encrypted ones, commands, what the service manager hands over.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the program with something on its stdin.
fn l2vpn(dir: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_l2vpn"))
        .args(args)
        .current_dir(dir)
        .env("CREDENTIALS_DIRECTORY", dir.join("credentials"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

/// A directory with a key; gives its public key, too.
fn home() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let (code, public, _) = told(&l2vpn(dir.path(), &["key", "new", "-o", "a.key"], ""));
    assert_eq!(code, 0);
    (dir, public.trim().to_string())
}

fn config(dir: &Path, key: &str) {
    let text = format!(
        "[node]\n{key}\nlisten = \"127.0.0.1:0\"\n[[segment]]\nname = \"lan\"\nid = 1\n\
         [control]\nsocket = \"a.sock\"\nstate_dir = \"state\"\n"
    );
    fs::write(dir.join("a.toml"), text).unwrap();
}

const FD: [&str; 2] = ["--passphrase-fd", "0"];

#[test]
fn a_key_is_encrypted_in_place_and_decrypted_again() {
    let (dir, public) = home();
    let dir = dir.path();
    let file = dir.join("a.key");
    let plain = fs::read_to_string(&file).unwrap();
    let (code, _, stderr) = told(&l2vpn(dir, &["key", "encrypt", "a.key"], ""));
    assert!(code == 1 && stderr.contains("no terminal"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), plain, "as it was");
    let encrypt = [&["key", "encrypt", "a.key"][..], &FD].concat();
    assert_eq!(told(&l2vpn(dir, &encrypt, "correct horse\n")).0, 0);
    let sealed = fs::read_to_string(&file).unwrap();
    assert!(!sealed.contains(plain.trim()) && sealed.starts_with("l2vpn-key 1\n"));
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1, "nothing beside it");
    let (code, _, stderr) = told(&l2vpn(dir, &encrypt, "correct horse\n"));
    assert!(code == 1 && stderr.contains("already"), "{stderr}");
    // Its public half is no secret.
    let (_, shown, _) = told(&l2vpn(dir, &["key", "public", "a.key"], ""));
    assert_eq!(shown.trim(), public);
    let (code, shown, _) = told(&l2vpn(dir, &["key", "check", "a.key"], ""));
    assert!(code == 0 && shown.contains("not opened"), "{shown}");
    let check = [&["key", "check", "a.key"][..], &FD].concat();
    let (code, shown, _) = told(&l2vpn(dir, &check, "correct horse"));
    assert!(code == 0 && shown.contains("opens it"), "{shown}");
    let (code, _, stderr) = told(&l2vpn(dir, &check, "battery staple"));
    assert!(
        code == 3 && stderr.contains("passphrase is wrong"),
        "{stderr}"
    );
    let decrypt = [&["key", "decrypt", "a.key"][..], &FD].concat();
    let change = [
        &["key", "passphrase", "a.key", "--new-passphrase-fd", "0"][..],
        &FD,
    ]
    .concat();
    // Both may come from one descriptor, a line each.
    let (code, _, stderr) = told(&l2vpn(dir, &change, "correct horse"));
    assert!(code == 1 && stderr.contains("no further line"), "{stderr}");
    let (code, _, stderr) = told(&l2vpn(dir, &change, "correct horse\n\n"));
    assert!(code == 1 && stderr.contains("1 to 1024 bytes"), "{stderr}");
    assert_eq!(
        told(&l2vpn(dir, &change, "correct horse\nnew words\nmore")).0,
        0
    );
    assert_eq!(
        told(&l2vpn(dir, &change, "new words\ncorrect horse\n")).0,
        0
    );
    let sealed = fs::read_to_string(&file).unwrap();
    assert_eq!(told(&l2vpn(dir, &decrypt, "battery staple")).0, 3);
    assert_eq!(fs::read_to_string(&file).unwrap(), sealed, "as it was");
    let beside = [&decrypt[..], &["-o", "b.key"]].concat();
    assert_eq!(told(&l2vpn(dir, &beside, "correct horse")).0, 0);
    assert_eq!(fs::read_to_string(dir.join("b.key")).unwrap(), plain);
    assert_eq!(told(&l2vpn(dir, &decrypt, "correct horse")).0, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), plain);
}

#[test]
fn a_key_may_be_made_encrypted_and_links_are_followed() {
    let (dir, public) = home();
    let dir = dir.path();
    let new = [&["key", "new", "-o", "b.key", "--encrypt"][..], &FD].concat();
    let (code, made, _) = told(&l2vpn(dir, &new, "x y"));
    assert!(code == 0 && made.trim() != public);
    let (_, shown, _) = told(&l2vpn(dir, &["key", "public", "b.key"], ""));
    assert_eq!(shown, made);
    assert_eq!(told(&l2vpn(dir, &["key", "new", "--encrypt"], "x")).0, 2);
    std::os::unix::fs::symlink("a.key", dir.join("link")).unwrap();
    let encrypt = [&["key", "encrypt", "link"][..], &FD].concat();
    assert_eq!(told(&l2vpn(dir, &encrypt, "x y")).0, 0);
    let there = fs::read_to_string(dir.join("a.key")).unwrap();
    assert!(there.starts_with("l2vpn-key"), "no plain copy is left");
    assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_symlink());
    // Under another name it would stay as it is.
    fs::hard_link(dir.join("a.key"), dir.join("twin")).unwrap();
    let decrypt = [&["key", "decrypt", "a.key"][..], &FD].concat();
    let (code, _, stderr) = told(&l2vpn(dir, &decrypt, "x y\nanother line"));
    assert!(code == 1 && stderr.contains("hard link"), "{stderr}");
    fs::remove_file(dir.join("twin")).unwrap();
    assert_eq!(told(&l2vpn(dir, &decrypt, "x y\nanother line")).0, 0);
}

#[test]
fn a_configuration_takes_encrypted_keys_commands_and_credentials() {
    let (dir, public) = home();
    let dir = dir.path();
    let check = |more: &[&str], input: &str| {
        told(&l2vpn(
            dir,
            &[&["check", "a.toml"][..], more].concat(),
            input,
        ))
    };
    config(dir, "key_command = [\"cat\", \"a.key\"]");
    assert_eq!(check(&[], "").0, 0);
    let (_, plan, _) = told(&l2vpn(dir, &["up", "a.toml", "--dry-run"], ""));
    assert!(plan.contains(&public), "{plan}");
    // A check does not run what it checks.
    config(dir, "key_command = [\"touch\", \"ran\"]");
    for verb in [&["check", "a.toml"][..], &["up", "a.toml", "--check"]] {
        let (code, _, stderr) = told(&l2vpn(dir, verb, ""));
        assert!(
            code == 0 && stderr.contains("not run by a check"),
            "{stderr}"
        );
        assert!(!dir.join("ran").exists());
    }
    for (command, why) in [
        (
            "[\"cat\", \"a.key\", \"nothing\"]",
            "it failed: exit status: 1",
        ),
        ("[\"/nowhere/at-all\"]", "cannot be run"),
        ("[\"echo\", \"secret words\"]", "is no key"),
        ("[\"true\"]", "is no key"),
        ("[\"yes\"]", "it failed: signal"),
        ("[]", "names no program"),
        ("\"cat a.key\"", "expected a list"),
    ] {
        config(dir, &format!("key_command = {command}"));
        let (code, _, stderr) = told(&l2vpn(dir, &["up", "a.toml", "--dry-run"], ""));
        assert!(code == 3 && stderr.contains(why), "{command}: {stderr}");
        assert!(stderr.contains("a.toml:2:"), "{stderr}");
        assert!(
            !stderr.contains("secret words"),
            "what it prints is nobody's business"
        );
    }
    config(dir, "key = \"a.key\"\nkey_command = [\"cat\", \"a.key\"]");
    assert!(check(&[], "").2.contains("a key and a key_command"));

    fs::create_dir(dir.join("credentials")).unwrap();
    fs::copy(dir.join("a.key"), dir.join("credentials/node.key")).unwrap();
    config(dir, "key = \"credential:node.key\"");
    assert_eq!(check(&[], "").0, 0);
    for wrong in ["credential:", "credential:../a.key", "credential:other"] {
        config(dir, &format!("key = \"{wrong}\""));
        assert_eq!(check(&[], "").0, 3, "{wrong}");
    }

    let encrypt = [&["key", "encrypt", "a.key"][..], &FD].concat();
    assert_eq!(told(&l2vpn(dir, &encrypt, "correct horse")).0, 0);
    config(dir, "key = \"a.key\"");
    let (code, _, stderr) = check(&[], "");
    assert!(code == 3 && stderr.contains("no passphrase"), "{stderr}");
    assert!(stderr.contains("--passphrase-fd"), "{stderr}");
    assert_eq!(check(&FD, "correct horse").0, 0);
    assert!(check(&FD, "wrong").2.contains("passphrase is wrong"));
    assert!(check(&FD, "\n").2.contains("1 to 1024 bytes"));
    assert!(check(&FD, "").2.contains("no further line"));
    assert!(
        check(&["--passphrase-fd", "77"], "")
            .2
            .contains("descriptor 77")
    );
    fs::write(dir.join("credentials/l2vpn-passphrase"), "correct horse\n").unwrap();
    assert_eq!(check(&[], "").0, 0, "the service manager hands it over");
}

#[test]
fn an_encrypted_key_that_others_can_read_or_that_is_damaged_is_refused() {
    let (dir, _) = home();
    let dir = dir.path();
    let encrypt = [&["key", "encrypt", "a.key"][..], &FD].concat();
    assert_eq!(told(&l2vpn(dir, &encrypt, "x")).0, 0);
    let file = dir.join("a.key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let check = [&["key", "check", "a.key"][..], &FD].concat();
    assert!(told(&l2vpn(dir, &check, "x")).2.contains("chmod 600"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let sealed = fs::read_to_string(&file).unwrap();
    for (from, to, why) in [
        ("m=65536", "m=4194304", "out of bounds"),
        ("l2vpn-key 1", "l2vpn-key 2", "another version"),
        ("node-key", "nonsense", "another version or kind"),
        ("node-key", "authority", "the file was changed"),
        ("node-key", "psk", "the file was changed"),
        ("argon2id", "argon2i", "line 4"),
        ("t=3", "t=2", "the file was changed"),
    ] {
        fs::write(&file, sealed.replace(from, to)).unwrap();
        let (code, _, stderr) = told(&l2vpn(dir, &check, "x"));
        assert!(code == 3 && stderr.contains(why), "{to}: {stderr}");
    }
}

/// Pre-shared keys have the same envelopes, and are opened by what opens the member's key, asked for once.
#[test]
fn pre_shared_keys_are_encrypted_like_any_other() {
    let (dir, _) = home();
    let dir = dir.path();
    let run = |args: &[&str], input: &str| told(&l2vpn(dir, args, input));
    let with_fd =
        |args: &[&str]| -> Vec<String> { args.iter().chain(&FD).map(|s| s.to_string()).collect() };
    let run_fd = |args: &[&str], input: &str| {
        let args = with_fd(args);
        run(&args.iter().map(String::as_str).collect::<Vec<_>>(), input)
    };
    let check = |input: &str| run_fd(&["check", "a.toml"], input);
    let made = run_fd(&["key", "psk", "-o", "net.psk", "--encrypt"], "horse\n");
    assert_eq!(made.0, 0, "{}", made.2);
    assert_eq!(
        fs::metadata(dir.join("net.psk"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let (code, told_of, _) = run_fd(&["key", "check", "net.psk"], "horse\n");
    assert!(
        code == 0 && told_of.contains("pre-shared key with the fingerprint"),
        "{told_of}"
    );
    assert!(
        run_fd(&["key", "check", "net.psk"], "cow\n")
            .2
            .contains("passphrase is wrong")
    );
    // One that was plain, and comes back as it was.
    run(&["key", "psk", "-o", "old.psk"], "");
    let plain = fs::read_to_string(dir.join("old.psk")).unwrap();
    assert_eq!(
        run_fd(&["key", "encrypt", "old.psk", "--psk"], "horse\n").0,
        0
    );
    assert!(
        !fs::read_to_string(dir.join("old.psk"))
            .unwrap()
            .contains(plain.trim())
    );
    assert!(
        run(&["key", "public", "old.psk"], "")
            .2
            .contains("a pre-shared key")
    );
    run_fd(&["key", "decrypt", "old.psk", "-o", "copy.psk"], "horse\n");
    assert_eq!(fs::read_to_string(dir.join("copy.psk")).unwrap(), plain);
    assert_eq!(run_fd(&["key", "encrypt", "a.key"], "horse\n").0, 0);
    config(
        dir,
        "key = \"a.key\"\nnetwork_psk_file = \"net.psk\"\nold_network_psk_file = \"old.psk\"",
    );
    let (code, _, stderr) = check("horse\n");
    assert_eq!(code, 0, "{stderr}");
    // With other words: they are asked for in turn.
    let change = ["key", "passphrase", "old.psk", "--new-passphrase-fd", "0"];
    assert_eq!(run_fd(&change, "horse\ncow\n").0, 0);
    assert_eq!(check("horse\ncow\n").0, 0);
    let (code, _, stderr) = check("horse\nsheep\n");
    assert!(
        code == 3 && stderr.contains("a.toml:4:") && stderr.contains("passphrase is wrong"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&["check", "a.toml"], "");
    assert!(
        code == 3 && stderr.contains("a.toml:2:") && stderr.contains("a.toml:3:"),
        "{stderr}"
    );
    // It was taken for a member's key: that is said, not used.
    assert_eq!(run_fd(&["key", "encrypt", "copy.psk"], "horse\n").0, 0);
    config(dir, "key = \"a.key\"\nnetwork_psk_file = \"copy.psk\"");
    let (code, _, stderr) = check("horse\n");
    assert!(
        code == 3 && stderr.contains("holds a member's key, where a pre-shared key belongs"),
        "{stderr}"
    );
    assert!(stderr.contains("key encrypt --psk"), "{stderr}");
    let (code, _, stderr) = run_fd(&["key", "check", "copy.psk", "--psk"], "horse\n");
    assert!(
        code != 0 && stderr.contains("leave out the --psk"),
        "{stderr}"
    );
    // A socket is found by a configuration without opening anything.
    let (_, _, stderr) = run(&["show", "a.toml"], "");
    assert!(
        !stderr.contains("passphrase") && !stderr.contains("encrypted"),
        "{stderr}"
    );
}

/// The key of an authority, too: made plain, encrypted later, by other words later still.
#[test]
fn an_authority_is_encrypted_when_somebody_thinks_of_it() {
    let (dir, public) = home();
    let dir = dir.path();
    let run = |args: &[&str], input: &str| told(&l2vpn(dir, args, input));
    run(
        &["ca", "init", "ca", "--name", "lab", "--no-passphrase"],
        "",
    );
    let file = "ca/authority.key";
    let (code, plain, _) = run(&["key", "check", file], "");
    assert!(code == 0 && plain.contains("authority "), "{plain}");
    assert_eq!(
        run(&[&["key", "encrypt", file][..], &FD].concat(), "horse\n").0,
        0
    );
    let change = [
        &["key", "passphrase", file, "--new-passphrase-fd", "0"][..],
        &FD,
    ]
    .concat();
    assert_eq!(run(&change, "horse\ncow\n").0, 0);
    let sign = ["ca", "sign", "ca", &public, "--name", "b", "--segment", "1"];
    let sign = [&sign[..], &FD].concat();
    let (code, _, stderr) = run(&sign, "horse\n");
    assert!(
        code != 0 && stderr.contains("passphrase is wrong"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&sign, "cow\n");
    assert_eq!(code, 0, "{stderr}");
}

/// What is half meant is not half done.
#[test]
fn a_passphrase_too_many_or_too_few_is_told() {
    let (dir, _) = home();
    let dir = dir.path();
    let run = |args: &[&str], input: &str| told(&l2vpn(dir, args, input));
    let with = |args: &[&'static str]| [args, &FD].concat();
    for verb in ["new", "psk"] {
        let (code, _, stderr) = run(&with(&["key", verb, "-o", "x.key"]), "horse\n");
        assert!(code == 3 && stderr.contains("say --encrypt"), "{stderr}");
        assert!(!dir.join("x.key").exists());
    }
    // One line where two are needed.
    run(
        &with(&["key", "psk", "-o", "net.psk", "--encrypt"]),
        "cow\n",
    );
    run(&with(&["key", "encrypt", "a.key"]), "horse\n");
    config(dir, "key = \"a.key\"\nnetwork_psk_file = \"net.psk\"");
    let (code, _, stderr) = run(&with(&["check", "a.toml"]), "horse\n");
    assert!(code == 3 && stderr.contains("no further line"), "{stderr}");
    assert_eq!(run(&with(&["check", "a.toml"]), "horse\ncow\n").0, 0);
    // The key put aside has other words, and keeps them; a file that only looks like one put aside is left alone.
    run(&with(&["key", "rotate", "a.key"]), "horse\n");
    run(
        &with(&["key", "passphrase", "a.key.old", "--new-passphrase-fd", "0"]),
        "horse\nsheep\n",
    );
    fs::copy(dir.join("net.psk"), dir.join("net.psk.old")).unwrap();
    let aside = fs::read(dir.join("net.psk.old")).unwrap();
    for (file, words, kept) in [
        ("a.key", "horse\nnew\n", true),
        ("net.psk", "cow\nnew\n", false),
    ] {
        let change = with(&["key", "passphrase", file, "--new-passphrase-fd", "0"]);
        let (code, stdout, stderr) = run(&change, words);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(stdout.contains("keeps its own"), kept, "{stdout}");
    }
    assert_eq!(run(&with(&["key", "check", "a.key.old"]), "sheep\n").0, 0);
    assert_eq!(run(&with(&["key", "check", "a.key"]), "new\n").0, 0);
    assert_eq!(fs::read(dir.join("net.psk.old")).unwrap(), aside);
    // What is missing, and what is taken for something else.
    let (_, _, stderr) = run(&["key", "check", "none/a.key"], "");
    assert!(stderr.contains("there is no directory none"), "{stderr}");
    let (_, _, stderr) = run(&["key", "check", "--psk", "none.psk"], "");
    assert!(stderr.contains("l2vpn key psk -o none.psk"), "{stderr}");
    run(
        &["ca", "init", "ca", "--name", "lab", "--no-passphrase"],
        "",
    );
    let (_, _, stderr) = run(&["key", "public", "ca/authority.key"], "");
    assert!(stderr.contains("it holds an authority's key"), "{stderr}");
}
