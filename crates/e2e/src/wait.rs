//! Waiting with limits, and one after the other.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Calls `look` until it gives a value, and returns that.
///
/// # Panics
/// When it still gives none after `limit`: the panic tells `what` was waited for and the last reason.
#[track_caller]
pub fn eventually<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= deadline => {
                panic!("{what}: not within {} s; the last look: {reason}", limit.as_secs())
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Holds back every other test that starts a testbed: together they would need too much memory.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A test that failed took its testbed down all the same.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells how far a long test is; shown with `--nocapture` or when it fails.
#[expect(clippy::print_stderr, reason = "the test harness shows what a test prints")]
pub fn note(text: &str) {
    eprintln!("{text}");
}
