//! Limits refuse, and tell which limit it was.

mod common;

use std::sync::mpsc;

use common::small_config;
use sample_journal::{
    AppendError, ConfigError, CursorError, Journal, JournalConfig, JournalHooks, OpenError, Position,
    ReadError, SimulatedStorage,
};

fn open_with(storage: &SimulatedStorage, config: JournalConfig) -> Journal {
    Journal::open(storage.clone(), config, JournalHooks::default()).unwrap().0
}

#[test]
fn accepts_the_longest_record_and_rejects_one_byte_more() {
    let config = small_config();
    let journal = open_with(&SimulatedStorage::new(), config.clone());
    let longest = vec![7; config.max_record_bytes as usize];
    journal.append_blocking(&[&longest]).unwrap();
    let error = journal.append_blocking(&[&longest, b"x"]).unwrap_err();
    assert!(matches!(error, AppendError::TooLong { bytes: 2001, limit: 2000 }), "{error:?}");
    assert_eq!(common::read_all(&journal), [longest]);
}

#[test]
fn a_record_may_fill_a_whole_segment() {
    let config = JournalConfig { max_record_bytes: 4096 - 64 - 48, ..small_config() };
    let storage = SimulatedStorage::new();
    let journal = open_with(&storage, config.clone());
    let record = vec![7; config.max_record_bytes as usize];
    for _ in 0..3 {
        journal.append_blocking(&[&record]).unwrap();
    }
    assert_eq!(journal.statistics().segments, 3);
    journal.close().unwrap();
    assert_eq!(storage.file("segment-00000000000000000002.sj").unwrap().len(), 4096);
    assert_eq!(common::read_all(&journal).len(), 3);
}

#[test]
fn a_full_journal_refuses_until_something_is_released() {
    let config = JournalConfig { max_bytes: 3 * 4096, ..small_config() };
    let storage = SimulatedStorage::new();
    let journal = open_with(&storage, config.clone());
    let mut cursor = journal.cursor("tsdb").unwrap();
    let mut last = Position::START;
    let error = loop {
        match journal.append_blocking(&[&[1; 900]]) {
            Ok(position) => last = position,
            Err(error) => break error,
        }
        assert!(journal.statistics().bytes_on_disk <= config.max_bytes);
    };
    assert!(matches!(error, AppendError::Full), "{error:?}");
    assert!(last.as_u64() >= 8, "only {last} fit");
    assert_eq!(journal.release().unwrap().segments, 0, "the cursor holds everything");
    assert!(matches!(journal.append_blocking(&[&[1; 900]]), Err(AppendError::Full)));

    cursor.store(last).unwrap();
    let released = journal.release().unwrap();
    assert!(released.segments >= 2 && released.bytes > 4096, "{released:?}");
    assert_eq!(journal.append_blocking(&[&[1; 900]]).unwrap(), last.next());

    let mut reader = journal.reader(Position::START);
    let error = reader.next(&mut Vec::new()).unwrap_err();
    assert!(matches!(error, ReadError::Released { oldest, .. } if oldest == journal.oldest()), "{error:?}");
    assert_eq!(reader.next(&mut Vec::new()).unwrap().unwrap().position, journal.oldest());
}

#[test]
fn the_disk_budget_holds_for_records_queued_together() {
    let config = JournalConfig { max_bytes: 2 * 4096, max_pending_bytes: 1 << 20, ..small_config() };
    let storage = SimulatedStorage::new();
    let journal = open_with(&storage, config.clone());
    let gate = storage.hold_syncs();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..40 {
        let sender = sender.clone();
        journal.append(&[&[1; 350]], move |result| sender.send(result).unwrap());
    }
    drop((gate, sender));
    let results: Vec<_> = receiver.iter().collect();
    assert_eq!(results.len(), 40);
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(AppendError::Full))));
    let accepted = results.iter().filter(|result| result.is_ok()).count();
    assert!((18..=21).contains(&accepted), "{accepted} accepted");
    journal.close().unwrap();
    assert!(journal.statistics().bytes_on_disk <= config.max_bytes);
    assert_eq!(common::read_all(&journal).len(), accepted);
}

#[test]
fn too_many_pending_bytes_are_refused_at_once() {
    let config = JournalConfig { max_pending_bytes: 3000, ..small_config() };
    let storage = SimulatedStorage::new();
    let journal = open_with(&storage, config);
    let gate = storage.hold_syncs();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..3 {
        let sender = sender.clone();
        journal.append(&[&[1; 976]], move |result| sender.send(result).unwrap());
    }
    assert_eq!(journal.statistics().pending_bytes, 3000);
    assert!(matches!(journal.append_blocking(&[b""]), Err(AppendError::Overloaded)));
    drop(gate);
    assert_eq!(receiver.iter().take(3).filter(Result::is_ok).count(), 3);
    journal.append_blocking(&[b""]).unwrap();
    assert_eq!(journal.statistics().pending_bytes, 0);
}

#[test]
fn a_closed_journal_refuses_and_has_acknowledged_what_was_queued() {
    let storage = SimulatedStorage::new();
    let journal = open_with(&storage, small_config());
    let gate = storage.hold_syncs();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..5 {
        let sender = sender.clone();
        journal.append(&[b"record"], move |result| sender.send(result).unwrap());
    }
    drop(gate);
    journal.close().unwrap();
    assert_eq!(receiver.try_iter().filter(Result::is_ok).count(), 5);
    assert!(matches!(journal.append_blocking(&[b""]), Err(AppendError::Closed)));
    journal.close().unwrap();
    let (_, recovery) = common::open(&storage.crash(sample_journal::Tear::Lost)).unwrap();
    assert_eq!((recovery.records, recovery.copied_records), (5, 0), "sealed, so nothing is doubted");
}

#[test]
fn cursors_move_forward_within_the_journal() {
    let journal = open_with(&SimulatedStorage::new(), small_config());
    journal.append_blocking(&[b"0"]).unwrap();
    let end = journal.append_blocking(&[b"1"]).unwrap().next();
    let mut cursor = journal.cursor("tsdb").unwrap();
    let beyond = cursor.store(end.next()).unwrap_err();
    assert!(matches!(beyond, CursorError::BeyondEnd { .. }), "{beyond:?}");
    cursor.store(end).unwrap();
    assert!(matches!(cursor.store(Position::START), Err(CursorError::Backward { .. })));
    assert_eq!(cursor.position(), end);
    for name in ["", "a/b", "a.b", &"x".repeat(65)] {
        assert!(matches!(journal.cursor(name), Err(CursorError::InvalidName { .. })), "{name}");
    }
    assert_eq!(journal.cursor("second").unwrap().position(), Position::START);
    journal.remove_cursor("second").unwrap();
    assert_eq!(journal.cursors(), [("tsdb".to_owned(), end)]);
}

#[test]
fn limits_that_do_not_fit_together_are_rejected() {
    let check =
        |config: JournalConfig| match Journal::open(SimulatedStorage::new(), config, JournalHooks::default())
        {
            Err(OpenError::Config(error)) => error,
            other => panic!("{other:?}"),
        };
    let too_long = check(JournalConfig { max_record_bytes: 4096, ..small_config() });
    assert!(matches!(too_long, ConfigError::RecordTooLong { .. }));
    let budget = check(JournalConfig { max_bytes: 4096, ..small_config() });
    assert!(matches!(budget, ConfigError::BudgetTooSmall { .. }));
    let pending = check(JournalConfig { max_pending_bytes: 2000, ..small_config() });
    assert!(matches!(pending, ConfigError::PendingTooSmall { .. }));
}
