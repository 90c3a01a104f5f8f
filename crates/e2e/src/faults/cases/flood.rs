//! One source sends as much as it can while the way to the database is slow; the other goes on as ever.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    faults::{
        Context, Judged,
        ledger::Ledger,
        load::{Sender, Shape, finish, under_load},
        merger::{Program, SOURCES, metric, wait_until_done},
    },
    http::block_on,
};

const FLOODERS: usize = 8;
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn flood(context: &Context<'_>, case: &str) -> Judged {
    let [flooded, calm] = SOURCES;
    let more = "journal: {segment_bytes: 2m, max_bytes: 8m, max_pending_bytes: 1m}\n\
                limits: {body: 256k, decoded: 512k, in_flight: 4}";
    let mut program = Program::new(&context.folder(case), &context.database.url(), more);
    program.start()?;
    let ledger = Arc::new(Ledger::default());
    let flooders = (0..FLOODERS)
        .map(|number| {
            let mut shape = Shape::new(case, flooded);
            // Each its own times, a thousandth of a step apart from the next one's.
            shape.begin_ms += number as i64;
            (shape.series, shape.noise) = (200, 64);
            Sender::new(&program.url(), shape, &ledger)
        })
        .collect();
    let mut shape = Shape::new(case, calm);
    shape.series = 5;
    let mut sender = Sender::new(&program.url(), shape, &ledger);
    let (mut flooders, calm_done) = under_load(flooders, Duration::ZERO, || {
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            block_on(sender.send_until(sender.done() + 1, Duration::from_secs(30)))?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok::<_, String>(())
    });
    calm_done?;
    finish(&mut flooders, LIMIT)?;
    wait_until_done(&program.url(), LIMIT, || false)?;
    let letters = metric(&program.url(), "dead_letter_records")?;
    if letters > 0.0 {
        return Err(format!("{letters} dead letters, of data that nobody has a reason to refuse"));
    }
    let flood: u64 = flooders.iter().map(Sender::done).sum();
    let mut latencies = std::mem::take(&mut sender.latencies);
    latencies.sort_unstable();
    let quantile = |of: usize| latencies.get(latencies.len() * of / 100).copied().unwrap_or_default();
    let balance = context.database.balance(case, &ledger)?;
    let note = format!(
        "{flood} large requests beside {} small ones, which were acknowledged within {:.0?} (half) and {:.0?} (99 of 100)",
        latencies.len(),
        quantile(50),
        quantile(99)
    );
    Ok((balance, note))
}
