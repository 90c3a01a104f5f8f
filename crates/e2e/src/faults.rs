//! The fault suite: everything that may go wrong between a sender and the database goes wrong, and an oracle compares
//! what the senders were told with what the database has.
//!
//! The database is a real Prometheus; the senders, the network in between and, where that says so, the disk are ours.
//! `cargo xtask faults` runs it, its short form is a test.

mod cases;
mod database;
mod dice;
mod ledger;
mod load;
mod merger;
mod proxy;
mod report;
mod simulated;

use std::{
    any::Any,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Instant,
};

use self::database::Database;
pub use self::{
    ledger::Balance,
    report::{Outcome, Report},
};

/// How much is done.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often the merger is killed, or ended, at random moments under load.
    pub kills: u64,
    /// The power is cut at every so many operations of each disk: 1 for every one.
    pub cut_every: u64,
    /// How many ways of tearing what was not synced are tried at each cut.
    pub tears: u64,
    /// What chance begins with.
    pub seed: u64,
    /// Only cases whose name contains this.
    pub only: Option<String>,
}

impl Options {
    /// What a test may do in a minute.
    pub fn short() -> Self {
        Self { kills: 12, cut_every: 29, tears: 1, seed: 1, only: None }
    }
}

/// What every case may use.
#[derive(Debug)]
struct Context<'a> {
    options: &'a Options,
    folder: &'a Path,
    database: &'a Database,
}

impl Context<'_> {
    /// A folder for one case.
    fn folder(&self, case: &str) -> PathBuf {
        let folder = self.folder.join(case.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        fs::create_dir_all(&folder).expect("the folder of the suite can be written");
        folder
    }
}

/// What a case tells: the oracle's word, and what was done.
type Judged = Result<(Balance, String), String>;

/// Runs all cases one after the other; `tell` hears what is done, and what came of it.
///
/// # Panics
/// When no real database can be had.
pub fn run(options: &Options, mut tell: impl FnMut(&str)) -> Report {
    let folder = tempfile::Builder::new().prefix("faults-").tempdir().expect("a folder can be made");
    let database = Database::start(&folder.path().join("database"));
    let context = Context { options, folder: folder.path(), database: &database };
    let mut report = Report { seed: options.seed, ..Report::default() };
    for (name, case) in cases::ALL {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        tell(name);
        let begun = Instant::now();
        // A case that breaks is a failure of the suite, and the others run all the same.
        let judged = catch_unwind(AssertUnwindSafe(|| case(&context, name)))
            .unwrap_or_else(|panic| Err(words(panic.as_ref())));
        let seconds = begun.elapsed().as_secs_f64();
        let ((balance, note), failure) = match judged {
            Ok(judged) => (judged, None),
            Err(failure) => ((Balance::default(), String::new()), Some(failure)),
        };
        report.add(Outcome { case: (*name).to_owned(), balance, seconds, note, failure });
    }
    report
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
