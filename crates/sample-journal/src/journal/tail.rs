//! The last segment: what of it was durable, and where it is torn.

use std::io;

use crate::segment::{Hole, RecordHeader, Scanner, Step};

/// What the last segment holds, and how much of it a completed sync is known to cover.
pub(crate) struct TailScan {
    /// Records before this were durable when a later record was written.
    pub(crate) committed: u64,
    /// The record after the last one to be kept.
    pub(crate) end: u64,
    /// Holes in what was durable.
    pub(crate) damage: Holes,
    /// The first hole in what was perhaps not.
    pub(crate) torn: Option<Hole>,
    pub(crate) intact_after_torn: u64,
}

impl TailScan {
    /// Reads to the end; `visit` is given each intact record: its offset, header and payload.
    pub(crate) fn run(
        scanner: &mut Scanner,
        visit: &mut dyn FnMut(u64, &RecordHeader, &[u8]),
    ) -> io::Result<Self> {
        let mut scan = Self {
            committed: scanner.expected(),
            end: scanner.expected(),
            damage: Holes::default(),
            torn: None,
            intact_after_torn: 0,
        };
        // Holes that lie behind the last record known to be durable, so far.
        let mut open = Holes::default();
        let mut payload = Vec::new();
        loop {
            let offset = scanner.offset();
            match scanner.step(&mut payload)? {
                Step::Record(header) => {
                    visit(offset, &header, &payload);
                    scan.advance(header.committed(), &mut open);
                    scan.end = header.sequence + 1;
                    scan.intact_after_torn += u64::from(!open.kept.is_empty());
                }
                Step::Seal(header) => {
                    scan.advance(header.sequence, &mut open);
                    scan.end = header.sequence;
                }
                Step::Damaged(hole) => {
                    if let Some(header) = &hole.header {
                        scan.advance(header.committed(), &mut open);
                    }
                    open.push(hole);
                }
                Step::End => break,
            }
        }
        if let Some(torn) = open.kept.into_iter().next() {
            scan.end = torn.first;
            scan.torn = Some(torn);
        }
        Ok(scan)
    }

    /// Learns that all records before `committed` were durable: holes before it are damage.
    fn advance(&mut self, committed: u64, open: &mut Holes) {
        self.committed = self.committed.max(committed);
        if open.kept.first().is_some_and(|hole| hole.first < self.committed) {
            let (damage, rest): (Vec<Hole>, Vec<Hole>) =
                std::mem::take(&mut open.kept).into_iter().partition(|hole| hole.first < self.committed);
            self.damage.omitted += std::mem::take(&mut open.omitted);
            open.kept = rest;
            damage.into_iter().for_each(|hole| self.damage.push(hole));
            self.intact_after_torn = 0;
        }
    }
}

/// Holes in file order, of which a bounded number is kept.
#[derive(Default)]
pub(crate) struct Holes {
    pub(crate) kept: Vec<Hole>,
    pub(crate) omitted: u64,
}

impl Holes {
    pub(crate) fn push(&mut self, hole: Hole) {
        if self.kept.len() < MAX_HOLES {
            self.kept.push(hole);
        } else {
            self.omitted += 1;
        }
    }
}

const MAX_HOLES: usize = 1024;
