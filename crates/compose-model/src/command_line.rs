//! Commands written as one line of text.

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitCommandError {
    /// A quote without end.
    #[error("a quote {0} is not closed")]
    UnclosedQuote(char),
    /// A backslash at the end.
    #[error("a backslash stands at the end")]
    TrailingBackslash,
    /// A character that only a shell understands. `docker compose` cuts the line there without a word, or refuses it.
    #[error("`{0}` outside of quotes needs a shell")]
    NeedsShell(char),
}

/// Splits a command into words as `docker compose` does (its library is go-shellwords): blanks separate, single quotes keep
/// everything, outside of them a backslash escapes (`\t` and `\n` are tab and line break). Nothing is expanded.
///
/// # Errors
/// When a quote is open at the end, or `; & | < > ( )` or a backquote stands outside of quotes.
pub fn split_command(line: &str) -> Result<Vec<String>, SplitCommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, open @ ('\'' | '"')) => {
                quote = Some(open);
                word.get_or_insert_default();
            }
            (Some('"') | None, '\\') => {
                let escaped = match characters.next().ok_or(SplitCommandError::TrailingBackslash)? {
                    't' => '\t',
                    'n' => '\n',
                    other => other,
                };
                word.get_or_insert_default().push(escaped);
            }
            (None, ' ' | '\t' | '\r' | '\n') => words.extend(word.take()),
            (None, special @ (';' | '&' | '|' | '<' | '>' | '(' | ')' | '`')) => {
                return Err(SplitCommandError::NeedsShell(special));
            }
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    if let Some(open) = quote {
        return Err(SplitCommandError::UnclosedQuote(open));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_like_the_reference() {
        let check = |line: &str, expected: &[&str]| {
            let expected: Vec<String> = expected.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(split_command(line), Ok(expected), "{line}");
        };
        check("", &[]);
        check("  a  b\tc\n", &["a", "b", "c"]);
        check(r#"sh -c "echo 'a b' | cat""#, &["sh", "-c", "echo 'a b' | cat"]);
        check(r"a\ b 'c\d' \tx", &["a b", r"c\d", "\tx"]);
        check(r#"--x="a b"c '' "#, &["--x=a bc", ""]);
        check("$HOME", &["$HOME"]);
    }

    #[test]
    fn refuses_what_needs_a_shell() {
        let check = |line: &str, error| assert_eq!(split_command(line), Err(error), "{line}");
        check("a 'b", SplitCommandError::UnclosedQuote('\''));
        check("a \\", SplitCommandError::TrailingBackslash);
        check("a | b", SplitCommandError::NeedsShell('|'));
        check("a && b", SplitCommandError::NeedsShell('&'));
        check("echo $(date)", SplitCommandError::NeedsShell('('));
    }
}
