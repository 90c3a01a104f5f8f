//! Classes of characters, bracketed and escaped.

use super::{
    PatternError,
    translate::{Cursor, put_literal, syntax},
};

/// A class from `[` to `]`; the bracket has been taken.
pub(super) fn bracketed(
    cursor: &mut Cursor<'_>,
    start: usize,
    output: &mut String,
) -> Result<(), PatternError> {
    output.push('[');
    if cursor.eat("^") {
        output.push('^');
    }
    let mut is_first = true;
    loop {
        if cursor.rest().is_empty() {
            return Err(syntax(start, "unclosed class"));
        }
        if !is_first && cursor.eat("]") {
            output.push(']');
            return Ok(());
        }
        is_first = false;
        let item = cursor.offset;
        if cursor.rest().starts_with("[:") && cursor.rest().get(2..).is_some_and(|rest| rest.contains(":]")) {
            posix(cursor, item, output)?;
        } else if !escaped_in_class(cursor, item, output)? {
            range(cursor, start, output)?;
        }
    }
}

/// `\d`, `\pL` and the like; the backslash has been taken. Returns `false`, having taken nothing, for anything else.
pub(super) fn escaped(
    cursor: &mut Cursor<'_>,
    start: usize,
    output: &mut String,
) -> Result<bool, PatternError> {
    for (name, class) in PERL_CLASSES {
        if cursor.eat(name) {
            output.push_str(class);
            return Ok(true);
        }
    }
    let is_negated = cursor.eat("P");
    if !is_negated && !cursor.eat("p") {
        return Ok(false);
    }
    let unknown = syntax(start, "unknown class");
    let name = if cursor.eat("{") {
        cursor.take_until('}').ok_or(unknown.clone())?.to_owned()
    } else {
        cursor.next().ok_or(unknown.clone())?.to_string()
    };
    let (name, is_negated) = match name.strip_prefix('^') {
        Some(name) => (name, !is_negated),
        None => (&*name, is_negated),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_- ".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(unknown);
    }
    // RE2 knows general categories and scripts by their bare names; the crate `regex` knows other properties too.
    let written = ["gc", "sc"].map(|property| format!("\\p{{{property}={name}}}"));
    let known = written.iter().find(|class| regex::Regex::new(class).is_ok()).ok_or(unknown)?;
    output.push_str(if is_negated { "[^" } else { "[" });
    output.push_str(known);
    output.push(']');
    Ok(true)
}

fn escaped_in_class(
    cursor: &mut Cursor<'_>,
    start: usize,
    output: &mut String,
) -> Result<bool, PatternError> {
    if !cursor.eat("\\") {
        return Ok(false);
    }
    let found = escaped(cursor, start, output)?;
    if !found {
        cursor.offset = start;
    }
    Ok(found)
}

/// `[:alpha:]`, known to be closed.
fn posix(cursor: &mut Cursor<'_>, start: usize, output: &mut String) -> Result<(), PatternError> {
    let text = cursor.rest().get(2..).and_then(|rest| rest.split_once(":]")).map_or("", |(name, _)| name);
    let name = text.strip_prefix('^').unwrap_or(text);
    if !POSIX_CLASSES.contains(&name) {
        return Err(syntax(start, "unknown class"));
    }
    output.push_str(&format!("[:{text}:]"));
    cursor.offset += text.len() + 4;
    Ok(())
}

/// One character, or two with a dash between them.
fn range(cursor: &mut Cursor<'_>, start: usize, output: &mut String) -> Result<(), PatternError> {
    let item = cursor.offset;
    let low = character(cursor, start)?;
    put_literal(output, low);
    let is_range =
        cursor.rest().starts_with('-') && cursor.rest().len() > 1 && !cursor.rest().starts_with("-]");
    if is_range {
        cursor.eat("-");
        let high = character(cursor, start)?;
        if high < low {
            return Err(syntax(item, "range that runs backwards"));
        }
        output.push('-');
        put_literal(output, high);
    }
    Ok(())
}

fn character(cursor: &mut Cursor<'_>, start: usize) -> Result<char, PatternError> {
    let item = cursor.offset;
    match cursor.next() {
        Some('\\') => cursor.escaped_char(item),
        Some(character) => Ok(character),
        None => Err(syntax(start, "unclosed class")),
    }
}

const PERL_CLASSES: [(&str, &str); 6] = [
    ("d", "[0-9]"),
    ("D", "[^0-9]"),
    ("s", r"[\t\n\x0c\r ]"),
    ("S", r"[^\t\n\x0c\r ]"),
    ("w", "[0-9A-Za-z_]"),
    ("W", "[^0-9A-Za-z_]"),
];

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];
