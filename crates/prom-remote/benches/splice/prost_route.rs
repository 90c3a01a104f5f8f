//! The same work with generated code: decode all, change it, encode all.

use prom_remote::{Compressor, Limits, decompress};
use prost::Message;

use self::prometheus::{Label, WriteRequest};

#[allow(dead_code, unreachable_pub, clippy::all, reason = "generated, and most of it has no use here")]
mod prometheus {
    include!("../../src/generated/prometheus.rs");
}

pub(crate) struct Route {
    limits: Limits,
    compressor: Compressor,
    decoded: Vec<u8>,
    encoded: Vec<u8>,
    compressed: Vec<u8>,
}

impl Route {
    pub(crate) fn new() -> Self {
        Self {
            limits: Limits::default(),
            compressor: Compressor::new(),
            decoded: Vec::new(),
            encoded: Vec::new(),
            compressed: Vec::new(),
        }
    }

    /// Returns the length of the compressed request.
    pub(crate) fn run(&mut self, block: &[u8]) -> usize {
        decompress(block, &self.limits, &mut self.decoded).expect("our own block");
        let mut request = WriteRequest::decode(&self.decoded[..]).expect("well formed");
        for series in &mut request.timeseries {
            let place = series.labels.partition_point(|label| label.name.as_slice() < b"source".as_slice());
            series.labels.insert(place, Label { name: b"source".to_vec(), value: b"kafka".to_vec() });
        }
        self.encoded.clear();
        request.encode(&mut self.encoded).expect("a vector grows");
        self.compressor.compress(&self.encoded, &mut self.compressed).expect("a small request");
        self.compressed.len()
    }
}
