//! When to try again: the reading of status and `Retry-After`.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{DATE, HeaderMap, RETRY_AFTER},
};

/// What a status means to a sender (remote write 1.0, "Retries & Backoff"; the same for remote read).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Success,
    Retryable,
    Rejected,
}

impl Class {
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Success,
            429 | 500..=599 => Self::Retryable,
            _ => Self::Rejected,
        }
    }
}

/// How long the server wants us to wait: whole seconds, or a date, which is taken against the server's own `Date`,
/// so that no clock of ours is needed. `None` when it does not say or cannot be read.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = http_date(headers.get(DATE)?.to_str().ok()?)?;
    let then = http_date(text)?;
    Some(Duration::from_secs(then.saturating_sub(now).try_into().unwrap_or(0)))
}

/// Seconds since the Unix epoch of a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7, the
/// one form that may be sent).
fn http_date(text: &str) -> Option<i64> {
    let (_, date) = text.trim().split_once(", ")?;
    let mut words = date.split(' ');
    let day: i64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month_name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == month_name)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock =
        words.next()?.split(':').map(|part| part.parse::<i64>().ok().filter(|part| (0..=60).contains(part)));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    (words.next()? == "GMT").then_some(())?;

    // Days of the civil calendar, years counted from March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_year = year * 365 + year / 4 - year / 100 + year / 400;
    let days = days_before_year + (153 * month + 2) / 5 + day - 1 - DAYS_TO_UNIX_EPOCH;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// From 1 March of year 0.
const DAYS_TO_UNIX_EPOCH: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(retry_after_text: &str, date: Option<&str>, expected: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after_text.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        assert_eq!(retry_after(&headers), expected.map(Duration::from_secs));
    }

    #[test]
    fn reads_seconds_and_dates() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        check("7", None, Some(7));
        check("Sun, 06 Nov 1994 08:50:07 GMT", Some(date), Some(30));
        check("Wed, 01 Mar 2000 00:00:00 GMT", Some("Mon, 28 Feb 2000 00:00:00 GMT"), Some(2 * 86_400));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(date), Some(0));
        check("Sun, 06 Nov 1994 08:50:07 GMT", None, None);
        check("soon", Some(date), None);
        check("-1", Some(date), None);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        assert_eq!(http_date("Thu, 32 Feb 2024 23:59:59 GMT"), None);
    }

    #[test]
    fn only_429_of_the_client_errors_is_retried() {
        let class = |status| Class::of(StatusCode::from_u16(status).unwrap());
        assert_eq!([200, 204, 299].map(class), [Class::Success; 3]);
        assert_eq!([429, 500, 501, 503, 599].map(class), [Class::Retryable; 5]);
        assert_eq!([301, 400, 401, 404, 408, 409, 413, 415].map(class), [Class::Rejected; 8]);
    }
}
