//! A continuous stream of bits, the highest bit of a byte first.

mod reader;
mod writer;

pub(crate) use reader::BitReader;
pub(crate) use writer::BitWriter;
