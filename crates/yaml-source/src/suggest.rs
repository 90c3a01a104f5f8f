//! "Did you mean …", and foreign text shown safely.

/// Returns the candidate that `name` is most likely a misspelling of, if one is near enough.
///
/// Case and the difference between `-` and `_` count as nothing. Names longer than 64 characters have no suggestion.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name)?;
    let allowed = (wanted.chars().count() / 3).clamp(1, 3);
    let near = candidates.into_iter().filter_map(|candidate| {
        let distance = strsim::damerau_levenshtein(&wanted, &folded(candidate)?);
        (distance <= allowed).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

fn folded(name: &str) -> Option<String> {
    let short_enough = name.len() <= 4 * LONGEST_NAME && name.chars().count() <= LONGEST_NAME;
    (short_enough && !name.is_empty()).then(|| name.to_lowercase().replace('-', "_"))
}

const LONGEST_NAME: usize = 64;

/// Foreign text made fit for a message.
pub mod shown {
    /// Returns the text in backquotes, cut after 60 characters, with control and invisible characters escaped.
    pub fn quoted(text: &str) -> String {
        let mut output = String::from("`");
        for character in text.chars().take(LONGEST) {
            match is_safe(character) {
                true => output.push(character),
                false => output.extend(character.escape_default()),
            }
        }
        if text.chars().nth(LONGEST).is_some() {
            output.push('…');
        }
        output.push('`');
        output
    }

    /// Tells whether a character can be written to a terminal without moving or hiding anything.
    pub fn is_safe(character: char) -> bool {
        let hides_or_turns = matches!(character,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
        !character.is_control() && !hides_or_turns
    }

    const LONGEST: usize = 60;
}

#[cfg(test)]
mod tests {
    use super::{closest, shown::quoted};

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        let known = ["brokers", "port", "retention", "depends_on", "image", "x"];
        assert_eq!(closest(name, known), expected, "{name}");
    }

    #[test]
    fn suggests_near_names() {
        check("broker", Some("brokers"));
        check("Port", Some("port"));
        check("prot", Some("port"));
        check("depends-on", Some("depends_on"));
        check("imagee", Some("image"));
        check("retenton", Some("retention"));
        check("volumes", None);
        check("", None);
        check(&"p".repeat(10_000), None);
    }

    #[test]
    fn shows_foreign_text_safely() {
        assert_eq!(quoted("a\nb\u{1b}"), r"`a\nb\u{1b}`");
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), 63);
    }
}
