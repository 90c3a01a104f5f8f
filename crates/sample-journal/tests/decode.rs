//! Damaged and arbitrary files: told as damage, never read as records, never a panic.

mod common;

use common::open;
use proptest::prelude::*;
use sample_journal::{CursorState, Damage, DamageKind, Journal, ReadError, Recovery, SimulatedStorage};

const RECORDS: u8 = 24;

fn record(number: u8) -> Vec<u8> {
    vec![number; 1 + usize::from(number) * 29]
}

fn segment(number: u64) -> String {
    format!("segment-{number:020}.sj")
}

/// A cleanly closed journal of several segments.
fn sample() -> SimulatedStorage {
    let storage = SimulatedStorage::new();
    let (journal, _) = open(&storage).unwrap();
    for number in 0..RECORDS {
        journal.append_blocking(&[&record(number)]).unwrap();
    }
    journal.cursor("tsdb").unwrap().store(sample_journal::Position::from_u64(1)).unwrap();
    journal.cursor("tsdb").unwrap().store(sample_journal::Position::from_u64(2)).unwrap();
    journal.close().unwrap();
    storage
}

/// Reads everything; each record must be one that was written, at its place. Returns how many, and the errors.
fn read_checked(journal: &Journal, original: &dyn Fn(u64) -> Option<Vec<u8>>) -> (u64, Vec<Damage>) {
    let mut reader = journal.reader(journal.oldest());
    let mut payload = Vec::new();
    let (mut intact, mut damage) = (0, Vec::new());
    loop {
        let before = reader.position();
        match reader.next(&mut payload) {
            Ok(None) => break,
            Ok(Some(info)) => {
                intact += 1;
                assert_eq!(info.position, before);
                assert_eq!(Some(&payload), original(info.position.as_u64()).as_ref(), "record {before}");
            }
            Err(ReadError::Damaged(found)) => {
                assert!(found.first == before && found.end > before, "{found:?}");
                assert_eq!(reader.position(), found.end);
                damage.push(found);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    (intact, damage)
}

fn written(sequence: u64) -> Option<Vec<u8>> {
    u8::try_from(sequence).ok().filter(|number| *number < RECORDS).map(record)
}

/// Everything that is not there any more must have been told, by recovery and by the reader.
fn check_told(storage: &SimulatedStorage) -> (Recovery, Vec<Damage>) {
    let (journal, recovery) = open(storage).unwrap();
    let (intact, damage) = read_checked(&journal, &written);
    let lost: u64 = damage.iter().map(|damage| damage.end.as_u64() - damage.first.as_u64()).sum();
    assert_eq!(recovery.oldest.as_u64() + intact + lost, recovery.durable_end.as_u64());
    let told: u64 = recovery
        .damage
        .iter()
        .filter(|damage| damage.kind == DamageKind::Records)
        .map(|damage| damage.end.as_u64() - damage.first.as_u64())
        .sum();
    assert_eq!(told, lost, "recovery and reader agree: {:?} {damage:?}", recovery.damage);
    let is_complete = recovery.durable_end.as_u64() == u64::from(RECORDS) && recovery.oldest.as_u64() == 0;
    assert!(is_complete || recovery.torn_tail.is_some() || !recovery.damage.is_empty(), "{recovery:?}");
    let end = journal.append_blocking(&[b"goes on"]).unwrap();
    assert_eq!(end, recovery.durable_end);
    (recovery, damage)
}

#[test]
fn the_sample_is_whole() {
    let (recovery, damage) = check_told(&sample());
    assert_eq!((recovery.damage, damage), (vec![], vec![]));
    assert!(recovery.segments >= 3);
}

#[test]
fn every_flipped_byte_of_every_segment_is_told_or_harmless() {
    let storage = sample();
    for number in 0.. {
        let Some(bytes) = storage.file(&segment(number)) else { break };
        for offset in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[offset] ^= 1 << (offset % 8);
            let copy = storage.restart();
            copy.put_file(&segment(number), &flipped);
            let (recovery, _) = check_told(&copy);
            let lost =
                recovery.damage.iter().map(|damage| damage.end.as_u64() - damage.first.as_u64()).sum::<u64>();
            assert!(lost <= 1, "one flipped byte at {offset} costs {lost} records");
            assert!(!recovery.damage.is_empty() || recovery.torn_tail.is_some(), "byte {offset} of {number}");
        }
    }
}

#[test]
fn a_missing_segment_is_told() {
    let storage = sample();
    let copy = storage.restart();
    sample_journal::Storage::remove(&copy, &segment(1)).unwrap();
    let (recovery, damage) = check_told(&copy);
    assert_eq!(damage.len(), 1);
    assert_eq!((damage[0].bytes, &damage[0].file), (0, &segment(0)));
    assert_eq!(recovery.damage, damage);
}

#[test]
fn a_lost_tail_before_a_cursor_is_told_and_its_numbers_are_not_given_again() {
    let storage = sample();
    let (journal, _) = open(&storage).unwrap();
    journal.cursor("tsdb").unwrap().store(journal.durable_end()).unwrap();
    drop(journal);
    let last = (0..).take_while(|number| storage.file(&segment(*number)).is_some()).last().unwrap();
    let bytes = storage.file(&segment(last)).unwrap();
    storage.put_file(&segment(last), &bytes[..70]);
    let (journal, recovery) = open(&storage.restart()).unwrap();
    assert!(recovery.damage.iter().any(|damage| damage.kind == DamageKind::BeforeCursor), "{recovery:?}");
    assert_eq!(journal.append_blocking(&[b"new"]).unwrap().as_u64(), u64::from(RECORDS));
}

#[test]
fn a_damaged_cursor_slot_falls_back_and_two_start_again() {
    let storage = sample();
    let (newer, older) = ("cursor-tsdb.0", "cursor-tsdb.1");
    let mut bytes = storage.file(newer).unwrap();
    bytes[40] ^= 1;
    storage.put_file(newer, &bytes);
    let (_, recovery) = open(&storage.restart()).unwrap();
    assert_eq!(recovery.cursors[0].state, CursorState::OneSlotDamaged);
    assert_eq!(recovery.cursors[0].position.as_u64(), 1);
    storage.put_file(older, b"");
    let (journal, recovery) = open(&storage.restart()).unwrap();
    assert_eq!(recovery.cursors[0].state, CursorState::Reset);
    assert_eq!(recovery.cursors[0].position, recovery.oldest);
    journal.cursor("tsdb").unwrap().store(recovery.durable_end).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_files_never_panic_nor_give_records(
        files in proptest::collection::vec((0u64..4, proptest::collection::vec(any::<u8>(), 0..400)), 0..4),
        cursor in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let storage = SimulatedStorage::new();
        for (number, bytes) in &files {
            storage.put_file(&segment(*number), bytes);
        }
        storage.put_file("cursor-tsdb.1", &cursor);
        let (journal, _) = open(&storage).unwrap();
        let (intact, _) = read_checked(&journal, &|_| None);
        prop_assert_eq!(intact, 0);
        journal.append_blocking(&[b"goes on"]).unwrap();
    }

    #[test]
    fn edited_files_never_give_altered_records(
        edits in proptest::collection::vec((0u64..5, any::<prop::sample::Index>(), edit()), 1..6),
    ) {
        let storage = sample();
        for (number, place, edit) in &edits {
            if let Some(mut bytes) = storage.file(&segment(*number)).filter(|bytes| !bytes.is_empty()) {
                edit.apply(&mut bytes, place);
                storage.put_file(&segment(*number), &bytes);
            }
        }
        let (journal, recovery) = open(&storage).unwrap();
        read_checked(&journal, &written);
        let end = journal.append_blocking(&[b"goes on"]).unwrap();
        prop_assert_eq!(end, recovery.durable_end);
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Flip(u8),
    Truncate,
    Zero(usize),
    Insert(Vec<u8>),
    Repeat(usize),
    Delete(usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>, place: &prop::sample::Index) {
        let at = place.index(bytes.len());
        let upto = |length: usize| (at + length).min(bytes.len());
        match self {
            Self::Flip(bit) => bytes[at] ^= 1 << bit,
            Self::Truncate => bytes.truncate(at),
            Self::Zero(length) => {
                let end = upto(*length);
                bytes[at..end].fill(0);
            }
            Self::Insert(garbage) => drop(bytes.splice(at..at, garbage.iter().copied())),
            Self::Repeat(length) => {
                let copy = bytes[at..upto(*length)].to_vec();
                bytes.splice(at..at, copy);
            }
            Self::Delete(length) => drop(bytes.drain(at..upto(*length))),
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (0u8..8).prop_map(Edit::Flip),
        Just(Edit::Truncate),
        (1usize..600).prop_map(Edit::Zero),
        proptest::collection::vec(any::<u8>(), 1..100).prop_map(Edit::Insert),
        (1usize..600).prop_map(Edit::Repeat),
        (1usize..600).prop_map(Edit::Delete),
    ]
}
