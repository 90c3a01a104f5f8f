//! How a plan is run.

pub mod native;
