//! `$` in values: `$$` means one `$`, a variable is not supported yet. Beside it, what no part of a file may contain yet.

use std::collections::HashSet;

use yaml_source::{Diagnostic, Diagnostics, Node, Resolved, ScalarRules, Span, Tree, Value, shown};

/// Reports every `$NAME` and `${…}` in values, every key that is not text, and every tag of Compose, once per place in
/// the file.
pub(crate) fn survey(root: &Node, diagnostics: &mut Diagnostics) {
    let mut seen = HashSet::new();
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        // What stands behind an alias or a merge is met again and again, but reported once.
        if !seen.insert((node.span.start.offset, node.span.end.offset)) {
            continue;
        }
        if let Some(tag) = node.tag().filter(|tag| !tag.starts_with("!!") && *tag != "!") {
            let message = format!("the tag {} is not supported yet", shown::quoted(tag));
            diagnostics.push(Diagnostic::error(node.span.clone(), message));
        }
        match &node.value {
            Value::Scalar(scalar) => {
                if let Some(variable) = first_variable(&scalar.text) {
                    diagnostics.push(unsupported(&node.span, variable));
                }
            }
            Value::Sequence(items) => open.extend(items.iter()),
            Value::Mapping(entries) => {
                for entry in entries.iter() {
                    open.push(&entry.value);
                    if entry.key.resolve(ScalarRules::Go) != Some(Resolved::Text) && entry.merged.is_none() {
                        let found = entry.key.describe(ScalarRules::Go);
                        let diagnostic = Diagnostic::error(
                            entry.key.span.clone(),
                            format!("a key must be text, but this is {found}"),
                        );
                        diagnostics.push(diagnostic.with_hint("write the key in quotes"));
                    }
                }
            }
        }
    }
}

/// Replaces `$$` by `$`.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("$$", "$")
}

/// Replaces `$` by `$$`.
pub(crate) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

/// Applies a function to all text values, not to keys: Compose interpolates values only.
pub(crate) fn map_text(tree: Tree, change: fn(&str) -> String) -> Tree {
    match tree {
        Tree::Text(text) => Tree::Text(change(&text)),
        Tree::Sequence(items) => {
            Tree::Sequence(items.into_iter().map(|item| map_text(item, change)).collect())
        }
        Tree::Mapping(entries) => {
            Tree::Mapping(entries.into_iter().map(|(key, value)| (key, map_text(value, change))).collect())
        }
        other => other,
    }
}

/// Returns the first `$NAME` or `${…}`. A `$` before anything else stands for itself.
fn first_variable(text: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find('$').map(|at| from + at) {
        let after = text.get(at + 1..)?;
        match after.chars().next() {
            Some('$') => from = at + 2,
            Some('{') => {
                let end = after.find('}').map_or(after.len(), |end| end + 1);
                return text.get(at..at + 1 + end);
            }
            Some(first) if first.is_ascii_alphabetic() || first == '_' => {
                let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
                let end = after.find(|character| !is_name(character)).unwrap_or(after.len());
                return text.get(at..at + 1 + end);
            }
            _ => from = at + 1,
        }
    }
    None
}

fn unsupported(span: &Span, variable: &str) -> Diagnostic {
    let place = match span.text().find(variable) {
        Some(at) => span.within(at..at + variable.len()),
        None => span.clone(),
    };
    Diagnostic::error(place, format!("interpolation is not supported yet: {}", shown::quoted(variable)))
        .with_hint("write `$$` where a `$` is meant, and put the value of the variable here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_variables_only() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(first_variable(text), expected, "{text}");
        check("a$$b", None);
        check("$$$$", None);
        check("a$", None);
        check("$1 $(x) $ü", None);
        check("$$$FOO", Some("$FOO"));
        check("x${A:-b}c", Some("${A:-b}"));
        check("x${A", Some("${A"));
        check("$_a-b", Some("$_a"));
    }
}
