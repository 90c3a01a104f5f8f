//! Protobuf written by hand: also what no builder would write.

/// A field with bytes in it: text, a message, packed numbers.
pub(crate) fn bytes(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut field = vec![number << 3 | 2];
    put_varint(&mut field, content.len() as u64);
    field.extend_from_slice(content);
    field
}

pub(crate) fn varint(number: u8, value: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    put_varint(&mut field, value);
    field
}

pub(crate) fn double(number: u8, bits: u64) -> Vec<u8> {
    [&[number << 3 | 1][..], &bits.to_le_bytes()].concat()
}

/// Numbers of variable length, packed.
pub(crate) fn packed(number: u8, values: &[u64]) -> Vec<u8> {
    let mut content = Vec::new();
    values.iter().for_each(|&value| put_varint(&mut content, value));
    bytes(number, content)
}

fn put_varint(output: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        output.push(value as u8 | 0x80);
        value >>= 7;
    }
    output.push(value as u8);
}
