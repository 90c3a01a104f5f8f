//! Regular expressions as Prometheus takes them: RE2 syntax, matched from end to end.
//!
//! The engine is the crate `regex`, whose syntax is close to RE2's but not the same. Every expression is therefore
//! read by the rules of RE2 (those of Go's `regexp/syntax`, which Prometheus uses) and written anew:
//!
//! | RE2 | crate `regex` | what happens |
//! |---|---|---|
//! | `\d`, `\w`, `\s`, `\b` know ASCII only; `\s` is without `\v` | Unicode | written as ASCII classes |
//! | `{` that starts no repetition is itself, `{,3}` too | an error, or a repetition | escaped |
//! | `[`, `&&`, `--`, `~~` inside a class are themselves | nested classes and set operations | escaped |
//! | `\Q…\E`, octal `\017`, `\p{^Greek}`, an escaped punctuation of any kind | errors, or `\<` a word boundary | rewritten |
//! | `a**`, `a{2}{3}` | accepted | refused |
//! | repetitions up to 1,000 | any | refused above |
//! | flags `i`, `m`, `s`, `U` | also `x`, `u`, `R` | refused |
//! | group names may begin with a digit | they may not | kept beside the expression |
//! | class names of general categories and scripts | all properties | refused |
//!
//! Not taken although RE2 does: a repetition right after flags such as `a(?i)*`, surrogates, and expressions whose
//! automaton goes over the engine's own bound of memory (10 MiB).

mod class;
mod translate;

use regex::bytes::{Captures, Regex, RegexBuilder};
use thiserror::Error;

/// An expression, compiled; it matches whole texts only, and `.` matches a line break too (as Prometheus 3 has it).
#[derive(Debug, Clone)]
pub(crate) struct Re2 {
    regex: Regex,
    /// The name of each group, by its number; the whole match is group 0.
    group_names: Vec<Option<String>>,
}

/// A regular expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is no RE2 expression.
    #[error("{what} at byte {offset}")]
    Syntax {
        /// Where, as an offset into the expression.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// RE2 knows the construct, this crate does not.
    #[error("{what} at byte {offset} is not supported")]
    Unsupported {
        /// Where, as an offset into the expression.
        offset: usize,
        /// The construct.
        what: &'static str,
    },
    /// It nests too deep, or its automaton would be too large.
    #[error("too complex: {reason}")]
    TooComplex {
        /// The engine's words.
        reason: String,
    },
}

impl Re2 {
    /// Compiles an expression.
    pub(crate) fn new(expression: &str) -> Result<Self, PatternError> {
        let translated = translate::translate(expression)?;
        let regex = RegexBuilder::new(&format!("^(?s:{})$", translated.expression))
            .build()
            .map_err(|error| PatternError::TooComplex { reason: error.to_string() })?;
        Ok(Self { regex, group_names: translated.group_names })
    }

    /// Tells whether the whole text matches.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Matches the whole text and returns its groups.
    pub(crate) fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        self.regex.captures(text)
    }

    /// Returns the numbers of the groups of this name, ascending; RE2 allows a name more than once.
    pub(crate) fn group_numbers(&self, name: &str) -> impl Iterator<Item = usize> {
        let groups = self.group_names.iter().enumerate();
        groups.filter(move |(_, group)| group.as_deref() == Some(name)).map(|(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, matching: &[&str], other: &[&str]) {
        let re2 = Re2::new(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        for text in matching {
            assert!(re2.is_match(text.as_bytes()), "{expression} must match {text:?}");
        }
        for text in other {
            assert!(!re2.is_match(text.as_bytes()), "{expression} must not match {text:?}");
        }
    }

    #[test]
    fn matches_from_end_to_end() {
        check("a|b", &["a", "b"], &["ab", "xa", "bx", ""]);
        check("", &[""], &["a"]);
        check("a.c", &["abc", "a\nc", "aéc"], &["ac"]);
        check("(?-s).", &["a"], &["\n"]);
    }

    #[test]
    fn classes_are_ascii() {
        check(r"\d+", &["09"], &["٣"]);
        check(r"\w", &["a", "_"], &["é"]);
        check(r"\W", &["é", "-"], &["a"]);
        check(r"\s", &[" ", "\t"], &["\u{b}", "\u{a0}"]);
        check(r"[\d\s]-[^\w]", &["1-é"], &["1-a"]);
        check(r"é\b.", &[], &["é-"]);
        check(r"(?i)\w", &["ſ", "K"], &["é"]);
    }

    #[test]
    fn what_regex_reads_otherwise() {
        check("a{,2}", &["a{,2}"], &["aa"]);
        check("{", &["{"], &[]);
        check("a{01}", &["a{01}"], &["a"]);
        check("[a&&b]", &["a", "&", "b"], &[]);
        check("[[a]", &["[", "a"], &[]);
        check("[]a]", &["]", "a"], &[]);
        check("[^]a]", &["b"], &["]", "a"]);
        check("[!--]", &["!", ",", "-"], &["."]);
        check(r"[\d-z]", &["5", "-", "z"], &["a"]);
        check(r"\Qa.b\E+", &["a.b", "a.bb"], &["axb"]);
        check(r"\Qa", &["a"], &[]);
        check(r"\<\_\#", &["<_#"], &[]);
        check(r"\101\x41\x{41}\07", &["AAA\u{7}"], &[]);
        check(r"\p{^Greek}\pL\p{Lu}", &["aéA"], &["αaA"]);
        check(r"\PN[[:^digit:]]", &["ab"], &["1b"]);
        check(r"(?P<1>a)(?<b>b)", &["ab"], &[]);
        check("(?i:a)b", &["Ab"], &["AB"]);
        check("(?U)a+", &["aa"], &[]);
        check("(?)a", &["a"], &[]);
        check("(?ii)a(?i-i)b(?i-ii:c)", &["Abc"], &["ABc", "AbC"]);
    }

    #[track_caller]
    fn check_refused(expression: &str, expected: &str) {
        let error = Re2::new(expression).expect_err(expression);
        assert_eq!(error.to_string(), expected, "{expression}");
    }

    #[test]
    fn what_is_refused() {
        check_refused("a**", "repetition of a repetition at byte 2");
        check_refused("a{2}{3}", "repetition of a repetition at byte 4");
        check_refused("a+*", "repetition of a repetition at byte 2");
        check_refused("*a", "repetition of nothing at byte 0");
        check_refused("a|*", "repetition of nothing at byte 2");
        check_refused("a{1001}", "repetition over 1000 or backwards at byte 1");
        check_refused("a{3,2}", "repetition over 1000 or backwards at byte 1");
        check_refused("(a", "unclosed group at byte 0");
        check_refused("a)", "unopened group at byte 1");
        check_refused("[a", "unclosed class at byte 0");
        check_refused("[a--]", "range that runs backwards at byte 1");
        check_refused("[b-a]", "range that runs backwards at byte 1");
        check_refused("[[:alfa:]]", "unknown class at byte 1");
        check_refused("a\\", "trailing backslash at byte 1");
        check_refused(r"\1", "unknown escape at byte 0");
        check_refused(r"\y", "unknown escape at byte 0");
        check_refused(r"\C", "unknown escape at byte 0");
        check_refused(r"\x{110000}", "unknown escape at byte 0");
        check_refused(r"\x{d800}", "surrogate at byte 0 is not supported");
        check_refused(r"\p{Alphabetic}", "unknown class at byte 0");
        check_refused("(?x)a", "unknown flag at byte 2");
        check_refused("(?-u)a", "unknown flag at byte 3");
        check_refused("(?=a)", "unknown flag at byte 2");
        check_refused("(?P<a-b>c)", "invalid group name at byte 0");
        check_refused(
            "a(?i)*",
            "repetition right after flags or an empty quotation at byte 5 is not supported",
        );
        assert!(matches!(Re2::new(&"(".repeat(10_000)), Err(PatternError::Syntax { .. })));
        let deep = "(".repeat(10_000) + &")".repeat(10_000);
        assert!(matches!(Re2::new(&deep), Err(PatternError::TooComplex { .. })));
        assert!(matches!(Re2::new("((\\pL{1000}){1000}){1000}"), Err(PatternError::TooComplex { .. })));
    }

    #[test]
    fn groups_have_numbers_and_names() {
        let re2 = Re2::new("(a)(?:b)(?P<c>c)(?<d>d)|(?P<c>e)").unwrap();
        let numbers = ["c", "d", "e"].map(|name| re2.group_numbers(name).collect::<Vec<_>>());
        assert_eq!(numbers, [vec![2, 4], vec![3], vec![]]);
        let captures = re2.captures(b"abcd").unwrap();
        assert_eq!(captures.get(2).map(|group| group.as_bytes()), Some(&b"c"[..]));
    }

    /// The table is printed by Prometheus' own expressions; see `tests/relabel_oracle`.
    #[test]
    fn random_expressions_match_as_in_prometheus() {
        let table = include_str!("../tests/data/relabel/expressions.jsonl");
        let (mut compared, mut matched) = (0, 0);
        for line in table.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let expression = case["expression"].as_str().unwrap();
            let re2 = match (Re2::new(expression), case["refused"].as_bool().unwrap_or(false)) {
                (Ok(re2), false) => re2,
                (Err(PatternError::Syntax { .. }), true) | (Err(PatternError::Unsupported { .. }), _) => {
                    continue;
                }
                (result, is_refused) => {
                    panic!("{expression:?}: refused by Prometheus: {is_refused}, by us: {result:?}")
                }
            };
            let texts = case["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
            for (text, expected) in texts.zip(case["groups"].as_array().unwrap()) {
                let captures = re2.captures(text.as_bytes());
                let group = |group: Option<regex::bytes::Match<'_>>| match group {
                    Some(group) => String::from_utf8_lossy(group.as_bytes()).into_owned(),
                    None => "-".to_owned(),
                };
                let groups = captures.map(|captures| captures.iter().map(group).collect::<Vec<_>>());
                assert_eq!(serde_json::json!(groups), *expected, "{expression:?} on {text:?}");
                compared += 1;
                matched += usize::from(groups.is_some());
            }
        }
        assert!(compared > 10_000 && matched > 500, "{compared} compared, {matched} matched");
    }
}
