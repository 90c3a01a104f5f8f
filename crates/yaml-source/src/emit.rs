//! Trees written as YAML that every reader understands alike.
//!
//! A string stays without quotes only where YAML 1.1 (PyYAML, SnakeYAML), YAML 1.2 and go-yaml all read the same string;
//! numbers, dates, base-60 times, `on`, `y`, `~`, `0o7`, `1_000` and everything with doubtful punctuation is quoted.

use crate::Tree;

/// Writes a tree in block style: two spaces per level, lists indented under their key, keys in the order of the tree,
/// text of several lines as `|` where that keeps it exactly. Ends with a line break.
///
/// Reading the result under [`ScalarRules::Core`](crate::ScalarRules) gives the same tree. Recursion is as deep as the tree.
pub fn emit(tree: &Tree) -> String {
    let mut output = String::new();
    match tree {
        Tree::Mapping(entries) if !entries.is_empty() => mapping(&mut output, entries, 0),
        Tree::Sequence(items) if !items.is_empty() => sequence(&mut output, items, 0),
        single => {
            // Without a parent there is nothing to indent a block scalar under, and a key-like string must not open a mapping.
            match single {
                Tree::Text(text) if !is_plain(text) => output.push_str(&quoted(text)),
                other => inline(&mut output, other, 0),
            }
            output.push('\n');
        }
    }
    output
}

/// Returns a string as one YAML scalar on one line: plain where every reader takes it for the same string, else in quotes.
pub fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

fn mapping(output: &mut String, entries: &[(String, Tree)], level: usize) {
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            indent(output, level);
        }
        let key = scalar(key);
        // A key before `:` must fit into the look-ahead that YAML allows (1024 characters, go-yaml 128 on output).
        if key.len() > LONGEST_SIMPLE_KEY {
            output.push_str("? ");
            output.push_str(&key);
            output.push('\n');
            indent(output, level);
        } else {
            output.push_str(&key);
        }
        output.push(':');
        match value {
            Tree::Mapping(entries) if !entries.is_empty() => {
                output.push('\n');
                indent(output, level + 1);
                mapping(output, entries, level + 1);
            }
            Tree::Sequence(items) if !items.is_empty() => {
                output.push('\n');
                indent(output, level + 1);
                sequence(output, items, level + 1);
            }
            single => {
                output.push(' ');
                inline(output, single, level + 1);
                output.push('\n');
            }
        }
    }
}

fn sequence(output: &mut String, items: &[Tree], level: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            indent(output, level);
        }
        output.push_str("- ");
        match item {
            Tree::Mapping(entries) if !entries.is_empty() => mapping(output, entries, level + 1),
            Tree::Sequence(items) if !items.is_empty() => sequence(output, items, level + 1),
            single => {
                inline(output, single, level + 1);
                output.push('\n');
            }
        }
    }
}

/// Writes what stands on the line of its key or dash; `level` is the indentation of what may follow on further lines.
fn inline(output: &mut String, tree: &Tree, level: usize) {
    match tree {
        Tree::Null => output.push_str("null"),
        Tree::Boolean(boolean) => output.push_str(if *boolean { "true" } else { "false" }),
        Tree::Integer(integer) => output.push_str(&integer.to_string()),
        Tree::Float(float) => output.push_str(&float_text(*float)),
        Tree::Text(text) if fits_literal(text) => literal(output, text, level),
        Tree::Text(text) => output.push_str(&scalar(text)),
        Tree::Sequence(_) => output.push_str("[]"),
        Tree::Mapping(_) => output.push_str("{}"),
    }
}

fn indent(output: &mut String, level: usize) {
    output.extend(std::iter::repeat_n("  ", level));
}

/// YAML 1.1 wants a point in the mantissa and a sign in the exponent.
fn float_text(float: f64) -> String {
    if float.is_nan() {
        return ".nan".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = format!("{float:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// Tells whether `|` keeps the text exactly in every reader.
fn fits_literal(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines_fit = body.split('\n').all(|line| line.is_empty() || !line.trim().is_empty());
    let first_is_clear = !body.starts_with([' ', '\n']);
    let last_is_clear = !body.is_empty() && !body.ends_with('\n');
    let printable = text.chars().all(|character| character == '\n' || is_printable(character));
    text.contains('\n') && lines_fit && first_is_clear && last_is_clear && printable
}

fn literal(output: &mut String, text: &str, level: usize) {
    output.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        output.push('\n');
        if !line.is_empty() {
            indent(output, level);
            output.push_str(line);
        }
    }
}

fn quoted(text: &str) -> String {
    let has_escapes = text.contains(['"', '\\']);
    if has_escapes && text.chars().all(is_printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut output = String::with_capacity(text.len() + 2);
    output.push('"');
    for character in text.chars() {
        match character {
            '"' => output.push_str("\\\""),
            '\\' => output.push_str("\\\\"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            printable if is_printable(printable) => output.push(printable),
            other => match u32::from(other) {
                code @ ..=0xff => output.push_str(&format!("\\x{code:02X}")),
                code @ ..=0xffff => output.push_str(&format!("\\u{code:04X}")),
                code => output.push_str(&format!("\\U{code:08X}")),
            },
        }
    }
    output.push('"');
    output
}

/// Printable for YAML 1.1 and 1.2, visible for a human, and not a space that is easily mistaken.
fn is_printable(character: char) -> bool {
    let blank = character.is_whitespace() && character != ' ';
    let not_a_character = u32::from(character) & 0xfffe == 0xfffe;
    crate::shown::is_safe(character) && !blank && !not_a_character
}

fn is_plain(text: &str) -> bool {
    let mut characters = text.chars();
    let (Some(first), Some(last)) = (characters.next(), text.chars().next_back()) else { return false };
    let begins_well = match first {
        '-' => {
            characters.next().is_some_and(|second| second.is_ascii_alphanumeric() || second == '-')
                && !text.starts_with("---")
        }
        '.' => !text.starts_with("..."),
        first => first.is_alphanumeric() || "/_$(^+;\\<".contains(first),
    };
    let ends_well = !last.is_whitespace() && last != ':';
    let breaks_off = text.contains(": ") || text.contains(" #");
    begins_well && ends_well && !breaks_off && text.chars().all(is_printable) && !is_other_than_text(text)
}

/// Tells whether any known reader takes the unquoted text for something other than a string.
fn is_other_than_text(text: &str) -> bool {
    const WORDS: [&str; 16] = [
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", ".nan", ".inf", "+.inf", "-.inf",
        "nan", "inf",
    ];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)) || is_like_a_number(text) || is_like_a_date(text)
}

/// Integers and floats of all three readers, base 60 (`1:30`, `9091:9090`) and digits with `_` or `,`.
fn is_like_a_number(text: &str) -> bool {
    let compact: String = text.chars().filter(|character| !"_,".contains(*character)).collect();
    let unsigned = compact.trim_start_matches(['+', '-']);
    let prefixed = unsigned
        .get(..2)
        .is_some_and(|prefix| ["0x", "0o", "0b"].iter().any(|known| known.eq_ignore_ascii_case(prefix)));
    if prefixed {
        return unsigned.bytes().skip(2).all(|byte| byte.is_ascii_hexdigit());
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let mantissa_fits = !mantissa.is_empty()
        && mantissa.bytes().all(|byte| byte.is_ascii_digit() || b".:".contains(&byte))
        && mantissa.bytes().filter(|byte| *byte == b'.').count() <= 1;
    mantissa_fits && exponent.bytes().all(|byte| byte.is_ascii_digit())
}

/// `2024-1-1` and whatever follows it.
fn is_like_a_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let digits = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    digits(parts.next())
        && digits(parts.next())
        && parts.next().is_some_and(|day| day.starts_with(|first: char| first.is_ascii_digit()))
}

const LONGEST_SIMPLE_KEY: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_some_reader_takes_for_something_else() {
        let dangerous = [
            "",
            " ",
            " a",
            "a ",
            "~",
            "null",
            "Null",
            "true",
            "True",
            "yes",
            "Yes",
            "on",
            "OFF",
            "y",
            "N",
            "no",
            "1",
            "-1",
            "+1",
            "012",
            "08",
            "0o7",
            "0O7",
            "0x1F",
            "0b11",
            "1_000",
            "1,000",
            "1e3",
            "1E+3",
            "1.",
            ".5",
            "1.5",
            "-.inf",
            ".NaN",
            "1:30",
            "22:22",
            "190:20:30.15",
            "2024-01-01",
            "2024-1-1",
            "2001-12-14t21:59:43.10-05:00",
            "<<",
            "=",
            "- a",
            "-",
            "---",
            "--- a",
            "...",
            "? a",
            "?",
            ": a",
            ":",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "!a",
            "&a",
            "*a",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "[a]",
            "{a}",
            "\"a",
            "'a",
            ",a",
            "a\tb",
            "a\rb",
            "\u{7}",
            "\u{85}a",
            "a\u{2028}b",
            "a\u{a0}b",
            "\u{feff}a",
            "a\u{fffe}",
            "0x",
            "_1",
            ".",
            "a\nb: c",
            "1e",
            "0xZ_",
        ];
        let plain_where_harmless = ["0xZ_"];
        for text in dangerous {
            let written = scalar(text);
            let is_quoted = written.starts_with(['"', '\'']);
            assert_eq!(is_quoted, !plain_where_harmless.contains(&text), "{text:?} is written {written}");
        }
    }

    #[test]
    fn leaves_ordinary_text_plain() {
        for text in [
            "a",
            "kafka-1",
            "127.0.0.1",
            "7.3.0",
            "confluentinc/cp-kafka:7.3.0",
            "./configs/x.yml:/etc/x.yml:ro",
            "--config.file=/etc/prometheus/config.yml",
            "-Xmx1g",
            "PLAINTEXT://kafka:29092,EXTERNAL://192.0.2.1:9092",
            "a b",
            "5s",
            "1h30m",
            "256m",
            "$HOME",
            "it's",
            "a,b",
            "a{b}",
            "größe",
            "e3",
            "x#y",
            "1a",
            "nobody",
            ".hidden",
            "<a>",
        ] {
            assert_eq!(scalar(text), text);
        }
    }

    #[test]
    fn writes_block_style() {
        let tree: Tree = [
            ("text", Tree::from("one\n  two\n\nthree\n")),
            ("open", Tree::from("one\ntwo")),
            (
                "list",
                vec![
                    Tree::from("a"),
                    Tree::from(vec![1, 2]),
                    [("k", Tree::Null), ("l", true.into())].into_iter().collect(),
                ]
                .into(),
            ),
            ("empty", Tree::Sequence(Vec::new())),
            ("none", Tree::Mapping(Vec::new())),
            ("path", r#"C:\x "y""#.into()),
            ("on", Tree::Float(1e300)),
        ]
        .into_iter()
        .collect();
        let expected = "text: |\n  one\n    two\n\n  three\nopen: |-\n  one\n  two\nlist:\n  - a\n  - - 1\n    - 2\n  - k: null\n    l: true\n\
                        empty: []\nnone: {}\npath: C:\\x \"y\"\n\"on\": 1.0e+300\n";
        assert_eq!(emit(&tree), expected);
    }
}
