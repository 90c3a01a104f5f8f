//! What a long operation tells while it goes on. The library reports; whoever calls it shows.

use std::time::Duration;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A fact worth a line: what was chosen and why, what was found.
    Note(String),
    /// Something begins that takes time.
    Begin {
        /// What, as a fragment: `starting the services`.
        what: String,
        /// How long it took last time, when known.
        expected: Option<Duration>,
    },
    /// It goes on.
    Going {
        /// What is waited for now: `kafka-broker-2: connection refused`.
        detail: String,
        /// Parts done and parts in all, when they can be counted.
        parts: Option<(u64, u64)>,
    },
    /// What began last is done.
    Done {
        /// What, as it began.
        what: String,
        /// What came of it, or empty.
        result: String,
        /// How long it took.
        took: Duration,
    },
    /// What began last ended without being done; the error says why.
    Abandoned,
}

/// Takes the events of an operation.
pub trait Reporter {
    /// Takes one event. Must return soon: the operation waits for it.
    fn event(&mut self, event: Event);

    /// Tells a fact.
    fn note(&mut self, text: impl Into<String>)
    where
        Self: Sized,
    {
        self.event(Event::Note(text.into()));
    }
}

/// Drops every event.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&mut self, _: Event) {}
}
