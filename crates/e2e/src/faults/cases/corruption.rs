//! Bytes in the middle of a journal turn over: everything else arrives, and the damage is told and counted.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    faults::{
        Context, Judged,
        dice::Dice,
        ledger::Ledger,
        load::{Sender, Shape},
        merger::{Program, SOURCES, metric, wait_until_done},
        proxy::{Fault, Proxy},
    },
    http::block_on,
};

const REQUESTS: u64 = 100;
const FLIPS: usize = 3;
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn flipped(context: &Context<'_>, case: &str) -> Judged {
    let folder = context.folder(case);
    let proxy = Proxy::start(&context.database.url());
    proxy.set(Fault::Closed);
    let mut program = Program::new(&folder, &proxy.url(), "");
    program.start()?;
    let ledger = Arc::new(Ledger::default());
    let mut series = 0;
    for source in SOURCES {
        let shape = Shape::new(case, source);
        series = shape.series;
        let mut sender = Sender::new(&program.url(), shape, &ledger);
        block_on(sender.send_until(REQUESTS, LIMIT))?;
    }
    program.terminate()?;
    let file = segment(&program)?;
    let mut bytes = fs::read(&file).map_err(|error| error.to_string())?;
    let mut dice = Dice::new(context.options.seed);
    let (begin, room) = (bytes.len() / 4, bytes.len() as u64 / 2);
    for _ in 0..FLIPS {
        let at = begin + usize::try_from(dice.below(room)).unwrap_or_default();
        bytes[at] ^= 1 << dice.below(8);
    }
    fs::write(&file, bytes).map_err(|error| error.to_string())?;
    let (code, told) = program.run(&["journal", "verify"])?;
    let place = format!("{}:", file.display());
    if code != Some(1) || !told.contains(&place) {
        return Err(format!(
            "`journal verify` ends with {code:?} and does not tell the damage of {place} {told}"
        ));
    }
    proxy.set(Fault::None);
    program.start()?;
    wait_until_done(&program.url(), LIMIT, || false)?;
    let damaged = metric(&program.url(), "damaged_records_total")?;
    if !(1.0..=FLIPS as f64).contains(&damaged) {
        return Err(format!("{damaged} damaged records are told after {FLIPS} flipped bits"));
    }
    // Whole requests are missing, exactly as many as were told: the loss is the disk's, and is known.
    let missing = context.database.balance(case, &ledger)?;
    if missing.lost as f64 != damaged * series as f64 {
        return Err(format!(
            "{} samples are missing, {damaged} records of {series} samples are told",
            missing.lost
        ));
    }
    let present = context.database.times(case)?;
    let excused = ledger.excuse(|labels, time| !present.contains(&(labels["origin"].clone(), time)));
    let balance = context.database.balance(case, &ledger)?;
    Ok((
        balance,
        format!(
            "{damaged} of {} records damaged and told ({excused} samples), all others arrive",
            2 * REQUESTS
        ),
    ))
}

/// The one segment of the first source.
fn segment(program: &Program) -> Result<PathBuf, String> {
    let folder = program.data().join("journal").join(SOURCES[0]);
    let entries = fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sj"))
        .collect();
    files.sort_unstable();
    files.into_iter().next().ok_or_else(|| format!("no segment in {}", folder.display()))
}
