//! The fault suite in its short form.

use e2e::{
    faults::{Options, run},
    note,
};

#[test]
fn nothing_acknowledged_is_lost_or_altered_whatever_breaks() {
    let report = run(&Options::short(), note);
    note(&report.text());
    assert!(report.is_clean(), "{}", report.text());
    assert!(report.total.acknowledged > 10_000, "{}", report.text());
}
