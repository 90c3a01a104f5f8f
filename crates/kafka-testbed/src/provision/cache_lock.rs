//! One set-up at a time for each cache: the lock tells its holder, and whoever waits says for whom.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    path::Path,
    time::Duration,
};

use super::{
    Begun,
    error::{ProvisionError, io_error},
};
use crate::progress::{Event, Reporter};

/// Pause between two looks at a lock that another set-up holds.
const PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of what a holder says about itself.
const MAX_HOLDER: u64 = 200;

/// The cache is ours for as long as this lives.
#[derive(Debug)]
pub(super) enum CacheLock {
    /// Held.
    Held { _file: File },
    /// The cache cannot be written, so nobody can change it either.
    ReadOnly,
}

impl CacheLock {
    pub(super) fn is_writable(&self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

/// Takes the lock of `cache`; waits for as long as another set-up has it.
pub(super) async fn take(
    cache: &Path,
    holder: &str,
    reporter: &mut impl Reporter,
) -> Result<CacheLock, ProvisionError> {
    if let Err(error) = fs::create_dir_all(cache) {
        return Err(io_error("creating the cache", cache)(error));
    }
    let path = cache.join("lock");
    let opened = File::options().create(true).read(true).append(true).open(&path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(CacheLock::ReadOnly);
        }
        Err(error) => return Err(io_error("opening", &path)(error)),
    };
    let mut waiting: Option<Begun> = None;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(io_error("locking", &path)(error)),
        }
        if waiting.is_none() {
            let who = read_holder(&path);
            reporter.note(format!("another set-up fills the cache {}: waiting for {who}", cache.display()));
            waiting = Some(Begun::new(reporter, "waiting for another set-up".to_owned()));
        }
        reporter.event(Event::Going { detail: read_holder(&path), parts: None });
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(waiting) = waiting {
        waiting.done(reporter, String::new());
    }
    // On a full disk the lock holds all the same; only those who wait are told less.
    let _ = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
    Ok(CacheLock::Held { _file: file })
}

fn read_holder(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_HOLDER).read_to_end(&mut bytes));
    match read {
        Ok(length) if length > 0 => String::from_utf8_lossy(&bytes).into_owned(),
        _ => "another command".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Reporter for Notes {
        fn event(&mut self, event: Event) {
            if let Event::Note(text) = event {
                self.0.push(text);
            }
        }
    }

    #[tokio::test]
    async fn who_waits_says_for_whom_and_goes_on_when_the_other_is_done() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = folder.path().join("cache");
        let first = take(&cache, "`up` of testbed `a` (pid 7)", &mut Silent).await.expect("free");
        let second = {
            let cache = cache.clone();
            tokio::spawn(async move {
                let mut notes = Notes::default();
                let lock = take(&cache, "`doctor` (pid 8)", &mut notes).await;
                (lock.map(|lock| lock.is_writable()), notes.0)
            })
        };
        // Let the second look and find the lock taken.
        while !second.is_finished() && fs::metadata(cache.join("lock")).is_err() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(PAUSE).await;
        drop(first);
        let (writable, notes) = second.await.expect("ends");
        assert!(writable.expect("gets the lock"));
        assert!(notes[0].contains("waiting for `up` of testbed `a` (pid 7)"), "{notes:?}");
        assert_eq!(read_holder(&cache.join("lock")), "`doctor` (pid 8)");
    }

    #[tokio::test]
    async fn what_is_no_folder_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = folder.path().join("file");
        fs::write(&cache, "").expect("writes");
        let error = take(&cache, "`up`", &mut Silent).await.expect_err("no folder");
        assert!(error.to_string().contains("/file"), "{error}");
    }
}
