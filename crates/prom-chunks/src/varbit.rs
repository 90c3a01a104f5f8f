//! Numbers of nine sizes: ones as a prefix tell how many bits follow.

use crate::{
    ChunkErrorKind,
    bits::{BitReader, BitWriter},
};

/// Payload bits after a prefix of 0 to 8 ones.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// Reads a signed number. A payload of half its range is positive, unlike in two's complement.
#[inline(always)]
pub(crate) fn read_int(reader: &mut BitReader<'_>) -> Result<i64, ChunkErrorKind> {
    let (raw, width) = read_raw(reader)?;
    Ok(signed(raw, width))
}

/// Reads an unsigned number.
#[inline(always)]
pub(crate) fn read_uint(reader: &mut BitReader<'_>) -> Result<u64, ChunkErrorKind> {
    read_raw(reader).map(|(raw, _)| raw)
}

/// The number that `width` bits stand for: -(2^(width-1) - 1) to 2^(width-1); all of them where `width` is 64.
#[inline(always)]
pub(crate) fn signed(raw: u64, width: u32) -> i64 {
    match width {
        0 => 0,
        64 => raw as i64,
        _ if raw > 1 << (width - 1) => raw.wrapping_sub(1 << width) as i64,
        _ => raw as i64,
    }
}

/// Tells whether `width` bits can stand for the number, in the sense of [`signed`].
pub(crate) fn fits(number: i64, width: u32) -> bool {
    let half = 1_i64 << (width - 1);
    1 - half <= number && number <= half
}

pub(crate) fn write_int(writer: &mut BitWriter, number: i64) {
    let index = if number == 0 { 0 } else { width_index(|width| fits(number, width)) };
    write_raw(writer, index, number as u64);
}

pub(crate) fn write_uint(writer: &mut BitWriter, number: u64) {
    let index = if number == 0 { 0 } else { width_index(|width| number >> width == 0) };
    write_raw(writer, index, number);
}

fn width_index(fits: impl Fn(u32) -> bool) -> usize {
    (1..8).find(|index| fits(WIDTHS[*index])).unwrap_or(8)
}

fn write_raw(writer: &mut BitWriter, index: usize, bits: u64) {
    let ones = index as u32;
    if ones == 8 {
        writer.write(0xff, 8);
    } else {
        writer.write((1 << (ones + 1)) - 2, ones + 1);
    }
    writer.write(bits, WIDTHS[index]);
}

#[inline(always)]
fn read_raw(reader: &mut BitReader<'_>) -> Result<(u64, u32), ChunkErrorKind> {
    if reader.valid() < 8 {
        reader.refill();
    }
    let ones = (!reader.word()).leading_zeros().min(8);
    let prefix = (ones + 1).min(8);
    if prefix > reader.valid() {
        return Err(ChunkErrorKind::Truncated);
    }
    reader.consume(prefix);
    let width = WIDTHS[ones as usize];
    Ok((reader.read(width)?, width))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(number: i64, bits: usize) {
        let mut writer = BitWriter::after_header(vec![]);
        write_int(&mut writer, number);
        writer.write(1, 1);
        let bytes = writer.into_bytes();
        let mut reader = BitReader::new(&bytes, 0);
        assert_eq!(read_int(&mut reader), Ok(number));
        assert_eq!(reader.bit_position(), bits, "{number}");
        assert_eq!(reader.read(1), Ok(1));
    }

    #[test]
    fn each_size_at_its_bounds() {
        check(0, 1);
        for (index, bits) in [(1, 5), (2, 9), (3, 13), (4, 17), (5, 24), (6, 32), (7, 64)] {
            let half = 1_i64 << (WIDTHS[index] - 1);
            let next = if index == 7 { 72 } else { WIDTHS[index + 1] as usize + index + 2 };
            check(half, bits);
            check(1 - half, bits);
            let next = if index == 6 { 64 } else { next };
            check(half + 1, next);
            check(-half, next);
        }
        check(i64::MIN, 72);
        check(i64::MAX, 72);
    }

    proptest! {
        #[test]
        fn unsigned_numbers(number: u64, shift in 0..64_u32) {
            let number = number >> shift;
            let mut writer = BitWriter::after_header(vec![]);
            write_uint(&mut writer, number);
            let bytes = writer.into_bytes();
            prop_assert_eq!(read_uint(&mut BitReader::new(&bytes, 0)), Ok(number));
        }
    }
}
