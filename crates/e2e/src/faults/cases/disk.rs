//! Disks that are full or slow, or whose syncs fail.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use prom_merger::machine::Machine;
use sample_journal::Tear;

use crate::{
    faults::{
        Context, Judged,
        ledger::Ledger,
        load::{Sender, Shape, Told, finish, under_load},
        merger::{Embedded, Program, SOURCES, metric, wait_until_done},
        proxy::{Fault, Proxy},
        simulated::{SimulatedDisks, SlowDisks},
    },
    http::block_on,
};

const PACE: Duration = Duration::from_millis(5);
const LIMIT: Duration = Duration::from_secs(60);

/// No append succeeds for a while, and each failed one has written half of its bytes.
pub(super) fn full_simulated(context: &Context<'_>, case: &str) -> Judged {
    let disks = SimulatedDisks::default();
    let merger = embedded(context, Disks::Simulated(&disks), "")?;
    let ledger = Arc::new(Ledger::default());
    let (senders, ()) = under_load(senders(&merger.url(), case, &ledger), PACE, || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(150));
            disks.each(|disk| disk.fail_appends(Some(io::ErrorKind::StorageFull)));
            thread::sleep(Duration::from_millis(150));
            disks.each(|disk| disk.fail_appends(None));
        }
    });
    let failed = metric(&merger.url(), "journal_failed_commits_total")?;
    if failed == 0.0 {
        return Err("no commit failed".to_owned());
    }
    crash_and_finish(context, case, &ledger, merger, &disks, senders, format!("{failed} failed commits"))
}

/// Every fifth sync fails: what it should have covered is gone after the crash that follows.
pub(super) fn failing_sync(context: &Context<'_>, case: &str) -> Judged {
    let disks = SimulatedDisks::default();
    for source in SOURCES {
        for sync in (9..4000).step_by(5) {
            disks.disk("journal", source).fail_sync(sync);
            disks.disk("dead-letters", source).fail_sync(sync);
        }
    }
    let merger = embedded(context, Disks::Simulated(&disks), "")?;
    let ledger = Arc::new(Ledger::default());
    let (senders, ()) = under_load(senders(&merger.url(), case, &ledger), PACE, || {
        thread::sleep(Duration::from_millis(1_200));
    });
    let failed = metric(&merger.url(), "journal_failed_commits_total")?;
    if failed == 0.0 {
        return Err("no commit failed".to_owned());
    }
    crash_and_finish(context, case, &ledger, merger, &disks, senders, format!("{failed} failed commits"))
}

/// Loses whatever no completed sync covers, and finishes on what is left.
fn crash_and_finish(
    context: &Context<'_>,
    case: &str,
    ledger: &Ledger,
    merger: Embedded,
    disks: &SimulatedDisks,
    mut senders: Vec<Sender>,
    note: String,
) -> Judged {
    let crashed = disks.crash(Tear::Lost);
    drop(merger);
    let merger = embedded(context, Disks::Simulated(&crashed), "")?;
    senders.iter_mut().for_each(|sender| sender.move_to(&merger.url()));
    finish(&mut senders, LIMIT)?;
    wait_until_done(&merger.url(), LIMIT, || false)?;
    merger.shutdown()?;
    Ok((context.database.balance(case, ledger)?, note))
}

/// Every sync of a real disk takes 60 ms longer.
pub(super) fn slow(context: &Context<'_>, case: &str) -> Judged {
    let folder = context.folder(case);
    let merger = embedded(context, Disks::Slow(&folder, Duration::from_millis(60)), "")?;
    let ledger = Arc::new(Ledger::default());
    let (mut senders, ()) = under_load(senders(&merger.url(), case, &ledger), PACE, || {
        thread::sleep(Duration::from_millis(1_500));
    });
    finish(&mut senders, LIMIT)?;
    wait_until_done(&merger.url(), LIMIT, || false)?;
    let commits = metric(&merger.url(), "journal_commits_total")?;
    let requests: u64 = senders.iter().map(Sender::done).sum();
    merger.shutdown()?;
    let balance = context.database.balance(case, &ledger)?;
    Ok((balance, format!("{requests} requests in {commits} commits, each 60 ms longer")))
}

/// A small file system of its own fills while the destination is down; it empties when that is back.
pub(super) fn full_real(context: &Context<'_>, case: &str) -> Judged {
    let folder = context.folder(case);
    let Some(mounted) = Mounted::at(&folder, "size=3m") else {
        return Ok((
            Default::default(),
            "not run: this user may not mount; the simulated one stands for it".to_owned(),
        ));
    };
    let proxy = Proxy::start(&context.database.url());
    let more = "limits: {body: 12k, decoded: 12k}\n\
                journal: {segment_bytes: 256k, max_bytes: 64m, max_pending_bytes: 1m}";
    let mut program = Program::new(&folder, &proxy.url(), more);
    program.start()?;
    proxy.set(Fault::Closed);
    let ledger = Arc::new(Ledger::default());
    let mut senders = senders(&program.url(), case, &ledger);
    let mut refused = 0;
    while refused < 10 {
        for sender in &mut senders {
            match block_on(sender.send()) {
                Told::Again(_) => refused += 1,
                Told::Stored => {}
                Told::Refused(words) => return Err(format!("refused: {words}")),
            }
        }
    }
    // It bears a restart too.
    program.kill();
    program.start()?;
    proxy.set(Fault::None);
    for sender in &mut senders {
        block_on(sender.send_until(sender.done() + 50, LIMIT))?;
    }
    finish(&mut senders, LIMIT)?;
    wait_until_done(&program.url(), LIMIT, || false)?;
    let requests: u64 = senders.iter().map(Sender::done).sum();
    program.terminate()?;
    drop(mounted);
    let balance = context.database.balance(case, &ledger)?;
    Ok((balance, format!("full after some of {requests} requests, {refused} times told to wait")))
}

enum Disks<'a> {
    Simulated(&'a SimulatedDisks),
    Slow(&'a Path, Duration),
}

fn embedded(context: &Context<'_>, disks: Disks<'_>, more: &str) -> Result<Embedded, String> {
    let data = match disks {
        Disks::Simulated(_) => Path::new("unused"),
        Disks::Slow(folder, _) => folder,
    };
    let config = Embedded::config(data, &context.database.url(), more)?;
    let machine = Machine::real(&config);
    let machine = match disks {
        Disks::Simulated(disks) => machine.with_disks(disks.clone()),
        Disks::Slow(_, delay) => {
            let syncs = Arc::default();
            let disks = SlowDisks { disks: Arc::clone(&machine.disks), delay, syncs: Arc::clone(&syncs) };
            debug_assert_eq!(syncs.load(Ordering::Relaxed), 0);
            machine.with_disks(disks)
        }
    };
    Embedded::start(machine, config)
}

fn senders(base: &str, case: &str, ledger: &Arc<Ledger>) -> Vec<Sender> {
    let shape = |source: &str| {
        let mut shape = Shape::new(case, source);
        (shape.series, shape.noise) = (8, 320);
        shape
    };
    SOURCES.iter().map(|source| Sender::new(base, shape(source), ledger)).collect()
}

/// A file system in memory, unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    /// Nothing where this user may not mount.
    fn at(folder: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
