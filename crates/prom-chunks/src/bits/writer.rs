/// Writes bits, the highest first.
#[derive(Debug, Clone)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// How many low bits of the last byte are free.
    free: u32,
}

impl BitWriter {
    /// Continues after whole bytes.
    pub(crate) fn after_header(header: Vec<u8>) -> Self {
        Self { bytes: header, free: 0 }
    }

    /// Writes the low `count` bits, at most 64.
    pub(crate) fn write(&mut self, bits: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            let part = (bits >> (count - taken)) as u8 & (0xff >> (8 - taken));
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (self.free - taken);
            }
            self.free -= taken;
            count -= taken;
        }
    }

    /// Writes an unsigned LEB128 number.
    pub(crate) fn write_uvarint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.write(number & 0x7f | 0x80, 8);
            number >>= 7;
        }
        self.write(number, 8);
    }

    /// Writes a zig-zag LEB128 number.
    pub(crate) fn write_varint(&mut self, number: i64) {
        self.write_uvarint((number << 1 ^ number >> 63) as u64);
    }

    /// How many bytes are taken, the last perhaps in part.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Changes bytes of the header.
    pub(crate) fn set_u16(&mut self, offset: usize, number: u16) {
        if let Some(place) = self.bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *place = number.to_be_bytes();
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
