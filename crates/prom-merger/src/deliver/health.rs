//! Notices at once when a destination that was away is back.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::lane::{Lane, LaneError};

/// What a destination says to a request without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It answers.
    Up,
    /// It answers that it cannot work, or has too much to do.
    Unwell,
    /// It does not answer.
    Away,
}

impl Lane {
    async fn health(&self) -> Health {
        self.metrics.health_probes.add(1);
        self.destination.health(LONGEST_PROBE).await
    }

    /// Waits before the next attempt. A destination that is down is asked again and again meanwhile: once it is back the
    /// wait is over, unless it has asked for the wait (`is_asked`) and was there all the time.
    pub(super) async fn pause_until_back(
        &self,
        wait: Duration,
        is_down: bool,
        is_asked: bool,
    ) -> Result<(), LaneError> {
        let end = Instant::now() + wait;
        let mut was_away = false;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            self.pause(left.min(self.retry.health_interval)).await?;
            if Instant::now() >= end {
                return Ok(());
            }
            if !is_down {
                continue;
            }
            match self.health().await {
                Health::Up if was_away || !is_asked => return Ok(()),
                Health::Up | Health::Unwell => {}
                Health::Away => was_away = true,
            }
        }
    }

    /// Ends when the destination has been away and is back, while a request is under way: that one may hang on a
    /// connection that died meanwhile.
    pub(super) async fn came_back_meanwhile(&self) {
        sleep(STALLED).await;
        let mut away = 0;
        loop {
            match self.health().await {
                Health::Away => away += 1,
                Health::Up if away >= AWAY_PROBES => return,
                // A slow destination is not away.
                Health::Up | Health::Unwell => away = 0,
            }
            sleep(self.retry.health_interval).await;
        }
    }
}

/// A request that takes longer may be stuck.
const STALLED: Duration = Duration::from_secs(2);
const AWAY_PROBES: u32 = 3;
const LONGEST_PROBE: Duration = Duration::from_secs(1);
