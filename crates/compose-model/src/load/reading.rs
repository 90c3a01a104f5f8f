//! Reading functions for what many attributes share. All of them replace `$$` by `$`.

use std::{fmt::Display, hash::Hash, str::FromStr};

use yaml_source::{
    Diagnostic, MappingReader, Node, Resolved, Tree, Value, ValueReader, closest, shown, value,
};

use super::attributes::Attributes;
use crate::{
    Extra, OrderedMap,
    dollar::{map_text, unescape},
};

pub(super) fn text(value: ValueReader<'_>) -> Option<String> {
    value::text(value).map(|text| unescape(&text))
}

/// Text that a type is parsed from, whose error says enough.
pub(super) fn parsed_text<T>(value: ValueReader<'_>) -> Option<T>
where
    T: FromStr,
    T::Err: Display,
{
    if value.node().resolve(value.rules()) != Some(Resolved::Text) {
        value::text(value);
        return None;
    }
    let text = unescape(plain_text(value.node()));
    match text.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => value.fail(error),
    }
}

/// A boolean, also quoted; Compose still takes the words of YAML 1.1, with a warning.
pub(super) fn boolean(mut value: ValueReader<'_>) -> Option<bool> {
    if value.node().resolve(value.rules()) != Some(Resolved::Text) {
        return value::boolean(value);
    }
    let word = plain_text(value.node()).to_ascii_lowercase();
    match word.as_str() {
        "true" => Some(true),
        "false" => Some(false),
        "yes" | "y" | "on" | "no" | "n" | "off" => {
            let truth = matches!(word.as_str(), "yes" | "y" | "on");
            value.warn(
                format_args!("`{word}` is an old way to write a boolean"),
                Some(format!("write `{truth}`")),
            );
            Some(truth)
        }
        _ => value::boolean(value),
    }
}

/// An integer, also quoted.
pub(super) fn integer<T: TryFrom<i128> + FromStr>(value: ValueReader<'_>) -> Option<T> {
    if value.node().resolve(value.rules()) == Some(Resolved::Text)
        && let Ok(integer) = plain_text(value.node()).parse()
    {
        return Some(integer);
    }
    value::integer(value)
}

/// A value of a map of variables: what go-yaml makes of it, printed as Go prints it; null is `None`.
pub(super) fn variable(value: ValueReader<'_>) -> Option<Option<String>> {
    match value.node().resolve(value.rules()) {
        Some(Resolved::Null) => Some(None),
        Some(Resolved::Boolean(boolean)) => Some(Some(boolean.to_string())),
        Some(Resolved::Integer(integer)) => Some(Some(integer.to_string())),
        Some(Resolved::Float(float)) => Some(Some(go_float(float))),
        Some(Resolved::Text) => Some(Some(unescape(plain_text(value.node())))),
        None => value.expected("a single value"),
    }
}

/// Go's `%v`: shortest digits, exponent below 1e-4 and from 1e21 on.
fn go_float(float: f64) -> String {
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = float.abs();
    if size == 0.0 || (1e-4..1e21).contains(&size) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// `{KEY: value}` or `[KEY=value, KEY]`. Of equal keys in a list the last one counts, with a warning.
pub(super) fn variable_map(value: ValueReader<'_>) -> Option<OrderedMap<String, Option<String>>> {
    if value.node().as_sequence().is_none() {
        return value.each_entry(|_, value| variable(value)).map(|entries| entries.into_iter().collect());
    }
    let seen = std::cell::RefCell::new(std::collections::HashSet::new());
    let pairs = value.each(|mut value| {
        let text = value::text(value.reborrow())?;
        let text = unescape(&text);
        let (key, content) = match text.split_once('=') {
            Some((key, content)) => (key, Some(content.to_owned())),
            None => (text.as_str(), None),
        };
        if key.is_empty() || key.trim() != key {
            return value.fail(format_args!("expected `NAME=value`, found {}", shown::quoted(&text)));
        }
        if !seen.borrow_mut().insert(key.to_owned()) {
            value.warn(
                format_args!("{} stands twice in the list; the last one counts", shown::quoted(key)),
                None,
            );
        }
        Some((key.to_owned(), content))
    })?;
    Some(pairs.into_iter().collect())
}

/// As [`variable_map`], where nothing means empty text.
pub(super) fn label_map(value: ValueReader<'_>) -> Option<OrderedMap<String, String>> {
    let labels = variable_map(value)?;
    Some(labels.into_iter().map(|(key, content)| (key, content.unwrap_or_default())).collect())
}

/// A mapping whose keys are names of a kind.
pub(super) fn named<N, T>(
    mut value: ValueReader<'_>,
    read: impl Fn(ValueReader<'_>) -> Option<T>,
) -> Option<OrderedMap<N, T>>
where
    N: FromStr + Hash + Eq + Clone,
    N::Err: Display,
{
    let node = value.node().clone();
    for entry in node.as_mapping().into_iter().flat_map(|entries| entries.iter()) {
        if let Some(Err(error)) = entry.name().map(str::parse::<N>) {
            let message = if value.path().is_empty() {
                error.to_string()
            } else {
                format!("{}: {error}", value.path())
            };
            value.diagnostics().push(Diagnostic::error(entry.key.span.clone(), message));
        }
    }
    let entries = value.each_entry(|_, value| read(value))?;
    Some(entries.into_iter().filter_map(|(name, item)| Some((name.parse().ok()?, item))).collect())
}

/// A mapping whose keys are names, or a list of names that each stand for `default`.
pub(super) fn named_or_list<N, T>(
    value: ValueReader<'_>,
    read: impl Fn(ValueReader<'_>) -> Option<T>,
    default: impl Fn() -> T,
) -> Option<OrderedMap<N, T>>
where
    N: FromStr + Hash + Eq + Clone,
    N::Err: Display,
{
    if value.node().as_sequence().is_none() {
        return named(value, read);
    }
    let seen = std::cell::RefCell::new(OrderedMap::new());
    value.each(|mut value| {
        let name: N = parsed_text(value.reborrow())?;
        match seen.borrow_mut().insert(name, default()) {
            None => Some(()),
            Some(_) => value.fail("the name stands twice in the list"),
        }
    })?;
    Some(seen.into_inner())
}

/// Everything that has not been read. What Compose does not know is kept too, with a warning.
pub(super) fn extra(reader: &mut MappingReader<'_>, attributes: &Attributes) -> Extra {
    let entries = reader.take_where(|_| true);
    let rules = yaml_source::ScalarRules::Go;
    let mut extra = Extra::new();
    for entry in &entries {
        let Some(name) = entry.name() else { continue };
        let at_path = |message: String| match reader.path() {
            "" => message,
            path => format!("{path}: {message}"),
        };
        if attributes.unsupported.contains(&name) {
            let message = at_path(format!("`{name}` is not supported yet"));
            reader.diagnostics().push(Diagnostic::error(entry.key.span.clone(), message));
        } else if !name.starts_with("x-") && !attributes.kept.contains(&name) {
            let message = at_path(format!("unknown attribute {}, kept as it is", shown::quoted(name)));
            let mut diagnostic = Diagnostic::warning(entry.key.span.clone(), message);
            let known = attributes.modelled.iter().chain(attributes.kept).copied();
            if !reader.diagnostics().is_full() {
                diagnostic.hint = closest(name, known).map(|near| format!("did you mean `{near}`?"));
            }
            reader.diagnostics().push(diagnostic);
        }
        extra.insert(name.to_owned(), map_text(Tree::from_node(&entry.value, rules), unescape));
    }
    extra
}

pub(super) fn plain_text(node: &Node) -> &str {
    match &node.value {
        Value::Scalar(scalar) => &scalar.text,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::go_float;

    #[test]
    fn prints_floats_as_go_does() {
        let check = |float: f64, expected: &str| assert_eq!(go_float(float), expected);
        check(1000.0, "1000");
        check(0.5, "0.5");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.5e300, "1.5e+300");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(-0.0, "-0");
        check(f64::INFINITY, "+Inf");
    }
}
