//! Relabelling: Prometheus' rules over the labels of a series.
//!
//! The rules are those of Prometheus 3 (`model/relabel`, documented under `relabel_config`), all actions included.
//! Two things differ from Prometheus on purpose: a label that is not UTF-8 is an error, as Prometheus would match a
//! regular expression against something else than the bytes; and a series that is left without any label is dropped
//! at once, as every user of the rules in Prometheus does.

mod builder;
mod check;
mod letters;
mod relabeler;
mod rewrite;
mod rewrite_v2;
mod rule;
mod template;

pub use relabeler::{RelabelError, RelabelMemory, Relabeled, RelabeledLabels, Relabeler};
pub use rewrite::{RelabelReport, RelabelRequestError};
pub use rule::{
    LabelNames, RelabelAction, RelabelRule, RelabelRuleError, RelabelRuleErrorKind, UnknownRelabelAction,
};
