//! The forwarding table's map against a model. `tests/loom.rs` compiles the map itself, so its tests are not beside it.

use l2vpn::switch::slots::{MOST_MOVES, Slots};
use std::collections::HashMap;

/// SplitMix64's last steps: good enough to spread.
fn hash(key: u128) -> u64 {
    let mut z = (key as u64).rotate_left(32) ^ (key >> 64) as u64;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn it_is_a_map() {
    let slots = Slots::new(1000);
    let mut model: HashMap<u128, (u64, usize)> = HashMap::new();
    let (mut dice, mut most) = (1u64, 0);
    for step in 0..100_000u64 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = ((u128::from(dice >> 40) % 2000) << 60) | 7;
        match slots.find(key, hash(key)) {
            Some(found) => {
                assert_eq!(model.get(&key), Some(&(found.value, found.slot)));
                assert_eq!(slots.at(found.slot), Some((key, found)));
                if dice & 3 == 0 {
                    slots.remove(found.slot);
                    model.remove(&key);
                } else {
                    slots.set(found.slot, step);
                    model.insert(key, (step, found.slot));
                }
            }
            None => {
                assert!(!model.contains_key(&key));
                if model.len() < 1000 {
                    let entry = (key, hash(key));
                    let mut slot = slots.insert(entry, step, 0);
                    let mut moves = 0;
                    while slot.is_none() {
                        let (from, to) = slots.make_room(entry.1, hash).unwrap();
                        let moved = model.values_mut().find(|(_, s)| *s == from);
                        moved.unwrap().1 = to;
                        moves += 1;
                        slot = slots.insert(entry, step, 0);
                    }
                    assert!(moves <= MOST_MOVES);
                    most = most.max(moves);
                    model.insert(key, (step, slot.unwrap()));
                }
            }
        }
    }
    let all = (0..slots.slots()).filter_map(|s| slots.at(s));
    assert_eq!(all.count(), model.len());
    assert!(most > 0, "full buckets were met");
}

#[test]
fn there_is_room_for_all_and_for_some_more() {
    let slots = Slots::new(100_000);
    let mut dice = 7u64;
    let hashes: Vec<u64> = (0..120_000)
        .map(|_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            dice ^ dice.rotate_right(17) ^ dice.rotate_right(43)
        })
        .collect();
    let hash_of = |key: u128| hashes[key as usize];
    let mut most = 0;
    for key in 0..120_000u128 {
        let entry = (key, hash_of(key));
        let put = || slots.insert(entry, 0, 0);
        let mut moves = 0;
        while put().is_none() {
            slots.make_room(entry.1, hash_of).unwrap();
            moves += 1;
        }
        most = most.max(moves);
    }
    assert_eq!(
        most, MOST_MOVES,
        "full buckets were met, and full ones behind those"
    );
    let found = (0..120_000u128).filter(|k| slots.find(*k, hash_of(*k)).is_some());
    assert_eq!(found.count(), 120_000);
}
