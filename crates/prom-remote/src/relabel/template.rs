//! Replacements: text with references to the groups of an expression, as Go's `Regexp.Expand` reads it.

use crate::re2::Re2;

/// A replacement, parsed against the groups of its expression.
#[derive(Debug, Clone)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    /// The first of these groups that took part in the match.
    Group(Vec<usize>),
}

impl Template {
    /// Parses `$1`, `${1}`, `$name`, `${name}` and `$$`. A name is as long as it can be; a name or number that the
    /// expression does not have stands for nothing; a dollar sign that starts no reference is itself.
    pub(super) fn new(text: &str, regex: &Re2) -> Self {
        let mut template = Self { parts: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.push_text(before);
            if let Some(after) = after.strip_prefix('$') {
                template.push_text("$");
                rest = after;
            } else if let Some((name, after)) = reference(after) {
                template.parts.push(Part::Group(group_numbers(name, regex)));
                rest = after;
            } else {
                template.push_text("$");
                rest = after;
            }
        }
        template.push_text(rest);
        template
    }

    /// Returns the text with the groups filled in.
    pub(super) fn expand<'t>(&self, group: impl Fn(usize) -> Option<&'t [u8]>) -> Vec<u8> {
        let mut expanded = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => expanded.extend_from_slice(text),
                Part::Group(numbers) => {
                    expanded.extend_from_slice(
                        numbers.iter().find_map(|&number| group(number)).unwrap_or_default(),
                    );
                }
            }
        }
        expanded
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.parts.push(Part::Text(text.as_bytes().into()));
        }
    }
}

/// The name after a dollar sign, with or without braces, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let unbraced = text.strip_prefix('{');
    let name_and_rest = unbraced.unwrap_or(text);
    let rest = name_and_rest.trim_start_matches(|next: char| next.is_alphanumeric() || next == '_');
    let name = &name_and_rest[..name_and_rest.len() - rest.len()];
    let rest = if unbraced.is_some() { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

fn group_numbers(name: &str, regex: &Re2) -> Vec<usize> {
    let is_number =
        name.bytes().all(|digit| digit.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    // A number is a number even if a group bears it as its name.
    if is_number { name.parse().into_iter().collect() } else { regex.group_numbers(name).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let regex = Re2::new("(a)(?P<twice>z)?(?P<name>b)(?P<01>c)(?P<twice>)(d)?").unwrap();
        let captures = regex.captures(b"abc").unwrap();
        let template = Template::new(template, &regex);
        let expanded = template.expand(|group| captures.get(group).map(|group| group.as_bytes()));
        assert_eq!(String::from_utf8_lossy(&expanded), expected);
    }

    #[test]
    fn references_are_filled_in() {
        check("x", "x");
        check("$0-$1-${3}", "abc-a-b");
        check("[$twice]", "[]");
        check("$name", "b");
        check("${name}s", "bs");
        check("$names", "");
        check("$1x", "");
        check("${1}x", "ax");
        check("$01", "c");
        check("$2$6$7$99999999999999999999", "");
        check("$$1", "$1");
        check("$", "$");
        check("$-$", "$-$");
        check("${1", "${1");
        check("${}", "${}");
        check("$é", "");
        check("a${name}b$1", "abba");
    }
}
