//! The Prometheus text format, written by hand: version 0.0.4, the one every Prometheus reads.

use std::fmt::{self, Display};

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A family's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, but for a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with `_sum` and `_count`.
    Histogram,
}

/// A page of metrics being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// A family opened on the page; its samples follow.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Opens a family: its HELP and TYPE lines.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        write_text(&mut self.text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.text, name }
    }

    /// Writes a family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// Returns the page.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Writes one sample; label values are escaped, label names must be valid.
    pub fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) -> &mut Self {
        self.suffixed("", labels, value)
    }

    /// Writes one sample whose name is the family's with a suffix: `_bucket`, `_sum` or `_count`.
    pub fn suffixed(
        &mut self,
        suffix: &str,
        labels: &[(&str, &dyn Display)],
        value: impl Display,
    ) -> &mut Self {
        write_text(self.text, format_args!("{}{suffix}", self.name));
        for (index, (name, label)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            write_text(self.text, format_args!("{opening}{name}=\""));
            write_text(&mut EscapedLabel(self.text), format_args!("{label}"));
            self.text.push('"');
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        write_text(self.text, format_args!("{closing} {value}\n"));
        self
    }
}

struct EscapedLabel<'a>(&'a mut String);

impl fmt::Write for EscapedLabel<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

fn write_text(target: &mut impl fmt::Write, arguments: fmt::Arguments<'_>) {
    target.write_fmt(arguments).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_families_and_escapes_labels() {
        let mut page = Exposition::default();
        page.single("up_seconds", Kind::Gauge, "Time\\.", 1.5);
        page.family("m_total", Kind::Counter, "Many.")
            .sample(&[("partition", &0), ("name", &"a\"b\\c\nd")], 3)
            .sample(&[("partition", &1)], f64::INFINITY);
        let expected = "# HELP up_seconds Time\\\\.\n# TYPE up_seconds gauge\nup_seconds 1.5\n\
                        # HELP m_total Many.\n# TYPE m_total counter\n\
                        m_total{partition=\"0\",name=\"a\\\"b\\\\c\\nd\"} 3\nm_total{partition=\"1\"} inf\n";
        assert_eq!(page.finish(), expected);
    }
}
