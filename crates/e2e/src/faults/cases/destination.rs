//! The way to the database is broken for a while, in each way once.

use std::{sync::Arc, thread, time::Duration};

use crate::{
    faults::{
        Context, Judged,
        database::Database,
        ledger::Ledger,
        load::{Sender, Shape, finish, under_load},
        merger::{Program, SOURCES, metric, wait_until_done},
        proxy::{Fault, Proxy},
    },
    http::block_on,
};

const PACE: Duration = Duration::from_millis(10);
const WELL: Duration = Duration::from_millis(150);
const BROKEN: Duration = Duration::from_millis(700);

pub(super) fn closed(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::Closed)
}

pub(super) fn hanging(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::Hanging)
}

pub(super) fn half_closed(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::HalfClosed)
}

pub(super) fn broken_answer(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::BrokenAnswer)
}

pub(super) fn lost_answer(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::LostAnswer)
}

pub(super) fn slow(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::Slow(Duration::from_millis(2)))
}

pub(super) fn status_500(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::Status(500))
}

pub(super) fn status_503(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::Status(503))
}

pub(super) fn status_429(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::Status(429))
}

pub(super) fn status_400(context: &Context<'_>, case: &str) -> Judged {
    broken(context, case, Fault::Status(400))
}

/// Well, broken, well again, under load all the time; nothing may become a dead letter.
fn broken(context: &Context<'_>, case: &str, fault: Fault) -> Judged {
    let proxy = Proxy::start(&context.database.url());
    let mut program = Program::new(&context.folder(case), &proxy.url(), "");
    program.start()?;
    let ledger = Arc::new(Ledger::default());
    let (mut senders, ()) = under_load(senders(&program, case, &ledger), PACE, || {
        thread::sleep(WELL);
        proxy.set(fault);
        thread::sleep(BROKEN);
        proxy.set(Fault::None);
        thread::sleep(WELL);
    });
    let (_, faulty) = proxy.counts();
    if faulty == 0 {
        return Err("nothing was broken".to_owned());
    }
    done(&program, &mut senders)?;
    let balance = context.database.balance(case, &ledger)?;
    Ok((balance, format!("{faulty} requests broken")))
}

/// The real database is not there, and comes back.
pub(super) fn stopped(context: &Context<'_>, case: &str) -> Judged {
    let folder = context.folder(case);
    let mut database = Database::start(&folder.join("database"));
    let mut program = Program::new(&folder, &database.url(), "");
    program.start()?;
    let ledger = Arc::new(Ledger::default());
    let (mut senders, ()) = under_load(senders(&program, case, &ledger), PACE, || {
        thread::sleep(WELL);
        database.restart_after(BROKEN);
        thread::sleep(WELL);
    });
    done(&program, &mut senders)?;
    let failures = metric(&program.url(), "delivery_failures_total")?;
    let balance = database.balance(case, &ledger)?;
    Ok((balance, format!("{failures} failed attempts")))
}

fn senders(program: &Program, case: &str, ledger: &Arc<Ledger>) -> Vec<Sender> {
    SOURCES.iter().map(|source| Sender::new(&program.url(), Shape::new(case, source), ledger)).collect()
}

fn done(program: &Program, senders: &mut [Sender]) -> Result<(), String> {
    for sender in &mut *senders {
        // What comes afterwards arrives too.
        block_on(sender.send_until(sender.done() + 5, Duration::from_secs(30)))?;
    }
    finish(senders, Duration::from_secs(30))?;
    wait_until_done(&program.url(), Duration::from_secs(60), || false)?;
    let letters = metric(&program.url(), "dead_letter_records")?;
    if letters > 0.0 {
        return Err(format!("{letters} dead letters, of data that the database has no reason to refuse"));
    }
    Ok(())
}
