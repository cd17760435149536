//! What is in a running member's memory: keys of sessions that have ended are not, and its own key is there once.
//!
//! Session keys are known to nobody but the two members, so they are found as those who attack a memory image do: AES-256 keys
//! lie there with their schedule, whose words follow from each other (FIPS 197 section 5.2).

#[path = "support/stage.rs"]
mod stage;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::process::ExitCode;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use stage::Story;
use world::*;

const STORIES: &[(&str, Story)] = &[
    ("the_search_finds_schedules_and_nothing_else", search),
    ("keys_of_ended_sessions_are_gone", sessions),
    ("the_own_key_is_there_once", own),
];

fn main() -> ExitCode {
    stage::play("memory", STORIES)
}

/// All that a process may write to, piece by piece.
fn memory(pid: u32) -> Result<Vec<Vec<u8>>, String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(|e| e.to_string())?;
    let mut file = fs::File::open(format!("/proc/{pid}/mem")).map_err(|e| e.to_string())?;
    let mut pieces = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(mode)) = (words.next(), words.next()) else {
            continue;
        };
        let ends = range.split_once('-').map(|(a, b)| {
            let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
            (number(a), number(b))
        });
        let Some((start, end)) = ends.filter(|_| mode.starts_with("rw")) else {
            continue;
        };
        // Page by page where the whole cannot be read: some of it may be gone meanwhile.
        let mut piece = vec![0; (end - start) as usize];
        let seek = file.seek(SeekFrom::Start(start));
        if seek.is_ok() && file.read_exact(&mut piece).is_ok() {
            pieces.push(piece);
        }
    }
    match pieces.is_empty() {
        true => Err("no memory can be read".into()),
        false => Ok(pieces),
    }
}

/// The S-box of AES (FIPS 197 section 5.1.1), from its definition.
fn s_box() -> [u8; 256] {
    let double = |a: u8| (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1b };
    let times = |mut a: u8, mut b: u8| {
        let mut product = 0;
        while b != 0 {
            product ^= if b & 1 == 0 { 0 } else { a };
            (a, b) = (double(a), b >> 1);
        }
        product
    };
    std::array::from_fn(|n| {
        let n = n as u8;
        let inverse = (1..=255).find(|m| times(n, *m) == 1).unwrap_or(0);
        (1..5).fold(inverse ^ 0x63, |s, turn| s ^ inverse.rotate_left(turn))
    })
}

/// The words after the first eight of a key's schedule.
fn schedule(key: &[u8; 32], s: &[u8; 256]) -> Vec<u8> {
    let mut words: Vec<[u8; 4]> = key.as_chunks().0.to_vec();
    let mut constant = 1u8;
    for n in 8..60 {
        let mut word: [u8; 4] = words[n - 1];
        if n % 8 == 0 {
            word.rotate_left(1);
        }
        if n % 4 == 0 {
            word = word.map(|b| s[usize::from(b)]);
        }
        if n % 8 == 0 {
            word[0] ^= constant;
            constant <<= 1;
        }
        let before = words[n - 8];
        words.push(std::array::from_fn(|i| word[i] ^ before[i]));
    }
    words.concat()
}

/// The keys whose schedules are in memory.
fn keys_in(pieces: &[Vec<u8>]) -> Vec<[u8; 32]> {
    let s = s_box();
    let mut keys = Vec::new();
    for piece in pieces {
        // Schedules lie at multiples of four bytes at least.
        for at in (0..piece.len().saturating_sub(240)).step_by(4) {
            let (key, next) = (&piece[at..at + 32], &piece[at + 32..at + 36]);
            // The first of the words that follow tells nearly all that are none.
            let first = [29, 30, 31, 28].map(|i| s[usize::from(key[i])]);
            let is_next = (0..4).all(|i| {
                let constant = u8::from(i == 0);
                next[i] == first[i] ^ constant ^ key[i]
            });
            if !is_next {
                continue;
            }
            let key: [u8; 32] = key.try_into().expect("32 bytes");
            if schedule(&key, &s)[..] == piece[at..at + 240] && !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

fn count(pieces: &[Vec<u8>], what: &[u8]) -> usize {
    let first = what[0];
    let mut found = 0;
    for piece in pieces {
        let starts = piece.iter().enumerate().filter(|(_, b)| **b == first);
        found += starts
            .filter(|(at, _)| piece[*at..].starts_with(what))
            .count();
    }
    found
}

fn search() -> Result<(), String> {
    // FIPS 197 appendix A.3.
    let key: [u8; 32] = [
        0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77,
        0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14,
        0xdf, 0xf4,
    ];
    let expanded = schedule(&key, &s_box());
    expect(expanded[236..] == [0x70, 0x6c, 0x63, 0x1e], || {
        format!("{:02x?}", &expanded[236..])
    })?;
    let mut piece = vec![7; 1000];
    piece[400..640].copy_from_slice(&expanded);
    let found = keys_in(&[piece.clone()]);
    expect(found == [key], || format!("{found:02x?}"))?;
    piece[639] ^= 1;
    expect(keys_in(&[piece]).is_empty(), || "a damaged one".into())
}

fn sessions() -> Result<(), String> {
    if cfg!(not(feature = "aws-lc")) || !l2vpn::io::process::has_hardware_aes() {
        println!("      SKIPPED: no AES here");
        return Ok(());
    }
    let mut world = World::pair(1500)?;
    for host in &mut world.hosts {
        // Without ML-KEM: its generator of random numbers has AES keys of its own.
        host.node = "rekey = \"5s\"\npq = \"off\"\n".into();
    }
    world.write()?;
    world.start_all()?;
    world.connected(0)?;
    world.reach(0, v4(1))?;
    let pid = world.show(0)?.pid;
    let first = keys_in(&memory(pid)?);
    expect((2..=8).contains(&first.len()), || {
        format!("{} keys of one session", first.len())
    })?;
    // Some rekeys later: the current session's keys and the previous one's are there, and no earlier. One that the other end has
    // never used, as they arise where two call each other at once, is kept for 30 s.
    std::thread::sleep(Duration::from_secs(36));
    world.reach(0, v4(1))?;
    let pieces = memory(pid)?;
    let now = keys_in(&pieces);
    expect((2..=8).contains(&now.len()), || {
        format!("{} keys", now.len())
    })?;
    let kept = first.iter().filter(|key| now.contains(key)).count();
    expect(kept == 0, || format!("{kept} keys of the first session"))?;
    let copies: Vec<usize> = first.iter().map(|key| count(&pieces, key)).collect();
    expect(copies.iter().all(|n| *n == 0), || {
        format!("copies {copies:?}")
    })?;
    // The peer is taken out: nothing of any session stays.
    let text = fs::read_to_string(world.config(0)).map_err(|e| e.to_string())?;
    let alone = text.split("[[peer]]").next().unwrap_or_default();
    fs::write(world.config(0), alone).map_err(|e| e.to_string())?;
    let (code, _, stderr) = world.cli(0, &["reload"])?;
    expect(code == Some(0), || stderr)?;
    // What a worker was looking at just then is let go a second later.
    let gone = world.eventually(Duration::from_secs(5), |_| {
        Ok(keys_in(&memory(pid)?).is_empty())
    })?;
    let pieces = memory(pid)?;
    let left = keys_in(&pieces).len();
    expect(gone && left == 0, || format!("{left} keys are left"))?;
    let copies: Vec<usize> = now.iter().map(|key| count(&pieces, key)).collect();
    expect(copies.iter().all(|n| *n == 0), || {
        format!("copies {copies:?}")
    })
}

/// How often a key and its text are in memory, once that is no more than it shall be, or after three seconds.
fn settled(
    world: &mut World,
    (pid, key, text): (u32, &[u8], &str),
    most: usize,
) -> Result<[usize; 2], String> {
    let mut found = [0; 2];
    world.eventually(Duration::from_secs(3), |_| {
        let pieces = memory(pid)?;
        found = [count(&pieces, key), count(&pieces, text.as_bytes())];
        Ok(found[0] <= most && found[1] == 0)
    })?;
    Ok(found)
}

fn own() -> Result<(), String> {
    let mut world = World::pair(1500)?;
    world.write()?;
    let file = world.config(0).with_file_name("node.key");
    let text = fs::read_to_string(&file).map_err(|e| e.to_string())?;
    let key = Base64::decode_vec(text.trim()).map_err(|e| e.to_string())?;
    world.start_all()?;
    world.connected(0)?;
    world.reach(0, v4(1))?;
    let pid = world.show(0)?.pid;
    // A handshake on its way has the key, too.
    let found = settled(&mut world, (pid, &key, text.trim()), 1)?;
    expect(found[0] <= 1 && found[1] == 0, || {
        format!("the key {} times, its text {} times", found[0], found[1])
    })?;
    // It is rotated, and the time of the old one is over: no copy is left of that.
    let path = file.display().to_string();
    let rotate = world.network.hosts[0].run(&["key", "rotate", &path]);
    rotate.map_err(|e| e.to_string())?;
    let (code, _, stderr) = world.cli(0, &["reload"])?;
    expect(code == Some(0), || stderr)?;
    let old = file.with_extension("key.old");
    let aside = fs::File::open(&old).map_err(|e| e.to_string())?;
    let past = std::time::SystemTime::now() - Duration::from_secs(25 * 3600);
    aside.set_modified(past).map_err(|e| e.to_string())?;
    let (code, _, stderr) = world.cli(0, &["reload"])?;
    expect(code == Some(0), || stderr)?;
    let gone = world.eventually(Duration::from_secs(8), |_| Ok(!old.exists()))?;
    expect(gone, || "the old key's file is still there".into())?;
    let found = settled(&mut world, (pid, &key, text.trim()), 0)?;
    expect(found == [0, 0], || {
        format!(
            "the old key {} times, its text {} times",
            found[0], found[1]
        )
    })
}
