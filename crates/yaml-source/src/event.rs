//! The events of the foreign parser in our own words: the only file that knows which parser is used.

use granit_parser::{Event as Foreign, Marker, Parser, ScalarStyle as ForeignStyle, StructureStyle};

use crate::{Position, Scalar, ScalarStyle, Source, Span};

/// One step through a text.
pub(crate) enum Event {
    DocumentStart,
    DocumentEnd,
    Scalar {
        scalar: Scalar,
        anchor: Anchor,
    },
    SequenceStart {
        tag: Option<String>,
        anchor: Anchor,
    },
    MappingStart {
        tag: Option<String>,
        anchor: Anchor,
    },
    /// The end of a collection; `flow` collections have a closing bracket, which the span covers.
    CollectionEnd {
        flow: bool,
    },
    Alias(usize),
    UnknownAlias(String),
}

/// The number of the anchor that stands on a node.
pub(crate) type Anchor = Option<usize>;

/// A fault that ends the text: nothing after it can be read.
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) too_deep: bool,
}

/// Calls `receive` for every event until it returns `false`.
///
/// # Errors
/// The first syntax error, with its place.
pub(crate) fn read_events(
    source: &Source,
    depth_limit: usize,
    mut receive: impl FnMut(Event, Span) -> bool,
) -> Result<(), (SyntaxError, Span)> {
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: depth_limit.saturating_add(1),
        block_nesting_limit: depth_limit.saturating_add(1),
    };
    let mut styles = Vec::new();
    for step in Parser::new_from_str_with_options(source.text(), options) {
        let (foreign, span) = step.map_err(|error| {
            let at = position(source, error.marker());
            let too_deep = *error.kind() == granit_parser::ErrorKind::RecursionLimitExceeded;
            (
                SyntaxError { message: error.info(), too_deep },
                Span { source: source.clone(), start: at, end: at },
            )
        })?;
        let span = Span {
            source: source.clone(),
            start: position(source, &span.start),
            end: position(source, &span.end),
        };
        let Some(event) = translate(foreign, &mut styles) else { continue };
        if !receive(event, span) {
            break;
        }
    }
    Ok(())
}

fn translate(foreign: Foreign<'_>, styles: &mut Vec<StructureStyle>) -> Option<Event> {
    let anchored = |number: usize| (number != 0).then_some(number);
    Some(match foreign {
        Foreign::DocumentStart(..) => Event::DocumentStart,
        Foreign::DocumentEnd => Event::DocumentEnd,
        Foreign::Alias(number) => Event::Alias(number),
        Foreign::UnresolvedAlias(name) => Event::UnknownAlias(name.into_owned()),
        Foreign::Scalar(text, style, anchor, tag) => Event::Scalar {
            scalar: Scalar {
                text: text.into_owned(),
                style: style_of(style),
                tag: tag.map(|tag| tag_text(&tag)),
            },
            anchor: anchored(anchor),
        },
        Foreign::SequenceStart(style, anchor, tag) => {
            styles.push(style);
            Event::SequenceStart { tag: tag.map(|tag| tag_text(&tag)), anchor: anchored(anchor) }
        }
        Foreign::MappingStart(style, anchor, tag) => {
            styles.push(style);
            Event::MappingStart { tag: tag.map(|tag| tag_text(&tag)), anchor: anchored(anchor) }
        }
        Foreign::SequenceEnd | Foreign::MappingEnd => {
            Event::CollectionEnd { flow: styles.pop() == Some(StructureStyle::Flow) }
        }
        _ => return None,
    })
}

fn style_of(style: ForeignStyle) -> ScalarStyle {
    match style {
        ForeignStyle::Plain => ScalarStyle::Plain,
        ForeignStyle::SingleQuoted => ScalarStyle::SingleQuoted,
        ForeignStyle::DoubleQuoted => ScalarStyle::DoubleQuoted,
        ForeignStyle::Literal => ScalarStyle::Literal,
        ForeignStyle::Folded => ScalarStyle::Folded,
    }
}

fn tag_text(tag: &granit_parser::Tag) -> String {
    match tag.suffix_in_namespace("tag:yaml.org,2002:") {
        Some(name) => format!("!!{name}"),
        None => tag.original(),
    }
}

fn position(source: &Source, marker: &Marker) -> Position {
    let offset = marker.byte_offset().unwrap_or(0).min(source.text().len());
    Position { offset, line: marker.line(), column: marker.col() + 1 }
}
