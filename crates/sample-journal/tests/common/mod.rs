//! A model of what a journal must still know after a crash, and a workload to hold against it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc,
};

use sample_journal::{
    AppendError, CursorState, Journal, JournalConfig, JournalHooks, JournalId, OpenError, Position, Recovery,
    SimulatedStorage,
};

pub const ID: JournalId = JournalId(*b"journal of tests");

/// Small segments, so that a short workload crosses many.
pub fn small_config() -> JournalConfig {
    JournalConfig {
        segment_bytes: 4096,
        max_record_bytes: 2000,
        max_bytes: 1 << 20,
        max_pending_bytes: 64 * 1024,
        ..JournalConfig::new(ID)
    }
}

pub fn open(storage: &SimulatedStorage) -> Result<(Journal, Recovery), OpenError> {
    Journal::open(storage.clone(), small_config(), JournalHooks::default())
}

/// What has happened to a journal, as its user knows it.
#[derive(Clone, Default)]
pub struct Model {
    pub attempted: Vec<Vec<u8>>,
    /// Records that must be there, by position, unless they were released.
    pub required: BTreeMap<u64, Vec<u8>>,
    /// Cursor values that may be found; none means that the cursor need not exist.
    pub cursor: BTreeSet<u64>,
    pub cursor_exists: bool,
    /// The last value whose store was acknowledged.
    pub cursor_stored: u64,
}

impl Model {
    fn attempt(&mut self) -> Vec<u8> {
        let number = self.attempted.len();
        let length = [5, 700, 0, 1300, 64][number % 5];
        let mut payload = (number as u32).to_le_bytes().to_vec();
        payload.extend((0..length).map(|index| (index * 7 + number * 13) as u8));
        self.attempted.push(payload.clone());
        payload
    }

    /// Appends one record, and `company` more while its sync is held back, so that those form one commit.
    pub fn append_group(&mut self, journal: &Journal, storage: &SimulatedStorage, company: usize) {
        let (sender, receiver) = mpsc::channel();
        let gate = storage.hold_syncs();
        for index in 0..=company {
            let payload = self.attempt();
            let sender = sender.clone();
            let copy = payload.clone();
            let (head, tail) = payload.split_at(3);
            journal.append(&[head, tail], move |result| sender.send((copy, result)).unwrap());
            if index == 0 {
                gate.wait_for_sync();
            }
        }
        drop((gate, sender));
        for (payload, result) in receiver {
            match result {
                Ok(position) => {
                    let previous = self.required.insert(position.as_u64(), payload);
                    assert_eq!(previous, None, "position {position} was given twice");
                }
                Err(AppendError::Storage(_)) => {}
                Err(error) => panic!("unexpected refusal: {error}"),
            }
        }
    }

    pub fn store_cursor(&mut self, journal: &Journal, position: Position) {
        let existed = self.cursor_exists;
        let oldest = journal.oldest().as_u64();
        let Ok(mut cursor) = journal.cursor("tsdb") else {
            self.cursor.insert(oldest);
            return;
        };
        if !existed {
            self.cursor_exists = true;
            self.cursor = BTreeSet::from([oldest]);
            self.cursor_stored = oldest;
        }
        if position < cursor.position() {
            return;
        }
        match cursor.store(position) {
            Ok(()) => {
                self.cursor = BTreeSet::from([position.as_u64()]);
                self.cursor_stored = position.as_u64();
            }
            Err(_) => drop(self.cursor.insert(position.as_u64())),
        }
    }

    /// Appends, rolls, stores cursors and releases, going on whatever fails.
    pub fn workload(&mut self, journal: &Journal, storage: &SimulatedStorage, rounds: usize) {
        for round in 0..rounds {
            self.append_group(journal, storage, round % 4);
            if round % 3 == 2 {
                let end = journal.durable_end().as_u64();
                self.store_cursor(journal, Position::from_u64(end.saturating_sub(2)));
                let _ = journal.release();
            }
        }
    }

    /// Checks a reopened journal against the model, and takes over what is found: it must stay from now on.
    #[track_caller]
    pub fn check(&mut self, journal: &Journal, recovery: &Recovery) {
        assert_eq!((&recovery.damage[..], recovery.damage_omitted), (&[][..], 0));
        let oldest = recovery.oldest.as_u64();
        self.check_cursor(recovery);
        let found = read_all(journal);
        let end = oldest + found.len() as u64;
        assert_eq!(recovery.durable_end.as_u64(), end);
        let mut last_number = None;
        for (payload, sequence) in found.iter().zip(oldest..) {
            let number = u32::from_le_bytes(payload[..4].try_into().unwrap());
            assert_eq!(Some(payload), self.attempted.get(number as usize), "record {sequence} was altered");
            assert!(Some(number) > last_number, "record {sequence} is out of order");
            last_number = Some(number);
        }
        for (sequence, payload) in self.required.range(oldest..) {
            let index = (sequence - oldest) as usize;
            assert_eq!(found.get(index), Some(payload), "acknowledged record {sequence} of {oldest}..{end}");
        }
        if let Some((lost, _)) = self.required.range(..oldest).next_back() {
            assert!(self.cursor_exists && *lost < self.cursor_stored.max(*self.cursor.last().unwrap()));
        }
        self.required =
            found.into_iter().zip(oldest..).map(|(payload, sequence)| (sequence, payload)).collect();
    }

    #[track_caller]
    fn check_cursor(&mut self, recovery: &Recovery) {
        let Some(cursor) = recovery.cursors.first() else {
            assert!(!self.cursor_exists, "the cursor is lost");
            assert_eq!(recovery.oldest.as_u64(), 0, "released without a cursor");
            return;
        };
        let position = cursor.position.as_u64();
        assert_eq!((cursor.name.as_str(), cursor.state), ("tsdb", CursorState::Intact));
        assert!(self.cursor.contains(&position), "cursor at {position}, stored were {:?}", self.cursor);
        assert!(cursor.position <= recovery.durable_end, "cursor beyond the end");
        assert!(recovery.oldest <= cursor.position, "released beyond the cursor");
        self.cursor = BTreeSet::from([position]);
        self.cursor_stored = position;
        self.cursor_exists = true;
    }
}

pub fn read_all(journal: &Journal) -> Vec<Vec<u8>> {
    let mut reader = journal.reader(journal.oldest());
    let mut payload = Vec::new();
    let mut records = Vec::new();
    let mut expected = journal.oldest();
    while let Some(info) = reader.next(&mut payload).unwrap() {
        assert_eq!((info.position, info.next), (expected, expected.next()));
        expected = info.next;
        records.push(payload.clone());
    }
    assert_eq!(expected, journal.durable_end());
    records
}
