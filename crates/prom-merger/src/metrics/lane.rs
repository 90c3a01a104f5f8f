//! What is counted of one source at one destination.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prom_remote::{Loss, LossKind};

use super::{Counter, FailureClass, Page, Timestamp};

/// The counters of one lane; they outlive it, so that a lane that begins again goes on counting.
#[derive(Debug, Default)]
pub(crate) struct LaneMetrics {
    pub(crate) delivered_requests: Counter,
    pub(crate) delivered_samples: Counter,
    pub(crate) delivered_bytes: Counter,
    pub(crate) coalesced_requests: Counter,
    pub(crate) failures: [Counter; FailureClass::ALL.len()],
    pub(crate) retries: Counter,
    /// Of the last request that was taken.
    pub(crate) round_trip: Microseconds,
    pub(crate) health_probes: Counter,
    pub(crate) is_blocked: Flag,
    /// The destination does not answer, or says that it cannot work.
    pub(crate) is_down: Flag,
    pub(crate) dead_letters: Counter,
    pub(crate) isolated_requests: Counter,
    pub(crate) isolation_attempts: Counter,
    pub(crate) unfinished_isolations: Counter,
    pub(crate) probes: Counter,
    pub(crate) refused_probes: Counter,
    pub(crate) already_stored: Counter,
    pub(crate) read_back_failures: Counter,
    pub(crate) split_backward: Counter,
    pub(crate) dropped_series: Counter,
    pub(crate) not_taken: [Counter; NotTaken::ALL.len()],
    pub(crate) damaged_records: Counter,
    pub(crate) journal_errors: Counter,
    /// The position behind the last delivered record.
    pub(crate) delivered_position: AtomicU64,
    pub(crate) last_delivered: Timestamp,
    pub(crate) oldest_undelivered: Timestamp,
}

/// A duration.
#[derive(Debug, Default)]
pub(crate) struct Microseconds(AtomicU64);

impl Microseconds {
    pub(crate) fn set(&self, duration: Duration) {
        self.0.store(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A gauge that is 0 or 1.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicU64);

impl Flag {
    pub(crate) fn set(&self, is_on: bool) {
        self.0.store(u64::from(is_on), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a destination cannot be given, or says that it has not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    CustomBucketHistograms,
    StartTimestamps,
    Metadata,
    UnknownFields,
    Samples,
    Histograms,
    Exemplars,
}

impl NotTaken {
    pub(crate) const ALL: [Self; 7] = [
        Self::CustomBucketHistograms,
        Self::StartTimestamps,
        Self::Metadata,
        Self::UnknownFields,
        Self::Samples,
        Self::Histograms,
        Self::Exemplars,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CustomBucketHistograms => "custom_bucket_histograms",
            Self::StartTimestamps => "start_timestamps",
            Self::Metadata => "metadata",
            Self::UnknownFields => "unknown_fields",
            Self::Samples => "samples",
            Self::Histograms => "histograms",
            Self::Exemplars => "exemplars",
        }
    }

    pub(crate) fn of_loss(loss: &Loss) -> Self {
        match loss.kind {
            LossKind::CustomBuckets => Self::CustomBucketHistograms,
            LossKind::StartTimestamps => Self::StartTimestamps,
            LossKind::MetadataWithoutSeries | LossKind::ContradictingMetadata => Self::Metadata,
            _ => Self::UnknownFields,
        }
    }
}

impl LaneMetrics {
    pub(crate) fn count_failure(&self, class: FailureClass) {
        if let Some(counter) = self.failures.get(class as usize) {
            counter.add(1);
        }
    }

    /// Returns whether it is the first of its kind.
    pub(crate) fn count_not_taken(&self, kind: NotTaken, count: u64) -> bool {
        let Some(counter) = self.not_taken.get(kind as usize).filter(|_| count > 0) else { return false };
        let is_first = counter.get() == 0;
        counter.add(count);
        is_first
    }
}

impl Page<'_> {
    pub(super) fn lanes(&mut self) {
        self.lane_counter("delivered_requests_total", "Requests that the destination has taken.", |m| {
            &m.delivered_requests
        });
        self.lane_counter("delivered_samples_total", "Their samples and histograms.", |m| {
            &m.delivered_samples
        });
        self.lane_counter("delivered_bytes_total", "Their bytes as sent.", |m| &m.delivered_bytes);
        self.lane_counter(
            "coalesced_requests_total",
            "Requests of senders that went out together with others.",
            |m| &m.coalesced_requests,
        );
        self.per_lane(
            "delivery_failures_total",
            "Failed attempts to deliver, by class.",
            "class",
            &FailureClass::ALL.map(FailureClass::name),
            |metrics| &metrics.failures,
        );
        self.lane_counter("delivery_retries_total", "Attempts after the first one.", |m| &m.retries);
        self.lane_counter(
            "health_probes_total",
            "Empty requests by which a destination was asked whether it is back.",
            |m| &m.health_probes,
        );
        self.isolation();
        self.per_lane(
            "not_taken_total",
            "What the destination cannot be given, or says that it has not written, by kind.",
            "kind",
            &NotTaken::ALL.map(NotTaken::name),
            |metrics| &metrics.not_taken,
        );
        self.lane_counter("relabel_dropped_series_total", "Series dropped by relabel rules.", |m| {
            &m.dropped_series
        });
        self.lane_gauge(
            "delivery_round_trip_seconds",
            "From sending the last request that was taken to its answer.",
            |lane| Some(lane.metrics.round_trip.get().as_secs_f64()),
        );
        self.lane_gauge(
            "destination_down",
            "1 while the destination does not answer, or answers 5xx.",
            |lane| Some(lane.metrics.is_down.get()),
        );
        self.lane_gauge(
            "destination_misconfigured",
            "1 while the destination refuses who or how we are, or a harmless probe.",
            |lane| Some(lane.metrics.is_blocked.get()),
        );
        self.lane_counter("damaged_records_total", "Journal records that could not be read back.", |m| {
            &m.damaged_records
        });
        self.lane_counter("journal_errors_total", "Failed reads, cursor stores and releases.", |m| {
            &m.journal_errors
        });
        self.lane_gauge("journal_pending_records", "Durable records that are not delivered yet.", |lane| {
            Some(lane.undelivered_records)
        });
        self.lane_gauge(
            "oldest_undelivered_timestamp_seconds",
            "The earliest sample of the record that delivery is at.",
            |lane| lane.metrics.oldest_undelivered.seconds(),
        );
        self.lane_gauge(
            "last_delivered_timestamp_seconds",
            "The latest sample delivered since start.",
            |lane| lane.metrics.last_delivered.seconds(),
        );
    }

    fn isolation(&mut self) {
        self.lane_counter("isolated_requests_total", "Requests refused and searched for culprits.", |m| {
            &m.isolated_requests
        });
        self.lane_counter("isolation_attempts_total", "Parts of refused requests that were sent.", |m| {
            &m.isolation_attempts
        });
        self.lane_counter(
            "isolation_unfinished_total",
            "Refused parts that were not cut any further, as there had been too many refusals.",
            |m| &m.unfinished_isolations,
        );
        self.lane_counter("probe_writes_total", "Probe writes sent after a refusal.", |m| &m.probes);
        self.lane_counter("probe_refusals_total", "Probe writes that the destination refused.", |m| {
            &m.refused_probes
        });
        self.lane_counter(
            "already_stored_samples_total",
            "Refused samples that the destination had with the same bits.",
            |m| &m.already_stored,
        );
        self.lane_counter(
            "read_back_failures_total",
            "Failed questions for what the destination has.",
            |m| &m.read_back_failures,
        );
        self.lane_counter(
            "backward_requests_total",
            "Requests split because a series ran backwards in time.",
            |m| &m.split_backward,
        );
    }
}
