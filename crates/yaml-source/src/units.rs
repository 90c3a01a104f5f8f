//! Durations and sizes as people write them.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDurationError {
    /// A number without unit.
    #[error("a unit is missing, such as `{0}s` or `{0}ms`")]
    MissingUnit(String),
    /// A unit that is not one of `ns us µs ms s m h d w y`.
    #[error("unknown unit {0}; known are ms, s, m, h, d, w, y")]
    UnknownUnit(String),
    /// No number where one should stand.
    #[error("not a number with a unit, such as `500ms`, `15s` or `1h30m`")]
    NotANumber,
    /// More than about 584 years.
    #[error("the duration is too long")]
    TooLong,
}

/// Reads `500ms`, `5s`, `1.5h`, `1h30m`, `2d`, `1w`, `0`. A day has 24 hours, a week 7 days, a year 365 days.
///
/// This is what Go, Prometheus and Compose read, without signs. Digits below a nanosecond are cut.
///
/// # Errors
/// When the text is something else or longer than `u64::MAX` nanoseconds.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(ParseDurationError::NotANumber);
    }
    let mut total: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (whole, fraction, after) = split_number(rest).ok_or(ParseDurationError::NotANumber)?;
        let unit_end = after.find(|next: char| next.is_ascii_digit() || next == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let nanoseconds: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            "d" => 86_400 * SECOND,
            "w" => 7 * 86_400 * SECOND,
            "y" => 365 * 86_400 * SECOND,
            "" => return Err(ParseDurationError::MissingUnit(cut(text))),
            unknown => return Err(ParseDurationError::UnknownUnit(crate::suggest::shown::quoted(unknown))),
        };
        total = scaled(whole, fraction, nanoseconds)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= u128::from(u64::MAX))
            .ok_or(ParseDurationError::TooLong)?;
        rest = next;
    }
    u64::try_from(total).map(Duration::from_nanos).map_err(|_| ParseDurationError::TooLong)
}

/// Writes a duration so that [`parse_duration`] reads the same: `1h30m`, `500ms`, `0s`. Prometheus and Compose read it too.
///
/// The greatest unit is the hour (Compose knows no days); a part below a millisecond is written in `us` or `ns`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut output = String::new();
    for (unit, nanoseconds) in [
        ("h", 3_600 * SECOND),
        ("m", 60 * SECOND),
        ("s", SECOND),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        let count = rest / nanoseconds;
        rest %= nanoseconds;
        if count > 0 {
            output.push_str(&format!("{count}{unit}"));
        }
    }
    if output.is_empty() { "0s".to_owned() } else { output }
}

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseByteSizeError {
    /// No number at the beginning.
    #[error("not a number of bytes, such as `512`, `256m` or `2GiB`")]
    NotANumber,
    /// A unit that is not `b`, `k`, `m`, `g`, `t`, `p`, alone or with `b` or `ib`.
    #[error("unknown unit {0}; known are b, k, m, g, t, p, also as KB or KiB")]
    UnknownUnit(String),
    /// More than `u64::MAX` bytes.
    #[error("the size is too large")]
    TooLarge,
}

/// Reads `512`, `64k`, `256m`, `1.5g`, `64KB`, `2GiB`, in any case. Every unit is a power of 1024, as Compose and
/// Prometheus have it.
///
/// # Errors
/// When the text is something else or does not fit into 64 bits.
pub fn parse_byte_size(text: &str) -> Result<u64, ParseByteSizeError> {
    let (whole, fraction, unit) = split_number(text).ok_or(ParseByteSizeError::NotANumber)?;
    let lower = unit.trim_start_matches(' ').to_ascii_lowercase();
    let letter = lower
        .strip_suffix("ib")
        .filter(|letter| !letter.is_empty())
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let exponent = ["", "k", "m", "g", "t", "p"]
        .iter()
        .position(|known| *known == letter)
        .ok_or_else(|| ParseByteSizeError::UnknownUnit(crate::suggest::shown::quoted(unit)))?;
    let unit = (0..exponent).fold(1_u128, |unit, _| unit * 1024);
    let bytes = scaled(whole, fraction, unit).ok_or(ParseByteSizeError::TooLarge)?;
    u64::try_from(bytes).map_err(|_| ParseByteSizeError::TooLarge)
}

/// Splits `1.5rest` into `1`, `5` and `rest`; at least one digit must stand on either side of the point.
fn split_number(text: &str) -> Option<(&str, &str, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, after) = text.split_at(digits(text));
    let (fraction, rest) = match after.strip_prefix('.') {
        Some(decimals) => decimals.split_at(digits(decimals)),
        None => ("", after),
    };
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction, rest))
}

/// Returns `whole.fraction * unit`, rounded down; `None` when it is too large for any use.
fn scaled(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    let decimals = fraction.get(..fraction.len().min(15)).unwrap_or("");
    let fraction: u128 = if decimals.is_empty() { 0 } else { decimals.parse::<u64>().ok()?.into() };
    let tens = (0..decimals.len()).fold(1_u128, |tens, _| tens * 10);
    whole.checked_mul(unit)?.checked_add(fraction.checked_mul(unit)? / tens)
}

fn cut(text: &str) -> String {
    text.chars().take(20).collect()
}

const SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        let check = |text, milliseconds: u64| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}")
        };
        check("0", 0);
        check("0s", 0);
        check("500ms", 500);
        check("5s", 5_000);
        check("1.5s", 1_500);
        check(".5s", 500);
        check("15m", 900_000);
        check("1h30m", 5_400_000);
        check("2h", 7_200_000);
        check("1d", 86_400_000);
        check("1w1d", 8 * 86_400_000);
        assert_eq!(parse_duration("3us4ns"), Ok(Duration::from_nanos(3_004)));
        assert_eq!(parse_duration("18446744073709551615ns"), Ok(Duration::from_nanos(u64::MAX)));
    }

    #[test]
    fn refuses_other_durations() {
        use ParseDurationError::*;
        let check = |text: &str, error| assert_eq!(parse_duration(text), Err(error), "{text}");
        check("", NotANumber);
        check("s", NotANumber);
        check("-5s", NotANumber);
        check(" 5s", NotANumber);
        check(".s", NotANumber);
        check("5", MissingUnit("5".into()));
        check("1h5", MissingUnit("1h5".into()));
        check("5 s", UnknownUnit("` s`".into()));
        check("5S", UnknownUnit("`S`".into()));
        check("18446744073709551616ns", TooLong);
        check("1000y", TooLong);
        check(&format!("{}s", "9".repeat(10_000)), TooLong);
    }

    #[test]
    fn reads_sizes() {
        let check = |text, bytes: u64| assert_eq!(parse_byte_size(text), Ok(bytes), "{text}");
        check("512", 512);
        check("512b", 512);
        check("64k", 65_536);
        check("64KB", 65_536);
        check("256m", 256 << 20);
        check("2GiB", 2 << 30);
        check("2 GiB", 2 << 30);
        check("1.5g", 3 << 29);
        check("18446744073709551615", u64::MAX);
    }

    #[test]
    fn refuses_other_sizes() {
        use ParseByteSizeError::*;
        let check = |text: &str, error| assert_eq!(parse_byte_size(text), Err(error), "{text}");
        check("", NotANumber);
        check("m", NotANumber);
        check("-1", NotANumber);
        check("1x", UnknownUnit("`x`".into()));
        check("1ib", UnknownUnit("`ib`".into()));
        check("18446744073709551616", TooLarge);
        check("99999999p", TooLarge);
    }

    proptest::proptest! {
        #[test]
        fn written_durations_read_back(nanoseconds: u64) {
            let duration = Duration::from_nanos(nanoseconds);
            proptest::prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = parse_byte_size(&text);
        }
    }
}
