//! Consistent Overhead Byte Stuffing: no 00 among the bytes, for one byte in 254 more.
//!
//! ```text
//! piece = code u8 | code − 1 bytes, none of them 00            a 00 follows, unless the code is FF or it is the last
//! ```

/// The most bytes of a piece.
const PIECE: usize = 254;

/// What so many bytes take at most, without an end.
pub const fn encoded_max(bytes: usize) -> usize {
    bytes + bytes / PIECE + 1
}

/// Writes pieces into a buffer.
pub struct Writer<'a> {
    out: &'a mut [u8],
    /// Where the code of the piece that is being written stands.
    code: usize,
    at: usize,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut [u8]) -> Option<Self> {
        (!out.is_empty()).then_some(Self { out, code: 0, at: 1 })
    }

    pub fn put(&mut self, bytes: &[u8]) -> Option<()> {
        for byte in bytes {
            // A full piece ends when more follows, so that nothing empty is ever written behind one.
            if self.at - self.code > PIECE {
                self.close(0xFF)?;
            }
            if *byte == 0 {
                self.close((self.at - self.code) as u8)?;
            } else {
                *self.out.get_mut(self.at)? = *byte;
                self.at += 1;
            }
        }
        Some(())
    }

    /// Closes the last piece and writes the end; says how many bytes there are.
    pub fn end(mut self) -> Option<usize> {
        self.out[self.code] = (self.at - self.code) as u8;
        *self.out.get_mut(self.at)? = 0;
        self.at += 1;
        Some(self.at)
    }

    fn close(&mut self, code: u8) -> Option<()> {
        self.out[self.code] = code;
        self.code = self.at;
        // Its own code is written when it closes; there must be room for it now.
        *self.out.get_mut(self.at)? = 0;
        self.at += 1;
        Some(())
    }
}

/// Reads pieces where they lie, and says how many bytes they come to; `None` where a piece goes on behind the end.
pub fn decode(bytes: &mut [u8]) -> Option<usize> {
    let (mut from, mut to) = (0, 0);
    while let Some(code) = bytes.get(from).copied() {
        let length = usize::from(code).checked_sub(1)?;
        if from + 1 + length > bytes.len() {
            return None;
        }
        bytes.copy_within(from + 1..from + 1 + length, to);
        from += 1 + length;
        to += length;
        if length < PIECE && from < bytes.len() {
            bytes[to] = 0;
            to += 1;
        }
    }
    Some(to)
}
