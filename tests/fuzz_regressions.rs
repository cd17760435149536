//! Everything that the fuzzer found worth keeping is tried again by `cargo test`: the committed corpora, and every input
//! that ever crashed a target (`fuzz/crashes/<target>/`, its name says what it was).

#[path = "support/frames.rs"]
mod frames;
#[path = "support/fuzzing.rs"]
mod fuzzing;
#[path = "support/simulator.rs"]
mod simulator;

use std::fs;
use std::path::Path;

use simulator::Dice;

fn inputs(kind: &str, target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(kind)
        .join(target);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| fs::read(e.path()).unwrap()).collect()
}

#[test]
fn corpora_and_crashes_pass() {
    for (name, target) in fuzzing::TARGETS {
        let corpus = inputs("corpus", name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for input in corpus.iter().chain(&inputs("crashes", name)) {
            target(input);
        }
    }
}

#[test]
fn every_target_takes_random_bytes() {
    let mut dice = Dice(7);
    for (name, target) in fuzzing::TARGETS {
        let rounds = if matches!(
            *name,
            "two_nodes"
                | "relayed"
                | "beacons"
                | "mapping_answers"
                | "outer_datagram"
                | "init_responder"
        ) {
            8
        } else {
            200
        };
        for _ in 0..rounds {
            let len = (dice.next() % 300) as usize;
            let bytes: Vec<u8> = (0..len).map(|_| dice.next() as u8).collect();
            target(&bytes);
        }
        target(&[]);
    }
}

#[test]
fn every_target_has_its_program() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    for (name, _) in fuzzing::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let program = fs::read_to_string(dir.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzzing::{name}(")), "{name}");
    }
}
