//! What all Kafka clients of this crate have in common.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    metadata::Metadata,
};

/// Where a client finds its first broker: `host:port`, several separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapServers(String);

impl BootstrapServers {
    /// Returns the list as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Iterates over the single addresses; at least one.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.0.split(',')
    }
}

impl FromStr for BootstrapServers {
    type Err = ParseBootstrapError;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let valid = |address: &str| {
            let Some((host, port)) = address.rsplit_once(':') else { return false };
            !host.is_empty()
                && !host.contains(char::is_whitespace)
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        match list.split(',').find(|address| !valid(address)) {
            Some(address) => Err(ParseBootstrapError { address: address.to_owned() }),
            None => Ok(Self(list.to_owned())),
        }
    }
}

impl fmt::Display for BootstrapServers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An address of the list is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected host:port with a port from 1 to 65535, got {address:?}")]
pub struct ParseBootstrapError {
    /// The address that is wrong.
    pub address: String,
}

/// One librdkafka setting; it goes over the defaults of this crate, so it can break what they promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSetting {
    /// The setting's name, such as `compression.type`.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Makes the settings that every client shares.
pub(crate) fn client_config(bootstrap: &str, client_id: &str, settings: &[ClientSetting]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", client_id)
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true");
    for ClientSetting { key, value } in settings {
        config.set(key, value);
    }
    config
}

/// A client's context that remembers the last error the library reported, which says more than the error codes do.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    pub(crate) fn set(&self, reason: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// Joins an error with the reason that the library gave for it.
    pub(crate) fn explain(&self, error: &impl fmt::Display) -> String {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_deref() {
            Some(reason) => format!("{error} ({reason})"),
            None => error.to_string(),
        }
    }
}

impl ClientContext for LastError {
    /// Takes failed connections, which librdkafka only logs.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "client log");
        if matches!(
            level,
            RDKafkaLogLevel::Emerg
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Error
        ) {
            // librdkafka begins with the name of its thread.
            self.set(message.split_once("]: ").map_or(message, |(_thread, text)| text));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "client error");
        self.set(reason);
    }
}

impl ConsumerContext for LastError {}

/// Fetches metadata through a new client that knows only `bootstrap`.
///
/// A new client each time, because a used one may ask any broker that it has learned of.
pub(crate) fn fetch_metadata(
    bootstrap: &str,
    topic: Option<&str>,
    timeout: Duration,
) -> Result<Metadata, MetadataError> {
    let last_error = LastError::default();
    let client: BaseConsumer<LastError> = client_config(bootstrap, "kafka-load", &[])
        .create_with_context(last_error.clone())
        .map_err(|error| MetadataError(error.to_string()))?;
    let result = client.fetch_metadata(topic, timeout);
    // Errors are events; they wait in the queue until someone polls.
    let _ = client.poll(Duration::ZERO);
    result.map_err(|error| MetadataError(last_error.explain(&error)))
}

/// No broker answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct MetadataError(String);

/// A monotonic clock in nanoseconds, for schedules and durations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now_ns(self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Passes a line of librdkafka's own log on.
pub(crate) fn log_client(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "kafka client");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(facility, message, "kafka client")
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, message, "kafka client"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "kafka client"),
    }
}

/// Returns the wall clock, nanoseconds since the Unix epoch.
pub(crate) fn wall_clock_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// Lets one event in a period through, and counts the others.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    period: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    pub(crate) fn every(period: Duration) -> Self {
        Self { period, last: None, suppressed: 0 }
    }

    /// Returns how many events were held back since the last one let through, if this one is let through.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < self.period) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, wrong: Option<&str>) {
        let error = list.parse::<BootstrapServers>().err().map(|error| error.address);
        assert_eq!(error.as_deref(), wrong);
    }

    #[test]
    fn bootstrap_lists_are_checked() {
        check("127.0.0.1:9092", None);
        check("a:1,b:65535,[::1]:9", None);
        check("", Some(""));
        check("a:1,,b:1", Some(""));
        check("a:1,b", Some("b"));
        check("a:0", Some("a:0"));
        check("a:65536", Some("a:65536"));
    }
}
