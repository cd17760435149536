//! `ca` and `audit` as they are typed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(dir: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_l2vpn"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Runs a line; what is not 0 is told.
fn good(dir: &Path, line: &str) -> String {
    let args: Vec<&str> = line.split_whitespace().collect();
    let (code, out, err) = told(&run(dir, &args, "correct horse\n"));
    assert_eq!(code, 0, "{line}: {out}{err}");
    out
}

fn bad(dir: &Path, line: &str) -> (i32, String) {
    let args: Vec<&str> = line.split_whitespace().collect();
    let (code, out, err) = told(&run(dir, &args, "battery staple\n"));
    assert_ne!(code, 0, "{line}: {out}{err}");
    (code, err)
}

fn authority() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    good(dir.path(), "ca init ca --name lab --no-passphrase");
    let key = good(dir.path(), "key new -o a.key").trim().to_string();
    (dir, key)
}

#[test]
fn an_authority_is_encrypted_unless_it_is_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (code, err) = bad(dir, "ca init ca");
    assert!(code == 1 && err.contains("no terminal"), "{err}");
    assert!(!dir.join("ca").exists(), "nothing half made");
    let shown = good(dir, "ca init ca --name lab --passphrase-fd 0");
    let text = fs::read_to_string(dir.join("ca/authority.key")).unwrap();
    assert!(text.starts_with("l2vpn-key 1\nholds authority\n") && text.contains(shown.trim()));
    let mode = |file: &str| fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca"), mode("ca/authority.key")), (0o700, 0o600));
    let key = good(dir, "key new -o a.key").trim().to_string();
    let sign = format!("ca sign ca {key} --name a --segment 1 -o a.record --passphrase-fd 0");
    let (code, err) = bad(dir, &sign);
    assert!(code == 3 && err.contains("passphrase is wrong"), "{err}");
    assert!(!dir.join("a.record").exists() && !dir.join("ca/records/a.record").exists());
    good(dir, &sign);
    // One kind of key is never taken for another.
    let checked = good(dir, "key check ca/authority.key");
    assert!(checked.contains("authority "), "{checked}");
    let (_, err) = bad(dir, "key public ca/authority.key");
    assert!(
        err.contains("it holds an authority's key, where a member's key belongs"),
        "{err}"
    );
    fs::copy(dir.join("a.key"), dir.join("ca/authority.key")).unwrap();
    let (_, err) = bad(
        dir,
        &sign
            .replace("--name a", "--name b")
            .replace(&key, good(dir, "key new -o b.key").trim())
            .replace("a.record", "b.record"),
    );
    assert!(err.contains("holds no key"), "{err}");
    // Never over another.
    let (_, err) = bad(dir, "ca init ca --no-passphrase");
    assert!(err.contains("never overwritten"), "{err}");
}

#[test]
fn records_are_signed_renewed_revoked_listed_and_shown() {
    let (dir, key) = authority();
    let dir = dir.path();
    good(
        dir,
        &format!(
            "ca sign ca {key} --name web3 --segment 7 --segment 1 --vlan 10,20-29 --role relay --days 30 -o a.record"
        ),
    );
    let shown = good(dir, "ca show a.record");
    for part in [
        "record of web3, serial ",
        &key,
        "good for ",
        "relay",
        "1 (vlans",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (_, err) = bad(dir, &format!("ca sign ca {key} --name web3 --segment 1"));
    assert!(err.contains("has a record already"), "{err}");
    let other = good(dir, "key new -o b.key").trim().to_string();
    good(dir, &format!("ca renew ca web3 --key {other} -o b.record"));
    let log = fs::read_to_string(dir.join("ca/audit.log")).unwrap();
    let last = log.lines().last().unwrap();
    assert!(
        last.contains("moved to another key") && last.contains(&other),
        "{last}"
    );
    let shown = good(dir, "ca show b.record");
    for part in [&other, "good for ", "relay", "7 (vlans"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let serial = |shown: &str| -> u64 {
        let at = shown.find("serial ").unwrap() + 7;
        let digits = shown[at..].split(|c: char| !c.is_ascii_digit()).next();
        digits.unwrap().parse().unwrap()
    };
    let second = serial(&shown);
    assert!(second > serial(&good(dir, "ca show a.record")));
    let (_, err) = bad(dir, &format!("ca sign ca {other} --name web4 --segment 1"));
    assert!(err.contains("this is the key of web3"), "{err}");
    let listed = good(dir, "ca list ca");
    assert!(
        listed.contains(&format!("web3  serial {second}")) && listed.contains("good for"),
        "{listed}"
    );
    good(dir, "ca renew ca web3 --revoke-earlier -o c.record");
    let revoked = good(dir, "ca show ca/revoked");
    assert!(
        revoked.contains("up to serial ") && revoked.contains("epoch "),
        "{revoked}"
    );
    let third = serial(&good(dir, "ca show c.record"));
    assert!(serial(&revoked) >= second && serial(&revoked) < third);
    assert!(good(dir, "ca list ca").contains(&format!("web3  serial {third}")));
    good(dir, "ca revoke ca web3 --reason stolen");
    let listed = good(dir, "ca list ca");
    assert!(
        listed.contains("revoked") && listed.contains("epoch "),
        "{listed}"
    );
    let (_, err) = bad(dir, "ca renew ca web3");
    assert!(err.contains("web3 is revoked"), "{err}");
    assert!(good(dir, "ca show ca/revoked").contains("all records"));
    good(dir, "ca export ca -o lab.network");
    assert!(good(dir, "ca show lab.network").contains("name lab"));
    for (line, part) in [
        ("ca renew ca nobody", "no record of nobody"),
        ("ca renew ca ../../a", "no member's name"),
        ("ca sign ca junk --name c --segment 1", "not a public key"),
        ("ca show a.key", "no record, network"),
        ("ca list .", "ca init"),
    ] {
        let (_, err) = bad(dir, line);
        assert!(err.contains(part), "{line}: {err}");
    }
    let (_, err) = bad(
        dir,
        &format!("ca sign ca {key} --name c --segment 1 --vlan 5000"),
    );
    assert!(err.contains("no VLAN"), "{err}");
    // What somebody else has put there is not signed anew.
    let whole = fs::read_to_string(dir.join("ca/revoked")).unwrap();
    fs::write(
        dir.join("ca/revoked"),
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/vectors/revoked"))
            .unwrap(),
    )
    .unwrap();
    let (_, err) = bad(dir, "ca list ca");
    assert!(err.contains("not of this authority"), "{err}");
    fs::write(dir.join("ca/revoked"), whole).unwrap();
    // All of it is in the log.
    let verified = good(dir, "audit verify ca/audit.log");
    assert!(verified.contains("6 entries, unbroken"), "{verified}");
    let log = fs::read_to_string(dir.join("ca/audit.log")).unwrap();
    assert!(log.contains("\"reason\":\"stolen\""), "{log}");
    fs::write(
        dir.join("ca/audit.log"),
        log.replace("moved to another key", "renewed"),
    )
    .unwrap();
    let (code, err) = bad(dir, "audit verify ca/audit.log");
    assert!(code == 1 && err.contains("line 4 does not follow"), "{err}");
}

/// Many sign at once: each record has a serial and a line of its own.
#[test]
fn many_signers_at_once_do_not_tread_on_each_other() {
    let (dir, key) = authority();
    let dir = dir.path();
    good(
        dir,
        &format!("ca sign ca {key} --name a --segment 1 -o a.record"),
    );
    let jobs: Vec<_> = (0..16)
        .map(|n| {
            let file = format!("r{n}");
            Command::new(env!("CARGO_BIN_EXE_l2vpn"))
                .args(["ca", "renew", "ca", "a", "-o", &file])
                .current_dir(dir)
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut job in jobs {
        assert!(job.wait().unwrap().success());
    }
    let serial = |n: usize| {
        let shown = good(dir, &format!("ca show r{n}"));
        let (_, serial) = shown.lines().next().unwrap().split_once("serial ").unwrap();
        serial.parse::<u64>().unwrap()
    };
    let mut serials: Vec<u64> = (0..16).map(serial).collect();
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials.len(), 16, "each has its own: {serials:?}");
    assert!(good(dir, "audit verify ca/audit.log").contains("18 entries"));
}

/// Who has stolen an admin could sign a record for anybody: what it signs is revoked with it, and a delegation that is renewed is still its.
#[test]
fn an_admin_is_revoked_with_what_it_has_signed() {
    let (dir, _) = authority();
    let dir = dir.path();
    good(dir, "ca admin ca --name a --segment lan=1 -o a");
    let delegation = good(dir, "ca show a/a.delegation");
    let key = delegation
        .lines()
        .next()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap();
    let (_, err) = bad(dir, "ca admin ca --name a --segment lan=1 -o a2");
    assert!(err.contains("has a record already"), "{err}");
    assert!(!dir.join("a2").exists());
    good(
        dir,
        "ca delegate ca a/a.delegation --days 30 -o longer.delegation",
    );
    let longer = good(dir, "ca show longer.delegation");
    assert!(
        longer.contains(key) && longer.contains("good for 29 days") | longer.contains("30 days")
    );
    good(dir, "ca revoke ca a/a.record --reason stolen");
    let revoked = good(dir, "ca show ca/revoked");
    assert!(revoked.contains(&format!("authority {key}")), "{revoked}");
    assert!(revoked.contains("all records"));
    let (_, err) = bad(dir, "ca delegate ca a/a.delegation -o more.delegation");
    assert!(err.contains("is retired"), "{err}");
    good(dir, "ca admin ca --name b --segment lan=1 -o b");
    good(dir, "ca revoke ca b --reason moved --keep-signed");
    let after = good(dir, "ca show ca/revoked");
    assert_eq!(after.matches("authority ").count(), 1, "{after}");
}

/// The files of `keys/vectors`: what is written today reads for ever. The authority's seed is 32 times 1, the member's private key
/// 32 times 2.
struct NoDice;

impl l2vpn::keys::Entropy for NoDice {
    fn fill(&mut self, _: &mut [u8]) {}
}

#[test]
fn the_forms_are_those_of_version_1() {
    use l2vpn::keys::{
        Armor, Authority, AuthorityKey, NetworkFile, PrivateKey, Signs, append_audit, write_new,
    };
    use l2vpn::trust::{Book, Invitation, Invite, Signer, invites};
    use l2vpn::wire::delegation::Delegation;
    use l2vpn::wire::record::{MemberId, Record, Roles};
    use l2vpn::wire::revocation::Revocations;
    use l2vpn::wire::segment::SegmentId;
    use l2vpn::wire::vlan::{Vid, VlanClass};
    use l2vpn::wire::vlans::VlanSet;

    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/vectors");
    let authority = AuthorityKey::from_seed(&zeroize::Zeroizing::new([1; 32]));
    let issuer = *authority.authority().as_bytes();
    let network = NetworkFile {
        name: "lab".into(),
        id: [3; 32],
        authorities: vec![authority.authority(), Authority::from_bytes([4; 32])],
    };
    let tens = VlanSet::default().with(VlanClass::customer(Vid::new(10).unwrap()));
    let record = Record {
        network: [3; 32],
        member: MemberId([5; 16]),
        serial: 7,
        key: *PrivateKey::from_bytes([2; 32]).public().as_bytes(),
        not_before: 1_800_000_000,
        not_after: 1_807_776_000,
        roles: Roles::RELAY.and(Roles::DHCP_SERVER),
        mac_limit: 0,
        name: "web3".into(),
        segments: vec![
            (SegmentId::new(1).unwrap(), tens),
            (SegmentId::new(0xff_ffff).unwrap(), VlanSet::everything()),
        ],
        macs: Vec::new(),
        prefixes: vec![("10.77.0.0".parse().unwrap(), 16)],
        issuer,
    };
    let mut list = Revocations {
        network: [3; 32],
        epoch: 2,
        issuer,
        ..Revocations::default()
    };
    list.revoke(MemberId([6; 16]), u64::MAX);
    let signed = |mut bytes: Vec<u8>, what| {
        let signature = authority.sign(what, &bytes);
        bytes.extend_from_slice(&signature);
        bytes
    };
    // An admin's key, seed 32 times 9, may sign for a year.
    let delegate = AuthorityKey::from_seed(&zeroize::Zeroizing::new([9; 32]));
    let delegation = Delegation {
        network: [3; 32],
        delegate: *delegate.authority().as_bytes(),
        not_before: 1_800_000_000,
        not_after: 1_831_536_000,
        days: 90,
        roles: Roles::RELAY.and(Roles::DHCP_SERVER),
        segments: record.segments.clone(),
        issuer,
    };
    let delegated = signed(delegation.signed().unwrap(), Signs::Delegation);
    let signer = Signer::delegate(delegate, Delegation::parse(&delegated).unwrap()).unwrap();
    let by_delegate = signer.issue(record.clone()).unwrap();
    let invitation = Invitation {
        network: [3; 32],
        admin: PrivateKey::from_bytes([2; 32]).public(),
        id: [7; 8],
        secret: zeroize::Zeroizing::new([8; 16]),
        until: 1_800_003_600,
        places: vec!["192.0.2.1:7656".into(), "a.example.net:7656".into()],
    };
    let record = signed(record.signed().unwrap(), Signs::Record);
    let list = signed(list.signed().unwrap(), Signs::Revocations);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let kept = |name: &str| fs::read_to_string(at(name)).unwrap();
    write_new(&at("authority.key"), &authority, None, &mut NoDice).unwrap();
    let entries = [
        ("signed", ("name", "web3")),
        ("revoked", ("member", "05050505050505050505050505050505")),
    ];
    for (n, (what, (of, whom))) in entries.into_iter().enumerate() {
        let of = [(of, whom.to_string())];
        append_audit(&at("audit.log"), 1_800_000_000 + n as u64, (what, &of)).unwrap();
    }
    let mut book = Book::default();
    let invite = Invite {
        id: [7; 8],
        secret: [8; 16],
        name: "web3".into(),
        segments: vec![1],
        vlans: vec!["10".into()],
        roles: vec!["relay".into()],
        address: "10.77.0.3/24".into(),
        days: 90,
        until: 1_800_003_600,
        uses: 1,
        withdrawn: false,
        taken: Vec::new(),
    };
    assert!(book.add(invite, 1_800_000_000));
    let book = invites::to_text(&book).unwrap();
    assert!(invites::from_text(&book).is_ok());
    let texts = [
        ("authority.key", kept("authority.key")),
        ("audit.log", kept("audit.log")),
        ("a.invites", format!("{}\n", *book)),
        ("lab.network", network.to_text()),
        ("web3.record", Armor::Record.to_text(&record)),
        ("revoked", Armor::Revocations.to_text(&list)),
        ("admin.delegation", Armor::Delegation.to_text(&delegated)),
        ("web3-by-admin.record", Armor::Record.to_text(&by_delegate)),
        ("invitation", format!("{}\n", *invitation.to_text())),
    ];
    for (name, text) in texts {
        let file = vectors.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{name}");
        match name {
            "invitation" | "a.invites" => "",
            "audit.log" => &good(&vectors, "audit verify audit.log"),
            // Files in a repository are everybody's to read; keys are not.
            "authority.key" => &good(dir.path(), "key check authority.key"),
            _ => &good(&vectors, &format!("ca show {name}")),
        };
    }
}
