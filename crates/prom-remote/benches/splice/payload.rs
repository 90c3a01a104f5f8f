//! The captured requests of `benches/captured`, which its README describes.

use std::{fs, path::PathBuf};

use prom_remote::{Limits, Summary, WriteRequestV2View, WriteRequestView, decompress};

/// The exporters, and the versions of the protocol.
pub(crate) const EXPORTERS: [&str; 3] = ["kafka", "node", "kubernetes"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V1, Self::V2];

    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }
}

/// One request as it was received, and what is in it.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) block: Vec<u8>,
    pub(crate) request: Vec<u8>,
}

/// The captured requests of one exporter in one version.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) exporter: &'static str,
    pub(crate) version: Version,
    pub(crate) bodies: Vec<Body>,
}

impl Payload {
    pub(crate) fn read(exporter: &'static str, version: Version) -> Self {
        let bodies = (1..=BODIES).map(|index| read(&format!("{exporter}-{}-{index}.sz", version.number())));
        Self { exporter, version, bodies: bodies.collect() }
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        EXPORTERS.into_iter().flat_map(|exporter| Version::ALL.map(|version| Self::read(exporter, version)))
    }

    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.exporter, self.version.number())
    }

    #[allow(dead_code, reason = "the test has no use for it")]
    pub(crate) fn samples(&self) -> usize {
        self.bodies.iter().map(|body| body.summary(self.version).samples).sum()
    }

    /// Labels of a series, in the mean.
    pub(crate) fn mean_labels(&self) -> f64 {
        let (mut labels, mut series) = (0, 0);
        for body in &self.bodies {
            labels += body.label_count(self.version);
            series += body.summary(self.version).series;
        }
        labels as f64 / series as f64
    }
}

impl Body {
    pub(crate) fn summary(&self, version: Version) -> Summary {
        let limits = Limits::default();
        match version {
            Version::V1 => WriteRequestView::new(&self.request).summary(&limits).expect("well formed"),
            Version::V2 => {
                let request = WriteRequestV2View::new(&self.request, &limits).expect("well formed");
                request.summary(&limits).expect("well formed")
            }
        }
    }

    fn label_count(&self, version: Version) -> usize {
        match version {
            Version::V1 => {
                let series = WriteRequestView::new(&self.request).series();
                series.map(|series| series.expect("well formed").label_count()).sum()
            }
            Version::V2 => {
                let request =
                    WriteRequestV2View::new(&self.request, &Limits::default()).expect("well formed");
                let symbols = request.symbols();
                request.series().map(|series| series.expect("well formed").labels(symbols).count()).sum()
            }
        }
    }
}

fn read(name: &str) -> Body {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/captured").join(name);
    let block = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut request = Vec::new();
    decompress(&block, &Limits::default(), &mut request).expect("a body that was received");
    Body { block, request }
}

const BODIES: usize = 3;
