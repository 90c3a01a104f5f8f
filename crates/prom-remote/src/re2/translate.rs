//! Reads an expression by the rules of RE2 and writes it in the syntax of the crate `regex`.

use std::fmt::Write;

use super::{PatternError, class};

/// An expression of the crate `regex`.
pub(super) struct Translated {
    pub(super) expression: String,
    pub(super) group_names: Vec<Option<String>>,
}

pub(super) fn translate(source: &str) -> Result<Translated, PatternError> {
    let mut translator = Translator {
        cursor: Cursor { source, offset: 0 },
        output: String::with_capacity(source.len() + 16),
        open_groups: Vec::new(),
        group_names: vec![None],
        operand: Operand::None,
    };
    while !translator.cursor.rest().is_empty() {
        translator.item()?;
    }
    match translator.open_groups.last() {
        Some(&offset) => Err(syntax(offset, "unclosed group")),
        None => Ok(Translated { expression: translator.output, group_names: translator.group_names }),
    }
}

struct Translator<'a> {
    cursor: Cursor<'a>,
    output: String,
    /// Where each open group began.
    open_groups: Vec<usize>,
    group_names: Vec<Option<String>>,
    operand: Operand,
}

/// What a repetition would repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    None,
    Item,
    Repetition,
    /// Flags or an empty quotation: RE2 repeats what stands before them.
    Skipped,
}

impl Translator<'_> {
    fn item(&mut self) -> Result<(), PatternError> {
        let start = self.cursor.offset;
        let Some(first) = self.cursor.next() else { return Ok(()) };
        match first {
            '(' => return self.open_group(start),
            ')' => {
                self.open_groups.pop().ok_or(syntax(start, "unopened group"))?;
                self.output.push(')');
            }
            '|' => {
                self.output.push('|');
                self.operand = Operand::None;
                return Ok(());
            }
            '*' | '+' | '?' => {
                let mut written = [0; 4];
                return self.repetition(start, first.encode_utf8(&mut written));
            }
            '{' => match self.cursor.bounds() {
                Some(bounds) => {
                    let written = bounds.check(start)?;
                    return self.repetition(start, &written);
                }
                None => put_literal(&mut self.output, '{'),
            },
            '[' => class::bracketed(&mut self.cursor, start, &mut self.output)?,
            '.' | '^' | '$' => self.output.push(first),
            '\\' => return self.escape(start),
            literal => put_literal(&mut self.output, literal),
        }
        self.operand = Operand::Item;
        Ok(())
    }

    fn repetition(&mut self, start: usize, written: &str) -> Result<(), PatternError> {
        match self.operand {
            Operand::Item => {}
            Operand::None => return Err(syntax(start, "repetition of nothing")),
            Operand::Repetition => return Err(syntax(start, "repetition of a repetition")),
            Operand::Skipped => {
                let what = "repetition right after flags or an empty quotation";
                return Err(PatternError::Unsupported { offset: start, what });
            }
        }
        self.output.push_str(written);
        if self.cursor.eat("?") {
            self.output.push('?');
        }
        self.operand = Operand::Repetition;
        Ok(())
    }

    fn open_group(&mut self, start: usize) -> Result<(), PatternError> {
        if !self.cursor.eat("?") {
            self.group_names.push(None);
            self.push_group(start, "(");
        } else if self.cursor.eat("P<") || self.cursor.eat("<") {
            let name = self.cursor.take_until('>').ok_or(syntax(start, "invalid group name"))?;
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(is_word) {
                return Err(syntax(start, "invalid group name"));
            }
            self.group_names.push(Some(name.to_owned()));
            self.push_group(start, "(");
        } else {
            self.flags(start)?;
        }
        Ok(())
    }

    fn push_group(&mut self, start: usize, written: &str) {
        self.open_groups.push(start);
        self.output.push_str(written);
        self.operand = Operand::None;
    }

    /// `(?i)` or `(?i-s:`, after the question mark.
    fn flags(&mut self, start: usize) -> Result<(), PatternError> {
        let mut flags = String::new();
        loop {
            let offset = self.cursor.offset;
            match self.cursor.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => flags.push(flag),
                Some('-') if !flags.contains('-') => flags.push('-'),
                Some(':') if !flags.ends_with('-') => {
                    self.push_group(start, &format!("(?{}:", without_repeats(&flags)));
                    return Ok(());
                }
                Some(')') if !flags.ends_with('-') => {
                    if !flags.is_empty() {
                        let _ = write!(self.output, "(?{})", without_repeats(&flags));
                    }
                    if self.operand != Operand::None {
                        self.operand = Operand::Skipped;
                    }
                    return Ok(());
                }
                Some(_) => return Err(syntax(offset, "unknown flag")),
                None => return Err(syntax(start, "unclosed group")),
            }
        }
    }

    fn escape(&mut self, start: usize) -> Result<(), PatternError> {
        if self.cursor.eat("Q") {
            let quoted = self.cursor.take_quoted();
            quoted.chars().for_each(|literal| put_literal(&mut self.output, literal));
            if !quoted.is_empty() {
                self.operand = Operand::Item;
            } else if self.operand != Operand::None {
                self.operand = Operand::Skipped;
            }
            return Ok(());
        }
        if self.cursor.eat("A") {
            self.output.push_str(r"\A");
        } else if self.cursor.eat("z") {
            self.output.push_str(r"\z");
        } else if self.cursor.eat("b") {
            self.output.push_str(r"(?-u:\b)");
        } else if self.cursor.eat("B") {
            self.output.push_str(r"(?-u:\B)");
        } else if !class::escaped(&mut self.cursor, start, &mut self.output)? {
            put_literal(&mut self.output, self.cursor.escaped_char(start)?);
        }
        self.operand = Operand::Item;
        Ok(())
    }
}

/// The crate `regex` refuses a flag that is said twice.
fn without_repeats(flags: &str) -> String {
    let (on, off) = flags.split_once('-').unwrap_or((flags, ""));
    let mut written = String::new();
    for flag in on.chars().filter(|flag| !off.contains(*flag)) {
        if !written.contains(flag) {
            written.push(flag);
        }
    }
    if !off.is_empty() {
        written.push('-');
        let on_length = written.len();
        for flag in off.chars() {
            if !written[on_length..].contains(flag) {
                written.push(flag);
            }
        }
    }
    written
}

/// A place in an expression.
pub(super) struct Cursor<'a> {
    source: &'a str,
    pub(super) offset: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn rest(&self) -> &'a str {
        self.source.get(self.offset..).unwrap_or_default()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.offset += next.len_utf8();
        Some(next)
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.offset += text.len();
        }
        found
    }

    /// Takes what stands before `end`, and passes over `end`.
    pub(super) fn take_until(&mut self, end: char) -> Option<&'a str> {
        let (taken, _) = self.rest().split_once(end)?;
        self.offset += taken.len() + end.len_utf8();
        Some(taken)
    }

    /// Takes what stands before `\E` or the end.
    fn take_quoted(&mut self) -> &'a str {
        let rest = self.rest();
        let (taken, passed) = match rest.split_once(r"\E") {
            Some((taken, _)) => (taken, taken.len() + 2),
            None => (rest, rest.len()),
        };
        self.offset += passed;
        taken
    }

    /// A single character after a backslash, as outside and inside of classes.
    pub(super) fn escaped_char(&mut self, start: usize) -> Result<char, PatternError> {
        let unknown = syntax(start, "unknown escape");
        let code = match self.next().ok_or(syntax(start, "trailing backslash"))? {
            first @ '0'..='7' => {
                let follows = self.rest().starts_with(|next: char| next.is_digit(8));
                // A single digit other than 0 would be a back reference.
                if first != '0' && !follows {
                    return Err(unknown);
                }
                let mut code = u32::from(first) - u32::from('0');
                for _ in 0..2 {
                    let Some(digit) = self.rest().chars().next().and_then(|next| next.to_digit(8)) else {
                        break;
                    };
                    self.offset += 1;
                    code = code * 8 + digit;
                }
                code
            }
            'x' => self.hexadecimal().ok_or(unknown)?,
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            punctuation if punctuation.is_ascii() && !punctuation.is_ascii_alphanumeric() => {
                return Ok(punctuation);
            }
            _ => return Err(unknown),
        };
        char::from_u32(code).ok_or(match code {
            0xd800..=0xdfff => PatternError::Unsupported { offset: start, what: "surrogate" },
            _ => syntax(start, "unknown escape"),
        })
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = if self.eat("{") {
            self.take_until('}')?
        } else {
            let digits = self.rest().get(..2)?;
            self.offset += 2;
            digits
        };
        let is_plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let digits = digits.trim_start_matches('0');
        // What is too long for a number is too large for a character.
        is_plain
            .then(|| if digits.is_empty() { 0 } else { u32::from_str_radix(digits, 16).unwrap_or(u32::MAX) })
    }

    /// `{2}`, `{2,}` or `{2,3}`, after the brace; nothing is taken if it is none of them.
    fn bounds(&mut self) -> Option<Bounds> {
        let (text, _) = self.rest().split_once('}')?;
        let number = |text: &str| {
            let leads_with_zero = text.len() > 1 && text.starts_with('0');
            let is_number =
                !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) && !leads_with_zero;
            is_number.then(|| text.parse().unwrap_or(u32::MAX))
        };
        let bounds = match text.split_once(',') {
            None => Bounds { min: number(text)?, max: Some(number(text)?), is_exact: true },
            Some((min, "")) => Bounds { min: number(min)?, max: None, is_exact: false },
            Some((min, max)) => Bounds { min: number(min)?, max: Some(number(max)?), is_exact: false },
        };
        self.offset += text.len() + 1;
        Some(bounds)
    }
}

struct Bounds {
    min: u32,
    max: Option<u32>,
    is_exact: bool,
}

impl Bounds {
    fn check(&self, start: usize) -> Result<String, PatternError> {
        let highest = self.max.unwrap_or(self.min);
        if self.min > MAX_REPETITIONS || highest > MAX_REPETITIONS || self.min > highest {
            return Err(syntax(start, "repetition over 1000 or backwards"));
        }
        Ok(match self.max {
            Some(_) if self.is_exact => format!("{{{}}}", self.min),
            Some(max) => format!("{{{},{max}}}", self.min),
            None => format!("{{{},}}", self.min),
        })
    }
}

/// RE2's own bound.
const MAX_REPETITIONS: u32 = 1_000;

pub(super) fn syntax(offset: usize, what: &'static str) -> PatternError {
    PatternError::Syntax { offset, what }
}

/// Writes a character that stands for itself, inside and outside of classes.
pub(super) fn put_literal(output: &mut String, literal: char) {
    if literal.is_ascii_alphanumeric() || !literal.is_ascii() {
        output.push(literal);
    } else {
        let _ = write!(output, "\\x{:02x}", u32::from(literal));
    }
}
