/// How a chunk is encoded, with the numbers of `prometheus.Chunk.Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Encoding {
    /// Doubles: 1.
    Xor,
    /// Native histograms with integer counts: 2.
    Histogram,
    /// Native histograms with counts that are doubles: 3.
    FloatHistogram,
    /// Doubles with start timestamps: 4; Prometheus writes it since 3.13.
    Xor2,
    /// Native histograms with integer counts and start timestamps: 5; experimental in Prometheus 3.14.
    HistogramSt,
    /// Native histograms with counts that are doubles and start timestamps: 6; experimental in Prometheus 3.14.
    FloatHistogramSt,
}

impl Encoding {
    /// Returns the encoding of this number; `None` for numbers that this crate does not know.
    pub fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Xor,
            2 => Self::Histogram,
            3 => Self::FloatHistogram,
            4 => Self::Xor2,
            5 => Self::HistogramSt,
            6 => Self::FloatHistogramSt,
            _ => return None,
        })
    }

    /// Returns the number of the encoding.
    pub fn number(self) -> i32 {
        match self {
            Self::Xor => 1,
            Self::Histogram => 2,
            Self::FloatHistogram => 3,
            Self::Xor2 => 4,
            Self::HistogramSt => 5,
            Self::FloatHistogramSt => 6,
        }
    }

    /// Tells whether such chunks hold histograms; the others hold doubles.
    pub fn holds_histograms(self) -> bool {
        !matches!(self, Self::Xor | Self::Xor2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_encodings_are_the_same_things() {
        let known: Vec<_> =
            (-1..9).filter_map(|number| Some((number, Encoding::from_number(number)?))).collect();
        assert_eq!(known.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert!(known.iter().all(|(number, encoding)| encoding.number() == *number));
    }
}
