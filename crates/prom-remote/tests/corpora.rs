//! The committed corpora of the fuzz targets, as a plain test.

use std::{fs, path::Path};

#[track_caller]
fn run(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        check(&fs::read(entry.expect("the folder is readable").path()).expect("the file is readable"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn write_v1() {
    run("write_v1", prom_remote::fuzzing::write_v1);
}

#[test]
fn write_v2() {
    run("write_v2", prom_remote::fuzzing::write_v2);
}

#[test]
fn splice() {
    run("splice", prom_remote::fuzzing::splice);
}

#[test]
fn convert() {
    run("convert", prom_remote::fuzzing::convert);
}

#[test]
fn relabel() {
    run("relabel", prom_remote::fuzzing::relabel);
}
