//! Appending in groups, next to the limit: the same bytes written and synced by hand, once per group.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::mpsc,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sample_journal::{DiskStorage, Journal, JournalConfig, JournalHooks, JournalId};

const MIB: u64 = 1024 * 1024;

fn append(criterion: &mut Criterion) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for record_bytes in [1024usize, 22 * 1024] {
        let mut group = criterion.benchmark_group(format!("append/{record_bytes}"));
        group.sample_size(10);
        for count in [1usize, 16, 128] {
            group.throughput(Throughput::Bytes((record_bytes * count) as u64));
            let record = vec![0x5a; record_bytes];

            let directory = tempfile::tempdir_in(target).expect("temporary directory");
            let journal = open(directory.path());
            let mut cursor = journal.cursor("bench").expect("cursor");
            group.bench_function(BenchmarkId::new("journal", count), |bencher| {
                bencher.iter(|| append_group(&journal, &record, count));
                cursor.store(journal.durable_end()).expect("store");
                journal.release().expect("release");
            });

            let mut plain = Plain::new(directory.path());
            let bytes = record.repeat(count);
            group.bench_function(BenchmarkId::new("write-and-sync", count), |bencher| {
                bencher.iter(|| plain.write_and_sync(&bytes));
            });
        }
        group.finish();
    }
}

/// The limit: files of a segment's size, written in pieces as large as the journal's, one sync per group.
struct Plain {
    path: PathBuf,
    file: File,
    written: u64,
}

impl Plain {
    fn new(directory: &Path) -> Self {
        let path = directory.join("plain");
        let file = File::create(&path).expect("file");
        Self { path, file, written: 0 }
    }

    fn write_and_sync(&mut self, bytes: &[u8]) {
        if self.written + bytes.len() as u64 > 64 * MIB {
            std::fs::remove_file(&self.path).expect("remove");
            self.file = File::create(&self.path).expect("file");
            self.written = 0;
        }
        for piece in bytes.chunks(256 * 1024) {
            self.file.write_all(piece).expect("write");
        }
        self.file.sync_data().expect("sync");
        self.written += bytes.len() as u64;
    }
}

fn open(path: &Path) -> Journal {
    let config =
        JournalConfig { max_bytes: 16 * 1024 * MIB, ..JournalConfig::new(JournalId(*b"bench of appends")) };
    let storage = DiskStorage::open(path).expect("storage");
    Journal::open(storage, config, JournalHooks::default()).expect("journal").0
}

/// The first record of a group may be committed alone: the journal does not know that more will come.
fn append_group(journal: &Journal, record: &[u8], count: usize) {
    let (sender, receiver) = mpsc::channel();
    for _ in 0..count {
        let sender = sender.clone();
        journal.append(&[record], move |result| sender.send(result).expect("receiver"));
    }
    drop(sender);
    for result in receiver {
        result.expect("append");
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
