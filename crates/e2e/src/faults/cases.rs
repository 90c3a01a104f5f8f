//! The cases: each breaks one thing.

mod clock;
mod corruption;
mod destination;
mod disk;
mod flood;
mod kills;
mod power;

use super::{Context, Judged};

/// A case is given its own name, which is a label of its series too.
type Case = fn(&Context<'_>, &str) -> Judged;

/// All of them, in the order in which they run.
pub(super) const ALL: &[(&str, Case)] = &[
    ("power cut, journal", power::journal),
    ("power cut, dead letters", power::dead_letters),
    ("kill -9 and SIGTERM", kills::kills),
    ("disk full, simulated", disk::full_simulated),
    ("disk full, real", disk::full_real),
    ("disk slow", disk::slow),
    ("fdatasync fails", disk::failing_sync),
    ("destination stopped", destination::stopped),
    ("destination closes", destination::closed),
    ("destination hangs", destination::hanging),
    ("destination half-closed", destination::half_closed),
    ("destination breaks its answer", destination::broken_answer),
    ("destination's answer is lost", destination::lost_answer),
    ("destination slow", destination::slow),
    ("destination 500", destination::status_500),
    ("destination 503", destination::status_503),
    ("destination 429", destination::status_429),
    ("destination 400", destination::status_400),
    ("clock jumps", clock::jumps),
    ("journal corrupted", corruption::flipped),
    ("flooding source", flood::flood),
];
