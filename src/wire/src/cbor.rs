//! The part of CBOR (RFC 8949) that the format uses: definite lengths, integers, strings, arrays, maps, 64-bit floats.

use alloc::vec::Vec;

use crate::Refusal;

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const NULL: u8 = 0xF6;
const FLOAT: u8 = 0xFB;

/// Writes the shortest form of everything.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    fn head(&mut self, major: u8, n: u64) {
        let major = major << 5;
        match n {
            0..24 => self.0.push(major + n as u8),
            24..0x100 => self.0.extend([major + 24, n as u8]),
            0x100..0x1_0000 => {
                self.0.push(major + 25);
                self.0.extend((n as u16).to_be_bytes());
            }
            0x1_0000..0x1_0000_0000 => {
                self.0.push(major + 26);
                self.0.extend((n as u32).to_be_bytes());
            }
            _ => {
                self.0.push(major + 27);
                self.0.extend(n.to_be_bytes());
            }
        }
    }

    pub fn uint(&mut self, n: u64) {
        self.head(UINT, n);
    }

    /// Any integer of CBOR: −2^64 … 2^64−1.
    pub fn int(&mut self, n: i128) {
        if n >= 0 { self.head(UINT, n as u64) } else { self.head(NEGATIVE, (-1 - n) as u64) }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn array(&mut self, len: usize) {
        self.head(ARRAY, len as u64);
    }

    pub fn map(&mut self, len: usize) {
        self.head(MAP, len as u64);
    }

    pub fn tag(&mut self, tag: u64) {
        self.head(TAG, tag);
    }

    pub fn null(&mut self) {
        self.0.push(NULL);
    }

    pub fn float(&mut self, x: f64) {
        self.0.push(FLOAT);
        self.0.extend(x.to_bits().to_be_bytes());
    }
}

/// Reads one item after the other; a length is never trusted beyond the bytes that are there.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Refusal> {
        let (first, rest) = self.0.split_first().ok_or(Refusal::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Refusal> {
        let len = usize::try_from(len).map_err(|_| Refusal::Truncated)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Refusal::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (word, rest) = self.0.split_first_chunk::<N>().ok_or(Refusal::Truncated)?;
        self.0 = rest;
        Ok(*word)
    }

    fn head(&mut self, what: &'static str) -> Result<(u8, u64), Refusal> {
        let first = self.byte()?;
        let n = match first & 31 {
            n @ 0..24 => u64::from(n),
            24 => u64::from(self.byte()?),
            25 => u64::from(u16::from_be_bytes(self.word()?)),
            26 => u64::from(u32::from_be_bytes(self.word()?)),
            27 => u64::from_be_bytes(self.word()?),
            _ => return Err(Refusal::Expected(what)),
        };
        Ok((first >> 5, n))
    }

    fn need(&mut self, major: u8, what: &'static str) -> Result<u64, Refusal> {
        match self.head(what)? {
            (found, n) if found == major => Ok(n),
            _ => Err(Refusal::Expected(what)),
        }
    }

    pub fn uint(&mut self) -> Result<u64, Refusal> {
        self.need(UINT, "a whole number")
    }

    pub fn int(&mut self) -> Result<i128, Refusal> {
        match self.head("an integer")? {
            (UINT, n) => Ok(i128::from(n)),
            (NEGATIVE, n) => Ok(-1 - i128::from(n)),
            _ => Err(Refusal::Expected("an integer")),
        }
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Refusal> {
        let len = self.need(BYTES, "bytes")?;
        self.take(len)
    }

    pub fn text(&mut self) -> Result<&'a str, Refusal> {
        let len = self.need(TEXT, "text")?;
        core::str::from_utf8(self.take(len)?).map_err(|_| Refusal::Expected("text in UTF-8"))
    }

    pub fn array(&mut self) -> Result<usize, Refusal> {
        let len = self.need(ARRAY, "an array")?;
        self.fits(len)
    }

    pub fn map(&mut self) -> Result<usize, Refusal> {
        let len = self.need(MAP, "a map")?;
        self.fits(len)
    }

    pub fn tag(&mut self, tag: u64) -> Result<(), Refusal> {
        if self.need(TAG, "a tag")? == tag { Ok(()) } else { Err(Refusal::Expected("another tag")) }
    }

    pub fn float(&mut self) -> Result<f64, Refusal> {
        if self.byte()? != FLOAT {
            return Err(Refusal::Expected("a 64-bit float"));
        }
        Ok(f64::from_bits(u64::from_be_bytes(self.word()?)))
    }

    /// Takes a null if there is one.
    pub fn null(&mut self) -> bool {
        let is_null = self.0.first() == Some(&NULL);
        if is_null {
            self.0 = &self.0[1..];
        }
        is_null
    }

    /// So many items, each at least a byte.
    fn fits(&self, len: u64) -> Result<usize, Refusal> {
        usize::try_from(len).ok().filter(|len| *len <= self.0.len()).ok_or(Refusal::Truncated)
    }

    pub fn end(&self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::TrailingBytes) }
    }
}
