//! Named positions that survive a crash.

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use crate::{
    journal::{JournalId, Shared},
    position::Position,
    segment::{FieldReader, FieldWriter},
    storage::{Storage, read_full, with_reserve},
};

/// How far one destination has got: the position of the next record it needs.
///
/// Each name is one durable value; several `Cursor`s of a name share it. It only moves forward.
pub struct Cursor {
    shared: Arc<Shared>,
    name: String,
}

/// Why a cursor could not be opened, stored or removed. The durable value is then the previous one, or the new one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// Not 1 to 64 of `A-Z a-z 0-9 _ -`.
    #[error("`{name}` is not a cursor name")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Cursors only move forward.
    #[error("cursor cannot move back from {current} to {requested}")]
    Backward {
        /// Where it is.
        current: Position,
        /// Where it should have gone.
        requested: Position,
    },
    /// Only durable records can be done with.
    #[error("cursor cannot move to {requested}, the durable end is {end}")]
    BeyondEnd {
        /// The durable end.
        end: Position,
        /// Where it should have gone.
        requested: Position,
    },
    /// The cursor was removed.
    #[error("cursor `{name}` was removed")]
    Removed {
        /// The name.
        name: String,
    },
    /// The storage failed.
    #[error("cannot write cursor `{name}`")]
    Storage {
        /// The name.
        name: String,
        /// What the storage said.
        source: io::Error,
    },
}

/// What opening the journal found out about one cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorRecovery {
    /// The cursor's name.
    pub name: String,
    /// Where it is now.
    pub position: Position,
    /// Whether its files were intact.
    pub state: CursorState,
}

/// Whether a cursor's files were intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CursorState {
    /// All files of the cursor are intact.
    Intact,
    /// One of its two files is damaged; the position is that of the other and may be an earlier one, so
    /// that records may be delivered twice.
    OneSlotDamaged,
    /// Both files are damaged: the cursor starts again at the oldest record.
    Reset,
}

impl Cursor {
    pub(crate) fn open(shared: Arc<Shared>, name: &str) -> Result<Self, CursorError> {
        if !is_valid_name(name) {
            return Err(CursorError::InvalidName { name: name.to_owned() });
        }
        let mut cursors = shared.cursors();
        if !cursors.by_name.contains_key(name) {
            let oldest = shared.state().oldest();
            cursors.write(shared.storage.as_ref(), name, Slot { generation: 0, position: oldest })?;
        }
        drop(cursors);
        Ok(Self { shared, name: name.to_owned() })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the last durably stored position (of a removed cursor: the journal's start).
    pub fn position(&self) -> Position {
        let cursors = self.shared.cursors();
        cursors.by_name.get(&self.name).map_or(Position::START, |slot| Position(slot.position))
    }

    /// Moves the cursor and makes that durable; all records before `position` are done with.
    ///
    /// Cost: a data sync and a directory sync; nothing if the position does not change. Stores of all cursors of a journal wait
    /// for each other.
    ///
    /// # Errors
    /// [`CursorError`]. After `Storage`, the value found by a later opening is the previous or this one.
    pub fn store(&mut self, position: Position) -> Result<(), CursorError> {
        let mut cursors = self.shared.cursors();
        let Some(current) = cursors.by_name.get(&self.name).copied() else {
            return Err(CursorError::Removed { name: self.name.clone() });
        };
        if position.0 == current.position {
            return Ok(());
        }
        if position.0 < current.position {
            return Err(CursorError::Backward { current: Position(current.position), requested: position });
        }
        let end = Position(self.shared.state().durable_end);
        if position > end {
            return Err(CursorError::BeyondEnd { end, requested: position });
        }
        let slot = Slot { generation: current.generation + 1, position: position.0 };
        cursors.write(self.shared.storage.as_ref(), &self.name, slot)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("name", &self.name).field("position", &self.position()).finish()
    }
}

/// All cursors of a journal, as last durably stored.
pub(crate) struct Cursors {
    journal: JournalId,
    by_name: BTreeMap<String, Slot>,
}

/// One stored value. Even generations are in one file, odd ones in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    generation: u64,
    position: u64,
}

impl Cursors {
    /// Loads all cursors; `Reset` ones have no position yet, see [`place_reset`](Self::place_reset).
    pub(crate) fn load(
        storage: &dyn Storage,
        journal: JournalId,
        names: &[String],
    ) -> io::Result<(Self, Vec<CursorRecovery>)> {
        let mut found: BTreeMap<&str, (Option<Slot>, u32)> = BTreeMap::new();
        for file in names {
            let Some((name, parity)) = parse_file_name(file) else { continue };
            let slot = Slot::read(storage, file, journal, name)?.filter(|slot| slot.generation % 2 == parity);
            let (best, damaged) = found.entry(name).or_default();
            *damaged += u32::from(slot.is_none());
            *best = (*best).max_by_generation(slot);
        }
        let mut cursors = Self { journal, by_name: BTreeMap::new() };
        let mut recoveries = Vec::new();
        for (name, (best, damaged)) in found {
            let state = match (best, damaged) {
                (None, _) => CursorState::Reset,
                (Some(_), 0) => CursorState::Intact,
                (Some(_), _) => CursorState::OneSlotDamaged,
            };
            let slot = best.unwrap_or(Slot { generation: 0, position: 0 });
            cursors.by_name.insert(name.to_owned(), slot);
            recoveries.push(CursorRecovery {
                name: name.to_owned(),
                position: Position(slot.position),
                state,
            });
        }
        Ok((cursors, recoveries))
    }

    /// Gives the cursors that have lost their value the oldest record's position.
    pub(crate) fn place_reset(&mut self, recoveries: &mut [CursorRecovery], oldest: u64) {
        for recovery in recoveries.iter_mut().filter(|recovery| recovery.state == CursorState::Reset) {
            recovery.position = Position(oldest);
            if let Some(slot) = self.by_name.get_mut(&recovery.name) {
                slot.position = oldest;
            }
        }
    }

    /// Stores all values anew: what was read may have come from a cache whose sync has failed.
    pub(crate) fn store_again(&mut self, storage: &dyn Storage) -> Result<(), CursorError> {
        for (name, slot) in self.by_name.clone() {
            self.write(storage, &name, Slot { generation: slot.generation + 1, ..slot })?;
        }
        Ok(())
    }

    /// Stores a value wherever it is.
    pub(crate) fn place(
        &mut self,
        storage: &dyn Storage,
        name: &str,
        position: Position,
    ) -> Result<(), CursorError> {
        let generation = self.by_name.get(name).map_or(0, |slot| slot.generation + 1);
        self.write(storage, name, Slot { generation, position: position.0 })
    }

    pub(crate) fn slowest(&self) -> Option<u64> {
        self.by_name.values().map(|slot| slot.position).min()
    }

    pub(crate) fn fastest(&self) -> Option<u64> {
        self.by_name.values().map(|slot| slot.position).max()
    }

    pub(crate) fn positions(&self) -> Vec<(String, Position)> {
        self.by_name.iter().map(|(name, slot)| (name.clone(), Position(slot.position))).collect()
    }

    pub(crate) fn remove(&mut self, storage: &dyn Storage, name: &str) -> Result<(), CursorError> {
        let storage_error = |source| CursorError::Storage { name: name.to_owned(), source };
        let Some(slot) = self.by_name.remove(name) else { return Ok(()) };
        // The older value first, so that a crash in between leaves the newer one.
        for generation in [slot.generation + 1, slot.generation] {
            match storage.remove(&file_name(name, generation)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(storage_error(error)),
                _ => storage.sync_directory().map_err(storage_error)?,
            }
        }
        Ok(())
    }

    /// Writes a value beside the previous one and takes it over once it is durable.
    fn write(&mut self, storage: &dyn Storage, name: &str, slot: Slot) -> Result<(), CursorError> {
        let temporary = format!("cursor-{name}{TEMPORARY}");
        let write = || {
            match storage.remove(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = storage.create(&temporary)?;
            file.append(&slot.encode(self.journal, name))?;
            file.sync_data()?;
            storage.rename(&temporary, &file_name(name, slot.generation))?;
            storage.sync_directory()
        };
        with_reserve(storage, write)
            .map_err(|source| CursorError::Storage { name: name.to_owned(), source })?;
        self.by_name.insert(name.to_owned(), slot);
        Ok(())
    }
}

impl Slot {
    fn encode(self, journal: JournalId, name: &str) -> [u8; SLOT_BYTES] {
        let mut writer = FieldWriter::default();
        writer.put(&MAGIC);
        writer.put(&VERSION.to_le_bytes());
        writer.put(&0u32.to_le_bytes());
        writer.put(&journal.0);
        writer.put(&self.generation.to_le_bytes());
        writer.put(&self.position.to_le_bytes());
        writer.finish_salted(crc32c::crc32c(name.as_bytes()))
    }

    fn decode(bytes: &[u8], journal: JournalId, name: &str) -> Option<Self> {
        let bytes: &[u8; SLOT_BYTES] = bytes.try_into().ok()?;
        let mut reader = FieldReader::new(bytes);
        let _fixed: [u8; 32] = reader.take();
        let generation = u64::from_le_bytes(reader.take());
        let position = u64::from_le_bytes(reader.take());
        let slot = Self { generation, position };
        let is_sane = generation < u64::MAX / 2 && position < u64::MAX / 2;
        // Everything else is fixed, so an intact slot is the one that would be written.
        (is_sane && slot.encode(journal, name) == *bytes).then_some(slot)
    }

    fn read(storage: &dyn Storage, file: &str, journal: JournalId, name: &str) -> io::Result<Option<Self>> {
        let file = storage.open(file)?;
        let mut bytes = [0; SLOT_BYTES + 1];
        let count = read_full(file.as_ref(), 0, &mut bytes)?;
        Ok(bytes.get(..count).and_then(|bytes| Self::decode(bytes, journal, name)))
    }
}

trait MaxByGeneration {
    fn max_by_generation(self, other: Self) -> Self;
}

impl MaxByGeneration for Option<Slot> {
    fn max_by_generation(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(two)) if one.generation > two.generation => Some(one),
            (one, two) => two.or(one),
        }
    }
}

fn is_valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn file_name(name: &str, generation: u64) -> String {
    format!("cursor-{name}.{}", generation % 2)
}

fn parse_file_name(file: &str) -> Option<(&str, u64)> {
    let (name, parity) = file.strip_prefix("cursor-")?.rsplit_once('.')?;
    let parity = match parity {
        "0" => 0,
        "1" => 1,
        _ => return None,
    };
    is_valid_name(name).then_some((name, parity))
}

/// How the names of unfinished files end; they are removed on opening.
pub(crate) const TEMPORARY: &str = ".tmp";

const MAGIC: [u8; 8] = *b"\x89SJCUR\r\n";
const VERSION: u32 = 1;
const SLOT_BYTES: usize = 52;
