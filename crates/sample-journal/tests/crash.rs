//! Cuts the power at every operation of a workload, and checks what a new machine finds.

mod common;

use common::{Model, open};
use sample_journal::{SimulatedStorage, Tear};

const ROUNDS: usize = 24;

fn tears() -> Vec<Tear> {
    let seeded = (1..=5).flat_map(|seed| [Tear::Prefix(seed), Tear::Scrambled(seed)]);
    [Tear::Lost, Tear::Kept].into_iter().chain(seeded).collect()
}

/// Runs the workload with the power cut at `operation`; `None` once the workload ends before that.
fn run_until(operation: u64) -> Option<(SimulatedStorage, Model)> {
    let storage = SimulatedStorage::new();
    storage.cut_power_at(operation);
    let mut model = Model::default();
    if let Ok((journal, _)) = open(&storage) {
        model.workload(&journal, &storage, ROUNDS);
        let _ = journal.close();
    }
    storage.is_powerless().then_some((storage, model))
}

/// Opens, checks, works on, crashes again, checks again.
#[track_caller]
fn check_life(storage: &SimulatedStorage, mut model: Model, second: Tear) {
    let (journal, recovery) = open(storage).unwrap();
    model.check(&journal, &recovery);
    model.workload(&journal, storage, 4);
    let crashed = storage.crash(second);
    drop(journal);
    let (journal, recovery) = open(&crashed).unwrap();
    model.check(&journal, &recovery);
    let position = journal.append_blocking(&[b"and on"]).unwrap();
    assert_eq!(position, recovery.durable_end);
}

#[test]
fn acknowledged_records_survive_a_power_cut_at_every_operation() {
    let mut points = 0;
    while let Some((storage, model)) = run_until(points) {
        for (index, tear) in tears().into_iter().enumerate() {
            let second = tears()[(index + points as usize) % tears().len()];
            check_life(&storage.crash(tear), model.clone(), second);
        }
        points += 1;
    }
    assert!(points > 150, "the workload has only {points} operations");
}

#[test]
fn a_second_power_cut_at_every_operation_of_recovery_loses_nothing() {
    let mut first = 0;
    while let Some((storage, model)) = run_until(first) {
        for (index, tear) in tears().into_iter().enumerate() {
            let crashed = storage.crash(tear);
            for operation in 0.. {
                let recovering = crashed.restart();
                recovering.cut_power_at(operation);
                let outcome = open(&recovering);
                let is_cut = recovering.is_powerless();
                drop(outcome);
                if !is_cut {
                    break;
                }
                let again = recovering.crash(tears()[(index + operation as usize) % tears().len()]);
                let (journal, recovery) = open(&again).unwrap();
                model.clone().check(&journal, &recovery);
            }
        }
        first += 1;
    }
}

#[test]
fn what_a_killed_process_leaves_in_the_cache_is_made_durable_before_it_is_read() {
    let mut operation = 0;
    while let Some((storage, model)) = run_until(operation) {
        for second in tears() {
            check_life(&storage.restart(), model.clone(), second);
        }
        operation += 1;
    }
}
