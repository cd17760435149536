//! Networks from nothing: an authority, an admin, invitations and those who come by them.

#[path = "support/stage.rs"]
mod stage;
#[path = "support/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use l2vpn::keys::{Armor, AuthorityKey, Stored};
use l2vpn::lab::orders::{Order, Report};
use l2vpn::trust::Signer;
use l2vpn::wire::proof::Proof;
use l2vpn::wire::record::Record;
use stage::Story;
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("two_machines_from_nothing_to_ping_in_six_commands", six),
    (
        "of_a_hundred_that_come_by_one_invitation_one_gets_in",
        hundred,
    ),
    ("what_is_wrong_with_an_invitation_is_told", wrong),
    ("members_that_name_nobody_meet_on_their_lan", nobody_named),
    ("an_admin_that_nobody_reaches_invites_by_a_relay", by_relay),
    ("records_are_renewed_by_themselves", renewed),
    ("trouble_with_time_is_told_in_words", time_told),
    ("an_authority_is_replaced_and_retired", replaced),
];

fn main() -> ExitCode {
    stage::play("joining", STORIES)
}

/// Runs a command on a host: gives the exit code, stdout and stderr.
fn on(world: &mut World, n: usize, args: &[&str]) -> Result<(i32, String, String), String> {
    let ended = world.network.hosts[n].run(args);
    let (code, out, err) = ended.map_err(|e| e.to_string())?;
    Ok((code.unwrap_or(-1), out, err))
}

/// The same, which has to go well.
fn good(world: &mut World, n: usize, args: &[&str]) -> Result<String, String> {
    let (code, out, err) = on(world, n, args)?;
    expect(code == 0, || format!("{args:?}: {out}{err}"))?;
    Ok(out.trim().to_string())
}

/// A place of its own, and what it is called in a command.
fn at(world: &World, name: &str) -> (PathBuf, String) {
    let path = world.dir().join(name);
    let text = path.display().to_string();
    (path, text)
}

/// The configuration as it was written, with the control socket and the state where the story may have them.
fn placed(world: &World, config: &Path) -> Result<String, String> {
    let socket = config.with_extension("sock");
    let state = world.dir().join("state");
    let text = std::fs::read_to_string(config).map_err(|e| e.to_string())?;
    let more = format!(
        "\n[control]\nsocket = \"{}\"\nstate_dir = \"{}\"\n",
        socket.display(),
        state.display()
    );
    std::fs::write(config, text + &more).map_err(|e| e.to_string())?;
    Ok(socket.display().to_string())
}

fn start(world: &mut World, n: usize, config: &Path) -> Result<(), String> {
    let log = world.dir().join(format!("{n}.log"));
    let socket = config.with_extension("sock").display().to_string();
    let started = world.network.hosts[n].start_daemon(config, &log);
    started.map_err(|e| e.to_string())?;
    let is_up = world.eventually(Duration::from_secs(5), |w| {
        Ok(on(w, n, &["show", "--socket", &socket])?.0 == 0)
    })?;
    expect(is_up, || std::fs::read_to_string(log).unwrap_or_default())
}

/// An authority and a running admin on host 0; gives its socket.
fn admin(world: &mut World) -> Result<String, String> {
    let (_, ca) = at(world, "ca");
    good(
        world,
        0,
        &["ca", "init", &ca, "--name", "lab", "--no-passphrase"],
    )?;
    let (dir, out) = at(world, "admin");
    let args = [
        "ca",
        "admin",
        &ca,
        "--name",
        "a",
        "--segment",
        "lan=1",
        "-o",
    ];
    let args = [&args[..], &[&out, "--address", "10.99.0.1/24"]].concat();
    good(world, 0, &args)?;
    let config = dir.join("a.toml");
    let socket = placed(world, &config)?;
    // A network with a pre-shared key: members that come have it, too.
    let psk = dir.join("net.psk").display().to_string();
    good(world, 0, &["key", "psk", "-o", &psk])?;
    let text = std::fs::read_to_string(&config).map_err(|e| e.to_string())?;
    let text = text.replace("[network]", "network_psk_file = \"net.psk\"\n\n[network]");
    std::fs::write(&config, text).map_err(|e| e.to_string())?;
    start(world, 0, &config)?;
    Ok(socket)
}

fn invite(world: &mut World, socket: &str, more: &[&str]) -> Result<String, String> {
    let args = ["invite", "create", "--segment", "lan", "--socket", socket];
    good(world, 0, &[&args[..], more].concat())
}

/// Host 1 joins as b; gives its configuration.
fn joined(world: &mut World, socket: &str) -> Result<(PathBuf, String), String> {
    let named = ["--name", "b", "--address", "10.99.0.2/24"];
    let text = invite(world, socket, &named)?;
    let (config, path) = at(world, "b.toml");
    good(world, 1, &["join", &text, "--config", &path])?;
    Ok((config, path))
}

/// The record in a file.
fn record(file: &Path) -> Result<Proof, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let bytes = Armor::Record.from_text(&text).ok_or("no record")?;
    Proof::parse(&bytes).map_err(|e| e.to_string())
}

/// `ca init`, `ca admin`, `up`, `invite create`, `join`, `up`: that is all, and nothing is edited or carried but one string. What the
/// story adds is where sockets and state lie.
fn six() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let began = Instant::now();
    let socket = admin(&mut world)?;
    let text = invite(
        &mut world,
        &socket,
        &["--name", "b", "--address", "10.99.0.2/24"],
    )?;
    expect(
        text.starts_with("l2vpn-join:") && !text.contains('\n'),
        || text.clone(),
    )?;
    let (config, path) = at(&world, "b.toml");
    let told = good(&mut world, 1, &["join", &text, "--config", &path])?;
    expect(told.contains("joined network lab as b"), || told.clone())?;
    let proof = record(&world.dir().join("b.record"))?;
    // Once more by the same machine, as if the answer had been lost: the same record.
    std::fs::remove_file(&config).map_err(|e| e.to_string())?;
    good(&mut world, 1, &["join", &text, "--config", &path])?;
    let again = record(&world.dir().join("b.record"))?;
    expect(again == proof, || "another record".into())?;
    placed(&world, &config)?;
    start(&mut world, 1, &config)?;
    let there = "10.99.0.2".parse().map_err(|_| "address")?;
    world.reach(0, there)?;
    println!("from nothing to ping in {} ms", began.elapsed().as_millis());
    let list = good(&mut world, 0, &["invite", "list", "--socket", &socket])?;
    expect(list.contains("1 of 1") && list.contains("used"), || {
        list.clone()
    })?;
    // What was given is a record of the delegate's, for a key that never left the machine.
    expect(
        proof.delegation.is_some() && proof.record.name == "b",
        || format!("{proof:?}"),
    )?;
    let log = world.dir().join("state/a.audit.log").display().to_string();
    let audit = good(&mut world, 0, &["audit", "verify", &log])?;
    expect(audit.contains('2'), || audit.clone())?;
    let book = std::fs::metadata(world.dir().join("state/a.invites")).map_err(|e| e.to_string())?;
    let mode = std::os::unix::fs::MetadataExt::mode(&book) & 0o777;
    expect(mode == 0o600, || format!("{mode:o}"))
}

/// A hundred at once, each with a key of its own.
fn hundred() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let socket = admin(&mut world)?;
    for (uses, count) in [("1", 100usize), ("3", 20)] {
        let text = invite(&mut world, &socket, &["--name", "w", "--uses", uses])?;
        let dir = world.dir().join(format!("many{uses}"));
        std::fs::create_dir(&dir).map_err(|e| e.to_string())?;
        let script = format!(
            "cd {} && for n in $(seq {count}); do ({} join '{text}' --timeout 60s --config $n.toml \
             >/dev/null 2>$n.err; echo $? >$n.code) & done; wait",
            dir.display(),
            exe().display()
        );
        let order = Order::Execute(vec!["sh".into(), "-c".into(), script]);
        let done = world.ask(1, &order)?;
        expect(!matches!(done, Report::Failed(_)), || format!("{done:?}"))?;
        let read = |n: usize, kind: &str| {
            std::fs::read_to_string(dir.join(format!("{n}.{kind}"))).unwrap_or_default()
        };
        let codes: Vec<String> = (1..=count).map(|n| read(n, "code").trim().into()).collect();
        let won = codes.iter().filter(|code| *code == "0").count();
        expect(won.to_string() == uses, || {
            format!("{won} of {uses}: {codes:?}")
        })?;
        let errors: Vec<String> = (1..=count).map(|n| read(n, "err")).collect();
        let told = errors
            .iter()
            .filter(|e| e.contains("has been used as often"));
        let told = told.count();
        expect(told == count - won, || format!("{told}: {errors:?}"))?;
        let records = (1..=count).filter(|n| dir.join(format!("{n}.record")).exists());
        expect(records.count() == won, || "records of others".into())?;
    }
    Ok(())
}

/// Expired, used, taken back, mistyped, another network's, or nobody there: each is told by its own words, and leaves no configuration.
fn wrong() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let socket = admin(&mut world)?;
    let (config, path) = at(&world, "b.toml");
    let refused = |world: &mut World, text: &str, part: &str| {
        let args = ["join", text, "--config", &path, "--timeout", "3s"];
        let (code, _, err) = on(world, 1, &args)?;
        expect(code != 0 && err.contains(part), || {
            format!("{part}: {code} {err}")
        })?;
        expect(!config.exists(), || format!("{part}: a configuration"))
    };
    let text = invite(&mut world, &socket, &["--name", "b"])?;
    refused(&mut world, "hello", "begins with")?;
    let mistyped = text.replace(&text[40..42], "xx");
    refused(&mut world, &mistyped, "a letter is missing or wrong")?;
    let (code, _, err) = on(
        &mut world,
        0,
        &["invite", "revoke", "c", "--socket", &socket],
    )?;
    expect(code == 1 && err.contains("no open invitation"), || {
        err.clone()
    })?;
    good(
        &mut world,
        0,
        &["invite", "revoke", "b", "--socket", &socket],
    )?;
    refused(&mut world, &text, "was taken back")?;
    // More than this admin may give.
    for (more, part) in [
        (&["--role", "relay"][..], "does not grant that"),
        (&["--segment", "9"], "does not grant that"),
        (&["--segment", "nowhere"], "there is no segment"),
        (&["--vlan", "5000"], "is no VLAN"),
        (&["--address", "10.0.0.300/24"], "is no address"),
        (&["--endpoint", "10.0.0.3"], "has no port"),
        (
            &["--uses", "2", "--address", "10.0.0.3/24"],
            "not for several",
        ),
    ] {
        let args = [
            "invite",
            "create",
            "--segment",
            "lan",
            "--name",
            "c",
            "--socket",
            &socket,
        ];
        let (code, out, err) = on(&mut world, 0, &[&args[..], more].concat())?;
        expect(code != 0 && err.contains(part) && out.is_empty(), || {
            format!("{part}: {err}")
        })?;
    }
    // By the admin's clock it is over, whatever the machine's own says: the book is changed for that.
    let text = invite(&mut world, &socket, &["--name", "late"])?;
    world.signal(0, 15)?;
    let book = world.dir().join("state/a.invites");
    let old = std::fs::read_to_string(&book).map_err(|e| e.to_string())?;
    let until = old.rfind("\"until\":").ok_or("until")? + 8;
    let end = old[until..].find(',').ok_or("end")? + until;
    let mut new = old.clone();
    new.replace_range(until..end, "1700000000");
    // What was over a week ago is forgotten when another is made, not before.
    std::fs::write(&book, new).map_err(|e| e.to_string())?;
    let config_a = world.dir().join("admin/a.toml");
    start(&mut world, 0, &config_a)?;
    refused(&mut world, &text, "is over, by the admin's clock")?;
    world.signal(0, 15)?;
    std::fs::remove_file(&book).map_err(|e| e.to_string())?;
    refused(&mut world, &text, "nobody answers")?;
    start(&mut world, 0, &config_a)?;
    // An admin says nothing to whom it has not invited.
    refused(&mut world, &text, "nobody answers")
}

/// The one that has joined forgets where the admin is, and whose key it has: they are on one LAN and in one network.
fn nobody_named() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let socket = admin(&mut world)?;
    let (config, path) = joined(&mut world, &socket)?;
    let text = std::fs::read_to_string(&config).map_err(|e| e.to_string())?;
    let (before, rest) = text.split_once("[[peer]]").ok_or("no peer")?;
    let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
    expect(!after.contains("endpoint"), || text.clone())?;
    std::fs::write(&config, format!("{before}\n{after}")).map_err(|e| e.to_string())?;
    let own = placed(&world, &config)?;
    let check = good(&mut world, 1, &["check", &path])?;
    start(&mut world, 1, &config)?;
    let there = "10.99.0.2".parse().map_err(|_| "address")?;
    world.reach(0, there)?;
    let shown = good(&mut world, 1, &["show", "--socket", &own])?;
    expect(shown.contains("up"), || format!("{check}{shown}"))
}

/// Runs a script on a host.
fn script(world: &mut World, n: usize, text: &str) -> Result<(), String> {
    let order = Order::Execute(["sh", "-c", text].map(String::from).to_vec());
    let done = world.ask(n, &order)?;
    expect(!matches!(done, Report::Failed(_)), || format!("{done:?}"))
}

/// The admin and the new machine reach a relay of the network, and not each other: neither to join nor afterwards.
fn by_relay() -> Result<(), String> {
    const RELAY: usize = 2;
    if std::process::Command::new("nft")
        .arg("-v")
        .output()
        .is_err()
    {
        return Err(format!("{}nftables is not installed", stage::SKIPPED));
    }
    let mut world = World::new(&[Underlay::V4; 3], 1500)?;
    for (n, other) in [(0, 1), (1, 0)] {
        let other = underlay_v4(other);
        script(
            &mut world,
            n,
            &format!(
                "nft 'add table ip t; add chain ip t in {{ type filter hook input priority 0; }}; \
                 add rule ip t in ip saddr {other} drop'"
            ),
        )?;
    }
    let socket = admin(&mut world)?;
    let (_, ca) = at(&world, "ca");
    let (key, key_file) = at(&world, "r.key");
    let (record, record_file) = at(&world, "r.record");
    let public = good(&mut world, RELAY, &["key", "new", "-o", &key_file])?;
    let sign = ["ca", "sign", &ca, &public, "--name", "r", "--segment", "1"];
    let sign = [&sign[..], &["--role", "relay", "-o", &record_file]].concat();
    good(&mut world, RELAY, &sign)?;
    let config = world.dir().join("r.toml");
    let text = format!(
        "[node]\nkey = \"{}\"\nnetwork_psk_file = \"admin/net.psk\"\n\
         [network]\nfile = \"admin/a.network\"\nrecord = \"{}\"\n[admission]\n",
        key.display(),
        record.display(),
    );
    std::fs::write(&config, text).map_err(|e| e.to_string())?;
    placed(&world, &config)?;
    let config = config.display().to_string();
    let (code, out, err) = on(&mut world, RELAY, &["check", &config])?;
    let checked = format!("{out}{err}");
    expect(code == 0 && !checked.contains("warning"), || checked)?;
    let other = world.dir().join("other.toml");
    let text = std::fs::read_to_string(&config).map_err(|e| e.to_string())?;
    let (alone, path) = (text.replace("[admission]", ""), other.display().to_string());
    for (text, part) in [
        (&alone, "this member's record says that it relays"),
        // The admin's own does not.
        (
            &text
                .replace("r.key", "admin/a.key")
                .replace("r.record", "admin/a.record"),
            "its record does not say that it is one",
        ),
    ] {
        std::fs::write(&other, text).map_err(|e| e.to_string())?;
        let (_, out, err) = on(&mut world, RELAY, &["check", &path])?;
        expect(format!("{out}{err}").contains(part), || {
            format!("{out}{err}")
        })?;
    }
    let log = world.dir().join("r.log");
    let program = exe().display().to_string();
    let command = vec![program, "relay".into(), config];
    world.ask(RELAY, &Order::Spawn(command, log.clone()))?;
    // The admin gets to know it, and everybody else by that.
    let config = world.dir().join("admin/a.toml");
    let text = std::fs::read_to_string(&config).map_err(|e| e.to_string())?;
    let relay = format!(
        "\n[[peer]]\nname = \"relay\"\npublic_key = \"{public}\"\nendpoints = [\"{}:7656\"]\nby_record = true\n",
        underlay_v4(RELAY)
    );
    std::fs::write(&config, text + &relay).map_err(|e| e.to_string())?;
    good(&mut world, 0, &["reload", "--socket", &socket])?;
    let is_there = world.eventually(Duration::from_secs(10), |w| {
        let shown = good(w, 0, &["show", "--socket", &socket])?;
        Ok(shown
            .lines()
            .any(|l| l.contains("relay") && l.contains("up")))
    })?;
    expect(is_there, || {
        std::fs::read_to_string(&log).unwrap_or_default()
    })?;
    // The relay may be named as well: at what it has inside and outside, and once.
    let (_, own_file) = at(&world, "admin/a.key");
    let own = good(&mut world, 0, &["key", "public", &own_file])?;
    let named = [&public, &public, &own].map(|key| format!("{key}@{}:7656", underlay_v4(RELAY)));
    let elsewhere = format!("{public}@198.51.100.7:7656");
    let args = ["invite", "create", "--segment", "lan", "--socket", &socket];
    let args = [&args[..], &["--name", "c", "--endpoint", &named[2]]].concat();
    let (code, _, err) = on(&mut world, 0, &args)?;
    expect(code != 0 && err.contains("no relay of its own"), || err)?;
    let text = invite(
        &mut world,
        &socket,
        &[
            "--name",
            "b",
            "--address",
            "10.99.0.2/24",
            "--endpoint",
            &elsewhere,
            "--endpoint",
            &named[0],
        ],
    )?;
    let (config, path) = at(&world, "b.toml");
    good(&mut world, 1, &["join", &text, "--config", &path])?;
    let written = std::fs::read_to_string(&config).map_err(|e| e.to_string())?;
    expect(written.contains(&public), || written.clone())?;
    let own = placed(&world, &config)?;
    start(&mut world, 1, &config)?;
    let there = "10.99.0.2".parse().map_err(|_| "address")?;
    world.reach(0, there)?;
    let shown = good(&mut world, 1, &["show", "--socket", &own])?;
    expect(shown.contains("via relay"), || shown.clone())?;
    // The relay has seen a visitor, who is a member now, and frames of nobody.
    let audit = world.dir().join("state/a.audit.log").display().to_string();
    good(&mut world, 0, &["audit", "verify", &audit]).map(|_| ())
}

/// The authority signs a record for b as it is given, with these times.
fn sign_again(world: &World, record: Record) -> Result<(), String> {
    let key = l2vpn::keys::read_stored(&world.dir().join("ca/authority.key"));
    let Stored::<AuthorityKey>::Plain(key) = key.map_err(|e| e.to_string())? else {
        return Err("sealed".into());
    };
    let signed = Signer::authority(key).issue(record);
    let text = Armor::Record.to_text(&signed.map_err(|e| e.to_string())?);
    std::fs::write(world.dir().join("b.record"), text).map_err(|e| e.to_string())
}

/// A record of which two thirds are over is renewed by the admin, kept over a restart, and known to the others.
fn renewed() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let socket = admin(&mut world)?;
    let (config, _) = joined(&mut world, &socket)?;
    // An old record takes the place of the one of today: the authority has signed it 80 days ago.
    let first = record(&world.dir().join("b.record"))?;
    let mut old = first.record.clone();
    let back = 80 * 24 * 3600;
    (old.not_before, old.not_after) = (old.not_before - back, old.not_after - back);
    old.serial -= back;
    sign_again(&world, old)?;
    let own = placed(&world, &config)?;
    start(&mut world, 1, &config)?;
    let kept = world.dir().join("state/b.record");
    let is_renewed = world.eventually(Duration::from_secs(10), |_| Ok(kept.exists()))?;
    expect(is_renewed, || {
        std::fs::read_to_string(world.dir().join("1.log")).unwrap_or_default()
    })?;
    let new = record(&kept)?.record;
    expect(
        new.not_after > first.record.not_after - 3600 && new.key == first.record.key,
        || format!("{new:?}"),
    )?;
    for _ in 0..2 {
        let shown = good(&mut world, 1, &["show", "--json", "--socket", &own])?;
        let shown: l2vpn::api::Snapshot =
            serde_json::from_str(&shown).map_err(|e| e.to_string())?;
        let serial = shown.network.and_then(|n| n.serial);
        expect(serial == Some(new.serial), || format!("{serial:?}"))?;
        world.signal(1, 15)?;
        start(&mut world, 1, &config)?;
    }
    world.reach(0, "10.99.0.2".parse().map_err(|_| "address")?)?;
    let told = good(&mut world, 1, &["metrics", "--socket", &own])?;
    let left = told.lines().find_map(|line| {
        let value = line.strip_prefix("l2vpn_record_expires_seconds ")?;
        value.parse::<f64>().ok()
    });
    let days = left.ok_or("no metric")? / 86_400.0;
    expect((89.0..=90.0).contains(&days), || format!("{days} days"))?;
    let shown = good(&mut world, 1, &["show", "--socket", &own])?;
    expect(
        shown.contains("good for 89 days more") || shown.contains("good for 90 days more"),
        || shown.clone(),
    )
}

/// A record of tomorrow, which is a clock of yesterday, and one that is over: both say what is wrong and what to do.
fn time_told() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let socket = admin(&mut world)?;
    let (config, _) = joined(&mut world, &socket)?;
    placed(&world, &config)?;
    let first = record(&world.dir().join("b.record"))?.record;
    let day = 24 * 3600;
    for (ahead, back, words) in [
        (
            2 * day,
            0,
            &["shows a time before its record was made", "set the clock"][..],
        ),
        (0, 200 * day, &["record is over", "l2vpn ca renew"]),
    ] {
        let mut moved = first.clone();
        moved.not_before = moved.not_before + ahead - back;
        moved.not_after = moved.not_after + ahead - back;
        sign_again(&world, moved)?;
        start(&mut world, 1, &config)?;
        let log = world.dir().join("1.log");
        let told = world.eventually(Duration::from_secs(3), |_| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            Ok(words.iter().all(|part| log.contains(part)))
        })?;
        expect(told, || std::fs::read_to_string(&log).unwrap_or_default())?;
        world.signal(1, 15)?;
    }
    Ok(())
}

/// A second authority takes the place of the first: members that know both let in by either, and when the first is retired, nobody whom it
/// alone has vouched for.
fn replaced() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    let socket = admin(&mut world)?;
    let (old, new) = (at(&world, "ca").1, at(&world, "ca2").1);
    let (config, _) = joined(&mut world, &socket)?;
    let own = placed(&world, &config)?;
    start(&mut world, 1, &config)?;
    world.reach(0, "10.99.0.2".parse().map_err(|_| "address")?)?;
    let args = [
        "ca",
        "init",
        &new,
        "--successor-of",
        &old,
        "--no-passphrase",
    ];
    good(&mut world, 0, &args)?;
    let file = world.dir().join("two.network").display().to_string();
    good(&mut world, 0, &["ca", "export", &new, "-o", &file])?;
    for (n, name, socket) in [(0, "admin/a.network", &socket), (1, "b.network", &own)] {
        std::fs::copy(&file, world.dir().join(name)).map_err(|e| e.to_string())?;
        good(&mut world, n, &["reload", "--socket", socket])?;
    }
    world.reach(0, "10.99.0.2".parse().map_err(|_| "address")?)?;
    let public = std::fs::read_to_string(world.dir().join("admin/a.network"));
    let public = public.map_err(|e| e.to_string())?;
    let first = public
        .lines()
        .nth(4)
        .and_then(|l| l.strip_prefix("authority "));
    let first = first.ok_or("two authorities")?.to_string();
    let retire = ["ca", "retire", &new, &first, "--reason", "replaced"];
    let (code, _, err) = on(&mut world, 0, &retire)?;
    expect(code == 1 && err.contains("would count no more"), || {
        err.clone()
    })?;
    let with = [&retire[..], &["--directory", &old]].concat();
    let (code, _, err) = on(&mut world, 0, &with)?;
    expect(code == 1 && err.contains("only it has signed: a"), || {
        err.clone()
    })?;
    let renewed = at(&world, "a2.record").1;
    good(&mut world, 0, &["ca", "renew", &new, "a", "-o", &renewed])?;
    good(&mut world, 0, &with)?;
    let list = world.dir().join("ca2/revoked").display().to_string();
    let text = std::fs::read_to_string(&config).map_err(|e| e.to_string())?;
    let line = format!("[network]\nrevocations = \"{list}\"\n");
    std::fs::write(&config, text.replace("[network]\n", &line)).map_err(|e| e.to_string())?;
    good(&mut world, 1, &["reload", "--socket", &own])?;
    // Both records go back to the first authority: at both ends the other is gone.
    let gone = world.eventually(Duration::from_secs(5), |w| {
        let told = good(w, 0, &["events", "--socket", &socket])?;
        Ok(told.contains("its authority is"))
    })?;
    expect(gone, || {
        let log = |n: usize| std::fs::read_to_string(world.dir().join(format!("{n}.log")));
        format!("{:?}\n{:?}", log(0), log(1))
    })?;
    let lost = world.ping(0, "10.99.0.2".parse().map_err(|_| "address")?, 56, 2)?;
    expect(lost.iter().all(Option::is_none), || format!("{lost:?}"))
}
