//! Lower and upper case, letter by letter.
//!
//! Go maps each letter to one letter (Unicode's simple mappings); Rust's standard library may map one to several
//! (`ß` to `SS`) and looks at what stands around (`Σ` at the end of a word).

pub(super) fn lowercase(text: &[u8]) -> Vec<u8> {
    map(text, |letter| match letter {
        // The one letter whose lower case is two in Rust.
        'İ' => 'i',
        _ => only(letter.to_lowercase()).unwrap_or(letter),
    })
}

pub(super) fn uppercase(text: &[u8]) -> Vec<u8> {
    map(text, |letter| match only(letter.to_uppercase()) {
        Some(upper) => upper,
        // Greek letters with an iota below: one letter in the simple mapping, two in the full one.
        None => match letter {
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => shifted(letter, 8),
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => shifted(letter, 9),
            _ => letter,
        },
    })
}

fn shifted(letter: char, by: u32) -> char {
    char::from_u32(u32::from(letter) + by).unwrap_or(letter)
}

/// The one letter, if it is one.
fn only(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

fn map(text: &[u8], map: impl Fn(char) -> char) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text.chars().map(map).collect::<String>().into_bytes(),
        // Not met: labels and separators are UTF-8.
        Err(_) => text.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is printed by Go; see `tests/relabel_oracle`.
    #[test]
    fn letters_have_the_case_that_go_gives_them() {
        let table = include_str!("../../tests/data/relabel/letters.txt");
        let letter = |code: &str| char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap().to_string();
        let mut known = std::collections::BTreeSet::new();
        for line in table.lines() {
            let [text, lower, upper] = line.split(' ').map(letter).collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(String::from_utf8_lossy(&lowercase(text.as_bytes())), lower, "{text}");
            assert_eq!(String::from_utf8_lossy(&uppercase(text.as_bytes())), upper, "{text}");
            known.insert(text);
        }
        // Letters that have come with a later version of Unicode than Go's.
        let is_new = |text: &String| {
            let text = text.as_bytes();
            lowercase(text) != text || uppercase(text) != text
        };
        let every = (char::MIN..=char::MAX).map(String::from);
        let new = every.filter(|text| !known.contains(text)).filter(is_new).count();
        assert!(new < 300, "{new} letters that Go knows nothing of");
    }
}
