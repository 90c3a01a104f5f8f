//! A replica takes over: what it has sent so far is delivered as far as it goes beyond what was delivered.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
};

use bytes::Bytes;
use prom_remote::{CompressionError, Compressor, DecodeError, decompress};
use sample_journal::{AppendError, ReadError};
use thiserror::Error;
use tokio::task::{JoinError, spawn_blocking};
use tracing::{error, warn};

use super::ReplicaGroup;
use crate::replicas::{
    election::Role,
    filter::{Part, Selected},
    memory::Progress,
    record::format_of,
    spare::{Spare, SpareHeader},
};

/// Why a replica cannot take over for now.
#[derive(Debug, Error)]
pub(crate) enum TakeoverError {
    #[error("journal: {0}")]
    Append(AppendError),
    #[error("spare data cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Compress(#[from] CompressionError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("file work broke off: {0}")]
    Broken(#[from] JoinError),
}

impl ReplicaGroup {
    /// Delivers the spare data of a successor and elects it, unless another request has done so meanwhile. It is done to its end
    /// even if nobody waits any more.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        member: usize,
        replica: &str,
        spare: &Arc<Spare>,
    ) -> Result<(), TakeoverError> {
        let (group, spare, replica) = (Arc::clone(self), Arc::clone(spare), replica.to_owned());
        let taking_over = tokio::spawn(async move {
            let guard = Arc::clone(&group.gate).write_owned().await;
            if group.merge().hear(member, &replica, group.now_ms()) != Some(Role::Successor) {
                return Ok(());
            }
            spawn_blocking(move || {
                let taken = group.take_over_alone(member, &replica, &spare);
                drop(guard);
                taken
            })
            .await?
        });
        taking_over.await?
    }

    /// Nothing else is on its way into the journal of the source.
    fn take_over_alone(&self, member: usize, replica: &str, spare: &Spare) -> Result<(), TakeoverError> {
        let takeover = self.merge().take_over();
        let is_first = takeover.is_none();
        let mut delivered = 0;
        if let Some(mut takeover) = takeover {
            let mut pipeline = Pipeline { group: self, waiting: VecDeque::new() };
            let mut records = spare.read(takeover.resume_ms);
            let mut message = Vec::new();
            while let Some((header, body)) = records.next()? {
                if decompress(body, &self.limits, &mut message).is_err() {
                    error!(
                        source = self.source,
                        replica, "spare data cannot be decompressed and is passed over"
                    );
                    continue;
                }
                let selected =
                    self.select(header.version, &message, |merge, keys| merge.ends_ms(&takeover, keys))?;
                takeover.go_ahead(&selected.progress);
                delivered += selected.samples;
                pipeline.append(&header, body, selected)?;
            }
            pipeline.finish()?;
        }
        let term = {
            let mut merge = self.merge();
            merge.elect(member);
            merge.election.term()
        };
        if let Err(error) = self.ledger.elected(replica, term) {
            // After a restart the first one that is heard takes over then.
            error!(source = self.source, %error, "who is elected is not stored");
        }
        self.metrics.takeover_samples.add(delivered);
        if !is_first {
            self.metrics.failovers.add(1);
            warn!(
                source = self.source,
                replica, delivered, "the elected replica is silent, another one takes over"
            );
        }
        Ok(())
    }
}

/// Appends records without waiting for each, a bounded number at a time, and notes them in their order.
struct Pipeline<'a> {
    group: &'a ReplicaGroup,
    waiting: VecDeque<Waiting>,
}

/// A record that is not known to be durable yet.
struct Waiting {
    receiver: mpsc::Receiver<Result<(), AppendError>>,
    progress: Vec<Progress>,
}

impl Pipeline<'_> {
    fn append(&mut self, header: &SpareHeader, body: &[u8], selected: Selected) -> Result<(), TakeoverError> {
        let Selected { part, progress, samples, .. } = selected;
        if samples == 0 {
            return Ok(());
        }
        let body = match part {
            Part::All => Bytes::copy_from_slice(body),
            Part::Some(part) => {
                let mut body = Vec::new();
                Compressor::new().compress(&part, &mut body)?;
                body.into()
            }
            Part::Nothing => return Ok(()),
        };
        loop {
            if self.waiting.len() >= MAX_WAITING {
                self.wait_for_one()?;
            }
            let (sender, receiver) = mpsc::sync_channel(1);
            self.group.main.append(&[&[format_of(header.version)], &body], move |result| {
                let _ = sender.send(result.map(|_| ()));
            });
            match receiver.try_recv() {
                Ok(Err(AppendError::Overloaded)) if !self.waiting.is_empty() => self.wait_for_one()?,
                Ok(Err(error)) => {
                    self.finish()?;
                    return Err(TakeoverError::Append(error));
                }
                Ok(Ok(())) => {
                    // What went before it is durable too, but is noted first.
                    self.finish()?;
                    self.group.merge().advance(&progress);
                    return Ok(());
                }
                Err(_) => {
                    self.waiting.push_back(Waiting { receiver, progress });
                    return Ok(());
                }
            }
        }
    }

    /// After the first failure nothing more is noted, so that it is tried again from there.
    fn wait_for_one(&mut self) -> Result<(), TakeoverError> {
        let Some(Waiting { receiver, progress }) = self.waiting.pop_front() else { return Ok(()) };
        let result = receiver.recv().unwrap_or(Err(AppendError::Closed));
        if let Err(error) = result {
            self.waiting.drain(..).for_each(|waiting| drop(waiting.receiver.recv()));
            return Err(TakeoverError::Append(error));
        }
        self.group.merge().advance(&progress);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TakeoverError> {
        while !self.waiting.is_empty() {
            self.wait_for_one()?;
        }
        Ok(())
    }
}

const MAX_WAITING: usize = 64;
