//! The corpora of the fuzz targets (`fuzz/README.md`), run as they are.

#[path = "../../../fuzz/targets/read_frames.rs"]
mod read_frames;
#[path = "../../../fuzz/targets/read_samples.rs"]
mod read_samples;

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
fn corpus_of_read_frames() {
    check("read_frames", read_frames::run);
}

#[test]
fn corpus_of_read_samples() {
    check("read_samples", read_samples::run);
}
