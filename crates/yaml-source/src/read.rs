//! Typed reading of configuration: every fault is reported with its place and path, and reading goes on.

mod mapping;
pub mod value;

pub use mapping::MappingReader;
pub use value::{Spanned, ValueReader};
