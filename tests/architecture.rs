//! The rules of the house, held by reading its sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may import. `time`, `drops` and `place` are open to all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("keys", &[]),
    ("noise", &["wire", "keys"]),
    ("switch", &["wire"]),
    ("trust", &["wire", "keys"]),
    ("config", &["wire", "keys", "switch", "trust"]),
    ("mesh", &["wire", "keys", "noise", "trust"]),
    (
        "node",
        &["wire", "keys", "noise", "switch", "mesh", "trust"],
    ),
    (
        "dataplane",
        &["wire", "noise", "switch", "mesh", "node", "io"],
    ),
    ("io", &["wire", "keys"]),
    ("lab", &["wire", "io"]),
    ("api", &[]),
    (
        "daemon",
        &[
            "wire",
            "keys",
            "noise",
            "switch",
            "config",
            "mesh",
            "node",
            "dataplane",
            "io",
            "api",
            "trust",
        ],
    ),
    (
        "cli",
        &[
            "api", "config", "daemon", "keys", "lab", "io", "noise", "trust", "wire",
        ],
    ),
    ("time", &[]),
    ("drops", &[]),
    ("place", &[]),
    ("carrier", &[]),
    ("sync", &[]),
];
const OPEN_TO_ALL: &[&str] = &["time", "drops", "place", "carrier", "sync"];
/// Rooms without sockets, clocks, tasks, files of the system or dice.
const PURE: &[&str] = &[
    "wire", "keys", "noise", "switch", "mesh", "node", "time", "trust", "drops", "place",
];
const MAX_FILE: usize = 600;
const MAX_FUNCTION: usize = 60;
const MAX_FIELDS: usize = 16;
const MAX_ARGUMENTS: usize = 6;

struct Source {
    path: PathBuf,
    room: String,
    /// Without the tests at its end.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let sources: Vec<Source> = files
        .into_iter()
        // Files of nothing but tests.
        .filter(|path| !path.ends_with("noise/oracles.rs"))
        .filter(|path| !path.ends_with("noise/replay_tests.rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap()
                .to_string();
            let relative = path.strip_prefix(&root).unwrap();
            let first = relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy();
            let room = first.trim_end_matches(".rs").to_string();
            Source { path, room, code }
        })
        .collect();
    assert!(sources.len() > 50, "the sources were found");
    sources
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The code without comments and doc comments.
fn bare(code: &str) -> String {
    let lines = code.lines().map(|l| l.split("//").next().unwrap_or(l));
    lines.collect::<Vec<_>>().join("\n")
}

fn complain(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let rules: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut problems = Vec::new();
    for source in sources()
        .iter()
        .filter(|s| s.room != "lib" && s.room != "main")
    {
        let allowed = rules.get(source.room.as_str());
        let Some(allowed) = allowed else {
            problems.push(format!(
                "{}: the room {} has no rule",
                source.path.display(),
                source.room
            ));
            continue;
        };
        let code = bare(&source.code);
        for part in code.split("crate::").skip(1) {
            let other: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let fine = other == source.room
                || OPEN_TO_ALL.contains(&other.as_str())
                || allowed.contains(&other.as_str());
            if !fine {
                problems.push(format!("{} uses crate::{other}", source.path.display()));
            }
        }
    }
    complain(problems);
}

#[test]
fn unsafe_stays_in_io_and_gives_its_reason() {
    let mut problems = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.code.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            if !code.contains("unsafe ") || code.contains("unsafe_") {
                continue;
            }
            let explained = lines[i.saturating_sub(9)..i]
                .iter()
                .any(|l| l.contains("SAFETY:"));
            if source.room != "io" || !explained {
                problems.push(format!("{}:{}: {line}", source.path.display(), i + 1));
            }
        }
    }
    complain(problems);
}

#[test]
fn the_core_has_no_clock_no_socket_no_dice_and_no_task() {
    let banned = [
        "tokio",
        "std::net::UdpSocket",
        "std::net::TcpStream",
        "Instant::now",
        "SystemTime",
        "getrandom",
        "std::thread",
        "std::process",
        "libc::",
        "socket2",
        "quinn_udp",
        "tun_tap",
        "RandomState",
        "println!",
        "eprintln!",
    ];
    let mut problems = Vec::new();
    for source in sources().iter().filter(|s| PURE.contains(&s.room.as_str())) {
        let code = bare(&source.code);
        for word in banned.iter().filter(|w| code.contains(**w)) {
            problems.push(format!("{} uses {word}", source.path.display()));
        }
    }
    complain(problems);
}

#[test]
fn the_two_directions_of_the_frame_path_know_no_outside() {
    for source in sources() {
        let name = source
            .path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        // The threads are the outside, and what they take from their sockets with.
        let is_thread = ["workers.rs", "intake.rs"].contains(&name.as_str());
        if source.room == "dataplane" && !is_thread {
            let code = bare(&source.code);
            for word in ["crate::io", "tokio", "tracing", "println"] {
                assert!(!code.contains(word), "{name} uses {word}");
            }
        }
    }
}

#[test]
fn nothing_that_input_can_reach_panics() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|s| s.room != "lab") {
        for (i, line) in bare(&source.code).lines().enumerate() {
            for word in [
                ".unwrap()",
                ".expect(",
                "panic!(",
                "unreachable!(",
                "todo!(",
                "unimplemented!(",
            ] {
                if line.contains(word) {
                    problems.push(format!(
                        "{}:{}: {}",
                        source.path.display(),
                        i + 1,
                        line.trim()
                    ));
                }
            }
        }
    }
    complain(problems);
}

#[test]
fn files_functions_and_structs_keep_to_their_budgets() {
    let mut problems = Vec::new();
    for source in sources() {
        let path = source.path.display();
        let lines: Vec<&str> = source.code.lines().collect();
        if lines.len() > MAX_FILE {
            problems.push(format!("{path}: {} lines", lines.len()));
        }
        for (i, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let starts = |words: &[&str]| words.iter().any(|w| head.starts_with(w));
            let end = || {
                lines[i..]
                    .iter()
                    .position(|l| l.trim_end() == format!("{}}}", " ".repeat(indent)))
                    .unwrap_or(0)
            };
            if starts(&[
                "fn ",
                "pub fn ",
                "pub(super) fn ",
                "pub(crate) fn ",
                "pub(in crate::cli) fn ",
                "async fn ",
                "pub async fn ",
                "pub(super) async fn ",
            ]) {
                let length = end() + 1;
                // A function whose whole body is one match is a table.
                let body = &lines[i..i + length];
                let is_table = body
                    .iter()
                    .filter(|l| {
                        l.trim_start().starts_with("match ")
                            && l.len() - l.trim_start().len() == indent + 4
                    })
                    .count()
                    == 1;
                if length > MAX_FUNCTION && !is_table {
                    problems.push(format!("{path}:{}: {length} lines: {head}", i + 1));
                }
                let signature = lines[i..]
                    .iter()
                    .take_while(|l| !l.contains('{'))
                    .copied()
                    .chain([*line])
                    .collect::<Vec<_>>();
                let arguments = signature
                    .iter()
                    .filter(|l| l.trim_end().ends_with(','))
                    .count();
                if arguments > MAX_ARGUMENTS {
                    problems.push(format!("{path}:{}: {arguments} arguments: {head}", i + 1));
                }
            }
            if starts(&["struct ", "pub struct ", "pub(super) struct "])
                && line.trim_end().ends_with('{')
            {
                let fields = lines[i + 1..i + 1 + end()]
                    .iter()
                    .filter(|l| {
                        l.len() - l.trim_start().len() == indent + 4 && l.trim_end().ends_with(',')
                    })
                    .count();
                if fields > MAX_FIELDS {
                    problems.push(format!("{path}:{}: {fields} fields: {head}", i + 1));
                }
            }
        }
    }
    complain(problems);
}

#[test]
fn every_room_says_what_it_is() {
    for source in sources() {
        let first = source.code.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("//! "),
            "{} begins without a word",
            source.path.display()
        );
    }
}

#[test]
fn the_frame_path_has_seven_stops_and_they_exist() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let (_, path) = map.split_once("# The path of a frame").unwrap();
    let (out, inward) = path.split_once("In, from the network").unwrap();
    let all: Vec<Source> = sources();
    for direction in [out, inward] {
        let direction = direction.split("#![").next().unwrap();
        let stops: Vec<&str> = direction.split('`').skip(1).step_by(2).collect();
        assert!(stops.len() <= 7, "{stops:?}");
        for stop in stops {
            let (holder, name) = stop.split_once("::").unwrap();
            let exists = all.iter().any(|s| {
                let here = s.path.to_string_lossy().contains(holder)
                    || s.code.contains(&format!(" {holder} {{"));
                here && (s.code.contains(&format!("fn {name}("))
                    || s.code.contains(&format!("fn {name}<")))
            });
            assert!(exists, "{stop} is not in the sources");
        }
    }
}

#[test]
fn the_top_level_is_as_agreed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "keys",
        "tests",
        "fuzz",
        "README.md",
        ".ci",
        ".git",
        ".gitignore",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "deny.toml",
        "rust-toolchain.toml",
        "target",
        "rustfmt.toml",
        "clippy.toml",
        ".config",
        ".cargo",
    ];
    for entry in fs::read_dir(root).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(
            allowed.contains(&name.as_str()),
            "{name} lies at the top level"
        );
    }
}
