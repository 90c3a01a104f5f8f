//! The merger's clock jumps an hour ahead, and an hour back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use prom_merger::{
    dead_letters::StoredDeadLetters,
    machine::{Clock, Machine},
};

use crate::{
    faults::{
        Context, Judged,
        ledger::Ledger,
        load::{Sender, Shape, Told, now_ms},
        merger::{Embedded, SOURCES, metric, wait_until_done},
    },
    http::block_on,
};

const HOUR_MS: i64 = 3_600_000;
const EACH: u64 = 20;
const LIMIT: Duration = Duration::from_secs(30);

/// The system's clock, moved.
struct Moved(Arc<AtomicI64>);

impl Clock for Moved {
    fn now_ms(&self) -> i64 {
        now_ms() + self.0.load(Ordering::Relaxed)
    }
}

/// While the clock is behind, what senders send lies in the future and is set aside; it is given back afterwards.
pub(super) fn jumps(context: &Context<'_>, case: &str) -> Judged {
    let folder = context.folder(case);
    let offset = Arc::new(AtomicI64::new(0));
    let config = Embedded::config(&folder, &context.database.url(), "")?;
    let machine = || Machine::real(&config).with_clock(Moved(Arc::clone(&offset)));
    let merger = Embedded::start(machine(), config.clone())?;
    let ledger = Arc::new(Ledger::default());
    let shape = |source: &&str| Shape { begin_ms: now_ms() - 30_000, ..Shape::new(case, source) };
    let mut senders: Vec<_> =
        SOURCES.iter().map(|source| Sender::new(&merger.url(), shape(source), &ledger)).collect();
    let mut set_aside = 0;
    for jump in [0, HOUR_MS, -HOUR_MS, HOUR_MS, 0, -HOUR_MS, 0] {
        offset.store(jump, Ordering::Relaxed);
        for sender in &mut senders {
            for _ in 0..EACH {
                match block_on(sender.send()) {
                    Told::Stored => {}
                    Told::Refused(words) if jump < 0 && words.contains("ahead of the merger's clock") => {
                        sender.note_set_aside();
                        set_aside += 1;
                    }
                    other => return Err(format!("with the clock off by {jump} ms: {other:?}")),
                }
            }
        }
    }
    wait_until_done(&merger.url(), LIMIT, || false)?;
    let letters = metric(&merger.url(), "dead_letter_records")?;
    if letters != f64::from(set_aside) {
        return Err(format!("{letters} dead letters for {set_aside} requests that were set aside"));
    }
    merger.shutdown()?;
    for source in &config.sources {
        let stored = StoredDeadLetters::open(&config, source).map_err(|error| error.to_string())?;
        let stored = stored.ok_or("there are no dead letters")?;
        let done = stored.replay_through(u64::MAX).map_err(|error| error.to_string())?;
        if done.kept > 0 {
            return Err(format!("{} dead letters are still refused", done.kept));
        }
    }
    let merger = Embedded::start(machine(), config.clone())?;
    wait_until_done(&merger.url(), LIMIT, || false)?;
    merger.shutdown()?;
    let balance = context.database.balance(case, &ledger)?;
    Ok((balance, format!("7 jumps, {set_aside} requests set aside and given back")))
}
