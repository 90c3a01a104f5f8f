//! The corpora of the fuzz targets (`fuzz/README.md`), run as they are.

#[path = "../../../../fuzz/targets/chunk_histogram.rs"]
mod chunk_histogram;
#[path = "../../../../fuzz/targets/chunk_xor.rs"]
mod chunk_xor;
#[path = "../../../../fuzz/targets/chunk_xor2.rs"]
mod chunk_xor2;

fn check(target: &str, run: impl Fn(&[u8])) {
    let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let path = entry.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        run(&data);
        // And what is near it.
        for cut in [data.len() / 2, data.len().saturating_sub(1)] {
            run(&data[..cut]);
        }
        count += 1;
    }
    assert!(count >= 3, "{folder} has {count} files");
}

#[test]
fn corpus_of_chunk_xor() {
    check("chunk_xor", chunk_xor::run);
}

#[test]
fn corpus_of_chunk_xor2() {
    check("chunk_xor2", chunk_xor2::run);
}

#[test]
fn corpus_of_chunk_histogram() {
    check("chunk_histogram", chunk_histogram::run);
}
