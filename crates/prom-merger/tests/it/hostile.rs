//! Configurations and requests of any bytes: nothing panics, and no sample of a request is lost.

use prom_merger::{Config, ingest::fuzz_judge};
use prom_remote::{Compressor, Sample, WriteRequestBuilder, WriteRequestV2Builder};
use prom_remote_http::WriteVersion;
use proptest::prelude::*;

const VERSIONS: [WriteVersion; 2] = [WriteVersion::V1, WriteVersion::V2];

fn compressed(message: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    Compressor::new().compress(message, &mut body).unwrap();
    body
}

/// Series of a few names and labels, some of them against the rules, with samples on both sides of the horizon.
fn message(version: WriteVersion, series: &[(u8, u8, Vec<i64>)]) -> Vec<u8> {
    let labels = |name: u8, label: u8| {
        let name = (["__name__", "job", "source", ""][usize::from(name % 4)], format!("m{name}"));
        let label = (["source", "zone", "__name__", "x"][usize::from(label % 4)], "v".to_owned());
        [name, label]
    };
    let times = |times: &[i64]| times.iter().map(|time| Sample::new(*time, 1.0)).collect::<Vec<_>>();
    match version {
        WriteVersion::V1 => {
            let mut builder = WriteRequestBuilder::new();
            for (name, label, at) in series {
                builder.series(labels(*name, *label), times(at));
            }
            builder.finish()
        }
        WriteVersion::V2 => {
            let mut builder = WriteRequestV2Builder::new();
            for (name, label, at) in series {
                builder.series(labels(*name, *label), times(at));
            }
            builder.finish()
        }
    }
}

proptest! {
    #[test]
    fn any_body_is_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for version in VERSIONS {
            fuzz_judge(version, &bytes);
            fuzz_judge(version, &compressed(&bytes));
        }
    }

    #[test]
    fn no_sample_of_a_request_is_lost_where_it_is_cut(
        series in proptest::collection::vec(
            (any::<u8>(), any::<u8>(), proptest::collection::vec(1_699_999_999_990_i64..1_700_000_000_010, 0..4)),
            0..12,
        ),
        damage in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
    ) {
        for version in VERSIONS {
            let mut message = message(version, &series);
            if let Some((place, byte)) = damage
                && !message.is_empty()
            {
                let place = place.index(message.len());
                message[place] = byte;
            }
            fuzz_judge(version, &compressed(&message));
        }
    }

    #[test]
    fn any_configuration_is_read_without_a_panic(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<char>()), 0..8),
        uncommented in any::<bool>(),
    ) {
        let text = if uncommented { Config::EXAMPLE.replace("# ", "") } else { Config::EXAMPLE.to_owned() };
        let mut text: Vec<char> = text.chars().collect();
        for (place, character) in edits {
            let place = place.index(text.len());
            text[place] = character;
        }
        let _ = Config::parse("m", text.into_iter().collect::<String>());
    }
}
