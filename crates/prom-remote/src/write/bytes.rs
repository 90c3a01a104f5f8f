//! Comparing and reading a few bytes, fast.

use crate::Sample;

/// The form that every encoder writes: the value if it is not 0, then the timestamp.
#[inline]
pub(super) fn canonical_sample(message: &[u8]) -> Option<Sample> {
    if let [0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, varint @ ..] = message {
        let value_bits = u64::from_le_bytes([*v0, *v1, *v2, *v3, *v4, *v5, *v6, *v7]);
        let timestamp = match message.last_chunk::<8>() {
            Some(last) if varint.len() <= 8 => varint_at_end(u64::from_le_bytes(*last), varint.len())?,
            _ => whole_varint(varint)?,
        };
        return Some(Sample { timestamp_ms: timestamp as i64, value_bits });
    }
    let [0x10, varint @ ..] = message else { return None };
    Some(Sample { timestamp_ms: whole_varint(varint)? as i64, value_bits: 0 })
}

/// Reads the number of variable length that takes exactly the last `length` of 8 bytes (little-endian).
#[inline]
fn varint_at_end(bytes: u64, length: usize) -> Option<u64> {
    if length == 0 || length > 8 {
        return None;
    }
    let bytes = bytes >> (64 - 8 * length);
    let more = 0x8080_8080_8080_8080_u64 >> (64 - 8 * length);
    let last = 1 << (8 * length - 1);
    if bytes & more != more & !last {
        return None;
    }
    // Groups of 7 bits, of 14, of 28, of 56.
    let groups = bytes & 0x7f7f_7f7f_7f7f_7f7f;
    let groups = (groups & 0x007f_007f_007f_007f) | (groups & 0x7f00_7f00_7f00_7f00) >> 1;
    let groups = (groups & 0x0000_3fff_0000_3fff) | (groups & 0x3fff_0000_3fff_0000) >> 2;
    Some((groups & 0x0fff_ffff) | (groups & 0x0fff_ffff_0000_0000) >> 4)
}

/// A number of at most 63 bits that takes all of the bytes.
#[inline]
pub(super) fn whole_varint(bytes: &[u8]) -> Option<u64> {
    let (&last, before) = bytes.split_last()?;
    if before.len() > 8 || last >= 0x80 {
        return None;
    }
    let mut number = u64::from(last);
    for &byte in before.iter().rev() {
        if byte < 0x80 {
            return None;
        }
        number = number << 7 | u64::from(byte & 0x7f);
    }
    Some(number)
}

/// How many bytes the two have in common at their beginning.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let end = a.len().min(b.len());
    let (a, b) = (a.get(..end).unwrap_or_default(), b.get(..end).unwrap_or_default());
    let mut length = 0;
    let (a_blocks, _) = a.as_chunks::<32>();
    let (b_blocks, _) = b.as_chunks::<32>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        if a != b {
            break;
        }
        length += 32;
    }
    let (a_words, _) = a.get(length..).unwrap_or_default().as_chunks::<8>();
    let (b_words, _) = b.get(length..).unwrap_or_default().as_chunks::<8>();
    for (a, b) in a_words.iter().zip(b_words) {
        let difference = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        // The last word overlaps what is known to be the same.
        (Some(a), Some(b)) => {
            let difference = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
            if difference == 0 { end } else { end - 8 + difference.trailing_zeros() as usize / 8 }
        }
        _ => a.iter().zip(b).take_while(|(a, b)| a == b).count(),
    }
}

/// Compares two of the same length; without a call if they are short.
#[inline]
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    #[inline(always)]
    fn halves<const HALF: usize>(a: &[u8], b: &[u8]) -> bool {
        a.first_chunk::<HALF>() == b.first_chunk::<HALF>() && a.last_chunk::<HALF>() == b.last_chunk::<HALF>()
    }
    match a.len() {
        4..=8 => halves::<4>(a, b),
        9..=16 => halves::<8>(a, b),
        17..=32 => halves::<16>(a, b),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_prefix_counts_bytes() {
        let a: Vec<u8> = (0..100).collect();
        for length in 0..100 {
            let mut b = a.clone();
            b[length] ^= 0x80;
            assert_eq!(common_prefix(&a, &b), length);
            assert_eq!(common_prefix(&a, &a[..length]), length);
        }
    }

    #[test]
    fn is_same_compares_all_bytes() {
        for length in 0..40 {
            let a: Vec<u8> = (0..length).collect();
            assert!(is_same(&a, &a));
            for place in 0..a.len() {
                let mut b = a.clone();
                b[place] ^= 1;
                assert!(!is_same(&a, &b));
            }
        }
    }

    #[test]
    fn whole_varints() {
        let check = |bytes: &[u8], expected: Option<u64>| {
            assert_eq!(whole_varint(bytes), expected, "{bytes:?}");
            if bytes.len() <= 8 {
                let mut last = [0xab; 8];
                last[8 - bytes.len()..].copy_from_slice(bytes);
                assert_eq!(varint_at_end(u64::from_le_bytes(last), bytes.len()), expected, "{bytes:?}");
            }
        };
        let groups = (1..=8).map(|group| group << (7 * (group - 1))).sum();
        check(&[0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x08], Some(groups));
        check(&[0], Some(0));
        check(&[0x7f], Some(127));
        check(&[0x80, 1], Some(128));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], Some(u64::MAX >> 1));
        check(&[], None);
        check(&[0x80], None);
        check(&[1, 1], None);
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], None);
    }
}
