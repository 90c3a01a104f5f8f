//! Makes requests durable, many at a time.

use std::{collections::VecDeque, time::Duration};

use sample_journal::{AppendError, Journal};
use tokio::{
    sync::oneshot::{self, Receiver, error::TryRecvError},
    time::sleep,
};

/// Appends in order without waiting for each; a bounded number is on its way at a time.
#[derive(Debug)]
pub(super) struct Appending<'a> {
    journal: &'a Journal,
    waiting: VecDeque<Receiver<Result<(), AppendError>>>,
}

impl<'a> Appending<'a> {
    pub(super) fn new(journal: &'a Journal) -> Self {
        Self { journal, waiting: VecDeque::new() }
    }

    /// Appends a record made of the parts; waits as long as the journal has no room for it.
    pub(super) async fn append(&mut self, parts: &[&[u8]]) -> Result<(), AppendError> {
        loop {
            let (sender, mut receiver) = oneshot::channel();
            self.journal.append(parts, move |result| {
                let _ = sender.send(result.map(|_| ()));
            });
            // A refusal comes at once.
            match receiver.try_recv() {
                Ok(Err(AppendError::Full | AppendError::Overloaded)) => sleep(WHEN_FULL).await,
                Ok(result) => return result,
                Err(TryRecvError::Empty) => {
                    self.waiting.push_back(receiver);
                    break;
                }
                Err(TryRecvError::Closed) => return Err(AppendError::Closed),
            }
        }
        while self.waiting.len() > MAX_WAITING {
            self.wait_for_one().await?;
        }
        Ok(())
    }

    /// Waits until everything is durable.
    pub(super) async fn finish(&mut self) -> Result<(), AppendError> {
        while !self.waiting.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), AppendError> {
        match self.waiting.pop_front() {
            Some(receiver) => receiver.await.unwrap_or(Err(AppendError::Closed)),
            None => Ok(()),
        }
    }
}

const MAX_WAITING: usize = 64;
const WHEN_FULL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use sample_journal::{JournalConfig, JournalHooks, JournalId, SimulatedStorage};

    use super::*;

    #[tokio::test]
    async fn all_is_durable_in_order_and_a_full_journal_is_waited_for() {
        let mut config = JournalConfig::new(JournalId([5; 16]));
        (config.segment_bytes, config.max_bytes) = (4 << 10, 16 << 10);
        (config.max_record_bytes, config.max_pending_bytes) = (1 << 10, 4 << 10);
        let (journal, _) = Journal::open(SimulatedStorage::new(), config, JournalHooks::default()).unwrap();
        let cursor = journal.cursor("tsdb").unwrap();
        std::thread::scope(|scope| {
            // A destination that takes all, after a while.
            let journal = &journal;
            scope.spawn(move || {
                let (mut cursor, mut reader) = (cursor, journal.reader(journal.oldest()));
                let mut payload = Vec::new();
                for number in 0..300_u32 {
                    while reader.next(&mut payload).unwrap().is_none() {
                        std::thread::yield_now();
                    }
                    assert_eq!(payload[..4], number.to_le_bytes());
                    cursor.store(reader.position()).unwrap();
                    journal.release().unwrap();
                }
            });
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            scope.spawn(move || {
                runtime.block_on(async {
                    let mut appending = Appending::new(journal);
                    for number in 0..300_u32 {
                        appending.append(&[&number.to_le_bytes(), &[7; 500]]).await.unwrap();
                    }
                    appending.finish().await.unwrap();
                });
            });
        });
        assert_eq!(journal.durable_end().as_u64(), 300);
    }
}
