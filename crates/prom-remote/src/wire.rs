//! The protobuf wire format, walked without decoding: fields with their places.
//!
//! Accepts and refuses exactly what prost does for messages of known shape; a property test in `write::view`
//! holds the two together.

mod put;

use thiserror::Error;

pub(crate) use self::put::{
    put_bytes, put_bytes_unless_empty, put_fields_without, put_short, put_varint, varint_length,
};

/// The bytes are not the message they should be, or go over a limit of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind} at byte {offset}{}", in_series(self.series))]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Where, as an offset from the start of the decoded message.
    pub offset: usize,
    /// In which series, counted from 0 in the order of the message; `None` outside of series.
    pub series: Option<usize>,
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The message ends inside a field.
    #[error("message ends inside a field")]
    Truncated,
    /// A number of variable length takes more than 64 bits.
    #[error("number is longer than 64 bits")]
    VarintTooLong,
    /// A field's number or wire type does not exist.
    #[error("invalid field key {0:#x}")]
    InvalidKey(u64),
    /// A known field has another wire type than it must.
    #[error("field {field} has wire type {wire_type}")]
    WrongWireType {
        /// The number of the field in its message.
        field: u32,
        /// The wire type found.
        wire_type: u8,
    },
    /// A group is not closed, closed twice, or nested too deep.
    #[error("invalid group")]
    InvalidGroup,
    /// More series than [`Limits::max_series`](crate::Limits::max_series).
    #[error("more series than the limit of {limit}")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// More labels in a series than [`Limits::max_labels_per_series`](crate::Limits::max_labels_per_series).
    #[error("more labels than the limit of {limit}")]
    TooManyLabels {
        /// The limit.
        limit: usize,
    },
    /// More symbols than [`Limits::max_symbols`](crate::Limits::max_symbols).
    #[error("more symbols than the limit of {limit}")]
    TooManySymbols {
        /// The limit.
        limit: usize,
    },
    /// The result would be longer than [`Limits::max_decoded_bytes`](crate::Limits::max_decoded_bytes).
    #[error("result is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The label references of a 2.0 series are not pairs, or point outside of the symbols.
    #[error("label references are not pairs of symbols")]
    BadLabelRefs,
    /// More samples than [`Limits::max_samples`](crate::Limits::max_samples).
    #[error("more samples than the limit of {limit}")]
    TooManySamples {
        /// The limit.
        limit: usize,
    },
}

impl DecodeError {
    pub(crate) fn new(kind: DecodeErrorKind, offset: usize) -> Self {
        Self { kind, offset, series: None }
    }

    pub(crate) fn in_series(self, index: usize) -> Self {
        Self { series: Some(index), ..self }
    }
}

fn in_series(series: Option<usize>) -> String {
    series.map(|index| format!(" (series {index})")).unwrap_or_default()
}

/// The content of one field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
    Group,
}

impl Value<'_> {
    fn wire_type(self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Group => 3,
            Self::Fixed32 => 5,
        }
    }
}

/// One field of a message: number, content and place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// Where its key starts, from the start of its message.
    pub(crate) start: usize,
    /// Where the next field starts, from the start of its message.
    pub(crate) end: usize,
    /// Where its message starts in the whole input.
    base: usize,
}

impl<'a> Field<'a> {
    /// The content of a field that must be length-delimited.
    pub(crate) fn bytes(&self) -> Result<&'a [u8], DecodeError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_wire_type()),
        }
    }

    pub(crate) fn varint(&self) -> Result<u64, DecodeError> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(self.wrong_wire_type()),
        }
    }

    pub(crate) fn fixed64(&self) -> Result<u64, DecodeError> {
        match self.value {
            Value::Fixed64(bits) => Ok(bits),
            _ => Err(self.wrong_wire_type()),
        }
    }

    /// The fields of the message inside this field.
    pub(crate) fn message(&self) -> Result<Fields<'a>, DecodeError> {
        let bytes = self.bytes()?;
        Ok(Fields::at(bytes, self.content_offset(bytes)))
    }

    /// Where the content of a length-delimited field starts in the whole input.
    pub(crate) fn content_offset(&self, content: &[u8]) -> usize {
        self.base + self.end - content.len()
    }

    /// Where the field starts in the whole input.
    pub(crate) fn offset(&self) -> usize {
        self.base + self.start
    }

    /// Checks a repeated number of 64 fixed bits, packed or not.
    pub(crate) fn check_repeated_fixed64(&self) -> Result<(), DecodeError> {
        self.for_each_fixed64(|_| ())
    }

    /// Visits the elements of a repeated number of 64 fixed bits, packed or not.
    pub(crate) fn for_each_fixed64(&self, mut visit: impl FnMut(u64)) -> Result<(), DecodeError> {
        match self.value {
            Value::Fixed64(bits) => visit(bits),
            Value::Bytes(bytes) => {
                let (elements, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(DecodeError::new(DecodeErrorKind::Truncated, self.base + self.end));
                }
                elements.iter().for_each(|bits| visit(u64::from_le_bytes(*bits)));
            }
            _ => return Err(self.wrong_wire_type()),
        }
        Ok(())
    }

    /// Checks a repeated number of variable length, packed or not.
    pub(crate) fn check_repeated_varint(&self) -> Result<(), DecodeError> {
        self.for_each_varint(|_| ())
    }

    /// Visits the elements of a repeated number of variable length, packed or not.
    pub(crate) fn for_each_varint(&self, mut visit: impl FnMut(u64)) -> Result<(), DecodeError> {
        match self.value {
            Value::Varint(number) => visit(number),
            Value::Bytes(bytes) => {
                let mut packed = Fields::at(bytes, self.content_offset(bytes));
                while packed.position < bytes.len() {
                    visit(packed.read_varint()?);
                }
            }
            _ => return Err(self.wrong_wire_type()),
        }
        Ok(())
    }

    fn wrong_wire_type(&self) -> DecodeError {
        let kind = DecodeErrorKind::WrongWireType { field: self.number, wire_type: self.value.wire_type() };
        DecodeError::new(kind, self.offset())
    }
}

/// Walks the fields of one message.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    position: usize,
    base: usize,
}

impl<'a> Fields<'a> {
    /// Walks a whole input.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Walks a message that starts at `base` of the whole input.
    pub(crate) fn at(bytes: &'a [u8], base: usize) -> Self {
        Self { bytes, position: 0, base }
    }

    /// Goes on at this place, at which a field must begin.
    pub(crate) fn skip_to(&mut self, position: usize) {
        self.position = position;
    }

    /// Returns the next field, or `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.position >= self.bytes.len() {
            return Ok(None);
        }
        let start = self.position;
        let (number, wire_type) = self.read_key()?;
        let value = match wire_type {
            0 => Value::Varint(self.read_varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take_array()?)),
            2 => {
                let length = self.read_varint()?;
                Value::Bytes(self.take(length)?)
            }
            3 => {
                self.skip_group(number, 0)?;
                Value::Group
            }
            5 => {
                self.take_array::<4>()?;
                Value::Fixed32
            }
            _ => return Err(DecodeError::new(DecodeErrorKind::InvalidGroup, self.base + start)),
        };
        Ok(Some(Field { number, value, start, end: self.position, base: self.base }))
    }

    /// Returns the next field if its key is this one of one byte, and its content is shorter than 16,384 bytes: what
    /// [`next`](Self::next) would return, sooner. Moves on only if it returns a field.
    #[inline(always)]
    pub(crate) fn next_short(&mut self, key: u8) -> Option<Field<'a>> {
        let start = self.position;
        let (length, header) = match self.bytes.get(start..)? {
            [first, length @ 0..0x80, ..] if *first == key => (usize::from(*length), 2),
            [first, low, high @ 0..0x80, ..] if *first == key => {
                (usize::from(*low & 0x7f) | usize::from(*high) << 7, 3)
            }
            _ => return None,
        };
        let content = self.bytes.get(start + header..start + header + length)?;
        self.position = start + header + length;
        let number = u32::from(key >> 3);
        Some(Field { number, value: Value::Bytes(content), start, end: self.position, base: self.base })
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    #[inline]
    fn read_key(&mut self) -> Result<(u32, u8), DecodeError> {
        let offset = self.base + self.position;
        let key = self.read_varint()?;
        let wire_type = (key & 7) as u8;
        match u32::try_from(key >> 3) {
            Ok(number) if number > 0 && key <= u64::from(u32::MAX) && wire_type <= 5 => {
                Ok((number, wire_type))
            }
            _ => Err(DecodeError::new(DecodeErrorKind::InvalidKey(key), offset)),
        }
    }

    #[inline]
    pub(crate) fn read_varint(&mut self) -> Result<u64, DecodeError> {
        match self.bytes.get(self.position..) {
            Some([byte @ 0..0x80, ..]) => {
                self.position += 1;
                Ok(u64::from(*byte))
            }
            Some([low, high @ 0..0x80, ..]) => {
                self.position += 2;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.read_long_varint(),
        }
    }

    #[cold]
    fn read_long_varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.position;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let mut number = 0_u64;
        for (index, &byte) in rest.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(DecodeError::new(DecodeErrorKind::VarintTooLong, self.base + start));
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.position = start + index + 1;
                return Ok(number);
            }
        }
        Err(DecodeError::new(DecodeErrorKind::Truncated, self.base + start))
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        match taken {
            Some(taken) => {
                self.position += taken.len();
                Ok(taken)
            }
            None => Err(DecodeError::new(DecodeErrorKind::Truncated, self.base + self.position)),
        }
    }

    fn take_array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], DecodeError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        match rest.first_chunk::<LENGTH>() {
            Some(array) => {
                self.position += LENGTH;
                Ok(*array)
            }
            None => Err(DecodeError::new(DecodeErrorKind::Truncated, self.base + self.position)),
        }
    }

    fn skip_group(&mut self, number: u32, depth: usize) -> Result<(), DecodeError> {
        let invalid = DecodeError::new(DecodeErrorKind::InvalidGroup, self.base + self.position);
        if depth > MAX_GROUP_DEPTH {
            return Err(invalid);
        }
        loop {
            let (inner, wire_type) = self.read_key()?;
            match wire_type {
                0 => drop(self.read_varint()?),
                1 => drop(self.take_array::<8>()?),
                2 => {
                    let length = self.read_varint()?;
                    self.take(length)?;
                }
                3 => self.skip_group(inner, depth + 1)?,
                4 if inner == number => return Ok(()),
                5 => drop(self.take_array::<4>()?),
                _ => return Err(invalid),
            }
        }
    }
}

/// Deep enough for any real message, shallow enough for any stack.
const MAX_GROUP_DEPTH: usize = 64;
