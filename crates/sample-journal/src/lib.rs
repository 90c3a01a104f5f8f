//! The write-ahead journal of a service that must never lose an acknowledged record.
//!
//! Records (any bytes) are appended from any thread, written by one thread to segment files, synced in groups and only
//! then acknowledged. Readers see durable records only, by [`Position`]; named [`Cursor`]s remember how far each
//! destination has got; whole segments before the slowest cursor can be [released](Journal::release). Memory and disk
//! are bounded by [`JournalConfig`], and a full journal refuses: it never drops.
//!
//! It knows nothing of what the records mean, of networks or of async runtimes.
//!
//! ```
//! use sample_journal::{Journal, JournalConfig, JournalHooks, JournalId, SimulatedStorage};
//!
//! let storage = SimulatedStorage::new(); // DiskStorage::open(directory)? in earnest
//! let config = JournalConfig::new(JournalId(*b"source-a........"));
//! let (journal, recovery) = Journal::open(storage, config, JournalHooks::default())?;
//! assert!(recovery.damage.is_empty());
//!
//! journal.append(&[b"head", b"body"], |result| assert!(result.is_ok())); // called once it is durable
//! let position = journal.append_blocking(&[b"second"])?;
//!
//! let mut cursor = journal.cursor("tsdb")?;
//! let mut reader = journal.reader(cursor.position());
//! let mut payload = Vec::new();
//! while let Some(record) = reader.next(&mut payload)? {
//!     // deliver the payload, then:
//!     cursor.store(record.next)?;
//! }
//! assert_eq!(cursor.position(), position.next());
//! journal.release()?;
//! journal.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is promised after a crash is in [`durability`]; the files are described in [`mod@format`].

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod position;
mod storage;

mod segment;

mod journal;

mod cursor;
mod reader;
mod survey;

#[doc = include_str!("../docs/durability.md")]
pub mod durability {}
#[doc = include_str!("../docs/format.md")]
pub mod format {}

pub use cursor::{Cursor, CursorError, CursorRecovery, CursorState};
pub use journal::{
    AppendError, CloseError, ConfigError, Damage, DamageKind, Journal, JournalConfig, JournalHooks,
    JournalId, OpenError, Recovery, ReleaseError, Released, Statistics, TornTail, Verify,
};
pub use position::Position;
pub use reader::{ReadError, Reader, RecordInfo};
pub use storage::{
    AppendFile, DiskStorage, OpenDiskError, ReadFile, SimulatedStorage, Storage, StoredFile, SyncGate, Tear,
};
pub use survey::{RewindError, SegmentSurvey, Survey, SurveyedRecord, rewind_cursor, survey};
