//! Lines out of what a port brings, in whatever portions.
//!
//! A line ends with `\n` or `\r\n`. One that is longer than it may be is passed over as a whole, and told once.

pub struct Lines {
    buffer: Vec<u8>,
    max: usize,
    too_long: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
}

impl Lines {
    /// Lines of so many bytes at the most, their ends left out.
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::with_capacity(max + 1), max, too_long: false }
    }

    /// Takes bytes off the front of `bytes` up to the end of a line, and gives that line; `None` once they are used up.
    /// An empty line is nothing.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Line<'_>> {
        loop {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            // What was given out last is behind its end.
            if self.buffer.last() == Some(&b'\n') {
                self.buffer.clear();
            }
            // One more for the `\r`.
            if self.too_long || self.buffer.len() + piece.len() > self.max + 1 {
                self.too_long = true;
                self.buffer.clear();
            } else {
                self.buffer.extend_from_slice(piece);
            }
            let Some((_end, rest)) = rest.split_first() else {
                *bytes = rest;
                return None;
            };
            *bytes = rest;
            self.buffer.push(b'\n');
            let line = &self.buffer[..self.buffer.len() - 1];
            let length = line.strip_suffix(b"\r").unwrap_or(line).len();
            if std::mem::take(&mut self.too_long) || length > self.max {
                return Some(Line::TooLong);
            }
            if length > 0 {
                return Some(Line::Whole(&self.buffer[..length]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these bytes in portions of so many; a line that is too long is `!`.
    fn read(bytes: &[u8], portion: usize) -> Vec<String> {
        let mut lines = Lines::new(8);
        let mut read = Vec::new();
        for mut piece in bytes.chunks(portion) {
            while let Some(line) = lines.next(&mut piece) {
                read.push(match line {
                    Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                    Line::TooLong => "!".to_owned(),
                });
            }
        }
        read
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        for portion in 1..40 {
            let read = read(b"a\nbc\r\n\n\r\n12345678\n12345678\r\nx\ry\nunfinished", portion);
            assert_eq!(read, ["a", "bc", "12345678", "12345678", "x\ry"], "in portions of {portion}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_the_next_one_is_read() {
        for portion in 1..60 {
            let read = read(b"1\n123456789\n2\n1234567890123456789012345678901234567890\r\n3\n", portion);
            assert_eq!(read, ["1", "!", "2", "!", "3"], "in portions of {portion}");
        }
    }
}
