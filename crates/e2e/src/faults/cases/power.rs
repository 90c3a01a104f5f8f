//! The power goes away at each operation of a disk, during ingest, delivery, cursor stores and shutdown of a whole merger.

use std::{sync::Arc, thread, time::Duration};

use prom_merger::machine::Machine;
use sample_journal::{SimulatedStorage, Tear};

use crate::{
    faults::{
        Context, Judged,
        ledger::{Balance, Ledger},
        load::{Sender, Shape, Told, finish},
        merger::{Embedded, SOURCES, metric, wait_until_done},
        simulated::SimulatedDisks,
    },
    http::block_on,
};

/// Small segments, so that a few requests cross several.
const LIMITS: &str = "limits: {body: 12k, decoded: 12k}\n\
                      journal: {segment_bytes: 96k, max_bytes: 4m, max_pending_bytes: 1m}";
/// More than are delivered between two stores of a cursor.
const REQUESTS: u64 = 70;

pub(super) fn journal(context: &Context<'_>, case: &str) -> Judged {
    cuts(context, case, "journal")
}

pub(super) fn dead_letters(context: &Context<'_>, case: &str) -> Judged {
    cuts(context, case, "dead-letters")
}

fn cuts(context: &Context<'_>, case: &str, kind: &str) -> Judged {
    let mut total = Balance::default();
    let (mut cuts, mut operations) = (0, 0);
    // There are a tenth of them on the disk of the dead letters.
    let step =
        if kind == "journal" { context.options.cut_every } else { context.options.cut_every.div_ceil(4) };
    let mut operation = 0;
    loop {
        let mut reached = true;
        for tear in 0..context.options.tears {
            let name = format!("{case} {operation} {tear}");
            let life = Life { context, case: name, kind, operation: Some(operation) };
            let seed = context.options.seed.wrapping_add(operation * 31 + tear);
            let (is_cut, balance) =
                life.run(tear_of(seed)).map_err(|error| format!("cut at operation {operation}: {error}"))?;
            reached &= is_cut;
            cuts += u64::from(is_cut);
            total.add(balance);
        }
        if !reached {
            break;
        }
        operations = operation;
        operation += step;
    }
    Ok((total, format!("{cuts} cuts up to operation {operations}")))
}

fn tear_of(seed: u64) -> Tear {
    match seed % 4 {
        0 => Tear::Lost,
        1 => Tear::Kept,
        2 => Tear::Prefix(seed),
        _ => Tear::Scrambled(seed),
    }
}

/// A merger before and after one power cut.
struct Life<'a> {
    context: &'a Context<'a>,
    case: String,
    kind: &'a str,
    operation: Option<u64>,
}

impl Life<'_> {
    /// Returns whether the power was cut, and the oracle's word.
    fn run(&self, tear: Tear) -> Result<(bool, Balance), String> {
        let (ledger, disks) = (Arc::new(Ledger::default()), SimulatedDisks::default());
        let target = disks.disk(self.kind, SOURCES[0]);
        if let Some(operation) = self.operation {
            target.cut_power_at(operation);
        }
        let mut senders: Vec<Sender> = SOURCES
            .iter()
            .map(|source| {
                let mut shape = Shape::new(&self.case, source);
                (shape.series, shape.noise) = (6, 320);
                shape.spoiled_every = Some(9);
                Sender::new("http://127.0.0.1:1", shape, &ledger)
            })
            .collect();
        // It may be cut while the journals are opened.
        if let Ok(merger) = self.start(&disks) {
            self.work(merger, &mut senders, &target)?;
        }
        let is_cut = target.is_powerless();
        let merger = self.start(&disks.crash(tear))?;
        senders.iter_mut().for_each(|sender| sender.move_to(&merger.url()));
        for sender in &mut senders {
            block_on(sender.send_until(REQUESTS, Duration::from_secs(30)))?;
        }
        finish(&mut senders, Duration::from_secs(30))?;
        wait_until_done(&merger.url(), Duration::from_secs(30), || false)?;
        let letters = metric(&merger.url(), "dead_letter_records")?;
        let spoiled = (SOURCES.len() as u64 * (REQUESTS / 9)) as f64;
        if letters < spoiled {
            return Err(format!("{letters} dead letters are there, {spoiled} were acknowledged"));
        }
        merger.shutdown()?;
        let balance = self.context.database.balance(&self.case, &ledger)?;
        Ok((is_cut, balance))
    }

    fn start(&self, disks: &SimulatedDisks) -> Result<Embedded, String> {
        let config = Embedded::config("unused".as_ref(), &self.context.database.url(), LIMITS)?;
        let machine = Machine::real(&config).with_disks(disks.clone());
        Embedded::start(machine, config)
    }

    /// Sends, delivers and stops, until the power goes away.
    fn work(
        &self,
        merger: Embedded,
        senders: &mut [Sender],
        target: &SimulatedStorage,
    ) -> Result<(), String> {
        senders.iter_mut().for_each(|sender| sender.move_to(&merger.url()));
        for number in 1..=REQUESTS {
            for sender in &mut *senders {
                while sender.done() < number {
                    match block_on(sender.send()) {
                        Told::Again(_) if target.is_powerless() => return Ok(()),
                        Told::Again(_) => thread::sleep(Duration::from_millis(2)),
                        Told::Stored => {}
                        Told::Refused(words) => return Err(format!("refused: {words}")),
                    }
                }
            }
        }
        wait_until_done(&merger.url(), Duration::from_secs(30), || target.is_powerless())?;
        if !target.is_powerless() {
            // Stores the cursors and seals the segments; the power may go away in between.
            let stopped = merger.shutdown();
            return if target.is_powerless() { Ok(()) } else { stopped };
        }
        Ok(())
    }
}
