//! Writing the wire format.

use super::{DecodeError, Fields};

/// Appends bytes of which there are few: in two pieces of a fixed length that overlap, which costs no call.
#[inline]
pub(crate) fn put_short(output: &mut Vec<u8>, bytes: &[u8]) {
    #[inline(always)]
    fn put_overlapping<const HALF: usize>(output: &mut Vec<u8>, bytes: &[u8]) {
        if let (Some(first), Some(last)) = (bytes.first_chunk::<HALF>(), bytes.last_chunk::<HALF>()) {
            let start = output.len();
            output.extend_from_slice(first);
            output.truncate(start + bytes.len() - HALF);
            output.extend_from_slice(last);
        }
    }
    match bytes.len() {
        0 => {}
        1 => output.extend(bytes.first()),
        2..=4 => put_overlapping::<2>(output, bytes),
        5..=8 => put_overlapping::<4>(output, bytes),
        9..=16 => put_overlapping::<8>(output, bytes),
        17..=32 => put_overlapping::<16>(output, bytes),
        33..=64 => put_overlapping::<32>(output, bytes),
        _ => output.extend_from_slice(bytes),
    }
}

/// Appends the fields of a message other than those of this number, as they are.
pub(crate) fn put_fields_without(
    output: &mut Vec<u8>,
    message: &[u8],
    number: u32,
) -> Result<(), DecodeError> {
    let mut fields = Fields::new(message);
    let mut kept_from = 0;
    while let Some(field) = fields.next()? {
        if field.number == number {
            output.extend_from_slice(message.get(kept_from..field.start).unwrap_or_default());
            kept_from = field.end;
        }
    }
    output.extend_from_slice(message.get(kept_from..).unwrap_or_default());
    Ok(())
}

/// Appends a number of variable length in its shortest form.
#[inline]
pub(crate) fn put_varint(output: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        output.push(number as u8 | 0x80);
        number >>= 7;
    }
    output.push(number as u8);
}

/// How many bytes a number of variable length takes in its shortest form.
#[inline]
pub(crate) fn varint_length(number: u64) -> usize {
    (number | 1).ilog2() as usize / 7 + 1
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(output: &mut Vec<u8>, field: u8, content: &[u8]) {
    output.push(field << 3 | 2);
    put_varint(output, content.len() as u64);
    output.extend_from_slice(content);
}

/// Appends a length-delimited field unless it is empty, as proto3 does.
pub(crate) fn put_bytes_unless_empty(output: &mut Vec<u8>, field: u8, content: &[u8]) {
    if !content.is_empty() {
        put_bytes(output, field, content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_bytes_are_appended() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in 0..=bytes.len() {
            let mut output = vec![7, 7];
            put_short(&mut output, &bytes[..length]);
            assert_eq!(output, [&[7, 7], &bytes[..length]].concat());
        }
    }
}
