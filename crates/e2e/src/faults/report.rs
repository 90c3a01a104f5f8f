//! What the suite found.

use std::fmt::Write as _;

use serde::Serialize;

use super::ledger::Balance;

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// The oracle's word.
    #[serde(flatten)]
    pub balance: Balance,
    /// How long it took.
    pub seconds: f64,
    /// What was done, in figures.
    pub note: String,
    /// Why it could not be judged, or what else is wrong.
    pub failure: Option<String>,
}

/// All cases.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// What the chance of this run began with.
    pub seed: u64,
    /// The sum of all cases.
    pub total: Balance,
    /// Each case.
    pub cases: Vec<Outcome>,
}

impl Report {
    /// Whether nothing is lost, doubled or altered, and every case could be judged.
    pub fn is_clean(&self) -> bool {
        self.total.is_clean() && self.cases.iter().all(|case| case.failure.is_none())
    }

    /// Adds a case.
    pub fn add(&mut self, outcome: Outcome) {
        self.total.add(outcome.balance.clone());
        self.cases.push(outcome);
    }

    /// A table, and the verdict.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "| case | acknowledged | lost | duplicated | altered | seconds | what happened |\n\
             |---|---:|---:|---:|---:|---:|---|\n",
        );
        for Outcome { case, balance, seconds, note, failure } in &self.cases {
            let Balance { acknowledged, lost, duplicated, altered, .. } = balance;
            let told = failure.as_ref().map_or_else(|| note.clone(), |failure| format!("FAILED: {failure}"));
            let told = told.replace('\n', " ");
            let _ = writeln!(
                text,
                "| {case} | {acknowledged} | {lost} | {duplicated} | {altered} | {seconds:.1} | {told} |"
            );
        }
        let Balance { acknowledged, lost, duplicated, altered, first_difference, .. } = &self.total;
        let _ = writeln!(
            text,
            "\nof {acknowledged} acknowledged samples: lost {lost}, duplicated {duplicated}, altered {altered} (seed {})",
            self.seed
        );
        if let Some(difference) = first_difference {
            let _ = writeln!(text, "the first difference: {difference}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_sum_of_all_cases() {
        let mut report = Report::default();
        let outcome = |lost, failure: Option<&str>| Outcome {
            case: "x".to_owned(),
            balance: Balance {
                lost,
                first_difference: (lost > 0).then(|| "that one".to_owned()),
                ..Balance::default()
            },
            seconds: 0.1,
            note: "nothing".to_owned(),
            failure: failure.map(str::to_owned),
        };
        report.add(outcome(0, None));
        assert!(report.is_clean());
        report.add(outcome(0, Some("it broke")));
        assert!(!report.is_clean() && report.text().contains("FAILED: it broke"));
        report.add(outcome(2, None));
        let text = report.text();
        assert!(
            text.contains("lost 2, duplicated 0, altered 0 (seed 0)\nthe first difference: that one\n"),
            "{text}"
        );
    }
}
