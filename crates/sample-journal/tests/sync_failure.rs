//! Lets syncs fail: what they should have covered is lost, whatever later syncs say.

mod common;

use common::{Model, open};
use sample_journal::{AppendError, SimulatedStorage, Tear};

#[test]
fn nothing_acknowledged_is_lost_whichever_sync_fails() {
    for failing in 0.. {
        // One failure, then two in a row.
        for count in 1..=2 {
            let storage = SimulatedStorage::new();
            (failing..failing + count).for_each(|sync| storage.fail_sync(sync));
            let mut model = Model::default();
            let Ok((journal, _)) = open(&storage) else { continue };
            model.workload(&journal, &storage, 12);
            let _ = journal.close();
            check_after(&storage, &model);
            if storage.syncs() <= failing {
                assert!(failing > 40, "the workload has only {failing} syncs");
                return;
            }
        }
    }
}

/// Recovery itself meets a failing sync, perhaps twice; the process starts again, and then the machine.
#[test]
fn nothing_is_lost_whichever_sync_of_recovery_fails() {
    for operation in 0.. {
        let storage = SimulatedStorage::new();
        storage.cut_power_at(operation);
        let mut model = Model::default();
        if let Ok((journal, _)) = open(&storage) {
            model.workload(&journal, &storage, 10);
            let _ = journal.close();
        }
        if !storage.is_powerless() {
            break;
        }
        for failing in 0..6 {
            let mut model = model.clone();
            let recovering = storage.restart();
            recovering.fail_sync(failing);
            drop(open(&recovering));
            let restarted = recovering.restart();
            let (journal, recovery) = open(&restarted).unwrap();
            model.check(&journal, &recovery);
            model.workload(&journal, &restarted, 2);
            drop(journal);
            let (journal, recovery) = open(&restarted.crash(Tear::Lost)).unwrap();
            model.check(&journal, &recovery);
        }
    }
}

fn check_after(storage: &SimulatedStorage, model: &Model) {
    for tear in [Tear::Lost, Tear::Kept, Tear::Prefix(1), Tear::Scrambled(2), Tear::Scrambled(3)] {
        let crashed = storage.crash(tear);
        let (journal, recovery) = open(&crashed).unwrap();
        model.clone().check(&journal, &recovery);

        // A process that restarts on the same machine reads the lost bytes from the cache, and must not believe them.
        let restarted = storage.restart();
        let mut model = model.clone();
        let (journal, recovery) = open(&restarted).unwrap();
        model.check(&journal, &recovery);
        model.workload(&journal, &restarted, 2);
        let (journal, recovery) = open(&restarted.crash(tear)).unwrap();
        model.check(&journal, &recovery);
    }
}

#[test]
fn a_failed_sync_closes_the_segment() {
    let storage = SimulatedStorage::new();
    let (journal, _) = open(&storage).unwrap();
    journal.append_blocking(&[b"one"]).unwrap();
    let first = storage.file("segment-00000000000000000000.sj").unwrap().len();
    storage.fail_sync(storage.syncs());
    let error = journal.append_blocking(&[b"two"]).unwrap_err();
    assert!(matches!(error, AppendError::Storage(_)), "{error:?}");
    let failed = storage.file("segment-00000000000000000000.sj").unwrap();
    assert!(failed.len() > first);
    let position = journal.append_blocking(&[b"three"]).unwrap();
    assert_eq!(position.as_u64(), 1);
    assert_eq!(
        storage.file("segment-00000000000000000000.sj").unwrap(),
        failed,
        "nothing is written to it again"
    );
    assert!(storage.file("segment-00000000000000000001.sj").is_some());
    assert_eq!(common::read_all(&journal), [b"one".to_vec(), b"three".to_vec()]);
    journal.close().unwrap();
    let (journal, _) = open(&storage.restart()).unwrap();
    assert_eq!(common::read_all(&journal), [b"one".to_vec(), b"three".to_vec()]);
}

#[test]
fn a_failed_write_is_told_and_appending_goes_on_afterwards() {
    let storage = SimulatedStorage::new();
    let (journal, _) = open(&storage).unwrap();
    journal.append_blocking(&[b"one"]).unwrap();
    storage.fail_appends(Some(std::io::ErrorKind::Other));
    for _ in 0..20 {
        journal.append_blocking(&[&[1; 1000]]).unwrap_err();
    }
    assert!(journal.statistics().segments <= 2, "failures do not pile up files");
    assert_eq!(journal.statistics().failed_commits, 20);
    storage.fail_appends(None);
    assert_eq!(journal.append_blocking(&[b"two"]).unwrap().as_u64(), 1);
    assert_eq!(common::read_all(&journal), [b"one".to_vec(), b"two".to_vec()]);
}

/// Where there is no room a commit is not tried for every record, and there may be room later.
#[test]
fn on_a_full_disk_records_are_refused_without_a_try_until_there_is_room() {
    let storage = SimulatedStorage::new();
    let (journal, _) = open(&storage).unwrap();
    journal.append_blocking(&[b"one"]).unwrap();
    storage.fail_appends(Some(std::io::ErrorKind::StorageFull));
    for _ in 0..20 {
        let error = journal.append_blocking(&[&[1; 1000]]).unwrap_err();
        assert!(matches!(error, AppendError::Full | AppendError::Storage(_)), "{error}");
    }
    let failed = journal.statistics().failed_commits;
    assert!((1..20).contains(&failed), "{failed} commits were tried");
    storage.fail_appends(None);
    let begun = std::time::Instant::now();
    while journal.append_blocking(&[b"two"]).is_err() {
        assert!(begun.elapsed().as_secs() < 30, "appending never goes on");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(common::read_all(&journal), [b"one".to_vec(), b"two".to_vec()]);
}
