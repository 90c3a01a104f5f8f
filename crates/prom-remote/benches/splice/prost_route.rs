//! The same work with generated code: decode all, change it, encode all.

use prom_remote::{Compressor, Limits, decompress};
use prost::Message;

use self::{
    prometheus::{Label, WriteRequest},
    write_v2::Request,
};
use crate::payload::Version;

#[allow(dead_code, unreachable_pub, clippy::all, reason = "generated, and most of it has no use here")]
mod prometheus {
    include!("../../src/generated/prometheus.rs");
}

#[allow(dead_code, unreachable_pub, clippy::all, reason = "generated, and most of it has no use here")]
mod write_v2 {
    include!("../../src/generated/io.prometheus.write.v2.rs");
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
    pub(crate) fn run(&mut self, version: Version, block: &[u8]) -> usize {
        decompress(block, &self.limits, &mut self.decoded).expect("our own block");
        self.encoded.clear();
        match version {
            Version::V1 => self.edit_v1(),
            Version::V2 => self.edit_v2(),
        }
        self.compressor.compress(&self.encoded, &mut self.compressed).expect("a small request");
        self.compressed.len()
    }

    fn edit_v1(&mut self) {
        let mut request = WriteRequest::decode(&self.decoded[..]).expect("well formed");
        for series in &mut request.timeseries {
            let place = series.labels.partition_point(|label| label.name.as_slice() < b"source".as_slice());
            series.labels.insert(place, Label { name: b"source".to_vec(), value: b"kafka".to_vec() });
        }
        request.encode(&mut self.encoded).expect("a vector grows");
    }

    fn edit_v2(&mut self) {
        let mut request = Request::decode(&self.decoded[..]).expect("well formed");
        let name = request.symbols.len() as u32;
        for series in &mut request.timeseries {
            let place = series
                .labels_refs
                .chunks(2)
                .position(|label| request.symbols[label[0] as usize].as_slice() > b"source".as_slice());
            let place = place.map_or(series.labels_refs.len(), |place| place * 2);
            series.labels_refs.splice(place..place, [name, name + 1]);
        }
        request.symbols.extend([b"source".to_vec(), b"kafka".to_vec()]);
        request.encode(&mut self.encoded).expect("a vector grows");
    }
}
