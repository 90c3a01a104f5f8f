//! What a scalar means: the rules differ between readers of YAML.

use crate::{Scalar, ScalarStyle};

/// The rules by which a plain scalar becomes null, a boolean, a number or text.
///
/// Quoted and block scalars are text under every rule unless a tag says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScalarRules {
    /// The core schema of YAML 1.2 (§10.3.2 of the specification): `true True TRUE`, `0o17`, `0x1F`; `yes` and `012` are
    /// text and decimal.
    #[default]
    Core,
    /// go-yaml v3 and v4, the reader behind `docker compose`: core, and `012` octal, `0b11`, `1_000`. Dates stay text here,
    /// where go-yaml makes a timestamp.
    Go,
}

/// A scalar with its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolved {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Boolean(bool),
    /// An integer; the text has at most 38 digits.
    Integer(i128),
    /// A floating-point number, perhaps infinite or not a number.
    Float(f64),
    /// Text: take it from [`Scalar::text`].
    Text,
}

impl ScalarRules {
    /// Returns what the scalar means under these rules.
    ///
    /// A tag `!!str` (or `!`) makes text; `!!int`, `!!float`, `!!bool`, `!!null` make a quoted scalar be read as if it were
    /// plain. A value that does not fit its tag is text. Other tags change nothing.
    pub fn resolve(self, scalar: &Scalar) -> Resolved {
        match scalar.tag.as_deref() {
            Some("!" | "!!str") => Resolved::Text,
            Some("!!int" | "!!float" | "!!bool" | "!!null") => self.resolve_plain(&scalar.text),
            _ if scalar.style == ScalarStyle::Plain => self.resolve_plain(&scalar.text),
            _ => Resolved::Text,
        }
    }

    /// Returns what this text means when it stands unquoted.
    pub fn resolve_plain(self, text: &str) -> Resolved {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
            "true" | "True" | "TRUE" => return Resolved::Boolean(true),
            "false" | "False" | "FALSE" => return Resolved::Boolean(false),
            ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Resolved::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
            _ => {}
        }
        let starts_a_number = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
        if !starts_a_number || text.len() > LONGEST_NUMBER {
            return Resolved::Text;
        }
        match self {
            Self::Core => number(text, core_integer(text)),
            Self::Go => {
                let without_underscores = text.replace('_', "");
                number(&without_underscores, go_integer(&without_underscores))
            }
        }
    }
}

fn number(text: &str, integer: Option<i128>) -> Resolved {
    match integer {
        Some(integer) => Resolved::Integer(integer),
        None if has_float_form(text) => text.parse().map_or(Resolved::Text, Resolved::Float),
        None => Resolved::Text,
    }
}

fn core_integer(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    let (sign, digits) = split_sign(text);
    Some(sign * radix(digits, 10)?)
}

/// Go's `strconv.ParseInt(text, 0, 64)`, as go-yaml calls it: prefixes in either case, a leading zero is octal.
fn go_integer(text: &str) -> Option<i128> {
    let (sign, digits) = split_sign(text);
    let prefix = digits.get(..2).unwrap_or("").to_ascii_lowercase();
    let rest = digits.get(2..).unwrap_or("");
    let value = match prefix.as_str() {
        "0x" => radix(rest, 16),
        "0o" => radix(rest, 8),
        "0b" => radix(rest, 2),
        _ if digits.len() > 1 && digits.starts_with('0') => radix(digits.get(1..).unwrap_or(""), 8),
        _ => radix(digits, 10),
    }?;
    // Beyond 64 bits go-yaml falls back to a float, which loses digits; the float form below does the same.
    (value <= i128::from(u64::MAX)).then_some(sign * value)
}

fn split_sign(text: &str) -> (i128, &str) {
    match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn radix(digits: &str, radix: u32) -> Option<i128> {
    let all_digits = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    if all_digits { i128::from_str_radix(digits, radix).ok() } else { None }
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn has_float_form(text: &str) -> bool {
    let (_, unsigned) = split_sign(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at).unwrap_or(""), unsigned.get(at + 1..)),
        None => (unsigned, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits =
        all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_fits && exponent_fits
}

const LONGEST_NUMBER: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, core: Resolved, go: Resolved) {
        assert_eq!(ScalarRules::Core.resolve_plain(text), core, "core: {text:?}");
        assert_eq!(ScalarRules::Go.resolve_plain(text), go, "go: {text:?}");
    }

    #[test]
    fn resolves_by_the_tables_of_both_readers() {
        use Resolved::*;
        for null in ["", "~", "null", "Null", "NULL"] {
            check(null, Null, Null);
        }
        for text in [
            "nUll",
            "yes",
            "on",
            "y",
            "off",
            "abc",
            "1:30",
            "22:22",
            "2024-01-01",
            "1.2.3",
            ".",
            "-",
            "+",
            "1e",
            "0x",
            "0o8",
            "--1",
            "1__x",
            "e3",
            "127.0.0.1",
            "inf",
            "nan",
            "1e5x",
            "0xg",
        ] {
            check(text, Text, Text);
        }
        check("True", Boolean(true), Boolean(true));
        check("false", Boolean(false), Boolean(false));
        check("012", Integer(12), Integer(10));
        check("08", Integer(8), Float(8.0));
        check("0o17", Integer(15), Integer(15));
        check("0O17", Text, Integer(15));
        check("0x1F", Integer(31), Integer(31));
        check("-0x1F", Text, Integer(-31));
        check("0b11", Text, Integer(3));
        check("1_000", Text, Integer(1000));
        check("-5", Integer(-5), Integer(-5));
        check("+5", Integer(5), Integer(5));
        check("1e3", Float(1000.0), Float(1000.0));
        check("1.10", Float(1.1), Float(1.1));
        check(".5", Float(0.5), Float(0.5));
        check("5.", Float(5.0), Float(5.0));
        check("-.inf", Float(f64::NEG_INFINITY), Float(f64::NEG_INFINITY));
        check(
            "12345678901234567890",
            Integer(12_345_678_901_234_567_890),
            Integer(12_345_678_901_234_567_890),
        );
        check("99999999999999999999", Integer(99_999_999_999_999_999_999), Float(1e20));
        check(&"9".repeat(39), Float(1e39), Float(1e39));
        check(&"9".repeat(129), Text, Text);
    }

    #[test]
    fn tags_and_quotes_decide_first() {
        let scalar = |text: &str, style, tag: Option<&str>| Scalar {
            text: text.into(),
            style,
            tag: tag.map(str::to_owned),
        };
        let resolve = |scalar: Scalar| ScalarRules::Core.resolve(&scalar);
        assert_eq!(resolve(scalar("1", ScalarStyle::Plain, None)), Resolved::Integer(1));
        assert_eq!(resolve(scalar("1", ScalarStyle::DoubleQuoted, None)), Resolved::Text);
        assert_eq!(resolve(scalar("1", ScalarStyle::Plain, Some("!!str"))), Resolved::Text);
        assert_eq!(resolve(scalar("1", ScalarStyle::SingleQuoted, Some("!!int"))), Resolved::Integer(1));
        assert_eq!(resolve(scalar("1", ScalarStyle::Plain, Some("!reset"))), Resolved::Integer(1));
    }
}
