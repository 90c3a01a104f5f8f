//! A survey tells what opening would, and changes nothing.

mod common;

use common::{ID, Model, open, read_all};
use sample_journal::{
    DamageKind, Journal, JournalConfig, JournalHooks, Position, RewindError, SimulatedStorage, Storage,
    Survey, Tear, rewind_cursor, survey,
};

/// Surveys a copy, compares it with what opening finds, and returns the survey.
#[track_caller]
fn check(storage: &SimulatedStorage) -> Survey {
    let operations = storage.operations();
    let mut payloads = Vec::new();
    let survey = survey(storage, ID, &mut |record| {
        let bytes = storage.file(record.file).unwrap();
        let start = record.offset as usize;
        assert_eq!(&bytes[start..start + record.payload.len()], record.payload, "the place is right");
        payloads.push((record.position, record.payload.to_vec()));
    })
    .unwrap();
    assert_eq!(storage.operations(), operations, "nothing is changed");
    let (journal, recovery) = open(&storage.restart()).unwrap();
    assert_eq!(survey.cursors, recovery.cursors);
    assert_eq!(survey.end, recovery.durable_end);
    assert_eq!(survey.torn_tail, recovery.torn_tail);
    // Opening releases what every cursor has passed, and does not tell of its damage.
    let is_there = |file: &str| storage.file(file).is_some() && recovery.released_segments == 0;
    if recovery.released_segments == 0 {
        assert_eq!(survey.damage, recovery.damage);
    }
    for segment in &survey.segments {
        assert!(segment.end >= segment.first);
        assert!(storage.file(&segment.file).unwrap().len() as u64 == segment.bytes);
    }
    if survey.damage.is_empty() && survey.segments.iter().all(|segment| is_there(&segment.file)) {
        // What is cut off is shown by the survey too, behind the end.
        let kept = payloads.iter().filter(|(position, _)| *position < survey.end);
        assert_eq!(kept.map(|(_, payload)| payload.clone()).collect::<Vec<_>>(), read_all(&journal));
    }
    survey
}

fn sample(records: u8) -> SimulatedStorage {
    let storage = SimulatedStorage::new();
    let (journal, _) = open(&storage).unwrap();
    journal.cursor("tsdb").unwrap();
    for number in 0..records {
        journal.append_blocking(&[&vec![number; 500]]).unwrap();
    }
    journal.close().unwrap();
    storage
}

#[test]
fn segments_records_and_cursors_are_told() {
    let storage = sample(20);
    let found = check(&storage);
    assert!(found.segments.len() >= 3 && found.damage.is_empty());
    assert_eq!(found.segments.iter().map(|segment| segment.records).sum::<u64>(), 20);
    assert_eq!(found.segments.iter().map(|segment| segment.payload_bytes).sum::<u64>(), 20 * 500);
    assert_eq!((found.oldest.as_u64(), found.end.as_u64()), (0, 20));
    assert_eq!(found.cursors[0].name, "tsdb");
    assert_eq!(check(&SimulatedStorage::new()).end, Position::START);
}

#[test]
fn every_flipped_byte_is_told_as_opening_tells_it() {
    let storage = sample(9);
    for number in 0.. {
        let name = format!("segment-{number:020}.sj");
        let Some(bytes) = storage.file(&name) else { break };
        for offset in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[offset] ^= 0x10;
            let copy = storage.restart();
            copy.put_file(&name, &flipped);
            let found = check(&copy);
            assert!(!found.damage.is_empty() || found.torn_tail.is_some(), "byte {offset} of {name}");
        }
    }
}

#[test]
fn after_a_power_cut_a_survey_agrees_with_opening() {
    for operation in 0.. {
        let storage = SimulatedStorage::new();
        storage.cut_power_at(operation);
        if let Ok((journal, _)) = open(&storage) {
            Model::default().workload(&journal, &storage, 9);
            let _ = journal.close();
        }
        if !storage.is_powerless() {
            break;
        }
        for tear in [Tear::Lost, Tear::Kept, Tear::Prefix(operation), Tear::Scrambled(operation)] {
            check(&storage.crash(tear));
        }
    }
}

#[test]
fn a_lost_tail_before_a_cursor_is_told() {
    let storage = sample(20);
    let (journal, _) = open(&storage).unwrap();
    journal.cursor("tsdb").unwrap().store(journal.durable_end()).unwrap();
    journal.close().unwrap();
    let last = (0..).take_while(|number| storage.file(&format!("segment-{number:020}.sj")).is_some()).last();
    let last = format!("segment-{:020}.sj", last.unwrap());
    let bytes = storage.file(&last).unwrap();
    storage.put_file(&last, &bytes[..70]);
    let found = survey(&storage, ID, &mut |_| ()).unwrap();
    assert!(found.damage.iter().any(|damage| damage.kind == DamageKind::BeforeCursor), "{found:?}");
    assert_eq!(found.end.as_u64(), 20);
}

#[test]
fn a_cursor_moves_back_as_far_as_records_are_there() {
    let storage = sample(20);
    let (journal, _) = open(&storage).unwrap();
    let mut cursor = journal.cursor("tsdb").unwrap();
    cursor.store(Position::from_u64(18)).unwrap();
    journal.release().unwrap();
    let oldest = journal.oldest();
    journal.close().unwrap();
    drop(journal);
    assert!(oldest > Position::START, "something was released");
    let rewind = |name, position| rewind_cursor(&storage, ID, name, position);
    let at = Position::from_u64;
    assert!(matches!(rewind("nobody", at(17)), Err(RewindError::NoCursor { .. })));
    assert!(matches!(rewind("tsdb", at(19)), Err(RewindError::Forward { .. })));
    assert!(matches!(rewind("tsdb", at(oldest.as_u64() - 1)), Err(RewindError::Released { .. })));
    assert_eq!(rewind("tsdb", oldest).unwrap(), at(18));
    let (journal, recovery) = open(&storage).unwrap();
    assert_eq!(recovery.cursors[0].position, oldest);
    assert_eq!(journal.oldest(), oldest, "nothing of it is released");
}

#[test]
fn what_every_cursor_has_passed_can_be_kept_at_opening() {
    let storage = sample(20);
    let (journal, _) = open(&storage).unwrap();
    journal.cursor("tsdb").unwrap().store(Position::from_u64(20)).unwrap();
    journal.close().unwrap();
    drop(journal);
    let config = JournalConfig { release_on_open: false, ..common::small_config() };
    let (journal, recovery) = Journal::open(storage.restart(), config, JournalHooks::default()).unwrap();
    assert_eq!((recovery.oldest, recovery.released_segments), (Position::START, 0));
    assert_eq!(read_all(&journal).len(), 20);
    let (_, recovery) = open(&storage).unwrap();
    assert!(recovery.oldest > Position::START);
}

#[test]
fn a_power_cut_while_a_cursor_moves_back_leaves_the_old_or_the_new_place() {
    let prepared = sample(6);
    let (journal, _) = open(&prepared).unwrap();
    journal.cursor("tsdb").unwrap().store(Position::from_u64(5)).unwrap();
    journal.close().unwrap();
    drop(journal);
    for operation in 0.. {
        let storage = prepared.crash(Tear::Lost);
        storage.cut_power_at(operation);
        let outcome = rewind_cursor(&storage, ID, "tsdb", Position::from_u64(2));
        for seed in 0..8 {
            let (_, recovery) = open(&storage.crash(Tear::Scrambled(seed))).unwrap();
            let found = recovery.cursors[0].position.as_u64();
            let allowed: &[u64] = if outcome.is_ok() { &[2] } else { &[2, 5] };
            assert!(allowed.contains(&found), "{found} after operation {operation}: {outcome:?}");
        }
        if !storage.is_powerless() {
            break;
        }
    }
    let boxed: Box<dyn Storage> = Box::new(prepared);
    assert!(boxed.list().unwrap().len() >= 2);
}
