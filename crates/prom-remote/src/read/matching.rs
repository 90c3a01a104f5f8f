//! Which series a query selects.

use thiserror::Error;

use super::{Matcher, MatcherKind};
use crate::{PatternError, re2::Re2};

/// The matchers of a query, ready to be asked about label sets.
///
/// As in Prometheus: all must match; a label that a series does not have counts as empty; an expression is RE2,
/// matched from end to end, and `.` matches a line break too.
///
/// ```
/// use prom_remote::{LabelMatchers, Matcher};
///
/// let matchers = LabelMatchers::new(&[
///     Matcher::equal("__name__", "up"),
///     Matcher::regex("job", "kafka|zoo.*"),
///     Matcher::equal("replica", ""),
/// ])?;
/// assert!(matchers.matches([("__name__", "up"), ("job", "zookeeper")]));
/// assert!(!matchers.matches([("__name__", "up"), ("job", "zookeeper"), ("replica", "a")]));
/// # Ok::<(), prom_remote::InvalidMatcher>(())
/// ```
#[derive(Debug, Clone)]
pub struct LabelMatchers {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
struct Condition {
    name: Vec<u8>,
    comparison: Comparison,
    /// Whether the condition is that the comparison fails.
    is_negated: bool,
}

#[derive(Debug, Clone)]
enum Comparison {
    Text(Vec<u8>),
    Expression(Re2),
}

/// The expression of a matcher is refused; a server answers 400.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("matcher {index} on label {name:?} has an invalid expression {expression:?}")]
pub struct InvalidMatcher {
    /// The matcher, counted from 0.
    pub index: usize,
    /// The name of the label.
    pub name: String,
    /// The expression.
    pub expression: String,
    /// What is wrong with it.
    #[source]
    pub source: PatternError,
}

impl LabelMatchers {
    /// Compiles the matchers of a query.
    ///
    /// # Errors
    /// An expression that is not RE2.
    pub fn new(matchers: &[Matcher]) -> Result<Self, InvalidMatcher> {
        let conditions = matchers.iter().enumerate().map(|(index, matcher)| Condition::new(index, matcher));
        Ok(Self { conditions: conditions.collect::<Result<_, _>>()? })
    }

    /// Tells whether all matchers match these labels, in any order. Of a name that stands twice the first counts.
    pub fn matches<Name, Value>(
        &self,
        labels: impl IntoIterator<Item = (Name, Value), IntoIter: Clone>,
    ) -> bool
    where
        Name: AsRef<[u8]>,
        Value: AsRef<[u8]>,
    {
        let labels = labels.into_iter();
        self.conditions.iter().all(|condition| {
            let value = labels.clone().find(|(name, _)| name.as_ref() == condition.name);
            condition.matches(value.as_ref().map_or(b"", |(_, value)| value.as_ref()))
        })
    }
}

impl Condition {
    fn new(index: usize, matcher: &Matcher) -> Result<Self, InvalidMatcher> {
        let comparison = match matcher.kind {
            MatcherKind::Equal | MatcherKind::NotEqual => {
                Comparison::Text(matcher.value.clone().into_bytes())
            }
            MatcherKind::Regex | MatcherKind::NotRegex => {
                Comparison::Expression(Re2::new(&matcher.value).map_err(|source| InvalidMatcher {
                    index,
                    name: matcher.name.clone(),
                    expression: matcher.value.clone(),
                    source,
                })?)
            }
        };
        let is_negated = matches!(matcher.kind, MatcherKind::NotEqual | MatcherKind::NotRegex);
        Ok(Self { name: matcher.name.clone().into_bytes(), comparison, is_negated })
    }

    fn matches(&self, value: &[u8]) -> bool {
        let is_equal = match &self.comparison {
            Comparison::Text(text) => text == value,
            Comparison::Expression(expression) => expression.is_match(value),
        };
        is_equal != self.is_negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks about `{a="1"}`.
    #[track_caller]
    fn check(matcher: Matcher, expected: bool) {
        let matchers = LabelMatchers::new(std::slice::from_ref(&matcher)).unwrap();
        assert_eq!(matchers.matches([("a", "1")]), expected, "{matcher:?}");
    }

    #[test]
    fn each_kind_on_a_label_that_is_there_and_one_that_is_not() {
        check(Matcher::equal("a", "1"), true);
        check(Matcher::equal("a", "2"), false);
        check(Matcher::equal("a", ""), false);
        check(Matcher::equal("b", ""), true);
        check(Matcher::not_equal("a", "1"), false);
        check(Matcher::not_equal("a", ""), true);
        check(Matcher::not_equal("b", ""), false);
        check(Matcher::not_equal("b", "1"), true);
        check(Matcher::regex("a", "[0-9]"), true);
        check(Matcher::regex("a", ""), false);
        check(Matcher::regex("b", ".*"), true);
        check(Matcher::regex("b", ".+"), false);
        check(Matcher::not_regex("a", ".+"), false);
        check(Matcher::not_regex("b", ".+"), true);
        check(Matcher::not_regex("b", ""), false);
    }

    #[test]
    fn expressions_match_from_end_to_end() {
        let matches = |expression: &str, value: &str| {
            LabelMatchers::new(&[Matcher::regex("a", expression)]).unwrap().matches([("a", value)])
        };
        assert!(matches("a|b", "b"));
        assert!(!matches("a|b", "ab"));
        assert!(!matches("a", "a\n"));
        assert!(matches("a.b", "a\nb"));
        assert!(matches(r"\Qa.b\E", "a.b"));
    }

    #[test]
    fn a_bad_expression_names_its_matcher() {
        let error = LabelMatchers::new(&[Matcher::equal("a", "("), Matcher::regex("b", "(")]).unwrap_err();
        assert_eq!((error.index, &error.name[..]), (1, "b"));
        assert_eq!(error.to_string(), r#"matcher 1 on label "b" has an invalid expression "(""#);
    }

    #[test]
    fn no_matchers_match_everything() {
        assert!(LabelMatchers::new(&[]).unwrap().matches([("a", "1")]));
        assert!(LabelMatchers::new(&[]).unwrap().matches::<&str, &str>([]));
    }
}
