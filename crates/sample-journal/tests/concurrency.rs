//! Many threads, one writer.

mod common;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use common::small_config;
use sample_journal::{Journal, JournalConfig, JournalHooks, SimulatedStorage};

#[test]
fn records_queued_during_a_sync_share_the_next_one() {
    let storage = SimulatedStorage::new();
    let config = JournalConfig { segment_bytes: 1 << 16, ..small_config() };
    let (journal, _) = Journal::open(storage.clone(), config, JournalHooks::default()).unwrap();
    journal.append_blocking(&[b"creates the segment"]).unwrap();
    let before = storage.syncs();
    let gate = storage.hold_syncs();
    let (sender, receiver) = mpsc::channel();
    let append = |sender: &mpsc::Sender<_>| {
        let sender = sender.clone();
        journal.append(&[b"record"], move |result| sender.send(result).unwrap());
    };
    append(&sender);
    assert!(gate.wait_for_sync());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let sender = sender.clone();
            scope.spawn(move || (0..25).for_each(|_| append(&sender)));
        }
    });
    drop((gate, sender));
    assert_eq!(receiver.iter().filter(Result::is_ok).count(), 201);
    assert_eq!(storage.syncs() - before, 2, "one for the first record, one for the 200 that came during it");
}

#[test]
fn each_threads_order_is_kept_and_acknowledgements_come_in_order() {
    const THREADS: u32 = 8;
    const RECORDS: u32 = 200;
    let storage = SimulatedStorage::new();
    let last_end = Arc::new(AtomicU64::new(0));
    let hooks = JournalHooks {
        on_commit: Box::new({
            let last_end = Arc::clone(&last_end);
            move |end| assert!(last_end.swap(end.as_u64(), Ordering::SeqCst) < end.as_u64())
        }),
        ..JournalHooks::default()
    };
    let (journal, _) = Journal::open(storage, small_config(), hooks).unwrap();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (journal, acknowledged) = (&journal, &acknowledged);
            scope.spawn(move || {
                for number in 0..RECORDS {
                    let acknowledged = Arc::clone(acknowledged);
                    journal.append(&[&thread.to_le_bytes(), &number.to_le_bytes()], move |result| {
                        acknowledged.lock().unwrap().push(result.unwrap());
                    });
                }
            });
        }
    });
    journal.close().unwrap();
    let total = u64::from(THREADS * RECORDS);
    assert_eq!(last_end.load(Ordering::SeqCst), total);
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.iter().map(|position| position.as_u64()).eq(0..total));
    let mut next = [0u32; THREADS as usize];
    for record in common::read_all(&journal) {
        let thread = u32::from_le_bytes(record[..4].try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(record[4..].try_into().unwrap()), next[thread]);
        next[thread] += 1;
    }
}

#[test]
fn a_reader_beside_the_writer_sees_only_what_is_durable() {
    let storage = SimulatedStorage::new();
    let (journal, _) = Journal::open(storage.clone(), small_config(), JournalHooks::default()).unwrap();
    journal.append_blocking(&[b"durable"]).unwrap();
    let mut reader = journal.reader(journal.oldest());
    let mut payload = Vec::new();
    assert!(reader.next(&mut payload).unwrap().is_some());
    let gate = storage.hold_syncs();
    let (sender, receiver) = mpsc::channel();
    journal.append(&[b"not yet"], move |result| sender.send(result).unwrap());
    assert!(gate.wait_for_sync());
    assert_eq!(reader.next(&mut payload).unwrap(), None);
    drop(gate);
    receiver.recv().unwrap().unwrap();
    assert!(reader.next(&mut payload).unwrap().is_some());
    assert_eq!(payload, b"not yet");
}

#[test]
fn a_panicking_callback_does_not_stop_the_journal() {
    let (journal, _) =
        Journal::open(SimulatedStorage::new(), small_config(), JournalHooks::default()).unwrap();
    journal.append(&[b"one"], |_| panic!("a callback that panics, as this test wants"));
    journal.append_blocking(&[b"two"]).unwrap();
    journal.close().unwrap();
}

#[test]
fn the_last_owner_may_be_a_callback() {
    let (journal, _) =
        Journal::open(SimulatedStorage::new(), small_config(), JournalHooks::default()).unwrap();
    let journal = Arc::new(journal);
    let (sender, receiver) = mpsc::channel();
    let owner = Arc::clone(&journal);
    let storage_gone = sender.clone();
    journal.append(&[b"one"], move |result| {
        drop(owner);
        sender.send(result).unwrap();
        drop(storage_gone);
    });
    drop(journal);
    receiver.recv().unwrap().unwrap();
}

#[test]
fn a_commit_window_waits_for_company_but_not_when_closing() {
    let config = JournalConfig { commit_window: std::time::Duration::from_secs(3600), ..small_config() };
    let storage = SimulatedStorage::new();
    let (journal, _) = Journal::open(storage, config, JournalHooks::default()).unwrap();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..3 {
        let sender = sender.clone();
        journal.append(&[b"record"], move |result| sender.send(result).unwrap());
    }
    journal.close().unwrap();
    assert_eq!(receiver.try_iter().filter(Result::is_ok).count(), 3);
    assert_eq!(journal.statistics().commits, 1);
}
